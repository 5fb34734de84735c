"""Azure Blob Storage: what may be listed and read, with which credentials, and what a person is told when it may not."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure import identity
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from ingest import configure, load
from ingest.models import Charge, Delivery
from ingest.sources import stores
from ingest.sources.base import SourceUnavailable, Window
from ingest.sources.stores import azure_login
from tests.servers.azurite import ACCOUNT, CREDENTIALS, KEY, Azurite

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ALWAYS = Window(datetime(2026, 1, 1, tzinfo=UTC), NOW)
HEADER = (
    "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingPeriodEnd"
)
PERIOD = "20261101-20261130"
RUN = "focus/daily/20261101-20261130/7d1f"


def store(azurite: Azurite, url: str, credentials: dict[str, str] | None = None) -> stores.Store:
    return stores.open_store(url, stores.Options(**azurite.config), CREDENTIALS if credentials is None else credentials)


def focus(*costs: str) -> bytes:
    rows = (
        f"{cost},{cost},EUR,2026-11-0{day},2026-11-0{day + 1},2026-11-01,2026-12-01"
        for day, cost in enumerate(costs, 1)
    )
    return gzip.compress("\n".join([HEADER, *rows, ""]).encode())


def delivered(*costs: str, run: str, submitted: str, rows: int | None = None) -> dict[str, bytes]:
    """A run of an export in the layout of Cost Management: its partition and, last, the manifest that lists it."""
    folder = f"focus/daily/{PERIOD}/{run}"
    count = len(costs) if rows is None else rows
    manifest = {
        "blobCount": 1,
        "dataRowCount": count,
        "exportConfig": {
            "exportName": "daily",
            "resourceId": "/subscriptions/s1",
            "type": "FocusCost",
            "dataVersion": "1.0",
        },
        "deliveryConfig": {"dataOverwriteBehavior": "CreateNewReport", "fileFormat": "Csv", "compressionMode": "gzip"},
        "runInfo": {
            "runId": run,
            "submittedTime": submitted,
            "startDate": "2026-11-01T00:00:00",
            "endDate": "2026-11-30T00:00:00",
        },
        "blobs": [{"blobName": f"{folder}/part_0_0001.csv.gz", "byteCount": 1, "dataRowCount": count}],
    }
    return {f"{folder}/part_0_0001.csv.gz": focus(*costs), f"{folder}/manifest.json": orjson.dumps(manifest)}


def test_it_lists_below_the_prefix_and_reads(azurite: Azurite, tmp_path: Path) -> None:
    azurite.put("listing", {"a/1.csv": b"one", "a/b/2.csv": b"two!", "c.csv": b"other"})
    below = store(azurite, f"az://{ACCOUNT}/listing/a/")

    found = below.objects()

    assert [(each.key, each.size) for each in found] == [("a/1.csv", 3), ("a/b/2.csv", 4)]
    assert below.content("a/1.csv") == b"one"
    with below.file("a/b/2.csv", etag=found[1].etag) as path:
        assert Path(path).read_bytes() == b"two!"
    assert not Path(path).exists()
    assert [each.key for each in below.objects("a/b")] == ["a/b/2.csv"]


def test_it_copies_a_blob_of_several_blocks_whole(azurite: Azurite) -> None:
    content = bytes(range(256)) * 40_000  # 10 MB, read in blocks of 4
    azurite.put("large", {"big.bin": content})
    held = store(azurite, f"az://{ACCOUNT}/large/")

    with held.file("big.bin", etag=held.objects()[0].etag) as path:
        copied = Path(path).read_bytes()

    assert copied == content


def test_t100_it_refuses_a_blob_that_changed_since_it_was_listed(azurite: Azurite) -> None:
    azurite.put("changing", {"a.csv": b"first"})
    held = store(azurite, f"az://{ACCOUNT}/changing/")
    listed = held.objects()[0]
    azurite.put("changing", {"a.csv": b"other"})

    with pytest.raises(SourceUnavailable, match="changed while it was read"), held.file("a.csv", etag=listed.etag):
        pass


def test_t101_it_does_not_take_folders_of_a_hierarchical_account_for_blobs(azurite: Azurite) -> None:
    azurite.put("folders", {"a/1.csv": b"one"})
    container = azurite.client().get_container_client("folders")
    container.upload_blob("a", b"", metadata={"hdi_isfolder": "true"})

    found = store(azurite, f"az://{ACCOUNT}/folders/").objects()

    assert [each.key for each in found] == ["a/1.csv"]


def test_it_reads_with_a_shared_access_signature(azurite: Azurite) -> None:
    azurite.put("signed", {"a.csv": b"one"})
    token = signature("signed", read=True, list=True)

    held = store(azurite, f"az://{ACCOUNT}/signed/", {"sas_token": "?" + token})

    assert [each.key for each in held.objects()] == ["a.csv"]
    assert held.content("a.csv") == b"one"


def test_it_says_which_right_a_signature_lacks_and_keeps_it_secret(azurite: Azurite) -> None:
    azurite.put("listonly", {"a.csv": b"one"})
    token = signature("listonly", list=True)

    found = list(store(azurite, f"az://{ACCOUNT}/listonly/", {"sas_token": token}).probe())

    assert [(each.subject, each.state) for each in found] == [
        (f"List az://{ACCOUNT}/listonly/", "ok"),
        ("Read a.csv", "missing"),
    ]
    assert "Storage Blob Data Reader on the container" in found[1].remedy
    assert "sig=" not in found[1].detail and token not in found[1].detail


@pytest.mark.parametrize(
    ("container", "credentials", "told"),
    [
        ("none-such", CREDENTIALS, "ContainerNotFound; check the names"),
        ("probing", {"account_key": "d3Jvbmc="}, "AuthorizationFailure; grant the role Storage Blob Data Reader"),
        ("probing", {"account_key": "not base64"}, "is not a key"),
        ("probing", {"tenant_id": "t", "client_id": "c"}, "needs client_secret too"),
        # A bearer token is never sent over plain http.
        ("probing", {"access_token": "abc"}, "cannot be reached"),
    ],
)
def test_it_says_what_to_do_when_it_may_not_read(
    azurite: Azurite, container: str, credentials: dict[str, str], told: str
) -> None:
    azurite.put("probing", {"a.csv": b"one"})

    found = list(store(azurite, f"az://{ACCOUNT}/{container}/", credentials).probe())

    assert [each.state for each in found] == ["missing"]
    assert told in found[0].detail
    assert all(secret not in found[0].detail for secret in credentials.values() if len(secret) > 2)


@pytest.mark.parametrize(
    "url", ["az://account", "az://account/", "az://evil.example/c/p", "az://ACC/c", "az://a@b/c/p"]
)
def test_it_refuses_an_address_that_is_no_container(url: str) -> None:
    with pytest.raises(SourceUnavailable, match="expected az://account/container/prefix"):
        stores.open_store(url, stores.Options(), CREDENTIALS)


def test_it_asks_the_public_address_of_the_account_when_no_other_is_given() -> None:
    held: Any = stores.open_store("az://bills2026/exports/daily", stores.Options(), CREDENTIALS)

    assert held._service() == "https://bills2026.blob.core.windows.net"
    assert (held.name, held.prefix) == ("exports", "daily")


@pytest.mark.parametrize(
    ("credentials", "kind"),
    [
        ({"tenant_id": "t", "client_id": "c", "client_secret": "s"}, identity.ClientSecretCredential),
        ({}, identity.DefaultAzureCredential),
    ],
)
def test_it_logs_in_as_a_service_principal_or_as_this_machine(credentials: dict[str, str], kind: type[Any]) -> None:
    found = azure_login.token_credential(credentials, service="https://bills.blob.core.chinacloudapi.cn")

    assert isinstance(found, kind)


def test_it_says_nothing_of_a_signature_in_an_error() -> None:
    text = azure_login.said(
        OSError("no way to https://a.blob.core.windows.net/c?restype=container&sig=abc%3D (refused)")
    )

    assert text == "no way to https://a.blob.core.windows.net/c?… (refused)"


def test_it_does_not_call_an_endpoint_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "")

    with pytest.raises(SourceUnavailable, match="COSTOBS_PRIVATE_HOSTS"):
        stores.open_store(f"az://{ACCOUNT}/c/", stores.Options(endpoint_url="http://127.0.0.1:1/x"), CREDENTIALS)


@pytest.mark.django_db
def test_it_loads_a_focus_export_and_its_corrections(azurite: Azurite) -> None:
    azurite.put("focus", delivered("1.10", "2.25", run="run1", submitted="2026-11-03T06:00:00Z"))
    config = {"url": f"az://{ACCOUNT}/focus/focus/daily", **azurite.config}
    source_id = configure.create_source(kind="focus_export", name="az", config=config, credentials=CREDENTIALS, now=NOW)

    first = list(load.sync(source_id=source_id, now=NOW))
    again = list(load.sync(source_id=source_id, now=NOW))
    azurite.put("focus", delivered("1.10", "2.20", "0.333", run="run2", submitted="2026-11-04T06:00:00Z"))
    corrected = list(load.sync(source_id=source_id, now=NOW + timedelta(days=1)))

    assert [(each.state, each.rows_loaded) for each in first] == [("succeeded", 2)]
    assert again == []
    assert [(each.state, each.rows_loaded) for each in corrected] == [("succeeded", 3)]
    assert sum(Charge.objects.values_list("billed_cost", flat=True)) == Decimal("3.633")
    states = Delivery.objects.order_by("pk").values_list("run_id", "state", "export")
    assert list(states) == [
        ("run1", "replaced", "subscriptions/s1"),
        ("run2", "current", "subscriptions/s1"),
    ]


@pytest.mark.django_db
def test_it_refuses_a_focus_export_that_lacks_rows(azurite: Azurite) -> None:
    azurite.put("focus-short", delivered("1.10", "2.25", run="run1", submitted="2026-11-03T06:00:00Z", rows=3))
    config = {"url": f"az://{ACCOUNT}/focus-short/", **azurite.config}
    source_id = configure.create_source(kind="focus_export", name="az", config=config, credentials=CREDENTIALS, now=NOW)

    refused = list(load.sync(source_id=source_id, now=NOW))

    assert [each.state for each in refused] == ["refused"]
    assert "says 3 rows, found 2 (difference -1)" in refused[0].error
    assert Charge.objects.count() == 0


def signature(container: str, **permissions: bool) -> str:
    until = datetime(2100, 1, 1, tzinfo=UTC)
    token: str = generate_container_sas(
        ACCOUNT, container, account_key=KEY, permission=ContainerSasPermissions(**permissions), expiry=until
    )
    return token
