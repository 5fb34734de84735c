"""What the gate changes in a request."""

import json

import pytest
from costobs_gate import bodies, compact

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "asked", "forwarded"),
    [
        (CHAT, {}, {"max_tokens": 256}),
        (CHAT, {"max_tokens": 9000}, {"max_tokens": 256}),
        (CHAT, {"max_tokens": 10}, {"max_tokens": 10}),
        (CHAT, {"max_completion_tokens": 9000}, {"max_completion_tokens": 256}),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 999}, {"max_tokens": 5, "max_completion_tokens": 256}),
        (CHAT, {"max_tokens": None, "min_tokens": 900}, {"max_tokens": 256, "min_tokens": 256}),
        (CHAT, {"max_tokens": "many"}, {"max_tokens": "many"}),
        ("/v1/completions", {}, {"max_tokens": 16}),
        ("/v1/completions", {"max_tokens": None}, {"max_tokens": 256}),
        ("/v1/responses", {"max_output_tokens": 9000}, {"max_output_tokens": 256}),
        ("/v1/responses", {}, {"max_output_tokens": 256}),
        ("/v1/messages", {"max_tokens": 9000}, {"max_tokens": 256}),
        ("/v1/embeddings", {"input": "x"}, {"input": "x"}),
    ],
)
def test_it_caps_output_tokens(path: str, asked: dict[str, object], forwarded: dict[str, object]) -> None:
    raw = json.dumps(asked).encode()

    assert json.loads(bodies.rewrite(raw, bodies.read(raw), path, bodies.Changes(max_tokens=256)).raw) == forwarded


def test_it_forwards_the_same_bytes_when_nothing_changes() -> None:
    raw = b'{ "model" : "small", "text": "\\ud800 e\\u0301" , "x": 1e400 }'

    assert bodies.rewrite(raw, bodies.read(raw), CHAT, bodies.Changes()).raw is raw


def test_it_changes_nothing_but_what_it_says() -> None:
    raw = b'{"priority": 1, "model": "small", "text": "\\ud800 e\\u0301", "n": 12345678901234567890, "f": 0.1}'

    rewritten = bodies.rewrite(raw, bodies.read(raw), CHAT, bodies.Changes()).raw

    before, after = json.loads(raw), json.loads(rewritten)
    assert before.pop("priority") == 1
    assert after == before


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"null", b"\xff\xfe", b"[" * 100_000])
def test_it_leaves_alone_what_is_not_an_object(raw: bytes) -> None:
    assert bodies.read(raw) is None
    assert bodies.rewrite(raw, None, CHAT, bodies.Changes(max_tokens=256)).raw is raw


@pytest.mark.parametrize(
    "document", [{"a": 1, "b": [1, 2.5, None, True, 'ü"\n\ud800'], "c": {}}, [], "x", 5, {"none": float("inf")}]
)
def test_it_writes_json_as_the_standard_library_does(document: object) -> None:
    assert compact.encode(document) == json.dumps(document, separators=(",", ":"))
