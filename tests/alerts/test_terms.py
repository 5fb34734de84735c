"""What a budget may spend in a period: carried over, borrowed, prorated, and in other currencies and zones."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import budgets, escalate, evaluate, measure, queries, terms
from alerts.models import ActionRun, Budget, BudgetPeriod, BudgetState, RungLevel
from alerts.rows import BudgetTerms
from attribution import rates
from attribution.models import DailyCost
from ingest.models import Offering, Source, Touched, UnitPrice, UsageHour
from tests.alerts.conftest import START, Books, at, make_budget, rung

pytestmark = pytest.mark.django_db
D = Decimal


def on(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def state_of(budget_id: int, now: datetime) -> BudgetState:
    evaluate.run(now=now)
    return BudgetState.objects.filter(budget_id=budget_id).latest("period_start")


@pytest.mark.parametrize(
    ("spend", "rollover", "cap", "borrowed", "left"),
    [
        ("700", "none", None, "0", "0"),
        ("700", "unused", None, "0", "300"),
        ("700", "unused", "100", "0", "100"),
        ("700", "overrun", None, "0", "0"),
        ("1250", "unused", None, "0", "0"),
        ("1250", "overrun", None, "0", "-250"),
        ("1250", "both", "100", "0", "-100"),
        ("1250", "none", None, "200", "-200"),
        ("1050", "none", None, "200", "-50"),
        ("1250", "overrun", None, "200", "-250"),
        ("1250", "overrun", "10", "200", "-210"),
        ("1000", "both", None, "200", "0"),
    ],
)
def test_it_leaves_to_the_next_period_what_its_rule_says(
    spend: str, rollover: str, cap: str | None, borrowed: str, left: str
) -> None:
    found = terms.remainder(
        base_amount=D(1000),
        carried_cost=D(0),
        borrowed_cost=D(borrowed),
        spend_cost=D(spend),
        rollover=rollover,
        most_cost=None if cap is None else D(cap),
    )

    assert found == D(left)


def test_it_carries_unused_money_through_several_periods_up_to_its_cap(books: Books) -> None:
    given = BudgetTerms(rollover="unused", rollover_cap_percent=D(50), starts_on=date(2026, 8, 1))
    budget_id = make_budget(terms=given)
    books.spend(date(2026, 8, 5), "900")  # 100 left
    books.spend(date(2026, 9, 5), "700")  # 400 left
    books.spend(date(2026, 10, 5), "100.25")  # 1299.75 left, capped at 500
    books.spend(date(2026, 11, 2), "750")

    state = state_of(budget_id, at(3))

    assert (state.amount, state.carried_cost, state.used_percent) == (D(1500), D(500), D(50))
    kept = list(BudgetPeriod.objects.order_by("period_start").values_list("amount", "carried_cost", "spend_cost"))
    assert kept == [(D(1000), D(0), D(900)), (D(1100), D(100), D(700)), (D(1400), D(400), D("100.25"))]


def test_it_borrows_from_the_next_period_and_repays_only_what_was_used(books: Books) -> None:
    budget_id = make_budget(terms=BudgetTerms(borrow_percent=D(20), starts_on=date(2026, 10, 1)))
    books.spend(date(2026, 10, 5), "1150")

    october = state_of(budget_id, on("2026-10-20T12:00"))
    november = state_of(budget_id, at(3))

    assert (october.amount, october.borrowed_cost, october.used_percent) == (D(1200), D(200), D("95.83"))
    assert (november.carried_cost, november.borrowed_cost, november.amount) == (D(-150), D(200), D(1050))


def test_it_has_nothing_left_where_an_overrun_took_everything(books: Books) -> None:
    budget_id = make_budget(
        rung("100", "notify"), terms=BudgetTerms(rollover="overrun", starts_on=date(2026, 10, 1)), amount="100"
    )
    books.spend(date(2026, 10, 5), "250")

    state = state_of(budget_id, at(3))
    escalate.run(now=at(3))

    assert (state.amount, state.carried_cost, state.used_percent, state.state) == (D(0), D(-150), D(100), "over")
    assert ActionRun.objects.get().state == "done"


def test_it_settles_a_period_again_when_its_books_change(books: Books) -> None:
    budget_id = make_budget(terms=BudgetTerms(rollover="unused", starts_on=date(2026, 10, 1)))
    books.spend(date(2026, 10, 5), "900")
    first = state_of(budget_id, at(3)).carried_cost
    books.spend(date(2026, 10, 6), "40")  # a late bill
    unnoticed = state_of(budget_id, at(3, 13)).carried_cost
    Touched.objects.create(source_id=books.source.pk, day=date(2026, 10, 6), version=3, rolled_up_version=3)

    late = state_of(budget_id, at(3, 14))

    assert (first, unnoticed, late.carried_cost) == (D(100), D(100), D(60))


def test_it_keeps_the_amount_a_period_had_when_the_budget_changes(books: Books) -> None:
    budget_id = make_budget(terms=BudgetTerms(rollover="unused", starts_on=date(2026, 10, 1)))
    books.spend(date(2026, 10, 5), "900")
    state_of(budget_id, at(3))

    budgets.update(budget_id=budget_id, amount="5000", by="ada", now=at(4))
    state = state_of(budget_id, at(4))

    assert (state.amount, state.carried_cost) == (D(5100), D(100))
    periods = queries.budget(id=budget_id, now=at(4), teams=None).periods
    assert [(one.amount, one.carried_cost, one.is_settled) for one in periods] == [
        (D(5100), D(100), True),
        (D(1000), D(0), True),
    ]


def test_it_counts_no_credit_from_before_rollover_was_wished_for(books: Books) -> None:
    budget_id = make_budget()
    books.spend(date(2026, 11, 5), "100")
    evaluate.run(now=at(20))

    budgets.update(budget_id=budget_id, terms=BudgetTerms(rollover="unused"), by="ada", now=on("2026-12-10T00:00"))

    assert state_of(budget_id, on("2026-12-11T00:00")).carried_cost == D(0)
    assert state_of(budget_id, on("2027-01-02T00:00")).carried_cost == D(1000)


def test_it_prorates_a_period_it_has_in_part_and_counts_only_its_days(books: Books) -> None:
    budget_id = make_budget(
        terms=BudgetTerms(starts_on=date(2026, 11, 16), ends_on=date(2026, 12, 1), is_prorated=True)
    )
    books.spend(at(10).date(), "300")
    books.spend(at(17).date(), "100")

    early = evaluate.run(now=at(10))
    state = state_of(budget_id, at(18))
    evaluate.run(now=on("2026-12-02T00:00"))

    assert early == []
    assert (state.amount, state.spend_cost, state.used_percent) == (D(500), D(100), D(20))
    assert BudgetState.objects.get().state == "ended"
    (line,) = queries.budgets(now=on("2026-12-02T00:00"), teams=None)
    assert (line.state, line.state_words) == ("ended", "Ended")


def test_it_rolls_with_the_days_and_keeps_one_state_and_one_episode(books: Books) -> None:
    budget_id = make_budget(rung("80", "notify"), period="rolling", terms=BudgetTerms(rolling_days=7), amount="100")
    for day in range(1, 8):
        books.spend(at(day).date(), "12")

    full = state_of(budget_id, at(7))
    escalate.run(now=at(7))
    evaluate.run(now=at(8))
    again = escalate.run(now=at(8))
    moved = state_of(budget_id, at(10))

    assert (full.spend_cost, full.state) == (D(84), "watch")
    assert (moved.pk, moved.spend_cost) == (full.pk, D(48))
    assert again == []
    assert ActionRun.objects.count() == 1


def test_it_gives_up_what_is_in_force_on_a_rolling_budget_only_when_it_is_under_or_turned_over(books: Books) -> None:
    make_budget(rung("80", "throttle"), period="rolling", terms=BudgetTerms(rolling_days=7), amount="100")
    books.spend(at(7).date(), "90")
    evaluate.run(now=at(7))

    escalate.run(now=at(7))

    assert ActionRun.objects.get().expires_at == on("2026-11-14T00:00")


class TestZones:
    """The edges of a period are read by the hour, the rest by day."""

    def test_it_cuts_the_edges_at_midnight_of_the_zone(self, books: Books) -> None:
        _calls(books, {on("2026-10-31T23:00"): 10, on("2026-11-01T03:00"): 30, on("2026-11-01T04:00"): 60})
        books.spend(date(2026, 10, 31), "10")
        books.spend(date(2026, 11, 1), "90")
        budget_id = make_budget(terms=BudgetTerms(zone="America/New_York"))

        state = state_of(budget_id, at(2))

        assert state.spend_cost == D(60)
        assert (state.starts_at, state.ends_at) == (on("2026-11-01T04:00"), on("2026-12-01T05:00"))

    @pytest.mark.parametrize(
        ("zone", "begin"),
        [("Europe/Berlin", "2026-10-25"), ("America/New_York", "2026-11-01"), ("Asia/Kolkata", "2026-11-01")],
    )
    def test_it_counts_every_hour_of_the_books_once_over_days_of_any_length(
        self, books: Books, zone: str, begin: str
    ) -> None:
        first = date.fromisoformat(begin)
        for offset in range(-2, 4):
            books.spend(first + timedelta(days=offset), "24.000000000000000000024")
        budget_id = make_budget(period="day", terms=BudgetTerms(zone=zone))

        found = []
        for offset in range(-1, 3):
            evaluate.run(now=on(begin) + timedelta(days=offset, hours=12))
        for state in BudgetState.objects.filter(budget_id=budget_id).order_by("period_start"):
            hours = (state.ends_at - state.starts_at) / timedelta(hours=1)
            found.append((hours, state.spend_cost))

        assert [round(cost) for _, cost in found] == [hours for hours, _ in found]
        assert sorted({hours for hours, _ in found})[-1] == (24 if zone == "Asia/Kolkata" else 25)

    def test_it_burns_up_by_the_days_of_the_zone_to_the_same_total(self, books: Books) -> None:
        for day in (1, 2, 3):
            books.spend(at(day).date(), "24.1")
        budget_id = make_budget(terms=BudgetTerms(zone="Asia/Tokyo"))
        evaluate.run(now=at(3, 20))

        found = queries.budget(id=budget_id, now=at(3, 20), teams=None)

        assert found.burn_up[-1].day == date(2026, 11, 4)  # it is tomorrow there
        assert found.burn_up[-1].cumulative_cost == found.line.spend_cost
        assert found.periods[0].actual_cost == found.line.spend_cost

    def test_it_counts_unpriced_usage_at_the_edges_as_such(self, books: Books) -> None:
        books.spend_unpriced(at(1).date(), "24")
        budget_id = make_budget(period="day", terms=BudgetTerms(zone="Europe/Berlin"))

        state = state_of(budget_id, at(1))

        assert state.unpriced_cost == state.spend_cost == D(23)


class TestCurrencies:
    """Spend in other currencies counts at the rate of its day; without a rate it is unknown, never nothing."""

    def test_it_converts_at_the_rate_of_each_day_and_says_whose(self, books: Books) -> None:
        budget_id = make_budget(currency="EUR")
        books.spend(at(2).date(), "110")
        books.spend(at(3).date(), "120")
        _rates("2026-11-02,1.10\n2026-11-03,1.20\n")

        state = state_of(budget_id, at(3))

        assert state.spend_cost == state.converted_cost == D(200).quantize(D("1E-9")) + (state.spend_cost - 200)
        assert abs(state.spend_cost - 200) < D("0.000001")
        assert (state.rates, state.unconverted, state.state) == ("Bank, 2–3 Nov 2026", "", "on_track")
        blend = queries.budget(id=budget_id, now=at(3), teams=None).blend
        assert [(part.part, part.cost) for part in blend] == [("converted", state.spend_cost)]

    def test_it_is_unknown_and_only_notifies_without_a_rate(self, books: Books) -> None:
        budget_id = make_budget(rung("50", "notify"), rung("60", "throttle"), currency="EUR", amount="100")
        books.spend(at(2).date(), "90")
        DailyCost.objects.create(**{**_row(DailyCost.objects.get()), "currency": "EUR", "effective_cost": D(70)})

        state = state_of(budget_id, at(3))
        escalate.run(now=at(3))

        assert (state.spend_cost, state.unconverted, state.state) == (D(70), "USD", "unknown")
        assert list(ActionRun.objects.values_list("action", "state")) == [("notify", "done")]

    def test_it_does_not_mind_other_currencies_outside_its_scope(self, books: Books) -> None:
        budget_id = make_budget(scope={"team": ["support"]}, currency="EUR")
        books.spend(at(2).date(), "90")

        assert state_of(budget_id, at(3)).state == "on_track"

    def test_it_measures_the_burn_rate_of_what_was_converted_too(self, books: Books) -> None:
        step = budgets.RungSpec(D(300), "throttle", {"requests_per_minute": 6, "hours": 24}, trigger="burn_rate")
        make_budget(step, currency="EUR", amount="3000")
        books.spend(at(1).date(), "620")
        _rates("2026-11-01,2\n")

        evaluate.run(now=at(2, 0, 30))
        measure.run(now=at(2, 0, 30))

        assert RungLevel.objects.get().level == D(310)

    def test_it_asks_instead_of_acting_on_too_much_of_what_was_converted(self, books: Books) -> None:
        step = rung("75", "throttle", requests_per_minute=6, max_share_percent=60)
        make_budget(step, currency="EUR", amount="400")
        books.spend(at(2).date(), "800")
        books.spend(at(2).date(), "200", team="support")
        _rates("2026-11-02,2\n")

        evaluate.run(now=at(2))
        escalate.run(now=at(2))

        run = ActionRun.objects.get()
        assert (run.state, run.plan["is_too_wide"]) == ("waiting_approval", True)
        assert "80.0 % of the spend" in run.plan["reach"]

    def test_it_burns_up_what_was_converted_too(self, books: Books) -> None:
        budget_id = make_budget(currency="EUR")
        books.spend(at(2).date(), "110")
        _rates("2026-11-02,1.10\n")
        evaluate.run(now=at(3))

        found = queries.budget(id=budget_id, now=at(3), teams=None)

        assert found.burn_up[-1].cumulative_cost == found.line.spend_cost


class TestTrust:
    """Nothing but a notice on figures that are not known."""

    def test_it_looks_only_at_the_sources_its_scope_names(self, books: Books) -> None:
        Source.objects.create(
            kind="usage_log", name="other", created_at=START, last_load_at=START, complete_through=at(2)
        )
        books.fail(at(2))
        make_budget(name="all")
        make_budget(name="other", scope={"source": ["other"]})
        make_budget(name="app", scope={"source": ["app"]})

        found = {one.name: one.is_stale for one in evaluate.run(now=at(3))}

        assert found == {"all": True, "other": False, "app": True}
        assert {state.budget.name: state.late for state in BudgetState.objects.all()} == {
            "all": "app",
            "other": "",
            "app": "app",
        }


def test_it_answers_for_one_budget_as_for_many(books: Books) -> None:
    budget_id = make_budget(terms=BudgetTerms(rollover="both", starts_on=date(2026, 10, 1)))
    books.spend(date(2026, 10, 5), "1100")

    term = terms.term(Budget.objects.get(pk=budget_id), at(3))

    assert (term.key_date, term.base_amount, term.carried_cost, term.amount) == (at(1).date(), D(1000), D(-100), D(900))
    assert (term.starts_at, term.ends_at, len(term.days)) == (at(1, 0), on("2026-12-01T00:00"), 30)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (BudgetTerms(zone="Europe/Atlantis"), "zone"),
        (BudgetTerms(zone="../etc/passwd"), "zone"),
        (BudgetTerms(rolling_days=7), "rolling_days"),
        (BudgetTerms(starts_on=date(2026, 2, 1), ends_on=date(2026, 2, 1)), "ends_on"),
        (BudgetTerms(starts_on=date(1900, 1, 1)), "starts_on"),
        (BudgetTerms(rollover="all"), "rollover"),
        (BudgetTerms(rollover_cap_percent=D(10)), "rollover_cap_percent"),
        (BudgetTerms(rollover="both", rollover_cap_percent=D("NaN")), "rollover_cap_percent"),
        (BudgetTerms(borrow_percent=D(101)), "borrow_percent"),
        (BudgetTerms(borrow_percent=D("1.005")), "borrow_percent"),
        (BudgetTerms(parent_id=999), "parent"),
        (BudgetTerms(on_unreachable="maybe"), "on_unreachable"),
        (BudgetTerms(default_max_tokens=0), "default_max_tokens"),
        (BudgetTerms(aborts_running=True), "aborts_running"),
        (BudgetTerms(criticality="huge"), "criticality"),
        (BudgetTerms(protected=({"provider_name": ["x"]},)), "protected"),
        (BudgetTerms(protected=({},)), "protected"),
    ],
)
def test_it_says_which_term_is_wrong(given: BudgetTerms, field: str) -> None:
    with pytest.raises(budgets.Invalid) as caught:
        make_budget(terms=given)

    assert set(caught.value.errors) == {field}


@pytest.mark.parametrize("scope", [{}, {"provider_name": ["OpenAI"]}, {"team": ["a"], "cost_centre": ["b"]}])
def test_it_lets_only_what_a_gate_can_tell_be_hard(scope: dict[str, list[str]]) -> None:
    with pytest.raises(budgets.Invalid) as caught:
        make_budget(terms=BudgetTerms(is_hard=True), scope=scope)

    assert "is_hard" in caught.value.errors
    hard = make_budget(name="hard", terms=BudgetTerms(is_hard=True), scope={"team": ["a"], "environment": ["prod"]})
    assert Budget.objects.get(pk=hard).is_hard


def test_it_refuses_a_hard_budget_that_rolls_and_a_hard_one_that_begins_to() -> None:
    rolls = BudgetTerms(is_hard=True, rolling_days=30)
    hard = make_budget(name="hard", terms=BudgetTerms(is_hard=True), scope={"team": ["a"]})

    with pytest.raises(budgets.Invalid) as made:
        make_budget(period="rolling", terms=rolls, scope={"team": ["a"]})
    with pytest.raises(budgets.Invalid) as changed:
        budgets.update(budget_id=hard, period="rolling", terms=rolls, by="ada", now=at(4))

    assert made.value.errors == changed.value.errors
    assert set(made.value.errors) == {"is_hard"}
    assert "no period of its own" in made.value.errors["is_hard"]


def test_it_names_all_that_does_not_fit_a_rolling_budget_at_once() -> None:
    with pytest.raises(budgets.Invalid) as caught:
        make_budget(period="rolling", terms=BudgetTerms(rollover="both", borrow_percent=D(5)))

    assert set(caught.value.errors) == {"rolling_days", "rollover", "borrow_percent"}


def test_it_refuses_a_circle_and_too_many_levels() -> None:
    ids = [make_budget(name="level 0")]
    for number in range(1, 8):
        ids.append(make_budget(name=f"level {number}", terms=BudgetTerms(parent_id=ids[-1])))

    with pytest.raises(budgets.Invalid, match="lies below this budget"):
        budgets.update(budget_id=ids[0], terms=BudgetTerms(parent_id=ids[3]), by="ada", now=at(2))
    with pytest.raises(budgets.Invalid, match="lies below this budget"):
        budgets.update(budget_id=ids[0], terms=BudgetTerms(parent_id=ids[0]), by="ada", now=at(2))
    with pytest.raises(budgets.Invalid, match="at most 8 levels"):
        make_budget(name="level 8", terms=BudgetTerms(parent_id=ids[-1]))
    top = make_budget(name="top")
    with pytest.raises(budgets.Invalid, match="at most 8 levels"):
        budgets.update(budget_id=ids[0], terms=BudgetTerms(parent_id=top), by="ada", now=at(2))


def test_it_shows_the_family_and_what_is_allocated_of_the_amount(books: Books) -> None:
    top = make_budget(name="all", scope={}, amount="1000")
    search = make_budget(name="search", amount="700", terms=BudgetTerms(parent_id=top))
    make_budget(name="support", scope={"team": ["support"]}, amount="400", terms=BudgetTerms(parent_id=top))
    make_budget(name="llama", scope={"model": ["llama"]}, amount="5")
    books.spend(at(2).date(), "30", team="search", model="llama")
    books.spend(at(2).date(), "12", team="support", model="qwen")
    evaluate.run(now=at(3))

    found = queries.budget(id=top, now=at(3), teams=None)

    assert [(one.name, one.base_amount, one.spend_cost) for one in found.family.children] == [
        ("search", D(700), D(30)),
        ("support", D(400), D(12)),
    ]
    assert (found.family.allocated_cost, found.family.unallocated_cost) == (D(1100), D(-100))
    assert [(one.name, one.relation, one.shared_cost) for one in found.overlaps] == [
        ("llama", "beside", D(30)),
        ("search", "below", D(30)),
        ("support", "below", D(12)),
    ]
    below = queries.budget(id=search, now=at(3), teams=None)
    assert [one.name for one in below.family.ancestors] == ["all"]
    lead = queries.budget(id=search, now=at(3), teams=("search",))
    assert lead.family.ancestors == ()
    assert {(one.name, one.may_see, one.shared_cost) for one in lead.overlaps} == {("", False, None)}


def test_it_says_nothing_of_a_sum_over_other_periods(books: Books) -> None:
    top = make_budget(name="all", scope={})
    make_budget(name="week", period="week", terms=BudgetTerms(parent_id=top))

    family = queries.budget(id=top, now=at(3), teams=None).family

    assert (len(family.children), family.allocated_cost, family.unallocated_cost) == (1, None, None)


def test_it_does_not_carry_a_zone_change_under_an_open_action(books: Books) -> None:
    budget_id = make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    evaluate.run(now=at(2))
    escalate.run(now=at(2))

    with pytest.raises(budgets.Invalid, match="undo"):
        budgets.update(budget_id=budget_id, terms=BudgetTerms(zone="Asia/Tokyo"), by="ada", now=at(2))
    budgets.update(budget_id=budget_id, terms=replace(BudgetTerms(), criticality="high"), by="ada", now=at(2))

    assert Budget.objects.get().criticality == "high"


def test_it_does_not_rest_while_an_action_is_open(books: Books) -> None:
    budget_id = make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    evaluate.run(now=at(2))
    escalate.run(now=at(2))

    with pytest.raises(budgets.Invalid, match="rests"):
        budgets.update(budget_id=budget_id, terms=BudgetTerms(ends_on=at(2).date()), by="ada", now=at(2))

    assert Budget.objects.get().ends_on is None


def test_it_begins_where_it_was_settled_when_older_periods_are_left_out(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget_id = make_budget(terms=BudgetTerms(rollover="unused", starts_on=date(2026, 8, 1)))
    before = state_of(budget_id, at(3)).carried_cost
    monkeypatch.setattr(terms, "_MOST_PERIODS", 2)

    after = state_of(budget_id, at(4)).carried_cost

    assert before == after == D(3000)


def test_it_asks_for_rates_again_only_where_they_had_a_part(books: Books) -> None:
    make_budget(name="USD", terms=BudgetTerms(rollover="unused", starts_on=date(2026, 10, 1)))
    make_budget(name="EUR", currency="EUR", terms=BudgetTerms(rollover="unused", starts_on=date(2026, 10, 1)))
    books.spend(date(2026, 10, 5), "110")
    _rates("2026-10-05,1.10\n")
    evaluate.run(now=at(3))

    _rates("2026-10-05,1.00\n")
    evaluate.run(now=at(4))

    settled = {one.budget.name: (one.settled_at, round(one.spend_cost)) for one in BudgetPeriod.objects.all()}
    assert settled == {"USD": (at(3), 110), "EUR": (at(4), 110)}


def _calls(books: Books, tokens: dict[datetime, int]) -> None:
    """Calls of the team search that lay the cost of a day on its hours."""
    offering = Offering.objects.create(
        provider="self_hosted", model="llama", request_model="llama", response_model="llama", deployment="",
        service_tier="", operation="chat",
    )  # fmt: skip
    prices = {one.name: D("0.001") for one in UnitPrice._meta.get_fields() if one.name.endswith("_price")}
    price = UnitPrice.objects.create(
        provider="self_hosted", model="llama", valid_from=on("2020-01-01"), known_from=on("2020-01-01"),
        provenance="test", **prices,
    )  # fmt: skip
    sums = {one.name: 0 for one in UsageHour._meta.get_fields() if one.get_internal_type() == "BigIntegerField"}
    for hour, count in tokens.items():
        UsageHour.objects.create(
            **{**sums, "requests": 0, "input_uncached": count}, hour=hour, source_id=books.source.pk,
            attribute_set_id=books.sets["search"], offering=offering, price=price,
        )  # fmt: skip


def _rates(lines: str) -> None:
    rates.load(
        content=f"date,USD\n{lines}".encode(), name="rates.csv", base="EUR", publisher="Bank", by="ada", now=START
    )


def _row(row: DailyCost) -> dict[str, object]:
    return {one.attname: getattr(row, one.attname) for one in DailyCost._meta.concrete_fields if one.name != "id"}


def test_it_asks_the_database_a_few_times_for_any_number_of_budgets_with_a_memory(books: Books) -> None:
    for number in range(20):
        make_budget(
            name=f"budget {number}",
            scope={"team": [f"team {number}"]},
            terms=BudgetTerms(rollover="both", borrow_percent=D(5)),
        )
    evaluate.run(now=on("2027-01-10T00:00"))

    with CaptureQueriesContext(connection) as asked:
        evaluate.run(now=on("2027-01-10T00:00:01"))

    assert len(asked) <= 21
