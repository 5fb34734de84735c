"""Making, changing and pausing budgets: plain forms that keep what was typed and name every mistake."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from alerts import budgets as budget_steps
from alerts import queries as alert_queries
from alerts import term_checks
from alerts.queries import BudgetDetail, BudgetLine
from costobs.access import scopes
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from costobs.web import budget_access, budget_backtest, budget_term_form, filters, rung_forms
from costobs.web.budget_term_form import MAIN, SCOPES, TermsForm
from costobs.web.page import no_permission
from costobs.web.page import page as page_view


class BudgetForm(TermsForm):
    """Name, amount, period, owner, scope and terms. What a budget may be is decided by `alerts.budgets`, not here."""

    name = forms.CharField(label="Name", max_length=100, required=False, help_text="Alerts begin with it")
    amount = forms.CharField(label="Amount for one period", required=False, help_text="Effective cost, such as 24000")
    currency = forms.CharField(label="Currency", required=False, max_length=3, help_text="ISO code, such as EUR")
    period = forms.ChoiceField(
        label="Period",
        choices=[(name, name.capitalize()) for name in budget_steps.PERIODS],
        help_text="Then it begins anew",
    )
    owner_email = forms.EmailField(label="Owner's e-mail", required=False, help_text="Who is told, beside the channels")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, label in SCOPES.items():
            self.fields[f"scope_{name}"] = forms.CharField(label=label, required=False)
            if name in MAIN:
                self.fields[f"scope_{name}"].widget.attrs["list"] = f"values-{name}"
        _style(self)

    def scope(self) -> dict[str, list[str]]:
        """Dimension to values, as typed, separated by commas."""
        found = {name: self.cleaned_data.get(f"scope_{name}", "").split(",") for name in SCOPES}
        return {
            name: [value.strip() for value in values] for name, values in found.items() if any(map(str.strip, values))
        }


@require_http_methods(["GET", "POST"])
@page_view
def new(request: HttpRequest) -> HttpResponse:
    viewer = scopes.viewer(request.user)
    if not budget_access.may_manage(viewer):
        return no_permission(request, budget_access.NOT_MANAGER)
    if request.method == "GET":
        initial = {
            "currency": settings.COSTOBS_CURRENCY,
            "period": "month",
            "owner_email": viewer.name if "@" in viewer.name else "",
        }
        form = BudgetForm(initial=initial)
        rungs = rung_forms.NewRungForms(prefix="rungs", initial=rung_forms.DEFAULT_RUNGS)
        form.offer(_others(viewer), None)
        return _form_page(request, form, rungs, "New budget")
    form = BudgetForm(request.POST)
    form.offer(_others(viewer), None)
    if rung_forms.is_adding(request):
        return _form_page(request, form, rung_forms.with_one_more(request), "New budget")
    rungs = rung_forms.RungForms(request.POST, prefix="rungs")
    given = _given(form, rungs)
    if given is not None:
        save = partial(budget_steps.create, **given, by=viewer.name, now=timezone.now())
        try:
            if "test" in request.POST:
                return budget_backtest.of_draft(request, save)
            budget_id = save()
        except budget_steps.Invalid as problem:
            _tell(form, rungs, problem.errors)
        else:
            messages.success(request, f"{given['name'].strip()} is set. It is evaluated within seconds.")
            return redirect("budget", budget_id)
    return _form_page(request, form, rungs, "New budget", status=400)


@require_http_methods(["GET", "POST"])
@page_view
def edit(request: HttpRequest, budget_id: int) -> HttpResponse:
    viewer, now = scopes.viewer(request.user), timezone.now()
    if not budget_access.may_manage(viewer):
        return no_permission(request, budget_access.NOT_MANAGER)
    try:
        found = alert_queries.budget(id=budget_id, now=now, teams=viewer.teams)
    except alert_queries.NotFound:
        return budget_access.not_found(request, "budget")
    if request.method == "GET":
        form = BudgetForm(initial=_initial(found))
        rungs = rung_forms.RungForms(prefix="rungs", initial=rung_forms.initial(found.rungs))
        form.offer(_others(viewer), budget_id)
        return _form_page(request, form, rungs, f"Edit {found.line.name}", found)
    form = BudgetForm(request.POST)
    form.offer(_others(viewer), budget_id)
    if rung_forms.is_adding(request):
        return _form_page(request, form, rung_forms.with_one_more(request), f"Edit {found.line.name}", found)
    rungs = rung_forms.RungForms(request.POST, prefix="rungs")
    given = _given(form, rungs)
    if given is not None:
        # Dimensions that were not asked for stay as they are.
        asked = {name for name in SCOPES if f"scope_{name}" in request.POST}
        given["scope"] |= {name: list(values) for name, values in found.line.scope.items() if name not in asked}
        save = partial(budget_steps.update, budget_id=budget_id, **given, by=viewer.name, now=now)
        try:
            if "test" in request.POST:
                return budget_backtest.of_draft(request, save, budget_id=budget_id)
            save()
        except budget_steps.Invalid as problem:
            _tell(form, rungs, problem.errors)
        else:
            messages.success(request, "Changed. What is in force keeps the plan it was started with.")
            return redirect("budget", budget_id)
    return _form_page(request, form, rungs, f"Edit {found.line.name}", found, status=400)


@require_POST
@page_view
def pause(request: HttpRequest, budget_id: int) -> HttpResponse:
    """Pauses one ladder for some hours; 0 hours resumes it."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    if not budget_access.may_manage(viewer):
        return no_permission(request, budget_access.NOT_MANAGER)
    text = request.POST.get("hours", "")
    hours = budget_access.whole(text)
    if hours is None or hours > 24 * 92:
        messages.error(request, f"Expected a number of hours, found {text[:40]!r}. Nothing was changed.")
        return redirect("budget", budget_id)
    until = now + timedelta(hours=hours) if hours else None
    try:
        reason = request.POST.get("reason", "").strip()
        budget_steps.pause(budget_id=budget_id, until=until, by=viewer.name, now=now, reason=reason)
    except budget_steps.Invalid:
        return budget_access.not_found(request, "budget")
    messages.success(request, "The ladder is paused." if until else "The ladder is on again.")
    return redirect("budget", budget_id)


def _style(form: forms.Form) -> None:
    for field in form.fields.values():
        is_box = isinstance(field.widget, forms.CheckboxInput)
        is_long = isinstance(field.widget, forms.Textarea)
        field.widget.attrs["class"] = "check__box" if is_box else "input input--wide" if is_long else "input"


def _given(form: BudgetForm, rungs: Any) -> dict[str, Any] | None:  # a formset, whose class is made by its factory
    """The arguments of the step, or None when a field already says what is wrong."""
    is_fine = form.is_valid() & rungs.is_valid()
    specs = []
    for row in rungs.forms:
        if not hasattr(row, "cleaned_data") or row.is_blank():
            continue
        try:
            specs.append(row.spec())
        except ValueError as problem:
            row.add_error("percent", str(problem))
            is_fine = False
    terms = form.terms() if is_fine else None
    if terms is None:
        return None
    names = ("name", "amount", "currency", "period", "owner_email")
    return {**{name: form.cleaned_data[name] for name in names}, "scope": form.scope(), "rungs": specs, "terms": terms}


def _tell(form: BudgetForm, rungs: Any, errors: Mapping[str, str]) -> None:  # a formset, as above
    """Puts the mistakes of the step beside the fields they are about."""
    filled = [row for row in rungs.forms if not row.is_blank()]
    for name, text in errors.items():
        head, _, index = name.partition(".")
        if head == "rungs" and index.isdigit() and int(index) < len(filled):
            filled[int(index)].add_error("percent", text)
        elif (field := budget_term_form.field_of(name)) in form.fields:
            form.add_error(field, text)
        elif head == "scope":
            form.add_error(_scope_field(form, text), text)
        else:
            form.add_error(None, f"{'Ladder' if head == 'rungs' else head.capitalize()}: {text}")


def _scope_field(form: BudgetForm, text: str) -> str:
    """The scope field a message is about, else the first of them."""
    return next((f"scope_{name}" for name in SCOPES if text.startswith(name)), "scope_team")


def _initial(found: BudgetDetail) -> dict[str, object]:
    line = found.line
    return {
        "name": line.name,
        "amount": f"{line.own_amount:f}",
        "currency": line.currency,
        "period": line.period,
        "owner_email": line.owner_email,
        **{f"scope_{name}": ", ".join(line.scope.get(name, ())) for name in SCOPES},
        **budget_term_form.initial(line.terms),
    }


def _others(viewer: scopes.Viewer) -> list[BudgetLine]:
    return alert_queries.budgets(now=timezone.now(), teams=viewer.teams)


def _form_page(
    request: HttpRequest,
    form: BudgetForm,
    rungs: Any,  # a formset, as above
    heading: str,
    found: BudgetDetail | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    back = reverse("budget", args=[found.line.id]) if found else reverse("budgets")
    context = {
        "page": "budgets",
        "scope": None,
        "heading": heading,
        "form": form,
        "rungs": rungs,
        "scope_fields": [form[f"scope_{name}"] for name in MAIN],
        "more_scope_fields": [form[f"scope_{name}"] for name in SCOPES if name not in MAIN],
        "is_more_open": any(form[f"scope_{name}"].value() for name in SCOPES if name not in MAIN),
        "time_fields": [form[name] for name in budget_term_form.TIME],
        "carried_fields": [form[name] for name in budget_term_form.CARRIED],
        "hard_fields": [form[name] for name in budget_term_form.HARD],
        "place_fields": [form[name] for name in budget_term_form.PLACE],
        "zones": term_checks.zones(),
        "known": _known(request),
        "summary": [] if rung_forms.is_adding(request) else _summary(form, rungs),
        **budget_access.pause_context(scopes.viewer(request.user), timezone.now()),
        "back": back,
        "armed": found is not None and any(rung.state in {"running", "in_force"} for rung in found.rungs),
    }
    return render(request, "pages/budget_form.html", context, status=status)


def _summary(form: BudgetForm, rungs: Any) -> Sequence[tuple[str, str]]:  # a formset, as above
    """Every mistake with the id of its field, for the list at the top."""
    if not form.is_bound:
        return []
    labels = {name: f"{field.label}: " for name, field in form.fields.items()}
    found = [
        (f"id_{name}" if name in labels else "id_name", f"{labels.get(name, '')}{text}")
        for name, texts in form.errors.items()
        for text in texts
    ]
    found += [
        (f"id_{row.prefix}-{name}", f"Step {number}: {text}")
        for number, row in enumerate(rungs.forms, start=1)
        for name, texts in row.errors.items()
        for text in texts
    ]
    return found


def _known(request: HttpRequest) -> list[tuple[str, list[str]]]:
    """Values of the last 90 days by spend, offered while typing."""
    today = timezone.now().date()
    days = Days(today - timedelta(days=90), today + timedelta(days=1))
    scope = SpendScope(days, currency=settings.COSTOBS_CURRENCY, teams=scopes.viewer(request.user).teams)
    return [
        (name, [value for value, _ in filters.known_values(scope=scope, dimension=name, search="") if value])
        for name in MAIN
    ]
