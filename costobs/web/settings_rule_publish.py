"""From a draft to the rules in force: what it changes and moves, then publishing, taking over a newer version, discarding."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from attribution import periods, rule_drafts, rule_preview, rulesets
from attribution.rules.base import BadRule
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import rule_words
from costobs.web.settings_access import managing


@require_http_methods(["GET", "POST"])
@managing
def page(request: HttpRequest) -> HttpResponse:
    """What the draft changes and moves; by POST with a note it is published."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    problem = ""
    if request.method == "POST":
        try:
            done = rulesets.publish(person=viewer.name, note=request.POST.get("note", ""), now=now)
        except (rulesets.Stale, rule_drafts.Refused, BadRule) as refused:
            problem = str(refused)
        else:
            messages.success(request, f"Version {done.version} is in force. {_published(done)}")
            return redirect("settings_rules")
    return _page(request, problem=problem)


@require_POST
@managing
def split(request: HttpRequest) -> HttpResponse:
    """The splits of the last complete month by the draft, worked out and not kept."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = rule_drafts.draft(person=viewer.name, now=now)
    days = rule_words.last_month(now)
    result = rule_preview.splits(drafts=found.rules, days=days, now=now)
    context = {
        "split_sentence": rule_words.split_sentence(result, days),
        "split_table": rule_words.split_table(result),
        "split_month": fmt.month(days.start),
    }
    if request.headers.get("HX-Request"):
        return render(request, "_rule_splits.html", context)
    return _page(request, split=context)


@require_POST
@managing
def discard(request: HttpRequest) -> HttpResponse:
    """Forgets the draft."""
    if rule_drafts.discard(person=scopes.viewer(request.user).name):
        messages.success(request, "Your draft is discarded. The rules in force are as they were.")
    return redirect("settings_rules")


@require_POST
@managing
def rebase(request: HttpRequest) -> HttpResponse:
    """Makes the changes of the draft on top of the version that was published meanwhile."""
    clashes = rule_drafts.rebase(person=scopes.viewer(request.user).name, now=timezone.now())
    for clash in clashes:
        messages.warning(request, clash)
    messages.success(request, "Your changes are on top of the rules in force now. Look at them before you publish.")
    return redirect("settings_rules_publish")


def _page(request: HttpRequest, *, problem: str = "", split: dict[str, object] | None = None) -> HttpResponse:
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = rule_drafts.draft(person=viewer.name, now=now)
    month, behind = rule_words.last_month(now), rulesets.behind(found)
    moved = rule_preview.moves(drafts=found.rules, days=rule_words.long_span(now)) if found.changes else []
    of_month = [one for one in moved if one.month == month.start]
    splits = rulesets.affected_days(rulesets.in_force(found), found.rules)
    context = {
        "page": "settings",
        "scope": None,
        "heading": rule_words.sentence(of_month, subject="Your draft", days=month, splits=splits).rstrip(".")
        if found.changes
        else "Nothing to publish",
        "draft": found,
        "behind": behind,
        "behind_changes": rule_words.changes_table(behind.changes, caption="Published since") if behind else None,
        "changes": rule_words.changes_table(found.changes, caption="Changes"),
        "moves": rule_words.moves_table(moved, days=rule_words.long_span(now)),
        "splits": rule_words.splits_words(splits),
        "split_month": fmt.month(month.start),
        "closed": rule_words.closed_words(periods.closed_until()),
        "problem": problem,
        "note": request.POST.get("note", ""),
        "back": reverse("settings_rules"),
        **(split or {}),
    }
    return render(request, "pages/settings_rules_publish.html", context, status=409 if problem else 200)


def _published(done: rulesets.Published) -> str:
    changes = f"{len(done.changes)} change{'s' if len(done.changes) > 1 else ''}"
    if not done.reopened_days:
        return f"{changes}; owners are other at once, no day has to be split anew."
    days = f"{done.reopened_days} day{'s' if done.reopened_days > 1 else ''}"
    return f"{changes}; {days} will be split anew in the background, the newest first."
