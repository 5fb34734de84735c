"""API tokens: made once, shown once, stored as a hash."""

from collections.abc import Sequence
from datetime import datetime

from costobs.access.models import ApiToken
from costobs.audit import record
from costobs.kernel import secrets

GRANTS = ("read", "ingest", "gate", "budgets")


class BadToken(ValueError):
    """The token cannot be made as asked."""


def create(
    *,
    name: str,
    grants: Sequence[str],
    created_by: str,
    now: datetime,
    source_id: int | None = None,
    teams: Sequence[str] | None = None,
) -> tuple[ApiToken, str]:
    """A new token and its text, which nobody can read again. Raises BadToken."""
    unknown = sorted(set(grants) - set(GRANTS))
    if unknown or not grants:
        raise BadToken(f"expected grants out of {', '.join(GRANTS)}, found {', '.join(unknown) or 'none'}")
    if ApiToken.objects.filter(name=name).exists():
        raise BadToken(f"a token called {name!r} exists; revoke it or choose another name")
    text = secrets.new_token("cobs")
    token = ApiToken.objects.create(
        name=name,
        sha256=secrets.digest(text),
        prefix=text[:9],
        grants=list(grants),
        teams=None if teams is None else list(teams),
        source_id=source_id,
        created_at=now,
        created_by=created_by,
    )
    after = {"grants": list(grants), "teams": None if teams is None else list(teams), "source": source_id}
    record.write(actor=created_by, act="token.created", subject=f"token:{name}", at=now, after=after)
    return token, text


def revoke(*, name: str, revoked_by: str, now: datetime) -> bool:
    """Ends a token; False when there is none of that name in force."""
    changed = ApiToken.objects.filter(name=name, revoked_at=None).update(revoked_at=now)
    if changed:
        record.write(actor=revoked_by, act="token.revoked", subject=f"token:{name}", at=now)
    return bool(changed)


def of_source(*, source_id: int) -> list[str]:
    """The names of the tokens in force that push to this source."""
    held = ApiToken.objects.filter(source_id=source_id, revoked_at=None)
    return list(held.order_by("name").values_list("name", flat=True))


def revoke_of_source(*, source_id: int, revoked_by: str, now: datetime) -> list[str]:
    """Ends every token that pushes to this source, which is about to go; their names."""
    names = of_source(source_id=source_id)
    for name in names:
        revoke(name=name, revoked_by=revoked_by, now=now)
    return names


def find(text: str, *, now: datetime) -> ApiToken | None:
    """The token in force with this text; notes its use at most once a minute."""
    token = ApiToken.objects.filter(sha256=secrets.digest(text), revoked_at=None).first()
    if token and (token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token
