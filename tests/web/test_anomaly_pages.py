"""The pages of anomalies, their acts, the API and the command: who sees what, and who may say what."""

import csv
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse

from alerts import anomalies, anomaly_queries
from alerts.models import Anomaly, AnomalyCheck, AnomalyThreshold
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


LIMITS = {"impact_cost": "1000", "impact_percent": "20"}


def rows_of(client: Client) -> list[list[str]]:
    table = reading.shown(client, reverse("anomaly_thresholds")).context["table"]
    return [[cell.text for cell in row.cells[:5]] for row in table.rows]


def test_it_sets_limits_for_a_team_and_says_so_everywhere(found: anomaly_queries.AnomalyLine, ada: Client) -> None:
    Anomaly.objects.update(scope={"team": "search"}, scope_key="team=search")
    assert rows_of(ada) == [["Everything", "$50", "0 %", "$20", "$5"]]
    made = ada.post(reverse("anomaly_threshold_put"), {"team": " search ", **LIMITS})

    assert (made.status_code, made["Location"]) == (302, reverse("anomaly_thresholds"))
    page = reading.shown(ada, reverse("anomaly_thresholds"))
    assert page.context["heading"] == ("Anomalies are told from $50 above expected; 1 scope has limits of its own")
    assert rows_of(ada)[1] == ["Team search", "$1,000", "20 %", "$20", "$5"]
    assert "wider scope" in reading.words(page)
    detail = reading.words(reading.shown(ada, reverse("anomaly", args=[found.id])))
    assert "Not yet: only from $1,000 and 20 % above expected" in detail
    exported = reading.shown(ada, f"{reverse('anomaly_thresholds')}?format=csv").content.decode().splitlines()
    assert exported[1].startswith("team search,,,1000,20,USD,ada@example.com,")


def test_it_changes_and_removes_limits(db: None, clock: None, ada: Client) -> None:
    ada.post(reverse("anomaly_threshold_put"), {"team": "search", **LIMITS})
    row = AnomalyThreshold.objects.get()
    form = reading.shown(ada, f"{reverse('anomaly_thresholds')}?change={row.pk}").content.decode()
    assert 'value="search"' in form and 'value="1000"' in form

    ada.post(reverse("anomaly_threshold_put"), {"team": "search", "impact_cost": "10"})
    assert rows_of(ada)[1] == ["Team search", "$10", "0 %", "$20", "$5"]
    assert ada.post(reverse("anomaly_threshold_remove", args=[row.pk])).status_code == 302
    assert ada.post(reverse("anomaly_threshold_remove", args=[row.pk])).status_code == 404

    assert len(rows_of(ada)) == 1
    assert AuditEntry.objects.filter(act__startswith="anomaly.threshold").count() == 3


def test_it_previews_limits_and_sets_nothing(found: anomaly_queries.AnomalyLine, ada: Client) -> None:
    page = ada.post(reverse("anomaly_threshold_preview"), LIMITS)

    assert page.status_code == 200
    words = reading.words(page)
    assert "With these limits the last 90 days would have told 0 anomalies; with those set now, 1" in words
    assert reading.column(page.context["preview"], "With these limits") == ["only shown"]
    assert reading.column(page.context["preview"], "As set now") == ["told"]
    assert 'value="1000"' in page.content.decode(), "what was typed stays"
    assert not AnomalyThreshold.objects.exists()


@pytest.mark.parametrize("name", ["anomaly_threshold_put", "anomaly_threshold_preview"])
def test_it_says_beside_the_field_what_is_wrong_with_limits(db: None, ada: Client, name: str) -> None:
    page = ada.post(reverse(name), {"team": "search", "impact_cost": "a lot"})

    assert page.status_code == 400
    assert "expected a number such as 50 or 12.5, found 'a lot'" in reading.words(page)
    assert 'value="search"' in page.content.decode()
    assert ada.post(reverse(name), {"feature": "x", "impact_cost": "1"}).status_code == 400
    assert not AnomalyThreshold.objects.exists()


def test_it_lets_a_lead_set_own_teams_only(db: None, clock: None, ada: Client, ben: Client, cleo: Client) -> None:
    put, preview = reverse("anomaly_threshold_put"), reverse("anomaly_threshold_preview")
    for body in ({}, {"team": "support"}, {"model": "m"}):
        for address in (put, preview):
            assert ben.post(address, {**body, **LIMITS}).status_code == 403
    ada.post(put, {"team": "support", **LIMITS})
    theirs = reverse("anomaly_threshold_remove", args=[AnomalyThreshold.objects.get().pk])
    assert ben.post(theirs).status_code == 404
    assert len(rows_of(ben)) == 1, "another team's limits do not exist for him"
    for client in (cleo, Client()):
        assert client.get(reverse("anomaly_thresholds")).status_code in {302, 403}
        for address in (put, preview, theirs):
            assert client.post(address, {"team": "search", **LIMITS}).status_code in {302, 403}
    assert ada.get(put).status_code == 405
    assert AnomalyThreshold.objects.count() == 1

    assert ben.post(put, {"team": "search", "feature": "answers", **LIMITS}).status_code == 302

    assert [row[0] for row in rows_of(ben)] == ["Everything", "Feature answers of team search"]
    assert AuditEntry.objects.filter(act="anomaly.threshold_set", actor="ben@example.com").count() == 1


def test_it_leads_to_the_limits_from_anomalies_and_from_settings(db: None, clock: None, ada: Client) -> None:
    for path in ("/anomalies/", "/settings/alerts/"):
        assert f'href="{reverse("anomaly_thresholds")}"' in reading.shown(ada, path).content.decode()


def test_it_shows_what_fell_away_where_something_did(
    found: anomaly_queries.AnomalyLine, ada: Client, ben: Client
) -> None:
    assert reading.shown(ada, "/anomalies/").context["falls"] is None
    fall = [{"team": "support"}, "USD", "2026-11-19T00:00:00+00:00", 2, "1.5", "122"]
    AnomalyCheck.objects.filter(grain="day").update(falls=[fall])

    table = reading.shown(ada, "/anomalies/").context["falls"]

    assert [cell.text for cell in table.rows[0].cells] == ["team support", "19 Nov 2026", "2", "$122 → $2"]
    assert reading.shown(ada, table.rows[0].cells[0].url)
    assert reading.shown(ben, "/anomalies/").context["falls"] is None


def test_it_tells_programs_and_the_command_line_of_limits(db: None, clock: None) -> None:
    out = StringIO()
    call_command("anomalies", "set", "--scope", "team=search", "--impact-cost", "75", stdout=out)
    call_command("anomalies", "thresholds", stdout=out)
    call_command("anomalies", "preview", "--impact-percent", "40", stdout=out)
    with pytest.raises(CommandError, match="expected NAME=VALUE"):
        call_command("anomalies", "set", "--scope", "search", "--impact-cost", "75", stdout=out)
    with pytest.raises(CommandError, match="expected one limit at least"):
        call_command("anomalies", "set", stdout=out)
    _row, token = tokens.create(
        name="t", grants=["read"], teams=["support"], created_by="ada", now=datetime(2026, 11, 21, tzinfo=UTC)
    )
    answer = Client().get("/api/v1/anomalies/thresholds", headers={"Authorization": f"Bearer {token}"}).json()
    assert answer["scopes"] == []
    assert answer["default"] == {"day_cost": "20", "hour_cost": "5", "impact_cost": "50", "impact_percent": "0"}
    made = AnomalyThreshold.objects.get()
    call_command("anomalies", "unset", str(made.pk), stdout=out)

    words = out.getvalue()
    assert f"{made.pk}  team search  told from 75 and 0 % above expected" in words
    assert "with these limits the last 90 days would have told 0, with those set now 0" in words
    assert "removed: for team search the wider limits hold again" in words
    entries = AuditEntry.objects.filter(act__startswith="anomaly.threshold")
    assert [*entries.values_list("actor", flat=True)] == ["command line"] * 2
