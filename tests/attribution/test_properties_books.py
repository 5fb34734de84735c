"""Whatever is delivered, in whatever order and however often, and whatever the rules: the books hold it all, once.

Each case is a small company of a few days: bills of several sources in two currencies with credits, refunds, corrections, taxes
and commitments; usage; GPUs with MIG slices; fine-tunes; business figures; and rules of every kind in any order. Hypothesis
prints the case that fails, shrunk, and the seed that made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution import books, own, verify
from attribution.own import RuleDraft
from attribution.rules.pools import POOLS
from costobs.kernel import money
from ingest.models import BusinessMetric, Delivery
from tests.attribution import test_conservation as small
from tests.attribution import world

pytestmark = pytest.mark.django_db

COSTS = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")
TEAMS = ("a", "b", "c")
_settings = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

_columns = st.sampled_from(
    [
        {},
        {"resource_id": "vm-1", "sub_account_id": "acc-1"},
        {"resource_id": "vm-1", "sub_account_id": "acc-1", "charge_category": "Credit"},
        {"sub_account_id": "acc-1", "charge_category": "Credit", "cost_kind": "credit"},
        {"charge_category": "Adjustment"},
        {"service_name": "Amazon EC2", "charge_class": "Correction"},
        {"charge_category": "Tax", "cost_kind": "tax"},
        {"cost_kind": "support", "charge_category": "Purchase"},
        {"commitment_discount_id": "sp-1", "commitment_discount_status": "Unused", "purchase_option": "savings_plan"},
        {"commitment_discount_id": "sp-1", "charge_category": "Purchase", "purchase_option": "savings_plan"},
        {"service_provider_name": "Datadog", "invoice_issuer_name": "AWS"},
        {"resource_id": "gpu-1"},
        {"resource_id": "gpu-2", "charge_category": "Credit"},
        {"resource_id": "gpu-2", "charge_class": "Correction"},
        {"resource_id": "ft-1", "service_provider_name": "OpenAI"},
    ]
)
_attributes = st.sampled_from(
    [{"team": "a"}, {"team": "b", "feature": "f"}, {"team": "c", "cost_centre": "9"}, {"key": "k"}]
)
_start = st.tuples(st.integers(0, 2), st.integers(0, 23))
_charge = st.fixed_dictionaries(
    {
        "bill": st.sampled_from(["one", "two"]),
        "costs": small._costs,
        "start": _start,
        "hours": st.sampled_from([1, 24, 24 * 30]),
        "attributes": _attributes,
        "columns": st.builds(
            lambda columns, currency: {**columns, "billing_currency": currency},
            _columns,
            st.sampled_from(["USD", "USD", "EUR"]),
        ),
    }
)
_metric = st.fixed_dictionaries(
    {
        "start": _start,
        "days": st.sampled_from([1, 7]),
        "team": st.sampled_from(TEAMS),
        "value": st.integers(-3, 1000),
    }
)
_select = st.sampled_from(
    [{}, {}, {"service_name": ["Amazon*"]}, {"charge_category": ["Tax", "Usage"]}, {"model": ["gpt-4o*"]}]
)
_pools = st.lists(st.sampled_from(sorted(POOLS)), max_size=3, unique=True)
_teams = st.lists(st.sampled_from(TEAMS), max_size=2, unique=True)
_weights = st.dictionaries(st.sampled_from(TEAMS), st.sampled_from(["1", "0.3", "7"]), min_size=1)


def _config(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"select": _select, "pools": _pools, **fields})


_kinds = st.one_of(
    st.tuples(st.just("fixed_split"), _config(shares=_weights)),
    st.tuples(st.just("even_split"), _config(teams=_teams)),
    st.tuples(st.just("token_share"), _config()),
    st.tuples(st.just("follow"), _config()),
    st.tuples(st.just("keep_unallocated"), _config()),
    st.tuples(
        st.just("proportional"),
        _config(
            basis=st.sampled_from(["direct_cost", "direct_cost", "tokens", "requests", "gpu_time"]),
            teams=_teams,
            by=st.sampled_from(["team", "owner"]),
        ),
    ),
    st.tuples(st.just("proportional"), _config(basis=st.just("metric"), metric=st.just("tickets"))),
    st.tuples(
        st.just("gpu_share"),
        st.sampled_from([{}, {"deployment_owners": {"llama": "a"}}, {"nodes": {"vm-1": "gpu-1"}}]),
    ),
    st.tuples(st.just("match"), st.just({"when": {"key": ["k"]}, "set": {"team": "b"}})),
)
_days = st.sampled_from([(None, None), (None, None), (world.DAY + timedelta(days=1), None), (None, world.DAY)])


@dataclass(frozen=True)
class Company:
    """One case: what is delivered, and the rules."""

    charges: Sequence[dict[str, Any]]
    usages: Sequence[dict[str, Any]]
    gpus: Sequence[dict[str, Any]]
    runs: Sequence[dict[str, Any]]
    metrics: Sequence[dict[str, Any]]
    rules: Sequence[RuleDraft]


@st.composite
def _companies(draw: st.DrawFn) -> Company:
    drafts = [
        RuleDraft(kind, f"rule {number}", config, *days)
        for number, ((kind, config), days) in enumerate(draw(st.lists(st.tuples(_kinds, _days), max_size=5)))
    ]
    return Company(
        charges=draw(st.lists(st.one_of(_charge, _charge, small._llm), min_size=1, max_size=12)),
        usages=draw(st.lists(small._usage, max_size=6, unique_by=_one_row)),
        gpus=draw(
            st.lists(
                small._gpu,
                max_size=6,
                unique_by=lambda one: (one["start"], one["gpu"], one["slice"], one["deployment"]),
            )
        ),
        runs=draw(st.lists(small._run, max_size=2)),
        metrics=draw(st.lists(_metric, max_size=3, unique_by=lambda one: (one["start"], one["days"], one["team"]))),
        rules=draw(st.permutations([*drafts, own.DEFAULT_RULES[-1]])) + list(own.DEFAULT_RULES[:-1]),
    )


def _one_row(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["log"], one["model"], one["start"], str(one["attributes"]), one["own"]


@settings(_settings, max_examples=80)
@given(company=_companies())
def test_it_holds_every_amount_once_by_any_rules_and_says_the_same_when_made_again(company):
    with transaction.atomic():
        _begin(company)
        _put(company)

        world.settle()

        assert verify.run().failures == ()
        assert _booked() == _delivered(company.charges)
        small._adds_up()
        _parts_are_sound()
        once = _content()
        for day in _days_of_books():
            books.rebuild(day=day, now=world.NOW)
        assert _content() == once
        transaction.set_rollback(True)


@settings(_settings, max_examples=30)
@given(company=_companies(), chance=st.randoms(use_true_random=False))
def test_it_ends_the_same_by_whatever_way_the_deliveries_came(company, chance):
    with transaction.atomic():
        _begin(company)
        _put(company)
        world.settle()
        at_once = _content()
        transaction.set_rollback(True)

    with transaction.atomic():
        _begin(company)
        _put(_some(company, chance), charges=True)
        world.settle(newest_first=chance.random() < 0.5)
        for bill in ("one", "two"):
            _take_back(world.source(name=bill))
        first = _some(company, chance, of=("usages", "gpus", "runs", "metrics"))
        _put(first)
        world.settle(newest_first=chance.random() < 0.5)
        _put(_rest(company, first))
        world.settle(newest_first=chance.random() < 0.5)

        assert verify.run().failures == ()
        assert _content() == at_once
        transaction.set_rollback(True)


@settings(_settings, max_examples=20)
@given(company=_companies(), chance=st.randoms(use_true_random=False))
def test_it_ends_the_same_when_the_rules_come_after_the_money(company, chance):
    with transaction.atomic():
        _begin(company)
        _put(company)
        world.settle()
        expected = _content()
        transaction.set_rollback(True)

    with transaction.atomic():
        _sources()
        own.reattribute(drafts=own.DEFAULT_RULES, now=world.NOW, by="test")
        _put(company)
        world.settle()
        own.reattribute(drafts=company.rules, now=world.NOW, by="test")
        days = _days_of_books()
        chance.shuffle(days)
        for day in days:
            books.rebuild(day=day, now=world.NOW)
        world.settle()

        assert verify.run().failures == ()
        assert _content() == expected
        transaction.set_rollback(True)


def _begin(company: Company) -> None:
    _sources()
    own.reattribute(drafts=company.rules, now=world.NOW, by="test")


def _sources() -> None:
    """Always in one order: of two sources of one kind the older one counts."""
    for kind, name in (
        ("focus_export", "one"),
        ("focus_export", "two"),
        ("usage_log", "log"),
        ("gate", "gate"),
        ("dcgm", "dcgm"),
        ("fine_tunes", "runs"),
        ("business_metrics", "figures"),
    ):
        world.source(kind, name)


def _put(company: Company, *, charges: bool = True) -> None:
    small._put(company.charges if charges else [], company.usages, company.gpus, company.runs)
    of = world.source("business_metrics", "figures")
    for one in company.metrics:
        starts = small._at(one["start"])
        BusinessMetric.objects.create(
            source=of,
            attribute_set_id=world.attribute_set(of, team=one["team"]),
            name="tickets",
            period_start=starts,
            period_end=starts + timedelta(days=one["days"]),
            value=one["value"],
            unit="tickets",
        )
        for number in range(one["days"] + 1):
            world.touch(of, starts.date() + timedelta(days=number))


def _take_back(bill) -> None:
    """The bill is delivered again: what it said before is replaced, and its days are open."""
    Delivery.objects.filter(source=bill).update(state="replaced")
    for (day,) in world.fetch(f"SELECT day FROM ingest_touched WHERE source_id = {bill.pk}"):
        world.touch(bill, day)


def _some(company: Company, chance, of=("charges",)) -> Company:
    """A part of the case, in any order."""
    chosen: dict[str, Any] = dict.fromkeys(("charges", "usages", "gpus", "runs", "metrics"), ())
    for name in of:
        rows = list(getattr(company, name))
        chance.shuffle(rows)
        chosen[name] = rows[: chance.randint(0, len(rows))] if name != "runs" else company.runs
    return Company(**chosen, rules=company.rules)


def _rest(company: Company, first: Company) -> Company:
    """What is left of the case, and the whole bill, backwards."""
    left = {
        name: [one for one in getattr(company, name) if not any(one is other for other in getattr(first, name))]
        for name in ("usages", "gpus", "runs", "metrics")
    }
    return Company(charges=list(company.charges)[::-1], **left, rules=company.rules)


def _delivered(charges: Sequence[dict[str, Any]]) -> dict[tuple[str, date, str], tuple[Decimal, ...]]:
    found: dict[tuple[str, date, str], list[dict[str, Decimal]]] = {}
    for one in charges:
        key = (one["bill"], small._at(one["start"]).date(), one["columns"].get("billing_currency", "USD"))
        found.setdefault(key, []).append(
            {**one["costs"], **{c: one["columns"][c] for c in COSTS if c in one["columns"]}}
        )
    return {key: tuple(money.total(row[cost] for row in rows) for cost in COSTS) for key, rows in found.items()}


def _booked() -> dict[tuple[str, date, str], tuple[Decimal, ...]]:
    sums = ", ".join(f"sum(d.{cost})" for cost in COSTS)
    rows = world.fetch(
        f"""SELECT s.name, d.day, d.currency, {sums} FROM attribution_dailycost d JOIN ingest_source s ON s.id = d.source_id
            WHERE d.basis = 'billed' GROUP BY 1, 2, 3"""
    )
    return {(name, day, currency): tuple(costs) for name, day, currency, *costs in rows}


def _parts_are_sound() -> None:
    assert world.fetch("SELECT count(*) FROM attribution_allocatedcharge WHERE weight < 0") == [(0,)]
    sums = ", ".join(f"sum({cost})" for cost in COSTS)
    passed, taken = (
        world.fetch(
            f"""SELECT day, source_id, {pool}, currency, {sums} FROM attribution_allocatedcharge
                WHERE {which} <> '' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
        )
        for pool, which in (("passed_to", "passed_to"), ("pool", "origin"))
    )
    assert passed == taken
    # What a rule made names it, its version, and what kind of pool it was.
    unnamed = """SELECT count(*) FROM attribution_allocatedcharge
        WHERE pool_kind = '' OR (starts_with(pool, 'rule:') AND rule_id IS NULL)"""
    assert world.fetch(unnamed) == [(0,)]
    assert world.fetch("SELECT count(*) FROM attribution_pool WHERE pool_kind = '' OR ruleset_id IS NULL") == [(0,)]


def _days_of_books() -> list[date]:
    return [day for (day,) in world.fetch("SELECT DISTINCT day FROM ingest_touched ORDER BY 1")]


def _content() -> dict[str, list[tuple[Any, ...]]]:
    """The books by what tells rows apart whenever and wherever they were made: names and digests, not ids."""
    costs = ", ".join(f"d.{cost}" for cost in COSTS)
    joins = "JOIN ingest_source s ON s.id = d.source_id JOIN ingest_attributeset a ON a.id = d.attribute_set_id"
    kept = "d.currency, d.provider_name, d.sub_account, d.service_name, d.charge_category, d.charge_class, d.model, d.deployment"
    return {
        "books": world.fetch(
            f"""SELECT d.day, s.name, d.basis, d.is_current, {kept}, d.token_kind, d.share_kind, d.method, a.digest, {costs}
                FROM attribution_dailycost d {joins} ORDER BY {", ".join(str(at) for at in range(1, 21))}"""
        ),
        "parts": world.fetch(
            f"""SELECT d.day, s.name, regexp_replace(d.pool, '[0-9a-f]{{8,}}', ''), regexp_replace(d.origin, '[0-9a-f]{{8,}}', ''),
                    {kept}, d.token_kind, d.share_kind, d.method, a.digest, d.pool_kind, d.weight, {costs}
                FROM attribution_allocatedcharge d {joins} WHERE NOT starts_with(d.pool, 'run:')
                ORDER BY {", ".join(str(at) for at in range(1, 23))}"""
        ),
        "pools": world.fetch(
            f"""SELECT d.day, s.name, regexp_replace(d.pool, '[0-9a-f]{{8,}}', ''), d.pool_kind, d.currency, d.method, d.charges,
                    {costs} FROM attribution_pool d JOIN ingest_source s ON s.id = d.source_id
                WHERE NOT starts_with(d.pool, 'run:') ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"""
        ),
        "owners": world.fetch(
            """SELECT DISTINCT a.digest, o.model, o.valid_from, o.team, o.feature, o.cost_centre
               FROM attribution_ownership o JOIN attribution_rulesetversion v ON v.id = o.ruleset_id AND v.is_current
               JOIN ingest_attributeset a ON a.id = o.attribute_set_id
               WHERE EXISTS (SELECT FROM attribution_dailycost d WHERE d.attribute_set_id = a.id) ORDER BY 1, 2, 3"""
        ),
    }
