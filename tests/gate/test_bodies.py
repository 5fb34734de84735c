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
        # Servers in Python take a text or a fraction for a number.
        (CHAT, {"max_tokens": "9000"}, {"max_tokens": 256}),
        (CHAT, {"max_tokens": " 1_0 "}, {"max_tokens": " 1_0 "}),
        (CHAT, {"max_tokens": "9000.0"}, {"max_tokens": 256}),
        (CHAT, {"max_tokens": "9.5"}, {"max_tokens": "9.5"}),
        (CHAT, {"max_tokens": 1e300}, {"max_tokens": 256}),
        (CHAT, {"max_completion_tokens": 9000.0}, {"max_completion_tokens": 256}),
        # Some servers read these as no limit at all.
        (CHAT, {"max_tokens": -1}, {"max_tokens": 256}),
        (CHAT, {"max_completion_tokens": 0}, {"max_completion_tokens": 256}),
        ("/v1/responses", {"max_output_tokens": 0}, {"max_output_tokens": 256}),
        ("/v1/completions", {"max_tokens": -1}, {"max_tokens": 256}),
        ("/v1/completions", {"max_tokens": 0}, {"max_tokens": 0}),
        # Some servers take the limit under a name of another path, and older vLLM even prefers it.
        (
            "/v1/completions",
            {"max_tokens": 9, "max_completion_tokens": 999},
            {"max_tokens": 9, "max_completion_tokens": 256},
        ),
        (CHAT, {"max_tokens": 9, "n_predict": -1}, {"max_tokens": 9, "n_predict": 256}),
        (CHAT, {"max_tokens": 9, "min_tokens": 0}, {"max_tokens": 9, "min_tokens": 0}),
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


@pytest.mark.parametrize("yes", [True, 1, 1.0, "true", "TRUE", "on", "yes", "t", "1"])
def test_it_asks_for_usage_whatever_a_server_reads_as_a_stream(yes: object) -> None:
    document = {"stream": yes}

    found = bodies.rewrite(json.dumps(document).encode(), document, CHAT, bodies.Changes())

    assert json.loads(found.raw)["stream_options"] == {"include_usage": True}
    assert found.strips_usage


@pytest.mark.parametrize("no", [False, 0, None, "false", "off", "no"])
def test_it_asks_for_usage_where_the_client_says_in_its_own_way_that_it_wants_none(no: object) -> None:
    document = {"stream": True, "stream_options": {"include_usage": no}}

    found = bodies.rewrite(json.dumps(document).encode(), document, CHAT, bodies.Changes())

    assert json.loads(found.raw)["stream_options"] == {"include_usage": True}
    assert found.strips_usage


@pytest.mark.parametrize("yes", [True, 1, "true", "on"])
def test_it_keeps_the_usage_that_the_client_asked_for(yes: object) -> None:
    document = {"stream": True, "stream_options": {"include_usage": yes}}
    raw = json.dumps(document).encode()

    assert bodies.rewrite(raw, document, CHAT, bodies.Changes()) == bodies.Rewritten(raw, False)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b'{"model": "dear", "model": "cheap"}', {"model": "cheap"}),
        (b'{"mod\\u0065l": "dear", "model": "cheap"}', {"model": "cheap"}),
        (b'{"messages": [{"type": "image_url", "type": "text"}]}', {"messages": [{"type": "text"}]}),
        ('{"model": "cheap"}'.encode("utf-16"), {"model": "cheap"}),
        (b'\xef\xbb\xbf{"model": "cheap"}', {"model": "cheap"}),
    ],
)
def test_it_forwards_what_it_read_where_another_reader_may_read_otherwise(raw: bytes, read: object) -> None:
    document = bodies.read(raw)

    forwarded = bodies.rewrite(raw, document, CHAT, bodies.Changes()).raw

    assert document == read
    assert forwarded == json.dumps(read, separators=(",", ":")).encode()
