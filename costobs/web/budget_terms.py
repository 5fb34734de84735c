"""The terms of a budget in words, what its spend is made of, and the budgets around it."""

from collections.abc import Sequence
from decimal import Decimal

from django.urls import reverse

from alerts.queries import BudgetDetail, BudgetLine, Relative
from alerts.wording import scope as scope_words
from costobs.kernel import fmt
from costobs.web.action_detail import Fact
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_PARTS = {
    "api": ("API calls", "Tokens of models that somebody else runs, at the bill or its estimate"),
    "gpu": ("Own GPUs, busy", "GPU time that calls used, at its amortised price"),
    "commitments": ("Commitments", "Used capacity that was bought ahead: reservations and savings plans, amortised"),
    "shared": ("Shared", "Its part of what all use, by the rules that split it"),
    "idle": ("Idle", "Capacity that was paid for and that nobody used"),
    "other": ("Other services", "Machines, storage, network, fine-tuning and the rest of the bills"),
    "unallocated": ("Unallocated", "What no rule gave to a team"),
    "unpriced": ("Unpriced", "Calls without a known price, at the dearest known price of their provider"),
    "converted": ("From other currencies", "Converted at the exchange rate of each day"),
}
_ROLLOVER = {
    "none": "nothing is carried over",
    "unused": "what was not used is carried over",
    "overrun": "what was overrun is taken off the next one",
    "both": "what was not used, or was overrun, is carried over",
}
_RELATIONS = {"above": "Above it", "below": "Below it", "beside": "Beside it"}


def facts(line: BudgetLine) -> list[Fact]:
    """How the amount of this period comes about, and what holds for the budget."""
    return [
        Fact("Amount", _amount(line)),
        Fact("Period", _period(line)),
        *([Fact("Holds", _holds(line))] if line.terms.starts_on or line.terms.ends_on else []),
        Fact("Carried over", _carried(line)),
        Fact("Borrowed", _borrowed(line)),
        Fact("Kind", _kind(line)),
        Fact("Criticality", line.terms.criticality.capitalize()),
        *(
            [Fact("Protected", "; ".join(scope_words(one) for one in line.terms.protected))]
            if line.terms.protected
            else []
        ),
        Fact("Currency", _currency(line)),
    ]


def doubt(line: BudgetLine) -> Notice | None:
    """Why the figures are no ground for more than a notice."""
    reasons = []
    if line.unconverted:
        names = ", ".join(line.unconverted)
        reasons.append(f"Spend in {names} has no exchange rate into {line.currency}, so it is missing here.")
    if line.is_unbalanced:
        reasons.append(
            "The books of a day of this period do not add up to what was delivered; costobs verify says where."
        )
    if line.late:
        reasons.append(f"These sources fail or are late: {line.late}.")
    if not reasons:
        return None
    actions = [Link("Exchange rates", reverse("settings_rates"), icon="coins")] if line.unconverted else []
    text = " ".join([*reasons, "Until then it only notifies: nothing is limited, and nothing is released."])
    return Notice("partial", "Where this budget stands is not known for sure", text, actions)


def blend(found: BudgetDetail) -> Table:
    """What the spend is made of; the parts add to it."""
    line = found.line
    total = sum((part.cost for part in found.blend), Decimal(0))
    places = fmt.column_places([part.cost for part in found.blend])
    rows = [
        Row(
            [
                Cell(_PARTS[part.part][0], note=_part_note(part.part, line)),
                Cell(fmt.money(part.cost, line.currency, places=places)),
                Cell(fmt.percent(part.cost / total) if total else fmt.NOT_APPLICABLE),
            ]
        )
        for part in found.blend
    ]
    columns = [Column("Part", wide=True), Column("Cost", numeric=True), Column("Share", numeric=True)]
    whole = Row([Cell("Spend"), Cell(fmt.money(total, line.currency, places=places)), Cell(fmt.percent(Decimal(1)))])
    empty = Notice(
        "empty", "Nothing spent yet", "Nothing in the scope of this budget has cost anything in this period."
    )
    return Table("True cost by part", columns, rows, whole if rows and total else None, empty)


def children(found: BudgetDetail) -> Table | None:
    """The budgets right below, and whether their amounts fit into this one; None without any."""
    family, line = found.family, found.line
    if not family.children:
        return None
    places = fmt.column_places([child.base_amount for child in family.children])
    rows = [
        Row(
            [
                Cell(child.name, reverse("budget", args=[child.id])),
                Cell(state=child.state, text=""),
                Cell(fmt.money(child.base_amount, child.currency, places=places), note=f"a {child.period}"),
                Cell(_spent(child)),
            ]
        )
        for child in family.children
    ]
    columns = [Column("Budget"), Column("State"), Column("Amount", numeric=True), Column("Actual", numeric=True)]
    total = None
    if family.allocated_cost is not None:
        amount = fmt.money(family.allocated_cost, line.currency, places=places)
        total = Row([Cell("Allocated"), Cell(), Cell(amount), Cell()])
    return Table("Budgets below", columns, rows, total, note=allocation(found))


def allocation(found: BudgetDetail) -> str:
    """`$2,000 of $10,000 are unallocated`, or by how much the children are over-allocated."""
    family, line = found.family, found.line
    amount = _exact(line.base_amount, line)
    if family.unallocated_cost is None:
        return "No sum: the budgets below have another currency or period."
    if family.unallocated_cost < 0:
        over = _exact(-family.unallocated_cost, line)
        return f"Over-allocated: the budgets below come to {over} more than the {amount} of this one."
    if not family.unallocated_cost:
        return f"All of the {amount} is allocated."
    return f"{_exact(family.unallocated_cost, line)} of {amount} is unallocated."


def overlaps(found: BudgetDetail) -> Table | None:
    """Budgets that count some of the same dollars; None without any."""
    if not found.overlaps:
        return None
    line, seen = found.line, [one for one in found.overlaps if one.may_see]
    places = fmt.column_places([one.shared_cost for one in seen])
    rows = [
        Row(
            [
                Cell(one.name, reverse("budget", args=[one.id])),
                Cell(_RELATIONS[one.relation]),
                Cell(
                    fmt.NOT_APPLICABLE
                    if one.shared_cost is None
                    else fmt.money(one.shared_cost, line.currency, places=places)
                ),
            ]
        )
        for one in seen
    ]
    columns = [Column("Budget"), Column("Stands"), Column("Counted in both", numeric=True)]
    hidden = len(found.overlaps) - len(seen)
    more = f" {hidden} more that you do not see may count it too." if hidden else ""
    return Table(
        "Overlaps", columns, rows, note=f"Each counts these dollars by itself; no total adds them twice.{more}"
    )


def crumbs(found: BudgetDetail) -> Sequence[Link]:
    """The budgets above, outermost first."""
    return [Link(one.name, reverse("budget", args=[one.id])) for one in found.family.ancestors]


def _exact(amount: Decimal, line: BudgetLine, *, signed: bool = False) -> str:
    return fmt.money(amount, line.currency, mode="statement", signed=signed)


def _amount(line: BudgetLine) -> str:
    parts = [_exact(line.base_amount, line)]
    if line.base_amount != line.own_amount:
        parts[0] += f" ({len(line.days)} days of a {line.period} of {_exact(line.own_amount, line)})"
    if line.carried_cost:
        parts.append(f"{_exact(line.carried_cost, line, signed=True)} carried over")
    if line.borrowed_cost:
        parts.append(f"{_exact(line.borrowed_cost, line, signed=True)} borrowed")
    whole = " ".join(parts)
    return whole if len(parts) == 1 else f"{whole} = {_exact(line.amount, line)}"


def _period(line: BudgetLine) -> str:
    name = f"the last {line.terms.rolling_days} days" if line.period == "rolling" else f"a {line.period}"
    begin, end = fmt.moment(line.starts_at), fmt.moment(line.ends_at)
    zone = "" if line.terms.zone == "UTC" else f"; days of {line.terms.zone}: {begin} to {end}"
    return f"{name}, now {fmt.period(line.days.start, line.days.end)}{zone}"


def _holds(line: BudgetLine) -> str:
    terms = line.terms
    first = f"from {fmt.day(terms.starts_on)}" if terms.starts_on else "from the beginning"
    last = f" until {fmt.day(terms.ends_on)}, that day not included" if terms.ends_on else " on"
    part = (
        "; a period it has in part gets its part of the amount"
        if terms.is_prorated
        else "; a part of a period gets the whole"
    )
    return f"{first}{last}{part}"


def _carried(line: BudgetLine) -> str:
    words = _ROLLOVER[line.terms.rollover]
    cap = line.terms.rollover_cap_percent
    capped = "" if cap is None else f", at most {cap.normalize():f} % of an amount"
    return f"{words[:1].upper()}{words[1:]}{capped}"


def _borrowed(line: BudgetLine) -> str:
    percent = line.terms.borrow_percent
    if percent is None:
        return "Nothing"
    return f"Up to {percent.normalize():f} % of the next period; what is used of it is taken off there"


def _kind(line: BudgetLine) -> str:
    if not line.terms.is_hard:
        return "Soft: its ladder acts after spend was seen"
    open_ = "admit within the last lease" if line.terms.on_unreachable == "open" else "refuse"
    running = "running requests are ended" if line.terms.aborts_running else "running requests finish"
    return f"Hard: gates refuse what would pass it, {running}; without costobs they {open_}"


def _currency(line: BudgetLine) -> str:
    if not line.converted_cost:
        return line.currency
    part = fmt.money(line.converted_cost, line.currency)
    return f"{line.currency}; {part} of the spend is converted ({line.rates})"


def _part_note(part: str, line: BudgetLine) -> str:
    note = _PARTS[part][1]
    return f"{note}: {line.rates}" if part == "converted" and line.rates else note


def _spent(child: Relative) -> str:
    return fmt.UNKNOWN if child.spend_cost is None else fmt.money(child.spend_cost, child.currency)
