"""Figures by a query to the customer's own PostgreSQL: read and never written, within its limits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from ingest import configure, load
from ingest.models import BusinessMetric
from ingest.sources import business_sql
from ingest.sources.base import Finding, SourceUnavailable, Window

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(days=35), NOW)
QUERY = """SELECT closed_at::date AS day, team, feature, count(*) FROM desk.tickets
    WHERE closed_at >= :start AND closed_at < :end GROUP BY 1, 2, 3 ORDER BY 1, 2"""
DDL = """
CREATE SCHEMA desk;
CREATE TABLE desk.tickets (closed_at timestamptz, team text, feature text, paid numeric);
CREATE ROLE desk_reader LOGIN; GRANT USAGE ON SCHEMA desk TO desk_reader;
"""


@pytest.fixture
def desk(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A support desk's table, and the settings of a source that asks it."""
    run(DDL)
    settings = connection.get_connection_params()
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", f"127.0.0.1,{settings['host']}")
    try:
        yield {
            "host": settings["host"],
            "port": int(settings.get("port") or 5432),
            "database": settings["dbname"],
            "user": settings["user"],
            "query": QUERY,
            "name": "tickets_resolved",
            "unit": "ticket",
        }
    finally:
        run("DROP SCHEMA desk CASCADE; DROP OWNED BY desk_reader; DROP ROLE desk_reader")


def run(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)


def closed(*moments: str, team: str = "support") -> None:
    for moment in moments:
        run("INSERT INTO desk.tickets VALUES (%s, %s, 'answers', 2.50)", moment, team)


def kind(config: dict[str, Any]) -> business_sql.BusinessSql:
    return business_sql.BusinessSql(business_sql.BusinessSqlConfig(**config))


def sync(source_id: int, now: datetime = NOW) -> list[tuple[str, int]]:
    return [(one.state, one.rows_loaded) for one in load.sync(source_id=source_id, now=now)]


def figures() -> list[tuple[str, str, Decimal]]:
    rows = BusinessMetric.objects.select_related("attribute_set").order_by("period_start", "attribute_set_id")
    return [(f"{one.period_start:%m-%d}", one.attribute_set.attributes["team"], one.value) for one in rows]


def test_it_loads_what_the_query_counts_by_day_and_owner(desk: dict[str, Any]) -> None:
    closed("2026-11-20 23:59:59+00", "2026-11-21 00:00+00", "2026-11-21 09:00+00")
    closed("2026-11-21 10:00+00", team="sales")
    closed("2026-09-01 10:00+00")
    source_id = configure.create_source(kind="business_sql", name="desk", config=desk, now=NOW)

    assert sync(source_id) == [("succeeded", 3)]
    assert sorted(figures()) == [
        ("11-20", "support", Decimal(1)),
        ("11-21", "sales", Decimal(1)),
        ("11-21", "support", Decimal(2)),
    ]
    first = BusinessMetric.objects.order_by("period_start")[0]
    assert (first.name, first.unit) == ("tickets_resolved", "ticket")
    assert first.period_end - first.period_start == timedelta(days=1)


def test_it_takes_a_changed_figure_also_when_it_changes_back(desk: dict[str, Any]) -> None:
    closed("2026-11-21 09:00+00")
    source_id = configure.create_source(kind="business_sql", name="desk", config=desk, now=NOW)

    states = [sync(source_id), sync(source_id)]
    closed("2026-11-21 10:00+00")
    states.append(sync(source_id))
    run("DELETE FROM desk.tickets WHERE closed_at = '2026-11-21 10:00+00'")
    states.append(sync(source_id))
    closed("2026-11-21 10:00+00")
    states.append(sync(source_id))

    assert states == [[("succeeded", 1)], [], [("succeeded", 1)], [("succeeded", 1)], [("succeeded", 1)]]
    assert figures() == [("11-21", "support", Decimal(2))]


def test_it_keeps_every_digit_of_an_amount_and_names_of_the_query(desk: dict[str, Any]) -> None:
    run("INSERT INTO desk.tickets VALUES ('2026-11-21 09:00+00', 'support', 'answers', 0.123456789012345678901)")
    query = """SELECT date_trunc('month', closed_at) AS period_start, date_trunc('month', closed_at) + interval '1 month' AS
        period_end, 'Revenue' AS name, 'EUR' AS unit, team, sum(paid) AS value FROM desk.tickets WHERE team LIKE 'supp%'
        GROUP BY 1, 5;"""

    (raw,) = kind({**desk, "query": query}).read({}, WINDOW)
    (rows,) = [one.batch.to_pylist() for one in kind({**desk, "query": query}).normalize(raw)]

    assert [(row["name"], row["unit"], row["value"], row["attr_team"]) for row in rows] == [
        ("revenue", "EUR", "0.123456789012345678901", "support")
    ]
    assert rows[0]["period_end"] == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM desk.tickets RETURNING closed_at AS day, 1 AS count",
        "SELECT 1; DELETE FROM desk.tickets",
        "SELECT 1; COMMIT; DELETE FROM desk.tickets",
        "WITH gone AS (DELETE FROM desk.tickets RETURNING 1) SELECT current_date AS day, count(*) FROM gone",
        "SELECT set_config('transaction_read_only', 'off', true), nextval('desk.numbers')",
    ],
)
def test_it_changes_nothing_in_the_database_it_asks(desk: dict[str, Any], query: str) -> None:
    run("CREATE SEQUENCE desk.numbers")
    closed("2026-11-21 09:00+00")

    with pytest.raises(SourceUnavailable, match="cannot be run"):
        list(kind({**desk, "query": query}).read({}, WINDOW))

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM desk.tickets")
        assert cursor.fetchone() == (1,)


def test_it_gives_up_a_query_that_takes_too_long(desk: dict[str, Any]) -> None:
    slow = {**desk, "query": "SELECT current_date AS day, 1 AS count, pg_sleep(60)", "statement_seconds": 1}

    with pytest.raises(SourceUnavailable, match="statement timeout"):
        list(kind(slow).read({}, WINDOW))


def test_it_refuses_more_rows_than_figures_are(desk: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(business_sql, "MOST_ROWS", 10)
    many = {**desk, "query": "SELECT current_date AS day, g AS count FROM generate_series(1, 11) g"}

    with pytest.raises(SourceUnavailable, match="more than 10 rows"):
        list(kind(many).read({}, WINDOW))


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.5", "localhost"])
def test_it_connects_to_no_database_inside_the_network(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "")
    config = {"host": host, "database": "d", "user": "u", "query": "SELECT 1"}

    with pytest.raises(SourceUnavailable):
        list(kind(config).read({}, WINDOW))


def states(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(one.subject, one.state) for one in found]


def test_it_says_in_the_test_what_it_sees_and_what_is_missing(desk: dict[str, Any]) -> None:
    nothing = list(kind(desk).probe(WINDOW))
    closed("2026-11-21 09:00+00")
    seen = list(kind(desk).probe(WINDOW))
    refused = list(kind({**desk, "user": "desk_reader"}).probe(WINDOW))
    no_period = list(kind({**desk, "query": "SELECT 1 AS count, 'support' AS team"}).probe(WINDOW))

    assert [one.state for one in nothing] == ["note"]
    assert [one.state for one in seen] == ["ok", "ok"]
    assert "day, team, feature, count" in seen[0].detail
    assert "tickets_resolved = 1 ticket of support / answers, 2026-11-21 00:00 UTC" in seen[1].detail
    assert [(one.state, "permission denied" in one.detail) for one in refused] == [("missing", True)]
    assert no_period[-1].state == "missing"
    assert "period_start: is mandatory" in no_period[-1].detail
