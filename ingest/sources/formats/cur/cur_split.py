"""Split cost allocation of an AWS bill: the machine or the pods and tasks on it, and never both."""

from collections import defaultdict
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

import polars as pl

from ingest.rows import COSTS
from ingest.sources.formats import charge_rows, instants, openings

# A double has at most 17 digits: 24 decimals hold all of any part of a machine's hour, 14 digits remain before the point.
_EXACT = pl.Decimal(38, 24)
_EXACT_DIGITS = 100  # of a difference; Python's own 28 would round a dear machine's
_MACHINE_TYPES = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
_MACHINE = r"(?:BoxUsage|SpotUsage|DedicatedUsage|HostUsage|HostBoxUsage|InstanceUsage|SchedUsage)"
_TYPE = pl.col("line_item_line_item_type")
_KEY = ("resource", "starts")
_COLUMNS = {
    "net": ("net_split_cost", "net_unused_cost"),
    "gross": ("split_cost", "unused_cost"),
    "at_list": ("public_on_demand_split_cost", "public_on_demand_unused_cost"),
}
_SHARES = tuple(_COLUMNS)
_IS_ZERO = r"^-?[0.]*$"

PARENT_COUNTS = "part of a machine whose own line counts (split cost allocation)"
NO_PARENT = "part of a machine that is not in this bill (split cost allocation)"


class Split:
    """Which side of a split counts: the machine's own line, or its children and what they leave of it.

    For the children the whole bill is read twice: first every piece is given to `collect`, then `settle` works out what is
    left of each machine. Without that the machine's line counts.
    """

    def __init__(self) -> None:
        self._children: list[pl.DataFrame] = []
        self._machines: list[pl.DataFrame] = []
        self._is_settled = False
        self._keys = pl.DataFrame()
        self._left = pl.DataFrame()

    def collect(self, frame: pl.DataFrame, *, file: str, file_index: int) -> None:
        """Takes in a piece of the bill, with its costs."""
        frame = _marked(frame)
        parts = _parts(frame, file)
        self._children.append(parts.group_by(_KEY).agg(pl.col(_SHARES).sum()))
        is_machine = _TYPE.is_in(_MACHINE_TYPES) & pl.col("line_item_usage_type").str.contains(_MACHINE)
        self._machines.append(
            frame.filter(is_machine & ~pl.col("~is_child")).select(
                pl.col("line_item_resource_id").alias("resource"),
                "starts",
                (_TYPE == "Usage").alias("is_plain"),
                pl.lit(file_index).alias("file_index"),
                "row_number",
                *COSTS,
            )
        )

    def settle(self) -> None:
        """Works out what the children leave of each machine's lines."""
        if not self._children:  # not a row in the whole bill
            return
        children = pl.concat(self._children).group_by(_KEY).agg(pl.col(_SHARES).sum())
        machines = pl.concat(self._machines).join(children, on=_KEY, how="inner")
        machines = machines.with_columns(pl.col("is_plain").all().over(_KEY))
        self._keys = machines.select(*_KEY, "is_plain").unique()
        self._left = _left(machines)
        self._children, self._machines, self._is_settled = [], [], True

    def applied(self, frame: pl.DataFrame, *, file: str, file_index: int) -> tuple[pl.DataFrame, dict[str, int]]:
        """The frame without the side that does not count, and how many rows that left out, by the reason."""
        if self._is_settled:
            frame = self._without_shares(frame, file_index)
        if not (frame["split_line_item_parent_resource_id"] != "").any():
            return frame.with_columns(pl.lit(False).alias("~is_child")), {}
        frame = _marked(frame)
        if self._is_settled:
            return self._with_children(frame, file)
        left_out = frame.filter("~is_child").height
        return frame.filter(~pl.col("~is_child")), {PARENT_COUNTS: left_out} if left_out else {}

    def _with_children(self, frame: pl.DataFrame, file: str) -> tuple[pl.DataFrame, dict[str, int]]:
        """Children with their share as cost. Where the machine is covered by a commitment its line keeps what is billed."""
        parts = _parts(frame, file).join(self._keys, on=_KEY, how="left")
        orphans = parts["is_plain"].null_count()
        nothing = pl.lit("0")
        costs = parts.filter(pl.col("is_plain").is_not_null()).select(
            "row_number",
            _digits("net").alias("~effective_cost"),
            pl.when("is_plain").then(_digits("net")).otherwise(nothing).alias("~billed_cost"),
            pl.when("is_plain").then(_digits("gross")).otherwise(nothing).alias("~contracted_cost"),
            _digits("at_list").alias("~list_cost"),
        )
        frame = frame.join(costs, on="row_number", how="left", maintain_order="left")
        frame = frame.filter(~pl.col("~is_child") | pl.col("~effective_cost").is_not_null())
        return _replaced(frame), {NO_PARENT: orphans} if orphans else {}

    def _without_shares(self, frame: pl.DataFrame, file_index: int) -> pl.DataFrame:
        left = self._left.filter(pl.col("file_index") == file_index).drop("file_index")
        return _replaced(frame.join(left, on="row_number", how="left", maintain_order="left"))


def _marked(frame: pl.DataFrame) -> pl.DataFrame:
    """Whether a row is part of a machine: one that has costs of its own (a Fargate task) is not."""
    has_none = pl.col("billed_cost").str.contains(_IS_ZERO)
    starts = frame["line_item_usage_start_date"]
    if starts.dtype == pl.String:  # CSV
        starts = instants.parse_repeated(starts)
    return frame.with_columns(
        (has_none & (pl.col("split_line_item_parent_resource_id") != "")).alias("~is_child"), starts.alias("starts")
    )


def _parts(frame: pl.DataFrame, file: str) -> pl.DataFrame:
    """The children of a frame and what each takes of its machine: used and unused, net, gross and at list price."""
    children = frame.filter("~is_child")
    texts = {
        name: charge_rows.digits(children[f"split_line_item_{name}"]).replace("", "0")
        for pair in _COLUMNS.values()
        for name in pair
    }
    decimals = children.select(
        pl.col("split_line_item_parent_resource_id").alias("resource"),
        "starts",
        "row_number",
        ((pl.col("split_line_item_net_split_cost") != "") | (pl.col("split_line_item_net_unused_cost") != "")).alias(
            "has_net"
        ),
    ).with_columns(text.cast(_EXACT, strict=False).alias(name) for name, text in texts.items())
    if (unread := decimals.filter(pl.any_horizontal(pl.col(*texts).is_null()))).height:
        name = next(name for name in texts if unread[name][0] is None)
        raise openings.broken(
            file, "expected a decimal number", field=f"split_line_item_{name}", row=unread["row_number"][0]
        )
    summed = decimals.with_columns(
        (pl.col(used) + pl.col(unused)).alias(name) for name, (used, unused) in _COLUMNS.items()
    )
    net = pl.when("has_net").then(pl.col("net")).otherwise(pl.col("gross")).alias("net")
    return summed.select(*_KEY, "row_number", net, "gross", "at_list")


def _left(machines: pl.DataFrame) -> pl.DataFrame:
    """What is left of each line of a machine. Several lines of one hour are taken from in turn, the dearest first."""
    groups = defaultdict(list)
    for row in machines.iter_rows(named=True):
        if all(_amount(row[name]).is_finite() for name in COSTS):  # else the row is refused as it is
            groups[row["resource"], row["starts"]].append(row)
    found = []
    with localcontext(prec=_EXACT_DIGITS):
        for rows in groups.values():
            found += _taken(rows)
    kept = {"file_index": pl.Int64, "row_number": pl.Int64, **{f"~{name}": pl.String for name in COSTS}}
    return pl.DataFrame(found, schema=kept)


def _taken(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:  # rows of a frame
    rows.sort(key=lambda row: (-_amount(row["effective_cost"]), row["file_index"], row["row_number"]))
    shares: dict[str, Decimal] = {
        "billed_cost": rows[0]["net"] if rows[0]["is_plain"] else Decimal(0),
        "effective_cost": rows[0]["net"],
        "list_cost": rows[0]["at_list"],
        "contracted_cost": rows[0]["gross"] if rows[0]["is_plain"] else Decimal(0),
    }
    found = []
    for at, row in enumerate(rows):
        left: dict[str, Any] = {"file_index": row["file_index"], "row_number": row["row_number"]}
        for name, share in shares.items():
            amount = _amount(row[name])
            part = share if at == len(rows) - 1 else min(share, max(amount, Decimal(0)))
            shares[name] -= part
            left[f"~{name}"] = _shown(amount - part)
        found.append(left)
    return found


def _shown(amount: Decimal) -> str:
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _amount(text: str) -> Decimal:
    """The exact number; one that is none stays so, and its row is refused."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _replaced(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the costs that were worked out (`~…`) in place of those of the bill."""
    chosen = (pl.coalesce(pl.col(f"~{name}"), pl.col(name)).alias(name) for name in COSTS)
    return frame.with_columns(chosen).drop(f"~{name}" for name in COSTS)


def _digits(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
