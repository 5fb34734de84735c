"""Quantities of Azure: "100 Hours", "10K" and "1 GB/Month" are units of several, and the quantity counts those."""

import re
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache

import polars as pl

_UNIT = re.compile(r"^\s*(\d+(?:\.\d+)?)?\s*(?:([KMB])(?![A-Za-z]))?\s*(.*?)\s*$")
_EXACT = Context(prec=200)
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def consumed(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `consumed_quantity` and `consumed_unit` from `quantity`, `unit`, `meter_category` and `meter_name`.

    Virtual machines in "100 Hours" are the exception: their quantity is in hours already, as cost divided by price shows.
    """
    units = frame["unit"].unique()
    read = pl.DataFrame(
        {
            "unit": units,
            "size": pl.Series([split(text)[0] for text in units], dtype=pl.String),
            "consumed_unit": pl.Series([split(text)[1] for text in units], dtype=pl.String),
        }
    )
    frame = frame.join(read, on="unit", how="left", maintain_order="left")
    is_machine = (pl.col("meter_category").str.to_lowercase() == "virtual machines") & pl.col(
        "consumed_unit"
    ).str.to_lowercase().str.starts_with("hour")
    is_token = (pl.col("consumed_unit") == "") & pl.col("meter_name").str.contains("(?i)token")
    frame = frame.with_columns(
        pl.when(is_machine).then(pl.lit("1")).otherwise(pl.col("size")).alias("size"),
        pl.when(is_token)
        .then(pl.lit("Tokens"))
        .when((pl.col("consumed_unit") == "") & (pl.col("unit") != ""))
        .then(pl.lit("Units"))
        .otherwise(pl.col("consumed_unit"))
        .alias("consumed_unit"),
    )
    scaled = frame.filter((pl.col("size") != "1") & (pl.col("quantity") != "")).select("quantity", "size").unique()
    if scaled.is_empty():
        return frame.with_columns(pl.col("quantity").alias("consumed_quantity"))
    products = scaled.with_columns(
        pl.Series("product_of", [_product(quantity, size) for quantity, size in scaled.iter_rows()], dtype=pl.String)
    )
    frame = frame.join(products, on=["quantity", "size"], how="left", maintain_order="left")
    return frame.with_columns(pl.coalesce("product_of", "quantity").alias("consumed_quantity"))


@lru_cache(maxsize=4096)
def split(unit: str) -> tuple[str, str]:
    """How many of what a unit is: ("100", "Hours") for "100 Hours", ("1000", "") for "1K", ("1", "GB/Month")."""
    found = _UNIT.match(unit)
    if found is None:
        return "1", unit.strip()
    number, size, what = found.groups()
    count = Decimal(number or "1") * _SIZES[size or ""]
    return format(count.normalize(), "f") if count else "1", what.lstrip("/ ")


def _product(quantity: str, size: str) -> str:
    """Exact; a quantity that is no number stays as it is, to be refused by row and field."""
    try:
        return format(_EXACT.multiply(Decimal(quantity), Decimal(size)), "f")
    except InvalidOperation:
        return quantity
