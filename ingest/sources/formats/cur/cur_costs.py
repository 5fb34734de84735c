"""The four costs of a line of an AWS bill: what is invoiced, amortised, at list and at contracted prices."""

from collections.abc import Collection
from decimal import Decimal, InvalidOperation, localcontext

import polars as pl

_TYPE = pl.col("line_item_line_item_type")
COVERED, NEGATION = "SavingsPlanCoveredUsage", "SavingsPlanNegation"
SAVINGS_PLAN_FEES = ("SavingsPlanRecurringFee", "SavingsPlanUpfrontFee")
_DISCOUNTS = r"^(?:\w*Discount)$"
_SAVINGS_PLAN = (
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
)
_RESERVATION = (
    "reservation_effective_cost",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
)


def costs(frame: pl.DataFrame, given: Collection[str]) -> pl.DataFrame:
    """The frame with billed_cost, effective_cost, list_cost and contracted_cost, as text with every digit of the bill.

    `given` are the columns the file has. Without those of Savings Plans (or of reservations) a report cannot be amortised:
    then the effective cost of all their lines is the billed one, never of some of them.
    """
    frame = frame.with_columns(_billed(frame).alias("billed_cost"))
    frame = frame.with_columns(pl.col("billed_cost").alias("effective_cost"))
    if all(name in given for name in _SAVINGS_PLAN):
        frame = _savings_plans(frame)
    if all(name in given for name in _RESERVATION):
        frame = _reservations(frame)
    return _at_prices(frame)


def is_commitment_fee() -> pl.Expr:
    """Lines that charge for a commitment itself."""
    return _TYPE.is_in([*SAVINGS_PLAN_FEES, "RIFee"]) | _is_upfront_reservation()


def _is_upfront_reservation() -> pl.Expr:
    return (_TYPE == "Fee") & (pl.col("reservation_reservation_arn") != "")


def _billed(frame: pl.DataFrame) -> pl.Expr:
    """The net cost where the account has discounts; AWS adds those columns only then.

    The lines of the discounts themselves are in the net cost of what they discount, so theirs is nothing.
    """
    gross, net = pl.col("line_item_unblended_cost"), pl.col("line_item_net_unblended_cost")
    if not (frame["line_item_net_unblended_cost"] != "").any():
        return gross
    unstated = pl.when(_TYPE.str.contains(_DISCOUNTS)).then(pl.lit("0")).otherwise(gross)
    return pl.when(net == "").then(unstated).otherwise(net)


def _savings_plans(frame: pl.DataFrame) -> pl.DataFrame:
    net, gross = pl.col("savings_plan_net_savings_plan_effective_cost"), pl.col(_SAVINGS_PLAN[0])
    covered = pl.when(net != "").then(net).when(gross != "").then(gross).otherwise(pl.col("effective_cost"))
    frame = frame.with_columns(
        pl.when(_TYPE == COVERED)
        .then(covered)
        .when(_TYPE.is_in([NEGATION, "SavingsPlanUpfrontFee"]))
        .then(pl.lit("0"))
        .otherwise(pl.col("effective_cost"))
        .alias("effective_cost")
    )
    is_fee = (_TYPE == "SavingsPlanRecurringFee") & (
        (pl.col(_SAVINGS_PLAN[1]) != "") | (pl.col(_SAVINGS_PLAN[2]) != "")
    )
    return _combined(frame, is_fee, *_SAVINGS_PLAN[1:], sign=-1)


def _reservations(frame: pl.DataFrame) -> pl.DataFrame:
    net, gross = pl.col("reservation_net_effective_cost"), pl.col(_RESERVATION[0])
    used = pl.when(net != "").then(net).when(gross != "").then(gross).otherwise(pl.col("effective_cost"))
    frame = frame.with_columns(
        pl.when(_TYPE == "DiscountedUsage")
        .then(used)
        .when(_is_upfront_reservation())
        .then(pl.lit("0"))
        .otherwise(pl.col("effective_cost"))
        .alias("effective_cost"),
        *(
            pl.when(pl.col(f"reservation_net_{name}") != "")
            .then(pl.col(f"reservation_net_{name}"))
            .otherwise(pl.col(f"reservation_{name}"))
            .alias(f"reservation_{name}")
            for name in ("unused_amortized_upfront_fee_for_billing_period", "unused_recurring_fee")
        ),
    )
    is_fee = (_TYPE == "RIFee") & ((pl.col(_RESERVATION[1]) != "") | (pl.col(_RESERVATION[2]) != ""))
    return _combined(frame, is_fee, *_RESERVATION[1:], sign=1)


def _combined(frame: pl.DataFrame, rows: pl.Expr, first: str, second: str, *, sign: int) -> pl.DataFrame:
    """The frame whose effective cost in `rows` is first + sign × second: a few lines an hour, so exactly and one by one."""
    pairs = frame.filter(rows).select(first, second).unique()
    if pairs.is_empty():
        return frame
    added = pl.Series("~sum", [_added(one, other, sign) for one, other in pairs.iter_rows()], dtype=pl.String)
    joined = frame.join(pairs.with_columns(added), on=[first, second], how="left", maintain_order="left")
    chosen = pl.when(rows).then(pl.col("~sum")).otherwise(pl.col("effective_cost"))
    return joined.with_columns(chosen.alias("effective_cost")).drop("~sum")


def _added(one: str, other: str, sign: int) -> str:
    """The exact sum; a text that is no number stays, so that its row is refused."""
    found = []
    for text in (one, other):
        try:
            found.append(Decimal(text or "0"))
        except InvalidOperation:
            return text
    with localcontext(prec=100):  # Python's own 28 digits would round
        total = found[0] + sign * found[1]
    return format(total, "f")


def _at_prices(frame: pl.DataFrame) -> pl.DataFrame:
    """List and contracted costs: those of the usage. A commitment's fees and the lines that take covered usage back have none,
    or what is covered would be in these columns twice."""
    on_demand, gross = pl.col("pricing_public_on_demand_cost"), pl.col("line_item_unblended_cost")
    has_none = (_TYPE == NEGATION) | is_commitment_fee()
    at_list = pl.when(on_demand != "").then(on_demand).otherwise(gross)
    # Usage that a reservation covers is unblended at 0; what it would have cost is its list price.
    contracted = pl.when(_TYPE == "DiscountedUsage").then(at_list).otherwise(gross)
    return frame.with_columns(
        pl.when(has_none).then(pl.lit("0")).otherwise(at_list).alias("list_cost"),
        pl.when(has_none).then(pl.lit("0")).otherwise(contracted).alias("contracted_cost"),
    )
