"""Owners from a file into the draft: first what each row would do, then one lookup rule for each attribute."""

from collections.abc import Mapping
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from attribution import owner_import, rule_drafts
from attribution.owner_import import Judged, Plan
from attribution.rules.base import BadRule
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web.parts import Cell, Column, Notice, Row, Table
from costobs.web.settings_access import managing

_MOST_SHOWN = 500
_VERDICTS = {"new": "New", "changed": "Changed", "same": "Same", "unusable": "Cannot be used"}
_PARTS = {"team": "team", "feature": "feature", "cost_centre": "cost centre", "environment": "environment"}


@require_http_methods(["GET", "POST"])
@managing
def page(request: HttpRequest) -> HttpResponse:
    """Takes a file or pasted text; shows what it would do, and with `act=keep` puts it into the draft."""
    context: dict[str, object] = {
        "page": "settings",
        "scope": None,
        "heading": "Import owners",
        "back": reverse("settings_rules"),
    }
    if request.method == "GET":
        return render(request, "pages/settings_rules_import.html", context)
    viewer, now = scopes.viewer(request.user), timezone.now()
    name, text = _given(request)
    context["name"] = name
    try:
        context["pasted"] = owner_import.decoded(text)
        rows = owner_import.read(text, name=name)
        found = owner_import.plan(rows, rule_drafts.draft(person=viewer.name, now=now).rules)
        if request.POST.get("act") == "keep":
            return _kept(request, found, viewer.name, now)
    except (owner_import.Unreadable, BadRule, rule_drafts.Refused) as problem:
        context["problem"] = str(problem)
        return render(request, "pages/settings_rules_import.html", context, status=400)
    context |= {"heading": _heading(found), "plan": found, "rows": _table(found)}
    return render(request, "pages/settings_rules_import.html", context)


def _given(request: HttpRequest) -> tuple[str, bytes]:
    uploaded = request.FILES.get("file")
    if uploaded is not None:
        # One byte more than may be read says that there is too much.
        return uploaded.name or "", uploaded.read(owner_import.MOST_BYTES + 1)
    return request.POST.get("name", "")[:200], request.POST.get("pasted", "").encode()


def _kept(request: HttpRequest, found: Plan, person: str, now: datetime) -> HttpResponse:
    if not found.changes_anything:
        messages.info(request, "The file says what your rules say already; nothing was changed.")
        return redirect("settings_rules")
    rule_drafts.replace_all(person=person, rules_in_order=found.rules, now=now)
    words = f"{found.count('new')} new and {found.count('changed')} changed owners are kept in your draft."
    messages.success(request, f"{words} They count once you publish.")
    return redirect("settings_rules")


def _heading(found: Plan) -> str:
    counts = [(found.count("new"), "new"), (found.count("changed"), "changed"), (found.count("same"), "the same")]
    words = ", ".join(f"{fmt.integer(count)} {word}" for count, word in counts)
    unusable = found.count("unusable")
    return f"{words}" + (f"; {unusable} row{'s' if unusable > 1 else ''} cannot be used" if unusable else "")


def _table(found: Plan) -> Table:
    order = {"unusable": 0, "changed": 1, "new": 2, "same": 3}
    judged = sorted(found.rows, key=lambda one: (order[one.verdict], one.row.line))
    rows = [_row(one) for one in judged[:_MOST_SHOWN]]
    columns = [
        Column("Line", numeric=True),
        Column("What"),
        Column("Value", wide=True),
        Column("Owner", wide=True),
        Column("State", wide=True),
    ]
    note = f"{_MOST_SHOWN} of {len(judged)} rows are shown; all of them count." if len(judged) > _MOST_SHOWN else ""
    return Table("Owners in the file", columns, rows, None, Notice("empty", "No row"), note=note)


def _row(one: Judged) -> Row:
    return Row(
        [
            Cell(str(one.row.line)),
            Cell(one.row.attribute.replace("_", " ")),
            Cell(one.row.value, mono=True),
            Cell(_owner(one.row.owner), note=f"was {_owner(one.before)}" if one.verdict == "changed" else ""),
            Cell(_VERDICTS[one.verdict], note=one.row.problem),
        ]
    )


def _owner(owner: Mapping[str, str]) -> str:
    return ", ".join(f"{_PARTS.get(name, name)} {text}" for name, text in owner.items() if text) or "–"
