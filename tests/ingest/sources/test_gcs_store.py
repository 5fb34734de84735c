"""Google Cloud Storage: listed and read through the real client, refused when it changed, and a FOCUS export read from it."""

import gzip
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import connection

from ingest import configure, load
from ingest.sources import stores
from ingest.sources.base import SourceUnavailable
from ingest.sources.stores import gcs as gcs_store
from ingest.sources.stores import google_login
from tests import servers
from tests.servers import google_api
from tests.servers.gcs import Gcs

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HEADER = (
    "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingPeriodEnd,"
    "ServiceProviderName,ChargeCategory"
)


@pytest.fixture
def bucket(gcs: Gcs) -> str:
    name = f"bills-{uuid4().hex[:12]}"
    gcs.bucket(name)
    return name


def store(gcs: Gcs, url: str, **credentials: str) -> stores.Store:
    return stores.open_store(url, stores.Options(gcs.endpoint_url), credentials)


def bill(*costs: str, month: str = "2026-10", after: str = "2026-11") -> bytes:
    rows = [f"{cost},USD,{month}-03,{month}-04,{month}-01,{after}-01,Google Cloud,Usage" for cost in costs]
    return "\n".join([HEADER, *rows, ""]).encode()


def billed() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(billed_cost), 0)::text FROM ingest_charge")
        return str(cursor.fetchone()[0])


def key_file(**changed: object) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    fields = {
        "type": "service_account",
        "project_id": "p",
        "private_key": pem.decode(),
        "client_email": "reader@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return orjson.dumps(fields | changed).decode()


def test_it_lists_what_lies_below_the_prefix(gcs: Gcs, bucket: str) -> None:
    for key in ("focus/b.csv", "focus/a.csv", "focus/deep/c.csv", "other/d.csv", "focus/folder/"):
        gcs.put(bucket, key, key.encode())

    found = store(gcs, f"gs://{bucket}/focus").objects()

    assert [(each.key, each.size) for each in found] == [
        ("focus/a.csv", 11),
        ("focus/b.csv", 11),
        ("focus/deep/c.csv", 16),
    ]
    assert len({each.etag for each in found}) == 3 and all(each.modified.tzinfo for each in found)


def test_it_reads_an_object_whole_and_as_a_file_that_is_gone_afterwards(gcs: Gcs, bucket: str) -> None:
    content = bytes(range(256)) * 20_000
    gcs.put(bucket, "large.bin", content)
    opened = store(gcs, f"gs://{bucket}/")
    (listed,) = opened.objects()

    with opened.file(listed.key, etag=listed.etag) as path:
        copied = Path(path).read_bytes()

    assert copied == content == opened.content("large.bin")
    assert not Path(path).exists()


def test_t79_it_refuses_an_object_that_was_written_again_after_it_was_listed(gcs: Gcs, bucket: str) -> None:
    gcs.put(bucket, "a.csv", b"one")
    opened = store(gcs, f"gs://{bucket}/")
    (listed,) = opened.objects()
    gcs.put(bucket, "a.csv", b"two")

    with tempfile.TemporaryFile() as file, pytest.raises(SourceUnavailable, match=r"changed while it was read"):
        opened.copy(listed.key, etag=listed.etag, into=file.fileno())


def test_it_says_so_when_the_server_itself_refuses_another_generation() -> None:
    """Recorded: the emulator takes no conditions."""
    with google_api.started() as api, tempfile.TemporaryFile() as file:
        api.fixed["/download/storage/v1/b/bills/o/a.csv"] = (
            412,
            google_api.refusal(
                412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
            ),
        )

        with pytest.raises(SourceUnavailable, match=r"412.*changed while it was read"):
            store(Gcs(api.address), "gs://bills/").copy("a.csv", etag="7-", into=file.fileno())

    assert [each.query.get("ifGenerationMatch") for each in api.asked] == [["7"]]


def test_it_lists_page_after_page() -> None:
    """Recorded: the emulator has all on one page."""
    listing = "/storage/v1/b/bills/o"

    def page(*names: str, **more: str) -> tuple[int, dict[str, Any]]:
        items = [
            {"name": name, "generation": "7", "md5Hash": "x", "size": "5", "updated": "2026-11-01T00:00:00.5Z"}
            for name in names
        ]
        return 200, {"kind": "storage#objects", "items": items, **more}

    with google_api.started() as api:
        api.fixed[listing] = page("c.csv", "a.csv", nextPageToken="2")
        api.fixed[f"{listing}?pageToken=2"] = page("b.csv")

        found = store(Gcs(api.address), "gs://bills/").objects()

    assert [(each.key, each.etag, each.size) for each in found] == [
        ("a.csv", "7-x", 5),
        ("b.csv", "7-x", 5),
        ("c.csv", "7-x", 5),
    ]


def test_t80_it_does_not_unpack_what_the_server_would_unpack(gcs: Gcs, bucket: str) -> None:
    packed = gzip.compress(bill("1.5"))
    blob = gcs.bucket(bucket).blob("bill.csv")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed, content_type="text/csv")
    opened = store(gcs, f"gs://{bucket}/")
    (listed,) = opened.objects()

    with opened.file(listed.key, etag=listed.etag) as path:
        copied = Path(path).read_bytes()

    assert copied == packed and listed.size == len(packed)


def test_it_says_which_bucket_is_not_there(gcs: Gcs) -> None:
    with pytest.raises(SourceUnavailable, match=r"bucket nowhere.*404.*check the bucket's name"):
        store(gcs, "gs://nowhere/x").objects()


def test_it_says_that_a_server_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_store, "_RETRY_SECONDS", 0.5)

    with pytest.raises(SourceUnavailable, match=r"to list in bucket b"):
        store(Gcs(f"http://127.0.0.1:{servers.free_port()}"), "gs://b/x").objects()


def test_it_does_not_call_an_address_of_the_inside(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "")

    with pytest.raises(SourceUnavailable, match="COSTOBS_PRIVATE_HOSTS"):
        store(gcs, "gs://b/x")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not one of a service account"),
        ('{"type": "external_account", "credential_source": {"executable": {"command": "id"}}}', "service account"),
        ('{"type": "service_account"}', "lacks a part"),
        (key_file(token_uri="http://169.254.169.254/token"), "never called"),
        (key_file(token_uri=7), "not a text"),
        (key_file(private_key="s3cret"), "damaged"),
    ],
)
def test_t81_it_takes_only_keys_of_service_accounts_whose_tokens_come_from_an_allowed_address(
    gcs: Gcs, key: str, says: str
) -> None:
    with pytest.raises(SourceUnavailable, match=says) as refused:
        store(gcs, "gs://b/x", service_account_json=key).objects()

    assert "s3cret" not in str(refused.value) and "PRIVATE KEY" not in str(refused.value)


def test_it_takes_a_key_and_nobody_s_identity_at_an_address_that_is_not_google_s() -> None:
    given = google_login.credentials({"service_account_json": key_file()})
    nobody = google_login.credentials({}, endpoint_url="http://127.0.0.1:1")

    assert given.service_account_email == "reader@p.iam.gserviceaccount.com"  # type: ignore[attr-defined]
    assert type(nobody).__name__ == "AnonymousCredentials"


def test_it_says_what_it_can_see(gcs: Gcs, bucket: str) -> None:
    gcs.put(bucket, "focus/a.csv", b"12345")

    found = list(store(gcs, f"gs://{bucket}/focus").probe())
    empty = list(store(gcs, f"gs://{bucket}/elsewhere").probe())
    missing = list(store(gcs, "gs://nowhere/x").probe())

    assert [(each.state, each.detail) for each in found] == [("ok", "1 objects, 5 bytes"), ("ok", "5 bytes")]
    assert [each.state for each in empty] == ["note"]
    assert [(each.state, each.remedy) for each in missing] == [("missing", "roles/storage.objectViewer on the bucket")]


@pytest.mark.django_db
def test_it_loads_a_focus_export_from_a_bucket_and_takes_its_corrections(gcs: Gcs, bucket: str) -> None:
    config: dict[str, Any] = {"url": f"gs://{bucket}/focus", **gcs.config}
    source_id = configure.create_source(kind="focus_export", name="google", config=config, now=NOW)

    def synced() -> list[tuple[str, int]]:
        return [(each.state, each.rows_loaded) for each in load.sync(source_id=source_id, now=NOW)]

    gcs.put(bucket, "focus/bill.csv", bill("1.25", "0.000000000000000000001"))
    first = synced(), billed()
    gcs.put(bucket, "focus/bill.csv", bill("1.25", "0.000000000000000000001"))
    again = synced(), billed()
    gcs.put(bucket, "focus/bill.csv", bill("1.25", "-0.25", "7"))
    corrected = synced(), billed()
    unchanged = synced(), billed()

    assert first == ([("succeeded", 2)], "1.250000000000000000001")
    # A new generation of the same bytes is a delivery like any other: it replaces the one before it.
    assert again == ([("succeeded", 2)], "1.250000000000000000001")
    assert corrected == ([("succeeded", 3)], "8.00")
    assert unchanged == ([], "8.00")
