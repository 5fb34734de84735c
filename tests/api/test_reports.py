"""Scores, business metrics and markers: pushed, safe at once, replaced by a later report."""

import hashlib
import hmac
import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test import Client

from costobs import pipeline
from ingest import configure
from ingest import queries as ingest_queries
from tests.api.conftest import Program

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SCORE: dict[str, Any] = {
    "score_id": "s-1",
    "scored_at": "2026-11-20T10:00:00Z",
    "name": "Faithfulness",
    "value": 0.92,
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini-2025-08-07",
    "trace_id": "4bf92f35",
    "variant": "prompt-7",
    "attributes": {"team": "search", "feature": "answers", "squad": "blue"},
}
FIGURE: dict[str, Any] = {
    "name": "tickets_resolved",
    "period_start": "2026-11-19T00:00:00Z",
    "period_end": "2026-11-21T00:00:00Z",
    "value": "412.125",
    "unit": "ticket",
    "attributes": {"team": "support"},
}
MARK: dict[str, Any] = {"marker_id": "d-1", "at": "2026-11-20T10:00:00Z", "act": "deploy", "title": "answers 2.4.0"}

pytestmark = pytest.mark.django_db


def push(client: Client, path: str, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return client.post(f"/api/v1/{path}", content, content_type="application/json", headers=headers)


def stored(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@pytest.fixture
def app(program: Program) -> Client:
    return program("ingest")


def test_it_keeps_a_score_with_its_model_variant_trace_and_owner(app: Client) -> None:
    response = push(app, "quality-scores", SCORE)
    pipeline.run_once(NOW)

    assert response.status_code == 202
    (row,) = stored(
        """SELECT q.name, q.value, q.scale_min, q.scale_max, q.model, q.variant, q.trace_id, a.attributes
           FROM ingest_qualityscore q JOIN ingest_attributeset a ON a.id = q.attribute_set_id"""
    )
    *told, attributes = row
    assert told == [
        "faithfulness",
        Decimal("0.92"),
        Decimal(0),
        Decimal(1),
        "gpt-5-mini",
        "prompt-7",
        "4bf92f35",
    ]
    assert orjson.loads(attributes) == {"team": "search", "feature": "answers", "tags": '{"squad":"blue"}'}


def test_it_counts_the_last_report_and_knows_a_repeated_one(app: Client) -> None:
    push(app, "quality-scores", [SCORE, {**SCORE, "score_id": "s-2", "value": True}])
    pipeline.run_once(NOW)
    push(app, "quality-scores", [SCORE, {**SCORE, "score_id": "s-2", "value": 0}])
    pipeline.run_once(NOW)

    loads = ingest_queries.loads()
    assert [(one.rows_read, one.rows_loaded, one.rows_duplicate) for one in loads] == [(2, 1, 1), (2, 2, 0)]
    assert stored("SELECT score_id, value FROM ingest_qualityscore ORDER BY 1") == [
        ("s-1", Decimal("0.92")),
        ("s-2", Decimal(0)),
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": 5}, "value"),
        ({"value": None}, "value"),
        ({"value": "NaN"}, "value"),
        ({"value": [1]}, "value"),
        ({"scale_min": 2, "value": 2}, "scale_max"),
        ({"scored_at": "yesterday"}, "scored_at"),
        ({"name": ""}, "name"),
        ({"attributes": "x"}, "attributes"),
        ({"variant": "a\x00b"}, "variant"),
    ],
)
def test_it_quarantines_a_score_by_its_wrong_field_and_takes_the_others(
    app: Client, change: dict[str, Any], field: str
) -> None:
    push(app, "quality-scores", [{**SCORE, **change}, {**SCORE, "score_id": "good"}])

    pipeline.run_once(NOW)

    (line,) = ingest_queries.quarantined()
    assert (line.row_number, line.field) == (1, field)
    assert stored("SELECT score_id FROM ingest_qualityscore") == [("good",)]


def test_it_replaces_a_business_figure_of_the_same_name_period_and_owner(app: Client) -> None:
    push(app, "business-metrics", FIGURE)
    push(app, "business-metrics", {**FIGURE, "attributes": {"team": "sales"}, "value": 7})
    pipeline.run_once(NOW)
    push(app, "business-metrics", {**FIGURE, "value": "413"})
    pipeline.run_once(NOW)

    found = stored("SELECT value, unit FROM ingest_businessmetric ORDER BY value")

    assert found == [(Decimal(7), "ticket"), (Decimal(413), "ticket")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT day::text FROM ingest_touched ORDER BY 1")
        assert [day for (day,) in cursor.fetchall()] == ["2026-11-19", "2026-11-20"]


def test_it_counts_a_figure_that_is_taken_back_as_first_said(app: Client) -> None:
    for value in ("412", "413", "412"):
        push(app, "business-metrics", {**FIGURE, "value": value})
        pipeline.run_once(NOW)

    assert stored("SELECT value FROM ingest_businessmetric") == [(Decimal(412),)]


@pytest.mark.parametrize(
    ("path", "table", "report"),
    [
        ("quality-scores", "ingest_qualityscore", {**SCORE, "score_id": os.urandom(5_000).hex()}),
        ("business-metrics", "ingest_businessmetric", {**FIGURE, "name": os.urandom(5_000).hex()}),
        ("markers", "ingest_marker", {**MARK, "marker_id": os.urandom(5_000).hex()}),
        ("fine-tune-runs", "ingest_finetunerun", {"external_id": os.urandom(5_000).hex()}),
    ],
)
def test_it_sets_aside_an_identity_longer_than_an_index_can_hold(
    app: Client, path: str, table: str, report: dict[str, Any]
) -> None:
    good = {**SCORE, "score_id": "s", "external_id": "r", "marker_id": "m", **FIGURE, "model": "gpt-4o"}
    good |= {"at": MARK["at"], "title": "t", "started_at": MARK["at"], "provider": "openai"}
    good |= {"value": 0.5, "gpus": [], "base_model": "gpt-4o", "method": "full", "state": "running"}
    push(app, path, [{**good, **report}, good])

    pipeline.run_once(NOW)

    assert stored(f"SELECT count(*) FROM {table}") == [(1,)]
    (line,) = ingest_queries.quarantined()
    assert "at most" in line.reason


def test_it_refuses_a_figure_whose_period_ends_before_it_begins(app: Client) -> None:
    push(app, "business-metrics", {**FIGURE, "period_end": FIGURE["period_start"]})

    pipeline.run_once(NOW)

    (line,) = ingest_queries.quarantined()
    assert line.field == "period_end"


def test_it_keeps_markers_and_refuses_an_address_that_is_none(app: Client) -> None:
    push(app, "markers", [MARK, {**MARK, "marker_id": "d-2", "url": "javascript:alert(1)"}])

    pipeline.run_once(NOW)

    assert stored("SELECT marker_id, act, title FROM ingest_marker") == [("d-1", "deploy", "answers 2.4.0")]
    (line,) = ingest_queries.quarantined()
    assert line.field == "url"


def test_it_takes_documents_that_are_laid_out_over_lines_beside_others(app: Client) -> None:
    laid_out = orjson.dumps([SCORE, {**SCORE, "score_id": "s-2"}], option=orjson.OPT_INDENT_2)
    lines = b"\n".join(orjson.dumps({**SCORE, "score_id": f"s-{number}"}) for number in (3, 4))

    accepted = [push(app, "quality-scores", body).json()["accepted"] for body in (laid_out, lines)]
    pipeline.run_once(NOW)

    assert accepted == [2, 2]
    assert len(stored("SELECT FROM ingest_qualityscore")) == 4


def test_it_asks_for_the_right_to_push(program: Program) -> None:
    refused = push(program("read"), "quality-scores", SCORE)

    assert refused.status_code == 403


@pytest.mark.parametrize("path", ["quality-scores", "business-metrics", "markers", "fine-tune-runs"])
def test_it_lets_a_gate_push_its_usage_and_nothing_else(program: Program, path: str) -> None:
    gate = program("gate", source_id=configure.create_source(kind="gate", name="chat-1", now=NOW))

    refused = push(gate, path, MARK)

    assert refused.status_code == 403
    assert stored("SELECT kind FROM ingest_source") == [("gate",)]


GITHUB = {
    "action": "created",
    "deployment_status": {
        "id": 9,
        "state": "success",
        "updated_at": "2026-11-20T10:00:00Z",
        "target_url": "https://ci.example/9",
    },
    "deployment": {"id": 812, "ref": "v2.4.0", "environment": "production"},
    "repository": {"name": "answers"},
}
GITLAB = {
    "object_kind": "deployment",
    "status": "failed",
    "status_changed_at": "2026-11-20 12:00:00 +0200",
    "deployment_id": 15,
    "ref": "main",
    "environment": "staging",
    "deployable_url": "https://git.example/15",
    "project": {"name": "answers"},
}


@pytest.fixture
def hook() -> str:
    source_id = configure.create_source(
        kind="markers", name="forge", config={"team": "search"}, credentials={"webhook_secret": "hush"}, now=NOW
    )
    return f"markers/webhook/{source_id}"


def signed(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_t236_it_takes_a_webhook_only_with_the_signature_of_its_secret(hook: str) -> None:
    body = orjson.dumps(GITHUB)

    good = push(Client(), hook, body, **{"X-Hub-Signature-256": signed(body, "hush"), "X-GitHub-Delivery": "a"})
    again = push(Client(), hook, body, **{"X-Hub-Signature-256": signed(body, "hush"), "X-GitHub-Delivery": "a"})
    forged = push(Client(), hook, body, **{"X-Hub-Signature-256": signed(body, "guess")})
    silent = push(Client(), hook, body)
    elsewhere = push(Client(), "markers/webhook/999999", body, **{"X-Hub-Signature-256": signed(body, "")})
    pipeline.run_once(NOW)

    assert [one.status_code for one in (good, again, forged, silent, elsewhere)] == [202, 202, 403, 403, 403]
    assert again.json()["repeated"] is True
    assert b"hush" not in forged.content
    (row,) = stored(
        """SELECT m.marker_id, m.at, m.act, m.title, m.url, a.attributes->>'environment', a.attributes->>'team'
           FROM ingest_marker m JOIN ingest_attributeset a ON a.id = m.attribute_set_id"""
    )
    at = datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert row == (
        "github deployment 812",
        at,
        "deploy",
        "answers v2.4.0",
        "https://ci.example/9",
        "production",
        "search",
    )


def test_it_undoes_nothing_for_an_old_event_that_is_sent_again_under_another_id(hook: str) -> None:
    status = GITHUB["deployment_status"]
    assert isinstance(status, dict)
    failed = orjson.dumps({**GITHUB, "deployment_status": {**status, "state": "failure"}})
    for number, body in enumerate((failed, orjson.dumps(GITHUB), failed)):
        headers = {"X-Hub-Signature-256": signed(body, "hush"), "X-GitHub-Delivery": str(number)}
        answer = push(Client(), hook, body, **headers)
        pipeline.run_once(NOW)

    assert answer.json()["repeated"] is True
    assert stored("SELECT title FROM ingest_marker") == [("answers v2.4.0",)]


def test_it_answers_and_leaves_events_of_a_forge_that_are_no_marks(hook: str) -> None:
    body = orjson.dumps({"zen": "Keep it logically awesome.", "hook_id": 1})
    for event in ("ping", "push", "deployment"):
        headers = {"X-Hub-Signature-256": signed(body, "hush"), "X-GitHub-Event": event}
        answer = push(Client(), hook, body, **headers)

        assert (answer.status_code, answer.json()["accepted"]) == (202, 0)

    pipeline.run_once(NOW)
    assert ingest_queries.quarantined() == []


def test_it_reads_gitlab_and_says_what_failed(hook: str) -> None:
    response = push(Client(), hook, GITLAB, **{"X-Gitlab-Token": "hush"})

    pipeline.run_once(NOW)

    assert response.status_code == 202
    assert stored("SELECT marker_id, at, title FROM ingest_marker") == [
        ("gitlab deployment 15", datetime(2026, 11, 20, 10, tzinfo=UTC), "answers main (failed)")
    ]


def test_it_reads_a_release_of_github(hook: str) -> None:
    release = {
        "id": 5,
        "tag_name": "v3",
        "name": "",
        "published_at": "2026-11-20T10:00:00Z",
        "html_url": "https://git.example/r",
    }
    body = orjson.dumps({"action": "published", "release": release, "repository": {"name": "answers"}})

    push(Client(), hook, body, **{"X-Hub-Signature-256": signed(body, "hush")})
    pipeline.run_once(NOW)

    assert stored("SELECT act, title FROM ingest_marker") == [("release", "answers v3")]


def test_it_does_not_make_the_books_stale_when_values_beside_cost_are_old(app: Client) -> None:
    push(app, "quality-scores", SCORE)
    pipeline.run_once(NOW)

    freshness = ingest_queries.freshness(now=NOW)

    assert freshness.sources == ()
