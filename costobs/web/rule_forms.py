"""The form of a rule, made from the settings that its kind declares: a new kind has its form without a line here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson

from attribution import rules
from attribution.owning import RuleDraft
from attribution.rules.base import CHARGE_COLUMNS, OWNED, Field
from attribution.rules.pools import POOLS
from costobs.web import rule_typing
from costobs.web.rule_typing import MOST_ROWS, BadTyping

_ATTRIBUTES = (
    "key",
    "project",
    "account",
    "team",
    "feature",
    "model",
    "service_name",
    "user_agent",
    "environment",
    "namespace",
    "deployment",
    "tags.team",
    "tags.project",
)
_LOOKED_UP = tuple(name for name in _ATTRIBUTES if name != "model")
_OWNER_LABELS = {"team": "Team", "feature": "Feature", "cost_centre": "Cost centre", "environment": "Environment"}
_SPARE = 2
_LONG = ("conditions", "lookup", "owner", "scopes", "json", "pairs", "weights", "lines")
_LINE_HELP = {
    "lines": "One on each line.",
    "pairs": "One pair on each line, name = value; or pasted from a spreadsheet.",
    "weights": "One on each line, name = weight; or pasted from a spreadsheet.",
    "scopes": "One key on each line: key = team, team.",
    "json": "As JSON.",
    "conditions": "Several values are separated by commas; * and ? are wildcards.",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a conditions builder as it is shown."""

    id: str
    attribute: str = ""
    op: str = "is"
    values: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One input of a setting that has several."""

    id: str
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Box:
    """One choice of a setting that may have several."""

    id: str
    label: str
    hint: str
    is_on: bool


@dataclass(slots=True)
class Shown:
    """One setting as the template draws it."""

    id: str
    label: str
    shape: str
    hint: str
    value: str = ""
    is_on: bool = False
    is_required: bool = False
    choices: Sequence[str] = ()
    rows: Sequence[Condition] = ()
    parts: Sequence[Part] = ()
    boxes: Sequence[Box] = ()
    options: Sequence[str] = ()
    error: str = ""

    @property
    def is_long(self) -> bool:
        return self.shape in _LONG


class RuleForm:
    """What was typed, or what a rule holds. `rule` reads it; what is wrong stands beside its field in `errors`."""

    def __init__(self, kind: str, *, data: Mapping[str, str] | None = None, rule: RuleDraft | None = None) -> None:
        self.kind = kind
        self.settings = rules.KINDS[kind].fields()
        self.before = rule
        self.data = dict(data) if data is not None else _typed_rule(self.settings, rule)
        self.errors: dict[str, str] = {}

    @property
    def is_raw(self) -> bool:
        return self.data.get("mode") == "raw"

    @property
    def raw(self) -> str:
        """The configuration as JSON, as it was typed there or as the fields make it."""
        if self.is_raw:
            return self.data.get("raw", "")
        try:
            config = self._config()
        except BadTyping:
            config = dict(self.before.config) if self.before else {}
        return orjson.dumps(config, option=orjson.OPT_INDENT_2).decode()

    def rule(self) -> RuleDraft | None:
        """The rule as typed; None when something cannot be read."""
        self.errors = {}
        start, end = self._day("first"), self._day("last")
        try:
            config = self._raw_config() if self.is_raw else self._config()
        except BadTyping:
            config = {}
        if self.errors:
            return None
        return RuleDraft(
            self.kind,
            self.data.get("name", "").strip(),
            config,
            start,
            end + timedelta(days=1) if end else None,
            bool(self.data.get("is_active")),
        )

    def shown(self) -> list[Shown]:
        """The settings of the kind as they are drawn."""
        return [self._shown(one) for one in self.settings]

    def _config(self) -> dict[str, Any]:
        """The configuration of the fields over what the rule holds besides; what is empty is left out."""
        found = dict(self.before.config) if self.before else {}
        failed = False
        for one in self.settings:
            try:
                value = rule_typing.parse(one, self.data)
            except BadTyping as problem:
                self.errors[one.name] = str(problem)
                failed = True
                continue
            found.pop(one.name, None)
            if value not in (None, "", [], {}):
                found[one.name] = value
        if failed:
            raise BadTyping
        return found

    def _raw_config(self) -> dict[str, Any]:
        try:
            found = orjson.loads(self.data.get("raw", "") or "{}")
        except orjson.JSONDecodeError as problem:
            self.errors["raw"] = f"expected JSON: {problem}"
            raise BadTyping from None
        if not isinstance(found, dict):
            self.errors["raw"] = "expected a JSON object"
            raise BadTyping
        return found

    def _day(self, name: str) -> date | None:
        text = self.data.get(name, "").strip()
        try:
            found = date.fromisoformat(text) if text else None
        except ValueError:
            found = None
            self.errors[name] = f"expected a day as YYYY-MM-DD, found {text!r}"[:200]
        if found and not date(1970, 1, 1) < found < date(9999, 1, 1):
            self.errors[name] = f"expected a day between 1970 and 9999, found {text}"
        return found

    def _shown(self, one: Field) -> Shown:
        how = " ".join(filter(None, [one.hint, _LINE_HELP.get(one.shape, "")]))
        shown = Shown(one.name, one.label, one.shape, how, is_required=one.is_required, choices=one.choices)
        shown.error = self.errors.get(one.name, "")
        shown.value = self.data.get(one.name, "")
        shown.is_on = bool(shown.value)
        if one.shape == "conditions":
            shown.rows, shown.options = self._rows(one.name), _options(one)
        elif one.shape == "lines" and one.choices:
            shown.hint, shown.boxes = one.hint, self._boxes(one)
        elif one.shape == "owner":
            shown.parts = [
                Part(f"{one.name}-{name}", _OWNER_LABELS[name], self.data.get(f"{one.name}-{name}", ""))
                for name in OWNED
            ]
        elif one.shape == "lookup":
            attribute = self.data.get(f"{one.name}-attribute", "")
            shown.parts = [Part(f"{one.name}-attribute", "Attribute", attribute)]
            shown.value, shown.options = self.data.get(f"{one.name}-table", ""), _LOOKED_UP
            shown.is_on = bool(self.data.get(f"{one.name}-known"))
        return shown

    def _boxes(self, one: Field) -> list[Box]:
        typed = self.data.get(one.name, "").splitlines()
        found = []
        for choice in one.choices:
            pool = POOLS.get(choice)
            title, words = (pool.title, pool.help) if pool else (choice, "")
            is_on = bool(self.data.get(f"{one.name}-{choice}")) or choice in typed
            found.append(Box(f"{one.name}-{choice}", title, words, is_on))
        return found

    def _rows(self, name: str) -> list[Condition]:
        count = 0
        while count < MOST_ROWS and f"{name}-{count}-attribute" in self.data:
            count += 1
        found = [
            Condition(
                f"{name}-{at}",
                self.data.get(f"{name}-{at}-attribute", ""),
                self.data.get(f"{name}-{at}-op", "is"),
                self.data.get(f"{name}-{at}-values", ""),
            )
            for at in range(count)
        ]
        filled = [one for one in found if one.attribute or one.values]
        wanted = max(
            count + (_SPARE if self.data.get("act") == "rows" else 0), len(filled), 1 if name != "unless" else 0
        )
        wanted = max(wanted, _SPARE)
        return [*found, *(Condition(f"{name}-{at}") for at in range(count, min(wanted, MOST_ROWS)))]


def _options(one: Field) -> Sequence[str]:
    if one.choices:
        return one.choices
    return (*CHARGE_COLUMNS, "attr.project", "tags.team") if one.name == "select" else _ATTRIBUTES


def _typed_rule(settings: Sequence[Field], rule: RuleDraft | None) -> dict[str, str]:
    """What a person would have typed for a rule, by the names of the inputs; without a rule, for a new one."""
    data = {"is_active": "on"}
    if rule is not None:
        data = {
            "name": rule.name,
            "first": rule.valid_from.isoformat() if rule.valid_from else "",
            "last": (rule.valid_to - timedelta(days=1)).isoformat() if rule.valid_to else "",
            "is_active": "on" if rule.is_active else "",
        }
    for one in settings:
        data |= rule_typing.typed(one, rule.config.get(one.name, one.default) if rule is not None else one.default)
    return data
