"""Estimates against bills: how far apart they are, why, how much of the bill was logged, and the rows behind each cause."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from attribution.causes.facts import TOKEN_KINDS
from attribution.dimensions import canonical_sql, provider_name_sql
from attribution.queries.scoped import fetch
from costobs.kernel.period import Days
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope

ZERO = Decimal(0)
# What a bill adds by itself says nothing about how good the estimate of calls was.
OF_THE_BILL = ("adjustment", "commitment", "credit", "discount", "not_calls", "tax")
DEFAULT_PERCENT, DEFAULT_AMOUNT = Decimal(2), Decimal(10)


@dataclass(frozen=True, slots=True)
class CauseSum:
    """One cause over the days: its net amount, the tokens behind it, and on how many cells and days it was found."""

    cause: str
    amount: Decimal
    tokens: Decimal
    cells: int
    days: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """From when on people are told: so many percent of what was billed, and at least so much."""

    provider: str  # "" is for every provider without one of its own
    percent: Decimal
    amount: Decimal
    set_by: str = ""

    def is_passed(self, drift: Decimal, billed: Decimal) -> bool:
        """Whether a drift is both: a large share, and a large amount."""
        return abs(drift) >= self.amount and abs(drift) * 100 > self.percent * abs(billed)


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """One provider: `drift` is the part of the difference that the bill did not add by itself, `unknown` what nothing explains."""

    provider: str
    currency: str
    estimated_cost: Decimal
    billed_cost: Decimal
    list_cost: Decimal
    covered_cost: Decimal
    waiting_cost: Decimal  # estimated, and not compared because the bill is not complete
    drift_cost: Decimal
    unknown_cost: Decimal  # regardless of signs
    days: int
    largest: CauseSum | None
    threshold: Threshold

    @property
    def difference(self) -> Decimal:
        """Billed minus estimated."""
        return self.billed_cost - self.estimated_cost

    @property
    def coverage(self) -> Decimal | None:
        """The share of what was billed for calls, at list, that logged calls stand for."""
        return self.covered_cost / self.list_cost if self.list_cost > 0 else None

    @property
    def is_over(self) -> bool:
        """Whether people are to be told."""
        return self.threshold.is_passed(self.drift_cost, self.billed_cost) or self.threshold.is_passed(
            self.unknown_cost, self.billed_cost
        )


@dataclass(frozen=True, slots=True)
class DayLine:
    """One day, over what was compared; a day that waits has None for what was billed."""

    day: date
    estimated_cost: Decimal
    billed_cost: Decimal | None
    coverage: Decimal | None
    drift_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Estimates against bills in one currency. The causes add to the difference exactly."""

    days: Days
    currency: str
    currencies: tuple[str, ...]  # all that there are
    estimated_cost: Decimal
    billed_cost: Decimal
    waiting_cost: Decimal
    gross_cost: Decimal  # of the causes, regardless of signs
    unknown_cost: Decimal  # the part of it that nothing explains
    causes: tuple[CauseSum, ...]
    providers: tuple[ProviderLine, ...]
    by_day: tuple[DayLine, ...]
    reconciled_at: datetime | None

    @property
    def difference(self) -> Decimal:
        """Billed minus estimated."""
        return self.billed_cost - self.estimated_cost

    @property
    def explained_share(self) -> Decimal | None:
        """The share of all differences that a cause is known of; None where there are none."""
        return 1 - self.unknown_cost / self.gross_cost if self.gross_cost else None


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One cell in which a cause was found."""

    cell_id: int
    day: date
    provider: str
    account: str
    model: str
    token_kind: str
    currency: str
    logged_tokens: Decimal
    billed_tokens: Decimal | None
    estimated_cost: Decimal
    billed_cost: Decimal
    amount: Decimal
    tokens: Decimal
    evidence: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BehindRow:
    """One row of a source behind a cell: a charge of the bill, or calls of the log."""

    source: str
    kind: str  # charge, event, hour
    at: datetime
    name: str  # row of the delivery, id of the event, hour
    words: str
    tokens: Decimal | None
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class MonthReconciled:
    """What month close asks: how much of the differences is explained, who is over, and whether days are missing."""

    month: date
    explained_share: Decimal | None  # None: nothing differs, or nothing is compared
    providers_over: tuple[str, ...]
    days_compared: int
    providers_waiting: tuple[str, ...]  # with usage that no complete bill was compared with

    @property
    def is_reconciled(self) -> bool:
        """Every day is compared, and nobody is over a threshold."""
        return self.days_compared > 0 and not self.providers_over and not self.providers_waiting


def compared(*, scope: SpendScope, provider: str = "") -> Comparison:
    """The comparison of the scope's days in its currency, or in the one with the largest bill where there is nothing in it.
    Bills are about all teams at once: for somebody who sees only some there is nothing.
    """
    days = scope.days if scope.teams is None else Days(scope.days.start, scope.days.start)
    values: dict[str, Any] = {"start": days.start, "end": days.end, "provider": provider}
    found = fetch(
        f"SELECT currency, sum(abs(billed_cost)) {_CELLS} GROUP BY 1 HAVING count(*) > 0 ORDER BY 2 DESC, 1", values
    )
    currencies = [currency for currency, _size in found]
    currency = scope.currency if scope.currency in currencies or not currencies else currencies[0]
    values["currency"] = currency
    providers = _providers(values)
    causes = [CauseSum(*row) for row in fetch(_CAUSES.format(by="", order="abs(sum(x.amount)) DESC, x.cause"), values)]
    at = fetch(
        "SELECT max(reconciled_at) FROM attribution_reconciledday WHERE day >= %(start)s AND day < %(end)s", values
    )[0][0]
    return Comparison(
        days=scope.days,
        currency=currency,
        currencies=tuple(currencies),
        estimated_cost=sum((one.estimated_cost for one in providers), ZERO),
        billed_cost=sum((one.billed_cost for one in providers), ZERO),
        waiting_cost=sum((one.waiting_cost for one in providers), ZERO),
        gross_cost=_gross(values),
        unknown_cost=sum((one.unknown_cost for one in providers), ZERO),
        causes=tuple(causes),
        providers=tuple(providers),
        by_day=tuple(_by_day(values)),
        reconciled_at=at,
    )


_CELLS = """FROM attribution_reconciledcell d WHERE d.day >= %(start)s AND d.day < %(end)s
    AND (%(provider)s = '' OR d.provider = %(provider)s)"""
_IN = f"{_CELLS} AND d.currency = %(currency)s"
_CAUSES = f"""
SELECT {{by}} x.cause, sum(x.amount), sum(x.tokens), count(*), count(DISTINCT x.day)
FROM attribution_reconciledcause x JOIN (SELECT d.id, d.provider {_IN}) c ON c.id = x.cell_id
WHERE x.day >= %(start)s AND x.day < %(end)s GROUP BY {{by}} x.cause ORDER BY {{order}}
"""


def _gross(values: dict[str, Any]) -> Decimal:
    sql = f"""SELECT coalesce(sum(abs(x.amount)), 0) FROM attribution_reconciledcause x
        JOIN (SELECT d.id {_IN}) c ON c.id = x.cell_id WHERE x.day >= %(start)s AND x.day < %(end)s"""
    return Decimal(fetch(sql, values)[0][0])


def _providers(values: dict[str, Any]) -> list[ProviderLine]:
    sql = f"""
        SELECT d.provider, coalesce(sum(d.estimated_cost) FILTER (WHERE d.is_billed), 0),
            coalesce(sum(d.billed_cost) FILTER (WHERE d.is_billed), 0),
            coalesce(sum(d.list_cost) FILTER (WHERE d.is_billed AND d.billed_tokens IS DISTINCT FROM 0), 0),
            coalesce(sum(d.covered_cost) FILTER (WHERE d.is_billed), 0),
            coalesce(sum(d.estimated_cost) FILTER (WHERE NOT d.is_billed), 0),
            coalesce(sum(x.drift), 0), coalesce(sum(x.unexplained), 0), count(DISTINCT d.day) FILTER (WHERE d.is_billed)
        FROM (SELECT d.* {_IN}) d
        LEFT JOIN LATERAL (SELECT sum(c.amount) FILTER (WHERE c.cause <> ALL(%(of_the_bill)s)) AS drift,
                sum(abs(c.amount)) FILTER (WHERE c.cause = 'unknown') AS unexplained
            FROM attribution_reconciledcause c WHERE c.cell_id = d.id) x ON TRUE
        GROUP BY 1 ORDER BY 3 DESC, 2 DESC, 1"""
    largest: dict[str, CauseSum] = {}
    for provider, *rest in fetch(_CAUSES.format(by="c.provider,", order="abs(sum(x.amount)) DESC, x.cause"), values):
        largest.setdefault(provider, CauseSum(*rest))
    known = {one.provider: one for one in thresholds()}
    found = fetch(sql, {**values, "of_the_bill": list(OF_THE_BILL)})
    lines: list[list[Any]] = [
        [name, values["currency"], *sums, largest.get(name), known.get(name, known[""])] for name, *sums in found
    ]
    return [ProviderLine(*line) for line in lines]


def _by_day(values: dict[str, Any]) -> list[DayLine]:
    sql = f"""
        SELECT d.day, sum(d.estimated_cost), sum(d.billed_cost) FILTER (WHERE d.is_billed),
            sum(d.covered_cost) FILTER (WHERE d.is_billed),
            sum(d.list_cost) FILTER (WHERE d.is_billed AND d.billed_tokens IS DISTINCT FROM 0), bool_and(d.is_billed),
            sum((SELECT coalesce(sum(c.amount), 0) FROM attribution_reconciledcause c
                WHERE c.cell_id = d.id AND c.cause <> ALL(%(of_the_bill)s)))
        {_IN} GROUP BY 1 ORDER BY 1"""
    return [
        DayLine(day, estimated, billed, covered / listed if listed else None, drift if billed is not None else None)
        for day, estimated, billed, covered, listed, _all, drift in fetch(
            sql, {**values, "of_the_bill": list(OF_THE_BILL)}
        )
    ]


def cause_rows(
    *, scope: SpendScope, cause: str, provider: str = "", limit: int = 100, offset: int = 0
) -> tuple[list[CauseRow], int]:
    """The cells in which a cause was found, the largest first, and how many there are."""
    if scope.teams is not None:
        return [], 0
    values = {
        "start": scope.days.start, "end": scope.days.end, "currency": scope.currency, "provider": provider,
        "cause": cause, "limit": limit, "offset": offset,
    }  # fmt: skip
    sql = f"""
        SELECT c.id, c.day, c.provider, c.account, c.model, c.token_kind, c.currency, c.logged_tokens, c.billed_tokens,
            c.estimated_cost, c.billed_cost, x.amount, x.tokens, x.evidence::text, count(*) OVER ()
        FROM attribution_reconciledcause x JOIN (SELECT d.* {_IN}) c ON c.id = x.cell_id
        WHERE x.day >= %(start)s AND x.day < %(end)s AND x.cause = %(cause)s
        ORDER BY abs(x.amount) DESC, c.id LIMIT %(limit)s OFFSET %(offset)s"""
    rows = fetch(sql, values)
    return [_cause_row(row) for row in rows], int(rows[0][-1]) if rows else 0


def cause_row(*, scope: SpendScope, cell_id: int, cause: str) -> CauseRow | None:
    """One cell with the part of a cause in it."""
    if scope.teams is not None:
        return None
    sql = """SELECT c.id, c.day, c.provider, c.account, c.model, c.token_kind, c.currency, c.logged_tokens, c.billed_tokens,
            c.estimated_cost, c.billed_cost, x.amount, x.tokens, x.evidence::text, 1
        FROM attribution_reconciledcause x JOIN attribution_reconciledcell c ON c.id = x.cell_id
        WHERE c.id = %(cell)s AND x.cause = %(cause)s"""
    rows = fetch(sql, {"cell": cell_id, "cause": cause})
    return _cause_row(rows[0]) if rows else None


def _cause_row(row: tuple[Any, ...]) -> CauseRow:
    told: list[Any] = [*row[:13], json.loads(row[13])]
    return CauseRow(*told)


_CHARGES = f"""
SELECT s.name, 'charge', c.charge_period_start, v.export || ', row ' || c.row_number,
    concat_ws(', ', nullif(c.charge_category, ''), nullif(c.sku_id, ''), nullif(c.charge_description, '')),
    coalesce(c.consumed_quantity, c.pricing_quantity), c.billed_cost
FROM ingest_charge c JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current'
JOIN ingest_source s ON s.id = c.source_id
WHERE c.charge_period_start >= %(start)s AND c.charge_period_start < %(end)s
    AND {canonical_sql("c.service_provider_name")} = %(provider)s AND %(account)s IN ('', c.sub_account_id)
    AND c.billing_currency = %(currency)s AND CASE %(cause)s WHEN 'credit' THEN c.charge_category = 'Credit'
        WHEN 'tax' THEN c.charge_category = 'Tax'
        WHEN 'commitment' THEN c.charge_category = 'Purchase' OR c.commitment_discount_status = 'Used'
        WHEN 'adjustment' THEN c.charge_category = 'Adjustment' OR c.charge_class = 'Correction'
        WHEN 'not_calls' THEN c.charge_category = 'Usage' AND (c.model = '' OR c.cost_kind NOT IN ('', 'api_inference'))
        ELSE c.charge_category = 'Usage' AND %(model)s IN ('', c.model) AND %(kind)s IN ('', c.token_kind) END
ORDER BY abs(c.billed_cost) DESC, c.row_number LIMIT %(limit)s
"""
_USAGE_WHERE = f"""
{provider_name_sql("f.provider")} = %(provider)s AND %(model)s IN ('', f.model)
    AND %(account)s IN ('', coalesce(a.attributes->>'account', ''), coalesce(a.attributes->>'project', ''))
"""
_EVENTS = f"""
SELECT s.name, 'event', e.occurred_at, e.event_id,
    concat_ws(', ', CASE WHEN NOT e.usage_known THEN 'usage unknown' END, nullif(e.outcome, ''), f.service_tier),
    e.input_uncached + e.cache_read + e.cache_write_5m + e.cache_write_1h + e.output, NULL::numeric
FROM (SELECT x.*, count(*) OVER (PARTITION BY x.event_id) > 1 OR count(*) OVER (PARTITION BY x.source_id,
        x.attribute_set_id, x.offering_id, x.occurred_at, x.input_uncached, x.cache_read, x.output) > 1 AS is_twice
    FROM ingest_usageevent x WHERE x.occurred_at >= %(start)s AND x.occurred_at < %(end)s) e
JOIN ingest_offering f ON f.id = e.offering_id JOIN ingest_attributeset a ON a.id = e.attribute_set_id
JOIN ingest_source s ON s.id = e.source_id
WHERE {_USAGE_WHERE} AND CASE WHEN %(cause)s = 'duplicates' THEN e.is_twice ELSE NOT e.usage_known END
ORDER BY e.occurred_at, e.event_id, e.source_id LIMIT %(limit)s
"""
_HOURS = f"""
SELECT s.name, 'hour', u.hour, '', concat_ws(', ', u.requests || CASE WHEN u.requests = 1 THEN ' call' ELSE ' calls' END,
        nullif(f.service_tier, '')),
    CASE %(kind)s {" ".join(f"WHEN '{kind}' THEN u.{kind}" for kind in TOKEN_KINDS)}
        ELSE {" + ".join(f"u.{kind}" for kind in TOKEN_KINDS)} END, NULL::numeric
FROM ingest_usagehour u JOIN ingest_offering f ON f.id = u.offering_id
JOIN ingest_attributeset a ON a.id = u.attribute_set_id JOIN ingest_source s ON s.id = u.source_id
WHERE u.hour >= %(start)s AND u.hour < %(end)s AND {_USAGE_WHERE} ORDER BY u.hour, s.name, u.price_id LIMIT %(limit)s
"""


def behind(*, scope: SpendScope, row: CauseRow, cause: str, limit: int = 500) -> list[BehindRow]:
    """The rows of sources behind one cell: its charges, and the calls that were logged, by event where the cause is about
    single calls.
    """
    if scope.teams is not None:
        return []
    day = Days(row.day, date.fromordinal(row.day.toordinal() + 1))
    values = {
        "start": day.start_at, "end": day.end_at, "provider": row.provider, "account": row.account, "model": row.model,
        "kind": row.token_kind, "currency": row.currency, "cause": cause,
        "limit": limit,
    }  # fmt: skip
    found = fetch(_CHARGES, values)
    if cause in {"duplicates", "cancelled"}:
        found += fetch(_EVENTS, values)
    elif cause not in OF_THE_BILL:
        # Hours of the days around it are what a day boundary moved.
        around = timedelta(days=1) if cause == "day_boundary" else timedelta(0)
        found += fetch(_HOURS, {**values, "start": day.start_at - around, "end": day.end_at + around})
    return [BehindRow(*one) for one in found]


def last_compared_day() -> date | None:
    """The newest day on which a bill was compared."""
    found: date | None = fetch("SELECT max(day) FROM attribution_reconciledcell WHERE is_billed")[0][0]
    return found


def thresholds() -> list[Threshold]:
    """The thresholds of providers, and the one for all others, which is there always."""
    rows = fetch("SELECT provider, percent, amount, set_by FROM attribution_driftthreshold ORDER BY provider")
    found = [Threshold(*row) for row in rows]
    return found if any(not one.provider for one in found) else [Threshold("", DEFAULT_PERCENT, DEFAULT_AMOUNT), *found]


def reconciled(*, month: date) -> MonthReconciled:
    """What month close asks about the month of that day, over all currencies."""
    days = month_of(month)
    whole = SpendScope(days, teams=None)
    sheets = [compared(scope=whole)]
    sheets += [
        compared(scope=SpendScope(days, currency=currency, teams=None))
        for currency in sheets[0].currencies
        if currency != sheets[0].currency
    ]
    lines = [one for sheet in sheets for one in sheet.providers]
    # Amounts of two currencies do not add; the currency that is explained worst speaks for the month.
    shares = [sheet.explained_share for sheet in sheets if sheet.explained_share is not None]
    counted = fetch(
        "SELECT count(*) FROM attribution_reconciledday WHERE day >= %(start)s AND day < %(end)s",
        {"start": days.start, "end": days.end},
    )
    return MonthReconciled(
        days.start,
        min(shares, default=None),
        tuple(sorted({one.provider for one in lines if one.is_over})),
        int(counted[0][0]),
        tuple(sorted({one.provider for one in lines if one.waiting_cost})),
    )
