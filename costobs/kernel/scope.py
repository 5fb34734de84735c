"""The scope of a question about spend: which days, which rows, in which cost column, seen by whom."""

from dataclasses import dataclass, field, replace

from costobs.kernel.period import Days

COSTS = ("effective", "billed", "list", "contracted")

# The dimensions spend can be grouped and filtered by; where each one lives is for attribution.queries to know.
DIMENSIONS = (
    "provider_name",
    "sub_account",
    "service_name",
    "model",
    "deployment",
    "team",
    "feature",
    "cost_centre",
    "environment",
    "key",
    "region",
    "charge_category",
    "cost_kind",
    "purchase_option",
    "share_kind",
    "basis",
    "source",
    "invoice_issuer_name",
)


class BadScope(ValueError):
    """The scope names a dimension, cost or period that does not exist; the message says which are known."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One chip: `dimension` is (or is not, or contains) any of `values`."""

    dimension: str
    values: tuple[str, ...]
    op: str = "is"

    def __post_init__(self) -> None:
        if self.dimension not in DIMENSIONS:
            raise BadScope(f"unknown dimension {self.dimension!r}; known: {', '.join(DIMENSIONS)}")
        if self.op not in {"is", "is_not", "contains"}:
            raise BadScope(f"unknown operator {self.op!r}; known: is, is_not, contains")
        if any("\x00" in value for value in self.values):
            raise BadScope(f"a value of {self.dimension} holds a null character, which no name has")

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """The filter in its form of an address: `team:search|growth`, `env!:prod`, `model~:gpt`. Raises BadScope."""
        for op, mark in (("is_not", "!:"), ("contains", "~:"), ("is", ":")):
            dimension, found, values = text.partition(mark)
            if found and dimension.replace("_", "").isalpha():
                return cls(dimension, tuple(values.split("|")), op)
        raise BadScope(f"expected a filter as dimension:value, found {text!r}")


@dataclass(frozen=True, slots=True)
class SpendScope:
    """Days, filters, cost column and currency, plus the rows the viewer may see at all.

    `teams` is None for someone who may see everything, else the teams whose rows are visible. It is set by
    `costobs.access` and by nothing else; every query applies it.
    """

    days: Days
    filters: tuple[Filter, ...] = ()
    cost: str = "effective"
    currency: str = "USD"
    teams: tuple[str, ...] | None = field(default=())

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise BadScope(f"unknown cost {self.cost!r}; known: {', '.join(COSTS)}")
        if "\x00" in self.currency:
            raise BadScope("expected a currency as three letters, found a null character")

    def where(self, dimension: str, *values: str) -> "SpendScope":
        """This scope, narrowed to `values` of `dimension`."""
        return replace(self, filters=(*self.filters, Filter(dimension, values)))

    def during(self, days: Days) -> "SpendScope":
        """The same question about other days."""
        return replace(self, days=days)
