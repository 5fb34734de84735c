"""The webhook hook against a program that checks its signature as the manual says."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from alerts.hooks.base import BadConfig, Change, PermanentFailure, TemporaryFailure
from alerts.hooks.webhook import Webhook
from tests.servers import scaler as programs
from tests.servers.scaler import SECRET, Scaler

SECRETS = {"secret": SECRET}


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scaler]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with programs.started() as started:
        yield started


@pytest.fixture
def hook() -> Webhook:
    made = Webhook()
    made.now = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    return made


def config(scaler: Scaler, **more: str) -> dict[str, Any]:
    return {"url": scaler.url, "resource": "vllm", **more}


def planned(hook: Webhook, given: dict[str, Any], to_units: int) -> Change:
    from dataclasses import replace

    return replace(hook.plan(hook.look(given, SECRETS), to_units, given), key="costobs-change-7")


@pytest.mark.parametrize("has_status", [True, False])
def test_it_asks_signed_and_sees_by_the_answer(scaler: Scaler, hook: Webhook, has_status: bool) -> None:
    given = config(scaler, **({"status_url": f"{scaler.url}/status"} if has_status else {}))
    change = planned(hook, given, 0)

    hook.apply(change, given, SECRETS)
    assert hook.is_applied(change, hook.look(given, SECRETS))
    hook.undo(change, given, SECRETS)

    assert hook.is_undone(change, hook.look(given, SECRETS))
    assert scaler.acts() == ["apply", "undo"]
    asked = next(one for one in scaler.asked if one["act"] == "apply")
    assert asked == {
        "act": "apply",
        "resource": "vllm",
        "from_units": 3,
        "to_units": 0,
        "words": "Ask vllm to go from 3 to 0 units",
        "before": {"units": 3},
    }


def test_it_sends_one_change_with_one_key(scaler: Scaler, hook: Webhook) -> None:
    given = config(scaler)
    change = planned(hook, given, 0)

    hook.apply(change, given, SECRETS)
    hook.apply(change, given, SECRETS)
    hook.undo(change, given, SECRETS)

    assert scaler.keys == ["costobs-change-7-apply", "costobs-change-7-apply", "costobs-change-7-undo"]


def test_it_is_refused_with_another_secret(scaler: Scaler, hook: Webhook) -> None:
    with pytest.raises(PermanentFailure, match="refuses the signature") as refused:
        hook.look(config(scaler), {"secret": "another-secret-of-16"})

    assert "another-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "failure"),
    [(403, PermanentFailure), (404, PermanentFailure), (409, TemporaryFailure), (503, TemporaryFailure)],
)
def test_it_tells_what_passes_from_what_does_not(
    scaler: Scaler, hook: Webhook, status: int, failure: type[Exception]
) -> None:
    scaler.fails_with = [status]

    with pytest.raises(failure, match=str(status)):
        hook.look(config(scaler), SECRETS)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"units": true}',
        b'{"units": -1}',
        b'{"units": 4294967296}',
        b'{"units": 1, "details": 3}',
        b'{"units": 1, "details": {"a": ["b\\u0000"]}}',
    ],
)
def test_it_believes_no_answer_that_is_no_standing(scaler: Scaler, hook: Webhook, answer: bytes) -> None:
    scaler.answer = answer

    with pytest.raises(PermanentFailure, match="expected"):
        hook.look(config(scaler), SECRETS)


def test_it_refuses_what_it_cannot_use(scaler: Scaler, hook: Webhook) -> None:
    with pytest.raises(BadConfig, match="at least 16"):
        hook.check(config(scaler), {"secret": "short"})
    with pytest.raises(BadConfig, match="one secret"):
        hook.check(config(scaler, status_url="http://127.0.0.1:1/x"), SECRETS)
    with pytest.raises(BadConfig, match="whole seconds"):
        hook.check(config(scaler, resume_seconds="soon"), SECRETS)
