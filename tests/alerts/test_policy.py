"""The policy that gates fetch."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from costobs_gate import policy as gate_policy
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIRequestFactory

from alerts import gates, policy
from alerts.models import GateKey, GateProcess
from costobs.access import tokens
from costobs.api.gate import Policy
from costobs.audit.models import AuditEntry
from tests.alerts.conftest import Books, FakeGate, at, climb, make_budget, make_gate, rung

pytestmark = pytest.mark.django_db


def document(gate: FakeGate, now: datetime) -> dict[str, Any]:
    found = policy.answer(source_id=gate.source_id, if_none_match="", now=now)
    assert found.body is not None
    return dict(orjson.loads(found.body))


def test_it_says_exactly_what_the_contract_says(books: Books, gate: FakeGate) -> None:
    key_id, text = gates.create_key(name="web", team="search", features=["rag"], by="ada", now=at(1))
    make_budget(
        rung("75", "throttle", requests_per_minute=6, max_tokens=256), scope={"team": ["search"], "model": ["a", "b"]}
    )
    books.spend(at(2).date(), "800", model="a")
    climb(at(2))

    found = document(gate, at(2))

    rules = found.pop("rules")
    assert found == {
        "version": found["version"],
        "generated_at": "2026-11-02T12:00:00Z",
        "poll_seconds": 1,
        "provider": "self_hosted",
        "deployment": "chat-small",
        "keys": [
            {
                "sha256": GateKey.objects.get().sha256,
                "key_id": key_id,
                "team": "search",
                "features": ["rag"],
                "models": None,
            }
        ],
        "leases": [],
    }
    assert [rule["match"] for rule in rules] == [
        {"team": "search", "feature": None, "model": name, "key_id": None} for name in ("a", "b")
    ]
    assert len({rule["id"] for rule in rules}) == 2
    assert {name: rules[0][name] for name in rules[0] if name not in {"id", "match", "message"}} == {
        "action": "throttle",
        "requests_per_minute": 6,
        "max_inflight": None,
        "max_tokens": 256,
        "retry_after_seconds": None,
        "until": "2026-12-01T00:00:00Z",
    }
    assert rules[0]["message"] == (
        "budget 'Search answers' has used 80.0 % of $1,000 for 1–30 Nov 2026; requests are throttled"
    )
    assert text.startswith("cok_")


def test_it_is_understood_by_the_gate(books: Books, gate: FakeGate) -> None:
    _key_id, text = gates.create_key(name="web", team="search", by="ada", now=at(1))
    make_budget(rung("75", "shutdown", retry_after_seconds=60))
    books.spend(at(2).date(), "800")
    climb(at(2))

    parsed = gate_policy.parse(document(gate, at(2)))

    key = parsed.find_key(text)
    assert key is not None
    (rule,) = parsed.rules
    assert (rule.action, rule.retry_after_seconds, rule.covers(key, None, "any")) == ("block", 60, True)


def test_it_keeps_its_version_while_only_the_time_changes(gate: FakeGate) -> None:
    first, second = document(gate, at(2)), document(gate, at(3))

    assert first["version"] == second["version"]
    assert first["generated_at"] != second["generated_at"]


def test_it_changes_its_version_with_keys_and_rules(books: Books, gate: FakeGate) -> None:
    versions = [document(gate, at(1))["version"]]
    key_id, _text = gates.create_key(name="web", team="search", by="ada", now=at(1))
    versions.append(document(gate, at(1))["version"])
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    versions.append(document(gate, at(2))["version"])

    assert len(set(versions)) == 3

    gates.revoke_key(key_id=key_id, by="ada", now=at(2))

    assert document(gate, at(2))["keys"] == []


def test_it_answers_304_to_who_holds_the_version(gate: FakeGate) -> None:
    held = policy.answer(source_id=gate.source_id, if_none_match="", now=at(2))

    again = policy.answer(source_id=gate.source_id, if_none_match=held.etag, now=at(2))
    weak = policy.answer(source_id=gate.source_id, if_none_match=f"W/{held.etag}", now=at(2))

    assert again == policy.Answer(held.etag, None) == weak


def test_it_is_cheap_to_ask_each_second(gate: FakeGate) -> None:
    gate.ask(at(2))
    gate.ask(at(2) + timedelta(seconds=1))

    with CaptureQueriesContext(connection) as asked:
        gate.ask(at(2) + timedelta(seconds=2))

    assert len(asked) == 6
    assert all(one["sql"].startswith("SELECT") for one in asked.captured_queries)
    assert GateProcess.objects.get().last_seen_at == at(2) + timedelta(seconds=1)


def test_it_writes_keys_to_the_audit_log_without_their_text() -> None:
    key_id, text = gates.create_key(name="web", team="search", by="ada", now=at(1))

    entry = AuditEntry.objects.get(act="gate_key.created")
    assert (entry.actor, entry.subject) == ("ada", f"gate_key:{key_id}")
    assert text not in str(entry.after)
    assert text not in str(GateKey.objects.values().get())


class TestEndpoint:
    def ask(self, token: str, etag: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}", **({"If-None-Match": etag} if etag else {})}
        return Policy.as_view()(APIRequestFactory().get("/api/v1/gate/policy", headers=headers))

    def token(self, *grants: str, source_id: int | None) -> str:
        _row, text = tokens.create(
            name=f"t {grants}", grants=grants, source_id=source_id, created_by="ada", now=datetime.now(UTC)
        )
        return text

    def test_it_serves_the_policy_and_304(self) -> None:
        token = self.token("gate", source_id=make_gate())

        first = self.ask(token)
        second = self.ask(token, first["ETag"])

        assert first.status_code == 200
        assert first["ETag"].strip('"') == orjson.loads(first.content)["version"]
        assert (second.status_code, second.content, second["ETag"]) == (304, b"", first["ETag"])

    def test_it_takes_the_number_of_running_requests_and_no_nonsense(self) -> None:
        token = self.token("gate", source_id=make_gate())
        for said, kept in (("3", 3), ("-1", None), ("many", None), ("9" * 20, None), ("0", 0)):
            GateProcess.objects.all().delete()
            headers = {"Authorization": f"Bearer {token}", "X-Costobs-Gate-Report": f"inflight={said}"}
            answer = Policy.as_view()(APIRequestFactory().get("/api/v1/gate/policy", headers=headers))

            assert answer.status_code == 200
            assert GateProcess.objects.get().inflight == kept

    def test_it_refuses_other_tokens(self) -> None:
        source_id = make_gate()

        assert self.ask(self.token("ingest", source_id=source_id)).status_code == 403
        assert self.ask(self.token("gate", source_id=12345)).status_code == 403
        assert self.ask("cobs_unknown").status_code == 401


def test_it_keeps_what_a_process_says_of_its_running_requests(gate: FakeGate) -> None:
    held = policy.answer(source_id=gate.source_id, if_none_match="", now=at(2), process="a", report="inflight=4")
    assert GateProcess.objects.get().inflight == 4

    policy.answer(source_id=gate.source_id, if_none_match=held.etag, now=at(2), process="a")

    assert GateProcess.objects.get().inflight is None  # it does not say any more
