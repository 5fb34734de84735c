"""The forms of Settings, Alerts: a channel by its kind, routes, escalation, quiet hours, people of Slack, digests."""

from typing import Any

from django import forms

from alerts import digests, topics
from alerts.channels.base import Channel, Field
from alerts.subscribe import ChannelLine
from costobs.web.kind_form import Styled

_ZONE = "An IANA name, as Europe/Berlin."


class _WithChannel(Styled):
    def __init__(self, *args: Any, channels: list[ChannelLine], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["channel_id"]
        assert isinstance(field, forms.TypedChoiceField)
        empty = [] if field.required else [("", "none: a person")]
        field.choices = [*empty, *((one.id, one.name) for one in channels)]


class ChannelForm(Styled):
    """A channel; the fields follow its kind."""

    name = forms.CharField(label="Name", max_length=100, help_text="As people here call it.")

    def __init__(self, *args: Any, kind: type[Channel], **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(*args, **kwargs)
        for one in (*kind.settings, *kind.secrets):
            self.fields[f"of_{one.name}"] = _field(one, is_secret=one in kind.secrets)

    def config(self) -> dict[str, Any]:
        """The settings that were given."""
        found: dict[str, Any] = {}
        for one in self.kind.settings:
            value = self.cleaned_data[f"of_{one.name}"]
            if one.is_list:
                value = [each.strip() for each in value.split(",") if each.strip()]
            elif not one.is_flag:
                value = value.strip()
            if value:
                found[one.name] = value
        return found

    def credentials(self) -> dict[str, str] | None:
        """The secrets that were given."""
        found = {one.name: self.cleaned_data[f"of_{one.name}"].strip() for one in self.kind.secrets}
        return {name: value for name, value in found.items() if value} or None


class RouteForm(_WithChannel):
    """Which alerts a channel gets."""

    audience = forms.ChoiceField(
        label="For",
        choices=list(topics.AUDIENCES.items()),
        help_text="The owner is told first, else the team, else the fallback; finance and on-call beside them.",
    )
    channel_id = forms.TypedChoiceField(label="Channel", coerce=int, help_text="Where they are told.")
    team = forms.CharField(
        label="Team", required=False, max_length=200, help_text="Of the budget. Empty: alerts of any team."
    )
    least_severity = forms.ChoiceField(
        label="From severity",
        choices=[(name, name) for name in topics.SEVERITIES],
        help_text="Milder ones are left out.",
    )
    topics = forms.MultipleChoiceField(
        label="Told of",
        required=False,
        choices=[(name, words) for name, words in topics.TOPICS.items() if name != "test"],
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: what this audience is told by custom.",
    )


class StepForm(_WithChannel):
    """A step of a chain."""

    severity = forms.ChoiceField(
        label="Severity", choices=[(name, name) for name in topics.SEVERITIES[1:]], help_text="Of the item."
    )
    after_minutes = forms.IntegerField(
        label="Minutes", min_value=1, max_value=1440, help_text="Not acknowledged for so long, since it was told."
    )
    channel_id = forms.TypedChoiceField(label="Then tell", coerce=int, help_text="The next channel of the chain.")


class QuietForm(_WithChannel):
    """Quiet hours."""

    channel_id = forms.TypedChoiceField(
        label="Channel", coerce=int, required=False, empty_value=None, help_text="Or name a person."
    )
    person = forms.CharField(
        label="Person", required=False, max_length=200, help_text="The address of an owner that a channel writes to."
    )
    begins = forms.TimeField(label="From", help_text="As 20:00.")
    ends = forms.TimeField(label="To", help_text="As 07:30; the next day if it is earlier.")
    zone = forms.CharField(label="Zone", initial="UTC", max_length=60, help_text=_ZONE)


class PersonForm(Styled):
    """Who a member of Slack is here."""

    workspace = forms.CharField(label="Workspace", max_length=40, help_text="Its id, as T0123456789.")
    member = forms.CharField(label="Member", max_length=40, help_text="Their id, as U0123456789.")
    account = forms.CharField(label="Account", max_length=200, help_text="Their e-mail address here.")


class DigestForm(_WithChannel):
    """A review pack."""

    name = forms.CharField(label="Name", max_length=100, help_text="As people here call it.")
    audience = forms.ChoiceField(
        label="For", choices=list(digests.AUDIENCES.items()), help_text="Each has a pack of its own."
    )
    period = forms.ChoiceField(
        label="How often", choices=list(digests.PERIODS.items()), help_text="Once for each whole period."
    )
    zone = forms.CharField(label="Zone", initial="UTC", max_length=60, help_text=_ZONE)
    hour = forms.IntegerField(
        label="Hour", initial=8, min_value=0, max_value=23, help_text="Of the first day after the period, in the zone."
    )
    teams = forms.CharField(
        label="Teams",
        required=False,
        max_length=2000,
        help_text="Separated by commas: only their spend is told. Empty: everything.",
    )
    channel_id = forms.TypedChoiceField(label="Channel", coerce=int, help_text="Where it is sent.")


class MuteForm(Styled):
    """Silence for an item, a budget or a team."""

    about = forms.ChoiceField(label="What", choices=[], help_text="What is critical is told all the same.")
    hours = forms.TypedChoiceField(
        label="For",
        coerce=int,
        choices=[(4, "4 hours"), (24, "24 hours"), (72, "3 days"), (168, "7 days"), (720, "30 days")],
        initial=24,
        help_text="It speaks again by itself.",
    )
    reason = forms.CharField(label="Why", max_length=300, help_text="Others read it.")

    def __init__(self, *args: Any, abouts: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["about"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = abouts


def _field(one: Field, *, is_secret: bool) -> forms.Field:
    if one.is_flag:
        return forms.BooleanField(label=one.label, required=False, help_text=one.help)
    widget: forms.Widget = forms.TextInput(attrs={"class": "input"})
    if is_secret:
        widget = forms.PasswordInput(attrs={"class": "input", "autocomplete": "new-password"})
    return forms.CharField(label=one.label, required=one.is_needed, max_length=4000, help_text=one.help, widget=widget)
