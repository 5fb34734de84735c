"""The parts of a difference: exact, whatever the cells."""

from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts import drivers
from alerts.drivers import Amount, Cell
from costobs.kernel import money


def cells(*rows: tuple[str, str, str, int]) -> dict[Cell, Amount]:
    return {Cell(model, key): Amount(Decimal(cost), Decimal(tokens)) for model, key, cost, tokens in rows}


def test_it_calls_more_tokens_at_the_same_price_volume() -> None:
    found = drivers.explain(cells(("a", "k", "10", 100)), cells(("a", "k", "30", 300)), expected=Decimal(10))

    assert found.named() == [("volume", Decimal(20))]
    assert found.volume_percent == 200
    assert found.price_percent == 0


def test_it_calls_the_same_tokens_at_another_price_price() -> None:
    found = drivers.explain(cells(("a", "k", "10", 100)), cells(("a", "k", "15", 100)), expected=Decimal(10))

    assert found.named() == [("price", Decimal(5))]
    assert found.price_percent == 50


def test_it_calls_a_shift_to_a_dearer_model_mix() -> None:
    before = cells(("cheap", "k", "10", 100), ("dear", "k", "100", 100))
    after = cells(("cheap", "k", "0", 0), ("dear", "k", "200", 200))

    assert drivers.explain(before, after, expected=Decimal(110)).named() == [("mix", Decimal(90))]


def test_it_names_new_keys_and_new_models() -> None:
    before = cells(("a", "k", "10", 100))
    after = cells(("a", "k", "10", 100), ("a", "k2", "7", 70), ("b", "k", "5", 10))

    found = drivers.explain(before, after, expected=Decimal(10))

    assert found.named() == [("new_key", Decimal(7)), ("new_model", Decimal(5))]


def test_it_keeps_what_no_token_carries_and_what_the_season_explains_apart() -> None:
    before, after = cells(("a", "k", "10", 100), ("", "", "5", 0)), cells(("a", "k", "10", 100), ("", "", "9", 0))

    found = drivers.explain(before, after, expected=Decimal(12))

    assert (found.other, found.season, found.difference) == (Decimal(4), Decimal(3), Decimal(7))


_AMOUNTS = st.builds(
    Amount,
    st.decimals(min_value=0, max_value=10**6, places=6),
    st.integers(min_value=0, max_value=10**9).map(Decimal),
)
_CELLS = st.dictionaries(st.builds(Cell, st.sampled_from("abc"), st.sampled_from("xyz")), _AMOUNTS)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_CELLS, _CELLS, st.decimals(min_value=0, max_value=10**6, places=4))
def test_it_adds_up_exactly(before: dict[Cell, Amount], after: dict[Cell, Amount], expected: Decimal) -> None:
    found = drivers.explain(before, after, expected=expected)

    whole = money.total(one.cost for one in after.values()) - expected
    assert found.difference == whole
    assert money.total(amount for _kind, amount in found.named()) == whole
    assert drivers.explain(dict(reversed(before.items())), after, expected=expected) == found


def test_it_names_the_dearest_new_keys_with_what_they_cost_over_all_models() -> None:
    costs = {("m", "a"): 1, ("m", "b"): 5, ("n", "b"): 6, ("m", "c"): 3, ("m", "d"): 2, ("m", "old"): 50}
    after = {Cell(*cell): Amount(Decimal(cost), Decimal(10)) for cell, cost in costs.items()}

    found = drivers.explain({Cell("m", "old"): Amount(Decimal(50), Decimal(10))}, after, expected=Decimal(50))

    assert found.new_keys == (("b", Decimal(11)), ("c", Decimal(3)), ("d", Decimal(2)))
    assert found.new_key == Decimal(17)
    assert found.new_models == ()
