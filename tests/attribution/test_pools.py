"""Shared money goes where the rule says, by what it is and by what it is weighed by, and the books say how."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from attribution import books, own, queries, rules, verify
from attribution.own import RuleDraft
from attribution.rules.base import BadRule
from ingest.models import BusinessMetric
from tests.attribution import world

pytestmark = pytest.mark.django_db

HOUR = 3_600_000


def _rule(kind, name="Shared", **config):
    own.reattribute(drafts=[RuleDraft(kind, name, config), *own.DEFAULT_RULES], now=world.NOW, by="test")


def _by_team(share=""):
    rows = queries.spend(scope=world.scope(), group_by=["share_kind", "team"])
    return {row.keys[1] if share else row.keys: row.cost for row in rows if not share or row.keys[0] == share}


def _reasons():
    return set(
        world.fetch(
            """SELECT a.attributes->>'reason', d.share_kind FROM attribution_dailycost d
               JOIN ingest_attributeset a ON a.id = d.attribute_set_id WHERE a.attributes ? 'reason'"""
        )
    )


def _metric(name, value, *, days=1, **attributes):
    of = world.source("business_metrics", "figures")
    BusinessMetric.objects.create(
        source=of,
        attribute_set_id=world.attribute_set(of, **attributes),
        name=name,
        period_start=world.at(),
        period_end=world.at() + timedelta(days=days),
        value=Decimal(value),
        unit="tickets",
    )


def _direct(**costs):
    for team, cost in costs.items():
        world.charge(world.source(), cost, attributes={"team": team})


def test_it_splits_support_in_proportion_to_the_direct_cost_of_the_day():
    _rule("proportional", pools=["support"], basis="direct_cost")
    _direct(search="30", growth="10")
    world.charge(world.source(), "50", attributes={"key": "nobody"})
    world.charge(world.source(), "8", cost_kind="support")

    world.settle()

    assert _by_team("shared") == {"search": 6, "growth": 2}
    assert verify.run().failures == ()


def test_it_counts_what_bills_gave_to_usage_and_estimates_as_direct_cost():
    _rule("proportional", pools=["support"], basis="direct_cost")
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=300)
    world.usage(log, attributes={"team": "growth"}, input_uncached=100)
    world.llm_charge(bill, "40", consumed_quantity=Decimal(400))
    world.usage(log, attributes={"team": "labs"}, provider="groq", model="llama", input_uncached=10_000)
    world.charge(bill, "10", cost_kind="support")

    world.settle()

    assert _by_team("shared") == {"search": 6, "growth": 2, "labs": 2}


def test_it_lets_an_owner_whose_credits_outweigh_its_cost_weigh_nothing_and_carries_the_sign_of_the_pool():
    _rule("proportional", pools=["refunds"], basis="direct_cost")
    _direct(search="1", growth="2", labs="5")
    world.charge(world.source(), "-9", attributes={"team": "labs"}, charge_category="Credit")
    world.charge(world.source(), "-1", charge_category="Adjustment")

    world.settle()

    assert _by_team("shared") == {"search": Decimal("-0.333333333333"), "growth": Decimal("-0.666666666667")}
    assert verify.run().failures == ()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"basis": "tokens"}, {"search": 9, "growth": 3}),
        ({"basis": "tokens", "usage": {"model": ["gpt-4o-*"]}}, {"growth": 12}),
        ({"basis": "tokens", "teams": ["growth"]}, {"growth": 12}),
        ({"basis": "requests"}, {"search": 4, "growth": 8}),
        ({"basis": "metric", "metric": "tickets"}, {"growth": 12}),
    ],
)
def test_it_weighs_by_tokens_requests_and_business_metrics(config, expected):
    _rule("proportional", select={"service_name": ["Gateway"]}, **config)
    log = world.source("usage_log", "log")
    world.usage(log, attributes={"team": "search"}, input_uncached=900, requests=1)
    world.usage(log, attributes={"team": "growth"}, model="gpt-4o-mini", input_uncached=300, requests=2)
    _metric("tickets", "7", team="growth")
    _metric("documents", "7", team="search")
    world.charge(world.source(), "12", service_name="Gateway")

    world.settle()

    assert _by_team("shared") == expected
    assert verify.run().failures == ()


def test_it_weighs_by_the_gpu_time_of_teams():
    _rule("proportional", select={"service_name": ["Storage"]}, basis="gpu_time")
    log, dcgm = world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    world.charge(world.source(), "8", starts=world.at(10), hours=1, resource_id="gpu-1")
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 2, deployment="llama")
    own_model = {"provider": "self_hosted", "model": "llama-70b", "deployment": "llama", "hour": world.at(10)}
    world.usage(log, attributes={"team": "search"}, input_uncached=3000, **own_model)
    world.usage(log, attributes={"team": "growth"}, input_uncached=1000, **own_model)
    world.charge(world.source(), "4", service_name="Storage")

    world.settle()

    assert _by_team("shared") == {"search": 3, "growth": 1}


def test_it_shares_evenly_among_all_teams_with_direct_cost_when_none_are_named():
    _rule("even_split", pools=["tax"])
    _direct(search="1", growth="90")
    world.charge(world.source(), "5", charge_category="Tax")

    world.settle()

    assert _by_team("shared") == {"search": Decimal("2.5"), "growth": Decimal("2.5")}


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("proportional", {"basis": "direct_cost"}, "no_direct_cost"),
        ("proportional", {"basis": "tokens"}, "no_tokens"),
        ("proportional", {"basis": "gpu_time"}, "no_gpu_time"),
        ("proportional", {"basis": "metric", "metric": "tickets"}, "no_metric"),
        ("even_split", {}, "no_direct_cost"),
        ("follow", {}, "no_match"),
        ("token_share", {}, "no_usage"),
        ("keep_unallocated", {}, "kept"),
    ],
)
def test_it_keeps_a_pool_whole_and_says_why_where_there_is_nothing_to_weigh_by(kind, config, reason):
    _rule(kind, pools=["tax"], **config)
    world.charge(world.source(), "5", attributes={"team": "search"}, charge_category="Tax")

    world.settle()

    assert _by_team() == {("unallocated", ""): 5}
    assert _reasons() == {(reason, "unallocated")}
    assert verify.run().failures == ()


def test_it_does_not_weigh_one_currency_by_another():
    _rule("proportional", pools=["tax"], basis="direct_cost")
    _direct(search="10")
    world.charge(world.source(), "5", charge_category="Tax", billing_currency="EUR")
    world.charge(world.source(), "3", charge_category="Tax")

    world.settle()

    assert _by_team("shared") == {"search": 3}
    assert _reasons() == {("no_direct_cost", "unallocated")}


@pytest.mark.parametrize(
    ("pool", "columns"),
    [
        ("tax", {"charge_category": "Tax"}),
        ("support", {"cost_kind": "support"}),
        ("credits", {"charge_category": "Credit"}),
        ("refunds", {"charge_category": "Adjustment", "billed_cost": Decimal(-7)}),
        ("unused_commitments", {"commitment_discount_status": "Unused"}),
        ("commitment_fees", {"charge_category": "Purchase", "purchase_option": "savings_plan"}),
        ("marketplace", {"service_provider_name": "Datadog", "invoice_issuer_name": "AWS"}),
        ("unowned", {"service_name": "Anything"}),
    ],
)
def test_it_picks_money_by_what_it_is(pool, columns):
    _rule("fixed_split", pools=[pool], shares={"platform": "1"})
    _direct(search="10")
    world.charge(world.source(), "-5" if pool == "refunds" else "5", **columns)

    world.settle()

    assert _by_team("shared") == {"platform": -5 if pool == "refunds" else 5}
    assert world.fetch("SELECT DISTINCT pool_kind FROM attribution_allocatedcharge") == [(pool,)]


def test_it_takes_charges_without_an_owner_only_when_no_other_rule_does():
    drafts = [
        RuleDraft("even_split", "what is left", {"pools": ["unowned"], "teams": ["platform"]}),
        RuleDraft("fixed_split", "tax", {"pools": ["tax"], "shares": {"finance": "1"}}),
    ]
    own.reattribute(drafts=[*drafts, *own.DEFAULT_RULES], now=world.NOW, by="test")
    _direct(search="10")
    world.charge(world.source(), "5", charge_category="Tax")
    world.charge(world.source(), "3", attributes={"key": "nobody"})

    world.settle()

    assert _by_team() == {("direct", "search"): 10, ("shared", "finance"): 5, ("shared", "platform"): 3}


def test_it_takes_only_what_both_the_pool_and_the_columns_mean():
    _rule("fixed_split", pools=["tax"], select={"service_name": ["VAT*"]}, shares={"platform": "1"})
    world.charge(world.source(), "5", charge_category="Tax", service_name="VAT 19 %")
    world.charge(world.source(), "3", charge_category="Tax")
    world.charge(world.source(), "2", service_name="VAT consulting")

    world.settle()

    assert _by_team("shared") == {"platform": 5}


def test_it_gives_a_credit_to_the_owner_of_what_it_credits_the_narrowest_first():
    _rule("follow", pools=["credits"])
    bill = world.source()
    world.charge(bill, "30", attributes={"team": "search"}, resource_id="vm-1", sub_account_id="acc-1")
    world.charge(bill, "60", attributes={"team": "growth"}, resource_id="vm-2", sub_account_id="acc-1")
    world.charge(bill, "10", attributes={"team": "labs"}, service_name="Amazon S3", sub_account_id="acc-2")
    world.charge(bill, "5", attributes={"key": "nobody"}, resource_id="vm-3", sub_account_id="acc-3")
    for cost, columns in [
        ("-1", {"resource_id": "vm-1", "sub_account_id": "acc-1"}),
        ("-6", {"sub_account_id": "acc-1", "service_name": "Credits"}),
        ("-2", {"sub_account_id": "acc-2", "service_name": "Amazon S3"}),
        ("-4", {"resource_id": "vm-3"}),
        ("-8", {"service_provider_name": "Somebody"}),
    ]:
        world.charge(bill, cost, charge_category="Credit", **columns)

    world.settle()

    assert _by_team("shared") == {"search": -1 - 2, "growth": -4, "labs": -2}
    assert _reasons() == {("unowned", "unallocated"), ("no_match", "unallocated")}
    assert verify.run().failures == ()


def test_it_finds_in_the_month_what_a_credit_of_another_day_is_about():
    _rule("follow", pools=["credits"])
    bill = world.source()
    world.charge(bill, "-6", starts=world.at(day=date(2026, 3, 1)), charge_category="Credit", sub_account_id="acc-1")
    world.settle()
    assert _by_team() == {("unallocated", ""): -6}
    world.charge(
        bill, "30", attributes={"team": "search"}, sub_account_id="acc-1", starts=world.at(day=date(2026, 3, 30))
    )
    world.charge(
        bill, "90", attributes={"team": "other"}, sub_account_id="acc-1", starts=world.at(day=date(2026, 4, 1))
    )

    world.settle()

    assert _by_team("shared") == {"search": -6}
    assert books.due() == []


def test_it_splits_a_monthly_line_by_the_whole_month_and_again_when_the_month_changes():
    _rule("proportional", pools=["support"], basis="direct_cost")
    bill, first = world.source(), date(2026, 3, 1)
    world.charge(bill, "12", starts=world.at(day=first), hours=24 * 31, cost_kind="support")
    world.charge(bill, "3", starts=world.at(day=first), cost_kind="support")
    world.charge(bill, "10", attributes={"team": "search"}, starts=world.at(day=first))
    world.charge(bill, "20", attributes={"team": "growth"}, starts=world.at(day=date(2026, 3, 31)))
    world.settle()
    assert _by_team("shared") == {"search": 4 + 3, "growth": 8}

    world.charge(bill, "90", attributes={"team": "growth"}, starts=world.at(day=date(2026, 3, 2)))
    world.settle(newest_first=True)

    assert _by_team("shared") == {"search": 1 + 3, "growth": 11}
    assert verify.run().failures == ()


def test_it_weighs_anew_when_owners_change():
    _rule("proportional", pools=["tax"], basis="direct_cost")
    world.charge(world.source(), "10", attributes={"key": "k1"})
    world.charge(world.source(), "4", charge_category="Tax")
    world.settle()
    assert _by_team() == {("unallocated", ""): 14}

    owner = RuleDraft("match", "k1", {"when": {"key": ["k1"]}, "set": {"team": "search"}})
    own.reattribute(drafts=[owner, *own.current_rules()], now=world.NOW, by="test")
    assert books.due() == [world.DAY]
    world.settle()

    assert _by_team() == {("direct", "search"): 10, ("shared", "search"): 4}
    assert books.due() == []


def _idle_world():
    log, dcgm = world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    world.charge(world.source(), "8", starts=world.at(10), hours=1, resource_id="gpu-1")
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 2, deployment="llama")
    own_model = {"provider": "self_hosted", "model": "llama-70b", "deployment": "llama", "hour": world.at(10)}
    world.usage(log, attributes={"team": "search"}, input_uncached=1000, **own_model)
    _direct(growth="12")


def test_it_gives_idle_time_to_who_uses_the_deployment():
    _rule("follow", pools=["idle"])
    _idle_world()

    world.settle()

    assert _by_team() == {("direct", "search"): 4, ("idle_workload", "search"): 4, ("direct", "growth"): 12}
    assert verify.run().failures == ()


def test_it_shares_idle_time_by_rule_and_keeps_it_idle_and_both_splits_add_up():
    _rule("proportional", "Idle for all", pools=["idle"], basis="direct_cost")
    _idle_world()

    world.settle()

    assert _by_team("idle_workload") == {"search": 1, "growth": 3}
    assert verify.run().failures == ()
    pools = world.fetch("SELECT pool, pool_kind, method, effective_cost, charges FROM attribution_pool ORDER BY 1")
    assert pools == [
        ("gpu:gpu-1", "node", "gpu_share", 8, 1),
        ("rule:1:Idle for all", "idle", "proportional", 4, 0),
    ]
    parts = world.fetch(
        """SELECT pool, origin, passed_to, share_kind, sum(effective_cost) FROM attribution_allocatedcharge
           GROUP BY 1, 2, 3, 4 ORDER BY 1, 4"""
    )
    assert parts == [
        ("gpu:gpu-1", "", "", "direct", 4),
        ("gpu:gpu-1", "", "rule:1:Idle for all", "idle_workload", 4),
        ("rule:1:Idle for all", "gpu:gpu-1", "", "idle_workload", 4),
    ]
    (line,) = queries.gpu_costs(scope=world.scope())
    assert (line.paid_cost, line.used_cost, line.idle_workload_cost) == (8, 4, 4)
    (node,) = queries.gpu_node_costs(scope=world.scope())
    assert (node.paid_cost, node.used_cost, node.idle_workload_cost) == (8, 4, 4)


def test_it_leaves_idle_time_that_has_an_owner():
    drafts = [
        RuleDraft("even_split", "Idle for all", {"pools": ["idle"]}),
        RuleDraft("gpu_share", "GPU nodes", {"deployment_owners": {"llama": "platform"}}),
        *own.DEFAULT_RULES[:-1],
    ]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")
    _idle_world()

    world.settle()

    assert _by_team("idle_workload") == {"platform": 4}


def test_it_shares_bypass_and_keeps_it_out_of_unit_costs():
    _rule("even_split", pools=["bypass"], teams=["search", "growth"])
    world.usage(world.source("usage_log", "log"), attributes={"team": "search"}, input_uncached=100)
    world.llm_charge(world.source(), "10", consumed_quantity=Decimal(200))

    world.settle()

    assert _by_team() == {
        ("direct", "search"): 5,
        ("shared", "search"): Decimal("2.5"),
        ("shared", "growth"): Decimal("2.5"),
    }
    costs = {row.keys: row.usage_cost for row in queries.unit_costs(scope=world.scope(), group_by=["team"])}
    assert costs[("search",)] == 5
    (line,) = queries.estimated_versus_billed(scope=world.scope())
    assert (line.billed, line.bypass) == (10, 5)
    assert verify.run().failures == ()


def test_it_names_features_and_cost_centres_where_parts_are_for_owners():
    _rule("proportional", pools=["tax"], basis="direct_cost", by="owner")
    for feature, cost in (("answers", "3"), ("ranking", "1")):
        attributes = {"team": "search", "feature": feature, "cost_centre": "4711"}
        world.charge(world.source(), cost, attributes=attributes)
    world.charge(world.source(), "8", charge_category="Tax")

    world.settle()

    rows = queries.spend(scope=world.scope(), group_by=["feature", "cost_centre", "share_kind"])
    shared = {row.keys[:2]: row.cost for row in rows if row.keys[2] == "shared"}
    assert shared == {("answers", "4711"): 6, ("ranking", "4711"): 2}


def test_it_takes_each_charge_once_by_position_and_only_on_the_days_of_a_rule():
    drafts = [
        RuleDraft("fixed_split", "later", {"pools": ["tax"], "shares": {"a": "1"}}, valid_from=date(2026, 3, 11)),
        RuleDraft("fixed_split", "now", {"pools": ["tax"], "shares": {"b": "1"}}),
        RuleDraft("fixed_split", "too late", {"pools": ["tax"], "shares": {"c": "1"}}),
    ]
    own.reattribute(drafts=[*drafts, *own.DEFAULT_RULES], now=world.NOW, by="test")
    world.charge(world.source(), "5", charge_category="Tax")
    world.charge(world.source(), "7", charge_category="Tax", starts=world.at(day=date(2026, 3, 11)))

    world.settle()

    assert _by_team("shared") == {"b": 5, "a": 7}


def test_it_explains_which_rule_of_which_version_split_what():
    _rule("proportional", "Idle for all", pools=["idle"], basis="direct_cost")
    _idle_world()
    world.settle()

    found = queries.explain(scope=world.scope())

    splits = {
        (one.name, one.method, one.pool_kind, one.origin): (one.cost, one.ruleset_version) for one in found.splits
    }
    assert splits == {
        ("Idle for all", "proportional", "idle", "node"): (4, found.ruleset_version),
        ("GPU nodes by telemetry", "gpu_share", "node", ""): (4, found.ruleset_version),
    }
    ben = queries.explain(scope=world.scope(teams=("growth",)))
    assert [(one.name, one.cost) for one in ben.splits] == [("Idle for all", 3)]


def test_it_ties_the_remainder_to_names_and_not_to_the_order_of_arrival():
    _rule("even_split", pools=["tax"])
    _direct(zebra="1", ant="1", bee="1")
    world.charge(world.source(), "1", charge_category="Tax")

    world.settle()

    with connection.cursor() as cursor:
        cursor.execute("SELECT max(effective_cost) FROM attribution_allocatedcharge")
        assert cursor.fetchone() == (Decimal("0.333333333334"),)
    digests = world.fetch(
        """SELECT p.effective_cost, a.digest FROM attribution_allocatedcharge p
           JOIN ingest_attributeset a ON a.id = p.attribute_set_id ORDER BY a.digest"""
    )
    assert digests[0][0] == Decimal("0.333333333334")


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("proportional", {"basis": "mood"}, "unknown basis"),
        ("proportional", {"basis": "metric"}, "name of a metric"),
        ("proportional", {"basis": "tokens", "metric": "x"}, "name of a metric"),
        ("proportional", {"by": "desk"}, "expected by"),
        ("proportional", {"basis": "gpu_time", "usage": {"model": ["x"]}}, "usage limits"),
        ("follow", {"pools": ["mystery"]}, "unknown cost pool"),
        ("follow", {"pools": "tax"}, "expected pools as a list"),
        ("follow", {"pools": ["idle"], "select": {"sku_id": ["x"]}}, "cannot select parts"),
        ("follow", {"pools": ["tax"], "select": {"deployment": ["x"]}}, "cannot select charges"),
        ("even_split", {"teams": [""]}, "expected teams"),
    ],
)
def test_it_refuses_what_it_cannot_split_by(kind, config, message):
    with pytest.raises(BadRule, match=message):
        rules.parse(kind, config)


@pytest.mark.parametrize("kind", rules.KINDS)
def test_it_describes_the_fields_of_every_split(kind):
    rule = rules.KINDS[kind]

    assert not rule.is_split or all(one.label and one.shape for one in rule.fields())
    assert not rule.is_split or rule.fields()
