"""Requests of a team to the model server, and what they cost by the client's own count."""

import json
from dataclasses import dataclass, field

import httpx

from tests.serving.vllm_server import MODEL

PROMPT = "Say something about the cost of language models. " * 12


@dataclass
class Team:
    """A client with a key. Counts what its answers said they used."""

    name: str
    key: str
    url: str
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    refusals: list[httpx.Response] = field(default_factory=list)

    def ask(self, *, stream: bool = False, max_tokens: int = 32) -> httpx.Response:
        """One chat request, streamed or not."""
        body: dict[str, object] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "priority": -100,
        }
        if stream:
            body |= {"stream": True}
        headers = {"Authorization": f"Bearer {self.key}", "X-Session-Id": f"{self.name}-session"}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        if answer.status_code == 200:
            self._count(answer, stream=stream, max_tokens=max_tokens)
        else:
            self.refusals.append(answer)
        return answer

    def _count(self, answer: httpx.Response, *, stream: bool, max_tokens: int) -> None:
        self.requests += 1
        if stream:
            chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            assert not any("usage" in chunk for chunk in chunks), "a usage chunk came through that nobody asked for"
            assert answer.text.rstrip().endswith("data: [DONE]")
            # Every request has the same prompt, and with ignore_eos the output is exactly what was asked for.
            self.input_tokens += self.input_tokens // (self.requests - 1)
            self.output_tokens += max_tokens
        else:
            usage = answer.json()["usage"]
            assert usage["completion_tokens"] == max_tokens
            self.input_tokens += usage["prompt_tokens"]
            self.output_tokens += usage["completion_tokens"]
