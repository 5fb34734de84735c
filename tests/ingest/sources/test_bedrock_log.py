"""Bedrock's invocation logs on a real S3 server: every call once, cached tokens apart, and nothing of what was said."""

import gzip
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest

from ingest import configure, load
from ingest import queries as ingest_queries
from ingest.models import UsageEvent, UsageHour
from ingest.rows import USAGE, Rejected
from ingest.sources import bedrock_log, stores
from ingest.sources.base import Raw, Window
from tests.servers.s3 import CREDENTIALS, S3

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WINDOW = Window(datetime(2026, 11, 28, tzinfo=UTC), NOW)
ACCOUNT = "123456789012"
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"

# The shape of a published record of a real call (amazon.nova-lite, March 2025), with other names and counts.
RECORD: dict[str, Any] = {
    "schemaType": "ModelInvocationLog",
    "schemaVersion": "1.0",
    "timestamp": "2026-11-28T10:15:02Z",
    "accountId": ACCOUNT,
    "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/answers-api/i-0abc123"},
    "region": "us-east-1",
    "requestId": "ff4b6c63-5561-4431-93b8-06a817275900",
    "operation": "ConverseStream",
    "modelId": f"us.{CLAUDE}",
    "inferenceRegion": "us-west-2",
    "requestMetadata": {"team": "search", "feature": "answers", "note": "secret note"},
    "input": {
        "inputContentType": "application/json",
        "inputBodyJson": {"messages": [{"role": "user", "content": [{"text": 'secret "inputTokenCount": 999999'}]}]},
        "inputTokenCount": 10,
        "cacheReadInputTokenCount": 1000,
        "cacheWriteInputTokenCount": 100,
    },
    "output": {
        "outputContentType": "application/json",
        "outputBodyJson": {"output": {"message": {"content": [{"text": "secret"}]}}, "usage": {"outputTokens": 777777}},
        "outputTokenCount": 50,
    },
}


def record(request_id: str, **changed: Any) -> dict[str, Any]:
    return {**RECORD, "requestId": request_id, **changed}


def packed(*records: Any) -> bytes:
    return gzip.compress(
        b"\n".join(each if isinstance(each, bytes) else orjson.dumps(each) for each in records) + b"\n"
    )


def read(*records: Any, **config: Any) -> tuple[list[dict[str, Any]], list[Rejected], Counter[str]]:
    kind = bedrock_log.BedrockLog(bedrock_log.BedrockLogConfig(**config))
    return rows_of(kind, kind.open_bytes(name="a.json.gz", content=packed(*records)))


def rows_of(kind: bedrock_log.BedrockLog, raw: Raw) -> tuple[list[dict[str, Any]], list[Rejected], Counter[str]]:
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    skipped: Counter[str] = Counter()
    for each in kind.normalize(raw):
        assert each.batch.schema.equals(USAGE)
        rows += each.batch.to_pylist()
        rejected += each.rejected
        skipped.update(each.skipped)
    return rows, rejected, skipped


def tokens(row: dict[str, Any]) -> tuple[int | None, ...]:
    return (row["input_uncached"], row["cache_read"], row["cache_write_5m"], row["output"])


class Bucket:
    """A bucket with logs, and the settings of a source that reads them."""

    def __init__(self, s3: S3) -> None:
        self.name = f"logs-{uuid4().hex[:12]}"
        self.client = s3.client()
        self.client.create_bucket(Bucket=self.name)
        self.config: dict[str, Any] = {"url": f"s3://{self.name}/bedrock", **s3.config}
        self.source = bedrock_log.BedrockLog(bedrock_log.BedrockLogConfig(**self.config), CREDENTIALS)

    def put(
        self, *records: Any, hour: datetime = datetime(2026, 11, 28, 10, tzinfo=UTC), name: str = "a.json.gz", **at: str
    ) -> str:
        place = f"{at.get('account', ACCOUNT)}/BedrockModelInvocationLogs/{at.get('region', 'us-east-1')}"
        key = f"bedrock/AWSLogs/{place}/{hour:%Y/%m/%d/%H}/{name}"
        body = records[0] if len(records) == 1 and isinstance(records[0], bytes) else packed(*records)
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return key


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    return Bucket(s3)


def test_t178_it_adds_cached_tokens_that_bedrock_leaves_out_of_the_input() -> None:
    rows, rejected, _ = read(RECORD)

    assert rejected == []
    row = rows[0]
    assert (tokens(row), row["usage_known"], row["outcome"]) == ((10, 1000, 100, 50), True, "ok")
    assert (row["provider"], row["request_model"], row["response_model"]) == (
        "aws.bedrock",
        f"us.{CLAUDE}",
        f"us.{CLAUDE}",
    )
    assert row["occurred_at"] == datetime(2026, 11, 28, 10, 15, 2, tzinfo=UTC)


def test_it_says_who_called() -> None:
    rows, _, _ = read(RECORD, record("b", identity={"arn": f"arn:aws:iam::{ACCOUNT}:user/ada"}))
    by_session, _, _ = read(RECORD, key_by="session")
    mapped, _, _ = read(
        record("c", requestMetadata={"squad": "blue", "key": "forged"}), attribute_map={"team": "squad"}
    )

    assert [row["attr_key"] for row in rows] == [
        f"arn:aws:sts::{ACCOUNT}:assumed-role/answers-api",
        f"arn:aws:iam::{ACCOUNT}:user/ada",
    ]
    assert by_session[0]["attr_key"].endswith("/answers-api/i-0abc123")
    assert (rows[0]["attr_account"], rows[0]["attr_team"], rows[0]["attr_feature"]) == (ACCOUNT, "search", "answers")
    assert mapped[0]["attr_team"] == "blue"
    assert "forged" not in str(mapped)


def test_t179_it_believes_and_keeps_nothing_of_the_bodies() -> None:
    rows, rejected, _ = read(RECORD, {**RECORD, "requestId": "b", "input": {"inputTokenCount": "many", "x": "secret"}})

    assert tokens(rows[0])[0] == 10
    assert "secret" not in str(rows) + str(rejected)
    assert [(each.row, each.field) for each in rejected] == [(2, "input.inputTokenCount")]


def test_t180_it_counts_failed_calls_without_tokens() -> None:
    failed = {"errorCode": "ThrottlingException", "input": {}, "output": {}}

    rows, _, _ = read(record("a", **failed), record("b", errorCode="Unheard", input=None, output=None))

    assert [(row["outcome"], row["status"], row["usage_known"], tokens(row)) for row in rows] == [
        ("error", 429, False, (None,) * 4),
        ("error", 0, False, (None,) * 4),
    ]


def test_t181_it_finds_the_model_behind_profiles_and_arns() -> None:
    place = f"arn:aws:bedrock:us-east-1:{ACCOUNT}"
    asked = [
        CLAUDE,
        f"global.{CLAUDE}",
        f"{place}:inference-profile/us.{CLAUDE}",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        f"{place}:application-inference-profile/a1b2",
        f"{place}:application-inference-profile/unknown",
        f"{place}:provisioned-model/p1",
    ]

    rows, _, _ = read(*(record(str(at), modelId=each) for at, each in enumerate(asked)), profiles={"a1b2": CLAUDE})

    # Provisioned throughput is paid by the hour: its own tier, so that no list price of tokens is laid on it unseen.
    assert [row["service_tier"] for row in rows] == [""] * 6 + ["provisioned"]
    assert [(row["response_model"], row["deployment"]) for row in rows] == [
        (CLAUDE, ""),
        (f"global.{CLAUDE}", ""),
        (f"us.{CLAUDE}", ""),
        ("amazon.nova-lite-v1:0", ""),
        (CLAUDE, "a1b2"),
        (asked[5], "unknown"),
        (asked[6], "p1"),
    ]
    assert [row["request_model"] for row in rows] == asked


def test_it_reads_embeddings_which_have_no_output() -> None:
    embedded = record("a", modelId="amazon.titan-embed-text-v2:0", input={"inputTokenCount": 12}, output={})

    rows, _, _ = read(embedded, record("b", modelId="stability.sd3-large-v1:0", input={}, output={}))

    assert [(row["operation"], row["input_uncached"], row["usage_known"]) for row in rows] == [
        ("embeddings", 12, True),
        ("image_generation", None, False),
    ]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (record("b", input={"inputTokenCount": -4}), "input.inputTokenCount"),
        (record("b", input={"inputTokenCount": 5, "cacheReadInputTokenCount": -4}), "input.cacheReadInputTokenCount"),
        (record("b", output={"outputTokenCount": 2**31}), "gen_ai.usage.output_tokens"),
        (record("b", output={"outputTokenCount": True}), "output.outputTokenCount"),
        (record(""), "requestId"),
        (record("b", timestamp="noon"), "occurred_at"),
        (record("b", modelId="a\x00b"), "line"),
        (b'{"requestId": "b", "timest', "line"),
        (b"[1, 2]", "line"),
        (b"\xff\xfe{}", "line"),
        (orjson.dumps(record("b", region="secret " * 200_000)), "line"),
    ],
)
def test_t182_it_rejects_a_broken_line_and_takes_its_neighbours(line: Any, field: str) -> None:
    rows, rejected, _ = read(record("a"), line, record("c"))

    assert [row["event_id"] for row in rows] == ["a", "c"]
    assert [(each.row, each.field, "secret" in each.raw) for each in rejected] == [(2, field, False)]


def test_it_leaves_out_other_types_of_records() -> None:
    rows, _, skipped = read(record("a", schemaType="AsyncInvocationLog"))

    assert (rows, skipped) == ([], {"no invocation: another type of record": 1})


def test_t183_it_reads_no_large_body_and_no_permission_check(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put(RECORD)
    bucket.put(b"secret", name="data/ff4b6c63_input.json.gz")
    bucket.put(b"", name="../../../../amazon-bedrock-logs-permission-check")
    bucket.client.put_object(
        Bucket=bucket.name,
        Key=f"bedrock/AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check",
        Body=b"",
    )
    taken: list[str] = []
    copy = stores.Store.file
    monkeypatch.setattr(
        stores.Store, "file", lambda self, key, *, etag: (taken.append(key), copy(self, key, etag=etag))[1]
    )

    units = list(bucket.source.read({}, WINDOW))
    rows, rejected, _ = rows_of(bucket.source, units[0])

    assert ([len(unit.files) for unit in units], len(rows), rejected) == ([1], 1, [])
    assert [key.rpartition("/")[2] for key in taken] == ["a.json.gz"]


def test_t184_it_lists_hours_near_the_cursor_and_never_the_whole_bucket(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 28):
        bucket.put(record(f"d{day}"), hour=datetime(2026, 11, day, 10, tzinfo=UTC))
    bucket.put(RECORD)
    store = bucket.source._store()
    asked: list[str] = []
    objects = type(store).objects
    monkeypatch.setattr(
        type(store), "objects", lambda self, prefix="": (asked.append(prefix), objects(self, prefix))[1]
    )
    through = datetime(2026, 11, 28, 9, tzinfo=UTC)

    units = list(bucket.source.read({"through": through.isoformat()}, WINDOW))

    assert [unit.name for unit in units] == ["invocations of 2026-11-28 10:00"]
    assert [prefix[-14:] for prefix in asked] == [f"2026/11/28/{hour:02}/" for hour in range(3, 12)]


def test_it_reads_accounts_and_regions_beside_each_other(bucket: Bucket) -> None:
    bucket.put(record("a"))
    bucket.put(record("b"), region="eu-central-1")
    bucket.put(record("c"), account="999999999999")
    one = bedrock_log.BedrockLog(
        bedrock_log.BedrockLogConfig(**bucket.config, accounts=[ACCOUNT], regions=["eu-central-1"]), CREDENTIALS
    )

    def ids(kind: bedrock_log.BedrockLog) -> set[str]:
        return {row["event_id"] for unit in kind.read({}, WINDOW) for row in rows_of(kind, unit)[0]}

    assert ids(bucket.source) == {"a", "b", "c"}
    assert ids(one) == {"b"}


def test_t185_it_loses_one_damaged_object_and_not_its_neighbours(bucket: Bucket) -> None:
    bucket.put(record("a"), name="a.json.gz")
    bucket.put(packed(record("b"))[:-20], name="b.json.gz")
    bucket.put(record("c"), name="c.json.gz")

    (unit,) = bucket.source.read({}, WINDOW)
    rows, rejected, _ = rows_of(bucket.source, unit)

    assert [row["event_id"] for row in rows] == ["a", "c"]
    assert [each.file.rpartition("/")[2] for each in rejected] == ["b.json.gz"]


def test_it_cuts_an_hour_of_many_objects_into_units(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrock_log, "_UNIT_OBJECTS", 2)
    for at in range(5):
        bucket.put(record(f"r{at}"), name=f"{at}.json.gz")

    units = list(bucket.source.read({}, WINDOW))

    assert [len(unit.files) for unit in units] == [2, 2, 1]
    assert len(units[-1].cursor["seen"]) == 5


@pytest.mark.django_db
def test_it_loads_reads_again_and_takes_late_objects(bucket: Bucket) -> None:
    bucket.put(RECORD, record("b", errorCode="ValidationException", input={}, output={}))
    source_id = configure.create_source(
        kind="bedrock_log", name="bedrock", config=bucket.config, credentials=CREDENTIALS, now=NOW
    )

    first = list(load.sync(source_id=source_id, now=NOW))
    again = list(load.sync(source_id=source_id, now=NOW + timedelta(minutes=5)))
    bucket.put(record("late"), name="z.json.gz", hour=datetime(2026, 11, 28, 5, tzinfo=UTC))
    bucket.put(record("new"), RECORD, name="y.json.gz")
    late = list(load.sync(source_id=source_id, now=NOW + timedelta(minutes=10)))

    assert [(each.state, each.rows_read, each.rows_loaded) for each in first] == [("succeeded", 2, 2)]
    assert again == []
    assert [(each.state, each.rows_loaded, each.rows_duplicate) for each in late] == [
        ("succeeded", 1, 0),
        ("succeeded", 1, 1),
    ]
    sums = UsageHour.objects.values_list(
        "requests", "errors", "unknown_usage", "input_uncached", "cache_read", "output"
    )
    assert [sum(each) for each in zip(*sums, strict=True)] == [4, 1, 1, 30, 3000, 150]
    assert UsageEvent.objects.count() == 4
    files = {line.name.rpartition("/")[2] for found in ingest_queries.loads() for line in found.files}
    assert files == {"a.json.gz", "y.json.gz", "z.json.gz"}


@pytest.mark.django_db
def test_it_counts_once_what_a_backfill_reads_again(bucket: Bucket) -> None:
    bucket.put(RECORD)
    source_id = configure.create_source(
        kind="bedrock_log", name="bedrock", config=bucket.config, credentials=CREDENTIALS, now=NOW
    )
    list(load.sync(source_id=source_id, now=NOW))
    bucket.put(record("b"), name="b.json.gz")
    kind = load.connect(source_id)

    results = [
        load.run_unit(source_id=source_id, raw=raw, now=NOW, advances=False)
        for raw in kind.read({}, Window(NOW - timedelta(days=40), NOW))
    ]

    assert [(each.state, each.rows_loaded, each.rows_duplicate) for each in results] == [("succeeded", 1, 1)]
    assert UsageEvent.objects.count() == 2


def test_it_tests_the_connection(bucket: Bucket) -> None:
    empty = list(bucket.source.probe(WINDOW))
    bucket.put(RECORD, hour=datetime(2026, 11, 1, 10, tzinfo=UTC))
    quiet = list(bucket.source.probe(WINDOW))
    bucket.put(RECORD)
    good = list(bucket.source.probe(WINDOW))

    assert [[each.state for each in found] for found in (empty, quiet, good)] == [
        ["missing"],
        ["ok", "note"],
        ["ok", "ok"],
    ]
    assert "Switch on" in empty[0].remedy
    assert f"{ACCOUNT}/us-east-1" in good[0].detail


@pytest.mark.parametrize(
    "changed", [{"url": "s3://no-such-bucket-of-ours/x"}, {"url": "https://x"}, {"endpoint_url": "http://10.0.0.1"}]
)
def test_it_says_what_is_wrong_with_the_place(s3: S3, changed: dict[str, str]) -> None:
    config = {"url": "s3://b/x", **s3.config, **changed}
    kind = bedrock_log.BedrockLog(bedrock_log.BedrockLogConfig(**config), CREDENTIALS)

    (finding,) = kind.probe(WINDOW)

    assert (finding.state, bool(finding.detail), bool(finding.remedy)) == ("missing", True, True)
