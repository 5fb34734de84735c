"""Hard budgets and prices as the policy carries them, parsed strictly: half a budget never counts."""

from collections.abc import Mapping
from dataclasses import dataclass

from costobs_gate import pricing
from costobs_gate.pricing import Price

_MATCH_NAMES = frozenset({"team", "feature", "model", "key_id", "environment"})
_UNREACHABLE = ("open", "closed")

Match = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HardBudget:
    """A budget that no request may pass: what it covers, and what happens at its end."""

    id: int
    matches: tuple[Match, ...]  # names to values; each match that fits is enough
    fails_open: bool  # without costobs: go on within the last lease
    default_max_tokens: int | None
    message: str
    retry_after_seconds: int | None
    aborts: bool

    def covers(
        self, *, team: str, key_id: str, feature: str | None, model: str | None, environment: str | None
    ) -> bool:
        """Whether a request counts against it. A model that could not be read counts as a match."""
        found = {"team": team, "key_id": key_id, "feature": feature, "environment": environment}
        for match in self.matches:
            named = match.get("model")
            rest = all(found[name] == value for name, value in match.items() if name != "model")
            if rest and (named is None or model is None or named == model):
                return True
        return False


def budgets(document: Mapping[str, object]) -> tuple[HardBudget, ...]:
    """The hard budgets of a policy; raises ValueError. An older costobs names none."""
    return tuple(_budget(item, f"hard[{index}]") for index, item in enumerate(_list(document, "hard")))


def prices(document: Mapping[str, object]) -> dict[str, Price]:
    """The gate cost of a token by model, `*` for those without a price of their own; raises ValueError."""
    return dict(_price(item, f"prices[{index}]") for index, item in enumerate(_list(document, "prices")))


def price_of(known: Mapping[str, Price], model: str | None) -> Price | None:
    """The price of a model. A model that could not be read costs the dearest of all: it may be any of them."""
    if model is not None:
        return known.get(model) or known.get(pricing.ANY_MODEL)
    if not known:
        return None
    every = known.values()
    return Price(max(one.input for one in every), max(one.cached for one in every), max(one.output for one in every))


def _budget(item: object, where: str) -> HardBudget:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is not an object")
    id_, on_unreachable = item.get("budget"), item.get("on_unreachable", "closed")
    if isinstance(id_, bool) or not isinstance(id_, int):
        raise ValueError(f"{where}: budget is not a whole number")
    if on_unreachable not in _UNREACHABLE:
        raise ValueError(f"{where}: on_unreachable is neither open nor closed")
    message = item.get("message", "")
    if not isinstance(message, str):
        raise ValueError(f"{where}: message is not a text")
    return HardBudget(
        id=id_,
        matches=tuple(_match(match, where) for match in _list(item, "matches")),
        fails_open=on_unreachable == "open",
        default_max_tokens=_whole(item, "default_max_tokens", where),
        message=message,
        retry_after_seconds=_whole(item, "retry_after_seconds", where),
        aborts=item.get("aborts") is True,
    )


def _match(match: object, where: str) -> Match:
    if not isinstance(match, dict) or set(match) - _MATCH_NAMES:
        raise ValueError(f"{where}: a match may name {', '.join(sorted(_MATCH_NAMES))} only")
    if not all(value is None or isinstance(value, str) for value in match.values()):
        raise ValueError(f"{where}: a match holds texts only")
    return {name: value for name, value in match.items() if value is not None}


def _price(item: object, where: str) -> tuple[str, Price]:
    if not isinstance(item, dict) or not isinstance(item.get("model"), str):
        raise ValueError(f"{where} names no model")
    try:
        found = Price(*(pricing.pico(str(item.get(name))) for name in ("input", "cached", "output")))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return item["model"], found


def _list(document: Mapping[str, object], name: str) -> list[object]:
    value = document.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def _whole(item: Mapping[str, object], name: str, where: str) -> int | None:
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: {name} is not a whole number above 0")
    return value
