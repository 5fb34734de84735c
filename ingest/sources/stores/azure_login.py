"""Who we are to Microsoft's services: a service principal, this machine's identity, or a token that somebody gives us."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ingest.sources.base import SourceUnavailable

# Sovereign clouds keep people and services apart from the public one, each with a login of its own.
_LOGINS = (
    (("chinacloudapi.cn", "azure.cn"), "login.chinacloudapi.cn"),
    (("usgovcloudapi.net", "azure.us"), "login.microsoftonline.us"),
)
_LOGIN = "login.microsoftonline.com"
_PRINCIPAL = ("tenant_id", "client_id", "client_secret")
_QUERY = re.compile(r"\?[^\s'\")]+")
# The year 9999: a given token ends when its giver says so, which only the service can tell.
_NEVER = 253_402_300_799


class Given:
    """A token from outside, as `az account get-access-token` prints it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> Any:  # azure.core's AccessToken, imported late
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, _NEVER)


def token_credential(credentials: Mapping[str, str], *, service: str) -> Any:  # a TokenCredential, imported late
    """What proves who we are to `service` (its address). SourceUnavailable names a part of a principal that is missing."""
    from azure import identity

    if token := credentials.get("access_token"):
        return Given(token)
    given = [name for name in _PRINCIPAL if credentials.get(name)]
    if not given:
        return identity.DefaultAzureCredential(authority=_login(service))
    if missing := [name for name in _PRINCIPAL if name not in given]:
        raise SourceUnavailable(f"a service principal needs {' and '.join(missing)} too; add it to the credentials")
    try:
        return identity.ClientSecretCredential(
            credentials["tenant_id"], credentials["client_id"], credentials["client_secret"], authority=_login(service)
        )
    except ValueError as problem:
        raise SourceUnavailable(f"the service principal is not valid: {problem}") from problem


def said(problem: Exception) -> str:
    """The first line of an error without what was asked: the query of an address may hold a signature."""
    return _QUERY.sub("?…", str(problem).strip().partition("\n")[0])[:500]


def _login(service: str) -> str:
    host = urlsplit(service).hostname or ""
    return next((login for ends, login in _LOGINS if host.endswith(ends)), _LOGIN)
