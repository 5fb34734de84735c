"""The forms of gates and of the keys of their clients."""

from collections.abc import Mapping
from typing import Any

from django import forms

LIMITS = {
    "requests_per_minute": ("Requests a minute", "Bursts of ten seconds' worth pass; the rest get HTTP 429."),
    "tokens_per_minute": (
        "Tokens a minute",
        "Input and output. Estimated when a request comes, corrected when it ends.",
    ),
    "max_inflight": ("Requests at the same time", "Those beyond get HTTP 429."),
    "max_tokens": ("Output tokens of a request", "A request that asks for more gets this many."),
    "priority": ("vLLM priority", "Lower numbers are served first. Needs --scheduling-policy priority at the server."),
}
_LISTS = "Separated by commas."


class GateForm(forms.Form):
    """A new gate."""

    name = forms.CharField(label="Name", max_length=80, help_text="What people will call it, such as vllm-eu-1.")
    deployment = forms.CharField(
        label="Deployment",
        max_length=100,
        help_text="The model server behind it, as its GPUs call it in the books; for a proxy the name of the proxy.",
    )
    provider = forms.CharField(
        label="Provider",
        max_length=100,
        initial="self_hosted",
        help_text="Who runs the models behind it; self_hosted for own GPUs. A proxy says itself which upstream served.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _dressed(self)


class RemoveForm(forms.Form):
    """Whether a gate is really meant to go."""

    confirm = forms.CharField(label="Its name", max_length=80)

    def __init__(self, *args: Any, gate: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = gate
        self.fields["confirm"].help_text = f"Type {gate}. Its token ends at once; what it metered stays in the books."
        _dressed(self)

    def clean_confirm(self) -> str:
        typed: str = self.cleaned_data["confirm"]
        if typed.strip() != self._gate:
            raise forms.ValidationError(f"Type {self._gate} to remove it. Nothing was removed.")
        return typed


class KeyForm(forms.Form):
    """A client key: what it may do. The name and the team cannot be changed later, since its usage is booked on them."""

    name = forms.CharField(label="Name", max_length=100, help_text="Whose key it is, such as search-production.")
    team = forms.CharField(label="Team", max_length=100, help_text="Everything asked with it is this team's spend.")
    features = forms.CharField(
        label="Features",
        required=False,
        max_length=2000,
        help_text=f"{_LISTS} Those that the header X-Costobs-Feature may name; with exactly one it counts without a header.",
    )
    models = forms.CharField(
        label="Models", required=False, max_length=5000, help_text=f"{_LISTS} Empty: every model behind the gates."
    )

    def __init__(self, *args: Any, is_new: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_new:
            del self.fields["name"], self.fields["team"]
        for name, (label, words) in LIMITS.items():
            self.fields[name] = forms.IntegerField(
                label=label,
                required=False,
                min_value=None if name == "priority" else 1,
                max_value=2_000_000_000,
                help_text=f"{words} Empty: no limit." if name != "priority" else f"{words} Empty: the server's own.",
            )
        _dressed(self)

    def listed(self, name: str) -> list[str] | None:
        """A list as typed; None when it is empty."""
        return [part.strip() for part in self.cleaned_data[name].split(",") if part.strip()] or None

    def limits(self) -> dict[str, int | None]:
        """The limits as typed."""
        return {name: self.cleaned_data[name] for name in LIMITS}

    def what(self) -> list[forms.BoundField]:
        """The fields that say whose it is and what it may ask for."""
        return [self[name] for name in self.fields if name not in LIMITS]

    def bounds(self) -> list[forms.BoundField]:
        """The fields of its limits."""
        return [self[name] for name in LIMITS]


def initial(
    *, features: tuple[str, ...] | None, models: tuple[str, ...] | None, limits: Mapping[str, int]
) -> dict[str, Any]:
    """A key as its form shows it."""
    return {"features": ", ".join(features or ()), "models": ", ".join(models or ()), **limits}


def _dressed(form: forms.Form) -> None:
    for field in form.fields.values():
        field.widget.attrs |= {"class": "input", "autocomplete": "off"}
