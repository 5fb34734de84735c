"""Settings, chargeback: who charges, what is put on top, how journal entries look, and where statements are delivered."""

from dataclasses import replace
from datetime import date

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from alerts import schedules
from attribution import issue, queries, terms
from attribution.exports import journal as journal_export
from attribution.exports.base import percent
from attribution.exports.journal import BadLayout, Layout
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.period import month as month_of
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from costobs.web import delivery_tables
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table
from costobs.web.settings_access import looking, managing

_PREVIEW_ROWS = 8


class CompanyForm(forms.Form):
    """The name on every statement."""

    company = forms.CharField(
        label="Company", required=False, max_length=120, help_text="Printed on PDF statements and in workbooks."
    )


class MarkupForm(forms.Form):
    """One markup from a month on."""

    cost_centre = forms.CharField(
        label="Cost centre", required=False, max_length=200, help_text="Empty: every one without a markup of its own."
    )
    percent = forms.CharField(label="Percent", max_length=20, help_text="Of everything but tax.")
    label = forms.CharField(label="Name of the line", max_length=120, help_text="As it is read: Platform fee.")
    first_month = forms.CharField(label="From month", max_length=7, help_text="As 2026-12; not a closed one.")


class JournalForm(forms.Form):
    """Columns and accounts of journal entries."""

    columns = forms.CharField(
        label="Columns",
        widget=forms.Textarea(attrs={"rows": 10}),
        max_length=20_000,
        help_text="One on each line: header, `|`, and a field or `=` with a fixed text.",
    )
    debit_account = forms.CharField(
        label="Debit account", max_length=200, help_text="`{cost_centre}` stands for the row's cost centre."
    )
    no_cost_centre_account = forms.CharField(label="Account without a cost centre", max_length=200)
    credit_account = forms.CharField(label="Credit account", max_length=200)
    markup_account = forms.CharField(
        label="Credit account of the markup", max_length=200, required=False, help_text="Empty: the same."
    )

    def layout(self) -> Layout:
        """What was typed. Raises BadLayout."""
        data = self.cleaned_data
        pairs = []
        for line in data["columns"].splitlines():
            header, mark, source = line.partition("|")
            if line.strip():
                if not mark:
                    raise BadLayout(f"expected header | field, found {line.strip()[:60]!r}")
                pairs.append([header.strip(), source.strip()])
        names = ("debit_account", "no_cost_centre_account", "credit_account", "markup_account")
        return Layout.parse({"columns": pairs, **{name: data[name] for name in names}})


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    return _page(request)


@require_POST
@managing
def company(request: HttpRequest) -> HttpResponse:
    form = CompanyForm(request.POST)
    if form.is_valid():
        try:
            terms.set_company(company=form.cleaned_data["company"], by=_who(request), now=timezone.now())
        except terms.Invalid as problem:
            _tell(form, problem)
        else:
            messages.success(request, "Statements carry the new name from now on.")
            return redirect("settings_chargeback")
    return _page(request, company_form=form, status=400)


@require_POST
@managing
def markup(request: HttpRequest) -> HttpResponse:
    form = MarkupForm(request.POST)
    if form.is_valid():
        data = form.cleaned_data
        try:
            start = parse_month(data["first_month"].strip()).start
            terms.add_markup(
                cost_centre=data["cost_centre"].strip(),
                percent=data["percent"],
                label=data["label"],
                first_month=start,
                by=_who(request),
                now=timezone.now(),
            )
        except terms.Invalid as problem:
            _tell(form, problem)
        except (ValueError, OverflowError) as problem:
            form.add_error("first_month", str(problem))
        else:
            messages.success(request, f"The markup holds from {fmt.month(start)}.")
            return redirect("settings_chargeback")
    return _page(request, markup_form=form, status=400)


@require_POST
@managing
def end_markup(request: HttpRequest, markup_id: int) -> HttpResponse:
    """Ends a markup; the month given is the first one without it."""
    try:
        end = parse_month(request.POST.get("end_month", "").strip()).start
        done = terms.end_markup(markup_id=markup_id, end_month=end, by=_who(request), now=timezone.now())
    except (terms.Invalid, ValueError, OverflowError) as problem:
        messages.error(request, f"Nothing was changed. {problem}")
    else:
        if done:
            messages.success(request, f"It ends before {fmt.month(end)}.")
        else:
            messages.error(request, "It has ended already.")
    return redirect("settings_chargeback")


@require_POST
@managing
def journal(request: HttpRequest) -> HttpResponse:
    """Saves the layout, or shows what it gives when only a preview is asked for."""
    form = JournalForm(request.POST)
    if form.is_valid():
        try:
            layout = form.layout()
            if request.POST.get("act") == "preview":
                return _page(request, journal_form=form, layout=layout)
            terms.set_journal(layout=layout.stored(), by=_who(request), now=timezone.now())
        except (BadLayout, terms.Invalid) as problem:
            form.add_error("columns", str(problem))
        else:
            messages.success(request, "Journal entries have the new columns from now on.")
            return redirect("settings_chargeback")
    return _page(request, journal_form=form, status=400)


def _page(
    request: HttpRequest,
    *,
    company_form: CompanyForm | None = None,
    markup_form: MarkupForm | None = None,
    journal_form: JournalForm | None = None,
    layout: Layout | None = None,
    status: int = 200,
) -> HttpResponse:
    found, held = queries.terms(), terms.markups()
    plans = schedules.schedules()
    may_manage = scopes.viewer(request.user).may_manage
    stored = Layout.parse(found.journal)
    forms_ = {
        "company_form": company_form or CompanyForm(initial={"company": found.company}),
        "markup_form": markup_form or MarkupForm(initial={"first_month": f"{timezone.now():%Y-%m}"}),
        "journal_form": journal_form or JournalForm(initial=_initial(stored)),
    }
    for form in forms_.values():
        _style(form)
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(held, plans),
        "sub": "Closed months keep their markups. Name and columns count for every file from now on.",
        "may_manage": may_manage,
        "company": found.company,
        "actions": [Link("Deliver statements", reverse("statement_schedule_new"), icon="send")] if may_manage else [],
        "markups": _markups(held),
        "open_markups": [one for one in held if one.end_month is None],
        "next_month": f"{month_of(timezone.now().date()).end:%Y-%m}",
        "schedules": delivery_tables.schedules(plans, may_manage=may_manage),
        "preview": _preview(layout or stored),
        "is_preview": layout is not None,
        "fields": journal_export.FIELDS.items(),
        **forms_,
    }
    return render(request, "pages/settings_chargeback.html", context, status=status)


def _heading(held: list[terms.MarkupEntry], plans: list[schedules.ScheduleLine]) -> str:
    today = timezone.now().date().replace(day=1)
    now = [one for one in held if one.first_month <= today and (one.end_month is None or one.end_month > today)]
    markups = "No markup holds" if not now else "1 markup holds" if len(now) == 1 else f"{len(now)} markups hold"
    active = sum(one.is_active for one in plans)
    sent = (
        "no delivery is set up"
        if not active
        else "1 delivery is set up"
        if active == 1
        else f"{active} deliveries are set up"
    )
    return f"{markups} this month, {sent}"


def _markups(held: list[terms.MarkupEntry]) -> Table:
    rows = [
        Row(
            [
                Cell(one.cost_centre or "All others"),
                Cell(one.label),
                Cell(f"{percent(one.percent)} %"),
                Cell(fmt.month(one.first_month)),
                Cell(_until(one), note=f"ended by {one.ended_by}" if one.ended_by else ""),
                Cell(one.set_by, note=fmt.moment(one.set_at)),
            ]
        )
        for one in held
    ]
    columns = [Column("Cost centre"), Column("Line"), Column("Percent", numeric=True), Column("From"), Column("Until")]
    empty = Notice("empty", "Nothing is put on top", "Statements charge what the books hold.")
    return Table("Markups", [*columns, Column("Set by")], rows, empty=empty)


def _until(one: terms.MarkupEntry) -> str:
    if one.end_month is None:
        return "goes on"
    return "taken back" if one.never_held else f"before {fmt.month(one.end_month)}"


def _preview(layout: Layout) -> Table | None:
    """The first rows that the layout gives for the newest month in the books."""
    months: list[date] = issue.months()
    if not months:
        return None
    scope = SpendScope(month_of(months[-1]), (), "effective", settings.COSTOBS_CURRENCY, None)
    shown = replace(issue.document(scope=scope), journal=layout.stored())
    found = list(journal_export.rows(shown, layout))
    numeric = {"debit", "credit", "amount", "entry"}
    columns = [Column(header, numeric=source in numeric) for header, source in layout.columns]
    rows = [Row([Cell(value) for value in row]) for row in found[:_PREVIEW_ROWS]]
    more = f" The first {_PREVIEW_ROWS} of {len(found)} rows." if len(found) > _PREVIEW_ROWS else ""
    empty = Notice("empty", f"Nothing is charged in {fmt.month(months[-1])}")
    return Table(
        "Preview", columns, rows, empty=empty, note=f"{fmt.month(months[-1])}, {settings.COSTOBS_CURRENCY}.{more}"
    )


def _initial(layout: Layout) -> dict[str, str]:
    return {
        "columns": "\n".join(f"{header} | {source}" for header, source in layout.columns),
        "debit_account": layout.debit_account,
        "no_cost_centre_account": layout.no_cost_centre_account,
        "credit_account": layout.credit_account,
        "markup_account": layout.markup_account,
    }


def _style(form: forms.Form) -> None:
    for name, field in form.fields.items():
        field.widget.attrs["class"] = "input input--wide" if name in {"columns", "company"} else "input"
        if name == "columns":
            field.is_long = True  # type: ignore[attr-defined]  # what _field.html asks for


def _tell(form: forms.Form, problem: terms.Invalid) -> None:
    for name, text in problem.errors.items():
        form.add_error(name if name in form.fields else None, text)


def _who(request: HttpRequest) -> str:
    return scopes.viewer(request.user).name
