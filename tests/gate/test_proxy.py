"""The gate as a proxy: what clients and upstreams see of each other."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import anthropic
import httpx
import openai
import pytest

from tests.gate.costobs_server import ALPHA, NARROW, CostobsServer, policy, rule, wait_until
from tests.gate.proxies import Model, Proxy, held, serving

Start = Callable[..., Proxy]


@pytest.fixture
def own() -> Iterator[Model]:
    with serving(Model("small", "large")) as model:
        yield model


@pytest.fixture
def api() -> Iterator[Model]:
    with serving(Model("gpt-mini")) as model:
        yield model


@pytest.fixture
def start(gate_env: pytest.MonkeyPatch) -> Iterator[Start]:
    gate_env.setenv("COSTOBS_UPSTREAM_KEY_OWN", "sk-of-own")
    gate_env.setenv("COSTOBS_UPSTREAM_KEY_API", "sk-of-api")
    with ExitStack() as stack:

        def begin(*arguments: str) -> Proxy:
            proxy = Proxy("--grace-seconds", "0", *arguments)
            stack.callback(proxy.stop)
            return proxy

        yield begin


@pytest.fixture
def proxy(start: Start, own: Model) -> Proxy:
    return start("--upstream", f"own={own.url}/v1")


def _both(start: Start, own: Model, api: Model, *more: str) -> Proxy:
    names = ["--models", "own=small,large", "--models", "api=gpt-mini", "--provider", "api=openai"]
    return start("--upstream", f"own={own.url}", "--upstream", f"api={api.url}", "--kind", "api=openai", *names, *more)


def test_it_serves_the_client_library_of_openai(proxy: Proxy, costobs: CostobsServer) -> None:
    client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=ALPHA, max_retries=0)

    with client:
        answer = client.chat.completions.create(model="small", messages=[{"role": "user", "content": "hi"}])
        chunks = list(client.chat.completions.create(model="small", messages=[], stream=True))
        names = [model.id for model in client.models.list()]

    assert answer.usage is not None and answer.usage.prompt_tokens == 305
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "onetwothreefour"
    assert names == ["large", "small"]
    event = costobs.event(stream=True)
    assert (event["gen_ai.usage.input_tokens"], event["outcome"], event["served_by"]) == (305, "ok", "own")


def test_it_serves_the_client_library_of_anthropic(proxy: Proxy, costobs: CostobsServer) -> None:
    with (
        anthropic.Anthropic(base_url=proxy.url, api_key=ALPHA, max_retries=0) as client,
        client.messages.stream(model="small", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as events,
    ):
        kinds = [event.type for event in events._raw_stream]

    assert kinds == ["message_start", "content_block_delta", "message_delta", "message_stop"]
    assert costobs.event(outcome="ok")["gen_ai.usage.output_tokens"] == 7


def test_it_serves_paths_of_azure(proxy: Proxy, own: Model, costobs: CostobsServer) -> None:
    client = openai.AzureOpenAI(azure_endpoint=proxy.url, api_key=ALPHA, api_version="2024-10-21", max_retries=0)

    with client:
        client.chat.completions.create(model="large", messages=[])

    assert own.seen[-1]["path"] == "/v1/chat/completions"
    assert own.bodies()[-1]["model"] == "large"
    assert costobs.event(outcome="ok")["gen_ai.request.model"] == "large"


def test_it_passes_a_stream_on_byte_for_byte(proxy: Proxy, own: Model) -> None:
    body = {"model": "small", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    steer = {**body, "metadata": {"split": True}}

    direct = httpx.post(f"{own.url}/v1/chat/completions", json=steer, timeout=60).content
    through = proxy.ask(**steer).content

    assert through == direct
    assert b'"usage"' in direct


def test_it_shows_an_upstream_its_own_key_and_nothing_of_the_way_there(proxy: Proxy, own: Model) -> None:
    headers = {"Authorization": f"Bearer {ALPHA}", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "X-Note": "kept",
               "Connection": "X-Hop", "X-Hop": "1", "X-Costobs-Feature": "answers",
               "OpenAI-Organization": "org-other", "OpenAI-Project": "proj-other"}  # fmt: skip

    proxy.client.post("/v1/chat/completions", json={"model": "small", "messages": []}, headers=headers)

    seen = own.seen[-1]["headers"]
    assert (seen["authorization"], seen["x-note"], seen["accept-encoding"]) == ("Bearer sk-of-own", "kept", "identity")
    assert not {"cookie", "x-forwarded-for", "x-hop", "x-costobs-feature", "x-api-key"} & seen.keys()
    assert not {"openai-organization", "openai-project"} & seen.keys()


def test_it_lists_the_models_that_a_key_may_use(start: Start, own: Model, api: Model) -> None:
    proxy = _both(start, own, api)

    listed = {
        key: [entry["id"] for entry in proxy.client.get("/v1/models", headers={"x-api-key": key}).json()["data"]]
        for key in (ALPHA, NARROW)
    }

    assert listed == {ALPHA: ["gpt-mini", "large", "small"], NARROW: ["small"]}
    assert proxy.client.get("/v1/models").status_code == 401


def test_it_sends_each_model_to_the_upstream_that_has_it(start: Start, own: Model, api: Model) -> None:
    proxy = _both(start, own, api)

    statuses = [proxy.ask(model=model).status_code for model in ("small", "gpt-mini", "unheard-of")]

    assert statuses == [200, 200, 404]
    assert [body["model"] for body in own.bodies()] == ["small"]
    assert api.seen[-1]["headers"]["authorization"] == "Bearer sk-of-api"


def test_it_reroutes_to_another_model_and_says_so(start: Start, own: Model, api: Model, costobs: CostobsServer) -> None:
    costobs.publish(policy(rule("cheaper", "reroute", {"model": "large"}, to_model="gpt-mini")))
    proxy = _both(start, own, api)

    answer = proxy.ask(model="large")

    assert api.bodies()[-1]["model"] == "gpt-mini"
    assert (answer.headers["x-costobs-served-model"], answer.headers["x-costobs-served-by"]) == ("gpt-mini", "api")
    event = costobs.event(outcome="ok")
    assert event["gen_ai.request.model"] == "large"
    assert (event["gen_ai.provider.name"], event["rerouted_by"], event["deployment"]) == ("openai", "cheaper", "")


def test_it_reroutes_to_another_upstream(start: Start, own: Model, api: Model, costobs: CostobsServer) -> None:
    costobs.publish(policy(rule("away", "reroute", {"team": "alpha"}, to_upstream="api")))
    proxy = _both(start, own, api)

    proxy.ask(model="small")

    assert (len(own.seen), api.bodies()[-1]["model"]) == (0, "small")


def test_it_reroutes_the_model_that_stands_in_a_path(start: Start, own: Model, costobs: CostobsServer) -> None:
    costobs.publish(policy(rule("cheaper", "reroute", {"model": "large"}, to_model="small")))
    proxy = start("--upstream", f"own={own.url}", "--kind", "own=azure", "--models", "own=small,large")

    path = "/openai/deployments/large/chat/completions?api-version=2024-10-21"
    proxy.client.post(path, json={"messages": []}, headers={"api-key": ALPHA})

    assert own.seen[-1]["path"] == "/openai/deployments/small/chat/completions"
    assert own.seen[-1]["headers"]["api-key"] == "sk-of-own"
    assert costobs.event(**{"gen_ai.response.model": "small"})["gen_ai.request.model"] == "large"


OVERFLOW = ["--overflow", "own=api:gpt-mini", "--overflow-at", "own=1"]


@pytest.mark.parametrize("status", [429, 503])
def test_it_overflows_when_its_own_server_is_full(
    start: Start, own: Model, api: Model, costobs: CostobsServer, status: int
) -> None:
    proxy, own.status = _both(start, own, api, *OVERFLOW), status

    answer = proxy.ask()

    assert (answer.status_code, answer.headers["x-costobs-served-by"]) == (200, "api")
    assert api.bodies()[-1]["model"] == "gpt-mini"
    event = costobs.event(outcome="ok")
    assert (event["gen_ai.provider.name"], event["rerouted_by"]) == ("openai", "overflow")
    assert f'reason="{status}"' in proxy.metrics()


def test_it_overflows_beyond_a_number_of_requests(start: Start, own: Model, api: Model) -> None:
    proxy = _both(start, own, api, *OVERFLOW)

    with held(proxy, own):
        beside = proxy.ask()
    after = proxy.ask()

    assert beside.headers["x-costobs-served-by"] == "api"
    assert "x-costobs-served-by" not in after.headers


def test_it_does_not_overflow_where_a_rule_blocks_the_way(
    start: Start, own: Model, api: Model, costobs: CostobsServer
) -> None:
    costobs.publish(policy(rule("spent", "block", {"model": "gpt-mini"})))
    proxy, own.status = _both(start, own, api, *OVERFLOW), 503

    answer = proxy.ask()

    assert (answer.status_code, len(api.seen)) == (503, 0)


def test_it_overflows_when_its_own_server_is_gone(start: Start, own: Model, api: Model) -> None:
    gone = Model("small")
    with serving(gone):
        url = gone.url
    proxy = start("--upstream", f"own={url}", "--models", "own=small", "--upstream", f"api={api.url}", *OVERFLOW[:2])

    assert proxy.ask().headers["x-costobs-served-by"] == "api"


def test_it_counts_what_was_rerouted_without_a_series_for_each_name_that_clients_write(
    start: Start, own: Model, api: Model, costobs: CostobsServer
) -> None:
    proxy = start("--upstream", f"own={own.url}", "--upstream", f"api={api.url}")
    rerouting = rule("cheap", "reroute", {"team": "alpha"}, to_upstream="api")
    proxy.wait_for_policy(costobs.publish(policy(rerouting)))

    answer = proxy.ask()

    assert answer.headers["x-costobs-served-by"] == "api"
    assert 'costobs_gate_rerouted_total{model="as asked",team="alpha"} 1' in proxy.metrics()


def test_it_lets_the_upstream_go_when_the_client_leaves(proxy: Proxy, own: Model, costobs: CostobsServer) -> None:
    body = {"model": "small", "messages": [], "stream": True, "metadata": {"hold": True}}
    headers = {"Authorization": f"Bearer {ALPHA}"}

    with proxy.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        next(answer.iter_bytes())

    wait_until(own.cancelled.is_set)
    event = costobs.event(outcome="cancelled")
    assert event["usage_known"] is False


def test_it_answers_502_when_an_upstream_is_gone_and_504_when_it_is_silent(
    start: Start, own: Model, costobs: CostobsServer
) -> None:
    proxy = start("--upstream", f"own={own.url}", "--upstream", "gone=http://127.0.0.1:9", "--models", "own=small",
                  "--models", "gone=lost", "--idle-seconds", "1")  # fmt: skip
    own.silent = True

    gone, silent = proxy.ask(model="lost"), proxy.ask(model="small")

    assert (gone.status_code, silent.status_code) == (502, 504)
    assert gone.json()["error"] == {
        "message": "The upstream 'gone' cannot be reached.",
        "type": "server_error",
        "param": None,
        "code": "upstream_failed",
    }
    assert costobs.event(**{"http.response.status_code": 502})["usage_known"] is True
    assert costobs.event(**{"http.response.status_code": 504})["usage_known"] is False
    wait_until(own.cancelled.is_set)


def test_it_tells_a_client_that_a_stream_broke_off(proxy: Proxy, costobs: CostobsServer) -> None:
    answer = proxy.ask(stream=True, metadata={"breaks": True})

    assert answer.text.endswith('"param": null, "code": "upstream_failed"}}\n\n')
    event = costobs.event(outcome="error")
    assert (event["usage_known"], event["gen_ai.usage.output_tokens"]) == (False, 1)


def test_it_refuses_what_is_too_large_and_goes_on(gate_env: pytest.MonkeyPatch, start: Start, own: Model) -> None:
    gate_env.setenv("COSTOBS_GATE_MAX_BODY_BYTES", "100000")
    proxy = start("--upstream", f"own={own.url}")

    statuses = [proxy.ask(text="x" * size).status_code for size in (200_000, 50_000)]

    assert statuses == [413, 200]


def test_it_keeps_what_is_written_when_it_is_killed(start: Start, own: Model, costobs: CostobsServer) -> None:
    proxy = start("--upstream", f"own={own.url}")
    proxy.ask()
    with held(proxy, own):
        proxy.process.kill()
        proxy.process.wait(30)

    start("--upstream", f"own={own.url}")

    costobs.wait_for(lambda: {event["outcome"] for event in costobs.events} == {"ok", "unknown"}, seconds=60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name at least one upstream"),
        (["--upstream", "own"], "NAME=URL"),
        (["--upstream", "own=ftp://x"], "http(s) address"),
        (["--upstream", "own=http://user:pass@x"], "no user"),
        (["--upstream", "own=http://x", "--models", "other=a"], "no --upstream other"),
        (["--upstream", "own=http://x", "--overflow", "own=own"], "no other upstream"),
        (["--upstream", "own=http://x", "--overflow-at", "own=3"], "needs --overflow"),
        (["--upstream", "own=http://x", "--kind", "own=bard"], "must be one of"),
        (["--upstream", "a=http://x", "--upstream", "b=http://y", "--overflow", "a=b", "--overflow", "b=a"], "circle"),
    ],
)
def test_it_says_what_is_wrong_with_its_command_line(
    gate_env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    from costobs.cli import run

    status = run(["gate", "serve", *arguments])

    assert (status, said in capsys.readouterr().err) == (2, True)
