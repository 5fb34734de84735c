"""As we knew it: then and now on the page, over REST and on the command line."""

import json
from datetime import date, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from attribution import books, own, queries
from costobs import pipeline
from tests.attribution import world
from tests.web import reading
from tests.web.conftest import NOW, Ledger, scope

DAYS = "from=2026-11-01&to=2026-11-21"
LATER = NOW + timedelta(days=3)


@pytest.fixture
def grown(ledger: Ledger) -> Ledger:
    """Two days after the fixtures were loaded, a bill brought 100 USD more for the team search."""
    world.charge(
        world.source("focus_export", "late"),
        "100",
        attributes={"team": "search"},
        starts=world.at(day=date(2026, 11, 18)),
    )
    own.run(now=NOW + timedelta(days=2))
    books.rebuild(day=date(2026, 11, 18), now=NOW + timedelta(days=2))
    return ledger


def _url(query: str = "") -> str:
    return f"{reverse('as_of')}?{DAYS}&known_on=2026-11-22{query}"


def test_it_compares_what_was_known_with_what_is_known(grown: Ledger, ada: Client) -> None:
    with time_machine.travel(LATER, tick=False):
        response = reading.shown(ada, _url("&by=team"))

    now = queries.total(scope=scope()).cost
    table = response.context["table"]
    assert abs(reading.amount(reading.total(table, "Known now")) - now) < 1
    assert abs(reading.amount(reading.total(table, "Difference")) - 100) < 1
    news = response.context["news"]
    assert reading.column(news, "Day of knowing") == ["23 Nov 2026"]
    assert "on 22 Nov we knew of" in reading.words(response)


@pytest.mark.parametrize("by", ["day", "provider_name", "team", "basis"])
def test_it_has_the_same_total_however_it_is_grouped(grown: Ledger, ada: Client, by: str) -> None:
    with time_machine.travel(LATER, tick=False):
        text = reading.shown(ada, f"{reverse('as_of_export')}?{DAYS}&known_on=2026-11-22&by={by}").content.decode()

    rows = [line.split(",") for line in text.splitlines()[1:]]
    assert sum(reading.amount(row[3]) for row in rows) == queries.total(scope=scope()).cost
    assert sum(reading.amount(row[4]) for row in rows) == 100


def test_it_says_since_when_beliefs_are_kept(ledger: Ledger, ada: Client) -> None:
    page = reading.shown(ada, f"{reverse('as_of')}?{DAYS}&known_on=2026-11-03")

    words = reading.words(page)
    assert reading.kpi(page.context["kpis"], "Known then").value == "unknown"
    assert set(reading.column(page.context["table"], "Known then")) == {"unknown"}
    assert "what was known on 3 Nov was not written down" in words
    assert "What was known is written down since 21 Nov, 12:30 UTC" in words
    assert "that is not zero spend" in words


def test_it_shows_a_lead_own_rows_only(grown: Ledger, ben: Client) -> None:
    with time_machine.travel(LATER, tick=False):
        response = reading.shown(ben, _url("&by=team"))

    assert reading.column(response.context["table"], "Team") == ["search"]
    assert "late:" not in reading.words(response)
    assert "told to those who see every team" in reading.words(response)


@pytest.mark.parametrize(
    "query", ["known_on=soon", "known_on=2030-01-01", "known_on=0001-01-01", "by=colour", "f=model:gpt-4o"]
)
def test_it_says_what_cannot_be_asked(ledger: Ledger, ada: Client, query: str) -> None:
    words = reading.words(reading.shown(ada, f"{reverse('as_of')}?{query}", 400))

    assert "asks for something unknown" in words


def test_it_is_reached_from_explore_with_what_it_can_filter(ledger: Ledger, ada: Client) -> None:
    page = reading.shown(ada, f"{reverse('explore')}?{DAYS}&f=model:gpt-4o&f=team:search").content.decode()

    assert f"/explore/as-of/?{DAYS.replace('&', '&amp;')}&amp;f=team%3Asearch" in page


def test_it_tells_nobody_without_a_role(cleo: Client) -> None:
    reading.shown(cleo, reverse("as_of"), 403)
    reading.shown(cleo, reverse("as_of_export"), 403)


def test_it_answers_over_rest(grown: Ledger, ada: Client, ben: Client) -> None:
    with time_machine.travel(LATER, tick=False):
        asked = f"{reverse('api_spend')}?{DAYS.replace('&', '&')}&group_by=team&known_at=2026-11-22T10:59:00Z"
        then, now = ada.get(asked).json(), ada.get(asked.rpartition("&")[0]).json()
        own_rows = ben.get(asked).json()
        refused = [
            ada.get(f"{reverse('api_spend')}?known_at={text}").status_code
            for text in ("soon", "2026-11-22T10:00:00", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
        ]
        wrong = ada.get(f"{reverse('api_spend')}?group_by=model&known_at=2026-11-22T10:00:00Z")

    assert then["known_at"] == "2026-11-22T10:00:00+00:00"
    assert reading.amount(now["total"]) - reading.amount(then["total"]) == 100
    assert [row["team"] for row in own_rows["rows"]] == ["search"]
    assert refused == [400, 400, 400, 400]
    assert "kept by provider_name, team, basis" in wrong.content.decode()


def test_it_answers_on_the_command_line(grown: Ledger) -> None:
    def spent(*words: str) -> dict[str, str]:
        out = StringIO()
        call_command("spend", "--from", "2026-11-01", "--to", "2026-11-21", "--format", "json", *words, stdout=out)
        found: dict[str, str] = json.loads(out.getvalue())
        return found

    with time_machine.travel(LATER, tick=False):
        now, then = spent(), spent("--known-at", "2026-11-22")
        with pytest.raises(CommandError, match="nobody knows yet"):
            spent("--known-at", "2027-01-01")
        with pytest.raises(CommandError, match="time zone"):
            spent("--known-at", "2026-11-22T10:00")

    assert reading.amount(now["total"]) - reading.amount(then["total"]) == 100
    assert then["known_at"].startswith("2026-11-23T00:00:00")


def test_it_writes_owners_down_when_rules_change(ledger: Ledger) -> None:
    before = queries.spend_as_of(scope=scope(), known_at=LATER, group_by=["team"])

    pipeline.settle(LATER)

    assert queries.spend_as_of(scope=scope(), known_at=LATER + timedelta(hours=1), group_by=["team"]) == before
