"""Forms in the house's look, and those whose last fields follow a kind: its settings and credentials, as it declares them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from django import forms

_UNSTYLED = (forms.CheckboxInput, forms.CheckboxSelectMultiple)


class Asked(Protocol):
    """One setting or credential, as hooks and destinations describe them."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def is_needed(self) -> bool: ...
    @property
    def is_long(self) -> bool: ...


class Styled(forms.Form):
    """Inputs with the house's look."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        for field in self.fields.values():
            style(field)

    def tell(self, errors: Mapping[str, str]) -> None:
        """Puts each mistake beside its field, or above all of them."""
        for name, text in errors.items():
            known = (name, f"config_{name}", f"secret_{name}")
            self.add_error(next((one for one in known if one in self.fields), None), text)


class KindForm(Styled):
    """Its own fields, then those of a kind. What is stored of the credentials is kept while nothing new is typed."""

    def __init__(
        self, *args: Any, settings: Sequence[Asked], secrets: Sequence[Asked], stored: Sequence[str] = (), **given: Any
    ) -> None:
        super().__init__(*args, **given)
        for one in settings:
            self.fields[f"config_{one.name}"] = _field(one, is_secret=False, is_set=False)
        for one in secrets:
            self.fields[f"secret_{one.name}"] = _field(one, is_secret=True, is_set=one.name in stored)

    def config(self) -> dict[str, Any]:
        """The settings that were given, as text."""
        return self._given("config_")

    def credentials(self) -> dict[str, str]:
        """The credentials that were given."""
        return self._given("secret_")

    def _given(self, prefix: str) -> dict[str, Any]:
        found = {name.removeprefix(prefix): self.cleaned_data[name] for name in self.fields if name.startswith(prefix)}
        return {name: value for name, value in found.items() if value}


def style(field: forms.Field) -> None:
    """Gives an input the house's look."""
    if not isinstance(field.widget, _UNSTYLED):
        field.widget.attrs["class"] = "input"


def first_line(kind: type) -> str:
    """What a kind says of itself first, for who chooses between several."""
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return text.partition(" Example configuration")[0]


def _field(one: Asked, *, is_secret: bool, is_set: bool) -> forms.CharField:
    helped = f"{one.help} A value is stored; leave it empty to keep it.".strip() if is_set else one.help
    widget: forms.Widget = forms.TextInput()
    if one.is_long:
        widget = forms.Textarea(attrs={"rows": 4, "autocomplete": "off"})
    elif is_secret:
        widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    if one.is_needed and not is_set:
        widget.attrs["required"] = True
    field = forms.CharField(label=one.label, required=False, max_length=20_000, help_text=helped, widget=widget)
    style(field)
    return field
