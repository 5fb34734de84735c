"""One scope, one total, seen by those who may see it."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from attribution import queries
from attribution.models import Team
from costobs.kernel.period import Days, month
from costobs.kernel.scope import BadScope, Filter
from ingest import configure, load
from ingest.models import Source
from tests.attribution import world

pytestmark = pytest.mark.django_db

SAMPLE = Path(__file__).parent.parent / "golden" / "focus" / "focus_sample.csv"
ADA, BEN, CLEO = None, ("a",), ()


@pytest.fixture
def books():
    """Team a and b share a bill with usage; one charge is nobody's; one is in euros."""
    log, bill = world.source("usage_log", "log"), world.source()
    Team.objects.create(name="a", title="A", cost_centre="100")
    world.usage(
        log,
        attributes={"team": "a", "feature": "chat", "key": "k1"},
        requests=10,
        errors=1,
        input_uncached=600,
        cache_read=200,
        output=100,
    )
    world.usage(log, attributes={"team": "b", "feature": "rag", "key": "k2"}, requests=5, input_uncached=600)
    world.llm_charge(bill, "12", consumed_quantity=Decimal(1200))
    world.charge(bill, "5", billed_cost=Decimal(4))
    world.charge(bill, "-1", attributes={"team": "a"}, charge_category="Credit", service_name="Refund")
    world.charge(bill, "99", billing_currency="EUR")
    world.settle()


def test_it_gives_the_focus_sample_to_the_last_digit_both_times():
    source_id = configure.create_source(kind="focus_export", name="sample", now=world.NOW)
    for _ in range(2):
        list(load.from_paths(source_id=source_id, paths=[str(SAMPLE)], now=world.NOW))
        world.settle()

        scope = world.scope(cost="billed", days=queries.extent())
        found = {row.keys[0]: str(row.cost) for row in queries.spend(scope=scope, group_by=["provider_name"])}

        assert found == {"AWS": "18.00663861840", "Microsoft": "1.97651418586", "Oracle": "0.53707392473"}


@pytest.mark.usefixtures("books")
def test_it_shows_ada_everything_ben_his_own_and_cleo_nothing():
    spent = {
        name: {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(teams=teams), group_by=["team"])}
        for name, teams in (("Ada", ADA), ("Ben", BEN), ("Cleo", CLEO))
    }

    assert spent == {"Ada": {"a": 5, "b": 6, "": 5}, "Ben": {"a": 5}, "Cleo": {}}


@pytest.mark.usefixtures("books")
def test_it_hides_the_rows_of_others_in_every_query():
    ben, cleo = world.scope(teams=BEN), world.scope(teams=CLEO)

    assert (queries.total(scope=ben).cost, queries.total(scope=cleo).cost) == (5, 0)
    assert [row.cost for row in queries.spend_by_day(scope=ben)] == [5]
    assert [row.keys for row in queries.unit_costs(scope=ben, group_by=["team"])] == [("a",)]
    assert [line.team for line in queries.statement(scope=ben).lines] == ["a"]
    assert queries.statement(scope=ben).reconciliation == ()
    assert [name for name, _ in queries.dimension_values(scope=ben, dimension="key")] == ["k1", ""]
    assert queries.explain(scope=ben).cost == 5
    for query in (queries.unit_costs, queries.spend):
        assert query(scope=cleo, group_by=["team"]) == []
    for query in (queries.agent_runs, queries.fine_tune_runs, queries.gpu_utilisation, queries.gpu_costs):
        assert query(scope=cleo) == []
    assert queries.other_currencies(scope=cleo) == []
    assert queries.spend(scope=world.scope(Filter("team", ("a",)), teams=CLEO))[0].cost == 0


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("chip", "cost"),
    [
        ("team:a", 5),
        ("team:a|b", 11),
        ("team!:a", 11),
        ("team:", 5),
        ("key:k1", 6),
        ("key~:K", 12),
        ("key~:%", 0),
        ("share_kind:unallocated", 5),
        ("charge_category:Credit", -1),
        ("cost_centre:100", 5),
        ("source:bill", 16),
        ("basis:estimated", 0),
        ("feature!:chat", 10),
    ],
)
def test_it_filters_by_every_kind_of_dimension(chip, cost):
    scope = world.scope(Filter.parse(chip))

    assert queries.spend(scope=scope)[0].cost == cost
    assert queries.total(scope=scope).cost == cost


def test_it_refuses_a_dimension_it_does_not_know():
    with pytest.raises(BadScope, match="known: provider_name"):
        queries.spend(scope=world.scope(), group_by=["team; DROP TABLE"])


@pytest.mark.usefixtures("books")
def test_it_gives_unit_costs_beside_what_they_are_made_of():
    rows = {row.keys[0]: row for row in queries.unit_costs(scope=world.scope(), group_by=["team"])}

    a = rows["a"]
    assert (a.requests, a.tokens, a.cost, a.usage_cost) == (10, 900, 5, 6)
    assert a.cost_per_million_input == Decimal(10_000)
    assert (a.cost_per_request, a.cost_per_thousand_requests) == (Decimal("0.6"), 600)
    assert (a.tokens_per_request, a.cache_hit_rate, a.error_rate) == (90, Decimal("0.25"), Decimal("0.1"))
    assert a.cost_per_million_cached == 0  # logged, and not on the bill
    assert rows["b"].cost_per_million_output is None


@pytest.mark.usefixtures("books")
def test_it_does_not_add_currencies():
    assert queries.other_currencies(scope=world.scope()) == ["EUR"]
    assert queries.currencies() == ["USD", "EUR"]


@pytest.mark.usefixtures("books")
def test_it_states_a_month_that_ties_to_the_invoices():
    statement = queries.statement(scope=world.scope(days=month(world.DAY)))

    lines = {line.team: line for line in statement.lines}
    assert (lines["a"].cost_centre, lines["a"].direct_cost, lines["a"].adjustment_cost, lines["a"].total_cost) == (
        "100",
        6,
        -1,
        5,
    )
    assert (lines[""].unallocated_cost, lines[""].timing_cost) == (5, 1)
    assert statement.total_cost == queries.total(scope=world.scope()).cost == 16
    assert {(r.provider_name, r.invoiced_cost, r.difference) for r in statement.reconciliation} == {
        ("OpenAI", Decimal(12), Decimal(0)),
        ("AWS", Decimal(3), Decimal(0)),
    }


@pytest.mark.usefixtures("books")
def test_it_explains_a_number_by_parts_that_add_to_it():
    why = queries.explain(scope=world.scope())

    assert why.cost == 16
    assert sum(one.cost for one in why.methods) == 16
    assert sum(one.cost for one in why.rules) == 16
    assert {one.name for one in why.rules} >= {"Team named on the call or the resource", ""}
    assert [(price.model, price.provenance, price.requests) for price in why.prices] == [("gpt-4o", "test", 15)]
    assert [one.source for one in why.deliveries] == ["bill"]


@pytest.mark.usefixtures("books")
def test_it_names_what_moved_up_or_down():
    world.charge(world.source(), "30", attributes={"team": "b"}, starts=world.at(day=world.DAY + timedelta(days=1)))
    world.settle()
    scope = world.scope(days=Days(world.DAY + timedelta(days=1), world.DAY + timedelta(days=2)))

    moved = queries.movers(scope=scope, compare=scope.during(scope.days.before()), dimension="team")

    assert [(one.key, one.change) for one in moved] == [("b", 24), ("", -5), ("a", -5)]


def test_it_says_how_much_is_unpriced():
    log = world.source("usage_log", "log")
    world.usage(log, input_uncached=100, requests=3, unit_price=world.price(is_conservative=True))

    world.settle()

    total = queries.total(scope=world.scope())
    assert (total.cost, total.unpriced_cost, total.unpriced_requests) == (Decimal("0.1"), Decimal("0.1"), 3)


def test_it_calls_days_final_when_every_bill_is_complete():
    world.charge(world.source(), "1")
    Source.objects.update(complete_through=world.at(day=date(2026, 3, 11)))
    world.charge(world.source(), "1", starts=world.at(day=date(2026, 3, 11)))

    world.settle()

    assert queries.last_final_day() == world.DAY
    assert [row.is_final for row in queries.spend_by_day(scope=world.scope())] == [True, False]


def test_it_knows_how_far_the_books_reach():
    assert queries.extent() is None

    world.charge(world.source(), "1")
    world.settle()

    assert queries.extent() == Days(world.DAY, world.DAY + timedelta(days=1))


def test_it_tells_no_cost_per_request_of_calls_that_nobody_counted():
    """A vendor's sums may tell tokens without telling how many calls they were."""
    log, sums = world.source("usage_log", "log"), world.source("anthropic_usage", "sums")
    world.usage(log, attributes={"team": "a"}, requests=5, input_uncached=1000)
    world.usage(sums, attributes={"team": "b"}, provider="anthropic", requests=0, input_uncached=4000)
    world.settle()

    found = {row.keys[0]: row for row in queries.unit_costs(scope=world.scope(), group_by=["team"])}
    (whole,) = queries.unit_costs(scope=world.scope(), group_by=[])

    assert (found["a"].uncounted_tokens, found["a"].cost_per_request, found["a"].tokens_per_request) == (
        0,
        Decimal("0.2"),
        200,
    )
    assert (found["b"].uncounted_tokens, found["b"].cost_per_request, found["b"].tokens_per_request) == (
        4000,
        None,
        None,
    )
    assert (whole.requests, whole.tokens, whole.uncounted_tokens, whole.tokens_per_request) == (5, 5000, 4000, 200)
    assert (whole.cost_per_request, whole.cost_per_thousand_requests) == (None, None)
    assert whole.cost_per_million_tokens == 1000
