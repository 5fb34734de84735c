"""Who gets through the gate, to which path, as whom."""

import gzip
import socket
from collections.abc import Callable

import httpx
import pytest
from costobs_gate.config import ConfigError, from_environment

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, BETA, NARROW, TOKEN, CostobsServer, key, policy, sha256, wait_until

DANGEROUS = [
    ("POST", "/invocations"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/sleep?level=1"),
    ("POST", "/wake_up"),
    ("POST", "/abort_requests"),
    ("POST", "/collective_rpc"),
    ("POST", "/scale_elastic_ep"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/inference/v1/generate"),
    ("POST", "/tokenize"),
    ("POST", "/v1/chat/completions/batch"),
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/server_info"),
    ("GET", "/docs"),
    ("GET", "/load"),
    ("POST", "//v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/V1/chat/completions"),
    ("POST", "/v1/%2e%2e/invocations"),
    ("GET", "/v1/chat/completions"),
    ("DELETE", "/v1/models"),
    ("POST", "/health"),
    ("GET", "/"),
]


def test_it_refuses_every_path_that_is_not_listed(gate: Served) -> None:
    known = {"Authorization": f"Bearer {ALPHA}"}

    answers = {asked: gate.client.request(*asked, headers=known, content=b"{}") for asked in DANGEROUS}

    assert {asked: answer.status_code for asked, answer in answers.items()} == dict.fromkeys(DANGEROUS, 403)
    assert {answer.json()["error"]["code"] for answer in answers.values()} == {"path_not_allowed"}
    assert gate.upstream.seen == []


def test_it_lets_harmless_questions_through_without_a_key(gate: Served) -> None:
    for path in ("/health", "/ping", "/version", "/v1/models"):
        assert gate.client.get(path).json() == {"reached": path}


def test_it_refuses_websockets(gate: Served) -> None:
    host, port = gate.url.removeprefix("http://").split(":")
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    handshake = f"{upgrade}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(f"GET /v1/realtime HTTP/1.1\r\nHost: gate\r\n{handshake}\r\n".encode())
        answer = connection.recv(200)

    # Without a WebSocket library uvicorn hands the request on as a plain GET; both ways end in 403.
    assert b" 403 " in answer


def test_it_asks_for_a_known_key(gate: Served) -> None:
    for secret in (None, "sk-unknown", TOKEN, "", "key_alpha", sha256(ALPHA)):
        answer = gate.post(key=secret)

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert gate.upstream.seen == []


def test_it_refuses_a_request_that_shows_two_keys(gate: Served) -> None:
    answer = gate.post(headers={"x-api-key": BETA})

    assert answer.status_code == 401


def test_it_takes_the_key_as_anthropic_clients_send_it(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post("/v1/messages", key=None, headers={"x-api-key": BETA})

    assert answer.status_code == 200
    assert costobs.event(outcome="ok")["attributes"]["team"] == "beta"


def test_it_binds_the_team_to_the_key_whatever_headers_say(gate: Served, costobs: CostobsServer) -> None:
    spoofed = {"X-Team": "alpha", "X-Costobs-Team": "alpha", "X-Costobs-Feature": "answers", "User-Agent": "curl/8 (x)"}

    gate.post(key=BETA, headers=spoofed)

    assert costobs.event(outcome="ok")["attributes"] == {
        "key": "key_beta",
        "team": "beta",
        "feature": "chat",
        "environment": "test",
        "user_agent": "curl/8",
    }
    assert 'costobs_gate_feature_ignored_total{team="beta"} 1' in gate.metrics()


def test_it_counts_a_feature_header_inside_the_keys_list_only(gate: Served, costobs: CostobsServer) -> None:
    for header, counted in (("answers", "answers"), ("search", "search"), ("other", None), (None, None)):
        answer = gate.post(headers={"X-Costobs-Feature": header} if header else {})

        event = costobs.event(event_id=answer.headers["x-request-id"])
        assert event["attributes"].get("feature") == counted


def test_it_ignores_the_feature_header_of_a_key_without_features(gate: Served, costobs: CostobsServer) -> None:
    gate.post(key=NARROW, headers={"X-Costobs-Feature": "answers"})

    assert "feature" not in costobs.event(outcome="ok")["attributes"]


def test_it_keeps_a_key_to_its_models(gate: Served, costobs: CostobsServer) -> None:
    for body in (b'{"model":"large"}', b"{}", b'{"model":null}', b"not JSON", b'{"model":["small"]}'):
        answer = gate.post(key=NARROW, content=body)

        assert answer.status_code == 403
        refusal = costobs.event(event_id=answer.headers["x-request-id"])
        assert (refusal["refused_by"], refusal["outcome"]) == ("model_not_allowed", "refused")
    assert gate.upstream.seen == []
    assert gate.post(key=NARROW, content=b'{"model":"small"}').status_code == 200


def test_it_lends_the_upstreams_key_to_known_keys_only(
    serve: Callable[[], Served], gate_env: pytest.MonkeyPatch
) -> None:
    gate_env.setenv("COSTOBS_UPSTREAM_KEY", "upstream-secret")
    gate = serve()
    gate.wait_for_policy("v1")

    gate.post()
    gate.client.get("/v1/models", headers={"Authorization": "Bearer sk-unknown"})
    gate.client.get("/v1/models", headers={"Authorization": f"Bearer {ALPHA}"})

    assert [seen["headers"].get("authorization") for seen in gate.upstream.seen] == [
        "Bearer upstream-secret",
        "Bearer sk-unknown",
        "Bearer upstream-secret",
    ]


def test_it_gives_each_request_its_own_id_and_keeps_the_clients(gate: Served, costobs: CostobsServer) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    given = {"X-Request-Id": "mine", "X-Session-Id": "run-7", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}

    answer = gate.post(headers=given)

    sent = gate.upstream.seen[0]["headers"]["x-request-id"]
    assert sent.startswith("costobs-alpha-")
    assert answer.headers.get_list("x-request-id") == [sent]
    event = costobs.event(event_id=sent)
    assert (event["client_request_id"], event["session_id"], event["trace_id"]) == ("mine", "run-7", trace)


def test_it_lets_operators_open_paths_for_known_keys(serve: Callable[[], Served], gate_env: pytest.MonkeyPatch) -> None:
    gate_env.setenv("COSTOBS_GATE_ALLOW_PATHS", "POST /tokenize, /load")
    gate = serve()
    gate.wait_for_policy("v1")
    known = {"Authorization": f"Bearer {ALPHA}"}

    statuses = [
        gate.client.post("/tokenize", headers=known).status_code,
        gate.client.get("/load", headers=known).status_code,
        gate.client.get("/tokenize", headers=known).status_code,
        gate.client.post("/tokenize").status_code,
    ]

    assert statuses == [200, 200, 403, 401]


def test_it_shows_metrics_on_loopback_and_with_the_token_only(
    serve: Callable[[], Served], gate_env: pytest.MonkeyPatch
) -> None:
    gate_env.setenv("COSTOBS_GATE_METRICS_TOKEN", "scrape-me")
    gate = serve()
    behind_proxy = {"Forwarded": "for=192.0.2.1"}

    for path in ("/metrics", "/costobs/gate/metrics"):
        assert gate.client.get(path).status_code == 200
        assert gate.client.get(path, headers=behind_proxy).status_code == 403
        assert gate.client.get(path, headers={**behind_proxy, "Authorization": "Bearer wrong"}).status_code == 403
        assert gate.client.get(path, headers={**behind_proxy, "Authorization": "Bearer scrape-me"}).status_code == 200
    assert all("authorization" not in seen["headers"] for seen in gate.upstream.seen)


def test_it_limits_the_size_of_a_request(serve: Callable[[], Served], gate_env: pytest.MonkeyPatch) -> None:
    gate_env.setenv("COSTOBS_GATE_MAX_BODY_BYTES", "1000")
    gate = serve()
    gate.wait_for_policy("v1")

    announced = gate.post(content=b"x" * 1001)
    chunked = gate.post(content=(piece for piece in [b"x" * 600, b"y" * 600]))

    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert gate.upstream.seen == []


def test_it_refuses_what_is_compressed_because_nobody_could_check_it(gate: Served) -> None:
    known = {"Authorization": f"Bearer {NARROW}"}
    body = gzip.compress(b'{"model": "large"}')

    answers = [
        gate.client.post("/v1/chat/completions", content=body, headers={**known, "Content-Encoding": name})
        for name in ("gzip", "GZIP", "zstd", "identity, gzip")
    ]

    twice = [*known.items(), ("Content-Encoding", "gzip"), ("Content-Encoding", "identity")]
    answers.append(gate.client.post("/v1/chat/completions", content=body, headers=twice))
    assert [answer.status_code for answer in answers] == [415] * 5
    assert {answer.json()["error"]["code"] for answer in answers} == {"encoding_not_supported"}
    assert gate.upstream.seen == []


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_it_takes_nobody_for_local_who_came_by_a_proxy(gate: Served, name: str) -> None:
    assert gate.client.get("/costobs/gate/metrics", headers={name: "203.0.113.7"}).status_code == 403


def test_it_leaves_malformed_json_to_the_model_server(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post(content=b'{"model": "small", ')

    assert answer.status_code == 400
    assert gate.upstream.seen[0]["body"] == b'{"model": "small", '
    event = costobs.event(outcome="error")
    assert (event["gen_ai.usage.output_tokens"], event["usage_known"], event["gen_ai.request.model"]) == (
        0,
        True,
        "unknown",
    )


def test_it_takes_the_clients_scheduling_priority_away(gate: Served) -> None:
    gate.post(json={"model": "small", "messages": [], "priority": -100})

    seen = gate.upstream.seen[0]
    assert seen["body"] == b'{"model":"small","messages":[]}'
    assert seen["headers"]["content-length"] == str(len(seen["body"]))


def test_it_refuses_answers_in_the_background(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post("/v1/responses", json={"model": "small", "input": "x", "background": True})

    assert answer.status_code == 403
    assert costobs.event(outcome="refused")["refused_by"] == "background_not_metered"


def test_it_forgets_a_revoked_key(gate: Served, costobs: CostobsServer) -> None:
    version = costobs.publish({**policy(), "keys": [key(BETA, "key_beta", "beta")]})
    gate.wait_for_policy(version)

    assert gate.post().status_code == 401
    assert gate.post(key=BETA).status_code == 200


def test_it_settles_a_request_that_broke_the_model_server(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post(json={"model": "small", "metadata": {"fail": True}})

    assert answer.status_code == 500
    event = costobs.event(outcome="error")
    assert (event["http.response.status_code"], event["usage_known"]) == (500, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COSTOBS_URL", "costobs:8080"),
        ("COSTOBS_URL", "http://user:secret@costobs"),
        ("COSTOBS_GATE_TOKEN", ""),
        ("COSTOBS_GATE_FSYNC", "sometimes"),
        ("COSTOBS_GATE_MAX_BODY_BYTES", "64MB"),
        ("COSTOBS_UPSTREAM_KEY", "two words"),
    ],
)
def test_it_names_the_setting_that_is_wrong_and_shows_no_secret(name: str, value: str) -> None:
    environ = {"COSTOBS_URL": "http://costobs", "COSTOBS_GATE_TOKEN": "secret-token", name: value}

    with pytest.raises(ConfigError, match=name) as raised:
        from_environment(environ)

    assert "secret" not in str(raised.value)


def test_it_never_logs_or_reports_a_secret(
    gate: Served, costobs: CostobsServer, caplog: pytest.LogCaptureFixture
) -> None:
    costobs.usage_status = 401
    gate.post()
    gate.post(key="sk-unknown-secret")
    # costobs knows of the batch before the gate has read the answer.
    wait_until(lambda: "costobs answered 401" in caplog.text)

    kept = (
        caplog.text
        + gate.metrics()
        + "".join(f.read_text("latin-1") for f in gate.directory.rglob("*.*") if f.is_file())
    )

    assert costobs.posts
    assert not any(secret in kept for secret in (ALPHA, "sk-unknown-secret", TOKEN))


def test_it_answers_preflights_without_a_key(gate: Served) -> None:
    assert gate.client.options("/v1/chat/completions", headers={"Origin": "http://a"}).status_code == 200
    assert gate.client.options("/invocations", headers={"Origin": "http://a"}).status_code == 403


def test_it_keeps_the_connection_usable_after_a_refusal(gate: Served) -> None:
    with httpx.Client(base_url=gate.url, limits=httpx.Limits(max_connections=1)) as client:
        refused = client.post("/v1/chat/completions", content=b"x" * 100_000)
        answer = client.get("/health")

    assert (refused.status_code, answer.status_code) == (401, 200)
