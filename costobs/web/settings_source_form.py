"""The form of a source, made from what its kind says about its settings and credentials. A credential is never written back."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from costobs.web import pasted_rows, source_words
from ingest.sources import config
from ingest.sources.base import Secret, Source

_LINES = {
    "lines": "One on each line.",
    "pairs": "One pair on each line, key = value.",
    "json": "As JSON.",
}
_ROWS = "Paste them from a spreadsheet, the first line names the columns; or write JSON."


class _Unseen(forms.Textarea):
    """A text area for a key file: what was typed is not in the answer."""

    def format_value(self, value: Any) -> str | None:
        return ""


class SourceForm(forms.Form):
    """Settings and credentials of one kind. What they may be is decided by `ingest.configure`, not here."""

    def __init__(
        self,
        kind: type[Source],
        *args: Any,
        has_name: bool = False,
        has_config: bool = True,
        secrets_set: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.kind, self.settings = kind, config.fields_of(kind) if has_config else []
        if has_name:
            self.fields["name"] = forms.CharField(label="Name", required=False, help_text="What people will call it")
            self.fields["name"].widget.attrs |= {"autocomplete": "off", "maxlength": "80", "required": True}
        self.examples = source_words.example(kind)
        for setting in self.settings:
            self.fields[f"config-{setting.name}"] = _field(setting, self.examples.get(setting.name))
        for secret in kind.secrets:
            self.fields[f"secret-{secret.name}"] = _secret(secret, is_set=secret.name in secrets_set)
        for field in self.fields.values():
            field.widget.attrs["class"] = "check__box" if isinstance(field, forms.BooleanField) else "input input--wide"

    @property
    def name_field(self) -> BoundField | None:
        return self["name"] if "name" in self.fields else None

    @property
    def config_fields(self) -> list[BoundField]:
        return [self[f"config-{setting.name}"] for setting in self.settings]

    @property
    def secret_fields(self) -> list[BoundField]:
        return [self[f"secret-{secret.name}"] for secret in self.kind.secrets]

    def config(self) -> dict[str, Any]:
        """The settings as typed; what cannot be read is put beside its field."""
        found = {}
        for setting in self.settings:
            typed = self.cleaned_data.get(f"config-{setting.name}", "")
            try:
                if _is_rows(setting) and pasted_rows.is_table(typed):
                    found[setting.name] = pasted_rows.read(typed, like=self.examples.get(setting.name) or [])
                    continue
                found[setting.name] = config.parse(setting, "on" if typed is True else str(typed or ""))
            except ValueError as problem:
                self.add_error(f"config-{setting.name}", str(problem))
        return found

    def secrets(self) -> dict[str, str]:
        """The credentials that were typed."""
        if not self.is_bound:
            return {}
        found = {secret.name: self.cleaned_data.get(f"secret-{secret.name}", "") for secret in self.kind.secrets}
        return {name: value for name, value in found.items() if value}

    def tell(self, errors: Mapping[str, str]) -> None:
        """Puts the mistakes of the step beside the fields they are about."""
        for name, text in errors.items():
            options = (name, f"config-{name}", f"secret-{name}")
            target = next((one for one in options if one in self.fields), None)
            self.add_error(target, text if target else f"{name}: {text}" if name else text)

    def summary(self) -> list[tuple[str, str]]:
        """Every mistake with the id of its field, for the list at the top."""
        if not self.is_bound:
            return []
        first = next(iter(self.fields), "")
        found = []
        for name, texts in self.errors.items():
            label = f"{self.fields[name].label}: " if name in self.fields else ""
            found += [(f"id_{name if label else first}", f"{label}{text}") for text in texts]
        return found


def initial(kind: type[Source], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the form of a source shows before anything is typed: its settings over those of the kind."""
    return {f"config-{one.name}": _shown(one, stored.get(one.name, one.default)) for one in config.fields_of(kind)}


def _shown(setting: config.Field, value: Any) -> Any:
    if setting.shape == "yes":
        return bool(value)
    # What is empty stays empty: a "[]" or a pair of quotes is for machines.
    return "" if setting.shape == "json" and value in ("", [], {}) else config.typed(setting, value)


def _is_rows(setting: config.Field) -> bool:
    """Whether it is a list of objects."""
    return setting.shape == "json" and setting.default == []


def _field(setting: config.Field, example: Any) -> forms.Field:
    how = _ROWS if _is_rows(setting) else _LINES.get(setting.shape, "")
    help_text = " ".join(filter(None, [_sentence(setting.hint), how]))
    told: dict[str, Any] = {"label": setting.label, "required": False, "help_text": help_text}
    if setting.shape == "yes":
        return forms.BooleanField(**told)
    if setting.shape == "choice":
        choices = [(one, one.replace("_", " ") or "–") for one in setting.choices]
        if setting.default not in setting.choices:
            choices.insert(0, (setting.default or "", "–"))
        return forms.ChoiceField(choices=choices, **told)
    if setting.shape in _LINES:
        area = forms.CharField(widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}), **told)
        if setting.shape == "json" and example:
            text = pasted_rows.written(example) if _is_rows(setting) else config.typed(setting, example)
            area.example = text  # type: ignore[attr-defined]  # for the template alone
        if _is_rows(setting):
            area.widget.attrs |= {"rows": 5, "wrap": "off"}
        return _long(area) if setting.shape == "json" else area
    field = forms.CharField(**told)
    field.widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}
    if setting.shape in {"whole", "decimal"}:
        field.widget.attrs["inputmode"] = "numeric" if setting.shape == "whole" else "decimal"
    if setting.is_required:
        field.widget.attrs["required"] = True
    return field


def _secret(secret: Secret, *, is_set: bool) -> forms.Field:
    kept = "Saved and never shown; empty keeps it." if is_set else ""
    told: dict[str, Any] = {
        "label": config.label(secret.name),
        "required": False,
        "strip": True,
        "help_text": " ".join(filter(None, [_sentence(secret.hint), kept])),
    }
    if secret.is_long:
        field = _long(forms.CharField(widget=_Unseen(attrs={"rows": 4, "spellcheck": "false"}), **told))
    else:
        field = forms.CharField(widget=forms.PasswordInput(render_value=False), **told)
    field.widget.attrs["autocomplete"] = "new-password" if not secret.is_long else "off"
    return field


def _long(field: forms.Field) -> forms.Field:
    """Over the whole width of the form."""
    field.is_long = True  # type: ignore[attr-defined]  # for the template alone
    return field


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?", "!", "…")) else f"{text}."
