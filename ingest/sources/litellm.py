"""Calls that went through a LiteLLM proxy, from its spend logs: over its API or straight from its database."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar

import httpx
import orjson

from costobs.kernel import http
from ingest.sources.base import (
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
from ingest.sources.formats.usage import foreign_lines, litellm_rows, usage_rows
from ingest.sources.stores import postgres

SLOT = timedelta(minutes=10)
PAGE = 1000  # the most that /spend/logs/v2 gives at once
_FEWER = 700  # rows that a part of a span is meant to have
_MOST_PARTS = 64
_UNIT_ROWS = 50_000
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATEMENT_SECONDS = 60

Row = dict[str, Any]  # a row of LiteLLM_SpendLogs, reduced to what is read


@dataclass(frozen=True, slots=True)
class LiteLlmConfig:
    """Where the spend logs are read."""

    mode: str = setting("api", hint="Over the proxy's API, or from its PostgreSQL", choices=("api", "database"))
    url: str = setting("", hint="api: address of the proxy, such as https://litellm.example.com")
    host: str = setting("", hint="database: host of LiteLLM's PostgreSQL; a replica will do")
    port: int = setting(5432, hint="database: its port")
    database: str = setting("litellm", hint="database: its name")
    user: str = setting("", hint="database: a user with SELECT on the table, and no more")
    schema: str = setting("public", hint="database: the schema of the table")
    sslmode: str = setting("prefer", hint="database: TLS", choices=postgres.SSL_MODES)
    overlap_minutes: int = setting(20, hint="How far back is read again: rows are written when a call ends")
    team_by: str = setting("alias", hint="Team by the name people gave it, or by its id", choices=("alias", "id"))


class LiteLlm(Source):
    """The spend logs of a LiteLLM proxy, one row for each call.

    `api` asks `/spend/logs/v2` with a key of a proxy admin or admin viewer; `database` reads the table
    `"LiteLLM_SpendLogs"`, read-only and with a time limit, and is the way for busy proxies. Tokens are taken, with the cached
    ones out of the metadata; LiteLLM's own prices, margins and discounts are kept beside each call and never become a cost.
    A call that LiteLLM answered out of its cache counts as a call without tokens. Example configuration:

        {"mode": "api", "url": "https://litellm.example.com", "host": "", "port": 5432, "database": "litellm", "user": "",
         "schema": "public", "sslmode": "prefer", "overlap_minutes": 20, "team_by": "alias"}

    Team, key and organization are those of the virtual key; `spend_logs_metadata` and tags like `feature:answers` name the rest.
    """

    kind: ClassVar[str] = "litellm"
    title: ClassVar[str] = "LiteLLM proxy"
    produces: ClassVar[Produces] = "usage"
    Config: ClassVar[type[LiteLlmConfig]] = LiteLlmConfig
    secrets: ClassVar[Sequence[Secret]] = (
        Secret("api_key", "api: a key of a user with the role proxy_admin_viewer (or proxy_admin)"),
        Secret("password", "database: of the user"),
    )
    grants: ClassVar[Sequence[str]] = (
        "api: a key of a user with the role proxy_admin_viewer",
        'database: GRANT SELECT ON "LiteLLM_SpendLogs" TO the user',
    )
    expected_lag_seconds: ClassVar[int] = 900
    poll_seconds: ClassVar[int] = 120
    backfill_days: ClassVar[int] = 1

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Slots of ten minutes that have rows, and the last overlap again: a row is dated by its call's start."""
        start = window.start
        if through := cursor.get("through"):
            start = datetime.fromisoformat(through) - timedelta(minutes=self.config.overlap_minutes)
        start, end = _slot(start), window.end.replace(microsecond=0)
        if start >= end:
            return
        rows = self._from_database(start, end) if self.config.mode == "database" else self._from_api(start, end)
        yield from _units(rows, end)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The calls of a slot."""
        reading = litellm_rows.Reading(team_by=self.config.team_by)

        def translate(row: Mapping[str, Any], _number: int) -> foreign_lines.Event:
            return litellm_rows.event(row, reading)

        yield from foreign_lines.normalize(raw.payload, translate, usage_rows.Defaults())

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """Rows as lines of JSON, as the API gives them."""
        part = openings.Part(name=name, content=content)
        found, size = openings.digest([part])
        return Raw(name=name, payload=part, content_hash=found, size_bytes=size, files=(name,))

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether the proxy or its database lets us read, and what the window holds."""
        subject = 'Read "LiteLLM_SpendLogs"' if self.config.mode == "database" else "Ask /spend/logs/v2"
        grant = self.grants[self.config.mode == "database"]
        rows = self._from_database if self.config.mode == "database" else self._from_api
        try:
            first = next(rows(_slot(window.start), window.end.replace(microsecond=0)), None)
        except SourceUnavailable as problem:
            yield Finding(subject, "missing", str(problem), grant)
            return
        if first is None:
            yield Finding(subject, "note", "It may be read, and has no call in this time.")
            return
        yield Finding(subject, "ok", f"First call: {first['startTime']}")
        if not first["metadata"].get("usage_object"):
            detail = "The first call has no usage_object in its metadata: cached tokens are not known of such calls."
            yield Finding("Cached tokens", "note", detail, "Update LiteLLM to 1.60 or later")

    def _from_api(self, start: datetime, end: datetime) -> Iterator[Row]:
        """Rows of a span in order of time. A span of more rows than one answer holds is asked for in parts: pages of a
        growing table shift, rows of one moment have no order among them, and totals are cut at 10,000."""
        with self._client() as client:
            yield from self._span(client, start, end)

    def _span(self, client: httpx.Client, start: datetime, end: datetime) -> Iterator[Row]:
        found, total, is_cut = self._page(client, start, end, 1)
        if not is_cut and len(found) < PAGE and total <= len(found):
            yield from _between(found, start, end)
            return
        seconds = int((end - start).total_seconds())
        if seconds > 1:
            parts = min(max(-(-max(total, PAGE) // _FEWER), 2), _MOST_PARTS, seconds)
            edges = [start + _SECOND * (seconds * at // parts) for at in range(parts + 1)]
            for first, last in pairwise(edges):
                yield from self._span(client, first, last)
            return
        yield from self._second(client, start, end, found)

    def _second(self, client: httpx.Client, start: datetime, end: datetime, found: list[Row]) -> Iterator[Row]:
        """More rows in one second than one answer holds: page by page, each row once."""
        known: dict[str, Row] = {}
        page, total = 1, 0
        while found and any(str(row["request_id"]) not in known for row in found):
            known |= {str(row["request_id"]): row for row in found}
            page += 1
            found, total, is_cut = self._page(client, start, end, page)
            if is_cut:
                raise SourceUnavailable(f"LiteLLM cut its answer for the second {start}; read its database instead")
        if len(known) < min(total, 10 * PAGE):
            raise SourceUnavailable(
                f"LiteLLM gave {len(known)} of {total} rows of the second {start}; it is asked again"
            )
        yield from _between(sorted(known.values(), key=_order), start, end)

    def _page(self, client: httpx.Client, start: datetime, end: datetime, page: int) -> tuple[list[Row], int, bool]:
        """One answer: its rows, how many there are in all, and whether LiteLLM says that it cut something."""
        asked: dict[str, str | int] = {
            "start_date": f"{start:%F %T}",
            "end_date": f"{end:%F %T}",
            "page": page,
            "page_size": PAGE,
        }
        try:
            status, headers, content = http.fetch(
                client,
                "GET",
                f"{self.config.url.rstrip('/')}/spend/logs/v2",
                params={**asked, "sort_by": "startTime", "sort_order": "asc"},
            )
        except (httpx.HTTPError, httpx.InvalidURL, http.TooLong) as problem:
            raise SourceUnavailable(f"LiteLLM cannot be reached at {self.config.url}: {problem}") from problem
        if status in {401, 403}:
            raise SourceUnavailable(f"LiteLLM refused the key ({status}); {self.grants[0]}")
        if status == 404:
            raise SourceUnavailable("LiteLLM knows no /spend/logs/v2; update it to 1.80 or later, or read its database")
        if status != 200:
            raise SourceUnavailable(f"LiteLLM answered {status}; the next run tries again")
        try:
            body = orjson.loads(content)
            rows = [litellm_rows.reduced(row) for row in body["data"]]
            total = int(body.get("total") or 0)
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError) as problem:
            raise SourceUnavailable(f"LiteLLM's answer is not what /spend/logs/v2 gives: {problem!r}") from problem
        return rows, total, headers.get("x-litellm-spend-logs-truncated", "").lower() == "true"

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        try:
            http.check(self.config.url)
        except http.BlockedAddress as problem:
            raise SourceUnavailable(str(problem)) from problem
        headers = {"Authorization": f"Bearer {self.credentials.get('api_key', '')}"}
        with http.client(headers=headers) as client:
            yield client

    def _from_database(self, start: datetime, end: datetime) -> Iterator[Row]:
        """Rows slot by slot, each in a short read-only transaction that leaves no old snapshot in the customer's database."""
        import psycopg
        from psycopg import sql

        table = sql.Identifier(self.config.schema or "public", "LiteLLM_SpendLogs")
        statement = sql.SQL(_COPY).format(table=table, metadata=sql.SQL(_METADATA))
        following = sql.SQL('SELECT min("startTime") FROM {} WHERE "startTime" >= %s AND "startTime" < %s').format(
            table
        )
        at: datetime | None = start
        try:
            with self._connection() as connection:
                while at is not None and at < end:
                    until = min(at + SLOT, end)
                    with connection.transaction(), connection.cursor() as cursor:
                        cursor.execute(
                            f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'; SET LOCAL timezone = 'UTC'"
                        )
                        with cursor.copy(statement, [_naive(at), _naive(until)]) as copy:
                            rows = [litellm_rows.reduced(orjson.loads(line[0])) for line in copy.rows()]
                        cursor.execute(following, [_naive(until), _naive(end)])
                        found = cursor.fetchone()
                    yield from rows
                    at = _slot(_aware(found[0])) if found and found[0] else None
        except psycopg.Error as problem:
            hint = f"; {self.grants[1]}" if isinstance(problem, psycopg.errors.InsufficientPrivilege) else ""
            raise SourceUnavailable(f"LiteLLM's database cannot be read: {postgres.said(problem)}{hint}") from problem

    def _connection(self) -> AbstractContextManager[Any]:
        config = self.config
        return postgres.reading(
            host=config.host,
            port=config.port,
            database=config.database,
            user=config.user,
            password=self.credentials.get("password", ""),
            sslmode=config.sslmode,
        )


# The long parts of the metadata stay where they are; metadata that is JSON packed into text comes whole.
_METADATA = f"""CASE WHEN jsonb_typeof(metadata::jsonb) = 'object' THEN jsonb_build_object(
    {", ".join(f"'{name}', metadata::jsonb -> '{name}'" for name in litellm_rows.METADATA)}
) ELSE metadata::jsonb END AS metadata"""
_WANTED = ", ".join(f"'{name}'" for name in litellm_rows.COLUMNS)
# Columns by name out of the whole row, so that one that a release lacks is null rather than an error.
_COPY = f"""COPY (
    SELECT (SELECT jsonb_object_agg(key, value) FROM jsonb_each(to_jsonb(logs) - 'messages' - 'response' -
        'proxy_server_request' - 'metadata' - 'spend') WHERE key = ANY (ARRAY[{_WANTED}])
    ) || jsonb_build_object('spend', spend::text) || to_jsonb(further) AS row
    FROM {{table}} logs, LATERAL (SELECT {{metadata}}) further
    WHERE "startTime" >= %s AND "startTime" < %s
    ORDER BY "startTime", request_id
) TO STDOUT"""


def _units(rows: Iterator[Row], end: datetime) -> Iterator[Raw]:
    """Rows in order of time as units: a slot each, or a part of one where it has very many."""
    held: list[bytes] = []
    current: datetime | None = None
    part = 1
    for row in rows:
        slot = _slot(_time(row))
        if current is not None and (slot != current or len(held) == _UNIT_ROWS):
            yield _unit(held, current, part, end)
            part = part + 1 if slot == current else 1
            held = []
        current = slot
        held.append(orjson.dumps(row))
    if current is not None:
        yield _unit(held, current, part, end)


def _unit(lines: list[bytes], slot: datetime, part: int, end: datetime) -> Raw:
    content = b"\n".join(lines)
    name = f"spend logs {slot:%F %H:%M}{f', part {part}' if part > 1 else ''}"
    return Raw(
        name=name,
        payload=openings.Part(name=name, content=content),
        content_hash=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        cursor={"through": min(slot + SLOT, end).isoformat()},
        files=(name,),
    )


def _slot(moment: datetime) -> datetime:
    return moment - (moment - _EPOCH) % SLOT


def _time(row: Row) -> datetime:
    try:
        found = datetime.fromisoformat(str(row["startTime"]))
    except ValueError as problem:
        raise SourceUnavailable(f"LiteLLM gave a row whose startTime is {row['startTime']!r}") from problem
    return _aware(found)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _order(row: Row) -> tuple[datetime, str]:
    return _time(row), str(row["request_id"])


def _between(rows: list[Row], start: datetime, end: datetime) -> list[Row]:
    """The rows of a half-open span: LiteLLM includes the end."""
    return sorted((row for row in rows if start <= _time(row) < end), key=_order)


def _naive(moment: datetime) -> datetime:
    """UTC without a zone, as LiteLLM's column keeps it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
