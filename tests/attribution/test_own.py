"""Who owns what: precedence, models, dates, splits by rule, and what a change would move."""

from datetime import date
from decimal import Decimal

import pytest

from attribution import own, queries, rule_preview, rules, verify
from attribution.models import Ownership, Team
from attribution.own import RuleDraft
from attribution.rules.base import BadRule
from costobs.kernel.period import Days
from tests.attribution import world

pytestmark = pytest.mark.django_db


def _owner(**attributes):
    set_id = world.attribute_set(world.source(), **attributes)
    own.run(now=world.NOW)
    return Ownership.objects.get(attribute_set_id=set_id, model="")


def _teams():
    return {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(), group_by=["team"])}


def test_it_prefers_the_named_team_then_key_then_project_then_account_then_tag_then_namespace():
    Team.objects.create(name="search", title="Search")
    drafts = [
        own.DEFAULT_RULES[0],
        RuleDraft("match", "key", {"lookup": {"attribute": "key", "table": {"k1": "by-key"}}}),
        RuleDraft("key_scope", "who may speak", {"keys": {"k1": ["named"]}}),
        *own.DEFAULT_RULES[2:],
    ]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")
    attributes = {"tags": '{"Team": "by-tag"}', "namespace": "search"}

    assert _owner(team="named", key="k1", **attributes).team == "named"
    assert _owner(key="k1", project="search", **attributes).team == "by-key"
    assert _owner(key="k2", project="search", tags='{"team": "by-tag"}').team == "search"
    assert _owner(account="search").team == "search"
    assert _owner(**attributes).team == "by-tag"
    assert _owner(namespace="search").team == "search"
    assert _owner(namespace="kube-system").team == ""


def test_it_lets_feature_cost_centre_and_environment_flow_through_by_themselves():
    owner = _owner(team="search", feature="answers", tags='{"env": "prod", "CostCenter": "4711"}')

    assert (owner.team, owner.feature, owner.environment, owner.cost_centre) == ("search", "answers", "prod", "4711")
    assert owner.rule.name == "Team named on the call or the resource"


def test_it_falls_back_to_the_cost_centre_of_the_team():
    Team.objects.create(name="search", title="Search", cost_centre="100")
    world.charge(world.source(), "5", attributes={"team": "search"})
    world.charge(world.source(), "7", attributes={"team": "search", "cost_centre": "200"})

    world.settle()

    rows = queries.spend(scope=world.scope(), group_by=["cost_centre"])
    assert {row.keys[0]: row.cost for row in rows} == {"100": 5, "200": 7}


def test_it_lets_a_rule_that_names_a_model_go_before_the_owner_of_the_set():
    drafts = [
        RuleDraft("match", "opus", {"when": {"model": ["claude-opus*"]}, "set": {"team": "research"}}),
        *own.DEFAULT_RULES,
    ]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")
    log = world.source("usage_log", "log")
    for model in ("claude-opus-4", "claude-haiku-4"):
        world.usage(log, attributes={"team": "search"}, provider="anthropic", model=model, input_uncached=1000)

    world.settle()

    assert _teams() == {"research": 1, "search": 1}


def test_it_changes_owners_on_the_day_a_rule_begins():
    drafts = [
        RuleDraft(
            "match", "new owner", {"when": {"key": ["k1"]}, "set": {"team": "new"}}, valid_from=date(2026, 3, 11)
        ),
        RuleDraft("match", "old owner", {"when": {"key": ["k*"]}, "set": {"team": "old"}}),
    ]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")
    for day in (10, 11, 12):
        world.charge(world.source(), "1", attributes={"key": "k1"}, starts=world.at(day=date(2026, 3, day)))

    world.settle()

    assert _teams() == {"old": 1, "new": 2}


def test_it_moves_history_to_new_owners_without_touching_the_books():
    world.charge(world.source(), "5", attributes={"key": "k1"})
    world.settle()
    rows = world.fetch("SELECT id FROM attribution_dailycost")
    drafts = [RuleDraft("match", "k1", {"when": {"key": ["k1"]}, "set": {"team": "search"}}), *own.DEFAULT_RULES]

    moved = rule_preview.moves(drafts=drafts, days=Days(world.DAY, date(2026, 3, 11)))
    before = _teams()
    own.reattribute(drafts=drafts, now=world.NOW, by="test")

    assert before == {"": 5}
    assert [(one.from_team, one.to_team, one.effective_cost) for one in moved] == [("", "search", 5)]
    assert _teams() == {"search": 5}
    assert world.fetch("SELECT id FROM attribution_dailycost") == rows
    assert own.current_rules()[0].name == "k1"


def test_it_writes_each_ownership_once_and_only_for_new_sets():
    world.attribute_set(world.source(), team="search")

    assert own.run(now=world.NOW) == 1
    assert own.run(now=world.NOW) == 0


def test_it_makes_a_team_of_each_name_seen():
    _owner(team="data-platform")

    assert Team.objects.get(name="data-platform").title == "Data platform"


def test_it_splits_selected_charges_by_fixed_and_by_equal_shares():
    drafts = [
        RuleDraft(
            "fixed_split", "support", {"select": {"service_name": ["*Support*"]}, "shares": {"a": "70", "b": "30"}}
        ),
        RuleDraft("even_split", "network", {"select": {"service_category": ["Networking"]}, "teams": ["a", "b", "c"]}),
        *own.DEFAULT_RULES,
    ]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")
    world.charge(world.source(), "10", service_name="AWS Support (Business)")
    world.charge(world.source(), "1", service_category="Networking")
    world.charge(world.source(), "4", attributes={"team": "a"})

    world.settle()

    assert _teams() == {
        "a": Decimal("11.333333333334"),
        "b": Decimal("3.333333333333"),
        "c": Decimal("0.333333333333"),
    }
    total = queries.total(scope=world.scope())
    assert (total.shared_cost, total.direct_cost) == (11, 4)
    assert verify.run().failures == ()


def test_it_splits_by_tokens_used_and_leaves_a_day_without_usage_unallocated():
    rule = {"select": {"resource_name": ["gateway-?"]}, "usage": {"model": ["gpt-*"]}}
    own.reattribute(drafts=[RuleDraft("token_share", "gateway", rule), *own.DEFAULT_RULES], now=world.NOW, by="test")
    log = world.source("usage_log", "log")
    free = world.price(per_token="0")
    world.usage(log, attributes={"team": "a"}, input_uncached=300, unit_price=free)
    world.usage(log, attributes={"team": "b"}, output=100, unit_price=free)
    world.charge(world.source(), "8", resource_name="gateway-1")
    world.charge(world.source(), "5", resource_name="gateway-1", starts=world.at(day=date(2026, 3, 11)))

    world.settle()

    rows = queries.spend(scope=world.scope(), group_by=["team", "share_kind"])
    spent = {row.keys: row.cost for row in rows if row.cost}
    assert spent == {("a", "shared"): 6, ("b", "shared"): 2, ("", "unallocated"): 5}


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("nonsense", {}, "unknown kind"),
        ("match", {}, "expected set or lookup"),
        ("match", {"set": {"squad": "x"}}, "cannot set 'squad'"),
        ("match", {"when": {"key": "k"}, "set": {"team": "x"}}, "list of texts"),
        ("fixed_split", {"shares": {"a": "-1"}}, "non-negative"),
        ("fixed_split", {"shares": {"a": "NaN"}}, "finite"),
        ("even_split", {"teams": "a"}, "list of names"),
        ("token_share", {"usage": {"colour": ["red"]}}, "cannot select usage"),
        ("gpu_share", {"weights": {"heat": 1}}, "unknown weight"),
    ],
)
def test_it_refuses_a_rule_it_cannot_use_with_what_was_expected(kind, config, message):
    with pytest.raises(BadRule, match=message):
        rules.parse(kind, config)


def test_it_cannot_be_made_to_select_by_a_column_that_is_sql():
    with pytest.raises(BadRule, match="cannot select charges"):
        rules.parse("even_split", {"select": {"attr.x' OR 1=1 --": ["*"]}, "teams": ["a"]})
