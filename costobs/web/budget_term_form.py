"""The terms of a budget as fields of its form: time, what is carried over, how hard it is, and where it belongs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms

from alerts import budget_cells, term_checks
from alerts.queries import BudgetLine, BudgetTerms
from costobs.kernel.scope import DIMENSIONS

MAIN = {
    "team": "Teams",
    "feature": "Features",
    "model": "Models",
    "key": "Keys",
    "environment": "Environments",
    "cost_centre": "Cost centres",
}
_MORE = {
    "provider_name": "Providers",
    "sub_account": "Accounts and projects",
    "service_name": "Services",
    "deployment": "Deployments",
    "region": "Regions",
    "charge_category": "Charge categories",
    "cost_kind": "Cost kinds",
    "purchase_option": "Bought as",
    "share_kind": "Shares",
    "basis": "Billed or estimated",
    "source": "Sources",
    "invoice_issuer_name": "Invoice issuers",
}
SCOPES = {name: {**MAIN, **_MORE}[name] for name in (*MAIN, *(each for each in DIMENSIONS if each not in MAIN))}
ROLLOVERS = {
    "none": "Nothing",
    "unused": "What was not used",
    "overrun": "What was overrun",
    "both": "Both",
}
CRITICALITIES = {name: name.capitalize() for name in term_checks.CRITICALITIES}
UNREACHABLE = {"closed": "Refuse", "open": "Admit within the last lease"}
TIME = ("rolling_days", "zone", "starts_on", "last_day", "is_prorated")
CARRIED = ("rollover", "rollover_cap_percent", "borrow_percent")
HARD = ("is_hard", "on_unreachable", "default_max_tokens", "aborts_running")
PLACE = ("parent", "criticality", "protected")
_FIELD_OF = {"ends_on": "last_day", "parent_id": "parent"}


class TermsForm(forms.Form):
    """What a budget says beside name, scope, amount and period. `alerts.term_checks` decides what it may be."""

    rolling_days = forms.CharField(
        label="Days of a rolling period",
        required=False,
        help_text="Today and the days before it, 1 to 366; only if it rolls",
    )
    zone = forms.CharField(
        label="Time zone",
        required=False,
        help_text="Whose midnights begin its days, such as Europe/Berlin; empty is UTC",
    )
    starts_on = forms.DateField(label="First day", required=False, help_text="Empty: it holds from the beginning")
    last_day = forms.DateField(label="Last day", required=False, help_text="Empty: it holds on and on")
    is_prorated = forms.BooleanField(
        label="Prorate",
        required=False,
        help_text="A period it has only a part of gets that part of the amount, by days",
    )
    rollover = forms.ChoiceField(
        label="Carry into the next period",
        choices=list(ROLLOVERS.items()),
        required=False,
        help_text="Unused money adds to the next amount, an overrun takes from it",
    )
    rollover_cap_percent = forms.CharField(
        label="At most, %", required=False, help_text="Of the next period's amount; empty is no cap"
    )
    borrow_percent = forms.CharField(
        label="Borrow from the next period, %",
        required=False,
        help_text="Of its amount; what is really used of it is taken off there",
    )
    is_hard = forms.BooleanField(
        label="Hard",
        required=False,
        help_text="Gates refuse what would pass it. It cannot be rolling, and its scope names teams, features, models, keys"
        " and environments only",
    )
    on_unreachable = forms.ChoiceField(
        label="When costobs cannot be reached, gates",
        choices=list(UNREACHABLE.items()),
        required=False,
        help_text="Once their lease is used up they refuse either way",
    )
    default_max_tokens = forms.CharField(
        label="Output of a request that names no limit, tokens",
        required=False,
        help_text="What is reserved for it before it is admitted; empty is the gate's own default",
    )
    aborts_running = forms.BooleanField(
        label="End running requests at a hard stop", required=False, help_text="Else they may finish"
    )
    parent = forms.ChoiceField(
        label="Belongs to", required=False, help_text="The budget above it: organisation, cost centre, team, feature"
    )
    criticality = forms.ChoiceField(
        label="Criticality",
        choices=list(CRITICALITIES.items()),
        required=False,
        help_text="What matters more is limited later",
    )
    protected = forms.CharField(
        label="Protected scopes",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line, such as team:search; environment:prod. No action of this budget touches them",
    )

    def offer(self, lines: Sequence[BudgetLine], own_id: int | None) -> None:
        """Offers budgets to belong to."""
        options = [(str(line.id), line.name) for line in sorted(lines, key=lambda one: one.name) if line.id != own_id]
        field = self.fields["parent"]
        if isinstance(field, forms.ChoiceField):
            field.choices = [("", "No other budget"), *options]
        for name in ("starts_on", "last_day"):
            self.fields[name].widget = forms.DateInput(attrs={"type": "date", "class": "input"}, format="%Y-%m-%d")
        self.fields["zone"].widget.attrs["list"] = "values-zone"

    def terms(self) -> BudgetTerms | None:
        """The terms as typed; None when a field cannot be read, which is then said beside it."""
        data = self.cleaned_data
        read: dict[str, Any] = {}
        for name, reader in (
            ("rolling_days", budget_cells.whole),
            ("rollover_cap_percent", budget_cells.percent),
            ("borrow_percent", budget_cells.percent),
            ("default_max_tokens", budget_cells.whole),
        ):
            try:
                read[name] = reader(data.get(name, ""))
            except ValueError as problem:
                self.add_error(name, str(problem))
        try:
            lines = [line for line in data.get("protected", "").splitlines() if line.strip()]
            read["protected"] = tuple(budget_cells.scope(line) for line in lines)
        except ValueError as problem:
            self.add_error("protected", str(problem))
        if self.errors:
            return None
        last = data.get("last_day")
        return BudgetTerms(
            **read,
            zone=data.get("zone", "").strip() or "UTC",
            parent_id=int(data["parent"]) if data.get("parent") else None,
            starts_on=data.get("starts_on"),
            ends_on=None if last is None else last + timedelta(days=1),
            is_prorated=data["is_prorated"],
            rollover=data.get("rollover") or "none",
            is_hard=data["is_hard"],
            on_unreachable=data.get("on_unreachable") or "closed",
            aborts_running=data["aborts_running"],
            criticality=data.get("criticality") or "normal",
        )


def initial(terms: BudgetTerms) -> dict[str, object]:
    """The fields as they show these terms."""
    last = None if terms.ends_on is None else terms.ends_on - timedelta(days=1)
    return {
        "rolling_days": "" if terms.rolling_days is None else str(terms.rolling_days),
        "zone": terms.zone,
        "starts_on": terms.starts_on,
        "last_day": last,
        "is_prorated": terms.is_prorated,
        "rollover": terms.rollover,
        "rollover_cap_percent": _number(terms.rollover_cap_percent),
        "borrow_percent": _number(terms.borrow_percent),
        "is_hard": terms.is_hard,
        "on_unreachable": terms.on_unreachable,
        "default_max_tokens": "" if terms.default_max_tokens is None else str(terms.default_max_tokens),
        "aborts_running": terms.aborts_running,
        "parent": "" if terms.parent_id is None else str(terms.parent_id),
        "criticality": terms.criticality,
        "protected": "\n".join(budget_cells.scope_text(one) for one in terms.protected),
    }


def field_of(name: str) -> str:
    """The field of the form that a mistake of the step is about."""
    return _FIELD_OF.get(name, name)


def _number(percent: Any) -> str:  # a Decimal or nothing
    return "" if percent is None else f"{percent.normalize():f}"
