"""Rules in force: throttled and blocked teams, and nobody else."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, BETA, CostobsServer, policy, rule, wait_until


def _enforce(gate: Served, costobs: CostobsServer, *rules: dict[str, object]) -> None:
    gate.wait_for_policy(costobs.publish(policy(*rules)))


def test_it_blocks_one_team_with_retry_after_and_no_other(gate: Served, costobs: CostobsServer) -> None:
    message = "Budget 'Beta' is used up (102 %). Ask finance@example.com."
    _enforce(gate, costobs, rule("run-12", "block", {"team": "beta"}, retry_after_seconds=45, message=message))

    refused, served = gate.post(key=BETA), gate.post(key=ALPHA)

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "45"
    assert refused.json() == {
        "error": {"message": message, "type": "insufficient_quota", "param": None, "code": "budget_exceeded"}
    }
    assert served.status_code == 200
    event = costobs.event(outcome="refused")
    assert event["refused_by"] == "run-12"
    assert event["event_id"] == refused.headers["x-request-id"]
    assert (event["gen_ai.usage.input_tokens"], event["gen_ai.usage.output_tokens"]) == (0, 0)
    assert event["http.response.status_code"] == 429


def test_it_serves_again_when_the_rule_is_gone(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("run-12", "block", {"team": "beta"}))
    blocked = gate.post(key=BETA)

    _enforce(gate, costobs)

    assert (blocked.status_code, gate.post(key=BETA).status_code) == (429, 200)


def test_it_applies_a_rule_to_a_feature_only(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("r", "block", {"team": "alpha", "feature": "answers", "model": None}))

    statuses = [gate.post(headers={"X-Costobs-Feature": feature}).status_code for feature in ("answers", "search")]

    assert statuses == [429, 200]


def test_it_closes_the_whole_server_with_an_empty_match(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("r", "block", {}))

    assert [gate.post(key=key).status_code for key in (ALPHA, BETA)] == [429, 429]


def test_it_lets_a_rule_end_by_itself(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("r", "block", {}, until="2020-01-01T00:00:00Z"))
    assert gate.post().status_code == 200

    _enforce(gate, costobs, rule("r", "block", {}, until="2999-01-01T00:00:00Z"))
    assert gate.post().status_code == 429


def test_it_throttles_requests_per_minute(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("slow", "throttle", {"team": "beta"}, requests_per_minute=6, retry_after_seconds=10))

    beta = [gate.post(key=BETA) for _ in range(4)]
    alpha = [gate.post(key=ALPHA) for _ in range(4)]

    assert [answer.status_code for answer in beta] == [200, 429, 429, 429]
    assert beta[1].headers["retry-after"] == "10"
    assert [answer.status_code for answer in alpha] == [200] * 4


def test_it_throttles_requests_in_flight_and_frees_the_place(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("one", "throttle", {"team": "beta"}, max_inflight=1, retry_after_seconds=2))
    held = _Held(gate)

    second, other = gate.post(key=BETA), gate.post(key=ALPHA)
    gate.upstream.release.set()
    first = held.answer()

    assert (first.status_code, second.status_code, other.status_code) == (200, 429, 200)
    assert second.headers["retry-after"] == "2"
    assert gate.post(key=BETA).status_code == 200


def test_it_counts_requests_that_were_in_flight_before_the_rule(gate: Served, costobs: CostobsServer) -> None:
    held = _Held(gate)
    _enforce(gate, costobs, rule("one", "throttle", {"team": "beta"}, max_inflight=1))

    second = gate.post(key=BETA)
    gate.upstream.release.set()

    assert (held.answer().status_code, second.status_code) == (200, 429)


def test_it_frees_the_place_of_a_request_that_failed(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("one", "throttle", {}, max_inflight=1))
    failed = gate.post(json={"model": "small", "metadata": {"fail": True}})

    assert (failed.status_code, gate.post().status_code) == (500, 200)


def test_it_caps_output_tokens_at_the_lowest_cap(gate: Served, costobs: CostobsServer) -> None:
    _enforce(gate, costobs, rule("a", "throttle", {}, max_tokens=512), rule("b", "throttle", {}, max_tokens=256))

    gate.post(json={"model": "small", "max_tokens": 9000})

    seen = gate.upstream.seen[0]
    assert seen["body"] == b'{"model":"small","max_tokens":256}'
    assert seen["headers"]["content-length"] == str(len(seen["body"]))


class _Held:
    """A request of team beta that the model server holds."""

    def __init__(self, gate: Served) -> None:
        self._answers: list[httpx.Response] = []
        body = {"model": "small", "metadata": {"hold": True}}
        self._thread = threading.Thread(target=lambda: self._answers.append(gate.post(key=BETA, json=body)))
        self._thread.start()
        wait_until(lambda: bool(gate.upstream.seen))

    def answer(self) -> httpx.Response:
        self._thread.join(30)
        return self._answers[0]


@pytest.fixture(autouse=True)
def _release(gate: Served) -> Iterator[None]:
    yield
    gate.upstream.release.set()
