"""How a proxy stops, and what its processes share."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.gate.costobs_server import ALPHA, CostobsServer, policy, rule, wait_until
from tests.gate.proxies import Model, Proxy, held, serving

Start = Callable[..., Proxy]


@pytest.fixture
def own() -> Iterator[Model]:
    with serving(Model("small")) as model:
        yield model


@pytest.fixture
def start(gate_env: pytest.MonkeyPatch, own: Model) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(*arguments: str) -> Proxy:
            proxy = Proxy("--upstream", f"own={own.url}", *arguments)
            stack.callback(proxy.stop)
            return proxy

        yield begin


def test_it_finishes_what_runs_and_refuses_what_is_new_when_it_is_told_to_stop(
    start: Start, own: Model, costobs: CostobsServer
) -> None:
    proxy = start("--grace-seconds", "0")

    with held(proxy, own) as running:
        pieces = running.iter_bytes()
        first = next(pieces)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _fresh(proxy, "/health").status_code == 503)
        refused = _fresh(proxy, "/v1/chat/completions")
        proxy.process.send_signal(signal.SIGTERM)
        own.release.set()
        rest = b"".join(pieces)
        status = proxy.process.wait(60)

    assert (refused.status_code, refused.headers["connection"], refused.headers["retry-after"]) == (429, "close", "5")
    assert refused.json()["error"]["code"] == "draining"
    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert status == 0
    assert [(event["outcome"], event["gen_ai.usage.output_tokens"]) for event in costobs.events] == [("ok", 4)]


def test_it_ends_what_runs_too_long_after_it_was_told_to_stop(start: Start, own: Model, costobs: CostobsServer) -> None:
    proxy = start("--grace-seconds", "0", "--drain-seconds", "0.5")

    with held(proxy, own):
        proxy.process.send_signal(signal.SIGTERM)
        status = proxy.process.wait(60)

    assert status == 0
    assert [event["outcome"] for event in costobs.events] == ["error"]


def test_it_drains_all_its_processes_by_one_order_and_serves_again(start: Start, costobs: CostobsServer) -> None:
    proxy = start("--workers", "2")
    wait_until(lambda: len(costobs.instances) == 2)

    begun = proxy.client.post("/costobs/gate/drain").json()
    wait_until(lambda: [_fresh(proxy, "/costobs/gate/ready").status_code for _ in range(8)] == [503] * 8)
    drained = {_fresh(proxy, "/v1/chat/completions").status_code for _ in range(8)}
    ended = proxy.client.delete("/costobs/gate/drain").json()
    wait_until(lambda: [_fresh(proxy, "/costobs/gate/ready").status_code for _ in range(8)] == [200] * 8)

    assert (begun, ended) == ({"draining": True, "running": 0}, {"draining": False, "running": 0})
    assert drained == {429}
    assert proxy.ask().status_code == 200


def test_it_takes_the_order_to_drain_from_no_page_and_from_no_other_machine(start: Start) -> None:
    proxy = start()

    from_page = proxy.client.post("/costobs/gate/drain", headers={"Origin": "https://example.com"})
    from_far = proxy.client.post("/costobs/gate/drain", headers={"X-Forwarded-For": "10.1.1.1"})

    assert (from_page.status_code, from_far.status_code, proxy.ask().status_code) == (403, 403, 200)


def test_it_shares_a_limit_between_its_processes(start: Start, costobs: CostobsServer) -> None:
    costobs.publish(policy(rule("slow", "throttle", {"team": "alpha"}, requests_per_minute=30)))
    proxy = start("--workers", "3")
    wait_until(lambda: len(costobs.instances) == 3)

    statuses = [_fresh(proxy, "/v1/chat/completions").status_code for _ in range(40)]

    # Ten seconds' worth at once, and one more for each two seconds that the forty took.
    assert 5 <= statuses.count(200) <= 12
    assert statuses.count(200) + statuses.count(429) == 40


def test_it_shares_places_between_its_processes_and_frees_those_of_a_killed_one(
    start: Start, own: Model, costobs: CostobsServer
) -> None:
    costobs.publish(policy(rule("two", "throttle", {}, max_inflight=2)))
    proxy = start("--workers", "2")
    wait_until(lambda: len(costobs.instances) == 2)
    before = set(costobs.instances)

    with held(proxy, own), held(proxy, own):
        full = {_fresh(proxy, "/v1/chat/completions").status_code for _ in range(8)}
        for instance in before:
            _kill(instance)
        wait_until(lambda: len(costobs.instances - before) == 2, seconds=60)
        wait_until(lambda: _answers(proxy) == 200, seconds=60)

    assert full == {429}


def test_it_ends_when_a_worker_cannot_start(gate_env: pytest.MonkeyPatch, own: Model, tmp_path: object) -> None:
    gate_env.setenv("COSTOBS_GATE_DIR", "/proc/no-such-place")

    with pytest.raises(AssertionError):
        Proxy("--upstream", f"own={own.url}", "--workers", "2")


def _fresh(proxy: Proxy, path: str) -> httpx.Response:
    """On a connection of its own, so that any of the processes may get it."""
    headers = {"Authorization": f"Bearer {ALPHA}"}
    with httpx.Client(base_url=proxy.url, timeout=60, headers=headers) as client:
        return client.post(path, json={"model": "small", "messages": []}) if "/v1/" in path else client.get(path)


def _answers(proxy: Proxy) -> int:
    try:
        return _fresh(proxy, "/v1/chat/completions").status_code
    except httpx.HTTPError:
        return 0


def _kill(instance: str) -> None:
    import os

    os.kill(int(instance.split("-")[0]), signal.SIGKILL)
