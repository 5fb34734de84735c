"""The contract of a rule: either it gives an attribute set an owner, or it selects charges and says how they are split."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import orjson

from attribution.rules.pools import POOLS
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
# Of those, what a part of a split still knows, and what only a part knows.
_PART_COLUMNS = {
    "service_provider_name": "provider_name",
    "sub_account_id": "sub_account",
    "service_name": "service_name",
    "charge_category": "charge_category",
    "charge_class": "charge_class",
    "region_id": "region",
    "invoice_issuer_name": "invoice_issuer_name",
    "model": "model",
    "cost_kind": "cost_kind",
    "purchase_option": "purchase_option",
    "deployment": "deployment",
}
_USAGE_COLUMNS = ("provider", "model", "deployment")
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


@dataclass(frozen=True, slots=True)
class Weighing:
    """What the weights of a split are.

    `basis`: shares (given), even, direct_cost, tokens, requests, gpu_time, metric, usage_sets (tokens, by attribute set),
    subject (direct cost of what the charge is about), none (stays whole). `teams` limits who takes part, () everybody.
    """

    basis: str
    shares: Mapping[str, Decimal] = field(default_factory=dict)
    teams: Sequence[str] = ()
    usage: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metric: str = ""
    by_owner: bool = False  # parts name feature, cost centre and environment, not only the team


class Rule:
    """One configured rule. `is_split` tells the two families apart."""

    kind: ClassVar[str]
    title: ClassVar[str]
    is_split: ClassVar[bool]

    @classmethod
    def fields(cls) -> Sequence[Field]:
        """The settings a form asks for, in their order; a kind that says nothing is asked for the fields of its dataclass."""
        return _declared(cls)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """The rule in a configuration. Raises BadRule."""
        raise NotImplementedError(cls.__name__)

    @property
    def reads_owners(self) -> bool:
        """Whether its parts follow who owns what: such days are split anew when owners change."""
        return False


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


SELECT = Field("select", "Charges", "conditions", "All of them must hold; without any the cost pools alone decide.", {})
PICKED = Field("pools", "Cost pools", "lines", "What the money is, whatever its columns say.", [], tuple(POOLS))
TEAMS = Field("teams", "Teams", "lines", "Only these; none is every team with direct cost.", [])
USAGE = Field("usage", "By the usage where", "conditions", "provider, model or deployment; none is all usage.", {})


@dataclass(frozen=True, slots=True)
class SplitRule(Rule):
    """Picks money, by columns of charges (`select`) or by what it is (`pools`), and splits each day's sum of it."""

    is_split: ClassVar[bool] = True
    select: Mapping[str, Sequence[str]]
    pools: Sequence[str]

    @property
    def reads_owners(self) -> bool:
        return "unowned" in self.pools

    def charges(self, *, prefix: str) -> Fragment:
        """The condition on charges aliased `c` with attribute sets aliased `a`; parameters begin with `prefix`."""
        return self._condition("charges", _column, prefix)

    def leftovers(self, *, prefix: str) -> Fragment:
        """The condition on charges no rule took, aliased as for `charges`; FALSE where no pool of the rule is made of them."""
        return self._condition("leftovers", _column, prefix)

    def parts(self, *, prefix: str) -> Fragment:
        """The condition on parts without an owner, aliased `p`; FALSE where no pool of the rule is made of parts."""
        return self._condition("parts", _part_column, prefix)

    def team_weights(self) -> dict[str, Decimal]:
        """Weights by team, for the kinds whose weights are configured; empty for those that measure them."""
        return {}

    def weighing(self) -> Weighing:
        """What the weights of the split are."""
        return Weighing("shares", shares=self.team_weights())

    @property
    def pool_kind(self) -> str:
        """What the rule splits, for the rows it makes: the names of its pools, or `selection`."""
        return "+".join(self.pools) or "selection"

    def _condition(self, family: str, column: Callable[[str], str], prefix: str) -> Fragment:
        picked = [sql for name in self.pools if (sql := getattr(POOLS[name], family))]
        if not picked and (self.pools or family != "charges"):
            return Fragment("FALSE")
        found = _like_any(self.select, prefix=prefix, column=column)
        if not picked:
            return found if self.select else Fragment("FALSE")
        pools = f"({' OR '.join(picked)})"
        return Fragment(f"{found.sql} AND {pools}" if self.select else pools, found.parameters)


def picked(config: Mapping[str, Any]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The `select` and `pools` of a split rule. Raises BadRule."""
    select, pools = conditions(config, "select"), names(config, "pools")
    unknown = [name for name in pools if name not in POOLS]
    if unknown:
        raise BadRule(f"unknown cost pool {unknown[0]!r}; known: {', '.join(POOLS)}")
    of_charges = not pools or any(POOLS[name].charges or POOLS[name].leftovers for name in pools)
    of_parts = any(POOLS[name].parts for name in pools)
    for name in select:
        if of_charges:
            _column(name)
        if of_parts:
            _part_column(name)
    return select, pools


def names(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of names in a configuration, each once; () where it is left out. Raises BadRule."""
    found = config.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise BadRule(f"expected {key} as a list of names, found {found!r}")
    return tuple(dict.fromkeys(found))


def selection(select: Mapping[str, Sequence[str]], *, prefix: str) -> Fragment:
    """A selection as SQL: each column matches any of its values, `*` and `?` are wildcards, all columns must match."""
    return _like_any(select, prefix=prefix, column=_column)


def usage_selection(usage: Mapping[str, Sequence[str]], *, prefix: str) -> Fragment:
    """The condition on usage, with offerings aliased `f`; TRUE where nothing is said."""
    found = _like_any(usage, prefix=prefix, column=lambda name: f"f.{name}")
    return found if usage else Fragment("TRUE")


def used(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The `usage` of a configuration. Raises BadRule."""
    usage = conditions(config, "usage")
    unknown = [name for name in usage if name not in _USAGE_COLUMNS]
    if unknown:
        raise BadRule(f"cannot select usage by {unknown[0]!r}; known: {', '.join(_USAGE_COLUMNS)}")
    return usage


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
        raise BadRule(f"expected {key} to be non-negative with at least one above zero, found {found!r}"[:300])
    if any(not money.fits(weight) for weight in parsed.values()):
        raise BadRule(f"expected {key} up to 10^15 with at most 12 decimals, found {found!r}"[:300])
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


def _like_any(select: Mapping[str, Sequence[str]], *, prefix: str, column: Callable[[str], str]) -> Fragment:
    tests, parameters = [], {}
    for index, (name, values) in enumerate(sorted(select.items())):
        tests.append(f"{column(name)} LIKE ANY(%({prefix}_{index})s)")
        parameters[f"{prefix}_{index}"] = [_like(value) for value in values]
    return Fragment(" AND ".join(tests) or "FALSE", parameters)


def _part_column(name: str) -> str:
    if name in _PART_COLUMNS:
        return f"p.{_PART_COLUMNS[name]}"
    raise BadRule(f"cannot select parts of a split by {name!r}; known: {', '.join(_PART_COLUMNS)}")


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
