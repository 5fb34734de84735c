"""Pushed calls: safe before they are acknowledged, stored once, spend within a tick."""

import gzip
import json
from decimal import Decimal

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client

from attribution import queries
from costobs import pipeline
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from ingest import configure, load
from ingest import queries as ingest_queries
from ingest.models import InboxBatch
from tests.api.conftest import Program
from tests.api.october import MONTH, NOW, events

URL = "/api/v1/usage-events"

pytestmark = pytest.mark.django_db


@pytest.fixture
def app(program: Program) -> Client:
    return program("ingest", source_id=configure.create_source(kind="usage_log", name="app", now=NOW))


def push(client: Client, body: bytes, **headers: str):
    return client.post(URL, body, content_type="application/x-ndjson", headers=headers)


def spent() -> dict[str, Decimal]:
    scope = SpendScope(parse_month(MONTH), (), "effective", "USD", None)
    return {row.keys[0]: row.cost for row in queries.spend(scope=scope, group_by=["team"])}


@pytest.mark.django_db(transaction=True)
def test_it_acknowledges_what_another_connection_can_read(app: Client) -> None:
    response = push(app, events(team="search", day="2026-10-02"))

    settings = connection.get_connection_params()
    known = {name: settings[name] for name in ("host", "port", "user", "password", "dbname") if settings.get(name)}
    with psycopg.connect(**known) as other:
        (count,) = other.execute("SELECT count(*) FROM ingest_inboxbatch").fetchone()
    assert (response.status_code, response.json()["accepted"], count) == (202, 3, 1)


def test_it_acknowledges_nothing_that_could_not_be_committed(app: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    app.raise_request_exception = False
    monkeypatch.setattr(InboxBatch.objects, "create", _no_disk)

    response = push(app, events(team="search", day="2026-10-02"))

    assert response.status_code == 500
    assert b"disk" not in response.content


def _no_disk(**_: object) -> None:
    raise OperationalError("no space left on disk")


def test_it_becomes_spend_with_the_next_tick(app: Client) -> None:
    response = push(app, gzip.compress(events(team="search", day="2026-10-02")), **{"Content-Encoding": "gzip"})
    push(app, events(team="growth", day="2026-10-03", count=1))

    pipeline.run_once(NOW)

    assert response.status_code == 202
    assert set(spent()) == {"search", "growth"}
    assert spent()["search"] == 3 * spent()["growth"] > 0


def test_it_stores_a_repeated_key_once(app: Client) -> None:
    body = events(team="search", day="2026-10-02")

    first = push(app, body, **{"Idempotency-Key": "batch-1"}).json()
    again = push(app, body, **{"Idempotency-Key": "batch-1"}).json()
    pipeline.run_once(NOW)
    once = spent()
    push(app, body, **{"Idempotency-Key": "batch-2"})
    pipeline.run_once(NOW)

    assert (first["repeated"], again["repeated"]) == (False, True)
    assert first["batch_id"] == again["batch_id"] == "batch-1"
    assert spent() == once


def test_it_loads_the_good_lines_of_a_batch_and_lists_the_bad_ones(app: Client) -> None:
    response = push(app, events(team="search", day="2026-10-02", count=1) + b'{"event_id": "x"}\n{"broken\n')

    pipeline.run_once(NOW)

    assert (response.status_code, response.json()["accepted"]) == (202, 3)
    assert set(spent()) == {"search"}
    assert ingest_queries.quarantined_count() == 2


@pytest.mark.parametrize(
    ("body", "headers", "status", "word"),
    [
        (b"", {}, 400, "empty"),
        (b"\n \n", {}, 400, "empty"),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, "gzip"),
        (gzip.compress(b"{}\n" * 500)[:-9], {"Content-Encoding": "gzip"}, 400, "truncated"),
        (b"{}", {"Content-Encoding": "br"}, 400, "br"),
        (b"{}", {"Idempotency-Key": "k" * 201}, 400, "Idempotency-Key"),
        (b"x" * 2001, {}, 413, "smaller"),
        (gzip.compress(b"x" * 2001), {"Content-Encoding": "gzip"}, 413, "smaller"),
    ],
    ids=["nothing", "blank", "no gzip", "cut gzip", "unknown encoding", "long key", "too large", "too large unpacked"],
)
def test_it_refuses_a_batch_it_cannot_keep(
    app: Client, settings: object, body: bytes, headers: dict[str, str], status: int, word: str
) -> None:
    settings.COSTOBS_INBOX_BYTES = 2000

    response = push(app, body, **headers)

    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    assert word in response.json()["detail"]
    assert not InboxBatch.objects.exists()


def test_it_takes_a_batch_larger_than_a_form_may_be(app: Client) -> None:
    body = events(team="search", day="2026-10-02", count=1).rstrip() + b" " * 3_000_000 + b"\n"

    response = push(app, body)

    assert (response.status_code, response.json()["accepted"]) == (202, 1)


def test_it_needs_a_token_that_belongs_to_a_source(program: Program) -> None:
    response = push(program("ingest"), b"{}\n")

    assert response.status_code == 400
    assert "source" in response.json()["detail"]


@pytest.mark.parametrize("kind", ["markers", "otlp", "aws_cur"])
def test_it_refuses_a_token_whose_source_takes_something_else(program: Program, kind: str) -> None:
    client = program("ingest", source_id=configure.create_source(kind=kind, name="typo", now=NOW))

    response = push(client, b"{}\n")

    assert response.status_code == 400
    assert kind in response.json()["detail"]
    assert not InboxBatch.objects.exists()


def test_it_takes_fine_tune_runs(program: Program) -> None:
    run = {
        "external_id": "ft-1",
        "name": "support tone",
        "team": "support",
        "base_model": "llama-3.1-8b",
        "state": "succeeded",
        "started_at": "2026-10-02T08:00:00Z",
        "ended_at": "2026-10-02T10:00:00Z",
        "gpus": 4,
    }
    client = program("ingest")

    response = client.post("/api/v1/fine-tune-runs", json.dumps(run), content_type="application/json")
    pipeline.run_once(NOW)

    assert response.status_code == 202
    assert [line.state for line in ingest_queries.loads()] == ["succeeded"]
    assert load.connect(ingest_queries.source_named(kind="fine_tunes", name="ingest")).kind == "fine_tunes"
