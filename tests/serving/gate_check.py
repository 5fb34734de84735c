"""The gate inside a real vLLM, with a costobs that only records: what real answers, streams and hang-ups come to."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.gate import costobs_server
from tests.gate.costobs_server import ALPHA, BETA, TOKEN, CostobsServer, wait_until
from tests.serving import steer_check, traffic, vllm_server

Say = Callable[[str], None]


def check(*, python: Path, model: Path, port: int, work: Path, say: Say) -> None:
    """Start vLLM with the gate and hold both to what they promise. Raises AssertionError."""
    costobs = CostobsServer()
    costobs.publish(costobs_server.policy())
    gate = {
        "COSTOBS_URL": costobs.url,
        "COSTOBS_GATE_TOKEN": TOKEN,
        "COSTOBS_GATE_DIR": str(work / "gate"),
        "COSTOBS_ENVIRONMENT": "serving-test",
    }
    begun = time.monotonic()
    with vllm_server.running(python=python, model=model, port=port, log=work / "vllm-gate.log", gate=gate) as url:
        say(f"vLLM healthy after {time.monotonic() - begun:.0f} s")
        wait_until(lambda: 304 in costobs.asked)
        _paths(url, say)
        _usage(url, costobs, say)
        _hang_up(url, costobs, say)
        _block(url, costobs, say)
        steer_check.check(url, costobs, say)
        _latency(url, say)
    costobs.wait_for(lambda: all(event["outcome"] != "unknown" for event in costobs.events))
    left = [path for path in (work / "gate").rglob("*") if path.suffix in (".gz", ".ndjson")]
    assert not left, f"the gate left {left} after a clean shutdown"
    say(f"clean shutdown: spool empty, {len(costobs.events)} events in {len(costobs.batches)} batches")
    costobs.close()


def _paths(url: str, say: Say) -> None:
    known = {"Authorization": f"Bearer {ALPHA}"}
    body = {"model": vllm_server.MODEL, "prompt": "x", "max_tokens": 1}
    refused = [
        "/invocations",
        "/tokenize",
        "/pause",
        "/sleep",
        "/abort_requests",
        "/collective_rpc",
        "/v1/load_lora_adapter",
    ]
    assert {path: httpx.post(url + path, json=body, headers=known).status_code for path in refused} == dict.fromkeys(
        refused, 403
    )
    open_ = ["/health", "/version", "/v1/models", "/metrics"]
    assert {path: httpx.get(url + path).status_code for path in open_} == dict.fromkeys(open_, 200)
    assert httpx.post(f"{url}/v1/completions", json=body).status_code == 401
    say(f"403 with a key on {', '.join(refused)}; 200 without one on {', '.join(open_)}; 401 without a key")


def _usage(url: str, costobs: CostobsServer, say: Say) -> None:
    teams = [traffic.Team("alpha", ALPHA, url), traffic.Team("beta", BETA, url)]
    for team in teams:
        for stream in (False, False, True):
            answer = team.ask(stream=stream)
            assert answer.status_code == 200, answer.text
            event = costobs.event(event_id=answer.headers["x-request-id"])
            assert event["usage_known"]
            assert event["stream"] is stream
            assert event["gen_ai.usage.output_tokens"] == 32
            if not stream:
                assert answer.json()["id"] == "chatcmpl-" + event["event_id"]
                assert answer.json()["usage"]["prompt_tokens"] == event["gen_ai.usage.input_tokens"]
    for team in teams:
        own = [event for event in costobs.events if event["attributes"]["team"] == team.name]
        metered = (
            sum(event["gen_ai.usage.input_tokens"] for event in own),
            sum(event["gen_ai.usage.output_tokens"] for event in own),
        )
        assert metered == (team.input_tokens, team.output_tokens)
        cached = sum(event["gen_ai.usage.cache_read.input_tokens"] for event in own)
        say(
            f"team {team.name}: {team.requests} requests, {metered[0]} input ({cached} cached), {metered[1]} output tokens"
        )
    for path, body in (
        ("/v1/completions", {"prompt": "x", "max_tokens": 4, "ignore_eos": True}),
        ("/v1/responses", {"input": "x", "max_output_tokens": 4}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4}),
    ):
        answer = httpx.post(
            url + path, json={"model": vllm_server.MODEL, **body}, headers={"x-api-key": ALPHA}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        event = costobs.event(event_id=answer.headers["x-request-id"])
        usage = answer.json()["usage"]
        assert event["usage_known"]
        assert event["gen_ai.usage.output_tokens"] == usage.get("completion_tokens", usage.get("output_tokens"))
        say(
            f"{path}: {json.dumps(usage)} metered as {event['gen_ai.usage.input_tokens']} + {event['gen_ai.usage.output_tokens']}"
        )


def _hang_up(url: str, costobs: CostobsServer, say: Say) -> None:
    # Many times what the buffers between server and client hold, so that it cannot be done before the client has gone.
    body = {
        "model": vllm_server.MODEL,
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 900,
        "n": 8,
        "logprobs": True,
        "top_logprobs": 20,
        "ignore_eos": True,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {ALPHA}"}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60) as answer:
        request_id, seen = answer.headers["x-request-id"], 0
        for line in answer.iter_lines():
            seen += '"content":"' in line and '"content":""' not in line
            if seen == 20:
                break
    begun = time.monotonic()
    event = costobs.event(event_id=request_id)
    assert event["outcome"] == "cancelled", event
    assert not event["usage_known"]
    assert 20 <= event["gen_ai.usage.output_tokens"] < 8 * 900, event
    wait_until(
        lambda: "\nvllm:num_requests_running{" in (text := httpx.get(f"{url}/metrics").text) and _running(text) == 0
    )
    took, counted = time.monotonic() - begun, event["gen_ai.usage.output_tokens"]
    say(f"hung up after 20 tokens: cancelled, at least {counted} tokens, engine idle again after {took:.1f} s")


def _block(url: str, costobs: CostobsServer, say: Say) -> None:
    message = "Budget 'Beta' is used up."
    begun = time.monotonic()
    costobs.publish(costobs_server.policy(costobs_server.rule("run-1", "block", {"team": "beta"}, message=message)))
    alpha, beta = traffic.Team("alpha", ALPHA, url), traffic.Team("beta", BETA, url)
    wait_until(lambda: beta.ask(max_tokens=1).status_code == 429)
    after = time.monotonic() - begun
    refusal = beta.refusals[0]
    assert refusal.headers["retry-after"] == "30"
    assert refusal.json()["error"]["message"] == message
    assert alpha.ask(max_tokens=1).status_code == 200
    costobs.publish(costobs_server.policy())
    wait_until(lambda: beta.ask(max_tokens=1).status_code == 200)
    say(
        f"team beta refused {after:.2f} s after the policy changed (Retry-After 30), alpha served, beta served again after undo"
    )


def _latency(url: str, say: Say) -> None:
    with httpx.Client(base_url=url) as client:
        times = []
        for _ in range(300):
            begun = time.perf_counter()
            client.post("/v1/chat/completions", json={}, headers={"Authorization": "Bearer sk-unknown"})
            times.append((time.perf_counter() - begun) * 1000)
    say(f"401 round trip seen by the client: p50 {statistics.median(times):.2f} ms, p99 {sorted(times)[-3]:.2f} ms")


def _running(metrics: str) -> float:
    lines = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
