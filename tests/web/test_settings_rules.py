"""Settings, rules: the list, a draft with its preview, publishing, history, import and teams."""

import re
from datetime import date
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from attribution import own, queries, rule_drafts, rulesets
from attribution.models import RulesetDraft, RulesetVersion, Team
from attribution.owning import RuleDraft
from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from tests.web import reading
from tests.web.conftest import NOW, Ledger, signed_in

pytestmark = pytest.mark.django_db

LIST, OCTOBER = "/settings/rules/", SpendScope(Days(date(2026, 10, 1), date(2026, 11, 1)), teams=None)
MINI = {
    "name": "Small model to growth",
    "is_active": "on",
    "when-0-attribute": "model",
    "when-0-op": "is",
    "when-0-values": "gpt-4o-mini",
    "set-team": "growth",
}


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    """An administrator."""
    return signed_in("dana@example.com", "admin")


def _words(client: Client, path: str, status: int = 200) -> str:
    return reading.words(reading.shown(client, path, status))


def _posted(client: Client, path: str, data: dict[str, Any], status: int = 302) -> str:
    answer = client.post(path, data)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return reading.words(answer)


def _teams() -> dict[str, Any]:
    return {row.keys[0]: row.cost for row in queries.spend(scope=OCTOBER, group_by=["team"])}


def test_it_lists_the_rules_with_what_each_owns_and_the_rest_last(ledger: Ledger, dana: Client) -> None:
    found = _words(dana, LIST)

    assert "8 rules own" in found
    assert "everything → the team it names" in found
    assert "Unallocated" in found.split("GPU nodes by telemetry")[1]
    assert "of Oct 2026" in found


def test_it_keeps_a_new_rule_in_the_draft_and_moves_spend_only_when_it_is_published(
    ledger: Ledger, dana: Client
) -> None:
    before = _teams()

    _posted(dana, f"{LIST}new/match/", {**MINI, "act": "save"})
    assert _teams() == before
    listed = _words(dana, LIST)
    assert "Your draft: 1 change, not in force" in listed
    assert "model is gpt-4o-mini → team growth" in listed
    review = _words(dana, f"{LIST}publish/")
    assert "Your draft would move" in review and "from unallocated to growth" in review
    assert "Nothing was published" in _posted(dana, f"{LIST}publish/", {"note": " "}, 409)
    _posted(dana, f"{LIST}publish/", {"note": "mini belongs to growth"})

    after = _teams()
    assert after["growth"] == before[""] - after.get("", 0) > 0
    assert sum(after.values()) == sum(before.values())
    entry = AuditEntry.objects.get(act="ruleset.published")
    assert (entry.actor, entry.reason) == ("dana@example.com", "mini belongs to growth")
    assert "Small model to growth added" in entry.after["changes"][0]
    assert not RulesetDraft.objects.exists()


def test_it_previews_a_rule_while_it_is_typed_and_keeps_nothing(ledger: Ledger, dana: Client) -> None:
    answer = dana.post(f"{LIST}preview/match/", MINI, headers={"HX-Request": "true"})

    found = reading.words(answer)
    assert "This rule would move" in found and "of Oct 2026 from unallocated to growth" in found
    assert "No month is closed yet" in found
    assert not RulesetDraft.objects.exists()
    unready = dana.post(f"{LIST}preview/match/", {"name": "x"}, headers={"HX-Request": "true"})
    assert "Not a rule yet: expected set or lookup" in reading.words(unready)


def test_it_tells_what_is_wrong_beside_the_field_and_keeps_what_was_typed(ledger: Ledger, dana: Client) -> None:
    wrong = {**MINI, "act": "save", "when-0-values": "", "first": "yesterday"}

    found = dana.post(f"{LIST}new/match/", wrong)

    assert found.status_code == 400
    words = reading.words(found)
    assert "model is one of: no value is given" in words
    assert "expected a day as YYYY-MM-DD, found 'yesterday'" in words
    assert 'value="gpt-4o-mini"' not in found.content.decode() and 'value="growth"' in found.content.decode()


@pytest.mark.parametrize("kind", ["match", "key_scope", "fixed_split", "even_split", "token_share", "gpu_share"])
def test_it_has_a_form_for_every_kind(ledger: Ledger, dana: Client, kind: str) -> None:
    assert "Keep in draft" in _words(dana, f"{LIST}new/{kind}/")
    assert kind in _words(dana, f"{LIST}new/")


def test_it_shows_the_same_rule_as_json_and_as_fields(ledger: Ledger, dana: Client) -> None:
    raw = _posted(dana, f"{LIST}new/match/", {**MINI, "act": "raw"}, 200)
    assert '"gpt-4o-mini"' in raw

    config = '{"when": {"model": ["gpt-*"]}, "set": {"team": "growth"}}'
    page = dana.post(f"{LIST}new/match/", {**MINI, "mode": "raw", "raw": config, "act": "fields"})

    assert 'value="starts" selected' in page.content.decode()
    assert "expected JSON" in _posted(
        dana, f"{LIST}new/match/", {**MINI, "mode": "raw", "raw": "{", "act": "save"}, 400
    )


def test_it_moves_copies_disables_and_deletes_rules_in_the_draft(ledger: Ledger, dana: Client) -> None:
    for act in ("down p1", "disable p3", "copy p2", "delete p8"):
        _posted(dana, f"{LIST}change/", {"act": act})

    lines = rule_drafts.draft(person="dana@example.com", now=NOW).lines
    assert [line.key for line in lines] == ["p2", "n1", "p1", "p3", "p4", "p5", "p6", "p7"]
    assert [line.rule.is_active for line in lines][3] is False
    assert lines[1].rule.name == "Owner of the key (copy)"
    assert "Disabled" in _words(dana, LIST)
    assert own.current_rules() == list(own.DEFAULT_RULES)


def test_it_takes_a_whole_order_and_answers_htmx_with_the_list(ledger: Ledger, dana: Client) -> None:
    order = ["p8", *(f"p{number}" for number in range(1, 8))]

    answer = dana.post(f"{LIST}change/", {"order": order}, headers={"HX-Request": "true"})

    assert answer.status_code == 200 and b"<html" not in answer.content
    assert [line.key for line in rule_drafts.draft(person="dana@example.com", now=NOW).lines] == order


def test_it_refuses_a_draft_that_is_behind_and_takes_the_newer_version_over(ledger: Ledger, dana: Client) -> None:
    _posted(dana, f"{LIST}new/match/", {**MINI, "act": "save"})
    other = [RuleDraft("match", "Eve's", {"set": {"team": "eve"}, "when": {"key": ["e"]}}), *own.current_rules()]
    rulesets.apply(drafts=other, by="eve@example.com", note="a key", now=NOW)

    refused = _posted(dana, f"{LIST}publish/", {"note": "mine"}, 409)
    assert "eve@example.com has published version" in refused and "Eve's added" in refused
    _posted(dana, f"{LIST}rebase/", {})
    _posted(dana, f"{LIST}publish/", {"note": "mine"})

    assert [rule.name for rule in own.current_rules()][:2] == ["Eve's", "Small model to growth"]


def test_it_tells_history_and_restores_a_version_as_a_new_one(ledger: Ledger, dana: Client) -> None:
    first = RulesetVersion.objects.get()
    before = _teams()
    _posted(dana, f"{LIST}new/match/", {**MINI, "act": "save"})
    _posted(dana, f"{LIST}publish/", {"note": "mini belongs to growth"})

    assert "mini belongs to growth" in _words(dana, f"{LIST}history/")
    assert "Put these rules in force again" in _words(dana, f"{LIST}history/{first.pk}/")
    _posted(dana, f"{LIST}history/{first.pk}/restore/", {"note": "a mistake"})

    assert _teams() == before
    assert RulesetVersion.objects.count() == 3
    assert f"version {first.pk} restored: a mistake" in _words(dana, f"{LIST}history/")
    assert "There is no such version" in _words(dana, f"{LIST}history/987654/", 404)


def test_it_works_out_a_split_without_keeping_it(ledger: Ledger, dana: Client) -> None:
    split = {"name": "Node to all", "is_active": "on", "select-0-attribute": "resource_id", "select-0-op": "is"}
    split |= {"select-0-values": "gpu-node-1", "teams": "search\nsupport", "act": "save"}
    _posted(dana, f"{LIST}new/even_split/", split)
    before, versions = _teams(), RulesetVersion.objects.count()

    found = _posted(dana, f"{LIST}publish/splits/", {}, 200)

    assert "Worked out for all" in found and "Nothing was kept" in found
    assert "search" in found.split("Teams after the new splits")[1]
    assert (_teams(), RulesetVersion.objects.count()) == (before, versions)
    assert "A split changes: open days" in _words(dana, f"{LIST}publish/")


def test_it_imports_owners_into_the_draft_after_showing_them(ledger: Ledger, dana: Client) -> None:
    typed = "key;team;cost centre\nsk-1;search;4711\nsk-*;growth;\n"

    shown = _posted(dana, f"{LIST}import/", {"pasted": typed}, 200)
    assert "1 new, 0 changed, 0 the same; 1 row cannot be used" in shown and "wildcard" in shown
    assert not RulesetDraft.objects.exists()
    _posted(dana, f"{LIST}import/", {"pasted": typed, "act": "keep"})

    assert "owner by key, 1 listed" in _words(dana, LIST)
    assert "Expected a first line" in _posted(dana, f"{LIST}import/", {"pasted": "a,b\n1,2"}, 400)


def test_it_describes_a_team_and_says_what_is_wrong(ledger: Ledger, dana: Client) -> None:
    team = {"name": "search", "title": "Search & answers", "cost_centre": "4711", "email": "s@example.com"}

    _posted(dana, f"{LIST}teams/", {**team, "slack_channel": "#search"})
    assert Team.objects.get(name="search").cost_centre == "4711"
    assert AuditEntry.objects.get(act="team.described").after["title"] == "Search & answers"
    _posted(dana, f"{LIST}teams/", {**team, "email": "nobody"})

    assert "expected an address" in _words(dana, LIST)
    assert Team.objects.get(name="search").email == "s@example.com"


PATHS = ("", "history/", "new/", "new/match/", "publish/", "import/")


@pytest.mark.parametrize("path", PATHS)
def test_it_is_for_those_who_see_everything(ledger: Ledger, ben: Client, cleo: Client, path: str) -> None:
    _words(ben, f"{LIST}{path}", 403)
    _words(cleo, f"{LIST}{path}", 403)


def test_it_lets_finance_look_and_change_nothing(ledger: Ledger, ada: Client) -> None:
    found = _words(ada, LIST)
    assert "everything → the team it names" in found and "Delete" not in found
    _words(ada, f"{LIST}history/")

    for path in ("change/", "publish/", "discard/", "rebase/", "import/", "teams/", "publish/splits/", "new/match/"):
        _posted(ada, f"{LIST}{path}", {"act": "delete p1"}, 403)
    assert not RulesetDraft.objects.exists()


def test_it_acts_only_by_post(ledger: Ledger, dana: Client) -> None:
    acts = (
        "settings_rules_change",
        "settings_rules_discard",
        "settings_rules_rebase",
        "settings_rules_split",
        "settings_team_describe",
    )
    addresses = [
        *map(reverse, acts),
        reverse("settings_rule_restore", args=[1]),
        reverse("settings_rule_preview", args=["match"]),
    ]

    assert [dana.get(address).status_code for address in addresses] == [405] * 7


def test_it_discards_a_draft(ledger: Ledger, dana: Client) -> None:
    _posted(dana, f"{LIST}change/", {"act": "down p1"})

    _posted(dana, f"{LIST}discard/", {})

    assert not RulesetDraft.objects.exists()
    assert "Your draft is discarded" in _words(dana, LIST)


def test_it_says_that_a_rule_is_not_there(ledger: Ledger, dana: Client) -> None:
    assert "There is no such rule" in _words(dana, f"{LIST}n99/", 404)
    assert "no such kind of rule" in _words(dana, f"{LIST}new/nonsense/", 404)
    _posted(dana, f"{LIST}change/", {"act": "delete n99"})
    _posted(dana, f"{LIST}change/", {"act": "explode p1"})
    found = _words(dana, LIST)
    assert "not in your draft any more" in found and "found 'explode'" in found


def test_it_edits_a_rule_and_leaves_alone_what_its_form_does_not_show(ledger: Ledger, dana: Client) -> None:
    page = dana.get(f"{LIST}p3/").content.decode()
    assert 'value="Owner of the project"' in page and "checked" in page.split("lookup-known")[1][:20]
    typed = {
        "name": "Projects",
        "is_active": "on",
        "lookup-attribute": "project",
        "first": "2026-10-05",
        "last": "2026-10-31",
    }

    _posted(dana, f"{LIST}p3/", {**typed, "lookup-table": "project\tteam\tfeature\np1\tsearch\tchat\np2\tgrowth"})

    line = rule_drafts.draft(person="dana@example.com", now=NOW).line("p3")
    assert line.rule.config == {
        "lookup": {"attribute": "project", "table": {"p1": {"team": "search", "feature": "chat"}, "p2": "growth"}}
    }
    assert (line.rule.valid_from, line.rule.valid_to) == (date(2026, 10, 5), date(2026, 11, 1))
    assert "from 5 Oct 2026 to 31 Oct 2026" in _words(dana, LIST)


def test_it_offers_the_cost_pools_as_boxes_and_says_that_a_split_is_worked_out_later(
    ledger: Ledger, dana: Client
) -> None:
    typed = {"name": "Tax, equally", "pools-tax": "on", "is_active": "on"}

    preview = dana.post(f"{LIST}preview/even_split/", typed, headers={"HX-Request": "true"})
    _posted(dana, f"{LIST}new/even_split/", {**typed, "act": "save"})

    assert "would move no owner in Oct 2026; what its split gives to whom is worked out" in reading.words(preview)
    (made, *_others) = RulesetDraft.objects.get().rules
    form = dana.get(f"{LIST}{made['key']}/").content.decode()
    assert re.search(r'name="pools-tax" checked', form) and not re.search(r'name="pools-idle" checked', form)
