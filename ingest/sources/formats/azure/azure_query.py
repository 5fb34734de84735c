"""Costs from the query API of Cost Management: a month's ActualCost and AmortizedCost, page by page, joined by day and group."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import orjson
import polars as pl

from costobs.kernel import http
from ingest.sources.base import Cursor, Finding, Normalized, Raw, SourceUnavailable, Window
from ingest.sources.formats import charge_rows, instants, openings
from ingest.sources.formats.azure import azure_pages, azure_rows

KINDS = ("ActualCost", "AmortizedCost")
_COSTS = ("cost", "pretaxcost", "totalcost", "costinbillingcurrency")
_DAYS = ("usagedate", "date")
_PIECE = 50_000
# Sums keep every digit, however many there are.
_EXACT = Context(prec=200)
_COLUMNS = {
    "subscriptionid": "sub_account_id",
    "subscriptionname": "sub_account_name",
    "servicename": "service_name",
    "metercategory": "service_name",
    "meter": "sku_meter",
    "metername": "sku_meter",
    "resourceid": "resource_id",
    "resourcetype": "resource_type",
    "resourcelocation": "region_id",
    "resourcegroup": "attr_project",
    "resourcegroupname": "attr_project",
    "invoiceid": "invoice_id",
    "costcenter": "attr_cost_centre",
}
_SHAPE = (
    "charge_period_start",
    "charge_period_end",
    "billing_currency",
    "billed_cost",
    "effective_cost",
    "list_cost",
    "contracted_cost",
    "charge_category",
    "tags",
    "+x_CostType",
    "+x_Groups",
    *dict.fromkeys(_COLUMNS.values()),
    "resource_name",
)
_EXTRA = ("x_CostType", "x_Groups")
_RESOURCE = re.compile(r"/subscriptions/(?P<account>[^/]+)(?:/resourcegroups/(?P<group>[^/]+))?(?:/.*)?")
_TYPE = re.compile(r".*/providers/([^/]+/[^/]+)/")


@dataclass(frozen=True, slots=True)
class Line:
    """One day and group with what both kinds say it cost; None where a kind has no such line."""

    day: str
    currency: str
    groups: tuple[tuple[str, str], ...]
    actual: str | None = None
    amortised: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A month as the API tells it: the lines in a fixed order."""

    scope: str
    first: date
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One scope of Cost Management, asked by day and at most two groups."""

    scope: str
    management_url: str
    group_by: tuple[str, ...]
    credentials: Mapping[str, str] = field(repr=False)

    def months(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """A unit for each calendar month that touches the window and differs from what the cursor knows."""
        seen = dict(cursor.get("months", {}))
        pages = self._pages()
        for first in _months(window):
            answer = self._month(pages, first, window.end)
            text = orjson.dumps(
                [[line.day, line.currency, line.groups, line.actual, line.amortised] for line in answer.lines]
            )
            content = hashlib.sha256(b"%s %s %s" % (self._scope().encode(), str(first).encode(), text)).hexdigest()
            name = f"query {first:%Y-%m} of {self._scope()}"
            # A month without lines says something only where there were lines before: it takes them back.
            if seen.get(f"{first:%Y-%m}") == content or not (answer.lines or f"{first:%Y-%m}" in seen):
                continue
            seen[f"{first:%Y-%m}"] = content
            yield Raw(
                name=name,
                payload=answer,
                content_hash=content,
                size_bytes=len(text),
                cursor={"months": dict(seen)},
                export=self._scope(),
                files=(name,),
                expected_rows=len(answer.lines),
                span=Window(_midnight(first), _midnight(_following(first))),
            )

    def probe(self, window: Window, *, remedy: str) -> Iterator[Finding]:
        """Whether the scope can be asked for both kinds; the last day is enough to know."""
        pages = self._pages()
        day = (window.end - timedelta(days=1)).date()
        for kind in KINDS:
            try:
                rows = sum(1 for _ in pages.rows(self._scope(), self._body(kind, day, day)))
            except SourceUnavailable as problem:
                yield Finding(f"Ask {self._scope()} for {kind}", "missing", str(problem), remedy)
            else:
                yield Finding(f"Ask {self._scope()} for {kind}", "ok", f"{rows:,} lines on {day}")

    def _pages(self) -> azure_pages.Pages:
        if not self.scope.strip("/"):
            raise SourceUnavailable("set scope to /subscriptions/ID or /providers/Microsoft.Billing/billingAccounts/ID")
        if not 1 <= len(self.group_by) <= 2:
            raise SourceUnavailable(f"the API groups by one or two dimensions, group_by has {len(self.group_by)}")
        if self.management_url:
            try:
                http.check(self.management_url)
            except http.BlockedAddress as problem:
                raise SourceUnavailable(str(problem)) from problem
        return azure_pages.Pages(self.management_url, self.credentials)

    def _scope(self) -> str:
        return "/" + self.scope.strip().strip("/").lower()

    def _month(self, pages: azure_pages.Pages, first: date, end: datetime) -> Answer:
        last = min(_following(first) - timedelta(days=1), end.date())
        held: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Decimal | None]] = {}
        for at, kind in enumerate(KINDS):
            for row in pages.rows(self._scope(), self._body(kind, first, last)):
                day, currency, groups, cost = self._line(row)
                both = held.setdefault((day, currency, groups), [None, None])
                both[at] = _EXACT.add(cost, both[at] or Decimal(0))
        lines = (
            Line(*key, *(None if cost is None else format(cost, "f") for cost in both)) for key, both in held.items()
        )
        return Answer(
            self._scope(), first, tuple(sorted(lines, key=lambda line: (line.day, line.currency, line.groups)))
        )

    def _line(self, row: Mapping[str, Any]) -> tuple[str, str, tuple[tuple[str, str], ...], Decimal]:
        plain = {name.lower(): value for name, value in row.items()}
        cost = next((plain[name] for name in _COSTS if name in plain), None)
        day = next((str(plain[name]) for name in _DAYS if name in plain), "")
        if not isinstance(cost, int | Decimal) or isinstance(cost, bool) or not Decimal(cost).is_finite():
            raise openings.broken(self._scope(), f"expected a cost in {sorted(row)}, found {cost!r}", field="Cost")
        named = {name: str(plain[name] or "") for name in plain if name not in {*_COSTS, *_DAYS, "currency"}}
        if "resourceid" in named:
            named["resourceid"] = named["resourceid"].lower()
        return day, str(plain.get("currency") or ""), tuple(sorted(named.items())), Decimal(cost)

    def _body(self, kind: str, first: date, last: date) -> dict[str, Any]:
        return {
            "type": kind,
            "timeframe": "Custom",
            "timePeriod": {"from": f"{first}T00:00:00Z", "to": f"{last}T23:59:59Z"},
            "dataset": {
                "granularity": "Daily",
                "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
                "grouping": [_grouping(each) for each in self.group_by],
            },
        }


def charges(answer: Answer, reading: charge_rows.Reading, *, name: str) -> Iterator[Normalized]:
    """One charge for each day and group: billed cost of ActualCost, effective cost of AmortizedCost."""
    following = _following(answer.first)
    for at in range(0, len(answer.lines), _PIECE):
        told = [_charge(line) for line in answer.lines[at : at + _PIECE]]
        frame = pl.DataFrame(told, schema=dict.fromkeys(_SHAPE, pl.String), orient="row").with_columns(
            pl.lit(answer.first.isoformat()).alias("billing_period_start"),
            pl.lit(following.isoformat()).alias("billing_period_end"),
            pl.lit("Microsoft Azure").alias("service_provider_name"),
            pl.lit("Microsoft Azure").alias("host_provider_name"),
            pl.lit("Microsoft").alias("invoice_issuer_name"),
        )
        frame = frame.with_columns(pl.col(pl.String).fill_null(""))
        yield charge_rows.finish(frame, _EXTRA, reading, file=name, file_index=0, first_row=at + 1)


def _charge(line: Line) -> dict[str, str]:
    groups = dict(line.groups)
    found = {column: groups[name] for name, column in _COLUMNS.items() if groups.get(name)}
    held = found.get("resource_id", "")
    if inside := _RESOURCE.fullmatch(held):
        found.setdefault("sub_account_id", inside["account"])
        found.setdefault("attr_project", inside["group"] or "")
        found["resource_name"] = held.rpartition("/")[2]
    if kind := _TYPE.match(held):
        found.setdefault("resource_type", kind.group(1))
    # Without the service's name the kind of the resource is the vendor's next best word for it.
    found.setdefault("service_name", found.get("resource_type", ""))
    tag = groups.get("tagkey", "")
    both = line.actual is not None and line.amortised is not None
    return found | {
        "charge_period_start": _day(line.day, 0),
        "charge_period_end": _day(line.day, 1),
        "billing_currency": line.currency,
        "billed_cost": line.actual or "0",
        "effective_cost": line.amortised or "0",
        "list_cost": line.amortised or "0",
        "contracted_cost": line.amortised or "0",
        "charge_category": _category(line, groups.get("chargetype", "")),
        "tags": orjson.dumps({tag: groups.get("tagvalue", "")}).decode() if tag else "",
        "+x_CostType": "ActualCost and AmortizedCost" if both else KINDS[line.actual is None],
        "+x_Groups": orjson.dumps({name: value for name, value in groups.items() if value}).decode(),
    }


def _category(line: Line, told: str) -> str:
    """As the group says. Else what only ActualCost has is a commitment bought, which AmortizedCost spreads over its use."""
    if told:
        return azure_rows.CATEGORIES.get(told.lower(), "Adjustment")
    return "Purchase" if line.amortised is None else "Usage"


def _day(text: str, days: int) -> str:
    """20261101 (a number there) or ISO as a date; what is neither stays, to be refused by row and field."""
    moment = instants.one(f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text)
    return (moment.date() + timedelta(days=days)).isoformat() if moment else text


def _grouping(text: str) -> dict[str, str]:
    kind, _, name = text.partition(":")
    return {"type": "TagKey", "name": name} if kind.lower() == "tag" and name else {"type": "Dimension", "name": text}


def _months(window: Window) -> list[date]:
    last = (window.end - timedelta(microseconds=1)).date()
    found, first = [], window.start.date().replace(day=1)
    while first <= last:
        found.append(first)
        first = _following(first)
    return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _following(first: date) -> date:
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
