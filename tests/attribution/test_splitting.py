"""Splits in SQL and in Python are one and the same."""

from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution import splitting
from costobs.kernel import money

pytestmark = pytest.mark.django_db

_amounts = st.decimals(min_value=-(10**9), max_value=10**9, places=21, allow_nan=False, allow_infinity=False)
_weights = st.lists(
    st.one_of(st.integers(0, 10**12).map(Decimal), st.decimals(0, 1000, places=9, allow_nan=False)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amounts=st.tuples(_amounts, _amounts, _amounts, _amounts), weights=_weights)
def test_it_gives_the_parts_that_money_split_gives_in_all_four_columns(amounts, weights):
    parts = _split(amounts, weights)

    if any(weights):
        expected = list(zip(*(money.split(amount, weights) for amount in amounts), strict=True))
        assert parts == expected
        for column, amount in enumerate(amounts):
            assert money.total(part[column] for part in parts) == amount
    else:
        assert parts == []


def test_it_cuts_where_rounding_the_quotient_first_would_cross_the_cut():
    # 2/3 of 0.000000000002 is 0.00000000000133…, and 0.999…9 must not become 1.
    amount = Decimal("0.999999999999999999999")

    parts = _split((amount,) * 4, [Decimal(1), Decimal(1)])

    assert [part[0] for part in parts] == money.split(amount, [Decimal(1), Decimal(1)])


def test_it_gives_the_remainder_to_the_first_of_the_heaviest():
    parts = _split((Decimal("1"),) * 4, [Decimal(1), Decimal(1), Decimal(1)])

    assert [str(part[0]) for part in parts] == ["0.333333333334", "0.333333333333", "0.333333333333"]


def _split(amounts, weights):
    values = {
        "places": list(range(len(weights))),
        "weights": weights,
        **{f"c{i}": one for i, one in enumerate(amounts)},
    }
    columns = ", ".join(f"%(c{index})s::numeric AS {cost}" for index, cost in enumerate(splitting.COSTS))
    weighted = (
        f"(SELECT 1 AS p, w.*, {columns} FROM unnest(%(places)s::int[], %(weights)s::numeric[]) AS w (spot, weight))"
    )
    sql = splitting.parts_sql(weighted=weighted, pool="p", order="spot", carried=["spot"])
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} ORDER BY spot", values)
        return [tuple(row[2:]) for row in cursor.fetchall()]
