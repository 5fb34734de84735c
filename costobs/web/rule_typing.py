"""What people type into the form of a rule, as its configuration; and a configuration as they would have typed it."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from attribution.rules.base import OWNED, Field

OPS = {
    "is": "is one of",
    "starts": "starts with",
    "contains": "contains",
    "set": "is set",
    "empty": "is empty",
}
MOST_ROWS = 60
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


class BadTyping(ValueError):
    """What was typed cannot be read; the message says what was expected."""


def parse(one: Field, data: Mapping[str, str]) -> Any:  # the JSON value of the field's shape
    """The value of one setting. Raises BadTyping."""
    text = data.get(one.name, "").strip()
    if one.shape == "conditions":
        return _conditions(one.name, data)
    if one.shape == "owner":
        parts = {name: data.get(f"{one.name}-{name}", "").strip() for name in OWNED}
        return {name: value for name, value in parts.items() if value}
    if one.shape == "lookup":
        return _lookup(one.name, data)
    if one.shape == "yes":
        return bool(text)
    if one.shape == "lines":
        ticked = [choice for choice in one.choices if data.get(f"{one.name}-{choice}")]
        lines = [line.strip() for line in text.splitlines()]
        return [*ticked, *(line for line in lines if line and line not in ticked)]
    if one.shape in ("pairs", "weights", "scopes"):
        return {key: _listed(value) if one.shape == "scopes" else value for key, value in _pairs(text)}
    return _scalar(one, text) if text else text


def _scalar(one: Field, text: str) -> Any:  # the JSON value of the field's shape
    if one.shape == "json":
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as problem:
            raise BadTyping(f"expected JSON: {problem}") from None
    if one.shape == "whole":
        if not _WHOLE.fullmatch(text):
            raise BadTyping(f"expected a whole number, found {text!r}"[:200])
        return int(text)
    return text


def _conditions(name: str, data: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for at in range(MOST_ROWS):
        attribute = data.get(f"{name}-{at}-attribute", "").strip()
        op, typed = data.get(f"{name}-{at}-op", "is"), data.get(f"{name}-{at}-values", "").strip()
        if not attribute and not typed:
            continue
        if not attribute:
            raise BadTyping(f"choose what {typed!r} is to be compared with"[:200])
        if op not in OPS:
            raise BadTyping(f"expected one of {', '.join(OPS)}, found {op!r}"[:200])
        values = _listed(typed)
        if not values and op not in ("set", "empty"):
            raise BadTyping(f"{attribute} {OPS[op]}: no value is given")
        globs = {
            "starts": [f"{value}*" for value in values],
            "contains": [f"*{value}*" for value in values],
            "set": ["?*"],
            "empty": [""],
        }.get(op, values)
        if attribute in found:
            raise BadTyping(f"{attribute} is there twice; put all its values on one line")
        found[attribute] = globs
    return found


def _lookup(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    attribute = data.get(f"{name}-attribute", "").strip()
    typed = data.get(f"{name}-table", "")
    if not attribute:
        if typed.strip():
            raise BadTyping("say which attribute the values of the table are of")
        return {}
    table: dict[str, Any] = {}
    for number, cells in enumerate(_cells(typed), start=1):
        value, *rest = cells
        owner = {part: text for part, text in zip(OWNED, rest, strict=False) if text}
        if number == 1 and not table and value.lower() in {attribute.lower(), "value"}:
            continue  # the heading of a spreadsheet
        if not value or not owner or len(rest) > len(OWNED):
            raise BadTyping(
                f"line {number}: expected value, team, feature, cost centre, environment; found {cells!r}"[:250]
            )
        if value in table:
            raise BadTyping(f"line {number}: {value} is there twice")
        table[value] = owner["team"] if set(owner) == {"team"} else owner
    found: dict[str, Any] = {"attribute": attribute, "table": table}
    return found | ({"known_teams": True} if data.get(f"{name}-known") else {})


def _cells(text: str) -> list[list[str]]:
    """Lines cut at the sign a spreadsheet or a person puts between cells."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        mark = next((one for one in ("\t", ";", " = ", ",", "=") if one in line), "\t")
        if len(mark) > 1 or mark == "=":
            cells = line.split(mark, 1)
        else:
            cells = next(csv.reader(io.StringIO(line), delimiter=mark, skipinitialspace=True))
        found.append([cell.strip() for cell in cells])
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        mark = next((one for one in ("\t", "=", ";") if one in line), "")
        key, _sign, value = line.partition(mark) if mark else (line, "", "")
        if not key.strip() or not value.strip():
            raise BadTyping(f"expected one pair on each line, such as search = 60; found {line.strip()!r}"[:200])
        if key.strip() in dict(found):
            raise BadTyping(f"{key.strip()} is there twice")
        found.append((key.strip(), value.strip()))
    return found


def _listed(text: str) -> list[str]:
    """Values between commas; one that holds a comma is in quotation marks."""
    cells = next(csv.reader(io.StringIO(text.replace("\n", " ")), skipinitialspace=True), [])
    return [cell.strip() for cell in cells if cell.strip()]


def typed(one: Field, value: Any) -> dict[str, str]:
    """The inputs of one setting as a person would have filled them; `parse` is its inverse."""
    if value in (None, "", [], {}):
        return {}
    if one.shape == "conditions" and isinstance(value, Mapping):
        return _typed_conditions(one.name, value)
    if one.shape == "owner" and isinstance(value, Mapping):
        return {f"{one.name}-{name}": str(text) for name, text in value.items()}
    if one.shape == "lookup" and isinstance(value, Mapping):
        table = [_typed_owner(key, owner) for key, owner in (value.get("table") or {}).items()]
        return {
            f"{one.name}-attribute": str(value.get("attribute", "")),
            f"{one.name}-table": "\n".join(table),
            f"{one.name}-known": "on" if value.get("known_teams") else "",
        }
    if one.shape in ("pairs", "weights") and isinstance(value, Mapping):
        return {one.name: "\n".join(f"{key} = {each}" for key, each in value.items())}
    if one.shape == "scopes" and isinstance(value, Mapping):
        return {one.name: "\n".join(f"{key} = {_joined(teams)}" for key, teams in value.items())}
    if one.shape == "lines" and isinstance(value, list | tuple):
        ticked = {f"{one.name}-{choice}": "on" for choice in value if choice in one.choices}
        return ticked | {one.name: "\n".join(str(each) for each in value if each not in one.choices)}
    if one.shape == "json":
        return {one.name: orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()}
    return {one.name: "on" if value is True else str(value)}


def _typed_conditions(name: str, value: Mapping[str, Any]) -> dict[str, str]:
    data: dict[str, str] = {}
    for at, (attribute, globs) in enumerate(value.items()):
        op, shown = _op([str(glob) for glob in globs])
        data |= {f"{name}-{at}-attribute": attribute, f"{name}-{at}-op": op, f"{name}-{at}-values": _joined(shown)}
    return data


def _op(globs: Sequence[str]) -> tuple[str, Sequence[str]]:
    if list(globs) == ["?*"]:
        return "set", ()
    if list(globs) == [""]:
        return "empty", ()
    plain = [re.fullmatch(r"(\*?)([^*?\[\]]+)(\*?)", glob) for glob in globs]
    shapes = {(bool(one.group(1)), bool(one.group(3))) for one in plain if one}
    if all(plain) and shapes == {(False, True)}:
        return "starts", [one.group(2) for one in plain if one]
    if all(plain) and shapes == {(True, True)}:
        return "contains", [one.group(2) for one in plain if one]
    return "is", globs


def _typed_owner(value: str, owner: Any) -> str:
    if isinstance(owner, str):
        return f"{value} = {owner}" if not set(value) & set("=\t;") else f"{value}\t{owner}"
    cells = [str(owner.get(name, "")) for name in OWNED]
    while cells and not cells[-1]:
        cells.pop()
    return "\t".join([value, *cells])


def _joined(values: Sequence[str]) -> str:
    target = io.StringIO()
    csv.writer(target, lineterminator="").writerow(values)
    return target.getvalue().replace(",", ", ") if not any("," in one for one in values) else target.getvalue()
