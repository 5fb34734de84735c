"""Choosing a kind among many, and typing lists the way they are at hand: pasted from a spreadsheet or as JSON."""

from typing import Any

import pytest
from django.test import Client

from costobs.web import pasted_rows, source_words
from ingest.models import Source
from ingest.sources import KINDS
from tests.web import reading
from tests.web.conftest import signed_in

pytestmark = pytest.mark.django_db
OWNED = "/settings/sources/new/owned_capacity/"
EXAMPLE = source_words.example(KINDS["owned_capacity"])


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    return signed_in("dana@example.com", "admin")


def owned(**changes: str) -> dict[str, str]:
    """The form of owned capacity, filled in."""
    return {
        "act": "add",
        "name": "dc-1",
        "config-company": "Quillfern",
        "config-currency": "USD",
        "config-power_price": "0.19",
    } | changes


def kinds(page: Any) -> set[str]:
    return {one.kind for _title, _words, group in page.context["groups"] for one in group}


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("azure openai", "azure_costs"),
        ("H100", "dcgm"),
        ("langfuse", "otlp"),
        ("claude", "anthropic_costs"),
        ("license", "owned_capacity"),
        ("deployments", "markers"),
    ],
)
def test_it_finds_a_kind_by_the_words_people_use(dana: Client, sought: str, found: str) -> None:
    page = reading.shown(dana, f"/settings/sources/new/?q={sought}")

    assert found in kinds(page)
    assert len(kinds(page)) < len(KINDS.names()) / 2
    assert page.context["matches"] == len(kinds(page))


def test_it_says_what_to_take_when_no_kind_is_made_for_it(dana: Client) -> None:
    page = reading.shown(dana, "/settings/sources/new/?q=<sap concur>")

    assert kinds(page) == set()
    words = reading.words(page)
    assert "No kind is made for it" in words and "FOCUS export" in words
    assert "<sap" not in page.content.decode()


def test_it_shows_an_empty_list_as_nothing_typed_and_gives_an_example(dana: Client) -> None:
    page = reading.shown(dana, OWNED)

    html = page.content.decode()
    assert page.context["form"]["config-machines"].value() == ""
    assert page.context["form"]["config-power_price"].value() == ""
    assert "name,gpus,gpu_model,purchase_price" in html
    assert "Paste them from a spreadsheet" in html


@pytest.mark.parametrize("mark", ["\t", ";", ","])
def test_it_takes_machines_as_a_spreadsheet_pastes_them(dana: Client, mark: str) -> None:
    header = [
        "Name",
        "GPUs",
        "GPU model",
        "Purchase price",
        "Purchased on",
        "Amortisation months",
        "Region",
        "Tags.env",
    ]
    row = ["gpu-9", "8", "NVIDIA H100", "284000.50", "2026-02-16", "48", "", "prod"]
    lines = "\r\n".join([mark.join(header), mark.join(row), ""])

    answer = dana.post(OWNED, owned(**{"config-machines": lines}))

    assert answer.status_code == 302, reading.words(answer)
    assert Source.objects.get().config["machines"] == [
        {
            "name": "gpu-9",
            "gpus": 8,
            "gpu_model": "NVIDIA H100",
            "purchase_price": "284000.50",
            "purchased_on": "2026-02-16",
            "amortisation_months": 48,
            "tags": {"env": "prod"},
        }
    ]


@pytest.mark.parametrize("name", ["machines", "monthly_lines"])
def test_it_reads_its_own_examples_back_as_the_manual_has_them(name: str) -> None:
    assert pasted_rows.read(pasted_rows.written(EXAMPLE[name]), like=EXAMPLE[name]) == EXAMPLE[name]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("eight machines", "a table whose first line names each column once"),
        ("name,name\na,b", "a table whose first line names each column once"),
        ("name,gpus\ngpu-1,8,NVIDIA", "line 2 has 3 cells"),
        ("name,gpus,colour\ngpu-1,8,red", "machines[0].colour: is not known"),
        ("name,purchased on,gpus\ngpu-1,2026-02-16,eight", "machines[0].gpus: expected a whole number"),
        ("name;purchased on;purchase price\ngpu-1;2026-02-16;284.000,00", "machines[0].purchase_price"),
        ('[{"name": "gpu-1"', "expected JSON"),
        ('name,gpus\n"gpu-1,8', "the table cannot be read"),
    ],
)
def test_it_says_what_is_wrong_with_a_pasted_table(dana: Client, typed: str, problem: str) -> None:
    answer = dana.post(OWNED, owned(**{"config-machines": typed}))

    assert answer.status_code == 400
    assert problem in reading.words(answer)
    assert answer.context["form"]["config-machines"].value() == typed
    assert not Source.objects.exists()


def test_it_asks_for_credentials_again_only_when_some_were_typed(dana: Client) -> None:
    warning = "They were not kept by this page"
    page = "/settings/sources/new/openai_costs/"

    assert warning not in reading.words(dana.post(page, {"act": "add"}))
    assert warning in reading.words(dana.post(page, {"act": "add", "secret-admin_key": "sk-admin-1"}))


def test_it_says_where_the_webhook_will_be(dana: Client) -> None:
    assert "Its address is here once the source is added" in reading.words(
        reading.shown(dana, "/settings/sources/new/markers/")
    )
    assert "Webhook" not in reading.words(reading.shown(dana, "/settings/sources/new/otlp/"))


def test_it_shows_code_in_help_texts_as_code_and_nothing_else(dana: Client) -> None:
    html = reading.shown(dana, "/settings/sources/new/azure_costs/").content.decode()

    assert "<code>az account get-access-token</code>" in html


@pytest.mark.parametrize("kind", ["aws_cur", "focus_export", "dcgm"])
def test_it_does_not_ask_for_grants_where_an_address_was_not_called(
    dana: Client, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS", raising=False)
    place = {
        "config-url": "s3://bills/cur",
        "config-endpoint_url": "http://127.0.0.1:9/",
        "config-split_cost_allocation": "parents",
    }
    if kind == "dcgm":
        place = {"config-url": "http://127.0.0.1:9/", "config-mode": "prometheus"}
    given = {"act": "test", "name": "x", "secret-access_key_id": "AKIA0000", "secret-secret_access_key": "abcdefgh"}

    answer = dana.post(f"/settings/sources/new/{kind}/", {**given, **place})

    (finding,) = [one for one in answer.context["findings"] if one.state == "missing"]
    assert "private address" in finding.detail
    assert finding.remedy == "If it is a host of yours, put its name in COSTOBS_PRIVATE_HOSTS and start costobs again."
