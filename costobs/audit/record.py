"""Writing the audit log, and telling the people in it apart."""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from costobs.audit.models import AuditEntry


def write(
    *,
    actor: str,
    act: str,
    subject: str,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Adds one entry, in the caller's transaction: an act and its entry are kept or lost together."""
    AuditEntry.objects.create(
        actor=actor, act=act, subject=subject, at=at, before=dict(before or {}), after=dict(after or {}), reason=reason
    )


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are of one person, however they are spelt: where two have to agree, capitals make no second one."""
    return _spelt(one) == _spelt(other)


def _spelt(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())
