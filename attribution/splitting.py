"""Splits in SQL, exactly as `costobs.kernel.money.split` does them, and the sets that own parts nobody's usage owns."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import orjson
from django.db import connection

from costobs.kernel.money import SPLIT_PLACES

COSTS = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")
# What every part of a split takes over from the charges it is made of, whoever splits them.
CARRIED = (
    "source_id",
    "pool",
    "attribute_set_id",
    "provider_name",
    "sub_account",
    "service_name",
    "region",
    "invoice_issuer_name",
    "charge_category",
    "charge_class",
    "cost_kind",
    "purchase_option",
    "currency",
)
_SCALE = 10**SPLIT_PLACES
_QUANTUM = f"0.{'0' * (SPLIT_PLACES - 1)}1"

# What tells attribute sets apart wherever and whenever they were first seen: ids follow the order of arrival, and whoever takes
# the remainder of a split must not.
STABLE_SET = """(SELECT a.digest || ' ' || s.kind || '/' || s.name FROM ingest_attributeset a
    JOIN ingest_source s ON s.id = a.source_id WHERE a.id = attribute_set_id)"""


def parts_sql(*, weighted: str, pool: str, order: str, carried: Sequence[str]) -> str:
    """A query of parts: `carried` columns, `weight`, and the four costs of each part.

    `weighted` is a relation with a row for each part: `pool` (an expression that tells pools apart), a non-negative
    `weight`, the four costs of the whole pool repeated on each row, and the `carried` columns. A part is cut towards zero at
    12 decimals, exactly, and the heaviest part (the first by `order` on a tie) takes the remainder. Pools whose weights are
    all zero give no rows: the caller keeps them whole.
    """
    # div() truncates the exact quotient; numeric's own division rounds it first, which may cross the cut.
    cuts = ", ".join(f"div({cost} * weight * {_SCALE}, whole) * {_QUANTUM} AS cut_{cost}" for cost in COSTS)
    finals = ", ".join(
        f"cut_{cost} + CASE WHEN place = 1 THEN {cost} - sum(cut_{cost}) OVER (PARTITION BY pool_key) ELSE 0 END AS {cost}"
        for cost in COSTS
    )
    names = ", ".join(carried)
    return f"""
        SELECT {names}, weight, {finals}
        FROM (SELECT *, {cuts}
              FROM (SELECT *, {pool} AS pool_key, sum(weight) OVER (PARTITION BY {pool}) AS whole,
                        row_number() OVER (PARTITION BY {pool} ORDER BY weight DESC, {order}) AS place
                    FROM {weighted} weighed) ranked
              WHERE whole > 0) cut_parts"""


def digest(attributes: dict[str, str]) -> str:
    """The identity of an attribute set: SHA-256 of its canonical JSON, as for sets that come from vendors."""
    return hashlib.sha256(orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)).hexdigest()


def hold_owners() -> None:
    """Lets one transaction at a time add attribute sets, teams and owners, so that two that add the same ones in another order
    wait for each other instead of for ever.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs owners'))")


def owner_set(*, source_id: int, team: str, reason: str, now: datetime, **owner: str) -> int:
    """The attribute set that carries parts of a split: of `team`, or of nobody for a `reason` (bypass, no_telemetry …).

    `owner` may name the feature, cost centre and environment too.
    """
    told = {"allocated": "1", "team": team, "reason": reason, **owner}
    attributes = {name: value for name, value in told.items() if value}
    key: list[int | str] = [source_id, digest(attributes)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM ingest_attributeset WHERE source_id = %s AND digest = %s", key)
        found = cursor.fetchone()
        if found is None:
            hold_owners()
            document = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS).decode()
            cursor.execute(
                """INSERT INTO ingest_attributeset (source_id, digest, attributes, seen_at) VALUES (%s, %s, %s::jsonb, %s)
                   ON CONFLICT (source_id, digest) DO UPDATE SET digest = excluded.digest RETURNING id""",
                [*key, document, now],
            )
            found = cursor.fetchone()
    return int(found[0])
