"""Charges from frames of text in FOCUS columns: every digit of money kept, all else kept in `extra`; of any vendor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

import orjson
import polars as pl
import pyarrow as pa

from ingest.rows import CHARGE, COSTS, Rejected
from ingest.sources.base import Normalized
from ingest.sources.formats import classify, instants, ownership
from ingest.sources.formats.focus import focus_columns

_TAG_KEYS: dict[str, tuple[str, ...]] = {
    "team": ("team", "owner"),
    "feature": ("feature", "app", "application"),
    "cost_centre": ("cost_centre", "cost_center"),
    "environment": ("environment", "env"),
    "service_name": ("service", "service_name"),
    "namespace": ("namespace", "kubernetes_namespace", "k8s_namespace"),
    "project": ("project",),
}
# 0-9 and no other script's digits, which PostgreSQL does not read.
_DECIMAL = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"
# "$10,000.00" can only mean one thing; "1,234" could be a decimal comma and stays an error.
_FORMATTED = (
    r"^-?\$[0-9]+(?:\.[0-9]+)?$|^-?\$[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?$|^-?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+$"
)
# A NUL that JSON spells out (and not a backslash before "u0000"): PostgreSQL refuses it in a text and in JSON.
_NUL_IN_JSON = r"(?:^|[^\\])(?:\\\\)*\\u0000"
_PERIODS = ("charge_period_start", "charge_period_end")
_BILLING = ("billing_period_start", "billing_period_end")
_QUANTITIES = ("pricing_quantity", "consumed_quantity")
_OPTIONAL_NUMBERS = (*_QUANTITIES,)
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_MAX_RAW = 2_000


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source wants its rows read."""

    default_currency: str = ""
    tag_map: Mapping[str, str] = field(default_factory=dict)  # our attribute -> the vendor's tag key, asked first
    tag_keys: tuple[str, ...] = ()  # further tag keys that form the attribute `tags`
    columns: Mapping[str, str] = field(default_factory=dict)  # FOCUS column -> the title that a file gives it
    has_decimal_comma: bool = False
    has_day_first: bool = False
    service_provider_name: str = ""  # where the file does not say who bills


def finish(
    frame: pl.DataFrame, extra: Sequence[str], reading: Reading, *, file: str, file_index: int, first_row: int
) -> Normalized:
    """The charges of a piece of a file, and the rows that cannot be one (with row and field). Order is kept.

    `frame` has text in the columns of `focus_columns.NAMES` ("" where the vendor said nothing; periods may be instants) and
    the columns named in `extra`, each prefixed with +, which are kept as a JSON object. A column of NAMES that is missing
    counts as empty. `row_number` may be given; else rows are numbered from `first_row`. `attr_key` may be given too,
    `model` and `token_kind` where the vendor names them, and other attributes for where no tag tells them.
    """
    frame = _complete(frame, reading)
    if "row_number" not in frame.columns:
        frame = frame.with_columns(pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64).alias("row_number"))
    frame = _costs(_moments(frame))
    rejected, frame = _checked(frame, file)
    frame = frame.with_columns(
        pl.lit(file_index, dtype=pl.Int16).alias("file_index"),
        *(digits(frame[name]).alias(name) for name in (*COSTS, *_QUANTITIES)),
        _extra(frame, extra),
    )
    frame = ownership.classified(_classified(_attributed(frame, reading)))
    shaped = frame.select(CHARGE.names).to_arrow().cast(CHARGE).combine_chunks()
    batches = shaped.to_batches() or [pa.RecordBatch.from_pylist([], schema=CHARGE)]
    return Normalized(batches[0], rejected, file)


def _complete(frame: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    missing = [name for name in focus_columns.NAMES if name not in frame.columns]
    frame = frame.with_columns(pl.lit("").alias(name) for name in missing)
    currency, provider = pl.col("billing_currency"), pl.col("service_provider_name")
    return frame.with_columns(
        pl.when(currency == "")
        .then(pl.lit(reading.default_currency))
        .otherwise(currency.str.to_uppercase())
        .alias("billing_currency"),
        pl.when(provider == "")
        .then(pl.lit(reading.service_provider_name))
        .otherwise(provider)
        .alias("service_provider_name"),
    )


def _moments(frame: pl.DataFrame) -> pl.DataFrame:
    for name in (*_PERIODS, *_BILLING):
        if frame.schema[name] == pl.String:
            frame = frame.with_columns(
                pl.Series(f"{name}_text", frame[name]), instants.parse_repeated(frame[name]).alias(name)
            )
        else:
            frame = frame.with_columns(pl.col(name).dt.to_string("iso:strict").fill_null("").alias(f"{name}_text"))
    # A bill without a billing period is one of the month its charges begin in.
    month = pl.col("charge_period_start").dt.truncate("1mo")
    return frame.with_columns(
        pl.col("billing_period_start").fill_null(month).dt.date(),
        pl.col("billing_period_end").fill_null(month.dt.offset_by("1mo")).dt.date(),
    )


def _costs(frame: pl.DataFrame) -> pl.DataFrame:
    """Money without dollar signs and thousands separators; an unstated cost is the billed one.

    Real exports leave ContractedCost empty although FOCUS forbids it (Oracle, 2024); only BilledCost cannot be spared.
    """
    for name in COSTS:
        formatted = frame[name].str.contains(_FORMATTED)
        if formatted.any():
            bare = pl.col(name).str.replace_all("[$,]", "")
            frame = frame.with_columns(pl.when(formatted).then(bare).otherwise(pl.col(name)).alias(name))
    billed = pl.col("billed_cost")
    return frame.with_columns(
        pl.when(pl.col(name) == "").then(billed).otherwise(pl.col(name)).alias(name)
        for name in COSTS
        if name != "billed_cost"
    )


def _checked(frame: pl.DataFrame, file: str) -> tuple[list[Rejected], pl.DataFrame]:
    checks: list[tuple[str, pl.Expr, str]] = []
    for name in COSTS:
        unread = ~pl.col(name).str.contains(_DECIMAL)
        comma = unread & pl.col(name).str.contains(",", literal=True)
        checks.append(
            (name, comma, "{} may be read in two ways; say decimal_comma in the settings if commas are decimal marks")
        )
        checks.append((name, unread, "expected a decimal number, found {}"))
    for name in _OPTIONAL_NUMBERS:
        given = pl.col(name) != ""
        checks.append((name, given & ~pl.col(name).str.contains(_DECIMAL), "expected a decimal number, found {}"))
    for name in _PERIODS:
        column = pl.col(name)
        checks.append((name, column.is_null(), "expected a moment in time, found {}"))
        outside = (column < instants.EARLIEST_CHARGE) | (column > instants.LATEST)
        checks.append((name, outside, "{} is outside 2000-01-01 to 2100-01-01"))
    for name in _BILLING:
        unread = (pl.col(f"{name}_text") != "") & pl.col(name).is_null()
        checks.append((name, unread, "expected a moment in time, found {}"))
    backwards = pl.col("charge_period_end") < pl.col("charge_period_start")
    checks.append(("charge_period_end", backwards, "{} is before the charge period begins"))
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    nul = pl.any_horizontal(pl.col(name).str.contains("\x00", literal=True) for name in texts)
    checks.append(("text", nul, "the row holds a NUL character, which no text can keep"))
    checks.append(("tags", pl.col("tags").str.contains(_NUL_IN_JSON), "a tag holds a NUL character, found {}"))
    checks.append(("billing_currency", pl.col("billing_currency") == "", "expected a currency code, found {}"))
    wrong = frame.select(pl.any_horizontal(mask.fill_null(False) for _, mask, _ in checks).alias("wrong"))["wrong"]
    if not wrong.any():
        return [], frame
    bad = frame.filter(wrong)
    verdicts = bad.select(mask.fill_null(False).alias(str(at)) for at, (_, mask, _) in enumerate(checks))
    rejected = []
    # Texts alone: Python has no moment after the year 9999.
    said = bad.select("row_number", *texts)
    for verdict, row in zip(verdicts.iter_rows(), said.iter_rows(named=True), strict=True):
        name, _, reason = checks[verdict.index(True)]
        found = row.get(f"{name}_text", row.get(name, ""))
        raw = ", ".join(
            f"{key.removeprefix('+')}={value}" for key, value in row.items() if isinstance(value, str) and value
        )
        title = focus_columns.NAMES.get(name, (name,))[0]
        rejected.append(Rejected(file, row["row_number"], title, reason.format(repr(found)), raw[:_MAX_RAW]))
    return rejected, frame.filter(~wrong)


def digits(texts: pl.Series) -> pl.Series:
    """Numbers in plain digits: an exponent is written out, a leading plus is dropped; nothing is rounded. What is none stays."""
    odd = texts.str.contains("[eE+]")
    if not odd.any():
        return texts
    odd &= texts.str.contains(_DECIMAL)
    distinct = texts.filter(odd).unique()
    plain = pl.Series([format(Decimal(text), "f") for text in distinct], dtype=pl.String)
    return texts.replace(distinct, plain)


def _extra(frame: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    """The columns that have no place of their own, as a JSON object of those that say something."""
    pieces = []
    for name in names:
        column = frame[f"+{name}"]
        quoted = pl.col(f"+{name}")
        if column.str.contains(r'["\\\x00-\x1f]').any():
            # {"v":"…"} without its wrapping is the escaped text.
            escaped = pl.struct(quoted.alias("v")).struct.json_encode()
            quoted = escaped.str.slice(5, escaped.str.len_chars() - 6)
        else:
            quoted = pl.concat_str(pl.lit('"'), quoted, pl.lit('"'))
        title = orjson.dumps(name).decode()
        piece = pl.concat_str(pl.lit(f"{title}:"), quoted)
        pieces.append(pl.when(pl.col(f"+{name}") != "").then(piece))
    if not pieces:
        return pl.lit("{}").alias("extra")
    joined = pl.concat_str(pieces, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), joined.fill_null(""), pl.lit("}")).alias("extra")


def _attributed(frame: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    """Tags as a JSON object, and the attributes that are read from them and from the account."""
    read = _TagReader(reading)
    told = [name for name in read.columns if name in frame.columns]
    frame = frame.rename({name: f"told_{name}" for name in told})
    distinct = frame["tags"].unique()
    parsed = pl.DataFrame(
        [{"tags": text, **read.one(text)} for text in distinct],
        schema={"tags": pl.String, "tags_json": pl.String, **dict.fromkeys(read.columns, pl.String)},
    )
    frame = frame.join(parsed, on="tags", how="left", maintain_order="left").drop("tags").rename({"tags_json": "tags"})
    frame = frame.with_columns(
        pl.when(pl.col(name) == "").then(pl.col(f"told_{name}")).otherwise(pl.col(name)).alias(name) for name in told
    )
    service = pl.col("attr_service_name")
    return frame.with_columns(
        (pl.col("attr_key") if "attr_key" in frame.columns else pl.lit("").alias("attr_key")),
        pl.lit("").alias("attr_user_agent"),
        pl.col("sub_account_id").alias("attr_account"),
        pl.when(service == "").then(pl.col("service_name")).otherwise(service).alias("attr_service_name"),
    )


class _TagReader:
    """Reads one tags text: the object it is, and the attributes that it sets."""

    def __init__(self, reading: Reading) -> None:
        self._keys = {
            name: (*((_plain(reading.tag_map[name]),) if name in reading.tag_map else ()), *map(_plain, known))
            for name, known in _TAG_KEYS.items()
        }
        self._further = {_plain(key) for key in reading.tag_keys}
        self.columns = (*(f"attr_{name}" for name in _TAG_KEYS), "attr_tags")
        self._nothing = dict.fromkeys(self.columns, "")
        # Texts differ in their values; which of their keys tell what, few of them.
        self._asked = lru_cache(maxsize=4096)(self._telling)

    def one(self, text: str) -> dict[str, str]:
        tags = _tags(text)
        found = self._nothing.copy()
        for name, key in self._asked(tuple(tags)):
            if not found[name] and (value := tags[key]) not in (None, ""):
                found[name] = _shown(value)
        if further := {key: value for key, value in tags.items() if self._further and _plain(key) in self._further}:
            found["attr_tags"] = _dumped(further)
        found["tags_json"] = _dumped(tags)
        return found

    def _telling(self, keys: tuple[str, ...]) -> list[tuple[str, str]]:
        """Attributes and the keys of a text that may tell them, the first to be asked first."""
        by_plain: dict[str, str] = {}
        for key in keys:
            by_plain.setdefault(_plain(key), key)
        return [
            (f"attr_{name}", by_plain[key]) for name, asked in self._keys.items() for key in asked if key in by_plain
        ]


def _tags(text: str) -> dict[str, object]:
    """The tags of a cell; Microsoft's older exports leave the braces out. What is not an object stays, under `_raw`."""
    if not text:
        return {}
    for candidate in (text, "{" + text + "}"):
        try:
            parsed = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            continue
        if isinstance(parsed, dict):
            return parsed
    return {"_raw": text}


def _classified(frame: pl.DataFrame) -> pl.DataFrame:
    """Model and token kind, worked out once for each distinct combination of the texts that may tell them; where the
    source has told one in a column of that name, its word stands.
    """
    told = [name for name in ("model", "token_kind") if name in frame.columns]
    frame = frame.rename({name: f"told_{name}" for name in told})
    hints = ["sku_meter", "charge_description", "sku_id", "resource_name", "resource_id", "sku_price_id"]
    hints += [name for name in frame.columns if name.startswith("+x_") and _is_hint(name)]
    names = ["service_name", "service_provider_name", "host_provider_name"]
    spoken = pl.any_horizontal(pl.col(name).str.contains(classify.FAMILY_PATTERN) for name in hints)
    keys = [*names, *hints]
    distinct = frame.lazy().filter(spoken).select(keys).unique().collect()
    found = []
    for row in distinct.iter_rows():
        provider = classify.bill_provider(row[: len(names)])
        found.append(classify.first_line(provider, row[len(names) :]))
    distinct = distinct.with_columns(
        pl.Series("model", [line.model for line in found], dtype=pl.String),
        pl.Series("token_kind", [line.token_kind for line in found], dtype=pl.String),
    )
    if distinct.is_empty():
        found_lines = frame.with_columns(pl.lit("").alias("model"), pl.lit("").alias("token_kind"))
    else:
        joined = frame.join(distinct, on=keys, how="left", maintain_order="left", nulls_equal=True)
        found_lines = joined.with_columns(pl.col("model").fill_null(""), pl.col("token_kind").fill_null(""))
    return found_lines.with_columns(
        pl.when(pl.col(f"told_{name}") == "").then(pl.col(name)).otherwise(pl.col(f"told_{name}")).alias(name)
        for name in told
    )


def _is_hint(name: str) -> bool:
    return any(
        word in name.lower()
        for word in ("usagetype", "usage_type", "meter", "model", "operation", "lineitem", "line_item")
    )


@lru_cache(maxsize=16_384)
def _plain(key: str) -> str:
    return _SEPARATORS.sub("_", key.strip().lower()).strip("_")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _dumped(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
