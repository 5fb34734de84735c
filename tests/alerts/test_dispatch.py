"""Statements that leave by themselves: once for each month, to every kind of destination, whatever dies in between."""

import base64
import email
import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from google.auth.credentials import AnonymousCredentials

from alerts import dispatch, schedules
from alerts.destinations import KINDS
from alerts.destinations.base import BadConfig, Item, Parcel, PermanentFailure, TemporaryFailure
from alerts.models import StatementDispatch, StatementSchedule
from attribution.models import PeriodBook, RulesetVersion
from costobs.audit.models import AuditEntry
from costobs.kernel import secrets
from tests.alerts.conftest import Books, at_once, make_books
from tests.alerts.receivers import Mailbox, mail_server
from tests.servers import azurite, gcs, s3

BY = "dana@example.com"
MONTH = date(2026, 10, 1)
BEFORE = datetime(2026, 11, 1, 8, tzinfo=UTC)
CLOSED = datetime(2026, 11, 5, 9, tzinfo=UTC)
NOW = datetime(2026, 11, 5, 10, tzinfo=UTC)
SECRET = "a secret of the receiver"


@dataclass
class Receiver:
    """A webhook that keeps what it gets; `answers` are used up first, then 200."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/statements"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.posts.append((dict(self.headers), body))
            self.send_response(state.answers.pop(0) if state.answers else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def october(books: Books) -> Books:
    books.spend(date(2026, 10, 2), "120.335", team="search", basis="billed")
    books.spend(date(2026, 10, 3), "80", team="support", basis="billed")
    return books


def close(version: int = 1, at: datetime = CLOSED) -> None:
    PeriodBook.objects.update_or_create(
        month=MONTH,
        defaults={
            "state": "closed",
            "version": version,
            "closed_at": at,
            "ruleset": RulesetVersion.objects.get(is_current=True),
        },
    )


def plan(destination: str = "webhook", **changes: Any) -> schedules.Plan:
    given: dict[str, Any] = {
        "name": "to finance",
        "trigger": "closed",
        "day_of_month": None,
        "cost_centres": [],
        "formats": ["csv", "json"],
        "cost": "effective",
        "destination": destination,
        "config": {},
        "credentials": {"secret": SECRET} if destination == "webhook" else {},
    }
    return schedules.Plan(**given | changes)


def hook(receiver: Receiver, **changes: Any) -> int:
    return schedules.create(plan=plan(config={"url": receiver.url}, **changes), by=BY, now=BEFORE)


def states() -> list[tuple[int, str]]:
    return list(StatementDispatch.objects.order_by("pk").values_list("version", "state"))


def test_it_sends_a_month_once_when_it_closes(october: Books, receiver: Receiver) -> None:
    hook(receiver)
    before = dispatch.run(now=NOW)
    close()

    first, again = dispatch.run(now=NOW), dispatch.run(now=NOW + timedelta(hours=1))

    assert (before.planned, first.planned, first.sent, again) == (0, 1, 1, dispatch.Dispatched(0, 0, 0, 0))
    assert len(receiver.posts) == 1
    assert states() == [(1, "sent")]


def test_it_sends_the_next_version_when_a_month_closes_again(october: Books, receiver: Receiver) -> None:
    hook(receiver)
    close()
    dispatch.run(now=NOW)
    close(version=2, at=NOW + timedelta(days=1))

    dispatch.run(now=NOW + timedelta(days=1))

    assert states() == [(1, "sent"), (2, "sent")]
    assert [orjson.loads(body)["key"].rpartition("-")[2] for _, body in receiver.posts] == ["v1", "v2"]


def test_it_sends_nothing_that_closed_before_it_was_set_up(october: Books, receiver: Receiver) -> None:
    close(at=BEFORE - timedelta(days=1))
    hook(receiver)

    assert dispatch.run(now=NOW).planned == 0


def test_it_signs_what_it_posts_and_gives_the_checksum_of_each_file(october: Books, receiver: Receiver) -> None:
    number = hook(receiver, cost_centres=["", "4410"])
    close()
    dispatch.run(now=NOW)

    ((headers, body),) = receiver.posts
    stamp, _, made = headers["X-Costobs-Signature"].partition(",v1=")
    seconds = stamp.removeprefix("t=")
    assert made == hmac.new(SECRET.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert int(seconds) == int(NOW.timestamp())
    told = orjson.loads(body)
    assert headers["Idempotency-Key"] == told["key"] == f"costobs-{number}-2026-10-v1"
    assert (told["month"], told["kind"], len(told["files"])) == ("2026-10", "chargeback", 4)
    for one in told["files"]:
        assert hashlib.sha256(base64.b64decode(one["content"])).hexdigest() == one["sha256"]
    assert SECRET not in body.decode()
    kept = StatementDispatch.objects.get().files
    assert [one["sha256"] for one in kept] == [one["sha256"] for one in told["files"]]


def test_it_sends_showback_on_its_day_of_the_next_month(october: Books, receiver: Receiver) -> None:
    hook(receiver, trigger="monthly", day_of_month=6)

    early = dispatch.run(now=NOW)
    due = dispatch.run(now=NOW + timedelta(days=1))
    later = dispatch.run(now=NOW + timedelta(days=9))

    assert (early.planned, due.sent, later.planned) == (0, 1, 0)
    (_, body) = receiver.posts[0]
    assert orjson.loads(body)["kind"] == "showback"
    assert states() == [(0, "sent")]


def test_it_tries_again_with_longer_pauses_and_the_same_key(october: Books, receiver: Receiver) -> None:
    hook(receiver)
    close()
    receiver.answers = [503, 429]

    first = dispatch.run(now=NOW)
    too_soon = dispatch.run(now=NOW + timedelta(seconds=59))
    second = dispatch.run(now=NOW + timedelta(seconds=61))
    third = dispatch.run(now=NOW + timedelta(seconds=300))

    assert (first.retried, too_soon, second.retried, third.sent) == (1, dispatch.Dispatched(0, 0, 0, 0), 1, 1)
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.posts}) == 1
    assert len({body for _, body in receiver.posts}) == 1
    row = StatementDispatch.objects.get()
    assert (row.state, row.attempts, row.error) == ("sent", 3, "")


def test_it_gives_up_in_the_end_and_says_why(october: Books, receiver: Receiver) -> None:
    hook(receiver)
    close()
    receiver.answers = [500] * 20
    now = NOW
    for _ in range(20):
        dispatch.run(now=now)
        now += timedelta(hours=7)

    row = StatementDispatch.objects.get()
    assert (row.state, row.attempts) == ("failed", dispatch.MOST_ATTEMPTS)
    assert "answered 500; given up" in row.error


def test_it_stops_at_once_where_another_try_would_fail_too_and_sends_again_when_asked(
    october: Books, receiver: Receiver
) -> None:
    number = hook(receiver)
    close()
    receiver.answers = [401]
    dispatch.run(now=NOW)
    row = StatementDispatch.objects.get()
    assert (row.state, row.error) == ("failed", "the address answered 401")

    assert schedules.again(dispatch_id=row.pk, schedule_id=number, by=BY, now=NOW)
    assert not schedules.again(dispatch_id=row.pk, schedule_id=number, by=BY, now=NOW)
    dispatch.run(now=NOW)

    assert states() == [(1, "sent")]


class Killed(BaseException):
    """A worker's end: nothing catches it."""


@pytest.mark.parametrize("after", [False, True])
def test_it_is_delivered_with_the_same_key_when_a_worker_dies(
    after: bool, october: Books, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(receiver)
    close()
    kind = KINDS["webhook"]
    real = kind.send

    def dies(self: Any, *given: Any) -> str:
        if after:
            real(self, *given)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(kind, "send", dies)
        dispatch.run(now=NOW)
    assert states() == [(1, "sending")]
    waiting = dispatch.run(now=NOW + timedelta(minutes=1))
    taken_over = dispatch.run(now=NOW + dispatch.CLAIM)

    assert (waiting.sent, taken_over.sent) == (0, 1)
    assert states() == [(1, "sent")]
    assert len(receiver.posts) == (2 if after else 1)
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.posts}) == 1
    assert len({body for _, body in receiver.posts}) == 1


@pytest.mark.django_db(transaction=True)
def test_it_is_sent_once_by_two_workers(receiver: Receiver) -> None:
    made = make_books()
    made.spend(date(2026, 10, 2), "1", basis="billed")
    hook(receiver)
    close()

    raised = at_once(lambda: dispatch.run(now=NOW), lambda: dispatch.run(now=NOW))

    assert raised == []
    assert len(receiver.posts) == 1
    assert states() == [(1, "sent")]


def test_it_does_not_send_a_version_that_was_reopened(october: Books, receiver: Receiver) -> None:
    hook(receiver)
    close()
    receiver.answers = [503]
    dispatch.run(now=NOW)
    PeriodBook.objects.update(state="open")

    dispatch.run(now=NOW + timedelta(hours=1))

    row = StatementDispatch.objects.get()
    assert row.state == "failed" and "reopened" in row.error
    assert len(receiver.posts) == 1


def test_it_keeps_sending_others_when_one_is_broken(october: Books, receiver: Receiver) -> None:
    broken = hook(receiver)
    StatementSchedule.objects.filter(pk=broken).update(config={})
    hook(receiver, name="other")
    close()

    done = dispatch.run(now=NOW)

    assert (done.sent, done.retried) == (1, 1)
    assert "broke with KeyError" in StatementDispatch.objects.get(schedule_id=broken).error


def test_it_says_that_a_test_broke_and_nothing_of_what_it_broke_on(
    october: Books, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> str:
        raise ValueError("no such bucket, and the key was s3cr3t")

    schedule = hook(receiver)
    monkeypatch.setattr(KINDS["webhook"], "send", breaks)

    with pytest.raises(dispatch.NotArrived, match="it broke with ValueError") as found:
        dispatch.test(schedule_id=schedule, now=NOW)

    assert "s3cr3t" not in str(found.value)


def test_it_stops_at_a_bucket_that_google_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.sources.stores.google_login.credentials", lambda *_, **__: AnonymousCredentials())

    with pytest.raises(PermanentFailure, match="'-no-'"):
        KINDS["gcs"]().send(parcel(), {"bucket": "-no-"}, {})


def test_it_sends_nothing_while_it_is_paused_and_not_what_closed_meanwhile(october: Books, receiver: Receiver) -> None:
    number = hook(receiver)
    schedules.pause(schedule_id=number, is_active=False, by=BY, now=BEFORE)
    close()
    paused = dispatch.run(now=NOW)
    schedules.pause(schedule_id=number, is_active=True, by=BY, now=NOW)

    assert (paused.planned, dispatch.run(now=NOW).planned) == (0, 0)


# --- every kind of destination ---------------------------------------------------------------------------


def test_it_mails_the_files_as_attachments(october: Books, settings: Any) -> None:
    with mail_server() as box:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = box.host, box.port
        settings.COSTOBS_URL = "https://cost.example.com"
        number = schedules.create(
            plan=plan("email", config={"to": ["finance@example.com"]}, formats=["pdf", "xlsx", "csv"]),
            by=BY,
            now=BEFORE,
        )
        close()

        assert dispatch.run(now=NOW).sent == 1

        _check_mail(box, number)


def _check_mail(box: Mailbox, number: int) -> None:
    (envelope,) = box.mails
    found: Any = email.message_from_bytes(bytes(envelope.original_content or b""), policy=email.policy.default)
    assert envelope.rcpt_tos == ["finance@example.com"]
    assert found["Message-ID"] == f"<costobs-{number}-2026-10-v1@cost.example.com>"
    assert found["Subject"] == "LLM cost of October 2026, chargeback"
    files = {one.get_filename(): one.get_content() for one in found.iter_attachments()}
    assert {name.rpartition(".")[2] for name in files} == {"pdf", "xlsx", "csv"}
    (pdf,) = [content for name, content in files.items() if name.endswith("pdf")]
    assert pdf.startswith(b"%PDF")
    assert hashlib.sha256(pdf).hexdigest() in found.get_body(("plain",)).get_content()


def _objects(read: Callable[[str], bytes], destination: str, config: dict[str, Any], **more: Any) -> None:
    """Sent, sent again, and read back."""
    given = plan(destination, config=config, formats=["json", "pdf"], **more)
    number = schedules.create(plan=given, by=BY, now=BEFORE)
    close()
    assert dispatch.run(now=NOW).sent == 1, StatementDispatch.objects.get().error
    key = "llm/2026-10/v1/statement-2026-10-USD-effective-v1"
    first = read(f"{key}.json")

    row = StatementDispatch.objects.get()
    schedules.again(dispatch_id=row.pk, schedule_id=number, by=BY, now=NOW)
    assert dispatch.run(now=NOW).sent == 1

    assert read(f"{key}.json") == first
    assert orjson.loads(first)["kind"] == "chargeback"
    assert read(f"{key}.pdf").startswith(b"%PDF")
    assert "test" in dispatch.test(schedule_id=number, now=NOW) or read("llm/test/costobs-test.txt")


def test_it_writes_into_s3(october: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with s3.started() as server:
        client = server.client()
        client.create_bucket(Bucket="finance")
        config = {"bucket": "finance", "prefix": "llm/", **server.config}

        def read(key: str) -> bytes:
            body: bytes = client.get_object(Bucket="finance", Key=key)["Body"].read()
            return body

        _objects(read, "s3", config, credentials=s3.CREDENTIALS)


def test_it_writes_into_google_cloud_storage(october: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with gcs.started() as server:
        bucket = server.bucket("finance")

        def read(key: str) -> bytes:
            content: bytes = bucket.blob(key).download_as_bytes()
            return content

        _objects(read, "gcs", {"bucket": "finance", "prefix": "llm", **server.config})


def test_it_writes_into_azure_blob_storage(october: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with azurite.started() as server:
        container = server.client().create_container("finance")
        config = {"account": azurite.ACCOUNT, "container": "finance", "prefix": "llm", **server.config}

        def read(key: str) -> bytes:
            content: bytes = container.download_blob(key).readall()
            return content

        _objects(read, "blob", config, credentials=azurite.CREDENTIALS)


def parcel() -> Parcel:
    items = [Item("a.txt", "text/plain", b"a")]
    return Parcel("k", "2026-10/v1", "s", "t", "2026-10", "showback", items, NOW, "http://localhost")


def test_it_tells_a_missing_bucket_from_a_server_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with s3.started() as server:
        config = {"bucket": "nowhere", **server.config}
        with pytest.raises(PermanentFailure, match="NoSuchBucket"):
            KINDS["s3"]().send(parcel(), config, s3.CREDENTIALS)
    with pytest.raises(TemporaryFailure, match="cannot be reached"):
        KINDS["s3"]().send(parcel(), config, s3.CREDENTIALS)


@pytest.mark.parametrize(
    ("kind", "config", "credentials"),
    [
        ("webhook", {"url": "http://169.254.169.254/latest"}, {"secret": SECRET}),
        ("webhook", {"url": "http://127.0.0.1:1/"}, {"secret": SECRET}),
        ("webhook", {"url": "file:///etc/passwd"}, {"secret": SECRET}),
        ("webhook", {"url": "https://example.com/"}, {"secret": "short"}),
        ("webhook", {"url": "https://example.com/"}, {}),
        ("s3", {"bucket": "b", "endpoint_url": "http://10.0.0.1/"}, s3.CREDENTIALS),
        ("s3", {"bucket": "b"}, {"access_key_id": "a"}),
        ("s3", {"region": "eu-central-1"}, {}),
        ("gcs", {"bucket": "b", "endpoint_url": "http://[::1]/"}, {}),
        ("gcs", {"bucket": "b"}, {"service_account_json": "{}"}),
        ("blob", {"account": "Not an account", "container": "c"}, {}),
        ("email", {"to": ["nobody"]}, {}),
        ("email", {"to": ["a@b.example\nBcc: c@d.example"]}, {}),
    ],
)
def test_it_refuses_what_cannot_be_or_must_not_be_called(
    kind: str, config: dict[str, Any], credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS", raising=False)

    with pytest.raises(BadConfig):
        KINDS[kind]().check(config, credentials)


def test_it_looks_again_where_an_address_leads_when_it_sends(october: Books, receiver: Receiver) -> None:
    number = hook(receiver)
    StatementSchedule.objects.filter(pk=number).update(config={"url": "http://169.254.169.254/latest/meta-data"})
    close()

    assert dispatch.run(now=NOW).failed == 1
    assert "never called" in StatementDispatch.objects.get().error


# --- setting it up ------------------------------------------------------------------------------------------


def test_it_keeps_credentials_sealed_and_out_of_the_audit_log(october: Books, receiver: Receiver) -> None:
    number = hook(receiver)

    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM alerts_statementschedule")
        stored = bytes(cursor.fetchone()[0])
    assert SECRET.encode() not in stored and secrets.unseal(stored) == {"secret": SECRET}
    (entry,) = AuditEntry.objects.filter(act="statement_schedule.created")
    assert entry.after["credentials"] == ["secret"] and SECRET not in str(entry.after)
    assert schedules.schedule(number).secrets == ("secret",)


def test_it_keeps_stored_credentials_for_where_they_were_meant_for(october: Books, receiver: Receiver) -> None:
    number = hook(receiver)
    kept = plan(config={"url": receiver.url}, credentials=None, formats=["pdf"])
    schedules.update(schedule_id=number, plan=kept, by=BY, now=NOW)
    assert StatementSchedule.objects.get().credentials == {"secret": SECRET}

    moved = plan(config={"url": f"{receiver.url}/elsewhere"}, credentials=None)
    with pytest.raises(schedules.Invalid, match="enter its credentials again"):
        schedules.update(schedule_id=number, plan=moved, by=BY, now=NOW)

    assert StatementSchedule.objects.get().config == {"url": receiver.url}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"name": " "}, "name"),
        ({"trigger": "never"}, "trigger"),
        ({"trigger": "monthly", "day_of_month": 31}, "day_of_month"),
        ({"formats": []}, "formats"),
        ({"formats": ["docx"]}, "formats"),
        ({"cost": "list"}, "cost"),
        ({"destination": "fax"}, "destination"),
    ],
)
def test_it_names_every_mistake(changes: dict[str, Any], name: str, october: Books, receiver: Receiver) -> None:
    with pytest.raises(schedules.Invalid) as problem:
        hook(receiver, **changes)

    assert name in problem.value.errors
    assert not StatementSchedule.objects.exists()


def test_it_has_one_schedule_of_a_name(october: Books, receiver: Receiver) -> None:
    hook(receiver)

    with pytest.raises(schedules.Invalid, match="choose another name"):
        hook(receiver)


def test_it_loads_the_example_in_every_manual_of_a_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    from costobs.kernel import http

    monkeypatch.setattr(http, "check", lambda url: url)
    needed = {"webhook": {"secret": SECRET}}
    for kind in KINDS:
        found = re.findall(r"^\s*(\{.*?\})\s*$", kind.__doc__ or "", flags=re.MULTILINE)
        assert found, kind.kind
        kind().check(orjson.loads(found[0]), needed.get(kind.kind, {}))
