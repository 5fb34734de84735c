"""Forecasts of budgets: worked out ahead from complete days, read by evaluations, kept to be compared."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import budgets, evaluate, expected, forecasts, queries, spent
from alerts.models import BudgetForecast, BudgetState
from alerts.rows import BudgetTerms
from alerts.spent import Window
from costobs.kernel.period import Days, month
from tests.alerts.conftest import Books, at, at_once, make_books, make_budget, rung

pytestmark = pytest.mark.django_db

SINCE = date(2026, 8, 1)


def cost(day: date) -> Decimal:
    """A hundred on working days, forty on weekends."""
    return Decimal(100 if day.weekday() < 5 else 40)


def fill(books: Books, days: Days, *, team: str = "search") -> None:
    for day in days:
        books.spend(day, str(cost(day)), team=team)
    books.complete(days.end_at)


def whole(days: Days) -> Decimal:
    return sum((cost(day) for day in days), Decimal(0))


@pytest.fixture
def history(books: Books) -> Books:
    fill(books, Days(SINCE, at(11).date()))
    return books


def test_it_expects_the_weekdays_that_are_left(history: Books) -> None:
    make_budget()

    expected.run(now=at(11))

    row = BudgetForecast.objects.get(is_later=False)
    assert (row.period_start, row.period_end, row.through) == (at(1).date(), date(2026, 12, 1), at(11).date())
    assert row.spent_cost == whole(Days(at(1).date(), at(11).date()))
    assert row.forecast_cost is not None and abs(row.forecast_cost - whole(month(at(1).date()))) < 5
    assert row.history_days == 102 and row.method not in {"", "naive pace"}


def test_it_is_read_by_the_evaluation_with_interval_method_and_past_error(history: Books) -> None:
    make_budget(amount="2000")
    expected.run(now=at(11))

    evaluate.run(now=at(11))

    state = BudgetState.objects.get()
    said = BudgetForecast.objects.get(is_later=False)
    assert (state.forecast_cost, state.forecast_method) == (said.forecast_cost, said.method)
    assert (state.forecast_low_cost, state.forecast_high_cost) == (said.forecast_low_cost, said.forecast_high_cost)
    assert state.forecast_error_percent == said.error_percent is not None
    (line,) = queries.budgets(now=at(11), teams=None)
    assert (line.forecast_low_cost, line.is_forecast_over) == (said.forecast_low_cost, True)


def test_it_leaves_the_labelled_naive_pace_where_history_is_short(books: Books) -> None:
    fill(books, Days(at(1).date() - timedelta(days=20), at(11).date()))
    make_budget()

    expected.run(now=at(11))
    evaluate.run(now=at(11))

    state = BudgetState.objects.get()
    assert (state.forecast_method, state.forecast_low_cost, state.forecast_error_percent) == ("naive pace", None, None)
    assert BudgetForecast.objects.get().method == ""


def test_it_lifts_the_forecast_by_what_today_costs_beyond_what_was_expected(history: Books) -> None:
    make_budget(amount="100000")
    expected.run(now=at(11))
    history.spend(at(11).date(), "5000")

    evaluate.run(now=at(11))

    state, said = BudgetState.objects.get(), BudgetForecast.objects.get(is_later=False)
    assert state.forecast_cost is not None and said.forecast_cost is not None
    lift = state.forecast_cost - said.forecast_cost
    assert 4800 < lift < 5000
    assert state.forecast_low_cost is not None and state.forecast_low_cost >= state.spend_cost


def test_it_knows_nothing_that_came_after_its_moment(history: Books) -> None:
    make_budget()
    expected.run(now=at(11))
    before = BudgetForecast.objects.values_list("through", "forecast_cost", "days")
    said = list(before)

    for day in Days(at(12).date(), at(25).date()):
        history.spend(day, "9999")
    BudgetForecast.objects.all().delete()
    expected.run(now=at(11))

    assert list(before) == said


def test_it_does_not_take_days_of_a_late_source_for_zero(history: Books) -> None:
    make_budget()

    expected.run(now=at(15))

    row = BudgetForecast.objects.get(is_later=False)
    assert row.through == at(11).date()
    assert row.forecast_cost is not None and abs(row.forecast_cost - whole(month(at(1).date()))) < 5


def test_it_works_out_a_budget_once_until_its_complete_days_or_its_scope_change(history: Books) -> None:
    number = make_budget()
    first = expected.run(now=at(11))

    assert expected.run(now=at(11, 18)) == []

    budgets.update(budget_id=number, by="ada@example.com", now=at(11), scope={"team": ["search", "support"]})
    again = expected.run(now=at(11, 18))
    assert set(again).isdisjoint(first)
    assert BudgetForecast.objects.filter(is_later=False).count() == 1
    assert len(expected.run(now=at(12))) == 1


def test_it_begins_a_month_whose_last_days_are_not_complete_yet(history: Books) -> None:
    fill(history, Days(at(11).date(), date(2026, 11, 30)))
    make_budget()

    expected.run(now=datetime.combine(date(2026, 12, 1), at(1, 8).timetz()))

    row = BudgetForecast.objects.get(is_later=False)
    december = month(date(2026, 12, 1))
    assert (row.period_start, row.through) == (december.start, date(2026, 11, 30))
    assert row.forecast_cost is not None and abs(row.forecast_cost - whole(december)) < 10


def test_it_says_when_each_step_is_expected(history: Books) -> None:
    number = make_budget(rung("60", "notify"), rung("500", "notify"), amount="3000")
    expected.run(now=at(11))
    evaluate.run(now=at(11))

    first, never = queries.budget(id=number, now=at(11), teams=None).rungs

    by_hand = at(1).date()
    while whole(Days(at(1).date(), by_hand + timedelta(days=1))) < 1800:
        by_hand += timedelta(days=1)
    assert first.expected_on is not None and abs((first.expected_on - by_hand).days) <= 1
    assert first.earliest_on is not None and first.earliest_on <= first.expected_on
    assert (never.expected_on, never.earliest_on) == (None, None)


def test_it_shows_what_was_said_and_what_it_became(history: Books) -> None:
    number = make_budget()
    expected.run(now=at(11))

    said = forecasts.said(budget_id=number, now=at(11), teams=None)

    october = month(date(2026, 10, 5))
    kept = [one for one in said if one.days == october]
    assert [one.known_days for one in kept] == [10, 20]
    assert all(one.actual_cost == whole(october) and one.is_later for one in kept)
    assert all(abs(one.error_cost) < 5 and one.is_inside for one in kept)


def test_it_keeps_what_was_said_each_day_and_the_curve_of_the_newest_only(history: Books) -> None:
    number = make_budget()
    fill(history, Days(at(11).date(), at(20).date()))
    for day in (11, 15, 20):
        expected.run(now=at(day))

    rows = BudgetForecast.objects.filter(budget_id=number, is_later=False).order_by("through")
    assert [row.through.day for row in rows] == [11, 15, 20]
    assert [bool(row.days) for row in rows] == [False, False, True]
    assert all(row.forecast_low_cost is not None for row in rows)


def test_it_tells_nobody_of_other_teams_what_was_said(history: Books) -> None:
    number = make_budget()
    expected.run(now=at(11))

    with pytest.raises(queries.NotFound):
        forecasts.said(budget_id=number, now=at(11), teams=["support"])


def test_it_adds_corrections_that_were_booked_since_it_was_made() -> None:
    from alerts import curves
    from attribution.outlook import OutlookDay

    day = OutlookDay(at(30).date(), Decimal(100), Decimal(90), Decimal(120))
    curve = curves.Curve((day,), "weekday average", Decimal(3), None, 5, 10, 60, at(30).date(), Decimal(1))

    moved = curve.at(today=at(20).date(), spent_cost=Decimal(50), adjusted_cost=Decimal(31))

    assert moved.end == OutlookDay(at(30).date(), Decimal(130), Decimal(120), Decimal(150))


def test_it_asks_the_database_no_more_for_many_budgets_that_are_up_to_date(history: Books) -> None:
    for number in range(12):
        make_budget(name=f"budget {number}")
    expected.run(now=at(11))
    for _ in range(5):
        expected.run(now=at(11))  # what earlier periods lack

    with CaptureQueriesContext(connection) as asked:
        expected.run(now=at(11))

    assert len(asked) <= 6


@pytest.fixture
def committed(transactional_db: None) -> Iterator[Books]:
    yield make_books()


@pytest.mark.django_db(transaction=True)
def test_it_leaves_one_row_when_two_work_at_once(committed: Books) -> None:
    fill(committed, Days(SINCE, at(11).date()))
    make_budget()

    raised = at_once(lambda: expected.run(now=at(11)), lambda: expected.run(now=at(11)))

    assert raised == []
    assert BudgetForecast.objects.filter(is_later=False).count() == 1


def test_it_looks_ahead_over_the_days_of_the_budgets_zone(history: Books) -> None:
    make_budget(terms=BudgetTerms(zone="America/New_York"))
    make_budget(name="Rolling", period="rolling", terms=BudgetTerms(rolling_days=30))

    expected.run(now=at(11))

    row = BudgetForecast.objects.get(is_later=False)
    # When the 10th was complete in UTC, it went on for five hours in New York.
    assert (row.period_start, row.through) == (at(1).date(), at(10).date())
    assert row.forecast_cost is not None and row.method not in {"", "naive pace"}
    assert abs(row.forecast_cost - whole(month(at(1).date()))) < 60


def test_it_looks_ahead_to_where_a_budget_ends_within_its_period(history: Books) -> None:
    make_budget(terms=BudgetTerms(ends_on=date(2026, 11, 21), is_prorated=True))

    expected.run(now=at(11))

    row = BudgetForecast.objects.get(is_later=False)
    assert row.period_end == date(2026, 11, 21)
    assert row.forecast_cost is not None and abs(row.forecast_cost - whole(Days(at(1).date(), date(2026, 11, 21)))) < 5


def make_all() -> None:
    """Until nothing is left to do, which it must come to."""
    assert any(not expected.run(now=at(11)) for _ in range(20))


def test_it_keeps_the_curve_of_now_while_it_works_out_what_earlier_periods_lack(history: Books) -> None:
    numbers = [make_budget(name=f"Week {number}", period="week") for number in range(5)]
    make_all()
    BudgetForecast.objects.filter(is_later=True).delete()

    expected.run(now=at(11) + timedelta(minutes=1))

    assert BudgetForecast.objects.filter(is_later=True).exists()
    now = BudgetForecast.objects.filter(is_later=False)
    assert now.count() == len(numbers) and not now.filter(days=[]).exists()


def test_it_does_not_know_the_day_itself_when_it_works_out_an_earlier_one(history: Books) -> None:
    make_budget(period="week")
    make_all()
    later = BudgetForecast.objects.filter(is_later=True).order_by("through")
    before = list(later.values_list("through", "forecast_cost"))
    for through, _ in before:
        history.spend(through, "5000")

    BudgetForecast.objects.all().delete()
    make_all()

    first = before[0][0]
    assert before and later.get(through=first).forecast_cost == before[0][1]


def test_it_compares_what_was_said_with_the_days_of_the_zone(history: Books) -> None:
    number = make_budget(period="week", terms=BudgetTerms(zone="America/New_York", starts_on=date(2026, 10, 21)))
    make_all()

    found = forecasts.said(budget_id=number, now=at(11), teams=None)

    oldest = found[-1]
    assert oldest.days == Days(date(2026, 10, 21), date(2026, 10, 26))  # it began on a Wednesday
    zone = ZoneInfo("America/New_York")
    window = Window({"team": ["search"]}, "USD", at(1) - timedelta(days=30), at(11), at(11))
    by_day = spent.by_day(window, zone)
    assert oldest.actual_cost == sum(cost for day, cost in by_day.items() if day in oldest.days)
