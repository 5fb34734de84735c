"""A small world to account for: sources, charges, usage, GPU hours and fine-tune runs, put straight into their tables."""

import itertools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from attribution import books, own
from attribution.splitting import digest
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter, SpendScope
from ingest import partitions
from ingest.models import (
    AttributeSet,
    Charge,
    Delivery,
    FineTuneRun,
    GpuHour,
    Load,
    Offering,
    Source,
    Touched,
    UnitPrice,
    UsageHour,
)

DAY = date(2026, 3, 10)
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
_numbers = itertools.count(1)


def at(hour: int = 0, minute: int = 0, *, day: date = DAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def source(kind: str = "focus_export", name: str = "bill") -> Source:
    return Source.objects.get_or_create(kind=kind, name=name, defaults={"created_at": NOW})[0]


def attribute_set(of: Source, **attributes: str) -> int:
    found, _ = AttributeSet.objects.get_or_create(
        source=of, digest=digest(attributes), defaults={"attributes": attributes, "seen_at": NOW}
    )
    return int(found.pk)


def touch(of: Source, day: date = DAY) -> None:
    row, is_new = Touched.objects.get_or_create(source=of, day=day)
    if not is_new:
        Touched.objects.filter(pk=row.pk).update(version=row.version + 1)


def delivery(of: Source, *, complete_through: datetime | None = None) -> Delivery:
    found = Delivery.objects.filter(source=of, state="current", complete_through=complete_through).first()
    if found:
        return found
    number = next(_numbers)
    load = Load.objects.create(source=of, name=str(number), state="succeeded", started_at=NOW, heartbeat_at=NOW)
    return Delivery.objects.create(
        source=of,
        load=load,
        export=f"export {number}",
        billing_period_start=DAY.replace(day=1),
        run_id=str(number),
        state="current",
        rows=0,
        delivered_at=NOW,
        complete_through=complete_through,
    )


def charge(
    of: Source,
    cost: str | Decimal = "10",
    *,
    attributes: Mapping[str, str] | None = None,
    starts: datetime | None = None,
    hours: int = 24,
    complete_through: datetime | None = None,
    **columns: Any,
) -> None:
    """One charge; `cost` is all four costs unless columns say otherwise."""
    starts = starts or at()
    partitions.ensure_months([starts.date()])
    texts = {
        field.name: ""
        for field in Charge._meta.get_fields()
        if field.get_internal_type() == "TextField" and not field.primary_key
    }
    costs = dict.fromkeys(("billed_cost", "effective_cost", "list_cost", "contracted_cost"), Decimal(cost))
    to = delivery(of, complete_through=complete_through)
    values = {
        **texts,
        **costs,
        "source": of,
        "delivery": to,
        "file_index": 0,
        "row_number": next(_numbers),
        "charge_period_start": starts,
        "charge_period_end": starts + timedelta(hours=hours),
        "billing_period_start": starts.date().replace(day=1),
        "billing_period_end": (starts.date().replace(day=1) + timedelta(days=32)).replace(day=1),
        "book_month": starts.date().replace(day=1),
        "billing_currency": "USD",
        "charge_category": "Usage",
        "service_provider_name": "AWS",
        "service_name": "Amazon EC2",
        "tags": {},
        "extra": {},
        "attribute_set_id": attribute_set(of, **(attributes or {})),
    }
    Charge.objects.create(**(values | columns))
    touch(of, starts.date())


def llm_charge(of: Source, cost: str | Decimal = "10", **columns: Any) -> None:
    """A line of OpenAI's bill for one model and kind of token."""
    defaults = {
        "service_provider_name": "OpenAI",
        "service_name": "OpenAI API",
        "model": "gpt-4o",
        "token_kind": "input_uncached",
        "consumed_unit": "Tokens",
    }
    charge(of, cost, **(defaults | columns))


def price(provider: str = "openai", model: str = "gpt-4o", *, per_token: str = "0.001", **columns: Any) -> UnitPrice:
    kinds = [
        "input_uncached",
        "cache_read",
        "cache_write_5m",
        "cache_write_1h",
        "output",
        "audio_input",
        "audio_output",
        "image_input",
    ]
    found = UnitPrice.objects.filter(provider=provider, model=model, **columns).first()
    return found or UnitPrice.objects.create(
        provider=provider,
        model=model,
        valid_from=at(day=date(2020, 1, 1)),
        known_from=at(day=date(2020, 1, 1)),
        provenance="test",
        request_price=0,
        **{f"{kind}_price": Decimal(per_token) for kind in kinds},
        **columns,
    )


def usage(
    of: Source,
    *,
    attributes: Mapping[str, str] | None = None,
    provider: str = "openai",
    model: str = "gpt-4o",
    deployment: str = "",
    hour: datetime | None = None,
    requests: int = 1,
    unit_price: UnitPrice | None = None,
    **counts: int,
) -> None:
    """One row of folded usage."""
    hour = hour or at(10)
    offering, _ = Offering.objects.get_or_create(
        provider=provider,
        request_model=model,
        response_model=model,
        deployment=deployment,
        service_tier="",
        operation="chat",
        defaults={"model": model},
    )
    sums = {field.name: 0 for field in UsageHour._meta.get_fields() if field.get_internal_type() == "BigIntegerField"}
    UsageHour.objects.create(
        hour=hour,
        source=of,
        attribute_set_id=attribute_set(of, **(attributes or {})),
        offering=offering,
        price=unit_price or price(provider, model),
        **(sums | {"requests": requests} | counts),
    )
    touch(of, hour.date())


def gpu_hour(of: Source, hour: datetime, *, busy: int = 0, covered: int = 3_600_000, **columns: Any) -> None:
    defaults = {
        "node": "gpu-1",
        "gpu_uuid": "GPU-a",
        "mig_instance": "",
        "mig_profile": "",
        "gpu_index": "0",
        "gpu_model": "H100",
        "deployment": "",
        "namespace": "",
        "samples": 60,
        "activity_source": "gr_engine_active",
    }
    GpuHour.objects.create(source=of, hour=hour, busy_ms=busy, covered_ms=covered, **(defaults | columns))
    touch(of, hour.date())


def fine_tune(of: Source, *, attributes: Mapping[str, str] | None = None, **columns: Any) -> FineTuneRun:
    texts = {field.name: "" for field in FineTuneRun._meta.get_fields() if field.get_internal_type() == "TextField"}
    run = FineTuneRun.objects.create(
        source=of,
        attribute_set_id=attribute_set(of, **(attributes or {})),
        **(texts | {"state": "succeeded"} | columns),
    )
    touch(of, columns["started_at"].date())
    return run


def settle(*, newest_first: bool = False) -> list[date]:
    """What the pipeline does: owners, then each changed day."""
    own.run(now=NOW)
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT day FROM ingest_touched WHERE version > rolled_up_version ORDER BY day")
        days = [day for (day,) in cursor.fetchall()]
    for day in reversed(days) if newest_first else days:
        books.rebuild(day=day, now=NOW)
    while due := books.due():  # what is weighed by other days settles once they have
        for day in reversed(due) if newest_first else due:
            books.rebuild(day=day, now=NOW)
    return days


def scope(
    *filters: Filter, teams: tuple[str, ...] | None = None, cost: str = "effective", days: Days | None = None
) -> SpendScope:
    return SpendScope(days or Days(DAY - timedelta(days=40), DAY + timedelta(days=40)), filters, cost=cost, teams=teams)


def fetch(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()
