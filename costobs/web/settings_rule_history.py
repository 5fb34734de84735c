"""Every version of the rules: who made it, when, why and what it changed; and the way back."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from attribution import rule_changes, rule_drafts, rulesets
from attribution.rules.base import BadRule
from attribution.rulesets import Version
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import rule_words
from costobs.web.page import notice
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table
from costobs.web.settings_access import looking, managing


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    """The versions, newest first."""
    found = rulesets.history()
    current = next((one for one in found if one.is_current), None)
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(found),
        "sub": f"Version {current.id} is in force since {fmt.moment(current.created_at, year=True)}."
        if current
        else "The first version is made with the first data.",
        "versions": _table(found),
    }
    return render(request, "pages/settings_rule_history.html", context)


@require_safe
@looking
def version(request: HttpRequest, version_id: int) -> HttpResponse:
    """One version: its rules, and what it changed."""
    try:
        found = rulesets.version(version_id)
    except rule_drafts.Refused as problem:
        back = [Link("History", reverse("settings_rule_history"), icon="history")]
        return notice(request, Notice("nothing_matches", "There is no such version", str(problem), back), status=404)
    context = {
        "page": "settings",
        "scope": None,
        "heading": f"Version {found.id}: {found.note or 'no note'}",
        "sub": f"By {found.created_by}, {fmt.moment(found.created_at, year=True)}. {_state(found)}",
        "version": found,
        "may_restore": scopes.viewer(request.user).may_manage and not found.is_current,
        "changes": rule_words.changes_table(found.changes, caption="What it changed"),
        "rules": _rules(found),
    }
    return render(request, "pages/settings_rule_version.html", context)


@require_POST
@managing
def restore(request: HttpRequest, version_id: int) -> HttpResponse:
    """Makes the rules of an old version the ones in force, as a new version."""
    viewer = scopes.viewer(request.user)
    try:
        done = rulesets.restore(
            version=version_id, by=viewer.name, now=timezone.now(), note=request.POST.get("note", "")
        )
    except (rule_drafts.Refused, BadRule) as problem:
        messages.error(request, str(problem))
        return redirect("settings_rule_history")
    messages.success(request, f"The rules of version {version_id} are in force again, as version {done.version}.")
    return redirect("settings_rules")


def _heading(found: list[Version]) -> str:
    if not found:
        return "No version yet"
    return (
        f"{len(found)} version{'s' if len(found) > 1 else ''} of the rules"
        if len(found) < 100
        else "The last 100 versions"
    )


def _state(found: Version) -> str:
    closed = [fmt.month(month) for month in found.closed_months]
    words = "In force." if found.is_current else "Not in force."
    return f"{words} {', '.join(closed)} closed with it." if closed else words


def _table(found: list[Version]) -> Table:
    rows = [
        Row(
            [
                Cell(f"Version {one.id}", reverse("settings_rule_version", args=[one.id])),
                Cell(fmt.moment(one.created_at, year=True)),
                Cell(one.created_by),
                Cell(
                    one.note or "–", note="; ".join(f"{fmt.month(month)} closed with it" for month in one.closed_months)
                ),
                Cell(_changes(one)),
                Cell("In force" if one.is_current else ""),
            ]
        )
        for one in found
    ]
    columns = [
        Column("Version"),
        Column("When, UTC"),
        Column("Who"),
        Column("Note", wide=True),
        Column("What changed", wide=True),
        Column("State"),
    ]
    empty = Notice("empty", "No version yet", "The default rules become the first version when the first data arrive.")
    return Table("Versions of the rules", columns, rows, None, empty)


def _changes(one: Version) -> str:
    if not one.changes:
        return "–"
    words = [f"{change.name} {change.what}" for change in one.changes[:3]]
    more = [f"{len(one.changes) - 3} more"] if len(one.changes) > 3 else []
    return "; ".join([*words, *more])


def _rules(found: Version) -> Table:
    rows = [
        Row(
            [
                Cell(str(at)),
                Cell(rule.name),
                Cell(rule_changes.title(rule.kind)),
                Cell(rule_changes.summary(rule)),
                Cell("" if rule.is_active else "disabled"),
            ]
        )
        for at, rule in enumerate(found.rules, start=1)
    ]
    columns = [
        Column("Order"),
        Column("Rule", wide=True),
        Column("Kind"),
        Column("What it does", wide=True),
        Column("State"),
    ]
    return Table(
        f"Rules of version {found.id}", columns, rows, None, Notice("empty", "No rule", "Everything is unallocated.")
    )
