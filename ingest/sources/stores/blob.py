"""Blobs of an Azure storage account through azure-storage-blob, with a key, a signature, a service principal or this machine."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from ingest.sources.base import SourceUnavailable
from ingest.sources.stores import azure_login
from ingest.sources.stores.base import Object, Options, Store, write

_BLOCK = 4 << 20
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_READ = "grant the role Storage Blob Data Reader on the container, or a shared access signature with read and list"
_CHANGED = "the blob changed while it was read, the next run reads the new one"
_HINTS = {
    "AuthenticationFailed": "check the account key or the shared access signature, its end and its permissions",
    "AzureSigningError": "the account key is not a key: copy it again",
    "AuthorizationFailure": f"{_READ}; the account's firewall may also shut this machine out",
    "AuthorizationPermissionMismatch": _READ,
    "AuthorizationSourceIPMismatch": "the shared access signature does not admit this machine's address",
    "NoAuthenticationInformation": _READ,
    "PublicAccessNotPermitted": _READ,
    "KeyBasedAuthenticationNotPermitted": "the account admits no keys: use a service principal or this machine's identity",
    "ContainerNotFound": "check the names of the account and the container",
    "ResourceNotFound": "check the names of the account and the container",
    "BlobNotFound": _CHANGED,
    "ConditionNotMet": _CHANGED,
    "BlobArchived": "the blob is in the archive tier: rehydrate it, or exclude it by a longer prefix",
}


class Blob(Store):
    """az://account/container/prefix. `endpoint_url` is the whole address of the account where it is not the public one."""

    grants: ClassVar = ("Storage Blob Data Reader on the container",)

    def __init__(self, url: str, options: Options, credentials: Mapping[str, str]) -> None:
        super().__init__(url, options, credentials)
        parts = urlsplit(url)
        container, _, prefix = unquote(parts.path).lstrip("/").partition("/")
        if not _ACCOUNT.fullmatch(parts.netloc) or not container:
            raise SourceUnavailable(f"expected az://account/container/prefix, found {url!r}")
        self.account, self.name, self.prefix = parts.netloc, container, prefix
        self._made: Any = None  # azure's ContainerClient, imported when used

    def objects(self, prefix: str = "") -> list[Object]:
        with self._told("list"):
            # With metadata, as only they tell the folders of a hierarchical account from blobs.
            listed = self._client().list_blobs(name_starts_with=prefix or self.prefix or None, include=["metadata"])
            found = [
                Object(each.name, each.etag.strip('"'), each.size, each.last_modified)
                for each in listed
                if (each.metadata or {}).get("hdi_isfolder") != "true"
            ]
        return sorted(found, key=lambda each: each.key) if prefix else self.inside(found)

    def content(self, key: str) -> bytes:
        with self._told(f"read {key}"):
            body: bytes = self._client().download_blob(key).readall()
        return body

    def copy(self, key: str, *, etag: str, into: int) -> None:
        from azure.core import MatchConditions

        with self._told(f"read {key}"):
            body = self._client().download_blob(
                key, etag=f'"{etag}"', match_condition=MatchConditions.IfNotModified, max_concurrency=1
            )
            for block in body.chunks():
                write(into, block)

    def _client(self) -> Any:
        from azure.storage.blob import ContainerClient

        if self._made is None:
            self._made = ContainerClient(
                self._service(),
                self.name,
                credential=self._credential(),
                connection_timeout=10,
                read_timeout=60,
                retry_total=3,
                initial_backoff=1,
                increment_base=2,
                # A redirect could leave the address that was checked.
                permit_redirects=False,
                max_single_get_size=_BLOCK,
                max_chunk_get_size=_BLOCK,
            )
        return self._made

    def _service(self) -> str:
        return (self.options.endpoint_url or f"https://{self.account}.blob.core.windows.net").rstrip("/")

    def _credential(self) -> Any:  # one of the kinds that azure's clients take
        from azure.core.credentials import AzureSasCredential

        if key := self.credentials.get("account_key"):
            return {"account_name": self.account, "account_key": key}
        if token := self.credentials.get("sas_token"):
            return AzureSasCredential(token.lstrip("?"))
        return azure_login.token_credential(self.credentials, service=self._service())

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError, HttpResponseError

        where = f"container {self.name} of {self.account}"
        try:
            yield
        except HttpResponseError as problem:
            told = getattr(problem, "error_code", None) or problem.status_code or type(problem).__name__
            code = str(getattr(told, "value", told))  # an enum where the client knows the code
            hint = _HINTS.get(code) or (_CHANGED if problem.status_code == 412 else _READ)
            raise SourceUnavailable(f"Azure refused to {what} in {where}: {code}; {hint}") from problem
        except (AzureError, ValueError) as problem:
            # ValueError: a key that is not base64, a token over plain http.
            raise SourceUnavailable(f"{where} cannot be reached to {what}: {azure_login.said(problem)}") from problem
