"""The pages of anomalies, their acts, the API and the command: who sees what, and who may say what."""

import csv
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from alerts import anomalies, anomaly_queries
from costobs.access import tokens
from costobs.audit.models import AuditEntry
from costobs.kernel import fmt
from tests.alerts.conftest import make_books
from tests.web import reading
from tests.web.conftest import signed_in

pytestmark = pytest.mark.django_db

LAST = date(2026, 11, 20)


@pytest.fixture
def found(db: None, clock: None) -> anomaly_queries.AnomalyLine:
    """Team search leapt on the 20th."""
    books = make_books()
    for back in range(56):
        day = LAST - timedelta(days=back)
        books.spend(day, str(100 + back % 3), team="search")
        books.spend(day, str(60 + back % 4), team="support", model="mistral")
    books.spend(LAST, "300", team="search")
    books.complete(datetime(2026, 11, 21, tzinfo=UTC))
    anomalies.run(now=datetime(2026, 11, 21, 6, tzinfo=UTC), is_asked=True)
    (line,) = anomaly_queries.anomalies(teams=None)
    return line


def test_it_states_the_finding(found: anomaly_queries.AnomalyLine, ada: Client) -> None:
    listed = reading.words(reading.shown(ada, "/anomalies/"))
    page = reading.words(reading.shown(ada, reverse("anomaly", args=[found.id])))

    impact = fmt.money(found.impact_cost)
    assert f"1 open anomaly, {impact} above expected so far" in listed
    assert f"Team search costs {impact} a day more than expected" in page
    assert "The parts add up exactly" in page


@pytest.mark.parametrize("query", ["?view=closed", "?view=all&min=99999", "?scope=key"])
def test_it_shows_only_what_was_asked_for(found: anomaly_queries.AnomalyLine, ada: Client, query: str) -> None:
    link = f'href="{reverse("anomaly", args=[found.id])}"'

    page = reading.shown(ada, f"/anomalies/{query}").content.decode()

    assert link not in page
    assert link in reading.shown(ada, "/anomalies/").content.decode()


def test_it_exports_the_same_rows(found: anomaly_queries.AnomalyLine, ada: Client) -> None:
    content = reading.shown(ada, "/anomalies/?format=csv").content.decode()

    (row,) = csv.DictReader(StringIO(content))
    assert "team search" in row.values()
    assert Decimal(row["impact_cost"]) == found.impact_cost > 0


def test_it_shows_a_lead_own_teams_only(found: anomaly_queries.AnomalyLine, ben: Client, cleo: Client) -> None:
    assert "1 open anomaly" in reading.words(reading.shown(ben, "/anomalies/"))
    assert "no role yet" in reading.words(reading.shown(cleo, "/anomalies/", 403))
    other = signed_in("sue@example.com", "lead", "support")
    assert "1 open anomaly" not in reading.words(reading.shown(other, "/anomalies/"))
    assert "no such anomaly" in reading.words(reading.shown(other, reverse("anomaly", args=[found.id]), 404))


def act(client: Client, found: anomaly_queries.AnomalyLine, verb: str, version: int, **given: str) -> int:
    address = reverse("anomaly_decide", args=[found.id, verb])
    return client.post(address, {"version": str(version), **given}).status_code


def test_it_lets_the_lead_of_the_team_say_and_undo(found: anomaly_queries.AnomalyLine, ben: Client) -> None:
    version = found.version
    for number, (verb, given) in enumerate(
        [("acknowledge", {}), ("mute", {}), ("unmute", {}), ("sensitivity", {"sensitivity": "low"})]
    ):
        assert act(ben, found, verb, version + number, **given) == 302
    assert act(ben, found, "expected", version + 4, until="2026-11-28", note="launch") == 302

    line = anomaly_queries.anomaly(anomaly_id=found.id, teams=None)
    assert (line.state, line.outcome_words, line.acknowledged_by) == ("closed", "Expected", "ben@example.com")
    (said, _low) = anomaly_queries.feedback_of(anomaly_id=found.id, teams=None)
    assert ben.post(reverse("anomaly_feedback_undo", args=[said.id])).status_code == 302
    assert anomaly_queries.feedback(feedback_id=said.id, teams=None).undone_by == "ben@example.com"
    assert AuditEntry.objects.filter(act__startswith="anomaly.").count() == 6


def test_it_refuses_strangers_old_versions_and_nonsense(
    found: anomaly_queries.AnomalyLine, ada: Client, ben: Client, cleo: Client
) -> None:
    assert act(cleo, found, "mute", found.version) == 403
    assert act(ada, found, "mute", found.version + 5) == 409
    assert act(ada, found, "explode", found.version) == 404
    assert act(ada, found, "expected", found.version, until="soon") == 400
    assert act(ada, found, "ignore", found.version, until="1999-01-01") == 400
    assert ada.get(reverse("anomaly_decide", args=[found.id, "mute"])).status_code == 405
    assert ben.post(reverse("anomaly_plan"), {"team": "search"}).status_code == 403
    assert ada.get(reverse("anomaly", args=[found.id + 9])).status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.cookies
    assert act(strict, found, "mute", found.version) == 403
    assert not AuditEntry.objects.filter(act__startswith="anomaly.").exists()


def test_it_plans_an_event_and_says_what_is_wrong_with_one(found: anomaly_queries.AnomalyLine, ada: Client) -> None:
    good = {"team": "search", "from": "2026-12-01", "to": "2026-12-02", "note": "load test"}

    ada.post(reverse("anomaly_plan"), {**good, "to": "2026-11-01"})
    assert anomaly_queries.standing(teams=None) == []
    ada.post(reverse("anomaly_plan"), good)

    (planned,) = anomaly_queries.standing(teams=("search",))
    assert (planned.kind, planned.note) == ("planned", "load test")
    assert "load test" in reading.words(reading.shown(ada, "/anomalies/"))


def test_it_counts_open_ones_in_the_navigation(found: anomaly_queries.AnomalyLine, ada: Client) -> None:
    assert "1 open" in reading.shown(ada, "/budgets/").content.decode()


def test_it_tells_programs_the_same(found: anomaly_queries.AnomalyLine) -> None:
    def ask(path: str, teams: list[str] | None) -> dict[str, object]:
        _row, token = tokens.create(
            name=f"{path}{teams}", grants=["read"], teams=teams, created_by="ada", now=datetime.now(UTC)
        )
        answer = Client().get(path, HTTP_AUTHORIZATION=f"Bearer {token}")
        return (
            {"status": answer.status_code, **answer.json()}
            if answer.status_code == 200
            else {"status": answer.status_code}
        )

    listed = ask("/api/v1/anomalies?state=open", None)["anomalies"]
    one = ask(f"/api/v1/anomalies/{found.id}", ["search"])

    assert [each["id"] for each in listed] == [found.id]  # type: ignore[attr-defined]
    assert one["impact_cost"] == str(found.impact_cost)
    assert ask("/api/v1/anomalies", ["support"])["anomalies"] == []
    assert ask(f"/api/v1/anomalies/{found.id}", ["support"])["status"] == 404
    assert ask("/api/v1/anomalies?state=loud", None)["status"] == 400


def test_it_tells_the_command_line(found: anomaly_queries.AnomalyLine) -> None:
    out = StringIO()

    call_command("anomalies", "list", stdout=out)
    call_command("anomalies", "show", str(found.id), stdout=out)
    call_command("anomalies", "look", stdout=out)

    assert "team search" in out.getvalue()
    assert "0 opened" in out.getvalue()
