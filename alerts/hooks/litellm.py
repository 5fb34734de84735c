"""A key or a team of a LiteLLM proxy: blocked, or held below a rate."""

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
import orjson

from alerts.hooks.base import (
    AIM,
    TOUCHED,
    BadConfig,
    Change,
    Field,
    PermanentFailure,
    ResourceHook,
    Standing,
    TemporaryFailure,
    checked,
    touches,
)
from costobs.kernel import http

OPEN, LIMITED, BLOCKED = 2, 1, 0
_MOST_BYTES = 4 << 20
_BLOCK, _RATES = "block", "limits"  # what a change takes, and gives back
_LIMITS = ("rpm_limit", "tpm_limit")


class LiteLLM(ResourceHook):
    """Blocks a virtual key or a team of a LiteLLM proxy by its admin API, or lowers its limits. Example configuration:

        {"url": "https://litellm.example.com", "team_id": "team-search", "requests_per_minute": "10"}

    Its units are 2 (as it is), 1 (held to the limits below) and 0 (blocked: LiteLLM refuses its calls with 401). Undo puts
    back the block and the limits that were there. A key is named by its hash, as `/key/list` shows it, never by itself.
    The admin key needs the role proxy_admin; only `/key/…` or `/team/…` `info`, `block`, `unblock` and `update` are called.
    """

    kind: ClassVar = "litellm"
    title: ClassVar = "LiteLLM"
    are_units_alike: ClassVar = False
    settings: ClassVar = (
        Field("url", "Address of the proxy", "Without /v1.", is_needed=True),
        Field("team_id", "Team", "The team's id in LiteLLM; or a key below."),
        Field("key_hash", "Key", "The hash of a virtual key, 64 hexadecimal digits."),
        Field("requests_per_minute", "Requests a minute when limited", "For a rung with at most 1 unit."),
        Field("tokens_per_minute", "Tokens a minute when limited", "For a rung with at most 1 unit."),
    )
    secrets: ClassVar = (Field("admin_key", "Admin key", "The master key, or a key of a proxy admin.", is_needed=True),)

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        checked("url", str(config["url"]))
        if bool(config.get("team_id")) == bool(config.get("key_hash")):
            raise BadConfig("team_id", "name a team or a key, one of them")
        digest = str(config.get("key_hash") or "")
        if digest and (len(digest) != 64 or set(digest.lower()) - set("0123456789abcdef")):
            # What was typed may be the key itself.
            raise BadConfig("key_hash", "expected the hash of a key, 64 hexadecimal digits; never enter the key itself")
        for name in ("requests_per_minute", "tokens_per_minute"):
            if config.get(name) and not (str(config[name]).isdigit() and int(config[name]) > 0):
                raise BadConfig(name, f"expected a whole number above 0, found {config[name]!r}")

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        what, name, key = _subject(config)
        found = _call(config, credentials, "GET", f"/{what}/info", params={key if what == "team" else "key": name})
        info = found.get("team_info" if what == "team" else "info")
        if not isinstance(info, dict):
            raise PermanentFailure(f"expected the {what} in the answer of /{what}/info, found none; is it LiteLLM?")
        details = {"is_blocked": bool(info.get("blocked")), **{limit: info.get(limit) for limit in _LIMITS}}
        wanted = _wanted(config)
        is_limited = bool(wanted) and all(_at_most(details[limit], value) for limit, value in wanted.items())
        units = BLOCKED if details["is_blocked"] else LIMITED if is_limited else OPEN
        return Standing(units, _words(units, details), True, details)

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        what = " ".join(_subject(config)[:2])
        if to_units == BLOCKED:
            words, loses = f"Block {what} in LiteLLM", "Every new call of it is refused with 401; running ones end"
        elif to_units == LIMITED and _wanted(config):
            words = f"Limit {what} in LiteLLM to {_limits(_wanted(config))}"
            loses = "Calls beyond the limits are refused with 429"
        else:
            raise PermanentFailure(
                f"{what} can be blocked (0) or, with limits in its settings, limited (1); found {to_units}"
            )
        before = {**standing.details, TOUCHED: [_RATES if to_units else _BLOCK]}
        if to_units:
            before[AIM] = _lowered(standing.details, config)
        return Change(standing.units, to_units, words, loses, "Nothing is to be started: at once", 1, before)

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        what, name, key = _subject(config)
        if change.to_units == BLOCKED:
            _call(config, credentials, "POST", f"/{what}/block", json={key: name})
            return
        _call(config, credentials, "POST", f"/{what}/update", json={key: name, **_lowered(change.before, config)})

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        what, name, key = _subject(config)
        now, before = self.look(config, credentials).details, change.before
        limits = {limit: before.get(limit) for limit in _LIMITS if now[limit] != before.get(limit)}
        if limits and touches(change, _RATES):
            _call(config, credentials, "POST", f"/{what}/update", json={key: name, **limits})
        if now["is_blocked"] != before["is_blocked"] and touches(change, _BLOCK):
            act = "block" if before["is_blocked"] else "unblock"
            _call(config, credentials, "POST", f"/{what}/{act}", json={key: name})

    def is_applied(self, change: Change, standing: Standing) -> bool:
        aim = change.before.get(AIM) or {}
        return super().is_applied(change, standing) and all(standing.details[name] == aim[name] for name in aim)

    def is_undone(self, change: Change, standing: Standing) -> bool:
        names = [*(["is_blocked"] * touches(change, _BLOCK)), *(_LIMITS if touches(change, _RATES) else ())]
        return all(standing.details[name] == change.before.get(name) for name in names)


def _lowered(before: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, int]:
    """The limits to set: never above one that was there."""
    return {
        limit: value if before.get(limit) is None else min(value, before[limit])
        for limit, value in _wanted(config).items()
    }


def _subject(config: Mapping[str, Any]) -> tuple[str, str, str]:
    """team or key, its id, and what the API calls the id."""
    if config.get("team_id"):
        return "team", str(config["team_id"]), "team_id"
    return "key", str(config["key_hash"]).lower(), "key"


def _wanted(config: Mapping[str, Any]) -> dict[str, int]:
    names = {"requests_per_minute": "rpm_limit", "tokens_per_minute": "tpm_limit"}
    return {limit: int(config[name]) for name, limit in names.items() if config.get(name)}


def _at_most(found: int | None, wanted: int) -> bool:
    return found is not None and found <= wanted


def _limits(limits: Mapping[str, int | None]) -> str:
    words = {"rpm_limit": "requests/min", "tpm_limit": "tokens/min"}
    return ", ".join(f"{value:,} {words[name]}" for name, value in limits.items() if value is not None)


def _words(units: int, details: Mapping[str, Any]) -> str:
    held = _limits({limit: details[limit] for limit in _LIMITS})
    if units == BLOCKED:
        return "blocked"
    return f"open, at most {held}" if held else "open"


def _call(
    config: Mapping[str, Any], credentials: Mapping[str, str], method: str, path: str, **options: Any
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {credentials.get('admin_key', '')}", "Accept": "application/json"}
    try:
        url = http.check(str(config["url"]).rstrip("/") + path)
        with http.client() as client:
            status, _, content = http.fetch(client, method, url, headers=headers, most_bytes=_MOST_BYTES, **options)
    except http.BlockedAddress as problem:
        raise PermanentFailure(f"url: {problem}") from None
    except http.TooLong as problem:
        raise PermanentFailure(f"{path} {problem}") from None
    except httpx.HTTPError as problem:
        raise TemporaryFailure(f"LiteLLM could not be reached ({type(problem).__name__})") from None
    if status != 200:
        raise _refused(status, path)
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise PermanentFailure(f"{path} answered with no JSON; is the address LiteLLM's?") from None
    return found if isinstance(found, dict) else {}


def _refused(status: int, path: str) -> Exception:
    """What the status means. The body is not repeated: LiteLLM tells keys in it."""
    if status in {408, 425, 429} or status >= 500:
        return TemporaryFailure(f"LiteLLM answered {path} with {status}; it is tried again")
    words = {
        401: "LiteLLM does not know the admin key (401): it has expired or is wrong; enter a new one",
        403: f"the admin key may not call {path} (403): it needs the role proxy_admin",
        404: f"LiteLLM knows no such team or key ({path} answered 404); correct it in the settings",
        409: f"LiteLLM answered {path} with 409: somebody changes it at this moment",
    }
    failure = TemporaryFailure if status == 409 else PermanentFailure
    return failure(words.get(status, f"LiteLLM answered {path} with {status}; look at the address and the version"))
