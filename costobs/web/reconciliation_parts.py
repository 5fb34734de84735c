"""The parts of the reconciliation page: the bridge, causes, providers, days and thresholds, in words."""

from collections.abc import Sequence
from decimal import Decimal
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from attribution import queries
from costobs.kernel import fmt
from costobs.kernel.period import Days
from costobs.kernel.period import month as month_of
from costobs.web import charts, filters
from costobs.web.parts import Cell, ChartCard, Column, Link, Notice, Row, Table

# Name, and what it means for whoever reads it.
CAUSES = {
    "bypass": ("Bypass", "Billed, and never logged by any source"),
    "duplicates": ("Logged twice", "The same calls in the log again, by id or by content"),
    "day_boundary": ("Day boundary", "The bill cuts its days at another hour than UTC midnight"),
    "cached_tokens": ("Cached tokens", "One side counts cached tokens as input, the other does not"),
    "cancelled": ("Cancelled streams", "Output that was billed for calls whose usage nobody knows"),
    "tier": ("Service tier", "Billed as batch, flex or priority, logged as another tier"),
    "price": ("Price", "The same tokens at another unit price than ours"),
    "unpriced": ("Unpriced model", "We counted a conservative price because none is known"),
    "fx": ("Exchange rate", "The bill uses another rate than was published for the day"),
    "discount": ("Discount", "Billed below the list cost that the bill itself states"),
    "commitment": ("Commitment", "Bought in advance, or covered by what was"),
    "credit": ("Credit", "Credits on the bill"),
    "tax": ("Tax", "Taxes on the bill"),
    "adjustment": ("Correction", "Adjustments and corrections on the bill"),
    "not_calls": ("Not for calls", "Storage, training, tools and fees beside the calls"),
    "rounding": ("Rounding", "What the bill loses or gains by rounding its rows"),
    "unknown": ("Unknown", "No evidence explains it"),
}
_SMALL_SHARE = Decimal("0.05")


def newest_days() -> Days | None:
    """The newest month in which something was compared."""
    last = queries.last_compared_day()
    return month_of(last) if last is not None else None


def _joined(names: Sequence[str]) -> str:
    """`Anthropic, OpenAI and AWS`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


class Parts:
    """One comparison in words, tables and charts."""

    def __init__(self, asked: filters.Asked, found: queries.Comparison, request: HttpRequest) -> None:
        self._asked, self._found, self._request = asked, found, request
        self._currency = found.currency

    def heading(self) -> str:
        found, days = self._found, self._asked.scope.days
        when = fmt.period(days.start, days.end)
        if days == month_of(days.start):
            when = fmt.month(days.start)
        if not any(one.days for one in found.providers):
            return f"{when}: no bill to compare with yet" if found.providers else f"{when}: nothing to reconcile"
        if not found.difference:
            return f"{when}: estimates agree with the bills, {self._money(found.billed_cost)}"
        side = "below" if found.difference > 0 else "above"
        share = f" ({fmt.percent(abs(found.difference) / found.billed_cost)})" if found.billed_cost > 0 else ""
        return f"{when}: estimates were {self._money(abs(found.difference))}{share} {side} the bills"

    def sub(self) -> str:
        found = self._found
        parts = []
        if found.explained_share is not None:
            parts.append(f"{fmt.percent(found.explained_share, places=0)} of the differences are explained")
        over = [one.provider for one in found.providers if one.is_over]
        if over:
            parts.append(f"{_joined(over)} {'is' if len(over) == 1 else 'are'} over the threshold")
        if found.waiting_cost:
            parts.append(f"{self._money(found.waiting_cost)} of estimates wait for their bill")
        if found.reconciled_at:
            parts.append(f"compared {fmt.moment(found.reconciled_at)}")
        said = "; ".join(parts)
        return (
            f"{said[:1].upper()}{said[1:]}."
            if said
            else "Bills are compared with usage of the same days once they are complete."
        )

    def notice(self) -> Notice | None:
        if not self._found.providers:
            text = "Load bills and usage of providers of models; a minute later they are compared."
            return Notice("empty", "Nothing was compared in these days", text, [Link("Sources", reverse("sources"))])
        if not any(one.days for one in self._found.providers):
            text = "Usage is here, and no bill of these days is complete. Estimates count until then."
            return Notice("not_arrived", "No complete bill yet", text, [Link("Sources", reverse("sources"))])
        return None

    def bridge(self) -> ChartCard | None:
        found = self._found
        if not any(one.days for one in found.providers):
            return None
        steps = [
            charts.Effect(CAUSES[one.cause][0], one.amount, url=self._rows_url(one.cause))
            for one in sorted(found.causes, key=lambda one: list(CAUSES).index(one.cause))
            if one.amount
        ]
        whole = max(abs(found.estimated_cost), abs(found.billed_cost))
        is_small = sum((abs(step.amount) for step in steps), Decimal(0)) < whole * _SMALL_SHARE
        effects = steps if is_small and steps else [
            charts.Effect("Estimated", found.estimated_cost, is_total=True, is_estimated=True),
            *steps,
            charts.Effect("Billed", found.billed_cost, is_total=True),
        ]  # fmt: skip
        return ChartCard(
            id="bridge",
            title="From the estimate to the bill",
            caption=f"{self._currency}, usage at list price against billed cost, UTC days."
            + (" Only the causes are drawn: they are less than 5 % of the bill." if is_small and steps else ""),
            chart=charts.bridge(effects=effects, currency=self._currency),
            summary=self._bridge_sentence(),
        )

    def causes(self) -> Table:
        found = self._found
        rows = [
            Row(
                [
                    Cell(CAUSES[one.cause][0], self._rows_url(one.cause), note=CAUSES[one.cause][1]),
                    self._exact(one.amount, signed=True),
                    Cell(
                        fmt.percent(one.amount / found.billed_cost, signed=True)
                        if found.billed_cost > 0
                        else fmt.NOT_APPLICABLE
                    ),
                    Cell(fmt.count(one.tokens) if one.tokens else fmt.NOT_APPLICABLE),
                    Cell(fmt.integer(one.days)),
                ],
                kind="unallocated" if one.cause == "unknown" else "",
            )
            for one in found.causes
        ]
        columns = [
            Column("Cause", wide=True),
            Column("Amount", numeric=True),
            Column("Of the bill", numeric=True),
            Column("Tokens", numeric=True),
            Column("Days", numeric=True),
        ]
        sums = [self._exact(found.difference, signed=True), Cell(""), Cell(""), Cell("")]
        total = Row([Cell("Billed − estimated"), *sums], kind="total") if rows else None
        empty = Notice("info", "Nothing differs", "What was compared agrees to the last digit.")
        note = "A quantity is valued at our own price, a price at the billed tokens. A cause leads to its rows."
        return Table("Why estimates and bills differ", columns, rows, total, empty, note=note)

    def providers(self) -> Table:
        rows = [self._provider(one) for one in self._found.providers]
        columns = [
            Column("Provider"),
            Column("Estimated", numeric=True),
            Column("Billed", numeric=True),
            Column("Difference", numeric=True),
            Column("Of the bill", numeric=True),
            Column("Logged", numeric=True, title="Share of the billed calls, at list cost, that a source has logged"),
            Column("Largest cause"),
            Column("State", title="Against the threshold, without what the bill adds by itself"),
        ]
        found = self._found
        amounts = (found.estimated_cost, found.billed_cost, found.difference)
        total = Row([Cell("Total"), *(self._exact(each) for each in amounts), *[Cell("")] * 4], kind="total")
        empty = Notice("empty", "No provider in these days", "Choose other days, or load bills and usage.")
        return Table("By provider", columns, rows, total if rows else None, empty)

    def _provider(self, one: queries.ProviderLine) -> Row:
        waiting = (
            f"{fmt.money(one.waiting_cost, self._currency, places=2)} waits for its bill" if one.waiting_cost else ""
        )
        share = (
            fmt.percent(one.difference / one.billed_cost, signed=True) if one.billed_cost > 0 else fmt.NOT_APPLICABLE
        )
        state = "waiting" if not one.days else "over" if one.is_over else "matched"
        return Row(
            [
                Cell(one.provider, filters.url(self._request, provider=one.provider)),
                Cell(
                    fmt.money(one.estimated_cost, self._currency, places=2),
                    title=f"{one.estimated_cost:f}",
                    note=waiting,
                ),
                self._exact(one.billed_cost),
                self._exact(one.difference, signed=True),
                Cell(share),
                Cell(fmt.percent(one.coverage) if one.coverage is not None else fmt.NOT_APPLICABLE),
                Cell(
                    CAUSES[one.largest.cause][0] if one.largest else fmt.NOT_APPLICABLE,
                    note=fmt.money(one.largest.amount, self._currency, places=2, signed=True) if one.largest else "",
                ),
                Cell(state=state),
            ]
        )

    def trend(self) -> ChartCard | None:
        by_day = {one.day: one for one in self._found.by_day}
        if not any(one.billed_cost is not None for one in by_day.values()):
            return None
        days = list(self._asked.scope.days)
        shown = [by_day.get(day) for day in days]
        errors = [one.drift_cost if one else None for one in shown]
        logged = [one.coverage if one else None for one in shown]
        panels = [
            charts.Panel(
                "Billed minus estimated, without what the bill adds by itself",
                [charts.Line("error", "error", errors, "c1")],
                charts.money_writer(self._currency),
                bars=True,
            ),
            charts.Panel("Logged share of the bill", [charts.Line("logged", "logged", logged, "c2")], fmt.percent),
        ]
        known = [one for one in shown if one and one.coverage is not None]
        least = min(known, key=lambda one: (one.coverage or Decimal(0), one.day), default=None)
        return ChartCard(
            id="trend",
            title="Error and coverage by day",
            caption=f"{self._currency}, UTC days. A day without a point has no complete bill.",
            chart=charts.multiples(at=days, panels=panels),
            summary=f"The least was logged on {fmt.day(least.day)}: {fmt.percent(least.coverage)} of the bill."
            if least
            else "No bill of these days charges for calls.",
            table=self._days_table(),
        )

    def _days_table(self) -> Table:
        rows = [
            Row(
                [
                    Cell(fmt.day(one.day)),
                    self._exact(one.estimated_cost),
                    self._exact(one.billed_cost) if one.billed_cost is not None else Cell("not billed yet"),
                    self._exact(one.drift_cost, signed=True)
                    if one.drift_cost is not None
                    else Cell(fmt.NOT_APPLICABLE),
                    Cell(fmt.percent(one.coverage) if one.coverage is not None else fmt.NOT_APPLICABLE),
                ]
            )
            for one in self._found.by_day
        ]
        names = ("Estimated", "Billed", "Error", "Logged")
        return Table("By day", [Column("Day"), *(Column(name, numeric=True) for name in names)], rows)

    def thresholds(self) -> Table:
        rows = [
            Row(
                [
                    Cell(one.provider or "All others"),
                    Cell(fmt.percent(one.percent / 100)),
                    Cell(fmt.money(one.amount, self._currency, places=2), title="in the currency of the bill"),
                    Cell(one.set_by or "default"),
                ]
            )
            for one in queries.thresholds()
        ]
        columns = [
            Column("Provider"),
            Column("Share of the bill", numeric=True),
            Column("And at least", numeric=True),
            Column("Set by"),
        ]
        return Table("Thresholds", columns, rows)

    def other_currencies(self) -> list[tuple[str, str]]:
        """The other currencies of bills, with the address of each."""
        return [
            (currency, filters.url(self._request, currency=currency))
            for currency in self._found.currencies
            if currency != self._currency
        ]

    def _bridge_sentence(self) -> str:
        known = [one for one in self._found.causes if one.amount]
        if not known:
            return "Estimates and bills agree."
        words = [f"{CAUSES[one.cause][0].lower()} {self._money(one.amount, signed=True)}" for one in known[:3]]
        return f"Largest: {', '.join(words)}."

    def _rows_url(self, cause: str) -> str:
        query = [
            ("preset", "custom"),
            ("from", self._asked.scope.days.start.isoformat()),
            ("to", self._asked.scope.days.last.isoformat()),
            ("currency", self._currency),
            ("cause", cause),
        ]
        provider = self._request.GET.get("provider", "")
        return (
            f"{reverse('reconciliation_rows')}?{urlencode([*query, *([('provider', provider)] if provider else [])])}"
        )

    def _money(self, amount: Decimal, *, signed: bool = False) -> str:
        return fmt.money(amount, self._currency, mode="kpi", signed=signed)

    def _exact(self, amount: Decimal, *, signed: bool = False) -> Cell:
        return Cell(fmt.money(amount, self._currency, places=2, signed=signed), title=f"{amount:f}")
