"""Which of several spans of one call counts: two instrumentations of one library report each call twice."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.sources.formats.otlp import otlp_calls, otlp_spans
from ingest.sources.formats.otlp.otlp_calls import first
from ingest.sources.formats.usage.foreign_lines import text

REASON = "the same call is reported by another span"

_HIGHEST = 64  # spans between a call and the call above it; a hostile trace may be a ring or a chain of millions
_NEAREST = 64  # calls beside a call that are looked at

Key = tuple[str, str]  # trace id and span id


@dataclass(frozen=True, slots=True)
class Repeats:
    """The spans that do not count, and what they say about the one that does where that one is silent."""

    keys: frozenset[Key]
    told: Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Call:
    """What tells whether two spans are one call, and which of them counts."""

    key: Key
    parent: str
    scope: str
    start: int
    end: int
    is_server: bool
    knows: bool  # its usage
    response: str
    models: frozenset[str]
    attributes: Mapping[str, Any]


def key_of(span: Mapping[str, Any]) -> Key:
    """The identity of a span."""
    return text(span.get("trace")), text(span.get("span"))


def find(spans: Iterable[Mapping[str, Any]], *, ignored: frozenset[str]) -> Repeats:
    """The calls that another span reports as well; of two spans the inner one counts.

    Inner is what lies below a call in its trace, or, from another instrumentation, within its time: not every
    instrumentation makes its span the parent of what runs in it. The outer one counts instead when it alone knows the
    usage, and when the inner one is the span of the model server.
    """
    calls: dict[Key, _Call] = {}
    parents: dict[Key, str] = {}
    for span in spans:
        key = key_of(span)
        parents[key] = text(span.get("parent"))
        if text(span.get("scope")) not in ignored and otlp_calls.is_call(span):
            calls[key] = _call(key, span)
    beside = _beside(list(calls.values()))
    inner: dict[Key, list[Key]] = defaultdict(list)
    for key in calls:
        outer = next((each for each in _above(key, parents) if each in calls), None)
        if outer is not None and not _may_call(calls[outer], calls[key]):
            continue
        outer = outer or beside.get(key)
        if outer is not None:
            inner[outer].append(key)
    return _repeats(calls, inner)


def _call(key: Key, span: Mapping[str, Any]) -> _Call:
    attributes = span["attributes"]
    names = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "embedding.model_name")
    return _Call(
        key=key,
        parent=text(span.get("parent")),
        scope=text(span.get("scope")),
        start=_time(span.get("start")),
        end=_time(span.get("end")),
        is_server=span.get("kind") == otlp_calls.SERVER,
        knows=otlp_calls.knows_usage(span),
        response=first(attributes, ("gen_ai.response.id", "gen_ai.request.id")),
        models=frozenset(text(attributes.get(name)) for name in names) - {""},
        attributes=attributes,
    )


def _may_call(outer: _Call, inner: _Call) -> bool:
    """What calls begins first, by one clock. A broken trace may be a ring, in which nothing would be left to count."""
    return outer.key != inner.key and (outer.start <= inner.start or (inner.is_server and not outer.is_server))


def _time(value: object) -> int:
    return value if isinstance(value, int) else 0


def _above(key: Key, parents: Mapping[Key, str]) -> Iterator[Key]:
    """The spans above one, the nearest first; agents, HTTP and the like may lie between two calls."""
    trace, own = key
    for _ in range(_HIGHEST):
        own = parents.get((trace, own), "")
        if not own:
            return
        yield trace, own


def _beside(calls: list[_Call]) -> dict[Key, Key]:
    """The call around each call that is not below it: of the same response, or of the same parent."""
    groups: dict[tuple[str, ...], list[_Call]] = defaultdict(list)
    for call in calls:
        groups["parent", call.key[0], call.parent].append(call)
        if call.response:
            groups["a response", call.response].append(call)
    found: dict[Key, Key] = {}
    for _, group in sorted(groups.items()):  # by response first: it says more than a common parent
        if len({call.scope for call in group}) < 2:
            continue
        group.sort(key=lambda call: (call.start, -call.end, call.key))
        for at, call in enumerate(group):
            before = group[max(0, at - _NEAREST) : at]
            around = next((each for each in reversed(before) if _is_around(each, call)), None)
            if around is not None:
                found.setdefault(call.key, around.key)
    return found


def _is_around(outer: _Call, inner: _Call) -> bool:
    same_response = not (outer.response and inner.response) or outer.response == inner.response
    same_model = not (outer.models and inner.models) or bool(outer.models & inner.models)
    return outer.scope != inner.scope and outer.end >= inner.end and same_response and same_model


def _repeats(calls: Mapping[Key, _Call], inner: Mapping[Key, list[Key]]) -> Repeats:
    """Inner calls are settled first: `standing` holds what counts at and below each call."""
    out: set[Key] = set()
    told: dict[Key, Mapping[str, Any]] = {}
    standing: dict[Key, list[_Call]] = {}
    for key in sorted(inner, key=lambda each: (-calls[each].start, calls[each].end, each)):
        outer = calls[key]
        below = [each for child in inner[key] for each in standing.get(child, [calls[child]]) if each.key != key]
        servers = [] if outer.is_server else [each for each in below if each.is_server]
        clients = [each for each in below if each not in servers]
        keeps_outer = not clients or (outer.knows and not any(each.knows for each in clients))
        gone = below if keeps_outer else [outer, *servers]
        out |= {each.key for each in gone}
        standing[key] = [outer] if keeps_outer else clients
        if not keeps_outer and len(clients) == 1:
            names = {name: value for name, value in outer.attributes.items() if not name.startswith(otlp_spans.COUNTS)}
            told[clients[0].key] = names | dict(told.get(clients[0].key, {}))
    return Repeats(frozenset(out), told)
