"""What a hard budget has lent to gates: its account, and what each process holds."""

from datetime import datetime

from alerts import lease_lines
from alerts.lease_lines import AccountLine, LeaseLine
from alerts.queries import BudgetLine
from costobs.kernel import fmt
from costobs.web.parts import Cell, Column, Notice, Row, Table

_PLACES = 2  # a lease is small beside its limit
_STATES = {"open": "Open", "silent": "Silent", "orphaned": "Freed", "closed": "Settled"}


def context(line: BudgetLine, now: datetime) -> dict[str, object]:
    """What the partial of the budget's page shows; nothing for a soft budget."""
    if not lease_lines.is_hard(budget_id=line.id):
        return {}
    found = lease_lines.of_budget(budget_id=line.id, now=now)
    return {
        "lease_caption": caption(line, found),
        "lease_account": account(found) if found else None,
        "lease_table": leases(found) if found else None,
    }


def caption(line: BudgetLine, found: AccountLine | None) -> str:
    """The account in one sentence: what is left, and the most by which the limit may be passed."""
    if found is None:
        return f"{line.name} is hard. No gate has asked for a lease in this period yet."
    free = fmt.money(found.free_cost, found.currency, mode="statement")
    lent = fmt.money(found.outstanding_cost, found.currency, mode="statement")
    words = f"{free} is free and {lent} is lent to gates, in gate cost, {found.currency}."
    if found.freed_cost:
        freed = fmt.money(found.freed_cost, found.currency, mode="statement")
        return (
            f"{words} {freed} was taken back from silent processes before their spools were read: the most by which the"
            " limit may be passed."
        )
    return f"{words} Nothing was taken back from silent processes, so the limit cannot be passed through gates."


def account(found: AccountLine) -> Table:
    """Limit = settled + other + outstanding + free."""
    amounts = [
        ("Limit", found.limit_cost, "this period"),
        ("Settled", found.settled_cost, "used through gates"),
        ("Other spend", found.other_cost, "bills, other sources, idle GPUs"),
        ("Outstanding", found.outstanding_cost, "lent, not used yet"),
        ("Free", found.free_cost, "may still be lent"),
    ]
    places = max(_PLACES, fmt.column_places([amount for _, amount, _ in amounts]))
    rows = [
        Row([Cell(name, note=note), Cell(fmt.money(amount, found.currency, places=places))])
        for name, amount, note in amounts
    ]
    read = f"Books read {fmt.moment(found.reckoned_at)}." if found.reckoned_at else ""
    return Table("The account of the hard budget", [Column("Account"), Column("Amount", numeric=True)], rows, note=read)


def leases(found: AccountLine) -> Table:
    """One row a process, by gate."""
    rows = found.leases
    costs = [each for row in rows for each in (row.settled_cost, row.outstanding_cost)]
    places = max(_PLACES, fmt.column_places(costs))
    columns = [
        Column("Gate"),
        Column("State"),
        Column("Settled", numeric=True),
        Column("Outstanding", numeric=True, title="Counts as spent until it is used or given back"),
        Column("In flight", numeric=True, title="Of the outstanding, reserved by requests that run"),
        Column("Freed", numeric=True, title="Taken back from a silent process before its spool was read"),
        Column("Lease ends", numeric=True),
    ]
    empty = Notice("empty", "No gate holds a lease", "A gate asks for one as soon as it has a policy with this budget.")
    return Table("Leases by gate", columns, [_row(row, found.currency, places) for row in rows], empty=empty)


def _row(row: LeaseLine, currency: str, places: int) -> Row:
    amounts = (row.settled_cost, row.outstanding_cost, row.reserved_cost, row.freed_cost)
    return Row(
        [
            Cell(row.gate, note=row.process),
            Cell(_STATES[row.state]),
            *(Cell(fmt.money(amount, currency, places=places)) for amount in amounts),
            Cell(fmt.NOT_APPLICABLE if row.state in {"closed", "orphaned"} else fmt.moment(row.expires_at)),
        ]
    )
