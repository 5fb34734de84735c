"""The backtest: it says what the live path does on the same stream, and what would have been refused."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from alerts import backtest, budgets, escalate, evaluate, execute, expected, measure, queries, refusals, replay
from alerts.models import ActionRun, Budget, BudgetForecast
from alerts.rows import BudgetTerms
from attribution.queries import HourUsage
from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days
from ingest.models import Source
from tests.alerts.conftest import FakeGate, make_budget, make_gate, rung
from tests.attribution import world

pytestmark = pytest.mark.django_db

HISTORY = Days(date(2026, 1, 12), date(2026, 3, 2))
STREAM = Days(date(2026, 3, 2), date(2026, 3, 13))  # from a Monday on, into a second week
HOURS = (2, 9, 11, 14, 20)
LADDER = (
    rung("20", "notify"),
    rung("100", "notify", on="forecast", cooldown_minutes=120),
    rung("65", "notify"),  # crossed together with the throttle above it
    rung("60", "throttle", hours=10, requests_per_minute=1),
    rung("75", "throttle", requests_per_minute=2, max_tokens=100),
    rung("90", "shutdown", "one"),
    rung("130", "shutdown"),
    budgets.RungSpec(Decimal(300), "notify", {"hours": 6, "hysteresis_percent": "50"}, trigger="burn_rate"),
    budgets.RungSpec(Decimal(400), "notify", {"cooldown_minutes": 30}, trigger="trend"),
    budgets.RungSpec(
        Decimal(100), "throttle", {"windows": "sat-sun 00:00-24:00", "requests_per_minute": 5}, trigger="schedule"
    ),
)
Fact = tuple[Any, ...]


def tokens(day: date, hour: int) -> int:
    """A week of 100 dollars a working day and 40 on others; the Thursday and Friday of the stream run away."""
    usual = 20_000 if day.weekday() < 5 else 8_000
    return usual * (6 if day in {date(2026, 3, 5), date(2026, 3, 6)} and hour > 10 else 1)


def call(log: Source, day: date, hour: int) -> None:
    world.usage(
        log, attributes={"team": "search"}, hour=world.at(hour, day=day), input_uncached=tokens(day, hour), requests=600
    )


def complete(log: Source, through: datetime) -> None:
    Source.objects.filter(pk=log.pk).update(complete_through=through)


@pytest.fixture
def log() -> Source:
    """Seven weeks of usual days, in the books."""
    found = world.source("usage_log", "log")
    for day in HISTORY:
        for hour in HOURS:
            call(found, day, hour)
    world.settle()
    complete(found, HISTORY.end_at)
    return found


def moments() -> Iterator[datetime]:
    """A second before the end of each hour."""
    at = STREAM.start_at
    while at < STREAM.end_at:
        at += timedelta(hours=1)
        yield at - timedelta(seconds=1)


def live(log: Source, since: datetime = STREAM.start_at, until: datetime = STREAM.end_at) -> dict[int, str]:
    """The stream hour by hour through the real steps, with a gate; the state every run began in, by its id. Only between
    the two moments somebody evaluates.
    """
    gate, began = FakeGate(make_gate()), {}
    for now in moments():
        if now.hour in HOURS:
            call(log, now.date(), now.hour)
            world.settle()
        complete(log, now)
        if not since <= now < until:
            continue
        expected.run(now=now)
        evaluate.run(now=now)
        measure.run(now=now)
        for run_id in escalate.run(now=now):
            began[run_id] = ActionRun.objects.get(pk=run_id).state
        execute.run(now=now)
        gate.ask(now)
        gate.ask(now)
        execute.run(now=now)
    complete(log, STREAM.end_at)
    return began


def facts_of_runs(began: dict[int, str]) -> list[Fact]:
    """What the live path wrote down."""
    return [
        (
            run.asked_at,
            run.rung.percent,
            run.action,
            run.period_start,
            run.episode,
            began[run.pk],
            run.ended_at,
            run.ended_by,
        )
        for run in ActionRun.objects.select_related("rung").order_by("asked_at", "rung__percent")
    ]


def facts_of_events(found: backtest.Backtest) -> list[Fact]:
    """The same of the backtest."""
    return [
        (
            one.at,
            one.step.percent,
            one.step.action,
            one.period_start,
            one.episode,
            one.state,
            one.ended_at,
            one.ended_by,
        )
        for one in sorted(found.events, key=lambda one: (one.at, one.step.percent))
    ]


def played(number: int, days: int = len(STREAM)) -> backtest.Backtest:
    return backtest.run(tested=backtest.of_budget(budget_id=number, teams=None), days=days, now=STREAM.end_at)


def test_it_says_what_the_live_path_did_on_the_same_stream(log: Source) -> None:
    number = make_budget(*LADDER, period="week", amount="900")

    began = live(log)
    found = played(number)

    facts = facts_of_runs(began)
    assert facts_of_events(found) == facts
    assert {fact[5] for fact in facts} == {"done", "running", "waiting_approval", "superseded"}
    assert {fact[7] for fact in facts} >= {"ladder", "clock"}
    assert len({fact[3] for fact in facts}) == 2
    fired = set(ActionRun.objects.values_list("rung__trigger", flat=True))
    assert fired == {"actual", "forecast", "burn_rate", "trend", "schedule"}
    assert BudgetForecast.objects.exclude(method="").count() >= len(STREAM)


def test_it_says_what_the_live_path_did_in_the_days_of_a_zone_over_a_change_of_its_clocks(log: Source) -> None:
    since, until = world.at(5, day=date(2026, 3, 2)), world.at(4, day=date(2026, 3, 12))  # clocks go on on the 8th
    terms = BudgetTerms(
        zone="America/New_York",
        starts_on=date(2026, 3, 3),
        ends_on=date(2026, 3, 12),
        is_prorated=True,
        rollover="both",
    )
    number = make_budget(*LADDER, period="week", amount="900", terms=terms, now=STREAM.start_at)

    began = live(log, since, until)
    found = played(number, days=10)

    facts = facts_of_runs(began)
    assert facts_of_events(found) == facts
    assert found.days == Days(date(2026, 3, 2), date(2026, 3, 12))
    # Six of seven days, then three of seven with what the first week overran.
    first, second = found.periods
    assert (first.days, first.amount) == (Days(date(2026, 3, 3), date(2026, 3, 9)), Decimal("771.43"))
    assert second.days == Days(date(2026, 3, 9), date(2026, 3, 12))
    assert second.amount == max(Decimal(0), Decimal("385.71") + first.amount - first.actual_cost)
    assert {fact[0].hour for fact in facts if fact[1] == 100 and fact[2] == "throttle"} == {5}  # Saturday begins there
    assert {fact[3] for fact in facts} == {date(2026, 3, 2), date(2026, 3, 9)}


def test_it_plays_a_rolling_budget_with_its_window_of_each_day(log: Source) -> None:
    number = make_budget(
        *LADDER, period="rolling", amount="700", terms=BudgetTerms(rolling_days=3), now=STREAM.start_at
    )

    began = live(log)
    found = played(number)

    facts = facts_of_runs(began)
    assert facts_of_events(found) == facts
    assert len({fact[0] for fact in facts if fact[2] == "throttle"}) > 1
    assert [len(one.days) for one in found.periods] == [3] * 4
    assert {one.amount for one in found.periods} == {Decimal(700)}


def test_it_calls_a_warning_of_a_rolling_budget_false_where_no_window_passed_its_amount(log: Source) -> None:
    steps = rung("50", "notify", on="forecast")
    kept = make_budget(steps, period="rolling", amount="900", terms=BudgetTerms(rolling_days=7))
    passed = make_budget(steps, name="Passed", period="rolling", amount="500", terms=BudgetTerms(rolling_days=7))

    found = [
        backtest.run(tested=backtest.of_budget(budget_id=number, teams=None), days=28, now=HISTORY.end_at)
        for number in (kept, passed)
    ]

    assert [len(one.events) > 0 for one in found] == [True, True]
    assert [len(one.false_alarms) > 0 for one in found] == [True, False]


def test_it_counts_alerts_throttles_requests_refused_and_false_alarms(log: Source) -> None:
    for day in STREAM:
        for hour in HOURS:
            call(log, day, hour)
    world.settle()
    complete(log, STREAM.end_at)
    number = make_budget(
        rung("40", "notify"),
        rung("90", "notify", on="forecast"),
        rung("100", "throttle", requests_per_minute=4),
        period="week",
        amount="900",
    )

    found = played(number)

    assert found.days == STREAM
    assert found.started_on("throttle") == [date(2026, 3, 6)]
    throttled = next(one for one in found.events if one.step.action == "throttle")
    # From Friday evening on 10 requests a minute meet a limit of 4 in each hour that has any.
    left = [
        (day, hour)
        for day in STREAM
        for hour in HOURS
        if throttled.at < world.at(hour, day=day) < world.at(0, day=date(2026, 3, 9))
    ]
    assert found.refused_requests == 360 * len(left)
    assert found.refused_cost == sum(Decimal(tokens(*one)) * Decimal("0.6") / 1000 for one in left)
    assert [one.used_percent > 100 for one in found.periods] == [True, False]
    assert [one.is_over for one in found.periods] == [True, False]
    assert found.notified == len({one.at for one in found.told}) >= 3


def test_it_calls_a_warning_of_a_forecast_false_where_the_period_ended_within_its_budget(log: Source) -> None:
    for day in STREAM:
        for hour in HOURS:
            call(log, day, hour)
    world.settle()
    complete(log, STREAM.end_at)
    number = make_budget(rung("90", "notify", on="forecast"), rung("50", "notify"), period="week", amount="1190")

    found = played(number)

    first = found.periods[0]
    assert Decimal(90) < first.used_percent < 100 and first.is_over
    warnings = [one for one in found.events if one.period_start == first.days.start and one.step.percent == 90]
    assert warnings and list(found.false_alarms) == warnings


def test_it_tests_a_draft_and_keeps_nothing_of_it(log: Source) -> None:
    def save() -> int:
        return make_budget(rung("50", "notify"), name="Draft", period="week", amount="500")

    tested = backtest.of_draft(save)
    found = backtest.run(tested=tested, days=14, now=HISTORY.end_at)

    assert found.name == "Draft" and found.notified == 2
    assert not Budget.objects.exists() and not AuditEntry.objects.exists()


def test_it_tests_a_change_of_a_budget_and_leaves_the_budget_alone(log: Source) -> None:
    number = make_budget(rung("50", "notify"), period="week", amount="500")

    def save() -> None:
        budgets.update(budget_id=number, by="ada", now=world.NOW, amount="5000")

    tested = backtest.of_draft(save, budget_id=number)

    assert tested.budget.amount == 5000 and [step.percent for step in tested.steps] == [50]
    assert Budget.objects.get().amount == 500


def test_it_names_the_mistakes_of_a_draft(log: Source) -> None:
    with pytest.raises(budgets.Invalid):
        backtest.of_draft(lambda: make_budget(amount="nothing"))


def test_it_does_not_show_a_lead_the_budget_of_another_team(log: Source) -> None:
    number = make_budget()

    with pytest.raises(queries.NotFound):
        backtest.of_budget(budget_id=number, teams=["support"])


@pytest.mark.parametrize("days", [0, 367])
def test_it_refuses_a_number_of_days_it_cannot_play(days: int, log: Source) -> None:
    with pytest.raises(ValueError, match="1 to 366"):
        played(make_budget(), days=days)


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (BudgetTerms(starts_on=date(2026, 3, 2)), "begins on 2026-03-02"),
        (BudgetTerms(starts_on=date(2025, 1, 1), ends_on=date(2026, 2, 3)), "ended before 2026-02-03"),
    ],
)
def test_it_says_where_a_budget_did_not_run_on_the_days(terms: BudgetTerms, why: str, log: Source) -> None:
    number = make_budget(terms=terms)

    with pytest.raises(backtest.NotTestable, match=f"2026-02-15 to 2026-03-01, found one that {why}"):
        backtest.run(tested=backtest.of_budget(budget_id=number, teams=None), days=15, now=HISTORY.end_at)


def event(action: str, *, at: datetime, until: datetime | None, **config: int | str) -> replay.Event:
    step = replay.Step(1, Decimal(100), action, config, "automatic", None)
    return replay.Event(0, step, at, at.date(), 1, "running", Decimal(100), None, until, "")


def test_it_refuses_all_calls_of_a_shutdown_for_the_part_of_an_hour_it_held() -> None:
    begun = world.at(10, 44) + timedelta(seconds=59)
    calls = [HourUsage(world.at(hour), (), Decimal(8), 40, 1000) for hour in (9, 10, 11)]

    found = refusals.refused(events=[event("shutdown", at=begun, until=world.at(12))], calls=calls, until=world.at(20))

    assert found == {0: refusals.Refused(50, Decimal(10))}


@pytest.mark.parametrize(
    ("config", "requests"),
    [
        ({"requests_per_minute": 10}, 600),
        ({"requests_per_minute": 10, "tokens_per_minute": 50}, 900),
        ({"max_tokens": 5}, 0),
        ({"requests_per_minute": 100}, 0),
    ],
)
def test_it_refuses_what_is_beyond_the_limit_of_a_minute(config: dict[str, int], requests: int) -> None:
    calls = [HourUsage(world.at(11), (), Decimal(12), 1200, 12_000)]

    found = refusals.refused(
        events=[event("throttle", at=world.at(10), until=None, **config)], calls=calls, until=world.at(20)
    )

    assert found[0] == refusals.Refused(requests, Decimal(12) * requests / 1200)


def test_it_counts_what_a_reroute_sends_elsewhere_and_nothing_refused() -> None:
    calls = [HourUsage(world.at(hour), (), Decimal(8), 40, 1000) for hour in (9, 10, 11)]
    moved = event("reroute", at=world.at(10) + timedelta(minutes=29, seconds=59), until=None, to_model="small")
    step = replay.Step(2, Decimal(120), "shutdown", {}, "automatic", None)
    stopped = replay.Event(
        1, step, world.at(11) - timedelta(seconds=1), moved.period_start, 1, "running", Decimal(120), None
    )

    alone = refusals.rerouted(events=[moved], calls=calls, until=world.at(20))
    both = refusals.rerouted(events=[moved, stopped], calls=calls, until=world.at(20))

    assert (alone, both) == ({0: 60}, {0: 20})
    assert refusals.refused(events=[moved], calls=calls, until=world.at(20)) == {}
