"""Setting up sources: values that fit, credentials nobody reads back, paths that stay in their directory, and removal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, Literal

import orjson
import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from costobs import pipeline
from costobs.access import tokens
from costobs.audit.models import AuditEntry
from ingest import configure, load, probe, queries, removal, source_detail
from ingest.models import Source
from ingest.sources import KINDS, config
from ingest.sources.base import Finding, Window, setting
from ingest.sources.base import Source as Kind

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=7)
SECRET = "wJalrXUtnFEMI-K7MDENG"
BY = "ada@example.com"
HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)

pytestmark = pytest.mark.django_db


def add(**changes: Any) -> int:
    told: dict[str, Any] = {
        "kind": "focus_export",
        "name": "bill",
        "config": {"url": "s3://bills/focus", "region": "eu-central-1"},
        "credentials": {"access_key_id": "AKIA1", "secret_access_key": SECRET},
        "by": BY,
        "now": NOW,
    }
    return configure.add_source(**{**told, **changes})


def credentials(source_id: int) -> Mapping[str, str] | None:
    found: Mapping[str, str] | None = Source.objects.get(pk=source_id).credentials
    return found


def everything_written() -> str:
    """Every row of the sources and of the audit log, as the database holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT s::text FROM ingest_source s UNION ALL SELECT a::text FROM audit_auditentry a")
        return "\n".join(text for (text,) in cursor.fetchall())


# --- adding and changing ------------------------------------------------------------------------------
def test_it_adds_a_source_and_keeps_its_credentials_where_nobody_reads_them() -> None:
    source_id = add()

    found = source_detail.source(source_id=source_id, now=NOW)
    assert found is not None
    assert (found.secrets_set, found.secrets_set_at) == (("access_key_id", "secret_access_key"), NOW)
    assert credentials(source_id) == {"access_key_id": "AKIA1", "secret_access_key": SECRET}
    assert SECRET not in everything_written() and SECRET not in repr(found)
    entry = AuditEntry.objects.get(act="source.added")
    assert (entry.actor, entry.subject) == (BY, "source:focus_export/bill")
    assert entry.after["credentials"] == ["access_key_id", "secret_access_key"]


def test_it_names_every_mistake_at_once() -> None:
    with pytest.raises(configure.BadConfig) as problem:
        add(
            name="",
            config={"url": 7, "tag_map": {"team": 1}, "colour": "red", "tag_keys": "team"},
            credentials={"password": "x"},
        )

    assert set(problem.value.errors) == {"name", "url", "tag_map", "colour", "tag_keys", "password"}
    assert not Source.objects.exists() and not AuditEntry.objects.exists()


def test_it_takes_a_name_once_for_each_kind() -> None:
    add()

    with pytest.raises(configure.BadConfig, match="there is a source focus_export/bill already"):
        add(name=" bill ")
    for name in ("a/b", "x" * 81, "a\x00b"):
        with pytest.raises(configure.BadConfig, match="printable"):
            add(name=name)
    assert add(kind="usage_log", config={}, credentials={})


def test_it_changes_the_settings_and_leaves_the_cursor_and_the_credentials() -> None:
    source_id = add()
    Source.objects.update(cursor={"deliveries": {"a": "b"}})

    configure.update_source(
        source_id=source_id, config={"url": "s3://bills/other"}, credentials={}, by="ben@example.com", now=LATER
    )

    assert Source.objects.get().config == {"url": "s3://bills/other"}
    assert queries.cursor(source_id=source_id) == {"deliveries": {"a": "b"}}
    assert credentials(source_id) == {"access_key_id": "AKIA1", "secret_access_key": SECRET}
    entry = AuditEntry.objects.get(act="source.changed")
    assert entry.before == {"config": {"url": "s3://bills/focus", "region": "eu-central-1"}}
    assert entry.after == {"config": {"url": "s3://bills/other"}}


def test_it_keeps_only_what_differs_from_the_kind() -> None:
    add(config={"url": "s3://bills/focus", "endpoint_url": "", "tag_map": {}, "tag_keys": []})

    assert Source.objects.get().config == {"url": "s3://bills/focus"}


def test_it_sends_saved_credentials_to_no_other_address() -> None:
    """Who may change an address must not get the stored credentials sent to a server of their own."""
    source_id = add(config={"url": "s3://bills/focus", "endpoint_url": "https://minio.example"})
    elsewhere = {"url": "s3://bills/focus", "endpoint_url": "https://evil.example"}

    with pytest.raises(configure.BadConfig, match="enter the credentials again"):
        configure.update_source(source_id=source_id, config=elsewhere, credentials={}, by=BY, now=NOW)
    with pytest.raises(configure.BadConfig, match="enter the credentials again"):
        configure.update_source(
            source_id=source_id, config=elsewhere, credentials={"access_key_id": "x"}, by=BY, now=NOW
        )
    with pytest.raises(configure.BadConfig, match="enter the credentials again"):
        probe.entered(
            kind="focus_export", source_id=source_id, config=elsewhere, credentials={}, by=BY, now=NOW, seconds=5
        )

    own = {"access_key_id": "x", "secret_access_key": "y"}
    configure.update_source(source_id=source_id, config=elsewhere, credentials=own, by=BY, now=LATER)
    assert credentials(source_id) == own


def test_it_knows_where_credentials_are_sent() -> None:
    told = {
        "url": "HTTPS://Prometheus.example/a",
        "host": "db.example",
        "region": "eu",
        "bucket": "s3://bills/focus",
        "path": "/a",
    }

    assert config.hosts(told) == {"url": "https://prometheus.example", "host": "db.example"}


# --- credentials --------------------------------------------------------------------------------------
def test_it_replaces_only_the_credentials_that_are_given() -> None:
    source_id = add()

    changed = configure.rotate(
        source_id=source_id, credentials={"secret_access_key": "new", "session_token": ""}, by=BY, now=LATER
    )

    assert changed == ["secret_access_key"]
    assert credentials(source_id) == {"access_key_id": "AKIA1", "secret_access_key": "new"}
    assert Source.objects.get().credentials_set_at == LATER
    assert AuditEntry.objects.get(act="source.rotated").after == {"credentials": ["secret_access_key"], "forgotten": []}
    assert SECRET not in everything_written()


def test_it_forgets_credentials_by_name() -> None:
    source_id = add()

    configure.rotate(
        source_id=source_id, credentials={}, forget=["access_key_id", "secret_access_key"], by=BY, now=LATER
    )

    assert credentials(source_id) is None
    assert Source.objects.get().credentials_set_at is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "at least one"),
        ({"access_key_id": "  "}, "at least one"),
        ({"colour": "red"}, "no credential"),
        ({"access_key_id": "x" * 70_000}, "at most"),
    ],
)
def test_it_refuses_credentials_that_are_none(given: dict[str, str], words: str) -> None:
    source_id = add()

    with pytest.raises(configure.BadConfig, match=words):
        configure.rotate(source_id=source_id, credentials=given, by=BY, now=LATER)

    assert credentials(source_id) == {"access_key_id": "AKIA1", "secret_access_key": SECRET}


def test_it_goes_on_when_the_key_of_the_installation_was_lost(settings: Any) -> None:
    """Pages and the form to enter credentials again must work: there is no other way out."""
    source_id = add()
    settings.COSTOBS_FERNET_KEY = Fernet.generate_key()

    found = source_detail.source(source_id=source_id, now=NOW)
    assert found is not None and not found.may_open and found.secrets_set == ()
    assert [line.name for line in queries.sources(now=NOW)] == ["bill"]
    configure.rotate(source_id=source_id, credentials={"access_key_id": "again"}, by=BY, now=LATER)
    assert credentials(source_id) == {"access_key_id": "again"}


def test_it_rotates_on_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source_id = add()
    monkeypatch.setattr("sys.stdin", StringIO('{"secret_access_key": "new"}'))

    call_command("source", "rotate", "focus_export", "bill")

    assert "secret_access_key" in capsys.readouterr().out
    assert credentials(source_id) == {"access_key_id": "AKIA1", "secret_access_key": "new"}


# --- paths of this machine ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/../etc/passwd",
        "../../../etc/passwd",
        "file:///etc/passwd",
        "~/.ssh/id_rsa",
        "{root}/../../etc/passwd",
        "{root}/link",
        "{root}-beside/x",
        " /etc/passwd ",
        "etc",
        "{root}\x00/etc/passwd",
    ],
)
def test_it_reads_no_file_outside_its_directory_for_a_browser(tmp_path: Path, path: str) -> None:
    root = tmp_path / "files"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    told = {"kind": "usage_log", "name": "log", "credentials": {}}

    with pytest.raises(configure.BadConfig, match="COSTOBS_FILES") as problem:
        add(**told, config={"path": path.replace("{root}", str(root))}, files_below=root)

    assert "costobs source add" in str(problem.value) and str(root) in str(problem.value)
    assert not Source.objects.exists()


def test_it_lets_a_browser_name_a_file_of_the_directory_and_the_command_line_any(tmp_path: Path) -> None:
    root = tmp_path / "files"
    told = {"kind": "usage_log", "credentials": {}}

    inside = add(**told, name="inside", config={"path": str(root / "logs")}, files_below=root)
    outside = add(**told, name="outside", config={"path": "/var/log/llm"})

    assert Source.objects.get(pk=inside).config == {"path": str(root / "logs")}
    assert Source.objects.get(pk=outside).config == {"path": "/var/log/llm"}
    # What the operator set on the machine may stay when somebody changes another setting in the browser.
    kept = {"path": "/var/log/llm", "provider": "openai"}
    configure.update_source(source_id=outside, config=kept, credentials={}, files_below=root, by=BY, now=LATER)
    assert Source.objects.get(pk=outside).config == kept


def test_it_tells_a_path_from_what_only_looks_like_one(tmp_path: Path) -> None:
    fine = {
        "url": "s3://bills/focus",
        "scope": "/subscriptions/0000/resourceGroups/llm",
        "prefix": "/metrics",
        "tag_map": {"team": "squad"},
        "labels": ["/a", "b"],
    }

    assert config.outside(fine, root=tmp_path) == {}
    assert config.outside({"labels": ["b", "/etc/passwd"]}, root=tmp_path) == {"labels": "/etc/passwd"}
    assert config.outside({"url": "prometheus:9090"}, root=tmp_path) == {"url": "prometheus:9090"}
    assert config.outside({"url": f"{tmp_path}/a.csv", "path": ""}, root=tmp_path) == {}


# --- the form of a kind -------------------------------------------------------------------------------
def test_it_makes_a_usable_form_of_every_kind() -> None:
    for kind in KINDS:
        for field in config.fields_of(kind):
            assert field.label and field.shape, kind.kind
            assert config.parse(field, config.typed(field, field.default)) == field.default, f"{kind.kind}.{field.name}"


@dataclass(frozen=True, slots=True)
class _OwnedConfig:
    name_of_pool: str
    price: Decimal = setting(Decimal("1.50"), hint="For an hour")  # noqa: RUF009  # it makes a field
    gpus: int = setting(8, hint="How many")
    is_spot: bool = False
    mode: Literal["a", "b"] = "a"
    region: str = setting("", hint="Where", choices=("eu", "us"))
    nodes: Sequence[str] = setting(tuple, hint="Nodes")
    tags: Mapping[str, str] = setting(dict, hint="Tags")
    schedule: Mapping[str, Sequence[int]] = setting(dict, hint="Hours by day")
    note: str | None = None

    def __post_init__(self) -> None:
        if self.price < 0:
            raise ValueError("price must not be negative")


class _Owned(Kind):
    """A kind with a setting of every type."""

    kind: ClassVar[str] = "owned_test"
    title: ClassVar[str] = "Owned"
    produces: ClassVar[Any] = "charges"
    Config: ClassVar[type[_OwnedConfig]] = _OwnedConfig


def test_it_reads_a_setting_of_every_type_from_what_was_typed() -> None:
    typed = {
        "name_of_pool": "h100",
        "price": "2.750",
        "gpus": "16",
        "is_spot": "on",
        "mode": "b",
        "region": "eu",
        "nodes": "n1\n\n n2 ",
        "tags": "team = search\ncost centre=44=10",
        "schedule": '{"mon": [8, 18]}',
        "note": "",
    }

    fields = {field.name: field for field in config.fields_of(_Owned)}
    found = {name: config.parse(fields[name], text) for name, text in typed.items()}
    stored = config.checked(_Owned, found, is_complete=True)

    assert [fields[name].shape for name in typed] == [
        "text", "decimal", "whole", "yes", "choice", "choice", "lines", "pairs", "json", "text",
    ]  # fmt: skip
    assert found["nodes"] == ["n1", "n2"] and found["tags"] == {"team": "search", "cost centre": "44=10"}
    assert stored["price"] == "2.750"
    assert orjson.loads(orjson.dumps(stored)) == stored
    assert config.made(_Owned, stored).price == Decimal("2.750")
    assert (fields["name_of_pool"].is_required, fields["price"].label) == (True, "Price")


@pytest.mark.parametrize(
    ("name", "text"),
    [("price", "1,5"), ("price", "NaN"), ("gpus", "8.5"), ("tags", "team"), ("schedule", "{"), ("gpus", "9" * 30)],
)
def test_it_says_what_it_expected_of_a_setting(name: str, text: str) -> None:
    field = next(one for one in config.fields_of(_Owned) if one.name == name)

    with pytest.raises(ValueError, match="expected"):
        config.parse(field, text)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "name_of_pool"),
        ({"name_of_pool": "x", "price": 1.5}, "price"),
        ({"name_of_pool": "x", "price": "-1"}, "price"),
        ({"name_of_pool": "x", "gpus": True}, "gpus"),
        ({"name_of_pool": "x", "mode": "c"}, "mode"),
        ({"name_of_pool": "x", "region": "moon"}, "region"),
        ({"name_of_pool": "x", "tags": ["a"]}, "tags"),
        ({"name_of_pool": None}, "name_of_pool"),
    ],
)
def test_it_refuses_a_setting_that_does_not_fit(given: dict[str, Any], name: str) -> None:
    with pytest.raises(configure.BadConfig) as problem:
        config.checked(_Owned, given, is_complete=True)

    assert name in problem.value.errors


# --- the connection test ------------------------------------------------------------------------------
class _Telling(_Owned):
    """Answers what a test tells it to."""

    said: ClassVar[list[Any]] = []

    def probe(self, window: Window) -> Any:
        for one in self.said:
            if isinstance(one, Exception):
                raise one
            yield one(self) if callable(one) else one


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> type[_Telling]:
    monkeypatch.setitem(KINDS._kinds, "owned_test", _Telling)
    monkeypatch.setattr(_Telling, "secrets", KINDS["focus_export"].secrets)
    return _Telling


def tried(**changes: Any) -> list[Finding]:
    told: dict[str, Any] = {
        "kind": "owned_test",
        "config": {"name_of_pool": "x"},
        "credentials": {"secret_access_key": SECRET},
        "by": BY,
        "now": NOW,
    }
    return probe.entered(**{**told, **changes})


def test_it_tells_findings_without_any_secret(telling: type[_Telling], monkeypatch: pytest.MonkeyPatch) -> None:
    leaks = [lambda kind: Finding("Key", "missing", f"{kind.credentials['secret_access_key']} is wrong")]
    monkeypatch.setattr(telling, "said", [*leaks, RuntimeError(f"no {SECRET}")])

    found = tried()

    assert [one.state for one in found] == ["missing", "missing"]
    assert SECRET not in repr(found) and "••• is wrong" in found[0].detail and "RuntimeError" in found[1].detail
    assert AuditEntry.objects.get(act="source.tested").after == {"missing": 2}
    assert not Source.objects.exists()


def test_it_does_not_wait_for_a_vendor_that_never_answers(
    telling: type[_Telling], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    is_over = threading.Event()
    first = Finding("Sign in", "ok")
    monkeypatch.setattr(telling, "said", [first, lambda _kind: is_over.wait(30) and first])

    found = tried(seconds=1)
    is_over.set()

    assert [one.subject for one in found] == ["Sign in", "Answer"]
    assert "within 1 seconds" in found[1].detail and "firewall" in found[1].remedy


def test_it_tests_a_saved_source_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ndjson").write_text("{}\n")
    add(kind="usage_log", name="log", config={"path": str(tmp_path)}, credentials={})
    add(kind="usage_log", name="gone", config={"path": str(tmp_path / "gone")}, credentials={})

    call_command("source", "test", "usage_log", "log")
    assert "a.ndjson" in capsys.readouterr().out
    with pytest.raises(CommandError, match="1 of 1 checks failed"):
        call_command("source", "test", "usage_log", "gone")
    assert "does not exist" in capsys.readouterr().out


# --- removal ------------------------------------------------------------------------------------------
def _loaded(tmp_path: Path, kind: str, name: str, file: str, content: bytes) -> int:
    source_id = configure.create_source(kind=kind, name=name, now=NOW)
    path = tmp_path / file
    path.write_bytes(content)
    (result,) = load.from_paths(source_id=source_id, paths=[str(path)], now=NOW)
    assert result.state == "succeeded", result
    return source_id


def _bill(cost: str) -> bytes:
    line = (
        "acct,EUR,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,2026-11-20T00:00:00Z,2026-11-21T00:00:00Z,Usage,"
        f"{cost},{cost},{cost},{cost},AWS,AWS,Amazon EC2,gpu-node-1,"
    )
    return f'{HEADER}\n{line}"{{}}"\n'.encode()


def _calls(prefix: str) -> bytes:
    told = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10}
    rows = [
        {
            "event_id": f"{prefix}{number}",
            "occurred_at": f"2026-11-20T1{number}:00:00Z",
            "trace_id": "t",
            "latency_ms": 90,
            **told,
        }
        for number in range(3)
    ]
    return b"".join(orjson.dumps(row) + b"\n" for row in rows) + b"not json\n"


def _ledger(tmp_path: Path) -> dict[str, int]:
    stamps = [[(NOW - timedelta(hours=20, minutes=minute)).timestamp(), "0.5"] for minute in range(0, 60, 10)]
    labels = {"__name__": "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gpu": "0", "UUID": "GPU-1", "Hostname": "gpu-node-1"}
    answer = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": labels, "values": stamps}]}}
    run = {
        "external_id": "r", "base_model": "llama-3.1-8b", "state": "succeeded", "node": "gpu-node-1", "gpu_uuids": ["GPU-1"],
        "started_at": "2026-11-20T08:00:00Z", "ended_at": "2026-11-20T10:00:00Z",
    }  # fmt: skip
    made = {
        "bill": _loaded(tmp_path, "focus_export", "bill", "bill.csv", _bill("48.25")),
        "calls": _loaded(tmp_path, "usage_log", "calls", "a.ndjson", _calls("a")),
        "others": _loaded(tmp_path, "usage_log", "others", "b.ndjson", _calls("b")),
        "gpus": _loaded(tmp_path, "dcgm", "gpus", "gpus.json", orjson.dumps(answer)),
        "runs": _loaded(tmp_path, "fine_tunes", "runs", "runs.json", orjson.dumps(run)),
    }
    while pipeline.settle(NOW):
        continue
    return made


def test_it_counts_what_goes_with_a_source(tmp_path: Path) -> None:
    made = _ledger(tmp_path)

    bill, calls = removal.holdings(source_id=made["bill"]), removal.holdings(source_id=made["calls"])

    assert dict(bill.rows) == {"Charges": 1, "Deliveries": 1, "Loads": 1}
    assert bill.billed_cost == (("EUR", Decimal("48.25")),)
    assert (bill.first_day, bill.last_day, bill.days) == (date(2026, 11, 20), date(2026, 11, 20), 1)
    assert dict(calls.rows)["Usage events"] == 3 and dict(calls.rows)["Quarantined rows"] == 1
    assert {"Hours of usage", "Days of usage", "Days of latency", "Agent runs", "Loads"} <= set(dict(calls.rows))
    assert dict(removal.holdings(source_id=made["gpus"]).rows)["GPU samples"] == 6
    assert dict(removal.holdings(source_id=made["runs"]).rows)["Fine-tune runs"] == 1


@pytest.mark.parametrize("name", ["bill", "calls", "gpus", "runs"])
def test_it_leaves_no_row_of_a_removed_source_in_any_table(tmp_path: Path, name: str) -> None:
    made = _ledger(tmp_path)
    before = {other: removal.holdings(source_id=made[other]) for other in made if other != name}
    assert _referring(made[name])

    pipeline.forget_source(source_id=made[name], by=BY, now=LATER, rebuilds=False)

    assert _referring(made[name]) == {}
    assert queries.source_named(kind="usage_log", name="others") == made["others"]
    shared = date(2026, 11, 20)
    assert shared in queries.open_days()
    while pipeline.settle(LATER):
        continue
    # Days of usage of the others are rolled up anew, and may be whole now where the removed one counted before.
    assert {other: removal.holdings(source_id=made[other]) for other in before} == before
    entry = AuditEntry.objects.get(act="source.removed")
    assert entry.actor == BY and entry.before["rows"]["Loads"] == 1


def test_it_keeps_a_source_that_a_gate_needs(tmp_path: Path) -> None:
    from alerts import gates

    made = _ledger(tmp_path)
    gates.create(name="chat-1", deployment="llama", source_id=made["calls"], by=BY, now=NOW)

    with pytest.raises(pipeline.InUse, match="costobs gate remove chat-1"):
        pipeline.forget_source(source_id=made["calls"], by=BY, now=NOW)

    assert removal.holdings(source_id=made["calls"]).total_rows > 0


def test_it_ends_the_tokens_that_push_to_a_removed_source(tmp_path: Path) -> None:
    """A push to a source that is gone would be taken for a repeat, and be lost."""
    made = _ledger(tmp_path)
    tokens.create(name="app", grants=["ingest"], created_by=BY, now=NOW, source_id=made["calls"])

    call_command("source", "remove", "usage_log", "calls", "--yes")

    assert tokens.of_source(source_id=made["calls"]) == []
    assert AuditEntry.objects.filter(act="token.revoked", subject="token:app").exists()


def _referring(source_id: int) -> dict[str, int]:
    """Tables of the whole database with rows of this source; a revoked token may remember it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.table_name FROM information_schema.columns c
               JOIN information_schema.tables t USING (table_schema, table_name)
               WHERE c.column_name = 'source_id' AND c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'"""
        )
        tables = sorted({name for (name,) in cursor.fetchall()})
        found = {}
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table} WHERE source_id = %s", [source_id])
            count = cursor.fetchone()[0]
            if count:
                found[table] = count
    assert {"ingest_charge", "ingest_usageevent", "ingest_gpusample", "attribution_pool", "alerts_gate"} <= set(tables)
    return found
