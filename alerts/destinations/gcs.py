"""Statements into a Google Cloud Storage bucket."""

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
from ingest.sources.stores import google_login

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_TIMEOUT = (10, 60)
_RETRY_SECONDS = 30


class Gcs(Destination):
    """Each file as one object, over the one of that name when it is sent again. Example configuration:

    {"bucket": "acme-finance", "prefix": "statements"}

    The service account needs storage.objects.create and storage.objects.delete on the bucket (roles/storage.objectUser).
    """

    kind: ClassVar = "gcs"
    title: ClassVar = "Google Cloud Storage"
    settings: ClassVar = (
        Field("bucket", "Bucket", is_needed=True),
        Field("prefix", "Folder", "Objects are called folder/2026-10/v1/statement-….pdf."),
        Field("endpoint_url", "Endpoint", "Only for another address than Google's."),
    )
    secrets: ClassVar = (
        Field(
            "service_account_json",
            "Key file",
            "Of a service account. Leave empty to use this machine's identity.",
            is_long=True,
        ),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        if url := config.get("endpoint_url"):
            checked("endpoint_url", url)
        if credentials.get("service_account_json"):
            try:
                google_login.credentials(credentials)
            except SourceUnavailable as problem:
                raise BadConfig("service_account_json", str(problem)) from None

    def send(self, parcel: Parcel, config: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.retry import DEFAULT_RETRY
        from requests.exceptions import RequestException

        patience: dict[str, Any] = {"retry": DEFAULT_RETRY.with_timeout(_RETRY_SECONDS), "timeout": _TIMEOUT}
        name = config["bucket"]
        try:
            bucket = _client(config, credentials).bucket(name)
            for key, item in names(parcel, config.get("prefix", "")):
                bucket.blob(key).upload_from_string(item.content, content_type=item.media_type, **patience)
        except exceptions.GoogleAPICallError as problem:
            code = int(problem.code) if problem.code else 0
            failure = f"Google Cloud Storage refused to write into {name}: {code}; grant roles/storage.objectUser on the bucket"
            raise (TemporaryFailure if code in {408, 429} or code >= 500 else PermanentFailure)(failure) from None
        except SourceUnavailable as problem:
            raise PermanentFailure(str(problem)) from None
        except ValueError as problem:
            raise PermanentFailure(f"Google's client does not take the bucket {name!r} or its settings") from problem
        except GoogleAuthError as problem:
            raise PermanentFailure(f"Google does not take the credentials ({type(problem).__name__})") from None
        except (exceptions.RetryError, RequestException, OSError) as problem:
            raise TemporaryFailure(f"Google Cloud Storage cannot be reached ({type(problem).__name__})") from None
        return f"{len(parcel.items)} objects in gs://{name}"


def _client(config: Mapping[str, Any], credentials: Mapping[str, str]) -> Any:  # google-cloud-storage ships no types
    from google.cloud import storage  # type: ignore[attr-defined]

    url = endpoint(config)
    own: Any = google_login.credentials(credentials, endpoint_url=url)
    # The readers ask for a token that may only read.
    if hasattr(own, "with_scopes") and getattr(own, "requires_scopes", True) is not None:
        own = own.with_scopes(_SCOPES)
    made = storage.Client(project="none", credentials=own, client_options={"api_endpoint": url} if url else None)
    google_login.stay(made._http)
    made._bucket_metadata_cache = None
    return made
