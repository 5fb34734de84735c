"""Adding and changing one rule of the draft, with what it would move while it is typed."""

from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from attribution import periods, rule_drafts, rule_preview, rulesets
from attribution.owning import RuleDraft
from attribution.rule_drafts import Draft, Line
from attribution.rules import KINDS
from attribution.rules.base import BadRule
from costobs.access import scopes
from costobs.web import rule_typing, rule_words
from costobs.web.page import notice
from costobs.web.parts import Link, Notice
from costobs.web.rule_forms import RuleForm
from costobs.web.settings_access import managing


@require_safe
@managing
def choose(request: HttpRequest) -> HttpResponse:
    """Every kind of rule there is."""
    owning = [(kind.kind, kind.title, _manual(kind.__doc__)) for kind in KINDS.values() if not kind.is_split]
    splitting = [(kind.kind, kind.title, _manual(kind.__doc__)) for kind in KINDS.values() if kind.is_split]
    context = {
        "page": "settings",
        "scope": None,
        "groups": [("Who owns spend", owning), ("How what many share is split", splitting)],
    }
    return render(request, "pages/settings_rule_new.html", context)


@require_http_methods(["GET", "POST"])
@managing
def add(request: HttpRequest, kind: str) -> HttpResponse:
    """The form of a new rule; it goes into the draft, in front of all others."""
    if kind not in KINDS:
        back = [Link("All kinds", reverse("settings_rule_new"), icon="plus")]
        words = f"Known: {', '.join(KINDS)}."
        return notice(request, Notice("nothing_matches", "There is no such kind of rule", words, back), status=404)
    form = RuleForm(kind, data=_data(request) if request.method == "POST" else None)
    return _answer(request, form, None)


@require_http_methods(["GET", "POST"])
@managing
def edit(request: HttpRequest, key: str) -> HttpResponse:
    """The form of a rule that is in the draft."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    try:
        line = rule_drafts.draft(person=viewer.name, now=now).line(key)
    except rule_drafts.Refused as problem:
        back = [Link("All rules", reverse("settings_rules"), icon="tags")]
        return notice(request, Notice("nothing_matches", "There is no such rule", str(problem), back), status=404)
    if line.rule.kind not in KINDS:
        words = f"This installation does not know the kind {line.rule.kind}. Disable or delete the rule in the list."
        return notice(request, Notice("nothing_matches", "This rule cannot be edited here", words), status=404)
    form = RuleForm(line.rule.kind, data=_data(request) if request.method == "POST" else None, rule=line.rule)
    return _answer(request, form, line)


@require_POST
@managing
def preview(request: HttpRequest, kind: str) -> HttpResponse:
    """What the rule as it is typed would move; swapped in by htmx while somebody types."""
    if kind not in KINDS:
        return notice(request, Notice("nothing_matches", "There is no such kind of rule"), status=404)
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = rule_drafts.draft(person=viewer.name, now=now)
    line = next((one for one in found.lines if one.key == request.POST.get("key")), None)
    form = RuleForm(kind, data=_data(request), rule=line.rule if line else None)
    return render(request, "_rule_preview.html", _previewed(request, form, line, found, now))


def _answer(request: HttpRequest, form: RuleForm, line: Line | None) -> HttpResponse:
    if request.method == "GET":
        return _page(request, form, line)
    act = request.POST.get("act", "save")
    if act in ("rows", "raw", "fields"):
        return _page(request, _turned(form, act, line), line)
    now, viewer = timezone.now(), scopes.viewer(request.user)
    if act == "preview":
        found = rule_drafts.draft(person=viewer.name, now=now)
        return _page(request, form, line, previewed=_previewed(request, form, line, found, now))
    rule = form.rule()
    if rule is None:
        return _page(request, form, line, status=400)
    try:
        rule_drafts.put(person=viewer.name, rule=rule, key=line.key if line else "", now=now)
    except (BadRule, rule_drafts.Refused) as problem:
        form.errors["name" if "name" in str(problem) else ""] = str(problem)
        return _page(request, form, line, status=400)
    messages.success(request, f"{rule.name} is kept in your draft. It counts once you publish.")
    return redirect("settings_rules")


def _turned(form: RuleForm, act: str, line: Line | None) -> RuleForm:
    """The same form with more rows, as JSON, or as fields again when the JSON can be read."""
    if act == "rows":
        return form
    if act == "raw":
        data = {**form.data, "raw": form.raw, "mode": "raw"}
        return RuleForm(form.kind, data=data, rule=line.rule if line else None)
    rule = form.rule()
    return form if rule is None else RuleForm(form.kind, rule=rule)


def _page(
    request: HttpRequest,
    form: RuleForm,
    line: Line | None,
    *,
    status: int = 200,
    previewed: dict[str, object] | None = None,
) -> HttpResponse:
    kind = KINDS[form.kind]
    shown = form.shown()
    context = {
        "page": "settings",
        "scope": None,
        "heading": f"Edit {line.rule.name}" if line else f"Add a rule: {kind.title}",
        "form": form,
        "kind": kind.kind,
        "kind_title": kind.title,
        "key": line.key if line else "",
        "settings": shown,
        "ops": rule_typing.OPS.items(),
        "has_rows": any(one.shape == "conditions" for one in shown),
        "problems": [(f"id_{name or 'name'}", text) for name, text in form.errors.items()] if status != 200 else [],
        "manual": _manual(kind.__doc__, whole=True),
        "month": rule_words.last_month(timezone.now()),
        **(previewed or {}),
    }
    return render(request, "pages/settings_rule.html", context, status=status)


def _previewed(
    request: HttpRequest, form: RuleForm, line: Line | None, found: Draft, now: datetime
) -> dict[str, object]:
    """What the preview says: the moves of this rule against the draft without the change."""
    days = rule_words.long_span(now) if request.POST.get("span") == "all" else rule_words.last_month(now)
    rule = form.rule()
    if rule is None:
        return {"is_previewed": True, "cannot": "; ".join(form.errors.values())}
    rule = RuleDraft(rule.kind, rule.name or "New rule", rule.config, rule.valid_from, rule.valid_to, rule.is_active)
    try:
        checked = rule_drafts.checked_rule(rule)
    except BadRule as problem:
        return {"is_previewed": True, "cannot": str(problem)}
    before = found.rules
    after = [checked if line and one.key == line.key else one.rule for one in found.lines]
    after = after if line else [checked, *after]
    moved = rule_preview.moves(drafts=after, days=days, against=before if found.is_stored else None)
    subject = f"{checked.name}" if line else "This rule"
    splits = rulesets.affected_days(before, after)
    return {
        "is_previewed": True,
        "cannot": "",
        "preview_sentence": rule_words.sentence(moved, subject=subject, days=days, splits=splits),
        "preview_table": rule_words.moves_table(moved, days=days),
        "preview_splits": rule_words.splits_words(splits),
        "preview_closed": rule_words.closed_words(periods.closed_until()),
    }


def _data(request: HttpRequest) -> dict[str, str]:
    return {name: str(value) for name, value in request.POST.items() if name != "csrfmiddlewaretoken"}


def _manual(text: str | None, *, whole: bool = False) -> str:
    words = " ".join((text or "").split())
    told = words.split("Example:")[0].strip()
    return told if whole else f"{told.split('. ')[0].rstrip('.')}."
