"""What other rooms and the pages may ask about sources: health, freshness, loads and quarantined rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, F, Max, Q, QuerySet, Sum

from costobs.kernel.period import Days
from ingest.models import Load, QuarantinedRow, Source, Touched, UsageHour
from ingest.sources import KINDS

_SAMPLE_LAG_SECONDS = 2 * 24 * 3600
# What the books are made of. The rest stands beside cost, and its silence makes no figure stale.
_PATIENCE_SECONDS = 86_400
_FEEDS_BOOKS = frozenset({"charges", "usage", "usage_buckets", "gpu_samples"})


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source as the Sources page shows it. `status`: on_time, late, failed, paused, waiting (no data yet)."""

    id: int
    kind: str
    title: str
    name: str
    produces: str
    status: str
    complete_through: datetime | None
    expected_lag_seconds: int
    late_seconds: int
    last_load_at: datetime | None
    last_read_at: datetime | None
    rows_28d: int
    quarantined_28d: int
    last_error: str
    last_error_at: datetime | None
    is_active: bool
    is_sample: bool
    is_pushed: bool

    @property
    def is_missing(self) -> bool:
        """Whether the books cannot be acted on for want of it: it fails, or it is late by as long again as its data usually take
        and by a day at least. Less is a badge: telemetry that is late by minutes must not stop every ladder."""
        patience = max(self.expected_lag_seconds, _PATIENCE_SECONDS)
        return self.status == "failed" or (self.status == "late" and self.late_seconds > patience)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the data are complete, over all active sources, in the words of the badge."""

    complete_through: datetime | None  # the earliest of the sources that are on time
    late: tuple[SourceLine, ...]
    sources: tuple[SourceLine, ...]


@dataclass(frozen=True, slots=True)
class FileLine:
    """One file of a load; what is left of `read` was loaded or known, or refused with the whole load."""

    name: str
    read: int
    quarantined: int
    skipped: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LoadLine:
    """One load; rows read = loaded + duplicate + quarantined + skipped. `skipped` counts by reason."""

    id: int
    source_id: int
    source: str
    name: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    size_bytes: int
    rows_read: int
    rows_loaded: int
    rows_duplicate: int
    rows_quarantined: int
    rows_skipped: int
    error: str
    skipped: Mapping[str, int]
    files: Sequence[FileLine]


@dataclass(frozen=True, slots=True)
class QuarantinedLine:
    """One row that was not loaded, and why."""

    source: str
    file: str
    row_number: int
    field: str
    reason: str
    raw: str
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class UnknownUsage:
    """Calls of one model in one source that did not say all they used: spans without usage, streams that were cut."""

    source_id: int
    source: str
    provider: str
    model: str
    requests: int
    unknown: int
    last_hour: datetime


def sources(*, now: datetime) -> list[SourceLine]:
    """Every source, by kind and name."""
    since = now - timedelta(days=28)
    recent = {
        row["source_id"]: row
        for row in Load.objects.filter(started_at__gte=since)
        .values("source_id")
        .annotate(rows=Sum("rows_loaded"), quarantined=Sum("rows_quarantined"))
    }
    return [_line(one, recent.get(one.pk, {}), now) for one in _readable().order_by("kind", "name")]


def freshness(*, now: datetime) -> Freshness:
    """The badge: complete through when, and who is late."""
    lines = tuple(line for line in sources(now=now) if line.is_active and line.produces in _FEEDS_BOOKS)
    late = tuple(line for line in lines if line.status in {"late", "failed"})
    known = [line.complete_through for line in lines if line.complete_through and line.status == "on_time"]
    return Freshness(min(known, default=None), late, lines)


def loads(*, source_id: int | None = None, limit: int = 50) -> list[LoadLine]:
    """The newest loads first."""
    rows = Load.objects.select_related("source").defer("source__credentials").order_by("-id")
    if source_id is not None:
        rows = rows.filter(source_id=source_id)
    return [_load_line(row) for row in rows[:limit]]


def load(*, load_id: int) -> LoadLine | None:
    """One load with its files."""
    row = Load.objects.select_related("source").defer("source__credentials").filter(pk=load_id).first()
    return None if row is None else _load_line(row)


def quarantined(*, source_id: int | None = None, load_id: int | None = None, limit: int = 100) -> list[QuarantinedLine]:
    """The newest quarantined rows first, of all, of one source or of one load."""
    rows = QuarantinedRow.objects.select_related("source", "load").defer("source__credentials").order_by("-id")
    if source_id is not None:
        rows = rows.filter(source_id=source_id)
    if load_id is not None:
        rows = rows.filter(load_id=load_id)
    return [
        QuarantinedLine(row.source.name, row.file, row.row_number, row.field, row.reason, row.raw, row.load.started_at)
        for row in rows[:limit]
    ]


def unknown_usage(*, days: Days) -> list[UnknownUsage]:
    """Models with calls of unknown usage, the most such calls first; `requests` are all calls of that model and source."""
    rows = (
        UsageHour.objects.filter(hour__gte=days.start_at, hour__lt=days.end_at)
        .values("source_id", "source__name", "offering__provider", "offering__model")
        .annotate(calls=Sum("requests"), unknown=Sum("unknown_usage"), last=Max("hour", filter=Q(unknown_usage__gt=0)))
        .filter(unknown__gt=0)
        .order_by("-unknown", "source__name", "offering__provider", "offering__model")
    )
    return [
        UnknownUsage(
            row["source_id"],
            row["source__name"],
            row["offering__provider"],
            row["offering__model"],
            row["calls"],
            row["unknown"],
            row["last"],
        )
        for row in rows
    ]


def calls(*, days: Days) -> int:
    """How many calls were logged, over all sources."""
    found: int | None = UsageHour.objects.filter(hour__gte=days.start_at, hour__lt=days.end_at).aggregate(
        calls=Sum("requests")
    )["calls"]
    return found or 0


def quarantined_count() -> int:
    """How many rows wait for inspection."""
    return QuarantinedRow.objects.count()


def quarantined_since(*, at: datetime) -> int:
    """How many rows of loads that began since `at` were left out. Of a refused bill nothing is in the books at all."""
    return QuarantinedRow.objects.filter(load__state="succeeded", load__started_at__gte=at).count()


def versions(*, days: Days) -> tuple[str, int]:
    """A mark that differs whenever a source of these days has changed, and how many of their days wait to be rolled up."""
    found = Touched.objects.filter(day__gte=days.start, day__lt=days.end)
    sums = found.aggregate(changes=Sum("version"), newest=Max("pk"))
    waiting = found.filter(version__gt=F("rolled_up_version")).values("day").distinct().count()
    return f"{sums['newest'] or 0}-{sums['changes'] or 0}", waiting


def completeness(*, first: date, last: date) -> dict[str, set[date]]:
    """For each source by name, the days of [first, last] that have data."""
    found: dict[str, set[date]] = {}
    for name, day in Touched.objects.filter(day__range=(first, last)).values_list("source__name", "day"):
        found.setdefault(name, set()).add(day)
    return found


def days_of(*, source_id: int) -> list[date]:
    """The days a source has rows on, oldest first."""
    return list(Touched.objects.filter(source_id=source_id).order_by("day").values_list("day", flat=True))


def has_sample() -> bool:
    """Whether sample data are loaded."""
    return Source.objects.filter(is_sample=True).exists()


def is_sample_loading() -> bool:
    """Whether sample data are being loaded now."""
    return Load.objects.filter(state="running", source__is_sample=True).exists()


def source_named(*, kind: str, name: str) -> int | None:
    """The id of a source by kind and name."""
    return Source.objects.filter(kind=kind, name=name).values_list("pk", flat=True).first()


def kind_of(*, source_id: int) -> str:
    """The kind of a source, "" where there is none."""
    return Source.objects.filter(pk=source_id).values_list("kind", flat=True).first() or ""


def providers_of(*, source_ids: Sequence[int], since: datetime) -> set[str]:
    """The providers whose models served calls that these sources reported."""
    rows = UsageHour.objects.filter(source_id__in=source_ids, hour__gte=since)
    return set(rows.values_list("offering__provider", flat=True).distinct())


def webhook_secret(*, source_id: int, kind: str) -> str:
    """What a webhook to an active source of this kind has to be signed with; "" where none is set."""
    source = Source.objects.filter(pk=source_id, kind=kind, is_active=True).first()
    return str((source.credentials or {}).get("webhook_secret", "")) if source else ""


def cursor(*, source_id: int) -> dict[str, Any]:
    """Where the next read of a source begins; empty before the first. What it holds is the source's own affair."""
    return dict(Source.objects.values_list("cursor", flat=True).get(pk=source_id))


def due_sources(*, now: datetime) -> list[int]:
    """The sources that are read on schedule and whose time has come, the one that waited longest first."""
    found: list[int] = []
    for kind in KINDS:
        if kind.is_pushed:
            continue
        rows = Source.objects.filter(is_active=True, is_sample=False, kind=kind.kind)
        waited = Q(last_read_at=None) | Q(last_read_at__lte=now - timedelta(seconds=kind.poll_seconds))
        found += rows.filter(waited).order_by("last_read_at", "pk").values_list("pk", flat=True)
    return found


def newest_change() -> datetime | None:
    """When anything was loaded last; the validator of cached answers."""
    newest: datetime | None = Source.objects.aggregate(at=Max("last_load_at"))["at"]
    return newest


def open_days() -> list[date]:
    """Days whose sources changed since they were last rolled up, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT day FROM ingest_touched WHERE version > rolled_up_version ORDER BY day")
        return [day for (day,) in cursor.fetchall()]


def counts() -> dict[str, int]:
    """Loads by state; for /metrics and the health page."""
    return {row["state"]: row["n"] for row in Load.objects.values("state").annotate(n=Count("pk"))}


def _load_line(row: Load) -> LoadLine:
    return LoadLine(
        id=row.pk,
        source_id=row.source_id,
        source=row.source.name,
        name=row.name,
        state=row.state,
        started_at=row.started_at,
        finished_at=row.finished_at,
        size_bytes=row.size_bytes,
        rows_read=row.rows_read,
        rows_loaded=row.rows_loaded,
        rows_duplicate=row.rows_duplicate,
        rows_quarantined=row.rows_quarantined,
        rows_skipped=row.rows_skipped,
        error=row.error,
        skipped=row.skipped,
        files=[
            FileLine(one["name"], one["read"], one["quarantined"], one["skipped"], one.get("reasons", {}))
            for one in row.files
        ],
    )


def _readable() -> QuerySet[Source]:
    """Sources without their credentials, which no query needs and which may not open."""
    return Source.objects.defer("credentials")


def _line(source: Source, recent: Mapping[str, Any], now: datetime) -> SourceLine:
    kind = KINDS[source.kind]
    # The sample is topped up when it is started, not all the time.
    lag = max(kind.expected_lag_seconds, _SAMPLE_LAG_SECONDS) if source.is_sample else kind.expected_lag_seconds
    behind = int((now - source.complete_through).total_seconds()) if source.complete_through else 0
    return SourceLine(
        id=source.pk,
        kind=source.kind,
        title=kind.title,
        name=source.name,
        produces=kind.produces,
        status=_status(source, late=behind > lag, is_pushed=kind.is_pushed),
        complete_through=source.complete_through,
        expected_lag_seconds=lag,
        late_seconds=max(0, behind - lag),
        last_load_at=source.last_load_at,
        last_read_at=source.last_read_at,
        rows_28d=recent.get("rows", 0) or 0,
        quarantined_28d=recent.get("quarantined", 0) or 0,
        last_error=source.last_error,
        last_error_at=source.last_error_at,
        is_active=source.is_active,
        is_sample=source.is_sample,
        is_pushed=kind.is_pushed,
    )


def _status(source: Source, *, late: bool, is_pushed: bool) -> str:
    if not source.is_active:
        return "paused"
    if source.last_error and (
        source.last_load_at is None or (source.last_error_at or source.last_load_at) >= source.last_load_at
    ):
        return "failed"
    if source.complete_through is None:
        return "waiting"
    # A pushed source that is silent may simply have had no calls; it is late only for the badge of a pulled one.
    return "late" if late and not is_pushed else "on_time"
