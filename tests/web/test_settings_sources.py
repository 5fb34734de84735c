"""Settings, sources: connecting, testing, changing and removing them in the browser, and who may."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.test import Client
from django.urls import reverse

from costobs.access import tokens
from costobs.audit.models import AuditEntry
from ingest import backfill, configure, load, queries, source_detail
from ingest.models import Source
from ingest.sources import KINDS
from tests.servers import s3 as s3_server
from tests.web import reading
from tests.web.conftest import NOW, signed_in

pytestmark = pytest.mark.django_db

SECRET = "wJalrXUtnFEMI-K7MDENG"
LONG = '{"type": "service_account", "private_key": "PRIVATE-0123456789"}'
NEW = "/settings/sources/new/focus_export/"
HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    """An administrator."""
    return signed_in("dana@example.com", "admin")


@pytest.fixture
def files(tmp_path: Path, settings: Any) -> Path:
    """The directory that a browser may name."""
    settings.COSTOBS_FILES = tmp_path / "files"
    settings.COSTOBS_FILES.mkdir()
    return tmp_path / "files"


@pytest.fixture(scope="module")
def s3() -> Iterator[s3_server.S3]:
    with s3_server.started() as server:
        server.client().create_bucket(Bucket="bills")
        body = f"{HEADER}\n{charge('1.25')}\n".encode()
        server.client().put_object(Bucket="bills", Key="focus/bill.csv", Body=body)
        yield server


@pytest.fixture
def may_call_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1,localhost")


def charge(cost: str) -> str:
    return (
        "acct,USD,2026-10-01T00:00:00Z,2026-11-01T00:00:00Z,2026-10-03T00:00:00Z,2026-10-04T00:00:00Z,Usage,"
        f'{cost},{cost},{cost},{cost},AWS,AWS,Amazon EC2,i-1,"{{}}"'
    )


def log(files: Path, *, rows: int = 3, bad: int = 1) -> Path:
    told = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10}
    good = [{"event_id": f"e{number}", "occurred_at": "2026-11-20T10:00:00Z", **told} for number in range(rows)]
    path = files / "calls.ndjson"
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in good) + b"not json\n" * bad)
    return path


def a_log(files: Path, **changes: Any) -> int:
    """A source that reads a directory."""
    told: dict[str, Any] = {"kind": "usage_log", "name": "calls", "config": {"path": str(files)}, "credentials": {}}
    return configure.add_source(**{**told, "by": "dana@example.com", "now": NOW, **changes})


def a_bill(s3: s3_server.S3) -> int:
    told = {"url": "s3://bills/focus", **s3.config}
    return configure.add_source(
        kind="focus_export", name="bill", config=told, credentials=s3_server.CREDENTIALS, by="dana", now=NOW
    )


def typed(s3: s3_server.S3 | None = None, **changes: str) -> dict[str, str]:
    """The form of a FOCUS export, filled in."""
    found = {
        "name": "aws bill",
        "config-url": "s3://bills/focus",
        "config-endpoint_url": s3.endpoint_url if s3 else "",
        "config-region": "us-east-1",
        "config-tag_map": "team = squad",
        "config-tag_keys": "product\nowner",
        "secret-access_key_id": "AKIATEST",
        "secret-secret_access_key": SECRET,
        "secret-service_account_json": LONG,
        "act": "add",
    }
    return {**found, **changes}


def written() -> str:
    """Everything the audit log holds."""
    return "\n".join(
        f"{one.act} {one.subject} {one.before} {one.after} {one.reason}" for one in AuditEntry.objects.all()
    )


# --- the list -----------------------------------------------------------------------------------------
def test_it_lists_what_is_connected_and_who_needs_attention(dana: Client, files: Path) -> None:
    a_log(files)
    a_log(files, name="broken", config={"path": str(files / "gone")})
    (result,) = load.sync(source_id=Source.objects.get(name="broken").pk, now=NOW)
    assert result.state == "failed"

    page = reading.shown(dana, "/settings/sources/")

    assert page.context["heading"] == "broken failed; the rest is in order"
    assert reading.column(page.context["sources"], "Source") == ["broken", "calls"]
    words = reading.words(page)
    assert "does not exist" in words and "no data yet" in words and "Connect a source" in words


def test_it_leads_from_nothing_to_the_kinds(dana: Client, ada: Client) -> None:
    assert dana.get("/settings/").headers["Location"] == "/settings/sources/"

    page = reading.shown(dana, "/settings/sources/").content.decode()
    assert "No source is connected yet" in page and 'href="/settings/sources/new/"' in page
    assert 'href="/settings/sources/new/"' in reading.shown(dana, "/sources/").content.decode()
    assert 'href="/settings/sources/new/"' not in reading.shown(ada, "/settings/sources/").content.decode()


def test_it_shows_the_progress_of_a_backfill_in_the_list(dana: Client, files: Path) -> None:
    source_id = a_log(files)
    log(files)
    dana.post(f"/settings/sources/{source_id}/backfill/", {"from": "2026-09-01", "to": "2026-11-20"})
    backfill.run(now=NOW)

    page = reading.shown(dana, "/settings/sources/")

    assert reading.column(page.context["sources"], "Backfill") == ["38 %"]


def test_it_offers_every_kind_with_what_it_delivers(dana: Client) -> None:
    page = reading.shown(dana, "/settings/sources/new/")

    words = reading.words(page)
    for kind in KINDS:
        assert kind.title in words and f"/settings/sources/new/{kind.kind}/" in page.content.decode()
    shown = [one.kind for _title, _words, kinds in page.context["groups"] for one in kinds]
    assert sorted(shown) == sorted(KINDS.names())
    assert all(one.sentence and one.delivers for _title, _words, kinds in page.context["groups"] for one in kinds)


# --- adding -------------------------------------------------------------------------------------------
def test_it_draws_a_form_for_every_kind_with_its_manual_and_grants(dana: Client) -> None:
    for kind in KINDS:
        page = reading.shown(dana, f"/settings/sources/new/{kind.kind}/")
        words = reading.words(page)

        assert "Manual" in words, kind.kind
        assert all(" ".join(grant.split()) in words for grant in kind.grants), kind.kind
        for secret in kind.secrets:
            assert f'name="secret-{secret.name}"' in page.content.decode()


def test_it_names_a_kind_that_there_is_not(dana: Client) -> None:
    assert "no source of kind" in reading.words(reading.shown(dana, "/settings/sources/new/nothing/", 404))


def test_it_adds_a_source(dana: Client) -> None:
    answer = dana.post(NEW, typed())

    source = Source.objects.get()
    assert answer.headers["Location"] == f"/settings/sources/{source.pk}/"
    assert (source.kind, source.name) == ("focus_export", "aws bill")
    assert source.config == {
        "url": "s3://bills/focus",
        "region": "us-east-1",
        "tag_map": {"team": "squad"},
        "tag_keys": ["product", "owner"],
    }
    assert source.credentials == {
        "access_key_id": "AKIATEST",
        "secret_access_key": SECRET,
        "service_account_json": LONG,
    }
    entry = AuditEntry.objects.get(act="source.added")
    assert (entry.actor, entry.subject) == ("dana@example.com", "source:focus_export/aws bill")


def test_it_keeps_what_was_typed_and_names_every_mistake(dana: Client) -> None:
    page = dana.post(NEW, typed(name="", **{"config-tag_map": "team"}))

    assert page.status_code == 400
    words = reading.words(page)
    assert "2 things to correct" in words or "1 thing to correct" in words
    assert "such as team = squad; found 'team'" in words and "enter them again" in words
    assert 'value="s3://bills/focus"' in page.content.decode()
    assert not Source.objects.exists()


def test_it_never_writes_a_secret_into_a_page_a_message_or_the_log(
    dana: Client, s3: s3_server.S3, may_call_this_machine: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="costobs")
    pages = [
        dana.post(NEW, typed(s3, name="")),
        dana.post(NEW, typed(s3, act="test")),
        dana.post(NEW, typed(s3, act="test"), headers={"HX-Request": "true"}),
        dana.post(NEW, typed(s3), follow=True),
    ]
    source_id = Source.objects.get().pk
    own = f"/settings/sources/{source_id}/"
    pages += [dana.get(own), dana.get(f"{own}edit/"), dana.get(f"{own}rotate/"), dana.get(f"{own}remove/")]
    pages += [dana.post(f"{own}rotate/", {"secret-secret_access_key": f"{SECRET}2"}, follow=True)]
    pages += [dana.post(f"{own}edit/", typed(s3, **{"config-url": ""}), follow=True), dana.get("/settings/sources/")]

    for page in pages:
        text = page.content.decode()
        assert SECRET not in text and "AKIATEST" not in text and "PRIVATE-0123456789" not in text
    assert SECRET not in written() and "PRIVATE" not in written()
    assert SECRET not in caplog.text


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../secret", "file:///etc/passwd", "etc/passwd"])
def test_it_reads_no_file_outside_its_directory(dana: Client, files: Path, path: str) -> None:
    told = {"name": "log", "config-path": path.replace("{root}", str(files))}

    added = dana.post("/settings/sources/new/usage_log/", {**told, "act": "add"})
    tested = dana.post("/settings/sources/new/usage_log/", {**told, "act": "test"}, headers={"HX-Request": "true"})

    assert added.status_code == 400
    for page in (added, tested):
        assert "COSTOBS_FILES" in reading.words(page) and "root:" not in page.content.decode()
    assert not Source.objects.exists()


def test_it_adds_a_file_of_its_directory(dana: Client, files: Path) -> None:
    log(files)

    dana.post("/settings/sources/new/usage_log/", {"name": "log", "config-path": str(files), "act": "add"})

    (result,) = load.sync(source_id=Source.objects.get().pk, now=NOW)
    assert (result.state, result.rows_loaded) == ("succeeded", 3)


# --- testing ------------------------------------------------------------------------------------------
def test_it_says_what_can_be_seen_before_anything_is_saved(
    dana: Client, s3: s3_server.S3, may_call_this_machine: None
) -> None:
    page = dana.post(NEW, typed(s3, act="test"), headers={"HX-Request": "true"})

    words = reading.words(page)
    assert page.status_code == 200 and "<html" not in page.content.decode()
    assert "It works" in words and "1 objects" in words and "Missing" not in words
    assert not Source.objects.exists()
    assert AuditEntry.objects.get().act == "source.tested"


def test_it_says_what_is_missing_and_what_to_do(dana: Client, s3: s3_server.S3, may_call_this_machine: None) -> None:
    page = dana.post(NEW, typed(s3, act="test", **{"config-url": "s3://not-there/focus"}))

    words = reading.words(page)
    assert page.status_code == 200
    assert "missing" in words and "NoSuchBucket" in words and "What to do:" in words and "s3:ListBucket" in words
    assert "enter them again before you save" in words
    assert not Source.objects.exists()


def test_it_does_not_call_this_machine_unless_the_operator_lets_it(dana: Client, s3: s3_server.S3) -> None:
    page = dana.post(NEW, typed(s3, act="test"), headers={"HX-Request": "true"})

    assert "COSTOBS_PRIVATE_HOSTS" in reading.words(page)


def test_it_tests_a_source_with_the_credentials_it_has(
    dana: Client, s3: s3_server.S3, may_call_this_machine: None
) -> None:
    own = f"/settings/sources/{a_bill(s3)}/"

    part = dana.post(f"{own}test/", headers={"HX-Request": "true"})
    whole = dana.post(f"{own}test/")
    edited = dana.post(f"{own}edit/", typed(s3, act="test", **{"secret-access_key_id": ""}))

    assert "It works" in reading.words(part) and "<html" not in part.content.decode()
    assert "It works" in reading.words(whole) and "Newest loads" in reading.words(whole)
    assert "It works" in reading.words(edited)
    assert source_detail.source(source_id=Source.objects.get().pk, now=NOW).secrets_set == (  # type: ignore[union-attr]
        "access_key_id",
        "secret_access_key",
    )


# --- one source ---------------------------------------------------------------------------------------
def test_it_shows_where_every_row_of_every_file_went(dana: Client, files: Path) -> None:
    log(files, rows=5, bad=2)
    source_id = a_log(files)
    list(load.sync(source_id=source_id, now=NOW))

    page = reading.shown(dana, f"/settings/sources/{source_id}/")

    table = page.context["files"]
    parts = ("Loaded or known", "Refused with it", "Quarantined", "Skipped")
    for row in range(len(table.rows)):
        read = reading.amount(reading.column(table, "Rows read")[row])
        assert read == sum(reading.amount(reading.column(table, part)[row]) for part in parts)
    assert [reading.total(table, part) for part in ("Rows read", *parts)] == ["7", "5", "0", "2", "0"]
    (line,) = queries.loads(source_id=source_id)
    assert line.rows_read == line.rows_loaded + line.rows_duplicate + line.rows_quarantined + line.rows_skipped
    csv = dana.get(f"/settings/sources/{source_id}/quarantined.csv").content.decode().splitlines()
    assert len(csv) == 3 and "not json" in csv[1]
    one = reading.shown(dana, f"/sources/loads/{line.id}/")
    assert "7 rows read, 5 loaded, 2 quarantined" in reading.words(one)
    assert len(dana.get(f"/sources/quarantined.csv?load={line.id}").content.decode().splitlines()) == 3
    assert "no such load" in reading.words(reading.shown(dana, "/sources/loads/999999/", 404))


def test_it_shows_that_a_refused_bill_took_its_good_rows_with_it(dana: Client, tmp_path: Path) -> None:
    source_id = configure.create_source(kind="focus_export", name="bill", now=NOW)
    path = tmp_path / "bill.csv"
    path.write_text("\n".join([HEADER, charge("1.00"), charge("NaN"), charge("2.00"), ""]))
    list(load.from_paths(source_id=source_id, paths=[str(path)], now=NOW))

    table = reading.shown(dana, f"/settings/sources/{source_id}/").context["files"]

    assert [reading.total(table, part) for part in ("Rows read", "Loaded or known", "Refused with it", "Quarantined")] == [
        "3", "0", "2", "1",
    ]  # fmt: skip


def test_it_shows_the_deliveries_of_a_bill_with_their_money(
    dana: Client, s3: s3_server.S3, may_call_this_machine: None
) -> None:
    source_id = a_bill(s3)
    list(load.sync(source_id=source_id, now=NOW))

    page = reading.shown(dana, f"/settings/sources/{source_id}/")

    table = page.context["deliveries"]
    assert reading.column(table, "Period") == ["Oct 2026"]
    assert reading.column(table, "Billed, USD") == ["$1.25"] == [reading.total(table, "Billed, USD")]
    words = reading.words(page)
    assert "Access key ID, Secret access key: set on 21 Nov 2026, encrypted, never shown." in words
    assert "the last 45 days are read again" in words


def test_it_tells_where_pushed_rows_are_sent(dana: Client) -> None:
    for kind in KINDS:
        if not kind.is_pushed:
            continue
        source_id = configure.create_source(kind=kind.kind, name="it's pushed", now=NOW)
        words = reading.words(reading.shown(dana, f"/settings/sources/{source_id}/"))

        assert "Address http" in words and ("curl -H" in words or "export OTEL_" in words), kind.kind
        assert f"costobs token create it-s-pushed --grant ingest --source-kind {kind.kind}" in words, kind.kind
        assert "Start backfill" not in words


def test_it_changes_the_settings(dana: Client, files: Path) -> None:
    source_id = a_log(files)

    bad = dana.post(f"/settings/sources/{source_id}/edit/", {"config-path": "/etc", "act": "save"})
    good = dana.post(
        f"/settings/sources/{source_id}/edit/",
        {"config-path": str(files), "config-provider": "openai", "act": "save"},
        follow=True,
    )

    assert bad.status_code == 400 and "COSTOBS_FILES" in reading.words(bad)
    assert "where it was read up to stays" in reading.words(good)
    assert Source.objects.get().config == {"path": str(files), "provider": "openai"}
    assert 'value="openai"' in dana.get(f"/settings/sources/{source_id}/edit/").content.decode()


def test_it_pauses_resumes_and_reads_now(dana: Client, files: Path) -> None:
    source_id = a_log(files)
    Source.objects.update(last_read_at=NOW)
    own = f"/settings/sources/{source_id}/"

    assert queries.due_sources(now=NOW) == []
    dana.post(f"{own}read/")
    assert queries.due_sources(now=NOW) == [source_id]
    assert "is paused" in reading.words(dana.post(f"{own}pause/", follow=True))
    assert queries.due_sources(now=NOW) == []
    assert "is read again" in reading.words(dana.post(f"{own}pause/", follow=True))

    acts = list(AuditEntry.objects.order_by("pk").values_list("act", flat=True))
    assert acts == ["source.added", "source.read_asked", "source.paused", "source.resumed"]


def test_it_rotates_credentials(dana: Client, s3: s3_server.S3) -> None:
    own = f"/settings/sources/{a_bill(s3)}/"

    assert "at least one new" in reading.words(dana.post(f"{own}rotate/", {"secret-access_key_id": ""}))
    page = dana.post(f"{own}rotate/", {"secret-secret_access_key": "new one", "forget": ["access_key_id"]}, follow=True)

    assert "Replaced: Access key ID, Secret access key" in reading.words(page)
    assert Source.objects.get().credentials == {"secret_access_key": "new one"}
    assert "new one" not in page.content.decode()


# --- the past -----------------------------------------------------------------------------------------
def test_it_reads_the_past_and_shows_how_far_it_is(dana: Client, files: Path) -> None:
    log(files)
    source_id = a_log(files)
    own = f"/settings/sources/{source_id}/"

    page = dana.post(f"{own}backfill/", {"from": "2026-09-01", "to": "2026-11-20"}, follow=True)
    assert "begins within seconds" in reading.words(page) and "Cancel backfill" in reading.words(page)
    assert 'hx-trigger="every 2s"' in page.content.decode()
    backfill.run(now=NOW)
    card = reading.shown(dana, f"{own}backfill/")
    assert "<html" not in card.content.decode() and 'value="38"' in card.content.decode()
    assert "read back to 21 Oct 2026, 3 rows of 1 file or batch, 1 quarantined" in reading.words(card)
    while backfill.run(now=NOW) is not None:
        continue

    done = dana.get(f"{own}backfill/").content.decode()
    assert "Done" in done and "hx-trigger" not in done
    # A reload says the same: nothing of it lives in the page.
    assert "3 rows of 1 file or batch" in reading.words(reading.shown(dana, own))


def test_it_cancels_a_backfill_and_lets_it_go_on(dana: Client, files: Path) -> None:
    own = f"/settings/sources/{a_log(files)}/"
    dana.post(f"{own}backfill/", {"from": "2026-09-01", "to": "2026-11-20"})

    assert "It is cancelled" in reading.words(dana.post(f"{own}backfill/cancel/", follow=True))
    assert "no backfill to cancel" in reading.words(dana.post(f"{own}backfill/cancel/", follow=True))
    assert "Cancelled" in reading.words(dana.get(f"{own}backfill/"))
    assert "goes on where it was" in reading.words(dana.post(f"{own}backfill/retry/", follow=True))
    assert dana.post(f"{own}backfill/burn/").status_code == 404


def test_it_shows_why_a_backfill_failed(dana: Client, files: Path) -> None:
    source_id = a_log(files, config={"path": str(files / "gone")})
    own = f"/settings/sources/{source_id}/"
    dana.post(f"{own}backfill/", {"from": "2026-09-01", "to": "2026-11-20"})

    backfill.run(now=NOW)

    words = reading.words(dana.get(f"{own}backfill/"))
    assert "It stopped" in words and "does not exist" in words and "Go on where it was" in words


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("", "2026-11-01", "such as 2026-01-31"),
        ("2026-11-02", "2026-11-01", "before the last"),
        ("9999-12-31", "9999-12-31", "such as"),
    ],
)
def test_it_refuses_a_span_that_is_none(dana: Client, files: Path, first: str, last: str, words: str) -> None:
    own = f"/settings/sources/{a_log(files)}/"

    page = dana.post(f"{own}backfill/", {"from": first, "to": last}, follow=True)

    assert words in reading.words(page)
    assert source_detail.open_backfills() == {}


# --- removing -----------------------------------------------------------------------------------------
def test_it_revokes_the_tokens_of_a_removed_source(dana: Client, files: Path) -> None:
    source_id = a_log(files)
    tokens.create(name="app", grants=["ingest"], created_by="dana", now=NOW, source_id=source_id)
    own = f"/settings/sources/{source_id}/remove/"

    assert "Tokens that push to it are revoked: app." in reading.words(dana.get(own))
    dana.post(own, {"confirm": "calls"})

    assert tokens.of_source(source_id=source_id) == []


# --- who may ------------------------------------------------------------------------------------------
POSTS = ("edit/", "test/", "pause/", "read/", "rotate/", "remove/", "backfill/", "backfill/cancel/", "backfill/retry/")


def test_it_lets_finance_look_and_change_nothing(ada: Client, files: Path) -> None:
    source_id = a_log(files)
    own = f"/settings/sources/{source_id}/"

    for path in ("/settings/sources/", own, f"{own}backfill/", f"{own}quarantined.csv"):
        page = reading.shown(ada, path)
        assert not re.search(r'<form[^>]*method="post"[^>]*action="/settings', page.content.decode()), path
    for path in (f"{own}edit/", f"{own}rotate/", f"{own}remove/", "/settings/sources/new/", NEW):
        assert "Only administrators" in reading.words(reading.shown(ada, path, 403))
    for path in POSTS:
        assert ada.post(f"{own}{path}", {"confirm": "calls"}).status_code == 403, path
    assert ada.post(NEW, typed()).status_code == 403
    assert list(Source.objects.values_list("name", "is_active")) == [("calls", True)]


def test_it_shows_a_lead_and_someone_without_a_role_nothing(ben: Client, cleo: Client, files: Path) -> None:
    source_id = a_log(files)
    own = f"/settings/sources/{source_id}/"

    for client, words in ((ben, "You may not do this"), (cleo, "no role")):
        for path in (
            "/settings/",
            "/settings/sources/",
            "/settings/sources/new/",
            NEW,
            own,
            f"{own}backfill/",
            f"{own}quarantined.csv",
        ):
            page = reading.shown(client, path, 403)
            assert words in reading.words(page) and "calls" not in reading.words(page)
        for path in POSTS:
            assert client.post(f"{own}{path}", {"confirm": "calls"}).status_code == 403, path
    assert Source.objects.count() == 1 and AuditEntry.objects.count() == 1


def test_it_sends_a_stranger_to_the_sign_in(client: Client, files: Path) -> None:
    assert client.get("/settings/sources/").headers["Location"].startswith("/sign-in/")


def test_it_takes_no_post_without_its_token(files: Path, clock: None) -> None:
    signed_in("eve@example.com", "admin")
    source_id = a_log(files)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = Client().cookies
    user = signed_in("dana@example.com", "admin")
    strict.cookies = user.cookies

    for path in POSTS:
        assert strict.post(f"/settings/sources/{source_id}/{path}", {"confirm": "calls"}).status_code == 403, path
    assert strict.post(NEW, typed()).status_code == 403
    assert Source.objects.get().is_active


def test_it_does_nothing_by_a_get(dana: Client, files: Path) -> None:
    own = f"/settings/sources/{a_log(files)}/"

    for path in ("test/", "pause/", "read/", "backfill/cancel/"):
        assert dana.get(f"{own}{path}").status_code == 405
    assert Source.objects.get().is_active


def test_it_says_that_a_source_is_gone(dana: Client) -> None:
    for path in ("", "edit/", "rotate/", "remove/", "backfill/"):
        assert "no such source" in reading.words(reading.shown(dana, f"/settings/sources/999999/{path}", 404))
    for path in ("test/", "pause/", "read/"):
        assert dana.post(f"/settings/sources/999999/{path}").status_code == 404


def test_it_leaves_the_sample_to_the_sample(dana: Client) -> None:
    source_id = configure.create_source(kind="usage_log", name="sample calls", is_sample=True, now=NOW)
    own = f"/settings/sources/{source_id}/"

    assert "belongs to the sample" in reading.words(reading.shown(dana, own))
    for path in ("edit/", "rotate/", "remove/", "pause/"):
        assert dana.post(f"{own}{path}", {"confirm": "sample calls"}).status_code == 404


def test_it_knows_its_addresses() -> None:
    own = {"source_id": 1}
    assert reverse("settings") == "/settings/"
    assert reverse("settings_sources") == "/settings/sources/"
    assert reverse("settings_source_new") == "/settings/sources/new/"
    assert reverse("settings_source_add", args=["dcgm"]) == "/settings/sources/new/dcgm/"
    assert reverse("settings_source", kwargs=own) == "/settings/sources/1/"
    assert reverse("load", args=[1]) == "/sources/loads/1/"
