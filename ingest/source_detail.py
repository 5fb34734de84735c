"""One source in full: its settings, its backfills, its deliveries. Never its credentials, only which of them are set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from costobs.kernel import secrets
from ingest import queries
from ingest.models import Backfill, Delivery, Source
from ingest.queries import SourceLine
from ingest.sources import KINDS

OPEN = ("waiting", "running", "cancelling")


@dataclass(frozen=True, slots=True)
class SourceDetail:
    """A source as its own page shows it. `secrets_set` are names; `may_open` is false when the key of this installation changed."""

    line: SourceLine
    config: Mapping[str, Any]
    secrets_set: tuple[str, ...]
    secrets_set_at: datetime | None
    may_open: bool
    created_at: datetime
    restatement_days: int
    poll_seconds: int


@dataclass(frozen=True, slots=True)
class BackfillLine:
    """A backfill: `share` of its span is done."""

    id: int
    source_id: int
    start: datetime
    end: datetime
    remaining_end: datetime
    state: str
    units: int
    rows_loaded: int
    rows_quarantined: int
    error: str
    requested_by: str
    requested_at: datetime
    heartbeat_at: datetime | None
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def share(self) -> Decimal:
        span = Decimal(int((self.end - self.start).total_seconds()))
        return Decimal(int((self.end - self.remaining_end).total_seconds())) / span


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One delivered billing period; `billed_cost` by currency, as the vendor delivered it."""

    export: str
    billing_period_start: date
    run_id: str
    state: str
    files: int
    rows: int
    billed_cost: Sequence[tuple[str, Decimal]]
    complete_through: datetime | None
    delivered_at: datetime


def source(*, source_id: int, now: datetime) -> SourceDetail | None:
    """A source, or None when there is none."""
    line = next((line for line in queries.sources(now=now) if line.id == source_id), None)
    if line is None:
        return None
    found = Source.objects.defer("credentials").get(pk=source_id)
    kind = KINDS[found.kind]
    try:
        names, may_open = tuple(sorted(found.credentials or {})), True
    except secrets.Unreadable:
        names, may_open = (), False
    return SourceDetail(
        line=line,
        config=found.config,
        secrets_set=names,
        secrets_set_at=found.credentials_set_at,
        may_open=may_open,
        created_at=found.created_at,
        restatement_days=kind.restatement_days,
        poll_seconds=kind.poll_seconds,
    )


def backfills(*, source_id: int, limit: int = 5) -> list[BackfillLine]:
    """The newest backfills of a source first."""
    return [_backfill(row) for row in Backfill.objects.filter(source_id=source_id).order_by("-pk")[:limit]]


def open_backfills() -> dict[int, BackfillLine]:
    """The backfills that are not done, by source."""
    return {row.source_id: _backfill(row) for row in Backfill.objects.filter(state__in=OPEN)}


def deliveries(*, source_id: int, limit: int = 60) -> list[DeliveryLine]:
    """What counts of each billing period, the newest period first."""
    rows = Delivery.objects.filter(source_id=source_id, state="current")
    return [
        DeliveryLine(
            export=row.export,
            billing_period_start=row.billing_period_start,
            run_id=row.run_id,
            state=row.state,
            files=len(row.files),
            rows=row.rows,
            billed_cost=_amounts(row.billed_cost),
            complete_through=row.complete_through,
            delivered_at=row.delivered_at,
        )
        for row in rows.order_by("-billing_period_start", "export")[:limit]
    ]


def _amounts(stored: Mapping[str, str]) -> Sequence[tuple[str, Decimal]]:
    return tuple((currency, Decimal(amount)) for currency, amount in sorted(stored.items()))


def _backfill(row: Backfill) -> BackfillLine:
    return BackfillLine(
        id=row.pk,
        source_id=row.source_id,
        start=row.window_start,
        end=row.window_end,
        remaining_end=row.remaining_end,
        state=row.state,
        units=row.units,
        rows_loaded=row.rows_loaded,
        rows_quarantined=row.rows_quarantined,
        error=row.error,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
    )
