"""The LiteLLM hook against its admin API: block, limit, and put back what was there."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from alerts.hooks.base import BadConfig, Change, PermanentFailure, TemporaryFailure, merged
from alerts.hooks.litellm import LiteLLM
from tests.servers import litellm_admin
from tests.servers.litellm_admin import ADMIN_KEY, KEY_HASH, TEAM, Proxy

HOOK = LiteLLM()
SECRETS = {"admin_key": ADMIN_KEY}


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with litellm_admin.started() as started:
        yield started
    assert started.wrong == []


def team(proxy: Proxy, **more: str) -> dict[str, Any]:
    return {"url": proxy.url, "team_id": TEAM, **more}


def applied(given: dict[str, Any], to_units: int) -> Change:
    change = HOOK.plan(HOOK.look(given, SECRETS), to_units, given)
    HOOK.apply(change, given, SECRETS)
    HOOK.apply(change, given, SECRETS)  # done already is fine
    assert HOOK.is_applied(change, HOOK.look(given, SECRETS))
    return change


def undone(given: dict[str, Any], change: Change) -> None:
    HOOK.undo(change, given, SECRETS)
    HOOK.undo(change, given, SECRETS)
    assert HOOK.is_undone(change, HOOK.look(given, SECRETS))


def test_it_blocks_a_team_and_lets_it_in_again(proxy: Proxy) -> None:
    before = dict(proxy.team)

    change = applied(team(proxy), 0)

    assert proxy.team["blocked"] is True
    assert proxy.posts[0] == ("/team/block", {"team_id": TEAM})
    assert change.words == f"Block team {TEAM} in LiteLLM"
    undone(team(proxy), change)
    assert proxy.team == before


def test_it_blocks_a_key_by_its_hash(proxy: Proxy) -> None:
    given = {"url": proxy.url, "key_hash": KEY_HASH.upper()}

    change = applied(given, 0)
    undone(given, change)

    assert proxy.posts[0] == ("/key/block", {"key": KEY_HASH})
    assert proxy.key["blocked"] is False


def test_it_limits_and_puts_the_limits_back(proxy: Proxy) -> None:
    given = team(proxy, requests_per_minute="10", tokens_per_minute="5000")
    assert HOOK.look(given, SECRETS).units == 2

    change = applied(given, 1)

    assert (proxy.team["rpm_limit"], proxy.team["tpm_limit"]) == (10, 5000)
    assert HOOK.look(given, SECRETS).words == "open, at most 10 requests/min, 5,000 tokens/min"
    undone(given, change)
    assert (proxy.team["rpm_limit"], proxy.team["tpm_limit"]) == (100, None)


def test_it_never_raises_a_limit_that_is_lower(proxy: Proxy) -> None:
    proxy.team["rpm_limit"] = 3
    given = team(proxy, requests_per_minute="10", tokens_per_minute="5000")

    change = applied(given, 1)

    assert proxy.team["rpm_limit"] == 3
    undone(given, change)
    assert (proxy.team["rpm_limit"], proxy.team["tpm_limit"]) == (3, None)


def test_it_takes_off_its_block_only_and_not_the_limits_that_somebody_set_meanwhile(proxy: Proxy) -> None:
    change = applied(team(proxy), 0)
    proxy.team["rpm_limit"] = 7

    undone(team(proxy), change)

    assert (proxy.team["blocked"], proxy.team["rpm_limit"]) == (False, 7)


def test_it_sees_that_somebody_lowered_a_limit_further(proxy: Proxy) -> None:
    given = team(proxy, requests_per_minute="10", tokens_per_minute="5000")
    change = applied(given, 1)

    proxy.team["rpm_limit"] = 2

    assert not HOOK.is_applied(change, HOOK.look(given, SECRETS))


def test_it_restores_the_limits_too_when_a_block_lay_on_top_of_them(proxy: Proxy) -> None:
    given = team(proxy, requests_per_minute="10", tokens_per_minute="5000")
    limited, blocked = applied(given, 1), applied(given, 0)

    undone(given, replace(blocked, before=merged(limited.before, blocked.before)))

    assert (proxy.team["blocked"], proxy.team["rpm_limit"], proxy.team["tpm_limit"]) == (False, 100, None)


def test_it_leaves_a_block_that_was_there(proxy: Proxy) -> None:
    proxy.team["blocked"] = True

    assert HOOK.is_there(HOOK.look(team(proxy), SECRETS), 0)


def test_it_cannot_limit_without_limits(proxy: Proxy) -> None:
    with pytest.raises(PermanentFailure, match="with limits in its settings"):
        HOOK.plan(HOOK.look(team(proxy), SECRETS), 1, team(proxy))


@pytest.mark.parametrize(
    ("status", "failure", "words"),
    [
        (403, PermanentFailure, "role proxy_admin"),
        (404, PermanentFailure, "knows no such team or key"),
        (409, TemporaryFailure, "somebody changes it"),
        (429, TemporaryFailure, "tried again"),
        (500, TemporaryFailure, "tried again"),
    ],
)
def test_it_says_what_a_refusal_means(proxy: Proxy, status: int, failure: type[Exception], words: str) -> None:
    proxy.fails_with = status

    with pytest.raises(failure, match=words) as refused:
        HOOK.look(team(proxy), SECRETS)

    assert "secret" not in str(refused.value)


def test_it_never_repeats_the_admin_key(proxy: Proxy) -> None:
    """LiteLLM tells the key that it got in its answer."""
    with pytest.raises(PermanentFailure, match="expired or is wrong") as refused:
        HOOK.look(team(proxy), {"admin_key": "sk-old-very-secret"})

    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"team_id": TEAM, "key_hash": KEY_HASH}, "team_id"),
        ({}, "team_id"),
        ({"key_hash": "sk-1234567890"}, "key_hash"),
        ({"team_id": TEAM, "requests_per_minute": "0"}, "requests_per_minute"),
    ],
)
def test_it_refuses_what_it_cannot_use(proxy: Proxy, given: dict[str, str], field: str) -> None:
    with pytest.raises(BadConfig) as refused:
        HOOK.check({"url": proxy.url, **given}, SECRETS)

    assert refused.value.field == field
    assert "sk-1234567890" not in str(refused.value)
