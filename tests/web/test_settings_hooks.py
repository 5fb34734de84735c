"""Settings, hooks, as people see and change them."""

from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from alerts import carry, resources
from alerts.models import ActionRun, Resource, ResourceChange
from costobs.audit.models import AuditEntry
from tests.servers import scaler as programs
from tests.servers.scaler import SECRET, Scaler
from tests.web.conftest import NOW, Ledger, signed_in
from tests.web.reading import shown, words

PAGE = "/settings/hooks/"


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    return signed_in("dana@example.com", "admin")


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scaler]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with programs.started() as started:
        yield started


def told(client: Client, url: str = PAGE) -> str:
    return unescape(words(shown(client, url)))


def given(scaler: Scaler, **changes: Any) -> dict[str, Any]:
    return {
        "name": "llama",
        "scope": "deployment: llama",
        "drain_seconds": "30",
        "kept_cost": "1.50",
        "is_dedicated": "on",
        "config_url": scaler.url,
        "config_resource": "llama",
        "secret_secret": SECRET,
        **changes,
    }


def added(dana: Client, scaler: Scaler, **changes: Any) -> int:
    answer = dana.post(f"{reverse('settings_hook_new')}?kind=webhook", given(scaler, **changes))
    assert answer.status_code == 302, words(answer)
    return int(Resource.objects.defer("credentials").latest("pk").pk)


def test_it_says_what_is_missing_and_leads_on(dana: Client, ada: Client) -> None:
    assert "Nothing is scaled or stopped by a budget" in told(dana)
    assert "Add a hook" in told(dana) and "Add a hook" not in told(ada)
    chooser = told(dana, reverse("settings_hook_new"))
    assert "its most are set; all three are restored." in chooser
    for name in ("Kubernetes", "LiteLLM", "Webhook"):
        assert name in chooser


def test_it_adds_a_hook_and_looks_at_it(ledger: Ledger, dana: Client, scaler: Scaler) -> None:
    hook_id = added(dana, scaler)

    looked = dana.post(reverse("settings_hook_decide", args=[hook_id, "look"]), follow=True)

    assert "It says: 3 machines." in words(looked)
    line = resources.resource(hook_id)
    assert (line.scope, line.drain_seconds, line.secrets) == ({"deployment": ("llama",)}, 30, ("secret",))
    page = told(dana)
    assert "1 hook: none is held" in page and "3 machines" in page and "deployment llama" in page
    assert SECRET not in dana.get(reverse("settings_hook", args=[hook_id])).content.decode()
    entry = AuditEntry.objects.get(act="hook.created")
    assert entry.actor == "dana@example.com" and SECRET not in str(entry.after)


def test_it_says_each_mistake_beside_its_field_and_keeps_what_was_typed(dana: Client, scaler: Scaler) -> None:
    new = f"{reverse('settings_hook_new')}?kind=webhook"
    wrong = {"name": "", "config_url": "ftp://x", "secret_secret": "short", "drain_seconds": "99999"}
    answer = dana.post(new, given(scaler, **wrong))
    page = words(answer)

    assert answer.status_code == 400
    for text in ("give it a name", "expected an http or https address", "expected 0 to 3600 seconds"):
        assert text in page
    assert "expected a dimension" in words(dana.post(new, given(scaler, scope="llama")))
    assert "unknown dimension 'colour'" in unescape(words(dana.post(new, given(scaler, scope="colour: red"))))
    assert "expected an amount" in words(dana.post(new, given(scaler, kept_cost="much")))
    assert dana.post(f"{reverse('settings_hook_new')}?kind=nothing").status_code == 200
    assert Resource.objects.count() == 0


def test_it_tries_what_a_change_would_do_and_changes_nothing(ledger: Ledger, dana: Client, scaler: Scaler) -> None:
    hook_id = added(dana, scaler)

    page = unescape(words(dana.post(reverse("settings_hook_try", args=[hook_id]), {"units": "0"})))

    assert "Ask llama to go from 3 to 0 units" in page
    assert "a day over the last 7 complete days" in page and "less $2 a day that stays paid" in page
    assert "support 100" in page
    assert scaler.acts() == []
    wrong = dana.post(reverse("settings_hook_try", args=[hook_id]), {"units": "x"}, follow=True)
    assert "Expected a number of units" in words(wrong)
    scaler.fails_with = [401, 401]
    refused = dana.post(reverse("settings_hook_try", args=[hook_id]), {"units": "0"}, follow=True)
    assert "It cannot be tried: the address refuses the signature" in words(refused)
    assert "1 cannot be looked at" in told(dana)


def test_it_keeps_credentials_from_another_address(ledger: Ledger, dana: Client, scaler: Scaler) -> None:
    hook_id = added(dana, scaler)
    url = reverse("settings_hook", args=[hook_id])

    kept = dana.post(url, given(scaler, name="renamed", secret_secret=""))
    moved = dana.post(url, given(scaler, config_url=scaler.url.replace("127.0.0.1", "localhost"), secret_secret=""))

    assert kept.status_code == 302 and resources.resource(hook_id).name == "renamed"
    assert moved.status_code == 400
    assert resources.resource(hook_id).config["url"] == scaler.url
    before = AuditEntry.objects.filter(act="hook.changed").count()
    assert before == 1


def test_it_shows_what_was_done_and_gives_it_back(ledger: Ledger, dana: Client, ada: Client, scaler: Scaler) -> None:
    hook_id = added(dana, scaler, drain_seconds="0")
    change_id = resources.request(resource_id=hook_id, to_units=0, by="dana@example.com", now=NOW)
    for _ in range(4):
        carry.run(now=NOW)
    assert scaler.units == 0
    assert "1 hook: 1 is held by a change" in told(dana)
    assert "Ask llama to go from 3 to 0 units" in told(ada)

    moved = dana.post(reverse("settings_hook", args=[hook_id]), given(scaler, config_resource="other"))
    removed = dana.post(reverse("settings_hook_decide", args=[hook_id, "remove"]), follow=True)
    assert f"change {change_id} holds it" in words(moved) and f"change {change_id} holds it" in words(removed)
    undone = dana.post(reverse("settings_change_undo", args=[change_id]), follow=True)
    for _ in range(3):
        carry.run(now=NOW)

    assert "It is given back within seconds" in words(undone)
    assert scaler.units == 3
    again = dana.post(reverse("settings_change_undo", args=[change_id]), follow=True)
    assert "That change is over" in words(again)
    csv = ada.get(f"{PAGE}?format=csv")
    assert csv["Content-Type"].startswith("text/csv") and "llama" in csv.content.decode()
    assert [one.act for one in AuditEntry.objects.filter(act__startswith="hook.").order_by("pk")] == [
        "hook.created",
        "hook.asked",
        "hook.applied",
        "hook.undone",
        "hook.restored",
    ]
    dana.post(reverse("settings_hook_decide", args=[hook_id, "remove"]))
    assert Resource.objects.count() == 0 and ResourceChange.objects.get().resource_name == "llama"
    assert "llama" in told(dana)


def test_it_shows_on_an_action_what_it_scales(ledger: Ledger, dana: Client, ben: Client, scaler: Scaler) -> None:
    run = ActionRun.objects.filter(budget_id=ledger.search_budget_id, action="throttle").latest("pk")
    url = reverse("action", args=[run.pk])
    assert "What it scales or stops" not in told(ben, url)
    hook_id = added(dana, scaler)
    ActionRun.objects.filter(pk=run.pk).update(
        plan={**run.plan, "targets": ["llama"], "max_units": 1}, state="in_force"
    )
    ActionRun.objects.filter(pk=run.pk, applied_at=None).update(applied_at=NOW)

    for _ in range(4):
        carry.run(now=NOW)

    page = told(ben, url)
    assert "What it scales or stops" in page and "Ask llama to go from 3 to 1 units" in page
    assert ResourceChange.objects.get().resource_id == hook_id


def test_it_lets_finance_look_and_administrators_change(ada: Client, ben: Client, cleo: Client, dana: Client) -> None:
    urls = [
        reverse("settings_hook_new"),
        reverse("settings_hook", args=[1]),
        reverse("settings_hook_try", args=[1]),
        reverse("settings_hook_decide", args=[1, "look"]),
        reverse("settings_change_undo", args=[1]),
    ]

    assert ada.get(PAGE).status_code == 200
    for client in (ben, cleo):
        assert client.get(PAGE).status_code == 403
    for client in (ada, ben, cleo):
        assert {client.post(url).status_code for url in urls} == {403}
    assert {dana.get(url).status_code for url in urls[2:]} == {405}
    assert [dana.post(url).status_code for url in urls[1:]] == [404] * 4
    assert dana.get(urls[1]).status_code == 404
