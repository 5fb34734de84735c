"""Forecasts of any history: they are made, in order, finite, and never below what is spent."""

from datetime import date
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution import forecast

UNTIL = date(2026, 11, 10)
_costs = st.one_of(
    st.none(),
    st.just(Decimal(0)),
    st.decimals(min_value=-1000, max_value=1000, places=2),
    st.decimals(min_value=0, max_value=10**12, places=0),
    st.decimals(min_value=0, max_value=Decimal("0.000001"), places=12),
)
_histories = st.one_of(
    st.lists(_costs, min_size=31, max_size=90),
    st.builds(lambda cost, size: [cost] * size, _costs, st.integers(31, 90)),
    st.builds(
        lambda week, size, extra: (week * 13)[:size] + extra,
        st.lists(st.decimals(min_value=0, max_value=500, places=2), min_size=7, max_size=7),
        st.integers(31, 90),
        st.lists(_costs, max_size=3),
    ),
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(costs=_histories, ahead=st.integers(1, 92), elapsed=st.integers(0, 91))
def test_it_holds_for_any_history(costs: list[Decimal | None], ahead: int, elapsed: int) -> None:
    found = forecast.of(costs=costs, until=UNTIL, ahead=ahead, elapsed=elapsed)

    known = [cost for cost in costs if cost is not None]
    if found is None:
        first = next((index for index, cost in enumerate(costs) if cost), len(costs))
        assert sum(cost is not None for cost in costs[first:]) < forecast.MIN_DAYS or not any(known)
        return
    assert len(found.days) == ahead
    for day in found.days:
        assert all(amount.is_finite() for amount in (day.low, day.expected, day.high))
        assert 0 <= day.low <= day.expected <= day.high
    assert found.error_percent is None or found.error_percent >= 0
    assert elapsed >= forecast.MIN_PACE_DAYS or found.method != forecast.NAIVE_PACE
