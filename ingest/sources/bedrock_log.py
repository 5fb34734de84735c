"""Calls of Amazon Bedrock from its model invocation logs on S3."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pyarrow as pa

from ingest.rows import USAGE
from ingest.sources import stores
from ingest.sources.base import (
    BadDelivery,
    Cursor,
    Finding,
    Normalized,
    Produces,
    Raw,
    Secret,
    Source,
    SourceUnavailable,
    Window,
    setting,
)
from ingest.sources.formats import openings
from ingest.sources.formats.usage import bedrock_records, foreign_lines, usage_rows

_FOLDER = "BedrockModelInvocationLogs"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_OVERLAP = timedelta(hours=6)  # how late an object may appear in the folder of its hour
_BY_DAY = timedelta(hours=30)  # a longer span is listed by day, with a tenth of the requests
_UNIT_OBJECTS, _UNIT_BYTES = 500, 64 << 20
# …/us-east-1/2026/11/28/10/20261128T101500123Z_0a1b2c.json.gz; large bodies lie in a folder `data` and are never read.
_KEY = re.compile(r"/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+\.json(?:\.gz)?$")
_EMPTY = pa.RecordBatch.from_pylist([], schema=USAGE)


@dataclass(frozen=True, slots=True)
class BedrockLogConfig:
    """Where the logs are delivered, and what the records do not say."""

    url: str = setting("", hint="s3://bucket/prefix, as in Bedrock's settings", required=True)
    region: str = setting("", hint="The bucket's region")
    accounts: Sequence[str] = setting(tuple, hint="Only these AWS accounts; empty for all below the prefix")
    regions: Sequence[str] = setting(tuple, hint="Only these regions of Bedrock; empty for all")
    role_arn: str = setting("", hint="A role of your account to read the bucket in")
    external_id: str = setting("", hint="The external id that role asks for")
    endpoint_url: str = setting("", hint="Only for a store that is not AWS's own")
    profiles: Mapping[str, str] = setting(
        dict, hint="ARN or id of an application inference profile = the model behind it"
    )
    attribute_map: Mapping[str, str] = setting(dict, hint="Our attribute = your key in the request metadata")
    key_by: str = setting(
        "role",
        hint="Callers by role, or by each session of a role (people of IAM Identity Center)",
        choices=("role", "session"),
    )


@dataclass(frozen=True, slots=True)
class _Objects:
    """Objects of one hour that are loaded together."""

    found: tuple[stores.Object, ...]


class BedrockLog(Source):
    """Amazon Bedrock's model invocation logging, delivered to S3.

    Switch it on in Bedrock's settings, region by region; bodies need not be delivered, since counts are logged without
    them. What the bodies hold is never read for a count and never stored. Example configuration:

        {"url": "s3://llm-logs/bedrock", "region": "us-east-1", "accounts": [], "regions": [], "role_arn": "",
         "external_id": "", "endpoint_url": "", "profiles": {"a1b2c3d4e5f6": "anthropic.claude-sonnet-4-5-20250929-v1:0"},
         "attribute_map": {"team": "squad"}, "key_by": "role"}

    The caller's role is the key, the AWS account the account; team, feature and the other attributes are taken from the
    request metadata. Credentials of a user or role with read on the bucket; without them this machine's own.
    """

    kind: ClassVar[str] = "bedrock_log"
    title: ClassVar[str] = "Amazon Bedrock invocation log"
    produces: ClassVar[Produces] = "usage"
    Config: ClassVar[type[BedrockLogConfig]] = BedrockLogConfig
    secrets: ClassVar[Sequence[Secret]] = tuple(
        each for each in stores.SECRETS if each.name in {"access_key_id", "secret_access_key", "session_token"}
    )
    grants: ClassVar[Sequence[str]] = ("s3:ListBucket on the bucket", f"s3:GetObject on prefix/AWSLogs/*/{_FOLDER}/*")
    expected_lag_seconds: ClassVar[int] = 1800
    poll_seconds: ClassVar[int] = 300
    backfill_days: ClassVar[int] = 7

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Objects that are new since the cursor, hour by hour. Only hours from a little before it on are listed."""
        if not self.config.url:
            return
        seen: dict[str, str] = dict(cursor.get("seen", {}))
        start = window.start
        if through := cursor.get("through"):
            start = datetime.fromisoformat(through) - _OVERLAP
        store = self._store()
        for hour, found in self._by_hour(store, _floor(start, _HOUR), window.end):
            kept = {key: etag for key, etag in seen.items() if (of := _hour(key)) and of >= hour - _OVERLAP}
            new = [each for each in found if seen.get(each.key) != each.etag]
            for at, part in enumerate(_parts(new), 1):
                kept |= {each.key: each.etag for each in part}
                yield _unit(hour, at, part, kept)
            seen = kept

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The calls of some objects. A damaged one is rejected by name and costs no other."""
        reading = bedrock_records.Reading(self.config.profiles, self.config.attribute_map, self.config.key_by)

        def translate(record: Mapping[str, Any], _row: int) -> foreign_lines.Event:
            return bedrock_records.event(record, reading)

        if isinstance(raw.payload, openings.Part):
            yield from foreign_lines.normalize(raw.payload, translate, usage_rows.Defaults())
            return
        store = self._store()
        for each in raw.payload.found:
            with store.file(each.key, etag=each.etag) as path:
                try:
                    yield from foreign_lines.normalize(
                        openings.Part(name=each.key, path=path), translate, usage_rows.Defaults()
                    )
                except BadDelivery as problem:
                    yield Normalized(_EMPTY, (problem.rejected,), file=each.key)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """One object of the log."""
        part = openings.Part(name=name, content=content)
        found, size = openings.digest([part])
        return Raw(name=name, payload=part, content_hash=found, size_bytes=size, files=(name,))

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether the bucket can be listed, which accounts and regions log there, and whether an object can be read."""
        try:
            store = self._store()
            folders = self._folders(store)
        except SourceUnavailable as problem:
            yield Finding(f"List {self.config.url}", "missing", str(problem), "; ".join(self.grants))
            return
        if not folders:
            detail = f"There is no AWSLogs/…/{_FOLDER}/ below {self.config.url}."
            remedy = "Switch on model invocation logging to S3 in Bedrock's settings, or correct the prefix"
            yield Finding(f"List {self.config.url}", "missing", detail, remedy)
            return
        named = sorted({"/".join(each.rstrip("/").split("/")[-3::2]) for each in folders})
        yield Finding(f"List {self.config.url}", "ok", f"Accounts and regions: {', '.join(named)}")
        try:
            first = next(iter(self.read({}, window)), None)
            if first is None:
                yield Finding("Read", "note", "It may be listed, and nothing was logged in this time.")
                return
            store.content(first.payload.found[0].key)
        except SourceUnavailable as problem:
            yield Finding("Read", "missing", str(problem), "; ".join(self.grants))
            return
        yield Finding("Read", "ok", f"First object: {first.files[0]}")

    def _store(self) -> stores.Store:
        config = self.config
        if not config.url.startswith("s3://"):
            raise SourceUnavailable(f"expected s3://bucket/prefix, found {config.url!r}")
        options = stores.Options(config.endpoint_url, config.region, config.role_arn, config.external_id)
        return stores.open_store(config.url, options, self.credentials)

    def _folders(self, store: stores.Store) -> list[str]:
        """The folders of accounts and regions that log, each with its slash."""
        root = f"{store.prefix.rstrip('/')}/AWSLogs/".lstrip("/")
        wanted = [f"{root}{account}/" for account in self.config.accounts] or store.folders(root)
        found = [
            folder
            for account in wanted
            for folder in (
                [f"{account}{_FOLDER}/{region}/" for region in self.config.regions]
                or store.folders(f"{account}{_FOLDER}/")
            )
        ]
        return sorted(found)

    def _by_hour(
        self, store: stores.Store, start: datetime, end: datetime
    ) -> Iterator[tuple[datetime, list[stores.Object]]]:
        """The objects of each hour, over all accounts and regions. A whole bucket is never listed."""
        folders = self._folders(store)
        is_long = end - start > _BY_DAY
        step = timedelta(days=1) if is_long else _HOUR
        at = _floor(start, step)
        while at < end:
            prefix = f"{at:%Y/%m/%d/}" if is_long else f"{at:%Y/%m/%d/%H/}"
            hours: dict[datetime, list[stores.Object]] = defaultdict(list)
            for folder in folders:
                for each in store.objects(f"{folder}{prefix}"):
                    if (hour := _hour(each.key)) and start <= hour < end:
                        hours[hour].append(each)
            yield from sorted(hours.items())
            at += step


def _floor(moment: datetime, step: timedelta) -> datetime:
    """The last full hour or day of UTC."""
    return moment.astimezone(UTC) - (moment - _EPOCH) % step


def _hour(key: str) -> datetime | None:
    """The hour of a log's key; None for everything else that lies there."""
    found = _KEY.search(key)
    if not found:
        return None
    year, month, day, hour = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        return None


def _parts(objects: Sequence[stores.Object]) -> Iterator[list[stores.Object]]:
    held: list[stores.Object] = []
    size = 0
    for each in objects:
        if held and (len(held) == _UNIT_OBJECTS or size + each.size > _UNIT_BYTES):
            yield held
            held, size = [], 0
        held.append(each)
        size += each.size
    if held:
        yield held


def _unit(hour: datetime, part: int, objects: Sequence[stores.Object], seen: Mapping[str, str]) -> Raw:
    return Raw(
        name=f"invocations of {hour:%F %H}:00{f', part {part}' if part > 1 else ''}",
        payload=_Objects(tuple(objects)),
        content_hash=stores.listing_hash(objects),
        size_bytes=sum(each.size for each in objects),
        cursor={"through": hour.isoformat(), "seen": dict(seen)},
        files=tuple(each.key for each in objects),
    )
