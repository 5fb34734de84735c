"""Which source counts where several tell of the same money: a person's choice, else the most specific one."""

from datetime import date
from typing import Any

from django.db import connection

from attribution.dimensions import BILLING_SPECIFICITY, USAGE_SPECIFICITY, USAGE_SUMS
from costobs.kernel.period import Days

# A person's choice: the chosen source counts, every other one does not, where the chosen one has anything to say. A choice for
# one account goes before a choice for all.
_CHOSEN = """
UPDATE {table} b SET counts = FALSE FROM ingest_authority t
WHERE t.role = %(role)s AND NOT t.is_default AND t.source_id <> b.source_id AND t.provider_name = b.{provider}
    AND coalesce(t.valid_from <= %(day)s, TRUE) AND coalesce(t.valid_to > %(day)s, TRUE) AND t.account IN ('', {accounts})
    AND (t.account <> '' OR NOT EXISTS (SELECT FROM ingest_authority o WHERE o.role = t.role AND NOT o.is_default
        AND o.provider_name = t.provider_name AND o.account <> '' AND o.account IN ({accounts})
        AND coalesce(o.valid_from <= %(day)s, TRUE) AND coalesce(o.valid_to > %(day)s, TRUE)))
    AND EXISTS (SELECT FROM {table} x WHERE x.source_id = t.source_id AND x.{provider} = t.provider_name
        AND t.account IN ('', {others}))
"""


def _chosen(table: str, provider: str, *columns: str) -> str:
    listed = {alias: ", ".join(f"{alias}.{column}" for column in columns) for alias in ("b", "x")}
    return _CHOSEN.format(table=table, provider=provider, accounts=listed["b"], others=listed["x"])


# Else, where several sources bill one account on one day, the most specific kind counts, the oldest of one kind.
_BILLING = """
WITH ranked AS (
    SELECT seen.*, count(*) OVER w AS sources,
        row_number() OVER (w ORDER BY coalesce(array_position(%(billing)s, s.kind), 1000), s.id) AS place
    FROM (SELECT DISTINCT provider, billing_account_id, sub_account_id, source_id FROM book_charge WHERE counts) seen
    JOIN ingest_source s ON s.id = seen.source_id
    WINDOW w AS (PARTITION BY provider, billing_account_id, sub_account_id)
), shown AS (
    INSERT INTO ingest_authority (provider_name, account, role, source_id, is_default)
    SELECT provider, sub_account_id, 'billing', min(source_id), TRUE FROM ranked WHERE sources > 1 AND place = 1 GROUP BY 1, 2
    ON CONFLICT (provider_name, account, role, valid_from) DO NOTHING
)
UPDATE book_charge c SET counts = FALSE FROM ranked r
WHERE r.place > 1 AND (c.provider, c.billing_account_id, c.sub_account_id, c.source_id)
    = (r.provider, r.billing_account_id, r.sub_account_id, r.source_id)
"""

# The same for usage. Two sources of one kind are two applications, each with its own calls, unless they share an event. Of two
# kinds one may know no account, or one of its own (a proxy's organization) that the other does not: that is any account.
_USAGE_AUTHORITY = """
WITH seen AS (
    SELECT DISTINCT u.provider_name, coalesce(nullif(u.account, ''), u.project) AS account, u.deployment, u.source_id, s.kind,
        coalesce(array_position(%(usage)s, s.kind), 1000) AS place
    FROM book_usage u JOIN ingest_source s ON s.id = u.source_id WHERE u.counts
), pairs AS (
    SELECT r.*, f.source_id AS first_id, f.account AS first_account FROM seen r JOIN seen f USING (provider_name, deployment)
    WHERE r.kind <> ALL(%(sums)s) AND CASE WHEN r.kind <> f.kind
        THEN (f.place, f.source_id) < (r.place, r.source_id) AND (f.account = r.account OR '' IN (f.account, r.account))
        ELSE f.source_id < r.source_id AND f.account = r.account AND EXISTS (
            SELECT FROM ingest_usageevent x JOIN ingest_usageevent y ON y.event_id = x.event_id AND y.source_id = f.source_id
            WHERE x.source_id = r.source_id AND x.occurred_at >= %(start)s AND x.occurred_at < %(end)s
                AND y.occurred_at >= %(start)s AND y.occurred_at < %(end)s) END
), second AS (
    -- Nobody yields to one who does not count: else calls that only these two tell of would be lost.
    SELECT r.* FROM pairs r WHERE NOT EXISTS (SELECT FROM pairs f WHERE f.provider_name = r.provider_name
        AND f.deployment = r.deployment AND f.source_id = r.first_id AND f.account = r.first_account)
), shown AS (
    INSERT INTO ingest_authority (provider_name, account, role, source_id, is_default)
    SELECT DISTINCT provider_name, coalesce(nullif(account, ''), deployment), 'usage', first_id, TRUE FROM second
    ON CONFLICT (provider_name, account, role, valid_from) DO NOTHING
)
UPDATE book_usage u SET counts = FALSE FROM second r
WHERE (u.provider_name, coalesce(nullif(u.account, ''), u.project), u.deployment, u.source_id)
    = (r.provider_name, r.account, r.deployment, r.source_id)
"""

# A vendor's own sums hold every call, a log's among them, so they go by model: what a log tells of a model counts, the sums
# count for what no log tells. Where the log names no account that the sums know (none, or another name for it), it stands for
# all of them. Two sums of one account are the same calls.
_SUMS = """
WITH logged AS (
    SELECT DISTINCT u.provider_name, u.model, coalesce(nullif(u.account, ''), u.project) AS account, u.source_id,
        array_position(%(usage)s, s.kind) AS place
    FROM book_usage u JOIN ingest_source s ON s.id = u.source_id WHERE u.counts AND s.kind <> ALL(%(sums)s)
), summed AS (
    SELECT DISTINCT u.provider_name, u.model, u.account, u.project, u.source_id, array_position(%(usage)s, s.kind) AS place
    FROM book_usage u JOIN ingest_source s ON s.id = u.source_id WHERE u.counts AND s.kind = ANY(%(sums)s)
), second AS (
    SELECT r.*, l.source_id AS first_id FROM summed r JOIN logged l USING (provider_name, model)
    WHERE l.place < r.place AND (l.account IN (r.account, r.project) OR NOT EXISTS (
        SELECT FROM summed o WHERE o.source_id = r.source_id AND o.provider_name = l.provider_name AND l.account <> ''
            AND l.account IN (o.account, o.project)))
    UNION
    SELECT r.*, f.source_id FROM summed r JOIN summed f USING (provider_name, account)
    WHERE f.place = r.place AND f.source_id < r.source_id
), shown AS (
    INSERT INTO ingest_authority (provider_name, account, role, source_id, is_default)
    SELECT provider_name, account, 'usage', min(first_id), TRUE FROM second GROUP BY 1, 2
    ON CONFLICT (provider_name, account, role, valid_from) DO NOTHING
)
UPDATE book_usage u SET counts = FALSE FROM second r
WHERE (u.provider_name, u.model, u.account, u.project, u.source_id)
    = (r.provider_name, r.model, r.account, r.project, r.source_id)
"""


def run(*, day: date) -> None:
    """Marks the staged charges and usage that do not count. Only sources with data on the day compete, so money is never lost
    to a source that is silent; what was decided by default is listed in the authority table for people to change.
    """
    days = Days(day, date.fromordinal(day.toordinal() + 1))
    values: dict[str, Any] = {  # parameters of SQL
        "day": day,
        "start": days.start_at,
        "end": days.end_at,
        "billing": list(BILLING_SPECIFICITY),
        "usage": list(USAGE_SPECIFICITY),
        "sums": list(USAGE_SUMS),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            _chosen("book_charge", "provider", "sub_account_id", "billing_account_id"), {**values, "role": "billing"}
        )
        cursor.execute(
            _chosen("book_usage", "provider_name", "account", "project", "deployment"), {**values, "role": "usage"}
        )
        cursor.execute(_BILLING, values)
        cursor.execute(_USAGE_AUTHORITY, values)
        cursor.execute(_SUMS, values)
