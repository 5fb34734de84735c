"""The contract of a source: read raw batches from outside, normalize them to rows. It never sees the database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

import pyarrow as pa

from ingest.rows import Rejected

Cursor = Mapping[str, Any]
Produces = Literal["charges", "usage", "gpu_samples", "fine_tunes"]


class SourceUnavailable(Exception):
    """The vendor cannot be read now: refused, unreachable, not allowed. The message says what to do, no secret."""


class BadDelivery(Exception):
    """A file or response that cannot be understood as a whole (truncated, wrong columns). Names file, row and field."""

    def __init__(self, rejected: Rejected) -> None:
        self.rejected = rejected
        super().__init__(f"{rejected.file}, row {rejected.row}, {rejected.field}: {rejected.reason}")


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open span of UTC time a load asks for."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Raw:
    """One unit of reading that is loaded in one transaction: a delivery of a bill, a log file, a span of samples.

    `name` is what a person knows it by (file name); `content_hash` is the SHA-256 of the bytes, and a unit whose hash
    was loaded before is not loaded again. `cursor` is where the next read begins once this unit is committed. For
    bills, `export` says which export it belongs to: a delivery replaces the earlier one of the same export and billing
    period. `complete_through` is the moment up to which the vendor says the data are complete, when it says so.
    """

    name: str
    payload: Any
    content_hash: str = ""
    size_bytes: int = 0
    cursor: Cursor = field(default_factory=dict)
    export: str = ""
    run_id: str = ""
    files: Sequence[str] = ()
    expected_rows: int | None = None
    complete_through: datetime | None = None


@dataclass(frozen=True, slots=True)
class Normalized:
    """Rows of the schema the source produces, and the rows that were not understood."""

    batch: pa.RecordBatch
    rejected: Sequence[Rejected] = ()


class Source:
    """A kind of source.

    A subclass sets `kind`, `title`, `produces`, a frozen dataclass `Config` and its class docstring, which is the
    user's manual with an example configuration that a test loads. A row that cannot be understood is yielded in
    `Normalized.rejected`: usage goes on without it, a bill is refused as a whole. Anything that makes the whole unit
    unreadable raises BadDelivery; anything about reaching it raises SourceUnavailable.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    produces: ClassVar[Produces]
    Config: ClassVar[type[Any]]
    # How late data normally are, and how far back the vendor restates them.
    expected_lag_seconds: ClassVar[int] = 3600
    restatement_days: ClassVar[int] = 0
    # True when rows arrive by push only and `read` has nothing to ask.
    is_pushed: ClassVar[bool] = False

    def __init__(self, config: Any, credentials: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.credentials = dict(credentials or {})

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Units that are new since `cursor`, oldest first. Reading the same cursor twice yields the same units."""
        raise NotImplementedError(f"{type(self).__name__} reads nothing")

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The rows of one unit, in file order, in batches of at most about 100,000. No clock, no state."""
        raise NotImplementedError(f"{type(self).__name__} normalizes nothing")

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """Units for files or directories named on the command line (`costobs load KIND PATH…`)."""
        raise SourceUnavailable(f"{self.kind} does not read files")

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """One pushed batch (already durable in the inbox) as a unit."""
        raise SourceUnavailable(f"{self.kind} does not take pushed batches")
