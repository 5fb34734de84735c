"""The contract of a rule: either it gives an attribute set an owner, or it selects charges and says how they are split."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import orjson

from costobs.kernel import money

OWNED = ("team", "feature", "cost_centre", "environment")

# What a split rule may select charges by: columns of a charge, and attributes of its set as `attr.name`, tags as `tags.name`.
CHARGE_COLUMNS = (
    "service_provider_name",
    "sub_account_id",
    "service_category",
    "service_name",
    "charge_category",
    "charge_class",
    "charge_description",
    "sku_id",
    "resource_id",
    "resource_name",
    "resource_type",
    "region_id",
    "invoice_issuer_name",
    "model",
    "cost_kind",
    "purchase_option",
)
_NAME = re.compile(r"^[A-Za-z0-9_.:/-]{1,100}$")
# What the provider or the platform says about a call. All else comes with the call, and whoever makes it may write it.
VERIFIED = ("key", "project", "account", "namespace", "deployment")

Shape = Literal[
    "text",
    "whole",
    "amount",
    "yes",
    "choice",
    "lines",
    "pairs",
    "weights",
    "conditions",
    "lookup",
    "owner",
    "scopes",
    "json",
]


class BadRule(ValueError):
    """The configuration of a rule cannot be used; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns spend; "" where no rule says."""

    team: str = ""
    feature: str = ""
    cost_centre: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of SQL with its parameters."""

    sql: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a kind as a form shows it; `name` is its key in the configuration.

    Shapes: `lines` is a list of texts, `pairs` text to text, `weights` name to amount, `conditions` name to list of globs,
    `lookup` an attribute with its table, `owner` the parts of an owner, `scopes` glob to list of teams.
    """

    name: str
    label: str
    shape: Shape
    hint: str = ""
    default: Any = None  # as JSON holds it
    choices: tuple[str, ...] = ()
    is_required: bool = False


class Rule:
    """One configured rule. `is_split` tells the two families apart."""

    kind: ClassVar[str]
    title: ClassVar[str]
    is_split: ClassVar[bool]
    # Whether its parts follow who owns what: such days are split anew when owners change.
    reads_owners: ClassVar[bool] = False

    @classmethod
    def fields(cls) -> Sequence[Field]:
        """The settings a form asks for, in their order; a kind that says nothing is asked for the fields of its dataclass."""
        return _declared(cls)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """The rule in a configuration. Raises BadRule."""
        raise NotImplementedError(cls.__name__)


class OwnershipRule(Rule):
    """Gives attribute sets owners."""

    is_split = False

    def own(self, *, attributes: Mapping[str, str], model: str, teams: frozenset[str]) -> dict[str, str]:
        """The parts of the owner this rule knows; nothing where it does not match. `teams` are the known teams."""
        raise NotImplementedError(type(self).__name__)

    def models(self) -> Sequence[str]:
        """The models (or globs of models) this rule speaks of in particular."""
        raise NotImplementedError(type(self).__name__)

    def claims(self, *, attributes: Mapping[str, str]) -> bool:
        """Whether the team it gives is one that the call itself names: it counts only where the key may speak for it."""
        return False

    @property
    def knows_key(self) -> bool:
        """Whether it says whose a key is."""
        return False

    @property
    def follows_teams(self) -> bool:
        """Whether its answer depends on which teams there are."""
        return False


@dataclass(frozen=True, slots=True)
class SplitRule(Rule):
    """Selects charges and splits each day's sum of them."""

    is_split: ClassVar[bool] = True
    select: Mapping[str, Sequence[str]]

    def charges(self, *, prefix: str) -> Fragment:
        """The condition on charges aliased `c` with attribute sets aliased `a`; parameters begin with `prefix`."""
        return selection(self.select, prefix=prefix)

    def team_weights(self) -> dict[str, Decimal]:
        """Weights by team, for the kinds whose weights are configured; empty for those that measure them."""
        return {}


def selection(select: Mapping[str, Sequence[str]], *, prefix: str) -> Fragment:
    """A selection as SQL: each column matches any of its values, `*` and `?` are wildcards, all columns must match."""
    conditions, parameters = [], {}
    for index, (column, values) in enumerate(sorted(select.items())):
        name = f"{prefix}_{index}"
        conditions.append(f"{_column(column)} LIKE ANY(%({name})s)")
        parameters[name] = [_like(value) for value in values]
    return Fragment(" AND ".join(conditions) or "FALSE", parameters)


def conditions(config: Mapping[str, Any], key: str) -> dict[str, list[str]]:
    """The `when` or `select` of a configuration. Raises BadRule."""
    found = config.get(key, {})
    if not isinstance(found, Mapping):
        raise BadRule(f"expected {key} as an object of lists, found {found!r}")
    for name, values in found.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values) or not values:
            raise BadRule(f"expected {key}.{name} as a list of texts, found {values!r}")
    return dict(found)


def weights(config: Mapping[str, Any], key: str) -> dict[str, Decimal]:
    """Non-negative weights by name, from texts or whole numbers. Raises BadRule."""
    found = config.get(key)
    if not isinstance(found, Mapping) or not found:
        raise BadRule(f"expected {key} as an object of weights, found {found!r}")
    try:
        parsed = {
            str(name): money.parse(value if isinstance(value, int) else str(value)) for name, value in found.items()
        }
    except money.MoneyError as problem:
        raise BadRule(f"{key}: {problem}") from problem
    if any(weight < 0 for weight in parsed.values()) or not any(parsed.values()):
        raise BadRule(f"expected {key} to be non-negative with at least one above zero, found {found!r}")
    return parsed


@lru_cache(maxsize=4096)
def pattern(glob: str) -> re.Pattern[str]:
    """A glob as a pattern, without regard to case."""
    return re.compile(fnmatch.translate(glob), re.IGNORECASE)


def value_of(attributes: Mapping[str, str], name: str) -> str:
    """An attribute of a set, or one of its tags as `tags.name` without regard to case; "" when it is not there."""
    if not name.startswith("tags."):
        return attributes.get(name, "")
    wanted = name.removeprefix("tags.").casefold()
    return next((value for key, value in tags_of(attributes.get("tags", "")) if key.casefold() == wanted), "")


@lru_cache(maxsize=65_536)
def tags_of(text: str) -> tuple[tuple[str, str], ...]:
    """The tags in the attribute `tags`, which is a JSON object as text."""
    try:
        parsed = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return ()
    if not isinstance(parsed, dict):
        return ()
    return tuple((str(key), str(value)) for key, value in parsed.items() if value not in (None, ""))


def _declared(kind: type[Rule]) -> list[Field]:
    if not hasattr(kind, "__dataclass_fields__"):
        return []
    hints = get_type_hints(kind)
    found = []
    for one in fields(kind):  # type: ignore[arg-type]  # a dataclass, as was just asked
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        shape, choices = _shape(hints[one.name])
        label = one.name.replace("_", " ").capitalize()
        needed = default is MISSING and one.name != "select"
        found.append(
            Field(
                one.name,
                label,
                shape,
                default=None if default is MISSING else default,
                choices=choices,
                is_required=needed,
            )
        )
    return found


def _shape(hint: Any) -> tuple[Shape, tuple[str, ...]]:
    simple: dict[Any, Shape] = {str: "text", bool: "yes", int: "whole", Decimal: "amount"}
    if hint in simple:
        return simple[hint], ()
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "choice", tuple(map(str, args))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        values: dict[Any, Shape] = {
            str: "pairs",
            Decimal: "weights",
            Sequence[str]: "conditions",
            list[str]: "conditions",
        }
        return values.get(args[1], "json"), ()
    if isinstance(origin, type) and issubclass(origin, Sequence) and args[0] is str:
        return "lines", ()
    return "json", ()


def _column(name: str) -> str:
    if name in CHARGE_COLUMNS:
        return f"c.{name}"
    family, _, key = name.partition(".")
    if family in {"attr", "tags"} and _NAME.match(key):
        return f"coalesce({'a.attributes' if family == 'attr' else 'c.tags'}->>'{key}', '')"
    raise BadRule(f"cannot select charges by {name!r}; known: {', '.join(CHARGE_COLUMNS)}, attr.NAME, tags.NAME")


def _like(glob: str) -> str:
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
