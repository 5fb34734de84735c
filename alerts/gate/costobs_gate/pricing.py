"""Gate cost: what a request may cost at most, and what it did cost, in whole millionths of a millionth.

Integers only: a sum of a million requests is as exact as one of two.

**Why bytes bound the prompt.** A byte-level BPE tokenizer cuts text into pieces of at least one byte, so text of n bytes of
UTF-8 has at most n tokens. JSON never writes a character with fewer bytes than UTF-8 does, and a token id in a list takes
a digit and a comma; so all text and ids of a body together have at most as many tokens as the body has bytes. What a
server adds around them (special tokens, roles, a default system prompt) is bounded by TEMPLATE_TOKENS and, for each
message and tool, by the bytes of its own braces, names and quotes. What is not in the body (an image behind an address, a
stored prompt, a file) or is laid out by the client's own template has no such bound, and is not let through.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from costobs_gate import bodies, compact

PICO = 10**12
TEMPLATE_TOKENS = 512  # special tokens and a default system prompt that a chat template may add
COMPLETIONS_TOKENS = 16  # max_tokens of /v1/completions when none is named
DEFAULT_MAX_TOKENS = 1024  # written into a request that names no limit, where its budgets name none
MOST_TOKENS = 100_000_000  # a limit above is none
ANY_MODEL = "*"  # the price of a model without one: the dearest known

# The names by which every server of a path knows its limit.
_LIMITS: Mapping[str, tuple[str, ...]] = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
}
_EMBEDS = frozenset({"/v1/embeddings", "/v2/embed", "/pooling", "/classify"})
_PAIRS = frozenset({"/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"})
# What brings in tokens that are not in the body, or lays the text out in a way that the gate cannot know.
_OUTSIDE = frozenset(
    {
        "audio", "chat_template", "container", "conversation", "data", "images", "mcp_servers", "prediction",
        "previous_response_id", "prompt_embeds", "web_search_options",
    }
)  # fmt: skip
_READ = ("messages", "input", "inputs", "system", "prompt", "texts", "query")
_PAIRED = ("documents", "text_1", "text_2", "queries", "data_1", "data_2", "items")
_TEXT_PARTS = frozenset(
    {
        "text", "input_text", "output_text", "refusal", "message", "function_call", "function_call_output", "reasoning",
        "tool_use", "tool_result", "thinking", "redacted_thinking", "reasoning_text", "summary_text",
    }
)  # fmt: skip
_PLAIN_PARTS = frozenset({"text", "content", "cache_control"})  # keys of a part that names no type
_OWN_TOOLS = frozenset({"function", "custom"})  # others run at the server and feed their results to the model
_TEXTS = (str, int, float, type(None))


class Unbounded(Exception):
    """Nobody can say what the request may cost; the message says why."""


@dataclass(frozen=True, slots=True)
class Price:
    """Gate cost of one token, in pico-units of the currency."""

    input: int
    cached: int
    output: int

    def of(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """What these tokens cost; cached ones are part of the input."""
        cached = min(cached_tokens, input_tokens)
        return (input_tokens - cached) * self.input + cached * self.cached + output_tokens * self.output


@dataclass(frozen=True, slots=True)
class Work:
    """The most a request can make a model do. `names_limit`: the client itself bounds the output."""

    input_tokens: int
    outputs: int  # answers, each with up to the limit
    limit: int | None  # tokens of one answer
    names_limit: bool

    def most(self, price: Price, limit: int) -> int:
        """The most it can cost, with at most `limit` tokens in each answer. Cached input is never dearer."""
        return self.input_tokens * max(price.input, price.cached) + self.outputs * limit * price.output


def work(path: str, document: Mapping[str, object] | None, size: int) -> Work:
    """The bound of a request whose body has `size` bytes. Raises Unbounded."""
    if document is None:
        raise Unbounded("its body is not a JSON object")
    for name in _OUTSIDE & document.keys():
        if document[name] is not None:
            raise Unbounded(f"{name!r} brings in what is not in the request")
    prompt = document.get("prompt")
    if isinstance(prompt, Mapping):
        raise Unbounded("a stored prompt is not in the request")
    for name in _READ:
        _check_text(document.get(name), name)
    _check_tools(document.get("tools"))
    if isinstance(document, bodies.Ambiguous):
        # In UTF-16 a text can have fewer bytes than in UTF-8; as it is forwarded it has more.
        size = max(size, len(compact.encode(document)))
    tokens = size + TEMPLATE_TOKENS
    if path in _EMBEDS:
        return Work(tokens, 0, 0, True)
    if path in _PAIRS:
        # Each document is read together with the query.
        return Work(tokens * _documents(document), 0, 0, True)
    if path not in _LIMITS:
        raise Unbounded("what this path costs cannot be told from a request")
    prompts = len(prompt) if isinstance(prompt, list) and not _is_ids(prompt) else 1
    outputs = max(prompts, 1) * max(_count(document, "n"), _count(document, "best_of"))
    limit, names = _limit(path, document)
    return Work(tokens, outputs, limit, names)


def pico(text: str) -> int:
    """A decimal text as pico-units, rounded up. Raises ValueError; amounts below zero are refused too."""
    whole, _, rest = text.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (rest and not (rest.isascii() and rest.isdigit())):
        raise ValueError(f"expected an amount like 0.25, found {text[:40]!r}")
    return int(whole) * PICO + int((rest + "0" * 12)[:12]) + bool(rest[12:].strip("0"))


def text(amount: int) -> str:
    """Pico-units as a decimal text."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, PICO)
    return f"{sign}{whole}.{rest:012d}" if rest else f"{sign}{whole}"


def _limit(path: str, document: Mapping[str, object]) -> tuple[int | None, bool]:
    """The tokens of one answer, and whether the client names them where every server of the path reads them."""
    named = {name: document[name] for name in bodies.LIMIT_NAMES if document.get(name) is not None}
    limits = [_whole(name, value) for name, value in named.items()]
    if path != "/v1/completions" and 0 in limits:
        raise Unbounded("a limit of 0 tokens is read as none by some servers")
    if not named.keys().isdisjoint(_LIMITS[path]):
        # Servers differ in which of the names wins, and some write one token where none is asked for.
        return max(1, *limits), True
    if path == "/v1/completions" and "max_tokens" not in document:
        return max([COMPLETIONS_TOKENS, *limits]), False
    return None, False


def _count(document: Mapping[str, object], name: str) -> int:
    value = document.get(name)
    return 1 if value is None else max(1, _whole(name, value))


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise Unbounded(f"{name!r} is not a whole number up to {MOST_TOKENS}")
    return value


def _documents(document: Mapping[str, object]) -> int:
    counts = [1]
    for name in _PAIRED:
        value = document.get(name)
        _check_text(value, name)
        if isinstance(value, list):
            counts.append(len(value))
        elif isinstance(value, Mapping):
            raise Unbounded(f"{name!r} is more than one text")
    return max(counts)


def _is_ids(prompt: list[object]) -> bool:
    return bool(prompt) and isinstance(prompt[0], int)


def _check_text(value: object, name: str) -> None:
    """Raises Unbounded where there is more than text: an image, a sound, a file, a document."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            # Lists of token ids are long; one look at the first says what they are.
            if not _is_ids(item):
                waiting.extend(item)
        elif isinstance(item, Mapping):
            kind = item.get("type")
            if kind is not None and kind not in _TEXT_PARTS:
                raise Unbounded(f"{name!r} holds a part of the type {str(kind)[:40]!r}, and only text can be bounded")
            if kind is None and "role" not in item and not _PLAIN_PARTS.issuperset(item):
                raise Unbounded(f"{name!r} holds a part that is not text")
            if item.get("audio") is not None:
                raise Unbounded(f"{name!r} names a sound that is not in the request")
            waiting += [item.get("content"), item.get("output")]
        elif not isinstance(item, _TEXTS):
            raise Unbounded(f"{name!r} is not text")


def _check_tools(tools: object) -> None:
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind is not None and kind not in _OWN_TOOLS:
            raise Unbounded(f"the tool {str(kind)[:40]!r} runs at the server and feeds the model more than the request")
