"""One anomaly for one cause."""

from datetime import UTC, datetime
from decimal import Decimal

from alerts import causes
from alerts.causes import Candidate, Scope

AT = frozenset({datetime(2026, 11, 20, tzinfo=UTC)})
ALL: Scope = ()


def cell(
    *, provider: str = "p", team: str = "t", model: str = "m", feature: str = "f", key: str = "k"
) -> tuple[str, ...]:
    return (provider, team, model, "", feature, key)


def team(name: str) -> Scope:
    return (("team", name),)


def key(team_name: str, name: str) -> Scope:
    return (("team", team_name), ("key", name))


def model(name: str) -> Scope:
    return (("model", name),)


def found(cube: causes.Cube, *candidates: tuple[Scope, int]) -> dict[Scope, set[Scope]]:
    given = [Candidate(scope, Decimal(impact), AT) for scope, impact in candidates]
    made = causes.find(given, lambda _top: cube)
    assert {one.scope: set(one.absorbed) for one in causes.find(given[::-1], lambda _top: cube)} == {
        one.scope: set(one.absorbed) for one in made
    }
    return {one.scope: set(one.absorbed) for one in made}


def test_it_blames_the_key_that_runs_away_and_not_its_team() -> None:
    cube = {cell(key="a"): Decimal(90), cell(key="b"): Decimal(3)}

    assert found(cube, (ALL, 93), (team("t"), 93), (key("t", "a"), 90)) == {key("t", "a"): {ALL, team("t")}}


def test_it_blames_the_model_whose_price_moved_and_not_each_of_its_keys() -> None:
    cube = {cell(key=name, team=name): Decimal(30) for name in "abc"}
    keys = [(key(name, name), 30) for name in "abc"]

    assert found(cube, (ALL, 90), (model("m"), 90), *keys) in (
        {model("m"): {ALL, *(scope for scope, _impact in keys)}},
    )


def test_it_keeps_two_keys_apart_that_run_away_together() -> None:
    cube = {cell(key="a", team="x", model="m"): Decimal(50), cell(key="b", team="y", model="n"): Decimal(40)}

    assert set(found(cube, (ALL, 90), (key("x", "a"), 50), (key("y", "b"), 40))) == {key("x", "a"), key("y", "b")}


def test_it_keeps_the_general_scope_where_nothing_explains_it() -> None:
    cube = {cell(key=str(number), team=str(number), model=str(number)): Decimal(5) for number in range(20)}

    assert found(cube, (ALL, 100)) == {ALL: set()}


def test_it_leaves_alone_what_is_odd_at_another_time() -> None:
    cube = {cell(key="a"): Decimal(90)}
    later = frozenset({datetime(2026, 11, 22, tzinfo=UTC)})
    given = [Candidate(ALL, Decimal(90), AT), Candidate(key("t", "a"), Decimal(10), later)]

    assert {one.scope for one in causes.find(given, lambda _top: cube)} == {ALL, key("t", "a")}
