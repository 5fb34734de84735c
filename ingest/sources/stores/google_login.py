"""Access to Google Cloud: whose credentials are used, and what its refusals mean for a person."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from costobs.kernel import http
from ingest.sources.base import SourceUnavailable

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

# A query is a job, which a read-only token may not start.
_SCOPES = tuple(
    f"https://www.googleapis.com/auth/{name}" for name in ("bigquery", "devstorage.read_only", "cloud-billing.readonly")
)
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
_LONGEST = 600


def credentials(given: Mapping[str, str], *, endpoint_url: str = "") -> "Credentials":
    """The key that was given, else this machine's own identity; nobody's for an address that is not Google's.

    This machine's identity is never shown to an address that a user typed in.
    """
    key = given.get("service_account_json", "")
    if key.strip():
        return _of_key(key)
    if endpoint_url:
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        found, _project = google.auth.default(scopes=_SCOPES)
    except GoogleAuthError as problem:
        raise SourceUnavailable(
            "this machine has no identity at Google Cloud; give the key file of a service account (service_account_json)"
        ) from problem
    return found


def checked(url: str) -> str:
    """A user-given address that may be called, else SourceUnavailable with the reason."""
    try:
        return http.check(url)
    except http.BlockedAddress as problem:
        raise SourceUnavailable(str(problem)) from problem


def stay(session: Any) -> None:  # a requests.Session of Google's own kind
    """Keeps a client at the address that was checked: a redirect is an error."""
    session.max_redirects = 0
    # Tokens are asked for in a session of its own.
    if (tokens := getattr(session, "_auth_request_session", None)) is not None:
        tokens.max_redirects = 0


@contextmanager
def told(what: str, hints: Mapping[str, str]) -> Iterator[None]:
    """Turns what Google's libraries raise into SourceUnavailable; `hints` are remedies by reason or HTTP status."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except exceptions.GoogleAPICallError as problem:
        _refused(what, problem, hints)
    except exceptions.RetryError as problem:
        if isinstance(problem.cause, exceptions.GoogleAPICallError):
            _refused(what, problem.cause, hints)
        raise SourceUnavailable(f"Google Cloud did not answer in time to {what}: {_cut(problem.cause)}") from problem
    except GoogleAuthError as problem:
        raise SourceUnavailable(
            f"Google Cloud does not take the credentials to {what}: {_cut(problem)}; make a new key of the service account"
        ) from problem
    except TimeoutError as problem:
        raise SourceUnavailable(f"Google Cloud did not answer in time to {what}") from problem
    except requests.exceptions.RequestException as problem:
        raise SourceUnavailable(f"Google Cloud cannot be reached to {what}: {_cut(problem)}") from problem


def _refused(what: str, problem: Any, hints: Mapping[str, str]) -> NoReturn:  # exceptions of google.api_core
    status = str(int(problem.code)) if problem.code else ""
    reasons = [each.get("reason", "") for each in problem.errors or () if isinstance(each, dict)]
    hint = next((hints[name] for name in (*reasons, status) if name in hints), "")
    raise SourceUnavailable(
        f"Google Cloud refused to {what}: {status} {_cut(problem.message)}{'; ' if hint else ''}{hint}"
    ) from problem


def _of_key(text: str) -> "Credentials":
    """Only keys of service accounts: other kinds of files may name programs to run and addresses to ask."""
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        # The problem's own text would show a piece of the key.
        raise SourceUnavailable(f"the key file is not JSON (line {problem.lineno}); paste all of it") from None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise SourceUnavailable('the key file is not one of a service account ("type": "service_account")')
    token_uri = key.get("token_uri", _TOKEN_URI)
    if not isinstance(token_uri, str):
        raise SourceUnavailable("the key file's token_uri is not a text")
    if token_uri != _TOKEN_URI:
        checked(token_uri)
    from google.oauth2 import service_account

    try:
        found: Credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            key, scopes=_SCOPES
        )
    except (ValueError, TypeError):
        raise SourceUnavailable("the key file lacks a part or its private key is damaged; paste all of it") from None
    return found


def _cut(problem: object) -> str:
    text = " ".join(str(problem).split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
