"""A real vLLM that is steered by its gate: another model serves, what runs is ended, and it drains without an error."""

import threading
import time
from collections.abc import Callable

import httpx

from tests.gate.costobs_server import ALPHA, CostobsServer, policy, rule, wait_until
from tests.serving import vllm_server

Say = Callable[[str], None]
HEADERS = {"Authorization": f"Bearer {ALPHA}"}


class Stream:
    """A long stream, read in a thread."""

    def __init__(self, url: str, *, is_heavy: bool = False) -> None:
        self.status, self._url, self._is_heavy = 0, url, is_heavy
        self._pieces: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self._pieces)

    def has_begun(self) -> bool:
        return bool(self._pieces)

    def wait(self) -> None:
        self._thread.join(240)
        assert not self._thread.is_alive(), "a stream did not end within 240 s"

    def _read(self) -> None:
        # Much, so that it is still being computed when the server is told to stop: of 64 answers eight run at once. In small
        # pieces, so that writing them does not take both cores from who brings the order.
        body = {**_question(vllm_server.MODEL, 900), "n": 64, "stream": True}
        if self._is_heavy:
            body |= {"n": 8, "logprobs": True, "top_logprobs": 20}
        with httpx.stream(
            "POST", f"{self._url}/v1/chat/completions", json=body, headers=HEADERS, timeout=240
        ) as answer:
            self.status = answer.status_code
            for piece in answer.iter_text():
                self._pieces.append(piece)


def check(url: str, costobs: CostobsServer, say: Say) -> None:
    """Reroute, abort, drain. Raises AssertionError."""
    _reroute(url, costobs, say)
    _abort(url, costobs, say)
    _drain(url, say)


def _reroute(url: str, costobs: CostobsServer, say: Say) -> None:
    costobs.publish(policy(rule("cheaper", "reroute", {"model": "large"}, to_model=vllm_server.MODEL)))
    wait_until(lambda: _ask(url, "large").status_code == 200, seconds=60)
    answer = _ask(url, "large")
    event = costobs.event(event_id=answer.headers["x-request-id"])
    assert answer.headers["x-costobs-served-model"] == vllm_server.MODEL
    assert (event["gen_ai.request.model"], event["gen_ai.response.model"]) == ("large", vllm_server.MODEL)
    costobs.publish(policy())
    wait_until(lambda: _ask(url, "large").status_code == 404, seconds=60)
    say(
        f"'large' was served by the quantized {vllm_server.MODEL!r} while the rule held, and is unknown again after undo"
    )


def _abort(url: str, costobs: CostobsServer, say: Say) -> None:
    running = Stream(url)
    wait_until(running.has_begun, seconds=120)
    begun = time.monotonic()
    costobs.publish(policy(rule("gone", "block", {"team": "alpha"}, aborts=True, message="The money is gone.")))
    running.wait()
    wait_until(lambda: _load(url) == 0, seconds=60)
    assert running.status == 200
    assert "The money is gone." in running.text, f"it ended as {running.text[-200:]}"
    costobs.publish(policy())
    wait_until(lambda: _ask(url, vllm_server.MODEL).status_code == 200, seconds=60)
    say(f"a running stream was ended by a rule, the engine idle {time.monotonic() - begun:.1f} s later")


def _drain(url: str, say: Say) -> None:
    running = [Stream(url, is_heavy=True) for _ in range(3)]
    wait_until(lambda: all(one.has_begun() for one in running), seconds=120)
    httpx.post(f"{url}/costobs/gate/drain").raise_for_status()
    statuses: list[int] = []
    while httpx.get(f"{url}/costobs/gate/drain").json()["running"]:
        statuses += [_ask(url, vllm_server.MODEL).status_code, httpx.get(f"{url}/health").status_code]
    for one in running:
        one.wait()
    assert all(one.text.endswith("data: [DONE]\n\n") for one in running)
    assert statuses, "the streams had ended before the drain began"
    assert (set(statuses[::2]), set(statuses[1::2])) == ({429}, {503}), statuses
    httpx.delete(f"{url}/costobs/gate/drain").raise_for_status()
    wait_until(lambda: _ask(url, vllm_server.MODEL).status_code == 200, seconds=60)
    say(f"drained: {len(statuses) // 2} new requests got 429, three streams came to their end, no 5xx on a request")


def _ask(url: str, model: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=_question(model, 4), headers=HEADERS, timeout=120)


def _question(model: str, tokens: int) -> dict[str, object]:
    messages = [{"role": "user", "content": "Say something."}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "ignore_eos": True}


def _load(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running{"))
