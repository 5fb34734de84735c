"""Who may ask what, and what a refusal says."""

import pytest
from django.test import Client
from django.utils import timezone

from costobs.access import tokens
from tests.api.conftest import Person, Program
from tests.api.october import MONTH, Ledger

READS = (
    "/api/v1/budgets",
    "/api/v1/spend",
    "/api/v1/unit-costs",
    "/api/v1/reconciliation",
    f"/api/v1/chargeback/{MONTH}",
)

pytestmark = pytest.mark.django_db


def problem(response: object, status: int) -> dict:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize("url", [*READS, "/api/v1/gate/policy"])
def test_it_asks_strangers_to_sign_in_or_send_a_token(url: str) -> None:
    response = Client().get(url)

    problem(response, 401)
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("url", READS)
def test_it_turns_down_a_token_that_is_unknown_or_revoked(url: str, program: Program) -> None:
    client = program("read")
    tokens.revoke(name="read", revoked_by="test", now=timezone.now())

    assert "revoked" in problem(client.get(url), 401)["detail"]
    assert "unknown" in problem(Client(headers={"Authorization": "Bearer cobs_nobody"}).get(url), 401)["detail"]


@pytest.mark.parametrize("url", READS)
@pytest.mark.parametrize("grant", ["ingest", "gate"])
def test_it_shows_nothing_to_a_token_that_may_only_push(url: str, grant: str, program: Program) -> None:
    assert "read" in problem(program(grant).get(url), 403)["detail"]


@pytest.mark.parametrize("url", ["/api/v1/usage-events", "/api/v1/fine-tune-runs"])
def test_it_takes_no_rows_from_a_token_that_may_only_read(url: str, program: Program) -> None:
    response = program("read").post(url, b"{}", content_type="application/x-ndjson")

    assert "ingest" in problem(response, 403)["detail"]


def test_it_gives_the_policy_to_gates_only(program: Program) -> None:
    assert "gate" in problem(program("read", "ingest").get("/api/v1/gate/policy"), 403)["detail"]


@pytest.mark.parametrize("url", READS)
def test_it_tells_somebody_without_a_role_so(url: str, person: Person) -> None:
    assert "role" in problem(person("none").get(url), 403)["detail"]


@pytest.mark.parametrize("url", READS)
def test_it_answers_finance_in_the_browser(url: str, person: Person, ledger: Ledger) -> None:
    assert person("finance").get(url).status_code == 200


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("group_by=planet", "planet"),
        ("group_by=model,team,feature,key,region", "at most four"),
        ("cost=free", "free"),
        ("from=yesterday", "yesterday"),
        ("from=2026-10-02&to=2026-10-01", "lies after"),
        ("to=9999-12-31", "before"),
        ("f=planet:earth", "planet"),
        ("f=nothing", "nothing"),
        ("f=team:%00", "null"),
        ("currency=%00", "null"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/spend", "/api/v1/unit-costs"])
def test_it_says_what_is_wrong_with_a_scope(path: str, query: str, word: str, program: Program) -> None:
    assert word in problem(program("read").get(f"{path}?{query}"), 400)["detail"]


def test_it_refuses_other_methods_in_the_same_form(program: Program) -> None:
    problem(program("read").post("/api/v1/spend"), 405)
