"""Where delivered files lie: S3, Google Cloud Storage, Azure Blob Storage, behind one small contract."""

import importlib
from collections.abc import Mapping

from ingest.sources.base import Secret
from ingest.sources.stores.base import Object, Options, Store, listing_hash

# Scheme -> the module and class that reads it. Imported when used: a vendor's client library takes a second to import.
_STORES = {
    "s3": ("ingest.sources.stores.s3", "S3"),
    "gs": ("ingest.sources.stores.gcs", "Gcs"),
    "az": ("ingest.sources.stores.blob", "Blob"),
}

SECRETS = (
    Secret("access_key_id", "S3: of a user that may only read the bucket. Leave empty to use this machine's role."),
    Secret("secret_access_key", "S3: shown once, when the access key is made."),
    Secret("session_token", "S3: only with temporary keys."),
    Secret("service_account_json", "Google Cloud Storage: the key file of a service account.", is_long=True),
    Secret("account_key", "Azure Blob: one of the two keys of the storage account."),
    Secret("sas_token", "Azure Blob: a shared access signature with read and list on the container."),
    Secret("tenant_id", "Azure Blob: of the service principal, instead of a key."),
    Secret("client_id", "Azure Blob: of the service principal."),
    Secret("client_secret", "Azure Blob: of the service principal."),
)


def is_remote(url: str) -> bool:
    """Whether an address is one of a store, rather than a path of this machine."""
    return url.partition("://")[0] in _STORES


def open_store(url: str, options: Options, credentials: Mapping[str, str]) -> Store:
    """The store behind an address: s3://bucket/prefix, gs://bucket/prefix or az://account/container/prefix."""
    module, name = _STORES[url.partition("://")[0]]
    store: Store = getattr(importlib.import_module(module), name)(url, options, credentials)
    return store


__all__ = ["SECRETS", "Object", "Options", "Store", "is_remote", "listing_hash", "open_store"]
