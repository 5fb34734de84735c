"""The contract of a source: read raw batches from outside, normalize them to rows. It never sees the database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

import pyarrow as pa

from ingest.rows import Rejected

Cursor = Mapping[str, Any]
Produces = Literal[
    "charges", "usage", "usage_buckets", "gpu_samples", "fine_tunes", "quality_scores", "business_metrics", "markers"
]


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
class Secret:
    """One credential of a kind: stored encrypted, never shown again. `hint` says where a person finds it."""

    name: str
    hint: str
    is_long: bool = False  # a key file, a PEM: a text area rather than a line


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a connection test: what was tried, and what came of it.

    `state` is ok, missing (the source cannot work so) or note (it works, and a person should know this). `remedy` is
    what to do: the exact permission to grant, the setting to change. No secret appears in either text.
    """

    subject: str
    state: Literal["ok", "missing", "note"]
    detail: str = ""
    remedy: str = ""


def setting(default: Any, *, hint: str, label: str = "", choices: Sequence[str] = (), required: bool = False) -> Any:
    """A field of a Config with what a form shows of it. A mapping or sequence is given as its factory (`dict`, `tuple`)."""
    metadata = {"hint": hint, "label": label, "choices": tuple(choices), "required": required}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Raw:
    """One unit of reading that is loaded in one transaction: a delivery of a bill, a log file, a span of samples.

    `name` is what a person knows it by (file name); `content_hash` is the SHA-256 of the bytes, and a unit whose hash
    was loaded before is not loaded again. `cursor` is where the next read begins once this unit is committed. For
    bills, `export` says which export it belongs to: a delivery replaces the earlier one of the same export and billing
    period, also one under `exports_before`, as earlier versions of ours called it. For usage buckets, `span` is what the unit
    replaces: every bucket of the source that begins in it, and `name` is the same whenever that span is read. A bill may
    have a span too: billing periods in it that it says nothing of are empty.
    `complete_through` is the moment up to which the vendor says the data are complete, when it says so.
    """

    name: str
    payload: Any
    content_hash: str = ""
    size_bytes: int = 0
    cursor: Cursor = field(default_factory=dict)
    export: str = ""
    exports_before: Sequence[str] = ()
    run_id: str = ""
    files: Sequence[str] = ()
    expected_rows: int | None = None
    complete_through: datetime | None = None
    span: Window | None = None


@dataclass(frozen=True, slots=True)
class Normalized:
    """Rows of the schema the source produces, and the rows that were not understood; both of the file `file`.

    `skipped` counts rows that were read and rightly left out, by the reason (the children of a split whose parent counts,
    spans that are not calls of a model): rows read = rows of the batch + rejected + skipped.
    """

    batch: pa.RecordBatch
    rejected: Sequence[Rejected] = ()
    file: str = ""
    skipped: Mapping[str, int] = field(default_factory=dict)


class Source:
    """A kind of source.

    A subclass sets `kind`, `title`, `produces`, a frozen dataclass `Config` (its fields made by `setting`, which says what
    a form shows), `secrets`, and its class docstring, which is the user's manual with an example configuration that a
    test loads. A row that cannot be understood is yielded in
    `Normalized.rejected`: usage goes on without it, a bill is refused as a whole. Anything that makes the whole unit
    unreadable raises BadDelivery; anything about reaching it raises SourceUnavailable.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    produces: ClassVar[Produces]
    Config: ClassVar[type[Any]]
    secrets: ClassVar[Sequence[Secret]] = ()
    # The exact right a person must grant for `read` to work, in the vendor's own words; shown beside the form.
    grants: ClassVar[Sequence[str]] = ()
    # How late data normally are, and how far back the vendor restates them: `read` asks for so many days again.
    expected_lag_seconds: ClassVar[int] = 3600
    restatement_days: ClassVar[int] = 0
    # How often it is asked, and how much of the past one step of a backfill reads.
    poll_seconds: ClassVar[int] = 60
    backfill_days: ClassVar[int] = 31
    # True when rows arrive by push only and `read` has nothing to ask.
    is_pushed: ClassVar[bool] = False

    def __init__(self, config: Any, credentials: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.credentials = dict(credentials or {})

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Units that are new since `cursor`, oldest first. Reading the same cursor twice yields the same units.

        Without a cursor (a first read, a backfill) it is every unit of the window. What was loaded before is known by its
        hash, so a unit may be offered again; a unit that was restated has another hash and replaces the earlier one.
        """
        raise NotImplementedError(f"{type(self).__name__} reads nothing")

    def probe(self, window: Window) -> Iterator[Finding]:
        """The connection test: what can be seen and what is missing. It loads nothing and raises nothing.

        A kind yields one Finding for each thing it needs, and ends with what it found in `window`.
        """
        if self.is_pushed:
            yield Finding("Waits for pushed rows", "ok", "Nothing is read from outside; rows arrive over the API.")
            return
        try:
            first = next(iter(self.read({}, window)), None)
        except (SourceUnavailable, BadDelivery) as problem:
            yield Finding("Read", "missing", str(problem), "; ".join(self.grants))
            return
        if first is None:
            yield Finding("Read", "note", "It answers, and has nothing in this time.")
        else:
            yield Finding("Read", "ok", f"First unit: {first.name}")

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The rows of one unit, in file order, in batches of at most about 100,000. No clock, no state."""
        raise NotImplementedError(f"{type(self).__name__} normalizes nothing")

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """Units for files or directories named on the command line (`costobs load KIND PATH…`)."""
        raise SourceUnavailable(f"{self.kind} does not read files")

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """One pushed batch (already durable in the inbox) as a unit."""
        raise SourceUnavailable(f"{self.kind} does not take pushed batches")
