"""The contract of a sink: stage batches, then put everything in place inside the closing transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import ClassVar

import pyarrow as pa

from ingest.models import Load, Source
from ingest.rows import Rejected
from ingest.sources.base import Raw


@dataclass(frozen=True, slots=True)
class Placed:
    """What the closing transaction did."""

    loaded: int
    duplicate: int = 0
    quarantined: Sequence[Rejected] = ()
    days: Sequence[date] = ()
    complete_through: datetime | None = None


@dataclass(slots=True)
class Context:
    """What every sink needs to know of the load it works for."""

    source: Source
    load: Load
    raw: Raw
    now: datetime
    advances: bool = True
    # Rows refused while staging, by the accept window: the first ones, and how many in all.
    late: list[Rejected] = field(default_factory=list)
    late_rows: int = 0


class Sink:
    """Where the rows of one kind go. `open` makes the staging table, `stage` fills it outside the closing transaction."""

    # A bill is taken whole or not at all; of a log, the good rows are taken.
    is_all_or_nothing: ClassVar[bool] = False
    # Whether staged rows may go into the closing transaction, opened early, while later ones are still read and staged.
    may_copy_ahead: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context

    def open(self) -> None:
        """Makes the staging table; it belongs to the connection and vanishes with it."""
        raise NotImplementedError

    def stage(self, batch: pa.RecordBatch) -> None:
        """Copies one batch into staging."""
        raise NotImplementedError

    def copy_staged(self) -> None:
        """Copies what is staged by now. Runs inside the closing transaction, beside `stage` in another thread."""
        raise NotImplementedError

    def place(self) -> Placed:
        """Moves staged rows to where they are seen. Runs inside the closing transaction."""
        raise NotImplementedError

    def drop(self) -> None:
        """Removes the staging table."""
        raise NotImplementedError
