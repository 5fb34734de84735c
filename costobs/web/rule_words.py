"""What rules would move and own, in the words and tables of the pages about rules."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from attribution.rule_changes import Change
from attribution.rule_preview import Moved, SplitPreview
from costobs.kernel import fmt, money
from costobs.kernel.period import Days, add_months
from costobs.kernel.period import month as month_of
from costobs.web.parts import Cell, Column, Notice, Row, Table

_SPANS = 12
_PARTS = {"team": "team", "feature": "feature", "cost_centre": "cost centre", "environment": "environment"}
WHAT = {"added": "Added", "removed": "Removed", "changed": "Changed", "moved": "Moved"}


def last_month(now: datetime) -> Days:
    """The last complete month."""
    return month_of(add_months(now.date(), -1))


def long_span(now: datetime) -> Days:
    """The last twelve months and the one that runs."""
    return Days(add_months(now.date(), -_SPANS), add_months(now.date(), 1))


def sentence(moved: Sequence[Moved], *, subject: str, days: Days, splits: Days | None = None) -> str:
    """The largest move in words: "This rule would move $4,120 of October from unallocated to search"."""
    when = fmt.month(days.start) if month_of(days.start) == days else "the open days"
    teams = [one for one in moved if one.part == "team"]
    if not moved and splits:
        return (
            f"{subject} would move no owner in {when}; what its split gives to whom is worked out before you publish."
        )
    if not moved:
        return f"{subject} would move nothing in {when}."
    if not teams:
        parts = " and ".join(sorted({_PARTS[one.part] for one in moved}))
        return f"{subject} would give {_sum(moved)} of {when} another {parts}; no team gains or loses."
    first = max(_by_way(teams).items(), key=lambda item: abs(item[1]))
    (old, new, currency), cost = first
    rest = len(_by_way(teams)) - 1
    more = f", and {rest} more" if rest else ""
    amount = fmt.money(cost, currency, mode="kpi")
    return f"{subject} would move {amount} of {when} from {owner(old)} to {owner(new)}{more}."


def owner(name: str) -> str:
    """A team as a sentence names it."""
    return name or "unallocated"


def moves_table(moved: Sequence[Moved], *, days: Days) -> Table:
    """Every move: from, to, how much, in which month."""
    rows = [
        Row(
            [
                Cell(fmt.month(one.month)),
                Cell(owner(one.from_team), note="" if one.part == "team" else _PARTS[one.part]),
                Cell(owner(one.to_team)),
                Cell(fmt.money(one.effective_cost, one.currency, mode="statement"), title=f"{one.effective_cost:f}"),
                Cell(one.currency),
            ],
            kind="unallocated" if not one.to_team and one.part == "team" else "",
        )
        for one in moved[:200]
    ]
    columns = [
        Column("Month"),
        Column("From"),
        Column("To"),
        Column("Effective cost", numeric=True),
        Column("Currency"),
    ]
    note = f"The largest 200 of {len(moved)} moves." if len(moved) > 200 else ""
    empty = Notice("empty", "Nothing moves", f"Every amount from {fmt.period(days.start, days.end)} keeps its owner.")
    return Table("What would move", columns, rows, None, empty, note=note)


def closed_words(closed_until: date | None) -> str:
    """What is said of closed months."""
    if closed_until is None:
        return "No month is closed yet, so every month follows the rules in force."
    return (
        f"Months up to {fmt.month(add_months(closed_until, -1))} are closed: they keep the rules they were closed with,"
        " and nothing of them moves."
    )


def splits_words(days: Days | None) -> str:
    """What is said of days that must be split anew."""
    if days is None:
        return ""
    if not len(days):
        return "A split changes, but only on closed days: they keep the split they were closed with."
    since = "the first day of the books" if days.start.year <= 1970 else fmt.day(days.start)
    until = "" if days.end.year >= 9999 else f" to {fmt.day(days.last)}"
    return f"A split changes: open days from {since}{until} are split anew after publishing, the newest first."


def split_table(found: SplitPreview) -> Table:
    """What teams would have after the dry run."""
    rows = [
        Row(
            [
                Cell(owner(one.team)),
                *(
                    Cell(fmt.money(amount, one.currency, mode="statement", signed=signed), title=f"{amount:f}")
                    for amount, signed in ((one.before, False), (one.after, False), (one.change, True))
                ),
                Cell(one.currency),
            ],
            kind="" if one.team else "unallocated",
        )
        for one in found.changes
    ]
    columns = [
        Column("Team"),
        Column("Now", numeric=True),
        Column("Then", numeric=True),
        Column("Change", numeric=True),
        Column("Currency"),
    ]
    empty = Notice("empty", "No team would have more or less", "The splits give the same parts as now.")
    return Table("Teams after the new splits", columns, rows, None, empty)


def split_sentence(found: SplitPreview, days: Days) -> str:
    """How far the dry run came."""
    if not found.wanted:
        return f"No open day of {fmt.month(days.start)} has anything to split."
    if found.done < found.wanted:
        return (
            f"Worked out for {found.done} of {found.wanted} days of {fmt.month(days.start)}, the newest first; the rest"
            " would take longer than a page should. Nothing was kept."
        )
    return f"Worked out for all {found.done} days of {fmt.month(days.start)}. Nothing was kept."


def changes_table(changes: Sequence[Change], *, caption: str) -> Table:
    """What was changed, rule by rule."""
    rows = [
        Row([Cell(WHAT[one.what]), Cell(one.name), Cell(one.summary, note="; ".join(one.details))]) for one in changes
    ]
    columns = [Column("Change"), Column("Rule", wide=True), Column("What it does", wide=True)]
    empty = Notice(
        "empty", "Nothing is changed", "Change a rule in the list of rules; it is kept here until you publish."
    )
    return Table(caption, columns, rows, None, empty)


def _by_way(moved: Iterable[Moved]) -> dict[tuple[str, str, str], Decimal]:
    sums: dict[tuple[str, str, str], Decimal] = {}
    for one in moved:
        way = (one.from_team, one.to_team, one.currency)
        sums[way] = money.EXACT.add(sums.get(way, Decimal(0)), one.effective_cost)
    return sums


def _sum(moved: Iterable[Moved]) -> str:
    sums: dict[str, Decimal] = {}
    for one in moved:
        sums[one.currency] = money.EXACT.add(sums.get(one.currency, Decimal(0)), one.effective_cost)
    return " and ".join(fmt.money(cost, currency, mode="kpi") for currency, cost in sorted(sums.items()))
