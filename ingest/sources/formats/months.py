"""Calendar months of bills: which one the charges of a delivery are of."""

from dataclasses import replace

import polars as pl

from ingest.sources.base import Normalized, Window


def placed(found: Normalized, month: Window | None) -> Normalized:
    """The charges of a month's delivery in the billing period that it is of: by that it replaces the one before.

    A line may state another one: invoices of Azure's pay-as-you-go accounts begin in the middle of a month, and where the
    column is left out the usage of a refund would tell it. Two deliveries would then take each other's charges away. What
    the line says stays in `extra`.
    """
    if month is None or not found.batch.num_rows:
        return found
    first, after = month.start.date(), month.end.date()
    frame = pl.DataFrame(found.batch)
    if frame.select(((pl.col("billing_period_start") == first) & (pl.col("billing_period_end") == after)).all()).item():
        return found
    own = pl.col("billing_period_start")
    rest = pl.when(pl.col("extra") == "{}").then(pl.lit("}")).otherwise("," + pl.col("extra").str.slice(1))
    kept = pl.concat_str(pl.lit('{"BillingPeriodStart":"'), own.dt.to_string("iso"), pl.lit('"'), rest)
    frame = frame.with_columns(
        pl.when(own == first).then(pl.col("extra")).otherwise(kept).alias("extra"),
        pl.lit(first).alias("billing_period_start"),
        pl.lit(after).alias("billing_period_end"),
    )
    shaped = frame.select(found.batch.schema.names).to_arrow().cast(found.batch.schema).combine_chunks()
    return replace(found, batch=shaped.to_batches()[0])
