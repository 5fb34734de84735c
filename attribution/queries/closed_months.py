"""Months that people reviewed and closed: what they say, what they rest on, and what has been corrected since."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import orjson

from attribution import periods
from attribution.models import DailyCost, PeriodBook
from attribution.queries import ownership
from attribution.queries.scoped import BOOKS, SHARE, Scoped, fetch
from attribution.splitting import COSTS
from costobs.kernel.period import Days
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class Restated:
    """One line of a closed month that is not what it was: the closed amount, and the amount with its adjustments.

    `brought_by` is the newest delivery with charges of the month, or the newest load of usage, since it closed; "" where none
    has come, as when a price or an authority changed. Only who sees everything is told.
    """

    provider_name: str
    service_name: str
    team: str
    cost_centre: str
    model: str
    source: str
    closed_cost: Decimal
    now_cost: Decimal
    booked_in: date  # the month that has the newest of its adjustments
    brought_by: str = ""
    brought_at: datetime | None = None

    @property
    def change(self) -> Decimal:
        """Now minus closed."""
        return self.now_cost - self.closed_cost


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What one month has in its books to correct an earlier, closed one."""

    month: date  # the corrected one
    provider_name: str
    service_name: str
    team: str
    cost_centre: str
    model: str
    source: str
    cost: Decimal


_LINE = ("provider_name", "service_name", "team", "cost_centre", "model", "source")
# Every column that tells rows of the books apart, ids replaced by what they stand for: it is the same in every database.
_SAID = (
    "d.day::text",
    "d.origin_day::text",
    "s.kind",
    "s.name",
    "a.attributes",
    *(
        f"d.{name}"
        for name in (
            "basis",
            "is_current",
            "is_unpriced",
            "currency",
            "sub_account",
            "region",
            "invoice_issuer_name",
            "provider_name",
            "service_name",
            "charge_category",
            "charge_class",
            "cost_kind",
            "purchase_option",
            "model",
            "deployment",
            "token_kind",
            "method",
        )
    ),
    SHARE,
    *(BOOKS[name] for name in ("team", "feature", "cost_centre", "environment")),
)


def state(*, month: date) -> str:
    """`reviewed` or `closed`, "" while nobody has done either."""
    found = PeriodBook.objects.filter(month=month, state__in=("reviewed", "closed")).values_list("state", flat=True)
    return found.first() or ""


def deliveries(*, days: Days) -> tuple[str, list[int]]:
    """Which deliveries `v` speak for these days, as SQL with the parameter `kept`: the current ones, or those that a closed
    month rests on.
    """
    if not len(days) or days != month_of(days.start) or not periods.is_closed(days.start):
        return "v.state = 'current'", []
    # A month without rows has no book of its own: it closed with a later one, and rests on nothing.
    book = PeriodBook.objects.filter(month=days.start, state="closed").first()
    return "v.id = ANY(%(kept)s)", list(book.deliveries) if book else []


def fingerprint(*, month: Days, exchange_rates: object) -> str:
    """SHA-256 of everything the books of a month say, owners and exchange rates included.

    The same inputs give the same hash in any database, whatever the order in which they came.
    """
    pins = ownership.every_pin()
    day = "coalesce(d.origin_day, d.day)" if pins.books else "d.day"
    said = ", ".join([*_SAID, *(f"trim_scale(d.{cost})" for cost in COSTS)])
    ((digest, rows),) = fetch(
        f"""SELECT encode(sha256(coalesce(string_agg(x.said, ''::bytea ORDER BY x.said), ''::bytea)), 'hex'), count(*)
            FROM (SELECT sha256(convert_to(ROW({said})::text, 'UTF8')) AS said FROM attribution_dailycost d
                  JOIN ingest_source s ON s.id = d.source_id JOIN ingest_attributeset a ON a.id = d.attribute_set_id
                  {ownership.owner_join(pins, model="d.model", day=day)} {ownership.team_join(pins, day=day)}
                  WHERE d.day >= %(start)s AND d.day < %(end)s) x""",
        {"start": month.start, "end": month.end},
    )
    document = {"month": month.start, "rows": rows, "books": digest, "exchange_rates": exchange_rates}
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def restatement(*, scope: SpendScope) -> list[Restated]:
    """What a closed month (`scope.days`) said against what is known now, by line; only lines that differ, the largest change
    first. The closed amounts stay what they are: the differences are booked in later months.
    """
    columns = ", ".join(f"r.{field.column}" for field in DailyCost._meta.concrete_fields if field.column != "day")
    table = f"""(SELECT {columns}, r.day, FALSE AS is_adjustment, r.day AS booked_on
            FROM attribution_dailycost r WHERE r.origin_day IS NULL
        UNION ALL SELECT {columns}, r.origin_day, TRUE, r.day FROM attribution_dailycost r WHERE r.origin_day IS NOT NULL)"""
    scoped = Scoped(scope, table=table, dimensions=_LINE)
    cost = scoped.cost
    sql = f"""
        SELECT {", ".join(scoped.keys())}, coalesce(sum({cost}) FILTER (WHERE NOT d.is_adjustment), 0), sum({cost}),
            max(d.booked_on) FILTER (WHERE d.is_adjustment)
        {scoped.source()} AND d.is_current GROUP BY 1, 2, 3, 4, 5, 6
        HAVING coalesce(sum({cost}) FILTER (WHERE d.is_adjustment), 0) <> 0
        ORDER BY abs(sum({cost}) FILTER (WHERE d.is_adjustment)) DESC, 1, 2, 3, 4, 5, 6"""
    rows = fetch(sql, scoped.parameters)
    brought = _brought(scope) if rows and scope.teams is None else {}
    found = []
    for provider, service, team, centre, model, source, closed, current, booked_on in rows:
        line = (provider, service, team, centre, model, source, closed, current, booked_on.replace(day=1))
        found.append(Restated(*line, *brought.get(source, ("", None))))
    return found


def adjustments(*, scope: SpendScope) -> list[Adjusted]:
    """What the scope's days have booked to correct earlier months, the largest amount first."""
    scoped = Scoped(scope, dimensions=_LINE)
    cost = scoped.cost
    sql = f"""
        SELECT date_trunc('month', d.origin_day)::date, {", ".join(scoped.keys())}, sum({cost})
        {scoped.source()} AND d.is_current AND d.origin_day IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7
        HAVING sum({cost}) <> 0 ORDER BY abs(sum({cost})) DESC, 1, 2, 3, 4, 5, 6, 7"""
    return [Adjusted(*row) for row in fetch(sql, scoped.parameters)]


def _brought(scope: SpendScope) -> dict[str, tuple[str, datetime]]:
    """The newest delivery or load of each source since the month closed, by name of the source."""
    sql = """
        SELECT DISTINCT ON (s.name) s.name, coalesce('delivery ' || left(v.run_id, 12) || ' of ' || v.export, l.name),
            coalesce(v.delivered_at, l.finished_at, l.started_at)
        FROM ingest_load l JOIN ingest_source s ON s.id = l.source_id
        LEFT JOIN ingest_delivery v ON v.load_id = l.id
        WHERE l.state IN ('succeeded', 'superseded') AND l.rows_loaded > 0
            AND l.started_at >= coalesce((SELECT closed_at FROM attribution_periodbook WHERE month = %(month)s), '-infinity')
            AND (v.id IS NULL OR EXISTS (SELECT FROM ingest_charge c WHERE c.delivery_id = v.id
                AND c.charge_period_start >= %(start_at)s AND c.charge_period_start < %(end_at)s))
        ORDER BY s.name, l.id DESC"""
    days = scope.days
    rows = fetch(sql, {"month": days.start, "start_at": days.start_at, "end_at": days.end_at})
    return {name: (words, at) for name, words, at in rows}
