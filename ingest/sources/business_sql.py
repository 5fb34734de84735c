"""Counts of what the business does, from a question to its own PostgreSQL."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import orjson

from costobs.kernel.period import Days, day_of
from ingest.rows import BUSINESS_METRIC
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
from ingest.sources.formats import figures, openings, pushed_rows
from ingest.sources.stores import postgres

MOST_ROWS = 200_000
_AT_ONCE = 2_000
_PROBED = 20
_MOST_SECONDS = 600
# :start and :end, but not the cast in x::start.
_ASKED = re.compile(r"(?<![:\w]):(start|end)\b")


@dataclass(frozen=True, slots=True)
class BusinessSqlConfig:
    """Where figures are asked for, and how."""

    host: str = setting("", hint="Host of your PostgreSQL; a replica will do", required=True)
    port: int = setting(5432, hint="Its port")
    database: str = setting("", hint="Its name", required=True)
    user: str = setting("", hint="A user with SELECT on what the query reads, and no more", required=True)
    sslmode: str = setting("prefer", hint="TLS", choices=postgres.SSL_MODES)
    query: str = setting(
        "", hint="One SELECT. :start and :end stand for the UTC time that is asked for", label="Query", required=True
    )
    name: str = setting("", hint="Of rows that name no figure, such as tickets_resolved")
    unit: str = setting("", hint="Of rows that name none: ticket, document, or a currency for revenue")
    period: str = setting("day", hint="How long a row without period_end is", choices=figures.PERIODS)
    statement_seconds: int = setting(60, hint="After so many seconds the query is given up")


class BusinessSql(Source):
    """Figures such as tickets resolved or revenue, out of a table of your own PostgreSQL.

    The query is one SELECT that gives a row for each figure: `period_start` (or `date`, `day`, `month`), `value` (or `count`),
    and where it likes `period_end`, `name`, `unit`, `team`, `feature` and other attributes. It runs once an hour in a
    read-only transaction with a time limit, over the last 35 days; a figure that changed replaces the earlier one, one that
    is no longer given stays. Times without a zone are UTC. Example configuration:

        {"host": "replica.example.com", "port": 5432, "database": "desk", "user": "costobs", "sslmode": "require",
         "query": "SELECT closed_at::date AS day, team, count(*) FROM tickets WHERE closed_at >= :start AND closed_at < :end GROUP BY 1, 2",
         "name": "tickets_resolved", "unit": "ticket", "period": "day", "statement_seconds": 60}
    """  # noqa: E501 - an example is one line of JSON

    kind: ClassVar[str] = "business_sql"
    title: ClassVar[str] = "Business metrics by SQL"
    produces: ClassVar[Produces] = "business_metrics"
    Config: ClassVar[type[BusinessSqlConfig]] = BusinessSqlConfig
    secrets: ClassVar[Sequence[Secret]] = (Secret("password", "Of the user"),)
    grants: ClassVar[Sequence[str]] = ("GRANT SELECT on the tables of the query TO the user",)
    expected_lag_seconds: ClassVar[int] = 2 * 24 * 3600
    restatement_days: ClassVar[int] = 35
    poll_seconds: ClassVar[int] = 3600
    backfill_days: ClassVar[int] = 31

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """What the query gives for the whole UTC days of the window, as one unit; nothing where it is what was read last."""
        start = Days(day_of(window.start), max(day_of(window.start), day_of(window.end))).start_at
        lines = [orjson.dumps(each, default=_plain) for each in self._rows(start, window.end)]
        content = b"\n".join(lines)
        digest = hashlib.sha256(content).hexdigest()
        if not lines or digest == cursor.get("digest"):
            return
        # Numbered: figures may go back to what they were, and then count again.
        number = int(cursor.get("number", 0)) + 1
        name = f"{self.config.name or 'figures'} {start:%Y-%m-%d} to {window.end:%Y-%m-%d}"
        yield Raw(
            name=name,
            payload=openings.Part(name=name, content=content),
            content_hash=hashlib.sha256(f"{number} {digest}".encode()).hexdigest(),
            size_bytes=len(content),
            cursor={"digest": digest, "number": number},
            files=(name,),
        )

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The figures in the order of the query; one with a wrong column is rejected by its name."""
        yield pushed_rows.normalize(raw.payload, BUSINESS_METRIC, self._figure)

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether the query runs, which columns it gives, and whether its first rows are figures."""
        try:
            rows = list(self._rows(window.start, window.end, most=_PROBED))
        except SourceUnavailable as problem:
            yield Finding("Run the query", "missing", str(problem), "; ".join(self.grants))
            return
        if not rows:
            yield Finding("Run the query", "note", "It runs, and gives no row for this time.")
            return
        yield Finding("Run the query", "ok", f"It gives {', '.join(rows[0])}.")
        for number, each in enumerate(rows, start=1):
            try:
                told = self._figure(orjson.loads(orjson.dumps(each, default=_plain)), number)
            except pushed_rows.Invalid as problem:
                remedy = "Give the column that name in the query, such as closed_at::date AS day"
                yield Finding("Read its rows", "missing", f"Row {number}, {problem.field}: {problem}", remedy)
                return
            if number == 1:
                owner = " / ".join(filter(None, (told["attr_team"], told["attr_feature"]))) or "no owner"
                first = f"First figure: {told['name']} = {told['value']} {told['unit']} of {owner}"
                yield Finding("Read its rows", "ok", f"{first}, {told['period_start']:%Y-%m-%d %H:%M} UTC.")

    def _figure(self, parsed: Mapping[str, Any], number: int) -> pushed_rows.Row:
        told = figures.canonical(parsed)
        config = self.config
        return figures.row(told, number, name=config.name, unit=config.unit, period=config.period)

    def _rows(self, start: datetime, end: datetime, most: int | None = None) -> Iterator[dict[str, Any]]:
        """The rows of the query, the first `most` of them. Raises SourceUnavailable."""
        import psycopg

        config = self.config
        if not config.query.strip("; \n\t"):
            raise SourceUnavailable("there is no query; write one SELECT")
        try:
            with (
                postgres.reading(
                    host=config.host,
                    port=config.port,
                    database=config.database,
                    user=config.user,
                    password=self.credentials.get("password", ""),
                    sslmode=config.sslmode,
                ) as connection,
                connection.transaction(),
            ):
                seconds = max(1, min(config.statement_seconds, _MOST_SECONDS))
                connection.execute(f"SET LOCAL statement_timeout = '{seconds}s'")
                connection.execute("SET LOCAL timezone = 'UTC'")
                yield from _given(connection, _asked(connection, config.query, start, end), most)
        except psycopg.Error as problem:
            raise SourceUnavailable(f"the query cannot be run: {postgres.said(problem)}") from problem


def _asked(connection: Any, query: str, start: datetime, end: datetime) -> str:
    from psycopg import sql

    moments = {"start": start, "end": end}
    return _ASKED.sub(
        lambda found: sql.Literal(moments[found[1]]).as_string(connection), query.strip().rstrip(";").rstrip()
    )


def _given(connection: Any, query: str, most: int | None) -> Iterator[dict[str, Any]]:
    # A cursor of the server: it takes one SELECT and nothing else, and gives its rows in parts.
    with connection.cursor(name="costobs_figures") as cursor:
        cursor.execute(query)
        names = [str(column.name) for column in cursor.description or ()]
        given = 0
        while rows := cursor.fetchmany(_AT_ONCE):
            for row in rows:
                if given == most:
                    return
                if given == MOST_ROWS:
                    raise SourceUnavailable(
                        f"the query gives more than {MOST_ROWS:,} rows; group it, or ask between :start and :end"
                    )
                given += 1
                yield dict(zip(names, row, strict=True))


def _plain(value: Any) -> Any:
    """A value of PostgreSQL as JSON: moments with their zone, numbers with every digit."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    return str(value)
