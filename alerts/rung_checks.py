"""Rungs as people ask for them, checked by their trigger and their action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from alerts import ladder, triggers
from alerts.actions import KINDS
from alerts.actions.base import GATE_NAMES, BadConfig
from alerts.triggers.base import MOST_PERCENT
from alerts.triggers.base import BadConfig as BadTrigger

MOST_RUNGS = 20
MOST_PROTECTED = 20
_MOST_HOURS = 24 * 92


@dataclass(frozen=True, slots=True)
class RungSpec:
    """One rung as asked for."""

    percent: Decimal
    action: str
    config: Mapping[str, Any] = field(default_factory=dict)
    approval: str = "automatic"
    expires_after_hours: int | None = None
    trigger: str = "actual"


def checked(
    rungs: Sequence[RungSpec], scope: Mapping[str, Sequence[str]], errors: dict[str, str]
) -> tuple[RungSpec, ...]:
    """The rungs with clean values, lowest first; what is wrong with them goes into `errors` (`rungs.0` for the first)."""
    if len(rungs) > MOST_RUNGS:
        errors["rungs"] = f"expected at most {MOST_RUNGS} rungs, found {len(rungs)}"
    clean: list[RungSpec] = []
    for index, spec in enumerate(rungs):
        try:
            clean.append(_checked(spec, scope))
        except (BadConfig, BadTrigger) as problem:
            errors[f"rungs.{index}"] = str(problem)
    steps = [(spec.trigger, spec.percent, spec.action) for spec in clean]
    if len(set(steps)) < len(steps):
        errors["rungs"] = "two rungs have the same trigger, percent and action"
    return tuple(sorted(clean, key=lambda spec: (spec.percent, ladder.STRENGTH[spec.action], spec.trigger)))


def protected(given: Sequence[Mapping[str, Sequence[str]]]) -> list[dict[str, list[str]]]:
    """Protected scopes with clean values. Raises BadConfig."""
    if len(given) > MOST_PROTECTED:
        raise BadConfig(f"expected at most {MOST_PROTECTED} protected scopes, found {len(given)}")
    return [protected_scope(scope) for scope in given]


def protected_scope(given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """One protected scope with clean values. Raises BadConfig: one that names nothing would protect everything."""
    foreign = sorted(set(given) - set(GATE_NAMES))
    if foreign:
        raise BadConfig(f"a gate knows {', '.join(GATE_NAMES)} only, found {', '.join(foreign)}")
    found = {name: sorted({value.strip() for value in given[name] if value.strip()}) for name in sorted(given)}
    empty = [name for name, values in found.items() if not values]
    if not found or empty:
        raise BadConfig(f"expected one or more of {', '.join(GATE_NAMES)} with a value, such as team=search")
    return found


def parse_scope(text: str) -> dict[str, list[str]]:
    """A scope as people type it: `team=search|growth environment=prod`. Raises BadConfig."""
    found: dict[str, list[str]] = {}
    for part in text.split():
        name, equals, values = part.partition("=")
        if not equals:
            raise BadConfig(f"expected DIMENSION=VALUE such as team=search, found {part!r}")
        found[name] = values.split("|")
    return protected_scope(found)


def scope_text(scope: Mapping[str, Sequence[str]]) -> str:
    """The same scope as people type it."""
    return " ".join(f"{name}={'|'.join(scope[name])}" for name in sorted(scope))


def _checked(spec: RungSpec, scope: Mapping[str, Sequence[str]]) -> RungSpec:
    spec = _with_trigger(spec)
    if not spec.percent.is_finite() or not 0 < spec.percent <= MOST_PERCENT:
        raise BadConfig(f"expected a percentage above 0 and up to {MOST_PERCENT}, found {spec.percent}")
    if spec.percent != spec.percent.quantize(Decimal("0.01")):
        raise BadConfig(f"expected a percentage with two decimals at most, found {spec.percent}")
    if spec.action not in KINDS:
        raise BadConfig(f"unknown action {spec.action!r}; known: {', '.join(KINDS.names())}")
    if spec.approval not in ladder.APPROVALS:
        raise BadConfig(f"approval: expected one of {', '.join(ladder.APPROVALS)}, found {spec.approval!r}")
    if spec.action == "notify" and spec.approval != "automatic":
        raise BadConfig("approval: a notice needs none")
    if spec.expires_after_hours is not None and not 1 <= spec.expires_after_hours <= _MOST_HOURS:
        raise BadConfig(f"expires_after_hours: expected 1 or more, found {spec.expires_after_hours}")
    kind = triggers.KINDS[spec.trigger]()
    own = {name: value for name, value in spec.config.items() if name not in kind.settings}
    return replace(spec, config={**KINDS[spec.action]().check(own, scope), **kind.check(spec.config)})


def _with_trigger(spec: RungSpec) -> RungSpec:
    """The rung with its trigger; `on` was a setting of notices once, and is understood still. Raises BadConfig."""
    config = dict(spec.config)
    on = config.pop("on", None)
    if on not in {None, "", "actual", "forecast"} or (on and spec.action != "notify"):
        raise BadConfig(f"on: expected actual or forecast, of a notice, found {on!r}")
    trigger = "forecast" if on == "forecast" else spec.trigger
    if trigger not in triggers.KINDS:
        raise BadConfig(f"trigger: expected one of {', '.join(triggers.KINDS.names())}, found {trigger!r}")
    percent = Decimal(100) if triggers.KINDS[trigger].is_switch else spec.percent
    return replace(spec, trigger=trigger, percent=percent, config=config)
