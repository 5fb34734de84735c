"""Statements into a container of Azure Blob Storage."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.destinations.base import (
    BadConfig,
    Destination,
    Field,
    Parcel,
    PermanentFailure,
    TemporaryFailure,
    checked,
    endpoint,
    names,
)
from ingest.sources.base import SourceUnavailable
from ingest.sources.stores import azure_login

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_GRANT = "grant Storage Blob Data Contributor on the container, or a signature with create and write"


class Blob(Destination):
    """Each file as one blob, over the one of that name when it is sent again. Example configuration:

    {"account": "acmefinance", "container": "statements", "prefix": "llm"}
    """

    kind: ClassVar = "blob"
    title: ClassVar = "Azure Blob Storage"
    settings: ClassVar = (
        Field("account", "Storage account", is_needed=True),
        Field("container", "Container", is_needed=True),
        Field("prefix", "Folder", "Blobs are called folder/2026-10/v1/statement-….pdf."),
        Field(
            "endpoint_url",
            "Endpoint",
            "The whole address of the account, where it is not the public one; it needs a key.",
        ),
    )
    secrets: ClassVar = (
        Field("account_key", "Account key", "Or one of the following; leave all empty to use this machine's identity."),
        Field("sas_token", "Shared access signature", "With create and write on the container."),
        Field("tenant_id", "Tenant", "Of a service principal, instead of a key."),
        Field("client_id", "Client id", "Of the service principal."),
        Field("client_secret", "Client secret", "Of the service principal."),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        if not _ACCOUNT.fullmatch(str(config["account"])):
            raise BadConfig("account", f"expected 3 to 24 small letters and digits, found {config['account']!r}")
        if url := config.get("endpoint_url"):
            checked("endpoint_url", url)
            if not (credentials.get("account_key") or credentials.get("sas_token")):
                # This machine's identity is shown to nobody but Azure.
                raise BadConfig("account_key", "an endpoint of your own needs a key or a signature")

    def send(self, parcel: Parcel, config: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        from azure.core.exceptions import AzureError, HttpResponseError
        from azure.storage.blob import ContentSettings

        where = f"container {config['container']} of {config['account']}"
        try:
            with _client(config, credentials) as client:
                for key, item in names(parcel, config.get("prefix", "")):
                    told = ContentSettings(content_type=item.media_type)
                    client.upload_blob(key, item.content, overwrite=True, content_settings=told)
        except HttpResponseError as problem:
            status = problem.status_code or 0
            code = getattr(problem, "error_code", None) or status or type(problem).__name__
            failure = f"Azure refused to write into {where}: {getattr(code, 'value', code)}; {_GRANT}"
            raise (TemporaryFailure if status in {408, 429} or status >= 500 else PermanentFailure)(failure) from None
        except SourceUnavailable as problem:
            raise PermanentFailure(str(problem)) from None
        except ValueError as problem:
            raise PermanentFailure(
                f"Azure's client does not take the credentials: {azure_login.said(problem)}"
            ) from None
        except AzureError as problem:
            raise TemporaryFailure(f"{where} cannot be reached ({type(problem).__name__})") from None
        return f"{len(parcel.items)} blobs in az://{config['account']}/{config['container']}"


def _client(config: Mapping[str, Any], credentials: Mapping[str, str]) -> Any:
    from azure.core.credentials import AzureSasCredential
    from azure.storage.blob import ContainerClient

    service = (endpoint(config) or f"https://{config['account']}.blob.core.windows.net").rstrip("/")
    credential: Any
    if key := credentials.get("account_key"):
        credential = {"account_name": config["account"], "account_key": key}
    elif token := credentials.get("sas_token"):
        credential = AzureSasCredential(token.lstrip("?"))
    else:
        credential = azure_login.token_credential(credentials, service=service)
    return ContainerClient(
        service,
        config["container"],
        credential=credential,
        connection_timeout=10,
        read_timeout=60,
        retry_total=2,
        initial_backoff=1,
        increment_base=2,
        permit_redirects=False,
    )
