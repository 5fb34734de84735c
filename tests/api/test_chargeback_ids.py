"""Statements by their lasting ids, for programs that keep them."""

import hashlib
from base64 import b64encode

from attribution.exports import KINDS
from tests.api.conftest import Person, Program
from tests.api.october import MONTH, Ledger

LIST = "/api/v1/statements/"


def test_it_lists_every_statement_with_an_id_that_leads_to_it(ledger: Ledger, program: Program) -> None:
    client = program("read")
    found = client.get(LIST).json()["statements"]

    assert [one["cost_centre"] for one in found] == [None, "4410", "4420", ""]
    for one in found:
        answer = client.get(one["url"])
        assert answer.status_code == 200
        assert (answer.json()["id"], answer.json()["sha256"]) == (one["id"], one["sha256"])
        assert answer["X-Costobs-Statement-SHA256"] == one["sha256"]
    assert client.get(f"{LIST}?month={MONTH}").json()["statements"] == found
    assert client.get(f"{LIST}?month=2026-09").json()["statements"] == []


def test_it_answers_304_to_who_holds_any_form_of_it(ledger: Ledger, program: Program) -> None:
    client = program("read")

    for kind in KINDS.names():
        url = f"{LIST}{MONTH}/USD/effective/4410/showback?format={kind}"
        first = client.get(url)
        held = client.get(url, headers={"If-None-Match": f'W/{first["ETag"]}, "other"'})
        assert (first.status_code, held.status_code, held.content) == (200, 304, b""), kind


def test_it_gives_a_digest_of_the_bytes(ledger: Ledger, program: Program) -> None:
    answer = program("read").get(f"{LIST}{MONTH}/USD/effective/showback?format=pdf")

    assert answer.content.startswith(b"%PDF")
    assert answer["Repr-Digest"] == f"sha-256=:{b64encode(hashlib.sha256(answer.content).digest()).decode()}:"


def test_it_narrows_a_lead_and_a_narrow_token(ledger: Ledger, person: Person, program: Program) -> None:
    for client in (person("lead", "search"), program("read", teams=["search"])):
        found = client.get(LIST).json()["statements"]
        assert {one["cost_centre"] for one in found} == {None, "4410", ""}
        assert all("/@search/" in one["id"] for one in found)
        whole = client.get(f"{LIST}{MONTH}/USD/effective/showback").json()
        assert {line["team"] for line in whole["lines"]} == {"search"} and whole["reconciliation"] == []
        assert client.get(f"{LIST}{MONTH}/USD/effective/4420/showback").status_code == 404


def test_it_says_what_it_does_not_find_as_a_problem(ledger: Ledger, program: Program) -> None:
    client = program("read")

    for path, status in (
        (f"{MONTH}/USD/effective/v7", 404),
        (f"{MONTH}/USD/effective/nowhere/showback", 404),
        ("nonsense", 404),
        (f"{MONTH}/USD/effective/showback?format=docx", 400),
        ("?months=0", 400),
        ("?month=soon", 400),
    ):
        answer = client.get(f"{LIST}{path}")
        assert answer.status_code == status, path
        assert answer["Content-Type"] == "application/problem+json"
    assert f"{MONTH}/USD/effective/showback" in client.get(f"{LIST}{MONTH}/USD/effective/v7").json()["detail"]
    assert program("ingest").get(LIST).status_code == 403
