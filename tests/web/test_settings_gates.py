"""Settings, gates and keys: made, limited, replaced and revoked in the browser, and who may."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from alerts import gate_keys, gates, policy, queries
from alerts.models import Gate, GateKey
from costobs.access import tokens
from costobs.audit.models import AuditEntry
from tests.web.conftest import NOW, signed_in

pytestmark = pytest.mark.django_db
PAGE = "/settings/gates/"


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    """An administrator."""
    return signed_in("dana@example.com", "admin")


def words(client: Client, url: str = PAGE) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(url).content.decode()))


def _limits(**limits: int) -> dict[str, object]:
    return {name: limits.get(name, "") for name in ("requests_per_minute", "tokens_per_minute", "max_inflight")}


def test_it_says_how_to_connect_while_there_is_nothing(dana: Client) -> None:
    found = words(dana)

    assert "No gate enforces budgets yet" in found
    assert "vllm serve MODEL --middleware costobs_gate.Gate" in found
    assert "costobs-gate serve --port 8080" in found
    assert "Nobody has a key" in found


def test_it_makes_a_gate_whose_token_is_shown_once(dana: Client) -> None:
    answer = dana.post(
        reverse("settings_gate_new"), {"name": "vllm-1", "deployment": "chat-small", "provider": "self_hosted"}
    )

    (text,) = re.findall(r"cobs_[A-Za-z0-9_-]+", answer.content.decode())
    token = tokens.find(text, now=NOW)
    gate = Gate.objects.get()
    assert token is not None and token.source_id == gate.source_id
    assert "no-store" in answer["Cache-Control"]
    assert text not in words(dana)
    assert "Never seen" in words(dana)
    assert AuditEntry.objects.filter(act="gate.created", actor="dana@example.com").exists()


def test_it_refuses_a_gate_that_exists(dana: Client) -> None:
    body = {"name": "vllm-1", "deployment": "chat-small", "provider": "self_hosted"}
    dana.post(reverse("settings_gate_new"), body)

    again = dana.post(reverse("settings_gate_new"), body)

    assert again.status_code == 400
    assert Gate.objects.count() == 1


def test_it_shows_what_gates_hold_and_did(dana: Client) -> None:
    dana.post(reverse("settings_gate_new"), {"name": "vllm-1", "deployment": "d", "provider": "self_hosted"})
    source_id = queries.gates(now=NOW)[0].source_id
    report = "software=0.1.0;admitted=1200;refused=34;inflight=5;draining=0"
    held = policy.answer(source_id=source_id, if_none_match="", now=NOW, process="1-a").etag
    policy.answer(source_id=source_id, if_none_match=held, now=NOW, process="1-a", report=report)
    policy.answer(source_id=source_id, if_none_match=held, now=NOW, process="2-b", report="software=0.1.0;refused=6")

    found = words(dana)

    assert "1 gate serves; 0 keys in force" in found
    assert re.search(r"vllm-1 version 0\.1\.0 d self_hosted Serving 2 \w{8} .* none 5 1,200 40", found)


def test_it_reads_a_report_that_is_nonsense_as_nothing(dana: Client) -> None:
    dana.post(reverse("settings_gate_new"), {"name": "vllm-1", "deployment": "d", "provider": "self_hosted"})
    source_id = queries.gates(now=NOW)[0].source_id

    policy.answer(source_id=source_id, if_none_match="", now=NOW, report="a=;=b;inflight=99999999999;refused=-1;x" * 50)

    (process,) = gate_keys.places(now=NOW)[0].processes
    assert (process.refused, process.admitted, process.software) == (None, None, "")


def test_it_removes_a_gate_and_ends_its_token(dana: Client) -> None:
    made = dana.post(reverse("settings_gate_new"), {"name": "vllm-1", "deployment": "d", "provider": "p"})
    (text,) = re.findall(r"cobs_[A-Za-z0-9_-]+", made.content.decode())

    unsure = dana.post(reverse("settings_gate_remove", args=["vllm-1"]), {"confirm": "vllm"})
    still_there = Gate.objects.count()
    dana.post(reverse("settings_gate_remove", args=["vllm-1"]), {"confirm": "vllm-1"})

    assert (unsure.status_code, still_there) == (400, 1)
    assert not Gate.objects.exists()
    assert tokens.find(text, now=NOW) is None
    assert dana.post(reverse("settings_gate_remove", args=["vllm-1"])).status_code == 404


def test_it_makes_a_key_with_limits_that_is_shown_once(dana: Client) -> None:
    body = {"name": "web", "team": "search", "features": "rag, chat", "models": "", **_limits(requests_per_minute=60)}

    answer = dana.post(reverse("settings_key_new"), body)

    (text,) = re.findall(r"cok_[A-Za-z0-9_-]+", answer.content.decode())
    row = GateKey.objects.get()
    assert (row.features, row.models_allowed, row.limits) == (["chat", "rag"], None, {"requests_per_minute": 60})
    assert text not in words(dana)
    assert "60 requests/min" in words(dana)
    assert "no-store" in answer["Cache-Control"]


def test_it_changes_what_a_key_may_do_and_tells_the_gates(dana: Client) -> None:
    dana.post(reverse("settings_gate_new"), {"name": "vllm-1", "deployment": "d", "provider": "p"})
    key_id, _ = gates.create_key(name="web", team="search", limits={"max_tokens": 9}, by="ada", now=NOW)
    url = reverse("settings_key", args=[key_id])

    answer = dana.post(url, {"features": "", "models": "small", "priority": "-3", **_limits(tokens_per_minute=100)})

    assert answer.status_code == 302
    source_id = queries.gates(now=NOW)[0].source_id
    body = policy.answer(source_id=source_id, if_none_match="", now=NOW).body or b""
    assert b'"limits":{"tokens_per_minute":100,"priority":-3}' in body
    entry = AuditEntry.objects.get(act="gate_key.changed")
    assert entry.after == {"features": None, "models": ["small"], "limits": {"tokens_per_minute": 100, "priority": -3}}
    assert "value=&quot;" not in words(dana, url)


def test_it_refuses_limits_that_are_none(dana: Client) -> None:
    key_id, _ = gates.create_key(name="web", team="search", by="ada", now=NOW)

    answer = dana.post(reverse("settings_key", args=[key_id]), _limits(requests_per_minute=0))

    assert answer.status_code == 400
    assert GateKey.objects.get().limits == {}
    with pytest.raises(gates.Invalid, match="from 1 to"):
        gates.create_key(name="x", team="y", limits={"max_tokens": 0}, by="ada", now=NOW)
    with pytest.raises(gate_keys.Invalid):
        gate_keys.change(key_id=key_id, features=None, models=None, limits={"priority": 2**40}, by="a", now=NOW)


def test_it_replaces_a_key_under_the_same_id(dana: Client) -> None:
    key_id, old = gates.create_key(name="web", team="search", limits={"max_tokens": 9}, by="ada", now=NOW)
    before = GateKey.objects.get().sha256

    answer = dana.post(reverse("settings_key_decide", args=[key_id, "rotate"]))

    (text,) = re.findall(r"cok_[A-Za-z0-9_-]+", answer.content.decode())
    row = GateKey.objects.get()
    assert text != old and row.sha256 != before
    assert (row.key_id, row.limits) == (key_id, {"max_tokens": 9})


def test_it_revokes_a_key(dana: Client) -> None:
    key_id, _ = gates.create_key(name="web", team="search", by="ada", now=NOW - timedelta(days=3))

    dana.post(reverse("settings_key_decide", args=[key_id, "revoke"]))

    assert gate_keys.listed() == []
    assert "Revoked" in words(dana)
    for url in (reverse("settings_key", args=[key_id]), reverse("settings_key", args=["nobody"])):
        assert dana.get(url).status_code == 404
    assert dana.post(reverse("settings_key_decide", args=[key_id, "rotate"])).status_code == 404
    assert dana.post(reverse("settings_key_decide", args=[key_id, "unheard"])).status_code == 404


@pytest.mark.parametrize("role", ["finance", "lead"])
def test_it_lets_only_administrators_change_anything(clock: None, role: str) -> None:
    key_id, _ = gates.create_key(name="web", team="search", by="ada", now=NOW)
    other = signed_in("ada@example.com", role)

    shown = other.get(PAGE).status_code
    acts = [
        other.post(reverse("settings_gate_new"), {"name": "x", "deployment": "d", "provider": "p"}),
        other.post(reverse("settings_gate_remove", args=["x"])),
        other.post(reverse("settings_key_new"), {"name": "x", "team": "y"}),
        other.post(reverse("settings_key", args=[key_id]), _limits(requests_per_minute=1)),
        other.post(reverse("settings_key_decide", args=[key_id, "revoke"])),
    ]

    assert shown == (200 if role == "finance" else 403)
    assert {answer.status_code for answer in acts} == {403}
    assert (Gate.objects.count(), GateKey.objects.count(), GateKey.objects.get().limits) == (0, 1, {})
