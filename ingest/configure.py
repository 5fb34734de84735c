"""Setting up sources: create, pause, remove."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from ingest.models import Delivery, Load, Source
from ingest.sources import KINDS


class BadConfig(ValueError):
    """The configuration does not fit the kind; the message names the field."""


def create_source(
    *,
    kind: str,
    name: str,
    config: Mapping[str, Any] | None = None,
    credentials: Mapping[str, str] | None = None,
    is_sample: bool = False,
    now: datetime,
) -> int:
    """The id of the source of this kind and name, made if it is not there. Repeating it changes nothing."""
    config = dict(config or {})
    known = {field.name for field in fields(KINDS[kind].Config)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise BadConfig(f"{kind} has no setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    try:
        KINDS[kind].Config(**config)
    except (TypeError, ValueError) as problem:
        raise BadConfig(f"{kind}: {problem}") from problem
    source, _created = Source.objects.get_or_create(
        kind=kind,
        name=name,
        defaults={
            "config": config,
            "credentials": dict(credentials) if credentials else None,
            "is_sample": is_sample,
            "created_at": now,
        },
    )
    return source.pk


def pause(*, source_id: int, is_active: bool) -> None:
    """Stops or restarts the reading of a source; what was loaded stays."""
    Source.objects.filter(pk=source_id).update(is_active=is_active)


def remove_source(*, source_id: int) -> None:
    """Deletes a source and every row it delivered, in one transaction. The books must be rolled up after it."""
    with transaction.atomic(), connection.cursor() as cursor:
        for table in (
            "ingest_usageevent",
            "ingest_usagehour",
            "ingest_usageday",
            "ingest_latencyday",
            "ingest_agentrun",
            "ingest_gpusample",
            "ingest_gpuhour",
            "ingest_charge",
        ):
            cursor.execute(f"DELETE FROM {table} WHERE source_id = %s", [source_id])
        Delivery.objects.filter(source_id=source_id).delete()
        Load.objects.filter(source_id=source_id).delete()
        Source.objects.filter(pk=source_id).delete()
