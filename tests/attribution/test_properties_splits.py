"""A split in SQL is the split in Python, hundreds of pools at a time, whatever the signs, digits and weights."""

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution import splitting
from costobs.kernel import money

pytestmark = pytest.mark.django_db

POOLS = 400
_settings = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _amount(chance: random.Random) -> Decimal:
    """Credits and charges from a fraction of the last digit to billions, some of them nothing."""
    if chance.random() < 0.1:
        return Decimal(0)
    digits, places = chance.randint(1, 24), chance.randint(0, 21)
    return Decimal(chance.choice((1, -1)) * chance.randrange(10**digits)).scaleb(-places)


def _weight(chance: random.Random) -> Decimal:
    kind = chance.random()
    if kind < 0.2:
        return Decimal(0)
    if kind < 0.4:
        return Decimal(chance.choice((1, 7)))  # ties
    return Decimal(chance.randrange(10 ** chance.randint(1, 18))).scaleb(-chance.randint(0, 12))


def _pools(seed: int) -> list[tuple[tuple[Decimal, ...], list[Decimal]]]:
    chance = random.Random(seed)
    return [
        (
            tuple(_amount(chance) for _ in splitting.COSTS),
            [_weight(chance) for _ in range(chance.choice((1, 2, 3, 5, 12)))],
        )
        for _ in range(POOLS)
    ]


def _split(pools, *, backwards=False):
    """The parts of each pool by spot, and their weights."""
    rows = [
        (pool, spot, weight, *amounts)
        for pool, (amounts, weights) in enumerate(pools)
        for spot, weight in enumerate(weights)
    ]
    rows = rows[::-1] if backwards else rows
    columns = list(zip(*rows, strict=True))
    names = ("pool", "spot", "weight", *splitting.COSTS)
    kinds = ("int", "int", *["numeric"] * 5)
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in zip(names, kinds, strict=True))
    weighted = f"(SELECT * FROM unnest({arrays}) AS w ({', '.join(names)}))"
    sql = splitting.parts_sql(weighted=weighted, pool="pool", order="spot", carried=["pool", "spot"])
    found: dict[int, list[tuple[Decimal, ...]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"{sql} ORDER BY pool, spot", dict(zip(names, (list(column) for column in columns), strict=True))
        )
        for pool, _, _, *costs in cursor.fetchall():
            found.setdefault(pool, []).append(tuple(costs))
    return found


@_settings
@given(seed=st.integers(0, 2**32))
def test_it_splits_every_pool_as_python_does(seed):
    pools = _pools(seed)

    parts = _split(pools)

    for pool, (amounts, weights) in enumerate(pools):
        if not any(weights):
            assert pool not in parts
            continue
        expected = list(zip(*(money.split(amount, weights) for amount in amounts), strict=True))
        assert parts[pool] == expected, (amounts, weights)


@_settings
@given(seed=st.integers(0, 2**32))
def test_it_loses_nothing_and_turns_no_sign_in_any_order_of_rows(seed):
    pools = _pools(seed)

    parts = _split(pools, backwards=True)

    assert parts == _split(pools)
    for pool, costs in parts.items():
        amounts, weights = pools[pool]
        whole = money.total(weights)
        for column, amount in enumerate(amounts):
            found = [part[column] for part in costs]
            assert money.total(found) == amount
            heaviest = weights.index(max(weights))
            for spot, (part, weight) in enumerate(zip(found, weights, strict=True)):
                assert part == 0 or (part < 0) == (amount < 0)
                if spot != heaviest:
                    # Cut towards zero: never more than its share, and less by under one unit of the last place.
                    short = abs(Fraction(amount)) * Fraction(weight) / Fraction(whole) - abs(Fraction(part))
                    assert 0 <= short < Fraction(money.SPLIT_QUANTUM)
