"""A gate as a whole: its place in the books, its row, its token. Made and taken out together or not at all."""

from datetime import datetime

from django.db import transaction

from alerts import gates
from costobs.access import tokens
from ingest import configure


class Invalid(ValueError):
    """The gate cannot be made as asked."""


def create(*, name: str, deployment: str, provider: str, by: str, now: datetime) -> str:
    """The token of a new gate, which nobody can read again. Raises Invalid."""
    config = {"provider": provider, "deployment": deployment}
    try:
        with transaction.atomic():
            source_id = configure.create_source(kind="gate", name=name, config=config, now=now)
            gates.create(name=name, deployment=deployment, provider=provider, source_id=source_id, by=by, now=now)
            _token, text = tokens.create(
                name=_token_name(name), grants=["gate"], source_id=source_id, created_by=by, now=now
            )
    except (gates.Invalid, tokens.BadToken, configure.BadConfig) as problem:
        raise Invalid(str(problem)) from problem
    return text


def remove(*, name: str, by: str, now: datetime) -> bool:
    """Takes a gate out and ends its token; its usage stays. False when there is none of that name."""
    with transaction.atomic():
        found = gates.remove(name=name, by=by, now=now)
        tokens.revoke(name=_token_name(name), revoked_by=by, now=now)
    return found


def _token_name(gate: str) -> str:
    return f"gate {gate}"
