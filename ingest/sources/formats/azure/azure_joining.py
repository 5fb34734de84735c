"""One set of charges from two files of one month: billed cost from ActualCost, effective cost from AmortizedCost, both whole."""

import polars as pl

_COUNTS = {"key": pl.UInt64, "count": pl.UInt32}
_LEDGER = {"key": pl.UInt64, "effective_cost": pl.String, "part": pl.UInt16, "row_number": pl.UInt32}
JOINED = "the line of AmortizedCost whose cost is on its line of ActualCost"


class Joining:
    """Pairs the rows of two kinds that are alike in everything but their cost.

    A pair becomes one charge with both costs. A row of ActualCost without a counterpart (a reservation bought, a refund of it)
    has no effective cost, one of AmortizedCost (a reservation unused) no billed cost. So the billed costs sum to ActualCost and
    the effective costs to AmortizedCost exactly, however many rows find each other.
    """

    def __init__(self) -> None:
        self._amortised: list[pl.DataFrame] = []
        self._ledger: pl.DataFrame | None = None
        self._counts = pl.DataFrame(schema=_COUNTS)
        self._taken: list[pl.Series] = []

    def remember(self, frame: pl.DataFrame, *, part: int) -> None:
        """A piece of AmortizedCost, of which only the cost and the place are kept."""
        # A copy: a column of text would hold on to all the text of the file.
        cost = pl.Series(frame["cost"].to_arrow(compat_level=pl.CompatLevel.oldest()))
        self._amortised.append(
            frame.select(
                "key",
                cost.alias("effective_cost"),
                pl.lit(part, dtype=pl.UInt16).alias("part"),
                pl.col("row_number").cast(pl.UInt32),
            )
        )

    def actual(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A piece of ActualCost with the effective cost of each row's counterpart: the nth of its kind with the nth."""
        ledger = self._numbered().select("key", "nth", "effective_cost", "place")
        frame = frame.join(self._counts, on="key", how="left", maintain_order="left").with_columns(
            (pl.col("count").fill_null(0) + pl.int_range(pl.len()).over("key").cast(pl.UInt32)).alias("nth")
        )
        seen = frame.group_by("key").agg(pl.len().cast(pl.UInt32).alias("count"))
        self._counts = pl.concat([self._counts, seen]).group_by("key").agg(pl.col("count").sum())
        joined = frame.drop("count").join(ledger, on=["key", "nth"], how="left", maintain_order="left")
        self._taken.append(joined["place"].drop_nulls())
        is_pair = pl.col("place").is_not_null()
        return joined.with_columns(
            pl.col("cost").alias("billed_cost"),
            pl.when(is_pair).then(pl.col("effective_cost")).otherwise(pl.lit("0")).alias("effective_cost"),
            pl.when(is_pair)
            .then(pl.lit("ActualCost and AmortizedCost"))
            .otherwise(pl.lit("ActualCost"))
            .alias("+x_CostType"),
        ).drop("nth", "place")

    def alone(self, *, part: int) -> pl.Series:
        """The numbers of the rows of a part of AmortizedCost that found no counterpart."""
        ledger = self._numbered()
        taken = pl.concat(self._taken) if self._taken else pl.Series([], dtype=pl.UInt32)
        left = ledger.filter((pl.col("part") == part) & ~pl.col("place").is_in(taken.implode()))
        return left["row_number"].cast(pl.Int64)

    def _numbered(self) -> pl.DataFrame:
        if self._ledger is None:
            whole = pl.concat(self._amortised) if self._amortised else pl.DataFrame(schema=_LEDGER)
            self._amortised = []
            self._ledger = whole.with_columns(
                pl.int_range(pl.len()).over("key").cast(pl.UInt32).alias("nth"),
                pl.int_range(pl.len()).cast(pl.UInt32).alias("place"),
            )
        return self._ledger


def only(frame: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
    """The rows of AmortizedCost with these numbers, as charges that nobody was billed for."""
    return frame.filter(pl.col("row_number").is_in(numbers.implode())).with_columns(
        pl.lit("0").alias("billed_cost"),
        pl.col("cost").alias("effective_cost"),
        pl.lit("AmortizedCost").alias("+x_CostType"),
    )
