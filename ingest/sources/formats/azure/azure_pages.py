"""Pages of the query API of Cost Management through its client: throttling obeyed, every digit of a number kept."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ingest.sources.base import SourceUnavailable
from ingest.sources.formats import openings
from ingest.sources.stores import azure_login

_PUBLIC = "https://management.azure.com"
_SCOPE = re.compile(r"/(?:[A-Za-z0-9_.:()\-]+/)*[A-Za-z0-9_.:()\-]+")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
# Each limit of the service has a header of its own; what counts is the longest.
# https://learn.microsoft.com/azure/cost-management-billing/costs/manage-automation#error-code-429 (read 2026-11-28)
_WAITS = re.compile(r"^(?:x-ms-ratelimit-microsoft\.costmanagement-[a-z-]*retry-after|retry-after)$", re.IGNORECASE)
_RETRIED = {408, 429, 500, 502, 503, 504}
_TRIES, _LONGEST_WAIT = 6, 180
_HINTS = {
    400: "the API does not take this question; check group_by",
    401: "check the credentials: tenant_id, client_id, client_secret",
    403: "grant the role Cost Management Reader on the scope",
    404: "check the scope",
}


class Pages:
    """Asks a question and goes on to its last page. SourceUnavailable says what to do."""

    def __init__(self, management_url: str, credentials: Mapping[str, str]) -> None:
        self._url = (management_url or _PUBLIC).rstrip("/")
        parts = urlsplit(self._url)
        self._is_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not self._is_loopback:
            raise SourceUnavailable(
                f"expected an https address, found {management_url!r}: a token is not sent in the clear"
            )
        self._credentials = credentials
        self._made: Any = None  # a CostManagementClient, imported when used
        self._left: float = _LONGEST_WAIT

    def rows(self, scope: str, question: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of an answer by column name. Numbers with a fraction are Decimal, as they were written."""
        if not _SCOPE.fullmatch(scope) or ".." in scope:
            raise SourceUnavailable(f"expected a scope such as /subscriptions/ID, found {scope!r}")
        text = self._asked(partial(self._first, scope, question), scope)
        known: set[str] = set()
        while True:
            properties = _properties(text, scope)
            names = [str(each.get("name", "")) for each in properties.get("columns") or ()]
            for number, row in enumerate(properties.get("rows") or (), 1):
                if not isinstance(row, list) or len(row) != len(names):
                    raise openings.broken(
                        scope, f"expected {len(names)} values, found {row!r}"[:300], field="rows", row=number
                    )
                yield dict(zip(names, row, strict=True))
            following = str(properties.get("nextLink") or "")
            if not following:
                return
            if following in known:
                raise openings.broken(scope, "the pages of the answer go round in a circle", field="nextLink")
            known.add(following)
            text = self._asked(partial(self._next, following, question), scope)

    def _first(self, scope: str, question: Mapping[str, Any]) -> str:
        said: str = self._client().query.usage(
            scope.lstrip("/"), dict(question), cls=lambda response, *_: response.http_response.text(), **self._options()
        )
        return said

    def _next(self, link: str, question: Mapping[str, Any]) -> str:
        """The same question, sent to the next page's address: it gets our token, so it must be the same service."""
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest

        ours, theirs = urlsplit(self._url), urlsplit(link)
        if (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise openings.broken(
                self._url, f"the next page is at another service, {theirs.netloc!r}", field="nextLink"
            )
        response = self._client().send_request(HttpRequest("POST", link, json=dict(question)), **self._options())
        if response.status_code != 200:
            raise HttpResponseError(response=response)
        said: str = response.text()
        return said

    def _asked(self, ask: Callable[[], str], scope: str) -> str:
        from azure.core.exceptions import AzureError, HttpResponseError

        for attempt in range(1, _TRIES + 1):
            try:
                return ask()
            except HttpResponseError as problem:
                status = problem.status_code or 401
                if status not in _RETRIED:
                    hint = _HINTS.get(status, "")
                    words = f"{azure_login.said(problem)}{'; ' if hint else ''}{hint}"
                    raise SourceUnavailable(f"Cost Management refused {scope}: {words}") from problem
                headers: Mapping[str, str] = getattr(problem.response, "headers", None) or {}
                told = _told_wait(headers)
                self._wait(2**attempt if told is None else told, attempt, f"{status}", scope)
            except AzureError as problem:
                self._wait(2**attempt, attempt, azure_login.said(problem), scope)
            except ValueError as problem:
                raise SourceUnavailable(
                    f"Cost Management cannot be asked for {scope}: {azure_login.said(problem)}"
                ) from problem
        raise AssertionError("the last try returns or raises")

    def _wait(self, seconds: float, attempt: int, reason: str, scope: str) -> None:
        if attempt == _TRIES or seconds > self._left:
            raise SourceUnavailable(
                f"Cost Management does not answer for {scope} ({reason}) and asks to wait {seconds:g} s; the next run goes on"
            )
        self._left -= seconds
        time.sleep(seconds)

    def _options(self) -> dict[str, Any]:
        return {"enforce_https": False} if self._is_loopback else {}

    def _client(self) -> Any:
        from azure.core.pipeline.policies import RedirectPolicy, RetryPolicy
        from azure.mgmt.costmanagement import CostManagementClient

        if self._made is None:
            self._made = CostManagementClient(
                azure_login.token_credential(self._credentials, service=self._url),
                base_url=self._url,
                credential_scopes=[f"{self._url}/.default"],
                # Its own retries know one of the headers and wait for as long as it says.
                retry_policy=RetryPolicy.no_retries(),
                redirect_policy=RedirectPolicy.no_redirects(),
                connection_timeout=10,
                read_timeout=120,
            )
        return self._made


def _told_wait(headers: Mapping[str, str]) -> int | None:
    """The longest wait that the headers ask for, in seconds; None when none does."""
    told = [value.strip() for name, value in headers.items() if _WAITS.match(name)]
    return max((int(value) for value in told if value.isdigit()), default=None)


def _properties(text: str, scope: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text, parse_float=Decimal, parse_constant=str)
    except ValueError as problem:
        raise openings.broken(scope, f"the answer is not valid JSON: {problem}") from problem
    found = document.get("properties") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise openings.broken(scope, f"the answer has no properties: {text[:200]}", field="properties")
    return found
