"""Settings, rules: who owns spend by which rule, in which order, and a draft of what should be other."""

from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from attribution import key_claims, periods, queries, rule_drafts, rulesets, teams
from attribution.key_claims import Claim
from attribution.queries import RuleSpend
from attribution.rule_drafts import Draft, Line
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.scope import SpendScope
from costobs.web import rule_words
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table
from costobs.web.rule_list import Entry, Rest
from costobs.web.settings_access import looking, managing
from ingest import queries as ingest_queries


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    """The ordered list with what each rule owns, the draft, the teams, and headers that speak for others."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    found = rule_drafts.draft(person=viewer.name, now=now)
    if request.headers.get("HX-Request"):
        return _list(request, found, now, may_manage=viewer.may_manage)
    scope = _scope(now)
    spend = queries.rule_spend(scope=scope)
    claims = key_claims.find(scope=scope)
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(len(queries.rules_in_force()), spend, now),
        "sub": f"Version {found.current}, as of {fmt.moment(now)}. {rule_words.closed_words(periods.closed_until())}",
        "actions": _actions(may_manage=viewer.may_manage, has_draft=bool(found.changes)),
        "teams": teams.listing(),
        "claims": _claims(claims),
        "claims_title": _claims_title(claims),
        "open_days": len(ingest_queries.open_days()),
        **list_context(found, now, spend, may_manage=viewer.may_manage),
    }
    return render(request, "pages/settings_rules.html", context)


@require_POST
@managing
def change(request: HttpRequest) -> HttpResponse:
    """One act on the draft: `up p3`, `down p3`, `disable p3`, `enable p3`, `copy p3`, `delete p3`, or a whole `order`."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    verb, _space, key = request.POST.get("act", "order").partition(" ")
    try:
        _act(verb, key, request.POST.getlist("order"), viewer.name, now)
    except rule_drafts.Refused as problem:
        messages.error(request, str(problem))
    if request.headers.get("HX-Request"):
        return _list(request, rule_drafts.draft(person=viewer.name, now=now), now, may_manage=True)
    return redirect(f"{reverse('settings_rules')}#rules")


@require_POST
@managing
def describe_team(request: HttpRequest) -> HttpResponse:
    """Title, cost centre, e-mail and Slack channel of one team."""
    line = teams.TeamLine(
        *(request.POST.get(name, "") for name in ("name", "title", "cost_centre", "email", "slack_channel"))
    )
    try:
        changed = teams.describe(line=line, by=scopes.viewer(request.user).name, now=timezone.now())
    except teams.BadTeam as problem:
        messages.error(request, f"{line.name}: {problem}. Nothing was saved.")
    else:
        words = (
            "It counts for open months; closed ones keep what they were closed with."
            if changed
            else "Nothing was other."
        )
        messages.success(request, f"{line.title.strip() or line.name} is saved. {words}")
    return redirect(f"{reverse('settings_rules')}#teams")


def list_context(found: Draft, now: datetime, spend: RuleSpend, *, may_manage: bool) -> dict[str, object]:
    """What the list of rules and the draft beside it show."""
    month = fmt.month(rule_words.last_month(now).start)
    behind = rulesets.behind(found)
    return {
        "entries": [_entry(at, line, found, spend) for at, line in enumerate(found.lines)],
        "rest": _rest(spend),
        "month": month,
        "currency": spend.currency,
        "may_manage": may_manage,
        "draft": found,
        "draft_changes": rule_words.changes_table(found.changes, caption="Changes in your draft"),
        "behind": behind,
        "behind_changes": rule_words.changes_table(behind.changes, caption="Published since") if behind else None,
    }


def _list(request: HttpRequest, found: Draft, now: datetime, *, may_manage: bool) -> HttpResponse:
    spend = queries.rule_spend(scope=_scope(now))
    return render(request, "_rule_list.html", list_context(found, now, spend, may_manage=may_manage))


def _act(verb: str, key: str, order: list[str], person: str, now: datetime) -> None:
    if verb == "order":
        rule_drafts.reorder(person=person, keys=order, now=now)
    elif verb in ("up", "down"):
        rule_drafts.step(person=person, key=key, by=-1 if verb == "up" else 1, now=now)
    elif verb in ("enable", "disable"):
        rule_drafts.switch(person=person, key=key, is_active=verb == "enable", now=now)
    elif verb == "copy":
        rule_drafts.copy(person=person, key=key, now=now)
    elif verb == "delete":
        rule_drafts.delete(person=person, key=key, now=now)
    else:
        raise rule_drafts.Refused(f"expected up, down, enable, disable, copy, delete or order, found {verb!r}"[:200])


def _scope(now: datetime) -> SpendScope:
    return SpendScope(rule_words.last_month(now), (), "effective", settings.COSTOBS_CURRENCY, None)


def _heading(active: int, spend: RuleSpend, now: datetime) -> str:
    month = fmt.month(rule_words.last_month(now).start)
    words = f"{active} rule{'s' if active != 1 else ''}"
    whole = spend.whole
    if not whole:
        return f"{words}; nothing in the books of {month} to own"
    return f"{words} own {fmt.percent((whole - spend.nobody) / whole)} of {month}; {_money(spend.nobody, spend)} has no owner"


def _actions(*, may_manage: bool, has_draft: bool) -> list[Link]:
    history = Link("History", reverse("settings_rule_history"), icon="history")
    if not may_manage:
        return [history]
    imported = Link("Import owners", reverse("settings_rules_import"), icon="upload")
    return [history, imported, Link("Add a rule", reverse("settings_rule_new"), icon="plus", primary=not has_draft)]


def _entry(at: int, line: Line, found: Draft, spend: RuleSpend) -> Entry:
    rule, place = line.rule, (line.rule.kind, line.rule.name)
    owned, split = spend.owned.get(place), spend.split.get(place)
    return Entry(
        key=line.key,
        number=at + 1,
        name=rule.name,
        kind=line.kind_title,
        summary=line.summary,
        days=" ".join(
            part
            for part in (
                f"from {fmt.day(rule.valid_from)}" if rule.valid_from else "",
                f"to {fmt.day(rule.valid_to - timedelta(days=1))}" if rule.valid_to else "",
            )
            if part
        )
        or "always",
        owned=_money(owned or Decimal(0), spend) if rule.is_active or owned else "–",
        split=f"splits {_money(split, spend)}" if split else "",
        is_active=rule.is_active,
        is_first=at == 0,
        is_last=at == len(found.lines) - 1,
        is_other=any(change.name == rule.name for change in found.changes),
        url=reverse("settings_rule", args=[line.key]),
    )


def _rest(spend: RuleSpend) -> list[Rest]:
    found = [Rest("Unallocated", "no rule gave it to a team", _money(spend.nobody, spend))]
    if spend.rest:
        found.insert(
            0, Rest("Split by rules that are gone", "until their days are split anew", _money(spend.rest, spend))
        )
    return found


def _money(amount: Decimal, spend: RuleSpend) -> str:
    return fmt.money(amount, spend.currency, mode="statement")


def _claims_title(claims: list[Claim]) -> str:
    counted = [one for one in claims if one.counts]
    if not claims:
        return "No header speaks for a team of another key"
    return f"{len(claims)} key{'s' if len(claims) > 1 else ''} speak for another's team, {len(counted)} of them with effect"


def _claims(claims: list[Claim]) -> Table:
    rows = [
        Row(
            [
                Cell(one.key, _explore("key", one.key), mono=True),
                Cell(one.key_owner or "nobody"),
                Cell(one.team),
                Cell("counts" if one.counts else "does not count"),
                Cell(fmt.money(one.cost, settings.COSTOBS_CURRENCY, mode="statement"), title=f"{one.cost:f}"),
            ]
        )
        for one in claims[:100]
    ]
    columns = [
        Column("Key"),
        Column("Owner of the key"),
        Column("Team named by the call"),
        Column("The name"),
        Column("Effective cost", numeric=True),
    ]
    empty = Notice("empty", "Nothing to look into", "Every team that a call names is one its key may speak for.")
    note = f"The largest 100 of {len(claims)}." if len(claims) > 100 else ""
    return Table("Headers that speak for a team of another key", columns, rows, None, empty, note=note)


def _explore(dimension: str, value: str) -> str:
    return f"{reverse('explore')}?{urlencode({'group': 'team', 'f': f'{dimension}:{value}'})}"
