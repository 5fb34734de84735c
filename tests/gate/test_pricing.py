"""What a request may cost at most, and what no gate can bound."""

import json
from typing import Any

import pytest
from costobs_gate import bodies, hard, pricing
from costobs_gate.pricing import TEMPLATE_TOKENS, Price, Unbounded
from hypothesis import given
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"
TEXT = [{"role": "user", "content": "How are you?"}]
PRICE = Price(input=3, cached=1, output=20)


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": TEXT, **more}


@given(st.text(max_size=200))
def test_it_counts_at_least_as_many_bytes_as_the_text_has_however_it_is_written(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()

    for ascii_only in (True, False):
        body = json.dumps(chat(messages=[{"role": "user", "content": clean}]), ensure_ascii=ascii_only).encode()

        assert pricing.work(CHAT, json.loads(body), len(body)).input_tokens >= len(clean.encode()) + TEMPLATE_TOKENS


@pytest.mark.parametrize(
    ("path", "document", "outputs", "limit", "names"),
    [
        (CHAT, chat(), 1, None, False),
        (CHAT, chat(max_tokens=7), 1, 7, True),
        (CHAT, chat(max_tokens=7, max_completion_tokens=9), 1, 9, True),
        (CHAT, chat(max_tokens=7, n=3), 3, 7, True),
        (CHAT, chat(max_tokens=7, n=2, best_of=5), 5, 7, True),
        (CHAT, chat(n=None), 1, None, False),
        (CHAT, chat(max_tokens=7, n_predict=90), 1, 90, True),
        # Not every server of the path knows this name, so the limit is written as well.
        (CHAT, chat(max_output_tokens=90), 1, None, False),
        # Not every server takes 16 where nothing is said, so it is written.
        ("/v1/completions", {"prompt": "a"}, 1, 16, False),
        ("/v1/completions", {"prompt": "a", "max_tokens": None}, 1, None, False),
        ("/v1/completions", {"prompt": "a", "max_tokens": 4, "max_completion_tokens": 900}, 1, 900, True),
        ("/v1/completions", {"prompt": "a", "max_completion_tokens": 900}, 1, 900, False),
        ("/v1/completions", {"prompt": "a", "max_tokens": 0, "echo": True}, 1, 1, True),
        ("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 4}, 2, 4, True),
        ("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 4}, 1, 4, True),
        ("/v1/completions", {"prompt": [[1, 2], [3]], "max_tokens": 4, "n": 2}, 4, 4, True),
        ("/v1/responses", {"input": "a", "max_output_tokens": 30}, 1, 30, True),
        ("/v1/messages", {"messages": TEXT, "system": "b", "max_tokens": 5}, 1, 5, True),
        ("/v1/embeddings", {"input": ["a", "b"]}, 0, 0, True),
    ],
)
def test_it_bounds_the_output(
    path: str, document: dict[str, Any], outputs: int, limit: int | None, names: bool
) -> None:
    found = pricing.work(path, document, 100)

    assert (found.outputs, found.limit, found.names_limit) == (outputs, limit, names)
    assert found.input_tokens == 100 + TEMPLATE_TOKENS


def test_it_reads_each_document_together_with_the_query() -> None:
    found = pricing.work("/rerank", {"query": "q", "documents": ["a", "b", "c"]}, 100)

    assert (found.input_tokens, found.outputs) == (3 * (100 + TEMPLATE_TOKENS), 0)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (CHAT, None),
        (
            CHAT,
            chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}]),
        ),
        (CHAT, chat(messages=[{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA"}}]}])),
        (CHAT, chat(messages=[{"role": "user", "content": [{"image": "AA"}]}])),
        (CHAT, chat(messages=[{"role": "user", "content": [{"text": "a", "image_url": "https://a/b"}]}])),
        ("/v1/responses", {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}),
        (CHAT, chat(chat_template="{% for i in range(9999) %}a{% endfor %}")),
        (CHAT, chat(max_tokens="100")),
        (CHAT, chat(max_tokens=1.5)),
        (CHAT, chat(max_tokens=True)),
        (CHAT, chat(max_tokens=-1)),
        (CHAT, chat(max_tokens=10**12)),
        (CHAT, chat(n="2")),
        (CHAT, chat(web_search_options={})),
        ("/v1/responses", {"input": "a", "previous_response_id": "r"}),
        ("/v1/responses", {"prompt": {"id": "p"}}),
        ("/v1/responses", {"input": [{"type": "input_file", "file_id": "f"}]}),
        ("/v1/responses", {"input": "a", "tools": [{"type": "web_search"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": "document"}]}], "max_tokens": 5}),
        ("/v1/audio/transcriptions", {"file": "f"}),
        (CHAT, chat(max_tokens=0)),
        (CHAT, chat(max_completion_tokens=0, max_tokens=9)),
        (CHAT, chat(max_tokens=9, prediction={"type": "content", "content": "a"})),
        (CHAT, chat(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}])),
        ("/v1/completions", {"prompt_embeds": ["AA", "BB"], "max_tokens": 4}),
        ("/v2/embed", {"images": ["https://a/b"]}),
        ("/v2/embed", {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}]}),
        ("/pooling", {"data": {"image": "https://a/b"}}),
        ("/rerank", {"query": "q", "documents": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}),
        ("/score", {"text_1": [{"image_url": "https://a/b"}], "text_2": "b"}),
        ("/score", {"data_1": "a", "data_2": {"content": [{"type": "text", "text": "b"}]}}),
    ],
)
def test_it_refuses_to_guess(path: str, document: dict[str, Any] | None) -> None:
    with pytest.raises(Unbounded):
        pricing.work(path, document, 100)


def test_it_counts_the_bytes_of_what_is_forwarded_where_the_client_writes_fewer() -> None:
    text = "字" * 1000
    raw = json.dumps(chat(messages=[{"role": "user", "content": text}]), ensure_ascii=False).encode("utf-16")

    assert pricing.work(CHAT, bodies.read(raw), len(raw)).input_tokens > len(text.encode())


def test_it_allows_texts_tools_and_their_results() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "content": "b", "tool_call_id": "1"},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]

    assert pricing.work(CHAT, chat(messages=messages, tools=tools), 10).outputs == 1


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**4), st.integers(0, 10**4))
def test_it_never_costs_more_than_the_bound(size: int, tokens: int, output: int, cached: int) -> None:
    found = pricing.work(CHAT, chat(max_tokens=10**4), size)
    used = min(tokens, found.input_tokens)

    assert PRICE.of(used, min(cached, used), output) <= found.most(PRICE, 10**4)


@given(st.integers(0, 10**30))
def test_it_writes_and_reads_amounts_exactly(amount: int) -> None:
    assert pricing.pico(pricing.text(amount)) == amount


def test_it_rounds_up_and_refuses_what_is_no_amount() -> None:
    assert pricing.pico("0.0000000000001") == 1
    assert pricing.pico("0.0000010") == 10**6
    for text in ("", "-1", "1e3", "NaN", "1.", ".5", "1,5", "١"):
        if text == "1.":
            assert pricing.pico(text) == pricing.PICO
            continue
        with pytest.raises(ValueError, match="expected an amount"):
            pricing.pico(text)


def test_it_takes_the_dearest_price_where_the_model_is_not_known() -> None:
    known = hard.prices(
        {
            "prices": [
                {"model": "a", "input": "0.1", "cached": "0.01", "output": "2"},
                {"model": "*", "input": "0.2", "cached": "0", "output": "1"},
            ]
        }
    )

    assert hard.price_of(known, "a") == known["a"]
    assert hard.price_of(known, "new") == known["*"]
    assert hard.price_of(known, None) == Price(pricing.pico("0.2"), pricing.pico("0.01"), pricing.pico("2"))
    assert hard.price_of({}, "a") is hard.price_of({}, None) is None
