"""The sample in an installation: loaded once, topped up, finished after a kill, removed without a trace."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice

import pytest
from django.core.management import call_command
from django.db import connection

from alerts import queries as alert_queries
from alerts.models import Budget, Rung
from attribution import close, own, rulesets, terms, verify
from attribution import queries as spend_queries
from costobs import pipeline
from costobs.embedded import paths
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from costobs.sample import install, plan
from ingest import configure, inbox, queries

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 15, 7, tzinfo=UTC)
DAYS = 3
TABLES = (
    "ingest_source",
    "ingest_usageevent",
    "ingest_usagehour",
    "ingest_usageday",
    "ingest_latencyday",
    "ingest_agentrun",
    "ingest_charge",
    "ingest_delivery",
    "ingest_gpusample",
    "ingest_gpuhour",
    "ingest_finetunerun",
    "ingest_qualityscore",
    "ingest_businessmetric",
    "ingest_marker",
    "ingest_load",
    "ingest_attributeset",
    "ingest_touched",
    "attribution_dailycost",
    "attribution_allocatedcharge",
    "attribution_finetunecost",
    "attribution_ownership",
    "attribution_team",
    "alerts_budget",
    "alerts_budgetperiod",
    "alerts_actionrun",
    "alerts_alert",
    "alerts_gate",
    "alerts_gatekey",
)


@pytest.fixture(autouse=True)
def _little_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of each minute for one day only: they are most of the time a load takes."""
    monkeypatch.setattr(plan, "MINUTE_DAYS", 1)


def _load(now: datetime = NOW, *, is_asked: bool = False, days: int = DAYS) -> list[install.Progress]:
    return list(install.run(clock=lambda: now, is_asked=is_asked, days=days))


def _count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def _counts() -> dict[str, int]:
    return {table: _count(table) for table in TABLES}


def _fingerprint() -> tuple[object, ...]:
    """What the books and the calls come to."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), sum(output), sum(input_uncached), max(occurred_at) FROM ingest_usageevent")
        calls = cursor.fetchone()
        cursor.execute("SELECT count(*), sum(busy_ms), sum(energy_millijoules) FROM ingest_gpuhour")
        hours = cursor.fetchone()
    return calls, hours, _total()


def _total() -> Decimal:
    days = Days(NOW.date() - timedelta(days=DAYS), NOW.date() + timedelta(days=5))
    return spend_queries.total(scope=SpendScope(days, teams=None)).cost


def test_it_goes_through_the_real_load_path_and_balances() -> None:
    steps = _load()

    assert {step.state for step in steps} == {"succeeded"}
    assert [step.percent for step in steps] == sorted(step.percent for step in steps)
    assert steps[-1].percent == 100
    assert _count("ingest_quarantinedrow") == 0
    assert _total() > 1500
    assert verify.run(days=None).failures == ()
    assert all(line.is_sample and line.name.startswith("Sample: ") for line in queries.sources(now=NOW))
    assert list((paths.data_dir() / "sample").iterdir()) == []


def test_it_changes_nothing_when_it_is_loaded_twice() -> None:
    _load()
    before = _fingerprint(), _counts()

    again = _load()

    assert {step.state for step in again} == {"unchanged"}
    assert (_fingerprint(), _counts()) == before


def test_it_loads_only_what_has_passed_since() -> None:
    _load()
    first = _count("ingest_usageevent")

    steps = _load(NOW + timedelta(hours=20))

    assert 0 < sum(step.rows for step in steps if step.what.startswith("usage")) == _count("ingest_usageevent") - first
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(occurred_at) FROM ingest_usageevent")
        (newest,) = cursor.fetchone()
    assert NOW + timedelta(hours=19) < newest < NOW + timedelta(hours=20)
    assert verify.run(days=None).failures == ()


def test_it_goes_on_where_it_was_killed() -> None:
    killed: Iterator[install.Progress] = install.run(clock=lambda: NOW, days=DAYS)
    list(islice(killed, 3))
    killed.close()  # type: ignore[attr-defined]  # a generator: this is what an interrupted command leaves

    _load()

    resumed = _fingerprint()
    install.remove(by="ada", now=NOW)
    _load(is_asked=True)
    assert _fingerprint() == resumed


def test_it_stops_and_throttles_budgets_by_climbing_their_ladders() -> None:
    _load()

    states = {line.name: line.state for line in alert_queries.budgets(now=NOW, teams=None)}
    waiting = alert_queries.waiting_actions(teams=None)

    assert states["Sample: Growth"] == "stopped"
    assert states["Sample: Search"] == "throttled"
    assert states["Sample: Support"] == "on_track"
    assert {states["Sample: Research"], states["Sample: Data platform"], states["Sample: All AI spend"]} == {"watch"}
    assert [(run.budget_name, run.action) for run in waiting] == [("Sample: Data platform", "throttle")]


def test_it_hangs_its_budgets_below_each_other_and_uses_what_they_can_do() -> None:
    _load()

    lines = {line.name.removeprefix("Sample: "): line for line in alert_queries.budgets(now=NOW, teams=None)}
    rows = {row.name.removeprefix("Sample: "): row for row in Budget.objects.select_related("parent")}
    triggers = set(Rung.objects.filter(budget__is_sample=True).values_list("trigger", flat=True))
    above = {name: row.parent.name.removeprefix("Sample: ") if row.parent else "" for name, row in rows.items()}
    briefs, support = lines["Market briefs, any 7 days"], lines["Support"]
    assert above == {
        "All AI spend": "",
        "Data platform": "All AI spend",
        "Growth": "All AI spend",
        "Market briefs, any 7 days": "Growth",
        "Research": "All AI spend",
        "Search": "All AI spend",
        "Support": "All AI spend",
    }
    assert triggers == {"actual", "forecast", "burn_rate", "trend"}
    assert (briefs.days.start, briefs.days.end) == (date(2026, 11, 15), date(2026, 11, 22))
    assert 0 < support.carried_cost <= support.base_amount / 10
    assert {row.created_at < NOW for row in rows.values()} == {True}


def test_it_is_removed_without_a_trace_and_stays_away() -> None:
    before = _counts() | {"rules": len(own.current_rules())}
    _load()

    gone = install.remove(by="ada", now=NOW)

    assert gone == 10
    assert _counts() | {"rules": len(own.current_rules()) - len(own.DEFAULT_RULES)} == before | {"rules": 0}
    with pytest.raises(install.NotWanted, match="removed"):
        _load()
    assert install.remove(by="ada", now=NOW) == 0


def test_it_leaves_other_sources_alone_when_it_is_removed() -> None:
    source_id = configure.create_source(kind="usage_log", name="ours", now=NOW)
    line = (
        b'{"event_id":"a","occurred_at":"2026-11-20T10:00:00Z","gen_ai.provider.name":"openai",'
        b'"gen_ai.request.model":"gpt-5","gen_ai.usage.input_tokens":1000000,"gen_ai.usage.output_tokens":0}'
    )
    inbox.accept(source_id=source_id, body=line, encoding="", idempotency_key="1", limit=1_000_000, now=NOW)
    inbox.drain(now=NOW)
    _load(is_asked=True)

    install.remove(by="ada", now=NOW)

    assert [line.name for line in queries.sources(now=NOW)] == ["ours"]
    assert _total() == Decimal("1.25")


def test_it_does_not_stand_beside_other_data_unasked() -> None:
    source_id = configure.create_source(kind="usage_log", name="ours", now=NOW)
    line = b'{"event_id":"a","occurred_at":"2026-11-20T10:00:00Z","gen_ai.provider.name":"openai"}'
    inbox.accept(source_id=source_id, body=line, encoding="", idempotency_key="1", limit=1_000_000, now=NOW)
    inbox.drain(now=NOW)

    with pytest.raises(install.NotWanted, match="other data"):
        _load()

    assert not queries.has_sample()


def test_it_says_on_the_command_line_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sample", "remove")

    assert capsys.readouterr().out == "sample: there is none\n"


def test_it_closes_its_oldest_months_until_other_data_come() -> None:
    steps = _load(datetime(2026, 11, 2, 9, 7, tzinfo=UTC), days=34)  # from 30 September on

    september, october = (close.status(month=date(2026, month, 1), now=NOW) for month in (9, 10))
    assert "closed months" in {step.what for step in steps}
    assert (september.state, september.closed_by, september.version) == ("closed", "sample", 1)
    assert october.state != "closed"  # left to people
    assert [(one.label, one.first_month, one.set_by) for one in terms.markups()] == [
        ("Platform fee", date(2026, 9, 1), "sample")
    ]
    assert len(rulesets.history()) >= 2
    assert verify.run(days=None).failures == ()

    source_id = configure.create_source(kind="usage_log", name="ours", now=NOW)
    line = (
        b'{"event_id":"a","occurred_at":"2026-09-20T10:00:00Z","gen_ai.provider.name":"openai",'
        b'"gen_ai.request.model":"gpt-5","gen_ai.usage.input_tokens":1000000,"gen_ai.usage.output_tokens":0}'
    )
    inbox.accept(source_id=source_id, body=line, encoding="", idempotency_key="1", limit=1_000_000, now=NOW)
    inbox.drain(now=NOW)
    while pipeline.settle(NOW):
        continue

    assert not close.has_books()
    assert verify.run(days=None).failures == ()
    assert _count("attribution_dailycost WHERE origin_day IS NOT NULL") == 0
    own_day = SpendScope(Days(date(2026, 9, 20), date(2026, 9, 21)), teams=None)
    assert spend_queries.total(scope=own_day).cost == Decimal("1.25")

    install.remove(by="ada", now=NOW)

    assert terms.markups() == []
    assert _count("attribution_closedteam") == 0


def test_it_takes_its_closed_months_away_with_it() -> None:
    _load()
    november = date(2026, 11, 1)
    later = datetime(2026, 12, 2, tzinfo=UTC)
    left = close.status(month=november, now=later).open_lines
    close.close(month=november, by="sample", now=later, waive={one.key: "x" for one in left if one.may_be_waived})

    install.remove(by="ada", now=later)

    assert not close.has_books()
    assert _count("attribution_closedteam") == 0
    assert verify.run(days=None).failures == ()
