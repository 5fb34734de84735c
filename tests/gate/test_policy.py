"""The policy: strict, fresh, and still there when costobs is not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from costobs_gate.policy import PolicyError, PolicyStore, parse

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, BETA, CostobsServer, policy, rule, wait_until

GOOD = {"version": "v1", **policy(rule("r", "block", {"team": "beta"}))}


def test_it_refuses_requests_until_it_has_had_a_policy(serve: Callable[[], Served], costobs: CostobsServer) -> None:
    costobs.policy_body = None
    gate = serve()

    refused, health = gate.post(), gate.client.get("/health")
    costobs.publish(policy())
    wait_until(lambda: gate.post().status_code == 200)

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "gate_without_policy"
    assert refused.headers["retry-after"] == "5"
    assert health.status_code == 200


def test_it_asks_with_the_etag_and_keeps_what_has_not_changed(gate: Served, costobs: CostobsServer) -> None:
    costobs.wait_for(lambda: costobs.asked.count(304) >= 2)

    assert costobs.asked.count(200) == 1
    assert gate.post().status_code == 200


def test_it_starts_from_disk_when_costobs_is_away(serve: Callable[[], Served], costobs: CostobsServer) -> None:
    first = serve()
    first.wait_for_policy(costobs.publish(policy(rule("r", "block", {"team": "beta"}))))
    costobs.close()

    second = serve()

    assert second.post(key=ALPHA).status_code == 200
    assert second.post(key=BETA).status_code == 429


def test_it_enforces_on_while_costobs_is_away(gate: Served, costobs: CostobsServer) -> None:
    gate.wait_for_policy(costobs.publish(policy(rule("r", "block", {"team": "beta"}))))
    costobs.close()
    wait_until(lambda: 'fetches_total{result="failed"}' in gate.metrics())

    assert (gate.post(key=ALPHA).status_code, gate.post(key=BETA).status_code) == (200, 429)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"version": "v9", "keys": []}'])
def test_it_keeps_the_last_good_policy_when_a_broken_one_comes(
    gate: Served, costobs: CostobsServer, body: bytes
) -> None:
    costobs.publish_raw(body)
    wait_until(lambda: 'fetches_total{result="broken"}' in gate.metrics())

    assert gate.post().status_code == 200
    assert json.loads((gate.directory / "policy.json").read_bytes())["policy"]["version"] == "v1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": None}, "keys is not a list"),
        ({"version": 7}, "version is not a text"),
        ({"poll_seconds": "1"}, "poll_seconds"),
        ({"keys": [{"sha256": "abc", "key_id": "k", "team": "t"}]}, r"keys\[0\]: sha256"),
        ({"keys": [{"sha256": "0" * 64, "key_id": "k"}]}, r"keys\[0\]: team"),
        ({"keys": [{"sha256": "0" * 64, "key_id": "k", "team": "t", "features": "x"}]}, r"keys\[0\]: features"),
        ({"rules": [rule("r", "requite", {})]}, "unknown action 'requite'"),
        ({"rules": [rule("r", "block", {"cost_centre": "x"})]}, r"rules\[0\]: match"),
        ({"rules": [rule("r", "block", {"team": ["beta"]})]}, "match.team"),
        ({"rules": [rule("r", "throttle", {}, requests_per_minute=-1)]}, "requests_per_minute"),
        ({"rules": [rule("r", "throttle", {}, max_inflight=1.5)]}, "max_inflight"),
        ({"rules": [rule("r", "block", {}, until="soon")]}, "until"),
        ({"rules": [rule("r", "block", {}, until="2026-11-21T10:00:00")]}, "until has no zone"),
    ],
)
def test_it_refuses_a_policy_as_a_whole_and_says_where(change: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse({**GOOD, **change})


def test_it_reads_a_missing_match_value_as_any() -> None:
    parsed = parse({**GOOD, "rules": [{"id": "r", "match": {}, "action": "block"}]})

    assert parsed.rules[0].covers(next(iter(parsed.keys.values())), None, "small")


def test_it_bounds_how_often_a_policy_may_be_asked_for() -> None:
    assert parse({**GOOD, "poll_seconds": 0}).poll_seconds == 0.2
    assert parse({**GOOD, "poll_seconds": 10**9}).poll_seconds == 300


def test_it_survives_a_damaged_file(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "policy.json")
    store.replace(json.dumps(GOOD).encode(), '"e"')
    again = PolicyStore(store.path)
    assert again.load()
    assert again.etag == '"e"'

    store.path.write_bytes(store.path.read_bytes()[:-9])

    assert not PolicyStore(store.path).load()
    assert list(tmp_path.iterdir()) == [store.path]
