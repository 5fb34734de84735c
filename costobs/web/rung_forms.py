"""The rungs of a budget in its form: trigger, threshold, action, approvals and limits; steps come and go without scripts."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.http import HttpRequest

from alerts import budgets as budget_steps
from alerts import rung_checks, triggers
from alerts.queries import RungRow

START_ROWS = 3
_ACTIONS = [
    ("", "–"),
    ("notify", "Notify"),
    ("throttle", "Throttle"),
    ("reroute", "Reroute"),
    ("shutdown", "Shut down"),
]
_APPROVALS = [("automatic", "Automatic"), ("one", "One person"), ("two", "Two people")]
_TRIGGERS = [(kind.kind, kind.title) for kind in triggers.KINDS]
_LIMITS = ("requests_per_minute", "tokens_per_minute", "max_inflight", "max_tokens", "priority")
_REROUTE = ("to_model", "to_upstream")
_RESOURCES = ("targets", "to_units", "max_units", "drain_seconds", "gate")
_PACING = ("cooldown_minutes", "hysteresis_percent")
_REACH = ("max_share_percent", "max_keys")
_TRIGGER = ("hours", "windows", "minutes", "max_gpu_percent")
_SETTINGS = (*_LIMITS, "retry_after_seconds", *_REROUTE, *_RESOURCES, *_PACING, *_REACH, *_TRIGGER)
# What belongs to an action; what was typed for another one is left out.
_APPLIES = {
    "notify": _PACING,
    "throttle": (*_LIMITS, "retry_after_seconds", "targets", "max_units", *_PACING, *_REACH),
    "reroute": (*_REROUTE, *_PACING, *_REACH),
    "shutdown": ("retry_after_seconds", "targets", "to_units", "drain_seconds", "gate", *_PACING, *_REACH),
}
_GROUPS = (
    ("What the trigger looks at", _TRIGGER),
    ("Throttle and shutdown", (*_LIMITS, "retry_after_seconds")),
    ("Reroute", _REROUTE),
    ("Resources", _RESOURCES),
    ("When it may fire again", _PACING),
    ("What it may hit by itself", (*_REACH, "expires_after_hours")),
)
DEFAULT_RUNGS = [{"percent": "80", "action": "notify"}, {"percent": "100", "action": "notify"}]


def _text(label: str, help_text: str, *, is_long: bool = False) -> forms.CharField:
    field = forms.CharField(label=label, required=False, help_text=help_text)
    field.widget.attrs["size"] = "28" if is_long else "7"
    return field


class RungForm(forms.Form):
    """One step of the ladder; an empty percent and action mean no step. What a step may be is decided by the room."""

    trigger = forms.ChoiceField(label="Trigger", choices=_TRIGGERS, required=False, help_text="What is measured")
    percent = _text("At, %", "Empty for schedule and idleness")
    action = forms.ChoiceField(label="Action", choices=_ACTIONS, required=False, help_text="What happens then")
    approval = forms.ChoiceField(label="Approval", choices=_APPROVALS, required=False, help_text="Who must agree")
    drop = forms.BooleanField(label="Remove", required=False, help_text="Gone when you save")
    hours = _text("Hours looked at", "Burn rate: the last full hours, 24 if empty")
    windows = _text("Weekly hours", "Schedule: mon-fri 20:00-07:00, sat-sun 00:00-24:00", is_long=True)
    minutes = _text("Idle for, min", "Idleness: without a request and busy GPU")
    max_gpu_percent = _text("GPU at most, %", "Idleness: busier counts as used, 5 if empty")
    requests_per_minute = _text("Requests / min", "Of the whole scope, at each gate")
    tokens_per_minute = _text("Tokens / min", "Of the whole scope, at each gate")
    max_inflight = _text("At a time", "Requests in flight")
    max_tokens = _text("Output tokens each", "Longer answers are cut")
    priority = _text("Priority", "A higher number is served later")
    retry_after_seconds = _text("Retry after, s", "What refused callers are told")
    to_model = _text("To model", "A cheaper or a quantized one", is_long=True)
    to_upstream = _text("To upstream", "The name of an upstream of the gate", is_long=True)
    targets = _text("Resources", "Names from Settings, Hooks, by commas", is_long=True)
    to_units = _text("Shut down to, units", "Replicas or machines, 0 if empty")
    max_units = _text("Throttle to, units", "Replicas or machines at most")
    drain_seconds = _text("Drain, s", "How long running requests may take")
    gate = forms.ChoiceField(
        label="Refuse requests first",
        choices=[("", "Yes"), ("no", "No")],
        required=False,
        help_text="No: only the resources are scaled",
    )
    cooldown_minutes = _text("Cooldown, min", "Back under it for so long, 60 if empty")
    hysteresis_percent = _text("Hysteresis, points", "How far under it counts as back under")
    max_share_percent = _text("Share at most, %", "Of requests and spend of the last 7 days; above it, it asks")
    max_keys = _text("Keys at most", "Above it, it asks")
    expires_after_hours = _text("For, hours", "Empty: until the period ends")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if name != "drop":
                field.widget.attrs["class"] = "input"

    @property
    def basics(self) -> list[forms.BoundField]:
        """The fields that every step has."""
        return [self[name] for name in ("trigger", "percent", "action", "approval")]

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The settings, by what they are for."""
        return [(title, [self[name] for name in names]) for title, names in _GROUPS]

    @property
    def has_settings(self) -> bool:
        """Whether any of them is filled or wrong, so that they are shown open."""
        names = (*_SETTINGS, "expires_after_hours")
        return any(self[name].value() not in (None, "") for name in names) or bool(self.is_bound and self.errors)

    def is_blank(self) -> bool:
        """Whether there is no step, or it is to go."""
        data = self.cleaned_data
        return bool(data.get("drop")) or (not data.get("percent", "").strip() and not data.get("action"))

    def spec(self) -> budget_steps.RungSpec:
        """The step as asked for; what does not belong to its action is left out. Raises ValueError with the mistake."""
        data = self.cleaned_data
        action, trigger = data.get("action", ""), data.get("trigger") or "actual"
        if not action:
            raise ValueError("choose what happens at this percentage")
        hours = data.get("expires_after_hours", "").strip()
        if hours and not (hours.isascii() and hours.isdigit() and len(hours) < 7):
            raise ValueError(f"for, hours: expected a whole number, found {hours!r}")
        kind = triggers.KINDS[trigger]
        typed = data.get("percent", "").strip().removesuffix("%").strip()
        try:
            percent = Decimal(100) if kind.is_switch else Decimal(typed)
        except InvalidOperation:
            raise ValueError(f"expected a percentage such as 80, found {data.get('percent', '')!r}") from None
        names = (*_APPLIES[action], *sorted(kind.settings))
        return budget_steps.RungSpec(
            percent=percent,
            action=action,
            config={name: data[name].strip() for name in names if data.get(name, "").strip()},
            approval="automatic" if action == "notify" else data.get("approval") or "automatic",
            expires_after_hours=int(hours) if hours else None,
            trigger=trigger,
        )


RungForms = forms.formset_factory(RungForm, extra=1, max_num=rung_checks.MOST_RUNGS, absolute_max=20)
NewRungForms = forms.formset_factory(RungForm, extra=START_ROWS, max_num=rung_checks.MOST_RUNGS, absolute_max=20)


def is_adding(request: HttpRequest) -> bool:
    """Whether the button was the one that adds an empty step and saves nothing."""
    return "add_rung" in request.POST


def with_one_more(request: HttpRequest) -> Any:  # a formset, whose class is made by its factory
    """The steps as typed and an empty one."""
    data = request.POST.copy()
    total = data.get("rungs-TOTAL_FORMS", "0")
    count = int(total) if total.isascii() and total.isdigit() and len(total) < 7 else 0
    data["rungs-TOTAL_FORMS"] = str(min(count + 1, rung_checks.MOST_RUNGS))
    return RungForms(data, prefix="rungs")


def initial(rungs: Sequence[RungRow]) -> list[dict[str, str]]:
    """The steps of a budget as the form shows them."""
    return [
        {
            "trigger": rung.trigger,
            "percent": f"{rung.percent.normalize():f}",
            "action": rung.action,
            "approval": rung.approval,
            "expires_after_hours": "" if rung.expires_after_hours is None else str(rung.expires_after_hours),
            **_shown(rung.config),
        }
        for rung in rungs
    ]


def _shown(config: Mapping[str, Any]) -> dict[str, str]:
    found = {name: config[name] for name in _SETTINGS if name in config}
    if "gate" in found:
        found["gate"] = "" if found["gate"] else "no"
    return {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in found.items()}
