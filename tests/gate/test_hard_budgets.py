"""Hard budgets in a running gate: what is reserved when another model serves, and what happens when nothing is left."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from costobs_gate import renewal

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, BETA, CostobsServer, policy, rule, wait_until
from tests.gate.proxies import Model, Proxy, serving

PRICES = [
    {"model": "large", "input": "0.00001", "cached": "0.00001", "output": "0.0001"},
    {"model": "small", "input": "0.000001", "cached": "0.000001", "output": "0.00001"},
    {"model": "lost", "input": "0.000001", "cached": "0.000001", "output": "0.00001"},
    {"model": "gpt-mini", "input": "0.000002", "cached": "0.000002", "output": "0.00002"},
]
# The upstream says 305 tokens in and 4 out.
AT_SMALL, AT_MINI = "0.000345000000", "0.000690000000"
OVERFLOW = ["--overflow", "own=api:gpt-mini"]


def budget(id_: int, match: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"budget": id_, "matches": [match], "on_unreachable": "closed", "message": "All is spent.", **more}


@pytest.fixture(autouse=True)
def renews_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "IDLE_SECONDS", 0.05)


@pytest.fixture
def enforce(costobs: CostobsServer) -> Callable[..., str]:
    """Publish hard budgets, with 1 left of each."""

    def publish(*budgets: dict[str, Any], rules: tuple[dict[str, Any], ...] = ()) -> str:
        costobs.lends = {one["budget"]: "1" for one in budgets}
        return costobs.publish({**policy(*rules), "hard": list(budgets), "prices": PRICES})

    return publish


@pytest.fixture
def own() -> Iterator[Model]:
    with serving(Model("small", "large")) as model:
        yield model


@pytest.fixture
def api() -> Iterator[Model]:
    with serving(Model("gpt-mini")) as model:
        yield model


@pytest.fixture
def start(gate_env: pytest.MonkeyPatch, own: Model, api: Model) -> Iterator[Callable[..., Proxy]]:
    both = ["--upstream", f"own={own.url}", "--models", "own=small,large", "--upstream", f"api={api.url}"]
    with ExitStack() as stack:

        def begin(*arguments: str) -> Proxy:
            proxy = Proxy("--grace-seconds", "0", *both, "--models", "api=gpt-mini", *arguments)
            stack.callback(proxy.stop)
            return proxy

        yield begin


def _once_lent(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not about a lease that is still on its way."""
    answers: list[httpx.Response] = []

    def is_lent() -> bool:
        answers.append(ask())
        return "budget_lease_missing" not in answers[-1].text

    wait_until(is_lent)
    return answers[-1]


def _settled(costobs: CostobsServer, found: dict[int, tuple[str, str]]) -> None:
    costobs.wait_for(lambda: costobs.held() == found)


def test_it_reserves_and_settles_at_the_model_that_serves(
    gate: Served, costobs: CostobsServer, enforce: Callable[..., str]
) -> None:
    way = rule("cheaper", "reroute", {"model": "large"}, to_model="small")
    gate.wait_for_policy(enforce(budget(1, {"model": "small"}), budget(2, {"model": "large"}), rules=(way,)))

    answer = _once_lent(lambda: gate.post(json={"model": "large", "messages": []}))

    assert answer.status_code == 200
    event = costobs.event(outcome="ok")
    assert (event["x_gate_accounts"], event["x_gate_cost"]) == ([10], AT_SMALL)
    _settled(costobs, {10: (AT_SMALL, "0"), 20: ("0", "0")})


def test_it_exchanges_the_reservation_when_a_request_overflows(
    start: Callable[..., Proxy], own: Model, api: Model, costobs: CostobsServer, enforce: Callable[..., str]
) -> None:
    enforce(budget(1, {"model": "small"}), budget(2, {"model": "gpt-mini"}))
    proxy, own.status = start(*OVERFLOW), 503

    answer = _once_lent(proxy.ask)

    assert (answer.status_code, answer.headers["x-costobs-served-by"]) == (200, "api")
    event = costobs.event(outcome="ok")
    assert (event["x_gate_accounts"], event["x_gate_cost"]) == ([20], AT_MINI)
    _settled(costobs, {10: ("0", "0"), 20: (AT_MINI, "0")})


def test_it_does_not_overflow_into_a_budget_without_room(
    start: Callable[..., Proxy], own: Model, api: Model, costobs: CostobsServer, enforce: Callable[..., str]
) -> None:
    enforce(budget(1, {"model": "small"}), budget(2, {"model": "gpt-mini"}))
    proxy, own.status = start(*OVERFLOW), 503

    # Lent is 1 of each: what gpt-mini may write costs more than that, what small may write does not.
    answer = _once_lent(lambda: proxy.ask(max_tokens=60_000))

    assert (answer.status_code, len(api.seen)) == (503, 0)
    assert costobs.event(outcome="error")["x_gate_accounts"] == [10]


@pytest.mark.parametrize("status", [429, 503])
def test_it_takes_nothing_for_what_a_server_has_no_room_for(
    start: Callable[..., Proxy], own: Model, costobs: CostobsServer, enforce: Callable[..., str], status: int
) -> None:
    enforce(budget(1, {"model": "small"}))
    proxy, own.status = start(), status

    answer = _once_lent(lambda: proxy.ask(max_tokens=100))

    assert answer.status_code == status
    event = costobs.event(outcome="error")
    assert (event["x_gate_cost"], event["usage_known"]) == ("0", True)
    _settled(costobs, {10: ("0", "0")})


def test_it_takes_nothing_for_what_never_reached_a_server(
    start: Callable[..., Proxy], costobs: CostobsServer, enforce: Callable[..., str]
) -> None:
    enforce(budget(1, {"model": "lost"}))
    proxy = start("--upstream", "gone=http://127.0.0.1:9", "--models", "gone=lost")

    answer = _once_lent(lambda: proxy.ask(model="lost"))

    assert answer.status_code == 502
    assert costobs.event(outcome="error")["x_gate_cost"] == "0"


@pytest.mark.parametrize("status", [500, 502, 504])
def test_it_keeps_the_reservation_where_a_server_failed_and_may_have_computed(
    start: Callable[..., Proxy], own: Model, costobs: CostobsServer, enforce: Callable[..., str], status: int
) -> None:
    enforce(budget(1, {"model": "small"}))
    proxy, own.status = start(), status

    _once_lent(lambda: proxy.ask(max_tokens=100))

    event = costobs.event(outcome="error")
    # 512 tokens of the template and the bytes of the body at 0.000001, 100 tokens at 0.00001.
    reserved = 512 + len(own.seen[-1]["body"]) + 1000
    assert (event["x_gate_cost"], event["usage_known"]) == (f"0.00{reserved}000000", False)
    _settled(costobs, {10: (event["x_gate_cost"], "0")})


@pytest.mark.parametrize("stream", [True, False])
def test_it_ends_what_runs_when_nothing_is_left_of_a_budget_that_says_so(
    gate: Served, costobs: CostobsServer, enforce: Callable[..., str], stream: bool
) -> None:
    version = enforce(budget(1, {"team": "beta"}, aborts=True), budget(2, {"team": "alpha"}))
    gate.wait_for_policy(version)
    _once_lent(lambda: gate.post(key=BETA))
    _once_lent(lambda: gate.post(key=ALPHA))
    hold = {"model": "small", "messages": [], "stream": stream, "metadata": {"hold": True}}
    stopped, other = (_Running(lambda key=key: gate.post(key=key, json=hold)) for key in (BETA, ALPHA))
    wait_until(lambda: "costobs_gate_inflight 2" in gate.metrics())

    costobs.lends = {1: "0", 2: "0"}
    answer = stopped.answer()

    assert answer.status_code == (200 if stream else 429)
    assert "All is spent." in answer.text
    wait_until(lambda: "costobs_gate_inflight 1" in gate.metrics())
    gate.upstream.release.set()
    assert other.answer().status_code == 200
    assert 'costobs_gate_aborted_total{team="beta"} 1' in gate.metrics()
    cancelled = costobs.event(outcome="cancelled")
    assert (cancelled["attributes"]["team"], cancelled["x_gate_accounts"]) == ("beta", [10])


def test_it_ends_what_runs_at_the_upstream_of_a_proxy(
    start: Callable[..., Proxy], own: Model, costobs: CostobsServer, enforce: Callable[..., str]
) -> None:
    enforce(budget(1, {"team": "alpha", "environment": "test"}, aborts=True))
    proxy = start()
    _once_lent(proxy.ask)
    running = _Running(lambda: proxy.ask(stream=True, metadata={"hold": True}))
    wait_until(lambda: "costobs_gate_inflight 1" in proxy.metrics())

    costobs.lends = {1: "-0.5"}

    assert "All is spent." in running.answer().text
    wait_until(own.cancelled.is_set)
    assert costobs.event(outcome="cancelled")["usage_known"] is False


class _Running:
    """A request in a thread of its own."""

    def __init__(self, ask: Callable[[], httpx.Response]) -> None:
        self._answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(ask()), daemon=True)
        self._thread.start()

    def answer(self) -> httpx.Response:
        self._thread.join(60)
        return self._answers[0]
