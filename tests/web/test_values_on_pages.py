"""Quality and business value beside cost, and events as marks on the daily chart."""

from typing import Any

import orjson
import pytest
from django.test import Client

from attribution import own
from ingest import configure, load
from ingest.sources import KINDS
from tests.web import reading
from tests.web.conftest import NOW, Ledger

pytestmark = pytest.mark.django_db


def push(kind: str, *rows: dict[str, Any]) -> None:
    source_id = configure.create_source(kind=kind, name="app", now=NOW)
    raw = KINDS[kind](KINDS[kind].Config()).open_bytes(name="rows", content=orjson.dumps(list(rows)))
    assert load.run_unit(source_id=source_id, raw=raw, now=NOW).rows_loaded == len(rows)
    own.run(now=NOW)


def score(number: int, value: float, team: str) -> dict[str, Any]:
    return {
        "score_id": str(number),
        "scored_at": "2026-11-20T10:00:00Z",
        "name": "helpfulness",
        "value": value,
        "provider": "openai",
        "model": "gpt-4o",
        "attributes": {"team": team},
    }


def test_it_shows_no_table_of_values_where_nothing_was_pushed(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/unit-costs/")

    assert (response.context["quality"], response.context["business"]) == (None, None)


def test_it_shows_quality_beside_the_cost_of_the_same_group(ada: Client, ben: Client, ledger: Ledger) -> None:
    push("quality_scores", score(1, 0.8, "search"), score(2, 0.6, "search"), score(3, 1, "support"))

    table = reading.shown(ada, "/unit-costs/?group=team").context["quality"]
    own_table = reading.shown(ben, "/unit-costs/?group=team").context["quality"]

    means = dict(zip(reading.column(table, "Team"), reading.column(table, "Mean"), strict=True))
    assert {name.lower(): mean for name, mean in means.items()} == {"search": "70.0 %", "support": "100.0 %"}
    assert [name.lower() for name in reading.column(own_table, "Team")] == ["search"]
    assert all(cost.startswith("$") for cost in reading.column(table, "$ / 1M tokens"))


def test_it_divides_spend_by_what_the_business_did(ada: Client, ledger: Ledger) -> None:
    figure = {"name": "tickets_resolved", "unit": "ticket", "value": 100, "attributes": {"team": "support"}}
    push("business_metrics", {**figure, "period_start": "2026-11-19T00:00:00Z", "period_end": "2026-11-20T00:00:00Z"})

    table = reading.shown(ada, "/unit-costs/").context["business"]

    assert reading.column(table, "Metric") == ["tickets resolved"]
    spent = reading.amount(reading.column(table, "Spend")[0])
    (one,) = reading.column(table, "Cost of one")
    assert one.endswith("/ ticket")
    assert abs(reading.amount(one.split(" / ")[0]) - spent / 100) < 1


def test_it_numbers_events_on_the_daily_chart_and_links_them(ada: Client, ben: Client, ledger: Ledger) -> None:
    event = {"act": "deploy", "at": "2026-11-18T10:00:00Z", "url": "https://ci.example/1"}
    push(
        "markers",
        {**event, "marker_id": "1", "title": "answers <2.4>"},
        {**event, "marker_id": "2", "title": "triage 1.1", "attributes": {"team": "support", "environment": "prod"}},
    )

    seen = reading.shown(ada, "/")
    of_ben = reading.shown(ben, "/")

    html = seen.content.decode()
    assert "answers &lt;2.4&gt;" in html
    assert 'href="https://ci.example/1"' in html
    assert "Deploy in prod, support: triage 1.1" in html
    texts = [mark.text for mark in of_ben.context["daily"].chart.marks]
    assert [text.partition(": ")[2] for text in texts] == ["Deploy: answers <2.4>"]
