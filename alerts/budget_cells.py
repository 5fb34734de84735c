"""Budgets as cells of a table and back: scopes, ladders, days and percentages in a form people can type."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from alerts.budgets import RungSpec
from costobs.kernel import money

YES, NO = "yes", "no"
_TRUE = {"yes", "true", "1", "y", "x"}
_FALSE = {"no", "false", "0", "n", ""}
_BESIDE = tuple(one.name for one in fields(RungSpec) if one.name not in {"percent", "action", "config"})
_MARKS = set(",;=|:/\n\r")


def scope_text(scope: Mapping[str, Sequence[str]]) -> str:
    """`team:search|growth; model:gpt-5`; as JSON where a value has one of these marks."""
    if any(
        _MARKS & set(value.replace(" ", "")) - {":", "/"} or "; " in value
        for values in scope.values()
        for value in values
    ):
        return orjson.dumps(dict(scope)).decode()
    return "; ".join(f"{name}:{'|'.join(values)}" for name, values in sorted(scope.items()))


def scope(text: str) -> dict[str, list[str]]:
    """The scope in a cell. Raises ValueError."""
    if text.lstrip().startswith("{"):
        return _scope_object(_json(text))
    found: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, mark, values = part.partition(":")
        if not mark:
            raise ValueError(f"expected dimension:value, separated by semicolons, found {part!r}")
        found.setdefault(name.strip(), []).extend(value.strip() for value in values.split("|"))
    return found


def protected_text(scopes: Sequence[Mapping[str, Sequence[str]]]) -> str:
    """Several scopes as JSON; nothing for none."""
    return orjson.dumps([dict(one) for one in scopes]).decode() if scopes else ""


def protected(text: str) -> tuple[dict[str, list[str]], ...]:
    """The scopes in a cell: one as `team:search`, or several as a JSON list. Raises ValueError."""
    if not text.strip():
        return ()
    if not text.lstrip().startswith("["):
        return (scope(text),)
    return tuple(_scope_object(one) for one in _json(text))


def ladder_text(rungs: Sequence[RungSpec]) -> str:
    """`60:notify; 75:throttle:requests_per_minute=6,approval=one`; as JSON where a setting is not that plain."""
    plain = [_rung_text(rung) for rung in rungs]
    if all(one is not None for one in plain):
        return "; ".join(one for one in plain if one is not None)
    listed = [
        {
            "percent": money.text(rung.percent),
            "action": rung.action,
            "config": dict(rung.config),
            **{name: getattr(rung, name) for name in _BESIDE},
        }
        for rung in rungs
    ]
    return orjson.dumps(listed).decode()


def ladder(text: str) -> list[RungSpec]:
    """The steps in a cell. Raises ValueError."""
    if not text.lstrip().startswith("["):
        return [rung(part) for part in filter(None, (part.strip() for part in text.split(";")))]
    found = []
    for one in _json(text):
        if not isinstance(one, dict) or not {"percent", "action"} <= set(one):
            raise ValueError("expected a list of steps with percent and action")
        unknown = set(one) - {"percent", "action", "config", *_BESIDE}
        if unknown:
            raise ValueError(f"a step has no {sorted(unknown)[0]!r}")
        beside = {name: one[name] for name in _BESIDE if name in one}
        found.append(RungSpec(decimal(str(one["percent"])), str(one["action"]), one.get("config") or {}, **beside))
    return found


def rung(text: str) -> RungSpec:
    """`75:throttle:requests_per_minute=6,approval=one` as a step; `;` stands for a comma in a value. Raises ValueError."""
    percent, found, rest = text.partition(":")
    action, _, settings = rest.partition(":")
    if not found or not action.strip():
        raise ValueError(f"expected PERCENT:ACTION[:SETTING=VALUE,…], found {text!r}")
    values: dict[str, str] = {}
    for pair in filter(None, settings.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"expected SETTING=VALUE, found {pair!r}")
        values[name.strip()] = value.strip().replace(";", ",")
    beside: dict[str, Any] = {name: values.pop(name) for name in _BESIDE if name in values}
    if "expires_after_hours" in beside:
        beside["expires_after_hours"] = whole(beside["expires_after_hours"])
    return RungSpec(decimal(percent.strip().removesuffix("%")), action.strip(), values, **beside)


def decimal(text: str) -> Decimal:
    """A number with a point. Raises ValueError."""
    try:
        return money.parse(text.strip())
    except money.MoneyError:
        raise ValueError(f"expected a number such as 1200.50, found {text!r}") from None


def percent(text: str) -> Decimal | None:
    """A percentage, with or without its sign; nothing is None. Raises ValueError."""
    return decimal(text.strip().removesuffix("%")) if text.strip() else None


def whole(text: str) -> int | None:
    """A whole number; nothing is None. Raises ValueError."""
    if not text.strip():
        return None
    if not text.strip().isascii() or not text.strip().isdigit():
        raise ValueError(f"expected a whole number, found {text!r}")
    return int(text.strip())


def day(text: str) -> date | None:
    """A day; nothing is None. Raises ValueError."""
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"expected a day as YYYY-MM-DD, found {text!r}") from None


def yes(text: str) -> bool:
    """Yes or no. Raises ValueError."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"expected yes or no, found {text!r}")


def _rung_text(one: RungSpec) -> str | None:
    beside = {name: getattr(one, name) for name in _BESIDE}
    defaults = {field.name: field.default for field in fields(RungSpec)}
    settings = {**one.config, **{name: value for name, value in beside.items() if value != defaults[name]}}
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in settings.values()):
        return None
    if any(_MARKS & set(str(value)) for value in settings.values()):
        return None
    listed = ",".join(f"{name}={value}" for name, value in settings.items())
    return f"{one.percent.normalize():f}:{one.action}" + (f":{listed}" if listed else "")


def _json(text: str) -> Any:  # whatever a person put into a cell
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise ValueError(f"expected JSON, found {text!r}: {problem}") from None


def _scope_object(found: Any) -> dict[str, list[str]]:  # as above
    if not isinstance(found, dict) or not all(
        isinstance(values, list) and all(isinstance(value, str) for value in values) for values in found.values()
    ):
        raise ValueError('expected {"dimension": ["value", …]}')
    return {str(name): list(values) for name, values in found.items()}
