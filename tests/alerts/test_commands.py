"""The command line of budgets, gates and channels."""

import io
import sys

import orjson
import pytest
from django.core.management import CommandError, call_command

from alerts import queries, subscribe
from alerts.management.budget_arguments import rung as typed
from alerts.models import Budget, Channel, GateKey, Rung
from costobs.access import tokens
from costobs.access.models import ApiToken
from costobs.kernel import secrets
from ingest.models import Source
from tests.alerts.conftest import START, Books, FakeGate, at, climb, make_budget, rung, settle

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_it_makes_a_budget_with_its_ladder() -> None:
    run(
        "budgets", "create", "--name", "Search", "--team", "search", "--amount", "24000", "--period", "month",
        "--rung", "60:notify", "--rung", "100:throttle:requests_per_minute=6", "--rung", "110:shutdown:approval=one",
    )  # fmt: skip

    assert Budget.objects.get().scope == {"team": ["search"]}
    assert list(Rung.objects.order_by("percent").values_list("action", "approval", "config")) == [
        ("notify", "automatic", {}),
        ("throttle", "automatic", {"requests_per_minute": 6}),
        ("shutdown", "one", {}),
    ]


@pytest.mark.parametrize("text", ["notify", "60", "x:notify", "60:throttle:6", "60:explode"])
def test_it_explains_a_rung_that_it_does_not_understand(text: str) -> None:
    with pytest.raises(CommandError):
        run("budgets", "create", "--name", "a", "--team", "search", "--amount", "1", "--rung", text)

    assert Budget.objects.count() == 0


def test_it_lists_and_evaluates_as_json_with_exact_money(books: Books) -> None:
    make_budget(rung("60", "notify"))
    assert orjson.loads(run("budgets", "list", "--format", "json"))[0]["spend"] is None

    (line,) = orjson.loads(run("budgets", "evaluate", "--format", "json"))

    assert (line["name"], line["amount"], line["spend"]) == ("Search answers", "1000", "0")
    assert "Search answers" in run("budgets", "list")


def test_it_approves_declines_and_undoes(books: Books, gate: FakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    make_budget(rung("75", "throttle"), rung("90", "shutdown", "one"))
    books.spend(at(2).date(), "950")
    climb(at(2))
    settle(gate, at(2))
    throttle, stop = (line.id for line in reversed(queries.action_log(teams=None)))
    monkeypatch.setattr("alerts.management.commands.budgets.datetime", _Clock)

    with pytest.raises(CommandError, match="type the name"):
        run("budgets", "approve", str(stop))
    run("budgets", "approve", str(stop), "--confirm", "Search answers")
    run("budgets", "undo", str(throttle), "--reason", "checked")

    states = {line["id"]: line["state"] for line in orjson.loads(run("budgets", "actions", "--format", "json"))}
    assert states == {throttle: "undone", stop: "running"}
    with pytest.raises(CommandError, match="undone already"):
        run("budgets", "undo", str(throttle))


class _Clock:
    """The day after the ladder fired."""

    @staticmethod
    def now(_zone: object) -> object:
        return at(2, 13)


def test_it_pauses_one_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    make_budget(name="a")
    make_budget(name="b")
    monkeypatch.setattr("alerts.management.commands.budgets.datetime", _Clock)

    run("budgets", "pause", "a", "--hours", "2")
    assert [line.name for line in queries.budgets(now=at(2, 14), teams=None) if line.paused_until] == ["a"]

    assert run("budgets", "pause", "--all", "--reason", "incident").startswith("2 ladders paused")
    assert run("budgets", "resume-all").startswith("resumed")
    run("budgets", "resume", "a")
    run("budgets", "delete", "b")
    assert [(line.name, line.paused_until) for line in queries.budgets(now=at(2, 14), teams=None)] == [("a", None)]
    with pytest.raises(CommandError, match="no budget"):
        run("budgets", "delete", "b")


def test_it_makes_a_gate_with_its_source_and_token() -> None:
    text = run("gate", "create", "--name", "chat-1", "--deployment", "chat-small").strip()

    (gate,) = queries.gates(now=START)
    token = tokens.find(text, now=START)
    assert token is not None
    assert (token.grants, token.source_id) == (["gate"], gate.source_id)
    source = Source.objects.get(pk=gate.source_id)
    assert (source.kind, source.config) == ("gate", {"provider": "self_hosted", "deployment": "chat-small"})
    assert "chat-1" in run("gate", "list")


def test_it_leaves_nothing_behind_when_a_gate_exists() -> None:
    run("gate", "create", "--name", "chat-1", "--deployment", "chat-small")

    with pytest.raises(CommandError, match="exists"):
        run("gate", "create", "--name", "chat-1", "--deployment", "chat-large")

    assert ApiToken.objects.count() == 1


def test_it_ends_the_token_of_a_gate_that_is_removed() -> None:
    text = run("gate", "create", "--name", "chat-1", "--deployment", "chat-small").strip()

    run("gate", "remove", "chat-1")

    assert queries.gates(now=START) == []
    assert tokens.find(text, now=START) is None


def test_it_prints_a_client_key_once_and_keeps_its_hash() -> None:
    text = run("gate", "key", "create", "--team", "search", "--feature", "rag", "--model", "llama").strip()

    key = GateKey.objects.get()
    assert text.startswith("cok_")
    assert (key.sha256, key.team, key.features, key.models_allowed) == (
        secrets.digest(text),
        "search",
        ["rag"],
        ["llama"],
    )
    assert text not in run("gate", "list")

    run("gate", "key", "revoke", key.key_id)
    assert queries.client_keys() == []


def test_it_takes_the_address_of_a_webhook_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    monkeypatch.setattr(sys, "stdin", io.StringIO("http://127.0.0.1:9/secret\n"))

    run("channels", "slack", "--name", "ops")
    run("channels", "email", "--name", "finance", "--to", "a@example.com", "--to", "b@example.com")

    assert Channel.objects.get(name="ops").credentials == {"webhook_url": "http://127.0.0.1:9/secret"}
    listed = run("channels", "list")
    assert "a@example.com, b@example.com" in listed
    assert "secret" not in listed
    run("channels", "remove", "ops")
    assert [line.name for line in subscribe.channels()] == ["finance"]


def test_it_refuses_a_channel_without_a_usable_address() -> None:
    with pytest.raises(CommandError, match="e-mail addresses"):
        run("channels", "email", "--name", "finance", "--to", "nobody")


def test_it_holds_ladders_back_and_lets_them_go() -> None:
    make_budget(name="a")

    assert run("budgets", "pause-all", "--reason", "incident", "--hours", "2").startswith("1 ladders paused until")
    assert run("budgets", "resume-all").strip() == "resumed"
    assert run("budgets", "resume-all").strip() == "nothing was paused"
    run("budgets", "window", "freeze", "--weekly", "sat-sun 00:00-24:00", "--scope", "team=search")
    run("budgets", "protect", "team=search environment=prod", "--reason", "shop")
    shown = run("budgets", "windows")
    assert "sat-sun 00:00-24:00, UTC" in shown and "team search" in shown and "shop" in shown
    with pytest.raises(CommandError, match="weekly"):
        run("budgets", "window", "never")


def test_it_takes_a_rung_of_every_trigger() -> None:
    found = typed("100:shutdown:trigger=schedule,windows=mon-fri 20:00-07:00;sat-sun 00:00-24:00,approval=two")

    assert (found.trigger, found.approval) == ("schedule", "two")
    assert found.config == {"windows": "mon-fri 20:00-07:00,sat-sun 00:00-24:00"}


def test_it_makes_every_kind_and_reads_secrets_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    made = (
        ("slack-app", ["--channel", "C0123456789"], "xoxb-secret\nxapp-secret\n"),
        ("webhook", ["--url", "http://127.0.0.1:9/in"], "0123456789abcdef-secret\n"),
        ("pagerduty", [], "routing-secret\n"),
        ("email", ["--to-owner"], ""),
    )
    for kind, arguments, stdin in made:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        run("channels", kind, "--name", kind, *arguments)
    run("channels", "pause", "webhook")

    listed = run("channels", "list")

    assert "slack-app  slack_app  channel C0123456789  active" in listed
    assert "webhook  webhook  127.0.0.1:9  paused" in listed
    assert "pagerduty  pagerduty  events.pagerduty.com  active" in listed
    assert "email  email  the owner of each budget  active" in listed
    assert "secret" not in listed
    run("channels", "resume", "webhook")
    with pytest.raises(CommandError, match="could not be reached"):
        run("channels", "test", "webhook")
    with pytest.raises(CommandError, match="no channel"):
        run("channels", "test", "other")
