"""Calls that do not say what they used are counted, listed by model and source, and never taken for zero."""

from typing import Any

import orjson
import pytest
from django.test import Client

from costobs import pipeline
from ingest import configure, load
from ingest.sources import KINDS
from tests.web import reading
from tests.web.conftest import NOW, Ledger

pytestmark = pytest.mark.django_db


def push(name: str, *lines: dict[str, Any]) -> None:
    source_id = configure.create_source(kind="usage_log", name=name, now=NOW)
    content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    raw = KINDS["usage_log"](KINDS["usage_log"].Config()).open_bytes(name="calls", content=content)
    assert load.run_unit(source_id=source_id, raw=raw, now=NOW).rows_loaded == len(lines)
    while pipeline.settle(NOW):
        continue


def call(number: int, day: str, model: str = "gpt-4o", **usage: int) -> dict[str, Any]:
    return {
        "event_id": f"{day}-{model}-{number}",
        "occurred_at": f"{day}T10:00:00Z",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "attributes": {"team": "search"},
        **{f"gen_ai.usage.{name}": value for name, value in usage.items()},
    }


def test_it_counts_calls_of_unknown_usage_by_model_and_source(ada: Client) -> None:
    push(
        "traces", call(1, "2026-11-20"), call(2, "2026-11-20"), call(3, "2026-11-20", input_tokens=10, output_tokens=1)
    )
    push("log", call(4, "2026-11-19", "gpt-4o-mini"), call(5, "2026-10-01"))

    page = reading.shown(ada, "/sources/")

    figure = reading.kpi(page.context["kpis"], "Calls of unknown usage")
    assert (figure.value, figure.url) == ("3", "#unknown-usage")
    assert "of 4 calls" in figure.note and "75.0 %" in figure.note
    table = page.context["unknown"]
    assert reading.column(table, "Model") == ["gpt-4o", "gpt-4o-mini"]
    assert reading.column(table, "Source") == ["traces", "log"]
    assert reading.column(table, "Of unknown usage") == ["2", "1"]
    assert reading.column(table, "Of its calls") == ["66.7 %", "100.0 %"]
    assert 'id="unknown-usage"' in page.content.decode()


def test_it_says_that_none_is_unknown(ada: Client, ledger: Ledger) -> None:
    page = reading.shown(ada, "/sources/")

    assert reading.kpi(page.context["kpis"], "Calls of unknown usage").value == "0"
    assert "Every call says what it used" in reading.words(page)


def test_it_leads_from_unit_costs_to_the_list_for_those_who_may_see_it(
    ada: Client, ben: Client, ledger: Ledger
) -> None:
    assert "/sources/#unknown-usage" not in reading.shown(ada, "/unit-costs/").content.decode()
    push("traces", call(1, "2026-11-20"))

    assert "/sources/#unknown-usage" in reading.shown(ada, "/unit-costs/").content.decode()
    assert "/sources/#unknown-usage" not in reading.shown(ben, "/unit-costs/").content.decode()


def test_it_calls_no_day_without_an_event_a_gap(ada: Client) -> None:
    push("log", call(1, "2026-11-10", input_tokens=1), call(2, "2026-11-12", input_tokens=1))
    source_id = configure.create_source(kind="markers", name="deploys", now=NOW)
    events = [
        {"marker_id": day, "act": "deploy", "title": "x", "at": f"2026-11-{day}T10:00:00Z"} for day in ("10", "15")
    ]
    raw = KINDS["markers"](KINDS["markers"].Config()).open_bytes(name="rows", content=orjson.dumps(events))
    load.run_unit(source_id=source_id, raw=raw, now=NOW)

    table = reading.shown(ada, "/sources/").context["completeness"]

    gaps = dict(zip(reading.column(table, "Source"), reading.column(table, "Gaps before the newest day"), strict=True))
    assert gaps["log"] == "11 Nov"
    assert gaps["deploys"] == "–"
