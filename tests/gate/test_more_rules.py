"""Rules beyond requests and blocks: tokens, keys, priorities, exceptions, other models, and the end of what runs."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from costobs_gate import admission, bodies, rules
from costobs_gate.admission import Admission, Request
from costobs_gate.counters import Counters
from costobs_gate.fields import PolicyError
from costobs_gate.policy import Key, Rule, parse

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, BETA, CostobsServer, key, policy, rule, sha256, wait_until

NOW = datetime(2026, 11, 28, tzinfo=UTC)
KEY = Key("0" * 64, "key_beta", "beta", (), None)


def _enforce(gate: Served, costobs: CostobsServer, *found: dict[str, object]) -> None:
    gate.wait_for_policy(costobs.publish(policy(*found)))


def test_it_counts_tokens_by_estimate_and_corrects_by_use() -> None:
    gate, limit = Admission(), Rule("t", "throttle", tokens_per_minute=600)

    def ask(estimate: float, at: float) -> admission.Decision:
        return gate.decide(request=Request(KEY, None, "m"), rules=[limit], now=NOW, monotonic=at, estimate=estimate)

    first = ask(500, 0)
    refused = ask(200, 0)
    assert first.ticket is not None
    gate.leave(first.ticket, used=100, monotonic=0)  # 400 come back
    fits = ask(500, 0)

    assert (refused.refused_by, refused.retry_after_seconds) == (limit, 10)
    assert fits.refused_by is None
    assert ask(1, 0).refused_by is limit


def test_it_admits_a_request_larger_than_a_minute_when_nothing_else_was_used() -> None:
    gate, limit = Admission(), Rule("t", "throttle", tokens_per_minute=100)
    request = Request(KEY, None, "m")

    first = gate.decide(request=request, rules=[limit], now=NOW, monotonic=0, estimate=250)
    later = gate.decide(request=request, rules=[limit], now=NOW, monotonic=60, estimate=1)

    assert first.refused_by is None
    assert (later.refused_by, later.retry_after_seconds) == (limit, 31)  # it pays what it took too much by waiting


def test_it_counts_a_request_at_the_upstream_it_moved_to_and_nowhere_else() -> None:
    gate, request = Admission(), Request(KEY, None, "m")
    counted = gate.decide(request=request, rules=[], now=NOW, monotonic=0, upstream="own").ticket
    uncounted = gate.decide(request=request, rules=[], now=NOW, monotonic=0).ticket
    assert counted is not None and uncounted is not None

    gate.move(counted, "own", "", 0)
    gate.move(uncounted, "other", "api", 0)
    full = {name: gate.is_full(name, 1, 0) for name in ("own", "api", "other")}
    for ticket in (counted, uncounted):
        gate.leave(ticket, monotonic=0)

    assert full == {"own": False, "api": True, "other": False}
    assert not any(gate.is_full(name, 1, 0) for name in full)


def test_it_protects_exceptions_but_no_request_without_a_readable_model() -> None:
    block = rules.parse(rule("r", "block", {"team": "beta"}, **{"except": [{"model": "safe"}]}), "rules[0]", "")

    assert block is not None
    assert [block.covers(KEY, None, model) for model in ("safe", "other", None)] == [False, True, True]


def test_it_takes_only_rules_of_its_environment() -> None:
    found = parse(
        {**policy(rule("dev", "block", {"environment": "dev"}), rule("all", "block", {})), "version": "1"}, "prod"
    )

    assert [each.id for each in found.rules] == ["all"]


@pytest.mark.parametrize(
    "broken",
    [
        {"action": "reroute"},
        {"except": {"model": "x"}},
        {"except": [{"cost": "x"}]},
        {"aborts": "yes"},
        {"priority": 1.5},
        {"to_model": 7},
        {"tokens_per_minute": -1},
    ],
)
def test_it_refuses_rules_that_it_cannot_read(broken: dict[str, object]) -> None:
    with pytest.raises(PolicyError, match=r"rules\[0\]"):
        rules.parse({**rule("r", "throttle", {}), **broken}, "rules[0]", "")


def test_it_follows_reroutes_in_a_row_and_never_in_a_circle() -> None:
    ways = [
        Rule("a", "reroute", model="large", to_model="middle"),
        Rule("b", "reroute", model="middle", to_model="small"),
        Rule("c", "reroute", model="small", to_model="large"),
    ]

    found = admission.reroute(Request(KEY, None, "middle"), ways, NOW)

    assert found is not None
    assert (found.model, found.rules) == ("middle", ("b", "c", "a"))  # each once, then it stays


@pytest.mark.parametrize(
    ("document", "most", "tokens"),
    [({}, None, 256), ({"max_tokens": 10}, None, 10), ({"max_tokens": 10, "n": 3}, 5, 15), (None, None, 0)],
)
def test_it_estimates_tokens(document: dict[str, object] | None, most: int | None, tokens: int) -> None:
    assert bodies.estimate(400, document, most) == 100 + tokens


def test_it_shares_counters_in_a_directory_and_takes_off_the_dead(tmp_path: Path) -> None:
    one, other = Counters(tmp_path), Counters(tmp_path)
    with one.locked():
        one.count("limit", 1, 1.0)
        other.count("limit", 1, 1.0)
        both = other.inflight("limit", 1.0)
    one.close()

    with other.locked():
        other.bury(100.0)
        left = other.inflight("limit", 100.0)
    other.close()

    assert (both, left) == (2, 1)


def test_it_forgets_the_limit_that_nobody_used_for_longest() -> None:
    counters = Counters()

    for number in range(20_000):
        counters.requests_wait(f"limit {number}", 6, float(number))
        counters.take(f"limit {number}", float(number), requests=1)

    assert counters.requests_wait("limit 19999", 6, 20_000.0) > 0
    assert counters.requests_wait("limit 0", 6, 20_000.0) == 0


def test_it_limits_a_key(gate: Served, costobs: CostobsServer) -> None:
    limits = {"requests_per_minute": 6, "max_tokens": 7, "priority": 5}
    document = policy()
    document["keys"][0] = key(ALPHA, "key_alpha", "alpha", limits=limits)
    gate.wait_for_policy(costobs.publish(document))

    answers = [gate.post(json={"model": "small", "priority": -9}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert gate.upstream.seen[0]["body"] == b'{"model":"small","priority":5,"max_tokens":7}'
    assert costobs.event(outcome="refused")["refused_by"] == "key:key_alpha"
    assert gate.post(key=BETA).status_code == 200


def test_it_sends_a_request_to_a_cheaper_model_of_the_same_server(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("cheap", "reroute", {"model": "large"}, to_model="small"))

    answer = gate.post(json={"model": "large", "messages": []})

    assert gate.upstream.seen[-1]["body"] == b'{"model":"small","messages":[]}'
    assert answer.headers["x-costobs-served-model"] == "small"
    event = costobs.event(outcome="ok")
    assert (event["gen_ai.request.model"], event["gen_ai.response.model"]) == ("large", "small")
    assert event["rerouted_by"] == "cheap"


def test_it_holds_limits_of_the_model_that_serves(gate: Served, costobs: CostobsServer) -> None:
    way, limit = rule("cheap", "reroute", {"model": "large"}, to_model="small"), rule("b", "block", {"model": "small"})
    _enforce(gate, costobs, way, limit)

    assert gate.post(json={"model": "large", "messages": []}).status_code == 429


@pytest.mark.parametrize("stream", [True, False])
def test_it_ends_running_requests_once(gate: Served, costobs: CostobsServer, stream: bool) -> None:
    running = _Running(gate, stream=stream)

    _enforce(gate, costobs, rule("stop", "block", {"team": "beta"}, aborts=True, message="The money is gone."))
    answer = running.answer()

    assert answer.status_code == (200 if stream else 429)
    assert "The money is gone." in answer.text
    event = costobs.event(outcome="cancelled")
    assert event["gen_ai.usage.output_tokens"] == (2 if stream else 0)
    wait_until(lambda: "costobs_gate_inflight 0" in gate.metrics())
    assert 'costobs_gate_aborted_total{team="beta"} 1' in gate.metrics()


def test_it_leaves_running_requests_alone_that_a_rule_protects(gate: Served, costobs: CostobsServer) -> None:
    running = _Running(gate, stream=True)

    _enforce(gate, costobs, rule("stop", "block", {}, aborts=True, **{"except": [{"key_id": "key_beta"}]}))
    gate.upstream.release.set()

    assert running.answer().text.endswith("data: [DONE]\n\n")


def test_it_stays_within_the_standard_library_inside_a_model_server() -> None:
    import subprocess
    import sys

    program = (
        "import sys\n"
        "for name in ('aiohttp', 'uvicorn', 'uvloop', 'httptools', 'yarl'): sys.modules[name] = None\n"
        "import costobs_gate\n"
        "print(any('proxy' in name for name in sys.modules if name.startswith('costobs_gate')))"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout == "False\n"


class _Running:
    """A request of team beta that the model server holds after two words."""

    def __init__(self, gate: Served, *, stream: bool) -> None:
        self._answers: list[httpx.Response] = []
        body = {"model": "small", "stream": stream, "metadata": {"hold": True}}
        self._thread = threading.Thread(target=lambda: self._answers.append(gate.post(key=BETA, json=body)))
        self._thread.start()
        wait_until(lambda: bool(gate.upstream.seen) and "costobs_gate_inflight 1" in gate.metrics())

    def answer(self) -> httpx.Response:
        self._thread.join(60)
        return self._answers[0]


@pytest.fixture(autouse=True)
def _release(request: pytest.FixtureRequest) -> Iterator[None]:
    gate = request.getfixturevalue("gate") if "gate" in request.fixturenames else None
    yield
    if gate is not None:
        gate.upstream.release.set()


def test_it_knows_a_key_by_its_hash_alone() -> None:
    found = parse({**policy(), "version": "1"})

    assert found.find_key(ALPHA) == found.keys[sha256(ALPHA)]
