"""The two sides of a comparison, read from the tables: what was logged by hour, and what was billed by day."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from attribution import calls, rates
from attribution.causes.facts import (
    ADJUSTMENT,
    COMMITMENT,
    CREDIT,
    NOT_CALLS,
    TAX,
    TOKEN_KINDS,
    Calls,
    Cell,
    Extra,
    Line,
    Logged,
    Month,
    Price,
)
from attribution.dimensions import (
    AI_CATEGORY,
    CLOUDS,
    PROVIDERS,
    SELF_HOSTED,
    canonical_sql,
    provider_name,
)
from attribution.staging import BESIDE_CALLS, UNIT
from costobs.kernel.period import Days
from ingest import price_list, price_tiers

_DAY = timedelta(days=1)
_REQUEST = "request"
_TIERS = ("standard", "batch", "flex", "priority", "fast")
_COSTS = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")

# The charges of providers of models: calls, and what stands on the same bill. A second source of the same money does not count.
# A charge for more than a day belongs to no day. What an amount may be off by: half its last digit, for each row.
_LINES = f"""
SELECT (c.charge_period_start AT TIME ZONE 'UTC')::date, p.provider, c.sub_account_id, c.model, c.token_kind,
    c.billing_currency, c.commitment_discount_status = 'Used', k.cause, bool_and(v.complete_through IS NULL
        OR v.complete_through >= (date_trunc('day', c.charge_period_start AT TIME ZONE 'UTC') + interval '1 day')
            AT TIME ZONE 'UTC'),
    max(v.complete_through), CASE WHEN count(*) = count(t.tokens) AND sum(t.tokens) > 0 THEN sum(t.tokens) END, count(*),
    max(scale(CASE WHEN c.list_cost <> 0 THEN c.list_cost ELSE c.billed_cost END)), sum(c.billed_cost),
    sum(c.effective_cost), sum(CASE WHEN c.list_cost <> 0 THEN c.list_cost ELSE c.billed_cost END), sum(c.contracted_cost)
FROM ingest_charge c
JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current'
CROSS JOIN LATERAL (SELECT {canonical_sql("c.service_provider_name")} AS provider) p
CROSS JOIN LATERAL (SELECT coalesce(c.consumed_quantity * {UNIT.format(unit="c.consumed_unit")},
    c.pricing_quantity * {UNIT.format(unit="c.pricing_unit")}) AS tokens) t
CROSS JOIN LATERAL (SELECT CASE
    WHEN c.charge_category = 'Credit' THEN '{CREDIT}' WHEN c.charge_category = 'Tax' THEN '{TAX}'
    WHEN c.charge_category = 'Purchase' THEN '{COMMITMENT}'
    WHEN c.charge_category = 'Adjustment' OR c.charge_class = 'Correction' THEN '{ADJUSTMENT}'
    WHEN c.cost_kind = ANY(%(beside)s) OR (c.cost_kind NOT IN ('', 'api_inference') AND c.token_kind = '')
        THEN '{NOT_CALLS}' ELSE '' END AS cause) k
WHERE c.charge_period_start >= %(start)s AND c.charge_period_start < %(end)s
    AND (k.cause <> '' OR c.charge_period_end <= c.charge_period_start + interval '1 day')
    AND (c.model <> '' OR p.provider = ANY(%(dedicated)s)
        OR (c.service_category = '{AI_CATEGORY}' AND c.service_subcategory = 'Generative AI'))
    AND NOT EXISTS (SELECT FROM attribution_dailycost x WHERE x.day = (c.charge_period_start AT TIME ZONE 'UTC')::date
        AND x.source_id = c.source_id AND x.method = 'duplicate' AND x.basis = 'billed'
        AND x.provider_name = c.service_provider_name AND x.sub_account = c.sub_account_id)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, c.sku_id, c.sku_price_id
"""
_PRICES = f"""
SELECT id, provider, model, service_tier, currency, is_conservative, provenance, request_price,
    {", ".join(f"{kind}_price" for kind in TOKEN_KINDS)}
FROM ingest_unitprice WHERE id = ANY(%(ids)s)
    OR (known_to IS NULL AND NOT is_conservative AND (provider, model) IN (SELECT unnest(%(providers)s::text[]),
        unnest(%(models)s::text[])) AND valid_from < %(end)s AND coalesce(valid_to > %(start)s, TRUE))
ORDER BY id
"""


@dataclass(slots=True)
class _Accounts:
    """How usage and bill name one account: by the bill's names where they meet, else not at all."""

    billed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    hidden: set[str] = field(default_factory=set)

    def learn(self, usage: Iterable[tuple[Any, ...]]) -> None:
        named: dict[str, set[bool | None]] = defaultdict(set)
        for provider, _otel, account, project, *_rest in usage:
            known = self.billed.get(provider, set())
            is_named = bool(account or project)
            named[provider].add(bool(known & {account, project}) if is_named else None)
        for provider, found in named.items():
            known = self.billed.get(provider, set())
            if known and ((False in found and True not in found) or (None in found and len(known) > 1)):
                self.hidden.add(provider)

    def of(self, provider: str, account: str, project: str = "") -> str:
        if provider in self.hidden:
            return ""
        known = self.billed.get(provider, set())
        if account not in known and project in known:
            return project
        if not account and not project and len(known) == 1:
            return next(iter(known))
        return account or project


def gather(*, days: Days, kept: Mapping[date, list[calls.Row]]) -> tuple[Month, dict[date, list[calls.Row]]]:
    """Everything that is known about consecutive days: usage with a day before and after, charges, prices and rates; and the
    repeats in the log of those days that were looked through. `kept` are those of days that did not change since.
    """
    month = Month(list(days))
    start = days.start_at - _DAY
    charges = _fetch(_LINES, {**_bill_parameters(), "start": days.start_at, "end": days.end_at})
    usage = calls.by_hour(start=start, end=days.end_at + _DAY)
    accounts = _Accounts()
    for _day, provider, account, *_rest in (row for row in charges if not row[7]):
        accounts.billed[provider].add(account)
    accounts.learn(usage)
    shape = _Shape(accounts, charges)
    _read_charges(month, charges, shape)
    otel = _read_usage(month, usage, shape, start)
    _read_prices(month, otel, days)
    _read_rates(month, days)
    repeats = {day: kept[day] if day in kept else calls.twice(day=day) for day in _apart(month)}
    for rows in repeats.values():
        _read_usage(month, rows, shape, start, is_twice=True)
    return month, repeats


class _Shape:
    """Which cell a row belongs to, as fine as the bill tells: without kinds, without models, or without accounts."""

    def __init__(self, accounts: _Accounts, charges: list[tuple[Any, ...]]) -> None:
        self._accounts = accounts
        self._without_kind: set[tuple[str, str, str]] = set()
        models: dict[tuple[str, str], set[str]] = defaultdict(set)
        currencies: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for row in charges:
            _day, provider, account, model, kind, currency, _used, cause = row[:8]
            key = (provider, accounts.of(provider, account))
            currencies[key][currency] += abs(row[13])
            if not cause:
                models[key].add(model)
                if not kind:
                    self._without_kind.add((*key, model))
        self._without_model = {key for key, found in models.items() if found == {""}}
        self._currency = {key: max(sums, key=lambda name: (sums[name], name)) for key, sums in currencies.items()}

    def account(self, provider: str, account: str, project: str = "") -> str:
        return self._accounts.of(provider, account, project)

    def names_models(self, provider: str, account: str) -> bool:
        return (provider, account) not in self._without_model

    def cell(self, provider: str, account: str, model: str, kind: str, currency: str) -> Cell:
        if (provider, account) in self._without_model:
            return Cell(provider, account, "", "", currency)
        kind = "" if (provider, account, model) in self._without_kind else kind
        return Cell(provider, account, model, kind, currency)

    def usage_cell(self, provider: str, account: str, model: str, kind: str, price_currency: str) -> Cell:
        """The cell of usage is in the bill's currency where there is a bill."""
        currency = self._currency.get((provider, account), price_currency)
        return self.cell(provider, account, model, kind, currency)


def _bill_parameters() -> dict[str, Any]:
    own = PROVIDERS[SELF_HOSTED].provider_name
    dedicated = sorted({one.provider_name for one in PROVIDERS.values()} - {*CLOUDS, own})
    return {"beside": list(BESIDE_CALLS), "dedicated": dedicated}


def _read_charges(month: Month, charges: list[tuple[Any, ...]], shape: _Shape) -> None:
    complete: dict[str, set[date]] = defaultdict(set)
    marks: dict[str, datetime] = {}
    waiting: set[tuple[str, date]] = set()
    for row in charges:
        (
            day,
            provider,
            account,
            model,
            kind,
            currency,
            is_used,
            cause,
            is_complete,
            mark,
            tokens,
            count,
            digits,
            *sums,
        ) = row
        account = shape.account(provider, account)
        costs = dict(zip(_COSTS, sums, strict=True))
        if not cause and not model and shape.names_models(provider, account):
            cause = NOT_CALLS  # a line without a model beside lines with models: tools, storage, a platform fee
        if cause:
            cell = Cell(provider, account, model, "", currency)
            month.extras.append(Extra(cell, day, cause, **costs, rows=count))
        else:
            cell = shape.cell(provider, account, model, kind, currency)
            quantum = Decimal(count) / 2 * Decimal(1).scaleb(-digits)
            line = Line(tokens, **costs, quantum=quantum, is_committed=is_used)
            month.lines.setdefault((cell, day), []).append(line)
            complete[provider].add(day)
            if mark is not None:
                marks[provider] = max(marks.get(provider, mark), mark)
        if not is_complete:
            waiting.add((provider, day))
    for provider, days in complete.items():
        # A day inside what was delivered may have no charge at all.
        last = max((day for day in days if (provider, day) not in waiting), default=date.min)
        if provider in marks:
            last = max(last, marks[provider].date() - _DAY)
        month.complete.update((provider, day) for day in month.days if day <= last and (provider, day) not in waiting)


def _read_usage(
    month: Month, rows: list[tuple[Any, ...]], shape: _Shape, start: datetime, *, is_twice: bool = False
) -> dict[int, tuple[str, str]]:
    """Adds usage by hour; returns the provider name and OpenTelemetry name behind each price."""
    currencies = _currencies(month, {row[5] for row in rows})
    found: dict[int, tuple[str, str]] = {}
    for provider, otel, account, project, model, price, hour, requests, unknown, *counts in rows:
        account = shape.account(provider, account, project)
        found[price] = (provider, otel)
        at = int((hour - start).total_seconds()) // 3600
        if not is_twice:
            _count_calls(month, shape, (provider, account, model), hour, requests, unknown)
        for kind, count in (*zip(TOKEN_KINDS, counts, strict=True), (_REQUEST, requests)):
            if not count or (kind == _REQUEST and price not in currencies.priced_requests):
                continue
            cell = shape.usage_cell(provider, account, model, kind, currencies.by_price[price])
            classes = month.logged.setdefault(cell, {})
            one = classes.get((price, kind)) or classes.setdefault((price, kind), Logged())
            one.add(at, count, is_twice=is_twice)
    return found


@dataclass(slots=True)
class _Currencies:
    by_price: dict[int, str]
    priced_requests: set[int]


def _currencies(month: Month, ids: set[int]) -> _Currencies:
    rows = _fetch(
        "SELECT id, currency, request_price FROM ingest_unitprice WHERE id = ANY(%(ids)s)", {"ids": list(ids)}
    )
    return _Currencies({row[0]: row[1] for row in rows}, {row[0] for row in rows if row[2]})


def _count_calls(
    month: Month, shape: _Shape, key: tuple[str, str, str], hour: datetime, requests: int, unknown: int
) -> None:
    cell = shape.cell(*key, "", "")
    at = (cell.provider, cell.account, cell.model, hour.date())
    before = month.calls.get(at, Calls(0, 0))
    month.calls[at] = Calls(before.requests + requests, before.unknown + unknown)


def _read_prices(month: Month, used: dict[int, tuple[str, str]], days: Days) -> None:
    """The price rows usage was logged at, and what the models could cost in each tier, as stored, listed or by the vendor's
    usual factor."""
    billed = {(cell.provider, cell.model) for cell, _day in month.lines if cell.model}
    wanted = {(otel, model) for name, model in billed for otel in PROVIDERS if provider_name(otel) == name}
    wanted |= {(name, model) for name, model in billed}
    values = {
        "ids": list(used),
        "providers": [each for each, _model in sorted(wanted)],
        "models": [model for _each, model in sorted(wanted)],
        "start": days.start_at,
        "end": days.end_at,
    }
    known: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for price, provider, model, tier, currency, is_guess, _provenance, request, *kinds in _fetch(_PRICES, values):
        by_kind = {**dict(zip(TOKEN_KINDS, kinds, strict=True)), _REQUEST: request}
        month.prices[price] = Price(price, tier, currency, by_kind, is_guess)
        known[provider, model][tier].append(price)
    for otel, model in sorted({*known, *wanted}):
        ids = _in_other_tiers(month, otel, model, known[otel, model], days)
        month.tiers.setdefault((provider_name(otel), model), []).extend(ids)


def _in_other_tiers(month: Month, otel: str, model: str, known: dict[str, list[int]], days: Days) -> list[int]:
    found = []
    standard = known.get(price_tiers.STANDARD, [])
    for tier in _TIERS:
        found += known.get(tier, [])
        listed = price_list.period_on(otel, model, tier, days.last)
        options = [step.prices for step in listed.steps] if listed and not standard else []
        factor = price_tiers.multiplier(otel, tier)
        if listed and tier != price_tiers.STANDARD and not known.get(tier):
            options += [step.prices for step in listed.steps]
        if factor is not None and not known.get(tier):
            options += [factor.apply(month.prices[one].by_kind) for one in standard]
        for prices in options:
            currency = month.prices[standard[0]].currency if standard else "USD"
            made = -len(month.prices) - 1
            month.prices[made] = Price(made, tier, currency, dict(prices))
            found.append(made)
    return found


def _read_rates(month: Month, days: Days) -> None:
    """What one unit of each price's currency was worth in each bill's."""
    pairs = {
        (price.currency, cell.currency)
        for price in month.prices.values()
        for cell in {*month.logged, *(cell for cell, _day in month.lines)}
        if price.currency != cell.currency
    }
    for target in sorted({target for _, target in pairs}):
        wanted = sorted(source for source, into in pairs if into == target)
        for source, known in rates.daily(currencies=wanted, into=target, days=list(days)).items():
            month.rates.update(((day, source, target), one.value) for day, one in known.items())


def _apart(month: Month) -> list[date]:
    """The days on which bill and log do not agree to the token, so that it is worth looking for repeats."""
    found = set()
    for cell in {*month.logged, *(cell for cell, _day in month.lines)}:
        for day in month.days:
            lines = month.lines.get((cell, day), [])
            start = month.start(day)
            logged = sum(one.between(start, start + 24) for one in month.logged.get(cell, {}).values())
            if day in found or (cell.provider, day) not in month.complete:
                continue
            if logged != sum((line.tokens or Decimal(0) for line in lines), Decimal(0)):
                found.add(day)
    return sorted(found)


def _fetch(sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
