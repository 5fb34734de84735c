"""Pages of an installation without data: each says what is missing and what to do, and none fails."""

import pytest
from django.test import Client

from tests.web import reading

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/budgets/", "No budget yet"),
        ("/anomalies/", "Nothing was judged yet"),
        ("/budgets/new/", "New budget"),
        ("/unit-costs/", "No call was logged"),
        ("/unit-costs/?unit=request&group=team&columns=all", "No call was logged"),
        ("/unit-costs/?unit=agent_run", "No call was logged"),
        ("/unit-costs/?unit=fine_tune_run", "No fine-tune run in these days"),
        ("/unit-costs/?unit=gpu_hour", "No GPU was paid for in these days"),
        ("/reconciliation/", "Nothing was compared in these days"),
        ("/reconciliation/rows/?cause=bypass", "Nothing of this cause in these days"),
        ("/gpus/", "No node was paid for and no sample arrived"),
        ("/gpus/?view=node", "No node was paid for and no sample arrived"),
        ("/settings/rules/", "nothing in the books of"),
        ("/settings/rules/history/", "No version yet"),
        ("/explore/as-of/", "Nothing was written down yet"),
        ("/settings/prices/", "No price is needed yet"),
        ("/settings/prices/", "Nothing was proposed yet"),
        ("/settings/rates/", "No rates yet"),
    ],
)
def test_it_says_what_is_missing(ada: Client, path: str, expected: str) -> None:
    assert expected in reading.words(reading.shown(ada, path))


@pytest.mark.parametrize(
    "path",
    [
        "/unit-costs/export.csv",
        "/gpus/export.csv",
        "/reconciliation/export.csv",
        "/anomalies/?format=csv",
        "/budgets/?format=csv",
        "/settings/prices/export.csv",
    ],
)
def test_it_exports_the_header_alone(ada: Client, path: str) -> None:
    assert len(reading.shown(ada, path).content.decode().splitlines()) == 1


def test_it_leads_from_an_empty_list_to_the_form(ada: Client) -> None:
    page = reading.shown(ada, "/budgets/").content.decode()

    assert '<a class="btn btn--primary" href="/budgets/new/">' in page


@pytest.mark.parametrize("path", ["/budgets/", "/unit-costs/", "/gpus/", "/gpus/export.csv"])
def test_it_tells_someone_without_a_role_so_in_every_state(cleo: Client, path: str) -> None:
    assert "no role yet" in reading.words(reading.shown(cleo, path, 403))


@pytest.mark.parametrize("path", ["/unit-costs/?group=colour", "/gpus/?preset=never", "/unit-costs/?f=nonsense"])
def test_it_names_what_an_address_asks_that_is_not_known(ada: Client, path: str) -> None:
    assert "known" in reading.words(reading.shown(ada, path, 400)) or "expected" in path
