"""Tags, cost categories and product attributes of an AWS bill, worked out once for each distinct text."""

from functools import lru_cache
from typing import Any

import orjson
import polars as pl

from ingest.sources.formats.cur import cur_columns

_BETWEEN = "\x1f"
_USER = ("user:", "user_")
# Keys of CUR 2.0's `tags` say whose tag it is: resourceTags/team, iamPrincipal/team, userAttribute/team, accountTag/team.
# The resource's own come first, whoever called it next.
_OWNERS = ("resourceTags/", "iamPrincipal/", "userAttribute/", "accountTag/", "costCategory/")


def tagged(frame: pl.DataFrame, columns: cur_columns.Columns) -> pl.DataFrame:
    """The frame with `tags`: one JSON object of resource tags, tags of the calling principal and cost categories.

    Where two of them have the same key, the nearer to the resource has it, the other keeps its owner in its key.
    """
    named = [f"tag:{key}" for key in columns.tags] + [f"category:{key}" for key in columns.categories]
    maps = [name for name in ("resource_tags", "tags", "cost_category") if name in columns.found]
    asked = [*maps, *named]
    if not asked:
        return frame.with_columns(pl.lit("").alias("tags"))
    frame = frame.with_columns(pl.concat_str(asked, separator=_BETWEEN).alias("~tags"))
    distinct = frame["~tags"].unique()
    found = [_one(text, tuple(maps), tuple(columns.tags), tuple(columns.categories)) for text in distinct]
    told = pl.DataFrame({"~tags": distinct, "~told": pl.Series(found, dtype=pl.String)})
    joined = frame.join(told, on="~tags", how="left", maintain_order="left")
    return joined.drop("~tags", *(name for name in ("tags",) if name in joined.columns)).rename({"~told": "tags"})


def described(frame: pl.DataFrame, columns: cur_columns.Columns) -> tuple[pl.DataFrame, list[str]]:
    """The frame with what CUR 2.0's product map says in the columns legacy reports have, and the names it adds to `extra`."""
    if "product" not in columns.found:
        return frame, []
    distinct = frame["product"].unique()
    rows = [_object(text) for text in distinct]
    kept = sorted({key for row in rows for key in row if cur_columns.is_kept(key)})
    read = ("product_name", "region", "region_code", "instance_type", "sku")
    table: dict[str, Any] = {"product": distinct}  # columns of text
    for key in read:
        table[f"~{key}"] = pl.Series([_text(row.get(key)) for row in rows], dtype=pl.String)
    added = [key for key in kept if f"product_{key}" not in (*columns.found, *columns.extra)]
    for key in added:
        table[f"+product_{key}"] = pl.Series([_text(row.get(key)) for row in rows], dtype=pl.String)
    frame = frame.join(pl.DataFrame(table), on="product", how="left", maintain_order="left")
    for key in read:
        own = pl.col(f"product_{key}")
        frame = frame.with_columns(pl.when(own == "").then(pl.col(f"~{key}")).otherwise(own).alias(f"product_{key}"))
    return frame.drop("product", *(f"~{key}" for key in read)), [f"product_{key}" for key in added]


@lru_cache(maxsize=16_384)
def _one(text: str, maps: tuple[str, ...], tag_keys: tuple[str, ...], category_keys: tuple[str, ...]) -> str:
    cells = text.split(_BETWEEN)
    by_map = dict(zip(maps, cells, strict=False))
    rest = cells[len(maps) :]
    resource = {_bare(key): value for key, value in _object(by_map.get("resource_tags", "")).items()}
    resource |= dict(zip(tag_keys, rest, strict=False))
    categories = _object(by_map.get("cost_category", ""))
    categories |= dict(zip(category_keys, rest[len(tag_keys) :], strict=False))
    owned: dict[str, dict[str, Any]] = {owner: {} for owner in _OWNERS}
    owned["resourceTags/"] = resource
    owned["costCategory/"] = categories
    for key, value in _object(by_map.get("tags", "")).items():
        owner = next((each for each in _OWNERS if key.startswith(each)), "resourceTags/")
        owned[owner].setdefault(_bare(key.removeprefix(owner)), value)
    tags: dict[str, Any] = {}
    for owner, values in owned.items():
        for key, value in values.items():
            if value not in ("", None):
                tags[key if key not in tags else f"{owner}{key}"] = value
    return orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode() if tags else ""


def _bare(key: str) -> str:
    return next((key.removeprefix(each) for each in _USER if key.startswith(each)), key)


def _object(text: str) -> dict[str, Any]:
    """A map's text as an object; what is none is kept whole."""
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"_raw": text}
    return found if isinstance(found, dict) else {"_raw": text}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
