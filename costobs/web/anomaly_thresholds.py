"""From how much on anomalies are told: what holds for everything, what for a team or another scope, and what it would have told."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from alerts import anomaly_preview, thresholds
from alerts.anomaly_limits import NAMES, Book, Limits, Own
from alerts.anomaly_preview import Past, Preview
from costobs.access import scopes
from costobs.access.scopes import Viewer
from costobs.kernel import fmt, money
from costobs.web import budget_access, csv_file
from costobs.web.kind_form import Styled
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

SCOPE = ("team", "feature", "key", "model", "provider_name", "deployment")
_SHOWN = 30


class ThresholdForm(Styled):
    """A scope and its limits; a limit left empty is that of the wider scope."""

    team = forms.CharField(
        required=False,
        max_length=200,
        help_text="With all its features and keys. Leave all six names empty for everything.",
    )
    feature = forms.CharField(required=False, max_length=200, help_text="Of the team; needs the team.")
    key = forms.CharField(required=False, max_length=200, help_text="Of the team; needs the team.")
    model = forms.CharField(required=False, max_length=200, help_text="A model with whatever team.")
    provider_name = forms.CharField(label="Provider", required=False, max_length=200, help_text="As in Explore.")
    deployment = forms.CharField(required=False, max_length=200, help_text="Of own models, as in Explore.")
    impact_cost = forms.CharField(
        required=False, max_length=30, help_text="In all, of its odd days or hours. Less is shown, and nobody is told."
    )
    impact_percent = forms.CharField(
        label="And at least this percent above expected",
        required=False,
        max_length=30,
        help_text="Of what was expected of these days or hours: 25 is a quarter more. Less is shown, and nobody is told.",
    )
    day_cost = forms.CharField(
        required=False, max_length=30, help_text="A scope whose dearest day costs less is not looked at by day."
    )
    hour_cost = forms.CharField(
        required=False,
        max_length=30,
        help_text="The same by the hour. A key that nobody has seen before is odd from three times as much.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        currency = settings.COSTOBS_CURRENCY
        self.fields["impact_cost"].label = f"Tell from this much above expected, {currency}"
        self.fields["day_cost"].label = f"Look from this much a day, {currency}"
        self.fields["hour_cost"].label = f"Look from this much an hour, {currency}"
        for name in NAMES:
            self.fields[name].widget.attrs["inputmode"] = "decimal"

    def own(self) -> Own | None:
        """What was given; None when it cannot be read, and each field says why."""
        if not self.is_valid():
            return None
        try:
            return thresholds.own(
                scope={name: value for name in SCOPE if (value := self.cleaned_data[name].strip())},
                values={name: self.cleaned_data[name].strip() for name in NAMES},
            )
        except thresholds.Invalid as problem:
            self.tell(problem.errors)
            return None


@require_safe
@page_view
def page(request: HttpRequest) -> HttpResponse:
    """What is set; `?change=3` fills the form with a row, `?format=csv` exports."""
    viewer = scopes.viewer(request.user)
    book = thresholds.book(teams=viewer.teams)
    if request.GET.get("format") == "csv":
        return _csv(book, timezone.now())
    wanted = request.GET.get("change", "")
    filled = next((one for one in book.owns if str(one.id) == wanted), None)
    return _page(request, ThresholdForm(initial=_initial(filled) if filled else {}))


def _given(request: HttpRequest, form: ThresholdForm) -> tuple[Viewer, Own | None, HttpResponse]:
    """The limits that were sent, or None and the answer that says what is wrong with them or with who asks."""
    viewer, own = scopes.viewer(request.user), form.own()
    if own is None:
        return viewer, None, _page(request, form, status=400)
    if not _may(viewer, own):
        return viewer, None, no_permission(request, _not_yours(own))
    return viewer, own, HttpResponse()


@require_POST
@page_view
def put(request: HttpRequest) -> HttpResponse:
    """Sets the limits of a scope."""
    form = ThresholdForm(request.POST)
    viewer, own, refusal = _given(request, form)
    if own is None:
        return refusal
    thresholds.put(own=own, by=viewer.name, now=timezone.now())
    messages.success(request, f"Set for {thresholds.words(own.scope)}. It holds from the next look on.")
    return redirect("anomaly_thresholds")


@require_POST
@page_view
def preview(request: HttpRequest) -> HttpResponse:
    """What the given limits would have told of the last 90 days; sets nothing."""
    form = ThresholdForm(request.POST)
    viewer, own, refusal = _given(request, form)
    if own is None:
        return refusal
    book = thresholds.book(teams=None)
    found = anomaly_preview.preview(book=book, now=timezone.now(), teams=viewer.teams, own=own)
    return _page(request, form, found=found, own=own)


@require_POST
@page_view
def remove(request: HttpRequest, threshold_id: int) -> HttpResponse:
    """Takes the limits of a scope out."""
    viewer = scopes.viewer(request.user)
    try:
        found = thresholds.one(threshold_id=threshold_id, teams=viewer.teams)
        if not _may(viewer, found):
            return no_permission(request, _not_yours(found))
        gone = thresholds.remove(threshold_id=threshold_id, by=viewer.name, now=timezone.now())
    except thresholds.NotFound:
        return budget_access.not_found(request, "threshold")
    messages.success(request, f"Removed. For {thresholds.words(gone.scope)} the wider limits hold again.")
    return redirect("anomaly_thresholds")


def told_from(limits: Limits) -> str:
    """`$50 above expected`, `$50 and 20 % above expected`."""
    percent = f" and {_percent(limits.impact_percent)}" if limits.impact_percent else ""
    return f"{fmt.money(limits.impact_cost, settings.COSTOBS_CURRENCY)}{percent} above expected"


def _may(viewer: Viewer, own: Own) -> bool:
    return budget_access.may_act(viewer, _teams(own))


def _teams(own: Own) -> tuple[str, ...]:
    team = dict(own.scope).get("team")
    return (team,) if team else ()


def _not_yours(own: Own) -> str:
    if _teams(own):
        return budget_access.not_yours(_teams(own))
    return "Administrators and finance set what holds for more than one team. A lead may set it for own teams."


def _page(
    request: HttpRequest,
    form: ThresholdForm,
    *,
    found: Preview | None = None,
    own: Own | None = None,
    status: int = 200,
) -> HttpResponse:
    viewer = scopes.viewer(request.user)
    book = thresholds.book(teams=viewer.teams)
    may_set = viewer.role in {"admin", "finance", "lead"}
    context: dict[str, Any] = {
        "page": "anomalies",
        "heading": _heading(book),
        "sub": "Less is shown on the page and nobody is told. What is set for a team holds for its features and keys too.",
        "table": _table(book, viewer),
        "form": form if may_set else None,
        "is_lead": viewer.role == "lead",
        "finding": _finding(found, own) if found and own else None,
        "preview": _preview(found) if found else None,
    }
    return render(request, "pages/anomaly_thresholds.html", context, status=status)


def _heading(book: Book) -> str:
    others = sum(1 for one in book.owns if one.scope)
    own = "scope has limits of its own" if others == 1 else "scopes have limits of their own"
    several = f"; {others} {own}" if others else ""
    return f"Anomalies are told from {told_from(book.default())}{several}"


def _table(book: Book, viewer: Viewer) -> Table:
    columns = [
        Column("Scope", wide=True),
        Column("Told from", numeric=True, title="Above expected, in all"),
        Column("And percent", numeric=True, title="Of what was expected"),
        Column("Looked at from a day", numeric=True),
        Column("From an hour", numeric=True),
        Column("Set by"),
        Column("Act"),
    ]
    everything = next((one for one in book.owns if not one.scope), Own(()))
    owns = [everything, *sorted((one for one in book.owns if one.scope), key=lambda one: thresholds.words(one.scope))]
    rows = [Row(_cells(one, book, viewer)) for one in owns]
    note = (
        "Amounts above expected, a day and an hour, in the currency of the books. Defaults come from the environment."
    )
    return Table("Limits", columns, rows, csv_url="?format=csv", note=note)


def _cells(own: Own, book: Book, viewer: Viewer) -> list[Cell]:
    holds, wider = book.of(own.scope), "default" if not own.scope else "wider scope"
    acts = []
    if own.id and _may(viewer, own):
        remove_url = reverse("anomaly_threshold_remove", args=[own.id])
        acts = [
            Link("Change", f"?change={own.id}#set", icon="pencil"),
            Link("Remove", remove_url, icon="trash-2", post=True),
        ]
    return [
        Cell(_capital(thresholds.words(own.scope))),
        *(
            Cell(_value(name, getattr(holds, name)), note="" if getattr(own, name) is not None else wider)
            for name in ("impact_cost", "impact_percent", "day_cost", "hour_cost")
        ),
        Cell(own.changed_by or "nobody", note=fmt.moment(own.changed_at) if own.changed_at else ""),
        Cell(actions=acts) if acts else Cell("nothing set" if not own.id else "not yours"),
    ]


def _value(name: str, value: Decimal) -> str:
    return _percent(value) if name == "impact_percent" else fmt.money(value, settings.COSTOBS_CURRENCY)


def _percent(value: Decimal) -> str:
    return fmt.percent(value / 100, places=0 if value == value.to_integral_value() else 1)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _initial(own: Own) -> dict[str, str]:
    return {**dict(own.scope), **{name: money.text(value) for name, value in own.named.items()}}


def _finding(found: Preview, own: Own) -> Notice:
    """`With these limits the last 90 days would have told 4 anomalies; with those set now 10.`"""
    told = f"{found.told} {'anomaly' if found.told == 1 else 'anomalies'}"
    title = f"With these limits the last {len(found.days)} days would have told {told}; with those set now, {found.told_now}"
    text = (
        f"Limits for {thresholds.words(own.scope)}, {fmt.day(found.days.start)} to {fmt.day(found.days.last)}, by day, on the "
        "books and with the feedback as they are now. What only an hour shows is not counted. Nothing is set yet."
    )
    return Notice("info", title, text)


def _preview(found: Preview) -> Table:
    columns = [
        Column("Anomaly", wide=True), Column("Days"), Column("Above expected", numeric=True),
        Column("Percent", numeric=True), Column("With these limits"), Column("As set now"),
    ]  # fmt: skip
    rows = [
        Row(
            [
                Cell(_capital(one.scope_words)),
                Cell(_span(one)),
                Cell(fmt.money(one.impact_cost, one.currency, signed=True)),
                Cell("new" if one.percent is None else _percent(one.percent)),
                Cell("told" if one.is_told else "only shown"),
                Cell("told" if one.is_told_now else "only shown"),
            ]
        )
        for one in found.rows[:_SHOWN]
    ]
    more = len(found.rows) - len(rows)
    empty = Notice("info", "No anomaly in these days", "Nothing stood out, or there is too little history to say so.")
    note = f"{more} smaller ones are not listed." if more > 0 else ""
    return Table("What would have been told", columns, rows, empty=empty, note=note)


def _span(one: Past) -> str:
    if one.started_on == one.last_on:
        return fmt.day(one.started_on)
    return f"{fmt.short_day(one.started_on)} – {fmt.day(one.last_on)}"


def _csv(book: Book, now: datetime) -> HttpResponse:
    columns: Sequence[str] = ["scope", *NAMES, "currency", "changed_by", "changed_at"]
    rows = [
        (
            thresholds.words(one.scope), *(getattr(one, name) for name in NAMES), settings.COSTOBS_CURRENCY, one.changed_by,
            one.changed_at,
        )
        for one in book.owns
    ]  # fmt: skip
    return csv_file.response(name=f"anomaly-thresholds-{now.date()}.csv", columns=columns, rows=rows)
