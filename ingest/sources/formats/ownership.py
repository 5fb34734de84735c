"""What the money of a charge is for, and how its capacity was bought: told from the texts of a bill, once per distinct text."""

import polars as pl


def classified(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `purchase_option` and `cost_kind`; a source may have set either already."""
    missing = [name for name in ("purchase_option", "cost_kind") if name not in frame.columns]
    return frame.with_columns(pl.lit("").alias(name) for name in missing)
