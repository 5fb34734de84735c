"""Traces over OTLP/HTTP: from a real exporter into the books, and every refusal in the words of the protocol."""

import gzip
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from costobs import pipeline
from costobs.access import tokens
from ingest import configure, inbox
from ingest import queries as ingest_queries
from ingest.models import InboxBatch, UsageEvent, UsageHour
from tests.api.conftest import Program
from tests.api.october import NOW
from tests.servers import instrumented, models
from tests.servers import otlp as applications

URL = "/otlp/v1/traces"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
AT = 1_793_275_200_000_000_000  # 2026-10-29T12:00:00Z

pytestmark = pytest.mark.django_db


@pytest.fixture
def app(program: Program) -> Client:
    return program("ingest", source_id=configure.create_source(kind="otlp", name="app", now=NOW))


def request(*spans: bytes, tokens_in: int = 1000, trace: bytes = TRACE) -> bytes:
    """A request with one chat call for each span id."""
    found = ExportTraceServiceRequest()
    group = found.resource_spans.add().scope_spans.add()
    group.scope.name = "app"
    for own in spans or (SPAN,):
        span = group.spans.add(
            trace_id=trace, span_id=own, kind=3, start_time_unix_nano=AT, end_time_unix_nano=AT + 10**9
        )
        for name, value in {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}.items():
            span.attributes.add(key=name).value.string_value = value
        span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt-4o"
        span.attributes.add(key="gen_ai.prompt.0.content").value.string_value = "a secret question"
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = tokens_in
        span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 10
    content: bytes = found.SerializeToString()
    return content


def as_json() -> bytes:
    attributes = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}},
        {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1000"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 10}},
    ]
    span = {
        "traceId": TRACE.hex().upper(),
        "spanId": SPAN.hex(),
        "name": "chat gpt-4o",
        "kind": 3,
        "startTimeUnixNano": str(AT),
        "endTimeUnixNano": str(AT + 10**9),
        "attributes": attributes,
    }
    return orjson.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "app"}, "spans": [span]}]}]})


def push(client: Client, body: bytes, media_type: str = PROTOBUF, *, url: str = URL, **headers: str) -> Any:
    return client.post(url, body, content_type=media_type, headers={"Content-Type": media_type, **headers})


def requests_and_tokens() -> tuple[int, int]:
    hours = list(UsageHour.objects.values_list("requests", "input_uncached"))
    return sum(each[0] for each in hours), sum(each[1] for each in hours)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("instrumentation", "packing", "calls", "unknown", "cached"),
    [
        ("official", "", 6, 2, 2400),
        ("traceloop", "gzip", 6, 2, 2400),
        ("openinference", "gzip", 6, 2, 2400),
        ("anthropic", "", 3, 1, 2000),
    ],
)
def test_it_takes_what_a_real_exporter_sends(
    live_server: Any, instrumentation: str, packing: str, calls: int, unknown: int, cached: int
) -> None:
    source_id = configure.create_source(kind="otlp", name="app", now=NOW)
    _, text = tokens.create(name="app", grants=["ingest"], source_id=source_id, created_by="test", now=NOW)

    applications.run(instrumentation, traces=f"{live_server.url}{URL}", token=text, packing=packing)
    (payload,) = InboxBatch.objects.values_list("payload", flat=True)
    kept = gzip.decompress(bytes(payload))
    inbox.drain(now=timezone.now())  # the spans are of this very moment

    assert models.ANSWER.encode() not in kept
    assert instrumented.QUESTION.encode() not in kept
    sums = UsageHour.objects.values_list("requests", "unknown_usage", "cache_read")
    assert [sum(each) for each in zip(*sums, strict=True)] == [calls, unknown, cached]
    (load,) = ingest_queries.loads()
    assert (load.state, load.rows_read, load.rows_loaded, load.rows_skipped) == ("succeeded", calls + 1, calls, 1)


@pytest.mark.parametrize("url", [URL, "/v1/traces"])
def test_it_answers_in_the_type_it_was_asked_in(app: Client, url: str) -> None:
    response = push(app, request(), url=url)
    as_text = push(app, as_json(), JSON, url=url)

    assert (response.status_code, response["Content-Type"]) == (200, PROTOBUF)
    assert ExportTraceServiceResponse.FromString(response.content) == ExportTraceServiceResponse()
    assert (as_text.status_code, as_text["Content-Type"], as_text.json()) == (200, JSON, {})


def test_it_becomes_usage_with_the_next_tick(app: Client) -> None:
    push(app, gzip.compress(request(SPAN, SPAN[::-1])), **{"Content-Encoding": "gzip"})

    pipeline.run_once(NOW)

    assert requests_and_tokens() == (2, 2000)
    event = UsageEvent.objects.order_by("event_id").first()
    assert (event.event_id, event.trace_id) == (f"{TRACE.hex()}-{SPAN.hex()}", TRACE.hex())


def test_t186_it_reads_the_same_from_json_and_from_protobuf(app: Client) -> None:
    push(app, request())
    push(app, as_json(), JSON)

    pipeline.run_once(NOW)

    assert requests_and_tokens() == (1, 1000)
    assert ingest_queries.quarantined_count() == 0


def test_t166_it_counts_once_what_an_exporter_sends_again(app: Client) -> None:
    push(app, request(SPAN))
    push(app, request(SPAN))
    pipeline.run_once(NOW)
    push(app, request(SPAN))
    push(app, request(SPAN, SPAN[::-1]))

    pipeline.run_once(NOW)

    assert InboxBatch.objects.count() == 2
    assert requests_and_tokens() == (2, 2000)


def test_t166_it_keeps_the_first_of_two_reports_that_differ(app: Client) -> None:
    push(app, request(SPAN))
    pipeline.run_once(NOW)
    push(app, request(SPAN, tokens_in=7))

    pipeline.run_once(NOW)

    assert requests_and_tokens() == (1, 1000)
    assert ingest_queries.quarantined_count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_acknowledges_what_another_connection_can_read_and_no_prompt(app: Client) -> None:
    response = push(app, request())

    settings = connection.get_connection_params()
    known = {name: settings[name] for name in ("host", "port", "user", "password", "dbname") if settings.get(name)}
    with psycopg.connect(**known) as other:
        (payload,) = other.execute("SELECT payload FROM ingest_inboxbatch").fetchone()
    assert response.status_code == 200
    assert b"secret" not in gzip.decompress(payload)


def test_t167_it_asks_to_send_again_what_could_not_be_stored(app: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter gives up after 500 and tries again after 503."""
    monkeypatch.setattr(InboxBatch.objects, "create", _no_disk)

    response = push(app, request())

    assert (response.status_code, Status.FromString(response.content).code) == (503, 14)
    assert b"disk" not in response.content


def _no_disk(**_: object) -> None:
    raise OperationalError("no space left on disk")


def test_it_says_which_spans_it_can_never_tell_apart(app: Client) -> None:
    response = push(app, request(SPAN, b"\x00" * 8, b"short"))

    pipeline.run_once(NOW)

    answer = ExportTraceServiceResponse.FromString(response.content)
    assert (response.status_code, answer.partial_success.rejected_spans) == (200, 2)
    assert "span ids of 8" in answer.partial_success.error_message
    assert requests_and_tokens() == (1, 1000)
    assert ingest_queries.quarantined_count() == 2


@pytest.mark.parametrize(("body", "media_type"), [(b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans": []}', JSON)])
def test_it_takes_a_request_without_spans(app: Client, body: bytes, media_type: str) -> None:
    response = push(app, body, media_type)

    assert response.status_code == 200
    assert not InboxBatch.objects.exists()


@pytest.mark.parametrize(
    ("body", "media_type", "headers", "status", "word"),
    [
        (b"\xff" * 50, PROTOBUF, {}, 400, "protobuf"),
        (b"{", JSON, {}, 400, "JSON"),
        (b"no gzip", PROTOBUF, {"Content-Encoding": "gzip"}, 400, "gzip"),
        (b"{}", JSON, {"Content-Encoding": "br"}, 400, "br"),
        (b"x" * 2001, PROTOBUF, {}, 413, "smaller"),
        (gzip.compress(b"x" * 2001), PROTOBUF, {"Content-Encoding": "gzip"}, 413, "smaller"),
        (b"x", "text/plain", {}, 415, "application/x-protobuf"),
        (b"x", "application/grpc", {}, 415, "application/x-protobuf"),
    ],
    ids=["garbage", "cut", "no gzip", "unknown encoding", "too large", "too large unpacked", "text", "grpc"],
)
def test_it_refuses_what_it_cannot_read(
    app: Client, settings: Any, body: bytes, media_type: str, headers: dict[str, str], status: int, word: str
) -> None:
    settings.COSTOBS_INBOX_BYTES = 2000

    response = push(app, body, media_type, **headers)

    said = response.json()["message"] if media_type == JSON else Status.FromString(response.content).message
    assert (response.status_code, response["Content-Type"]) == (status, JSON if media_type == JSON else PROTOBUF)
    assert word in said
    assert not InboxBatch.objects.exists()


@pytest.mark.parametrize("authorization", ["", "Bearer cobs_wrong", "Basic dXNlcjpwYXNz"])
def test_it_refuses_a_wrong_token(db: None, authorization: str) -> None:
    response = push(Client(), request(), **({"Authorization": authorization} if authorization else {}))

    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert Status.FromString(response.content).code == 16
    assert not InboxBatch.objects.exists()


def test_it_refuses_a_token_that_may_only_read(program: Program) -> None:
    response = push(program("read"), request())

    assert (response.status_code, Status.FromString(response.content).code) == (403, 7)


def test_it_takes_no_other_method(app: Client) -> None:
    assert app.get(URL).status_code == 405


def test_it_makes_a_source_for_a_token_that_pushes_something_else_too(program: Program) -> None:
    client = program("ingest", source_id=configure.create_source(kind="usage_log", name="app", now=NOW))

    push(client, request())
    push(client, request())
    pipeline.run_once(NOW)

    assert ingest_queries.source_named(kind="otlp", name="ingest")
    assert requests_and_tokens() == (1, 1000)


def test_it_prices_a_call_from_its_span(app: Client) -> None:
    from attribution import queries
    from costobs.kernel.period import parse_month
    from costobs.kernel.scope import SpendScope

    push(app, request(tokens_in=1_000_000))

    pipeline.run_once(NOW)

    scope = SpendScope(parse_month("2026-10"), (), "effective", "USD", None)
    (row,) = queries.spend(scope=scope, group_by=["model"])
    # gpt-4o: 2.50 per million in, 10 per million out.
    assert (row.keys[0], row.cost) == ("gpt-4o", Decimal("2.5001"))
