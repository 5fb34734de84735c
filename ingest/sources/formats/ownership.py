"""What the money of a charge is for, and how its capacity was bought: told from the texts of a bill, once per distinct text."""

import re

import polars as pl

from ingest.sources.formats import purchase_texts as texts

_TOLD = ("purchase_option", "cost_kind")
# What a line says of itself, and of the service it is part of. A name that a person gave to a resource is neither.
_LINE = ("sku_meter", "charge_description", "resource_type", "sku_id", "pricing_unit", "consumed_unit")
_SERVICE = ("service_name", "service_provider_name", "host_provider_name")
KEYS = (
    *_LINE,
    *_SERVICE,
    "service_category",
    "service_subcategory",
    "charge_category",
    "pricing_category",
    "commitment_discount_id",
    "commitment_discount_status",
    "model",
    "token_kind",
)
# Columns that FOCUS does not know and that say what a line is: usage types, meters, instance types, kinds of a commitment.
_HINT = re.compile(
    r"usagetype|operation|servicecode|productcode|productfamily|productname|instancetype|instancefamily|sku|meter|pricingmodel"
    r"|purchaseoption|commitmentdiscount(?:type|category)|chargetype|lineitemtype|pricingsubcategory|pricingterm|termtype"
    r"|costtype|machine"
)
_NO_HINT = re.compile(r"cost|quantity|rate|arn|amount|number|price(?!detail)|(?:id|date|time|version)$")
_BETWEEN = "\x1f"
# Kinds that may be held by the hour; of the others "on demand" says nothing, though Azure says it of tokens and of storage.
_CAPACITY = ("gpu_compute", "cpu_compute", "serverless_inference", "fine_tuning")
_NO_CAPACITY = ("tax", "credit", "support", "licence", "staff", "energy", "network")


def classified(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `purchase_option` and `cost_kind`; what a source has set already stays."""
    missing = [name for name in _TOLD if name not in frame.columns]
    frame = frame.with_columns(pl.lit("").alias(name) for name in missing)
    keys = [*KEYS, *_TOLD, *(name for name in frame.columns if name.startswith("+") and _is_hint(name))]
    given = [name for name in keys if name in frame.columns]
    asked = frame.with_columns(pl.concat_str(given, separator=_BETWEEN, ignore_nulls=False).alias("~asked"))
    distinct = asked.unique("~asked", keep="first").select("~asked", *given)
    told = _told(distinct).select("~asked", *(pl.col(name).alias(f"~{name}") for name in _TOLD))
    joined = asked.join(told, on="~asked", how="left", maintain_order="left").drop("~asked", *_TOLD)
    return joined.rename({f"~{name}": name for name in _TOLD})


def _is_hint(name: str) -> bool:
    plain = re.sub(r"[^a-z]", "", name.lower())
    return bool(_HINT.search(plain)) and not _NO_HINT.search(plain)


def _told(distinct: pl.DataFrame) -> pl.DataFrame:
    """Both answers for each distinct combination of texts: expressions over columns, no row is touched by Python."""
    hints = [name for name in distinct.columns if name.startswith("+")]
    lower = distinct.with_columns(
        _text(distinct, (*_LINE, *hints)).alias("line"),
        _text(distinct, _SERVICE).alias("service"),
        *(
            pl.col(name).str.strip_chars().str.to_lowercase().alias(f"~{name}")
            for name in ("service_category", "service_subcategory", "charge_category", "pricing_category")
        ),
    ).with_columns(pl.concat_str("service", "line", separator=" | ").alias("both"))
    facts = lower.with_columns(expression.alias(f"is_{name}") for name, expression in _facts().items())
    kinds = pl.coalesce(
        pl.when(pl.col("cost_kind") != "").then(pl.col("cost_kind")),
        *(pl.when(condition).then(pl.lit(kind)) for kind, condition in _kinds()),
        pl.lit("other_service"),
    )
    facts = facts.with_columns(kinds.alias("cost_kind"))
    options = pl.coalesce(
        pl.when(_is_told()).then(pl.col("purchase_option")),
        *(pl.when(condition).then(pl.lit(option)) for option, condition in _options()),
        pl.lit(""),
    )
    return facts.with_columns(options.alias("purchase_option"))


def _text(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.Expr:
    """The texts in one, in lower case, with blanks for underscores: `_` is part of a word for a regular expression."""
    held = [pl.col(name).fill_null("") for name in names if name in frame.columns]
    joined = pl.concat_str(held, separator=" | ") if held else pl.lit("")
    return joined.str.to_lowercase().str.replace_all("_", " ", literal=True)


def _facts() -> dict[str, pl.Expr]:
    """What the rules ask more than once, worked out once."""
    category = pl.col("~service_category")
    is_ai = category.str.contains("machine learning|artificial") | _has("both", texts.AI)
    return {
        "ai": is_ai,
        "dedicated": _has("service", texts.MODEL_PROVIDERS)
        | (pl.col("~service_subcategory") == "generative ai")
        | (is_ai & _has("both", texts.GENERATIVE)),
        "instance": _has("line", texts.INSTANCE),
        "gpu": _has("line", texts.GPU) | _has("service", texts.GPU_WORDS) | _has("service", texts.GPU_CLOUDS),
        "machine": _has("both", texts.MACHINE) | _has("line", texts.INSTANCE) | _has("line", texts.GPU),
        "committed": (pl.col("commitment_discount_id") != "")
        | (pl.col("commitment_discount_status") != "")
        | (pl.col("~pricing_category") == "committed")
        | _has("line", texts.COMMITMENT),
    }


def _kinds() -> list[tuple[str, pl.Expr]]:
    """The kinds in the order they are asked: what is sure before what is likely."""
    charge, category = pl.col("~charge_category"), pl.col("~service_category")
    ai, machine = pl.col("is_ai"), pl.col("is_machine")
    names_model = pl.col("model") != ""
    names_tokens = names_model & (pl.col("token_kind") != "")
    trains = _has("line", texts.TRAINING) | (_has("line", texts.TUNED) & ~_has("line", texts.SERVING))
    by_model = ai | pl.col("is_dedicated")
    return [
        ("tax", (charge == "tax") | _has("service", texts.TAX)),
        ("credit", charge == "credit"),
        ("support", _has("both", texts.SUPPORT)),
        ("energy", _has("both", texts.ENERGY)),
        ("staff", _has("both", texts.STAFF)),
        ("fine_tuning", (by_model | names_model) & trains),
        ("vector_store", _has("both", texts.VECTOR_STORE)),
        ("serverless_inference", ~pl.col("is_instance") & (by_model | names_model) & _has("line", texts.PROVISIONED)),
        ("serverless_inference", _has("both", texts.SERVERLESS_INFERENCE)),
        ("api_inference", names_tokens & ~pl.col("is_instance")),
        ("licence", _has("both", texts.LICENCE_FEE)),
        ("network", (category == "networking") | _has("both", texts.NETWORK)),
        ("storage", _has("line", texts.STORED)),
        ("gpu_compute", pl.col("is_gpu") & ~_has("line", texts.STORAGE)),
        ("licence", pl.col("is_dedicated") & _has("both", texts.SEATS)),
        ("storage", ~machine & ((category == "storage") | _has("both", texts.STORAGE))),
        ("api_inference", pl.col("is_dedicated") & ~machine),
        ("cpu_compute", machine | (category == "compute") | _has("service", texts.MACHINE_SERVICES)),
        ("licence", _has("both", texts.SEATS)),
        ("api_inference", ai & ~_has("service", texts.PLATFORMS)),
    ]


def _options() -> list[tuple[str, pl.Expr]]:
    """How capacity was bought. Tokens, storage, traffic and people are no capacity: "" unless a commitment covers them."""
    kind, committed = pl.col("cost_kind"), pl.col("is_committed")
    machines = kind.is_in(["gpu_compute", "cpu_compute"])
    trains_on_machine = (kind == "fine_tuning") & pl.col("is_machine")
    is_spot = _has("line", texts.SPOT) | ((pl.col("~pricing_category") == "dynamic") & machines)
    by_spend = _has("commitment_discount_id", texts.SAVINGS_PLAN) | _has("line", texts.SAVINGS_PLAN)
    return [
        ("", kind.is_in(_NO_CAPACITY)),
        ("spot", is_spot & (machines | trains_on_machine)),
        ("on_demand", (machines | trains_on_machine) & ~_is_discounted() & _has("line", texts.HELD)),
        ("savings_plan", committed & by_spend),
        ("reserved", committed),
        ("serverless", kind == "serverless_inference"),
        ("serverless", machines & _has("both", texts.SERVERLESS)),
        ("on_demand", machines | trains_on_machine),
    ]


def _is_told() -> pl.Expr:
    option = pl.col("purchase_option")
    return (option != "") & ((option != "on_demand") | pl.col("cost_kind").is_in(_CAPACITY))


def _is_discounted() -> pl.Expr:
    return (pl.col("commitment_discount_id") != "") | (pl.col("~pricing_category") == "committed")


def _has(column: str, pattern: str) -> pl.Expr:
    return pl.col(column).str.to_lowercase().str.contains(pattern)
