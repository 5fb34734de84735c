"""Bodies that come late, too large, or say something else than their path."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, BETA, NARROW, CostobsServer, key, policy, rule
from tests.gate.proxies import Model
from tests.gate.test_proxy import Start, api, own, start  # noqa: F401


def slowly(then: Callable[[], None]) -> Iterator[bytes]:
    """A body whose second half comes after something has happened."""
    yield b'{"model": "small",'
    then()
    yield b'"messages": []}'


def test_it_forgets_a_revoked_key_although_its_request_began_before(gate: Served, costobs: CostobsServer) -> None:
    def revoke() -> None:
        gate.wait_for_policy(costobs.publish({**policy(), "keys": [key(BETA, "key_beta", "beta")]}))

    assert gate.post(content=slowly(revoke)).status_code == 401
    assert gate.upstream.seen == []


def test_it_blocks_a_request_that_began_before_the_rule_came(gate: Served, costobs: CostobsServer) -> None:
    def block() -> None:
        gate.wait_for_policy(costobs.publish(policy(rule("stop", "block", {"team": "alpha"}))))

    assert gate.post(content=slowly(block)).status_code == 429
    assert gate.upstream.seen == []


def test_it_takes_no_request_whose_body_ends_after_it_began_to_drain(gate: Served) -> None:
    def drain() -> None:
        assert httpx.post(f"{gate.url}/costobs/gate/drain").json()["running"] == 0

    assert gate.post(content=slowly(drain)).status_code == 429
    assert gate.upstream.seen == []


def test_it_believes_the_model_of_a_path_only_where_the_upstream_does(start: Start, own: Model) -> None:  # noqa: F811
    """A form's own `model` is what a server reads that does not have Azure's paths."""
    proxy = start("--upstream", f"own={own.url}")

    answer = proxy.client.post(
        "/openai/deployments/small/audio/transcriptions",
        data={"model": "large"},
        files={"file": b"RIFF"},
        headers={"api-key": NARROW},
    )

    assert answer.status_code == 403
    assert own.seen == []


def test_it_believes_the_model_of_a_path_where_azure_goes_by_it(
    start: Start,  # noqa: F811
    own: Model,  # noqa: F811
    costobs: CostobsServer,
) -> None:
    proxy = start("--upstream", f"own={own.url}", "--kind", "own=azure")

    proxy.client.post(
        "/openai/deployments/small/audio/transcriptions",
        data={"model": "large"},
        files={"file": b"RIFF"},
        headers={"api-key": NARROW},
    )

    assert own.seen[-1]["path"] == "/openai/deployments/small/audio/transcriptions"
    costobs.wait_for(lambda: any(event["gen_ai.request.model"] == "small" for event in costobs.events))


def test_it_limits_the_size_of_an_operators_request(
    gate_env: pytest.MonkeyPatch,
    start: Start,  # noqa: F811
    own: Model,  # noqa: F811
) -> None:
    gate_env.setenv("COSTOBS_GATE_MAX_BODY_BYTES", "100000")
    gate_env.setenv("COSTOBS_GATE_ALLOW_PATHS", "POST /tokenize")
    proxy = start("--upstream", f"own={own.url}")

    answer = proxy.client.post("/tokenize", content=b"x" * 200_000, headers={"Authorization": f"Bearer {ALPHA}"})

    assert answer.status_code == 413
    assert own.seen == []
