"""Defined units, fine-tune runs and variants in the browser: honest figures, and only what the viewer may see."""

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from attribution import own, queries
from costobs import pipeline
from costobs.audit.models import AuditEntry
from costobs.web import charts
from costobs.web.charts import labels
from ingest.models import BusinessMetric
from tests.attribution import world
from tests.web import reading
from tests.web.conftest import NOW, Ledger, scope, signed_in
from tests.web.test_values_on_pages import push

pytestmark = pytest.mark.django_db
TICKETS = "/unit-costs/?unit=figure:tickets_resolved"


def tickets(team: str = "search", *, days: range = range(1, 21), value: int = 10, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": "tickets_resolved",
            "period_start": f"2026-11-{day:02}T00:00:00Z",
            "period_end": f"2026-11-{day + 1:02}T00:00:00Z",
            "value": value,
            "unit": "ticket",
            "attributes": {"team": team},
            **more,
        }
        for day in days
    ]


def upload(client: Client, content: str, **more: str) -> Any:
    file = SimpleUploadedFile("tickets.csv", content.encode())
    told = {"name": "tickets_resolved", "unit": "ticket", "period": "day", **more}
    return client.post("/unit-costs/units/upload/", {"file": file, **told})


# --- units ------------------------------------------------------------------------------------------------


def test_it_says_how_to_define_a_unit_where_there_is_none(ada: Client) -> None:
    page = reading.shown(ada, "/unit-costs/units/")

    assert "No unit of the business is defined yet" in reading.words(page)
    assert "Show what it holds" in reading.words(page)
    assert "fills a whole day" in reading.words(reading.shown(ada, TICKETS))


def test_it_shows_what_a_ticket_costs_with_the_spend_of_the_same_days(ada: Client, ledger: Ledger) -> None:
    push("business_metrics", *tickets())

    page = reading.shown(ada, TICKETS)

    (whole,) = [one for one in [queries.unit_values(scope=scope(), name="tickets_resolved").whole] if one]
    assert whole.value == 200
    assert len(whole.days) == 20
    assert reading.kpi(page.context["kpis"], "Unit cost").value in page.context["heading"]
    assert page.context["heading"].startswith("One ticket costs $")
    table = page.context["table"]
    assert reading.column(table, "Value") == ["10"] * 20
    first = table.rows[0].cells[0]
    assert first.text == "20 Nov 2026"
    assert "from=2026-11-20&to=2026-11-20" in first.url
    assert reading.shown(ada, first.url).context["scope"].label == "20 Nov 2026"
    week = reading.shown(ada, f"{TICKETS}&by=week&scale=1000").context["table"]
    assert len(week.rows) == 4
    assert sum(map(reading.amount, reading.column(week, "Value"))) == 200
    assert "known: day, week, month" in reading.words(reading.shown(ada, f"{TICKETS}&by=year", 400))


def test_it_draws_a_target_and_says_when_it_is_missed(ada: Client, ben: Client, ledger: Ledger) -> None:
    push("business_metrics", *tickets())
    sent = {"unit": "figure:tickets_resolved", "amount": "0.0000001", "scale": "1", "act": "set"}

    refused = ben.post("/unit-costs/units/target/", sent)
    ada.post("/unit-costs/units/target/", sent)
    missed = reading.shown(ada, TICKETS)
    ada.post("/unit-costs/units/target/", {**sent, "amount": "99", "scale": "1"})
    met = reading.shown(ada, TICKETS)
    wrong = ada.post("/unit-costs/units/target/", {**sent, "amount": "cheap"})
    unknown = ada.post("/unit-costs/units/target/", {**sent, "unit": "figure:nothing"})
    builtin = {**sent, "unit": "request", "amount": "0.0000001"}
    ada.post("/unit-costs/units/target/", builtin)
    ada.post("/unit-costs/units/target/", {**sent, "act": "remove"})

    assert refused.status_code == 403
    assert reading.kpi(missed.context["kpis"], "Unit cost").state == "over"
    assert "is missed by" in reading.words(missed)
    assert reading.column(missed.context["table"], "Target") == ["Missed"] * 20
    assert reading.kpi(met.context["kpis"], "Unit cost").state == "on_track"
    assert wrong.status_code == 400
    assert "expected an amount" in reading.words(wrong)
    assert unknown.status_code == 302
    request = reading.shown(ada, "/unit-costs/?unit=request")
    assert reading.kpi(request.context["kpis"], "Unit cost").state == "over"
    assert [one.subject for one in AuditEntry.objects.filter(act="unit.target_removed")] == [
        "unit:figure:tickets_resolved"
    ]


def test_it_shows_a_file_before_it_is_loaded_and_errors_by_line(ada: Client, ledger: Ledger) -> None:
    content = "date,team,count\n2026-11-10,search,4\n2026-11-11,search,many\n"

    preview = upload(ada, content)

    assert not BusinessMetric.objects.exists()
    assert reading.column(preview.context["preview"], "Value") == ["4"]
    assert reading.column(preview.context["wrong"], "Line") == ["3"]
    told = {name: preview.context["typed"][name] for name in ("name", "unit", "period")}
    sent = {**told, "act": "load", "content": preview.context["content"], "named": "tickets.csv"}
    loaded = ada.post("/unit-costs/units/upload/", sent, follow=True)
    own.run(now=NOW)
    assert "1 figures are loaded, 1 lines were left out" in reading.words(loaded)
    assert [(one.name, one.value) for one in BusinessMetric.objects.all()] == [("tickets_resolved", 4)]
    entry = AuditEntry.objects.get(act="figures.uploaded")
    assert (entry.actor, entry.after["file"], entry.after["figures"]) == ("ada@example.com", "tickets.csv", 1)
    page = reading.shown(ada, "/unit-costs/units/")
    assert reading.column(page.context["units"], "Unit") == ["Tickets resolved"]


@pytest.mark.parametrize("content", ["", "date\n", "\x00", 'a,b\n"'])
def test_it_says_what_is_wrong_with_a_file(ada: Client, content: str) -> None:
    page = upload(ada, content)

    assert page.status_code == 400
    assert "Nothing was loaded" in reading.words(page)


def test_it_lets_no_lead_upload(ben: Client) -> None:
    page = upload(ben, "date,team,count\n2026-11-10,search,4\n")

    assert page.status_code == 403
    assert "Upload figures" not in reading.words(reading.shown(ben, "/unit-costs/units/"))


def test_it_shows_a_lead_units_of_own_teams(ben: Client, ledger: Ledger) -> None:
    push("business_metrics", *tickets(), *tickets("support", value=7))
    push("business_metrics", *tickets("support", name="refunds"))

    page = reading.shown(ben, TICKETS)

    assert set(reading.column(page.context["table"], "Value")) == {"10"}
    assert "Refunds" not in reading.words(page)


def test_it_tells_a_margin_of_revenue_in_the_currency_of_the_books(ada: Client, ledger: Ledger) -> None:
    push("business_metrics", *tickets(name="revenue", unit="USD", value=1000), *tickets(name="sales", unit="EUR"))

    revenue, sales = (reading.shown(ada, f"/unit-costs/?unit=figure:{name}") for name in ("revenue", "sales"))

    assert "of revenue is left after" in revenue.context["heading"]
    assert reading.kpi(revenue.context["kpis"], "Margin").note.endswith("% of revenue")
    assert reading.kpi(sales.context["kpis"], "Margin").value == "unknown"


def test_it_exports_a_unit_with_every_digit(ada: Client, ledger: Ledger) -> None:
    push("business_metrics", *tickets())

    text = reading.shown(ada, "/unit-costs/units/export.csv?unit=figure:tickets_resolved").content.decode()

    rows = [row for row in csv.DictReader(text.splitlines()) if not row["team"]]
    found = queries.unit_values(scope=scope(), name="tickets_resolved")
    assert [Decimal(row["cost"]) for row in rows] == [one.cost for one in found.periods]


# --- fine-tune runs ---------------------------------------------------------------------------------------


def run(day: int, state: str = "succeeded", *, team: str = "search", cost: str = "60") -> int:
    at = datetime(2026, 11, day, 8, tzinfo=UTC)
    made = world.fine_tune(
        world.source("fine_tunes", "runs"),
        attributes={"team": team},
        external_id=f"job-{day}",
        name="answers tuned",
        artefact="answers-v3" if state == "succeeded" else "",
        base_model="gpt-4o",
        provider="openai",
        state=state,
        method="lora",
        started_at=at,
        ended_at=at + timedelta(hours=2),
        provider_job=f"ftjob-{day}",
        trained_tokens=2_000_000,
    )
    if cost:
        bill = world.source("focus_export", "tunes")
        day_at = world.at(day=at.date())
        world.llm_charge(bill, cost, starts=day_at, cost_kind="fine_tuning", resource_id=f"ftjob-{day}")
    return int(made.pk)


def served(tokens: int = 3_000_000) -> None:
    log = world.source("usage_log", "calls")
    price = world.price("openai", "answers-v3", per_token="0.000001")
    hour = datetime(2026, 11, 15, 9, tzinfo=UTC)
    world.usage(
        log, attributes={"team": "search"}, model="answers-v3", hour=hour, input_uncached=tokens, unit_price=price
    )


def test_it_shows_a_run_with_what_it_made_and_what_that_served(ada: Client, ledger: Ledger) -> None:
    failed, made = run(9, "failed", cost="30"), run(10)
    served()
    pipeline.settle(NOW)

    page = reading.shown(ada, f"/unit-costs/runs/{made}/")
    lost = reading.shown(ada, f"/unit-costs/runs/{failed}/")

    assert page.context["heading"] == "answers tuned cost $60"
    assert reading.kpi(page.context["kpis"], "To get this model").value == "$90.00"
    assert reading.kpi(page.context["kpis"], "Served").note == "$1.00 serving, $30.0 training"
    assert reading.column(page.context["earnings"], "USD")[:4] == ["$90.00", "$0.00", "$3.00", "$93.00"]
    assert reading.column(page.context["attempts"], "Cost") == ["$30.00", "$60.00"]
    assert [text for text in reading.column(page.context["days"], "Tokens served") if text != "–"] == ["3.0M"]
    assert "100 % of it lost: it failed" in lost.context["heading"]
    assert "which finally came" in reading.words(lost)


def test_it_says_that_the_cost_of_a_run_is_not_known(ada: Client, ledger: Ledger) -> None:
    made = run(10, cost="")
    pipeline.settle(NOW)

    page = reading.shown(ada, f"/unit-costs/runs/{made}/")

    assert page.context["heading"] == "answers tuned: what it cost is not known"
    assert reading.kpi(page.context["kpis"], "Cost of the run").value == "unknown"
    assert reading.kpi(page.context["kpis"], "To get this model").value == "unknown"
    assert "No bill and no GPU time names this run" in reading.words(page)


def test_it_lists_runs_with_their_states_and_adds_them_up(ada: Client, ledger: Ledger) -> None:
    run(9, "failed", cost="30")
    made = run(10)
    served()
    pipeline.settle(NOW)

    page = reading.shown(ada, "/unit-costs/?unit=fine_tune_run")
    text = reading.shown(ada, "/unit-costs/export.csv?unit=fine_tune_run").content.decode()

    states = page.context["states"]
    assert dict(zip(reading.column(states, "State"), reading.column(states, "Cost"), strict=True)) == {
        "Useful": "$60.00",
        "Idle": "$0.00",
        "Failed": "$30.00",
        "Preempted": "$0.00",
        "Cancelled": "$0.00",
        "Storage": "$0.00",
    }
    assert reading.total(states, "Cost") == reading.total(page.context["table"], "Cost") == "$90.00"
    assert page.context["table"].rows[0].cells[0].url == f"/unit-costs/runs/{made}/"
    rows = {row["run_id"]: row for row in csv.DictReader(text.splitlines())}
    assert (rows["job-10"]["tries"], rows["job-10"]["tokens"]) == ("2", "3000000")
    assert Decimal(rows["job-10"]["total_cost"]) == 90
    assert rows["job-9"]["tries"] == ""


@pytest.mark.parametrize("run_id", ["999999", "99999999999999999999"])
def test_it_answers_alike_for_a_run_of_others_and_for_none(ben: Client, ledger: Ledger, run_id: str) -> None:
    other = run(10, team="support")
    pipeline.settle(NOW)

    for address in (f"/unit-costs/runs/{other}/", f"/unit-costs/runs/{run_id}/"):
        assert "There is no such run" in reading.words(reading.shown(ben, address, 404))


# --- variants ---------------------------------------------------------------------------------------------


def test_it_compares_the_two_dearest_models_unless_told_otherwise(ada: Client, ledger: Ledger) -> None:
    page = reading.shown(ada, "/unit-costs/compare/")
    chosen = reading.shown(ada, "/unit-costs/compare/?dim=model&a=gpt-4o&b=gpt-4o-mini&c=-&d=nonsense")

    assert len(page.context["table"].columns) == 3
    assert [column.label for column in chosen.context["table"].columns] == ["Measure", "A: gpt-4o", "B: gpt-4o-mini"]
    assert "gpt-4o-mini costs" in chosen.context["heading"]
    assert "than gpt-4o" in chosen.context["heading"]
    cost = next(row for row in chosen.context["table"].rows if row.cells[0].text == "Cost of a request")
    assert " to $" in cost.cells[1].note
    assert {one.key for one in chosen.context["warnings"]} >= {"few", "other_mix"}
    assert 'value="gpt-4o-mini" selected' in chosen.content.decode()


def test_it_says_what_to_do_where_nothing_can_be_compared(ada: Client, ledger: Ledger) -> None:
    prompts = reading.shown(ada, "/unit-costs/compare/?dim=prompt_version")
    one = reading.shown(ada, "/unit-costs/compare/?a=gpt-4o&b=-")
    nowhere = reading.shown(ada, "/unit-costs/compare/?feature=nowhere")

    assert "Tag calls with prompt_version" in reading.words(prompts)
    assert "Choose two to compare" in reading.words(one)
    assert "Nothing to compare by model" in reading.words(nowhere)
    assert "known: model" in reading.words(reading.shown(ada, "/unit-costs/compare/?dim=colour", 400))


def test_it_compares_for_a_lead_own_calls_only(ben: Client, ledger: Ledger) -> None:
    page = reading.shown(ben, "/unit-costs/compare/")

    assert "gpt-4o-mini" not in reading.words(page)
    assert "llama-70b" not in reading.words(page)
    assert "Nothing to compare" in reading.words(page)


def test_it_exports_estimates_with_their_limits(ada: Client, ledger: Ledger) -> None:
    text = reading.shown(ada, "/unit-costs/compare/export.csv?a=gpt-4o&b=gpt-4o-mini").content.decode()

    rows = list(csv.DictReader(text.splitlines()))
    cost = next(row for row in rows if row["model"] == "gpt-4o" and row["measure"] == "cost_per_request")
    assert Decimal(cost["low"]) <= Decimal(cost["value"]) <= Decimal(cost["high"])
    assert {row["measure"] for row in rows if row["model"] == "gpt-4o-mini"} >= {"cost_per_request_against_gpt-4o"}


@pytest.mark.parametrize("path", ["compare/", "units/", "runs/1/"])
def test_it_tells_someone_without_a_role_so(cleo: Client, path: str) -> None:
    assert "no role yet" in reading.words(reading.shown(cleo, f"/unit-costs/{path}", 403))


# --- names on the chart -----------------------------------------------------------------------------------


def point(label: str, latency: str, cost: str) -> charts.Point:
    return charts.Point(label, label, Decimal(latency), Decimal(cost))


def test_it_names_dots_that_lie_apart_and_leaves_crowded_ones_to_the_hover() -> None:
    crowd = [point(f"a-rather-long-model-name-{number}", f"{1000 + number}", "1.0") for number in range(8)]
    far = [point("far", "90000", "90"), point("fast", "10", "0.01")]

    found = charts.cost_latency(points=[*crowd, *far], unit="1M tokens", currency="USD")

    trace = found.figure["data"][0]  # type: ignore[index]  # a figure is plain JSON
    named = [text for text in trace["text"] if text]
    assert {"far", "fast"} <= set(named)
    assert len(named) < 10
    assert len(trace["customdata"]) == 10
    assert all(text in row[0] for text, row in zip(trace["text"], trace["customdata"], strict=True))


def test_it_places_no_name_over_another_or_over_a_dot() -> None:
    points = [point(f"model-{number}", "1", "1") for number in range(12)]
    places = [((number % 4) / 3, (number // 4) / 2) for number in range(12)]

    apart = labels.placed(points, places)
    together = labels.placed(points, [(0.5, 0.5)] * 12)

    assert all(text for text, _ in apart)
    sides = [side for text, side in together if text]
    assert len(sides) == len(set(sides)) == 4
    assert labels.placed([], []) == []


def test_it_offers_a_connection_to_those_who_set_up_sources(ada: Client) -> None:
    admin = signed_in("root@example.com", "admin")

    assert "/settings/sources/new/business_sql/" in reading.shown(admin, "/unit-costs/units/").content.decode()
    assert "/settings/sources/new/business_sql/" not in reading.shown(ada, "/unit-costs/units/").content.decode()
