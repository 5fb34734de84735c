"""Setting up sources: add, change, rotate, pause, remove."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction

from costobs.audit import record
from costobs.kernel import secrets as sealing
from ingest import removal
from ingest.models import Load, Source
from ingest.sources import KINDS, config
from ingest.sources.base import Source as Kind
from ingest.sources.config import BadConfig as BadConfig  # what callers catch

_LONGEST_NAME = 80
_LONGEST_SECRET = 64 * 1024


class UnknownSource(LookupError):
    """There is no such source."""


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
    stored = _checked(KINDS[kind], config or {})
    source, _created = Source.objects.get_or_create(
        kind=kind,
        name=name,
        defaults={
            "config": stored,
            "credentials": dict(credentials) if credentials else None,
            "credentials_set_at": now if credentials else None,
            "is_sample": is_sample,
            "created_at": now,
        },
    )
    return source.pk


def add_source(
    *,
    kind: str,
    name: str,
    config: Mapping[str, Any],
    credentials: Mapping[str, str],
    by: str,
    now: datetime,
    files_below: Path | None = None,
) -> int:
    """The id of a new source, which is read from now on. Raises BadConfig with every mistake.

    With `files_below` (what comes from a browser) a file of this machine must lie below that directory.
    """
    found = KINDS[kind]
    name = name.strip()
    errors = _name_errors(kind, name)
    stored: dict[str, Any] = {}
    try:
        stored = _settled(found, config, files_below)
    except BadConfig as problem:
        errors |= problem.errors
    try:
        secrets = known_secrets(found, credentials)
    except BadConfig as problem:
        errors |= problem.errors
    if errors:
        raise BadConfig(errors, kind)
    with transaction.atomic():
        source = Source.objects.create(
            kind=kind,
            name=name,
            config=stored,
            credentials=secrets or None,
            credentials_set_at=now if secrets else None,
            created_at=now,
        )
        after = {"config": stored, "credentials": sorted(secrets)}
        record.write(actor=by, act="source.added", subject=f"source:{source}", at=now, after=after)
    return source.pk


def update_source(
    *,
    source_id: int,
    config: Mapping[str, Any],
    credentials: Mapping[str, str],
    by: str,
    now: datetime,
    files_below: Path | None = None,
) -> None:
    """Changes the settings; of the credentials those that are given. Where it was read up to stays as it is.

    Raises BadConfig: also when an address changed and the credentials that go there are not given again, for whoever may
    change an address must not be able to have stored credentials sent to it.
    """
    with transaction.atomic():
        source = _locked(source_id)
        kind = KINDS[source.kind]
        before = dict(source.config)
        stored, secrets = prepared(
            kind,
            config,
            credentials,
            saved=saved_credentials(source),
            saved_config=source.config,
            files_below=files_below,
        )
        given = known_secrets(kind, credentials)
        source.config = stored
        source.last_error = ""
        if given:
            source.credentials, source.credentials_set_at = secrets, now
        source.save(update_fields=["config", "credentials", "credentials_set_at", "last_error"])
        _try_refused_again(source_id)
        after = {"config": stored, **({"credentials": sorted(given)} if given else {})}
        record.write(
            actor=by,
            act="source.changed",
            subject=f"source:{source}",
            at=now,
            before={"config": before},
            after=after,
        )


def prepared(
    kind: type[Kind],
    config: Mapping[str, Any],
    credentials: Mapping[str, str],
    *,
    saved: Mapping[str, str],
    saved_config: Mapping[str, Any],
    files_below: Path | None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings and credentials a source would have: what is given over what is saved. Raises BadConfig."""
    stored = _settled(kind, config, files_below, saved=saved_config)
    given = known_secrets(kind, credentials)
    held = {name: value for name, value in saved.items() if name not in given}
    moved = _moved(saved_config, stored)
    if moved and held:
        words = "the address changed: enter the credentials again, the saved ones were given for the address before"
        raise BadConfig({moved: words}, kind.kind)
    return stored, held | given


def rotate(
    *,
    source_id: int,
    credentials: Mapping[str, str],
    forget: Sequence[str] = (),
    by: str,
    now: datetime,
) -> list[str]:
    """Replaces the credentials that are given, drops those named in `forget`, and keeps the others; the names that changed.

    They are encrypted at rest and never read back. Raises BadConfig when nothing is given or a name is not known.
    """
    with transaction.atomic():
        source = _locked(source_id)
        kind = KINDS[source.kind]
        given = known_secrets(kind, credentials)
        saved = saved_credentials(source)
        dropped = [name for name in forget if name in saved and name not in given]
        if not given and not dropped:
            raise BadConfig({"": "enter at least one new credential"}, kind.kind)
        kept = {name: value for name, value in saved.items() if name not in dropped}
        source.credentials = (kept | given) or None
        source.credentials_set_at = now if source.credentials else None
        source.last_error = ""
        source.save(update_fields=["credentials", "credentials_set_at", "last_error"])
        after = {"credentials": sorted(given), "forgotten": sorted(dropped)}
        record.write(actor=by, act="source.rotated", subject=f"source:{source}", at=now, after=after)
    return sorted([*given, *dropped])


def known_secrets(kind: type[Kind], credentials: Mapping[str, str]) -> dict[str, str]:
    """The credentials that are given (an empty one is not), if the kind knows them all. Raises BadConfig."""
    known = {secret.name for secret in kind.secrets}
    wrong = {name: "expected text" for name, value in credentials.items() if not isinstance(value, str)}
    if wrong:
        raise BadConfig(wrong, kind.kind)
    given = {name: value.strip() for name, value in credentials.items() if value.strip()}
    errors = {name: f"{kind.kind} has no credential {name!r}" for name in given if name not in known}
    errors |= {
        name: f"expected at most {_LONGEST_SECRET} characters" for name in given if len(given[name]) > _LONGEST_SECRET
    }
    if errors:
        raise BadConfig(errors, kind.kind)
    return given


def source(source_id: int) -> Source:
    """A source without its credentials. Raises UnknownSource."""
    found = Source.objects.defer("credentials").filter(pk=source_id).first()
    if found is None:
        raise UnknownSource(f"there is no source {source_id}")
    return found


def saved_credentials(source: Source) -> dict[str, str]:
    """The credentials of a source that was read without them; none when this installation's key does not open them."""
    try:
        return dict(source.credentials or {})
    except sealing.Unreadable:
        return {}


def pause(*, source_id: int, is_active: bool, by: str = "", now: datetime | None = None) -> None:
    """Stops or restarts the reading of a source; what was loaded stays. In the audit log when it is known who and when."""
    with transaction.atomic():
        Source.objects.filter(pk=source_id).update(is_active=is_active)
        if by and now is not None:
            act = "source.resumed" if is_active else "source.paused"
            record.write(actor=by, act=act, subject=f"source:{_locked(source_id)}", at=now)


def read_soon(*, source_id: int, by: str, now: datetime) -> None:
    """Makes a source due, whatever its interval: it is read in the next round."""
    with transaction.atomic():
        source = _locked(source_id)
        Source.objects.filter(pk=source_id).update(last_read_at=None)
        _try_refused_again(source_id)
        record.write(actor=by, act="source.read_asked", subject=f"source:{source}", at=now)


def remove_source(*, source_id: int) -> None:
    """Deletes a source and every row it delivered, in one transaction. The books must be rolled up after it."""
    removal.source(source_id=source_id)


def _try_refused_again(source_id: int) -> None:
    """What was refused may be understood by other settings: forgetting its hash has it loaded anew."""
    Load.objects.filter(source_id=source_id, state="refused").update(content_hash="")


def _name_errors(kind: str, name: str) -> dict[str, str]:
    if not name:
        return {"name": "is needed"}
    if len(name) > _LONGEST_NAME or not name.isprintable() or "/" in name:
        return {"name": f"expected at most {_LONGEST_NAME} printable characters without a slash"}
    if Source.objects.filter(kind=kind, name=name).exists():
        return {"name": f"there is a source {kind}/{name} already; choose another name"}
    return {}


def _checked(kind: type[Kind], given: Mapping[str, Any], *, is_complete: bool = False) -> dict[str, Any]:
    return config.checked(kind, given, is_complete=is_complete)


def _settled(
    kind: type[Kind], given: Mapping[str, Any], files_below: Path | None, *, saved: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings as they are stored; a path that an operator set on the machine itself may stay as it is."""
    stored = config.changed_only(kind, _checked(kind, given, is_complete=True))
    if files_below is None:
        return stored
    own = {name: value for name, value in stored.items() if (saved or {}).get(name) != value}
    outside = config.outside(own, root=files_below)
    if outside:
        words = (
            f"is a path of this machine, and from the browser only files below {files_below} (COSTOBS_FILES) may be read."
            f" Put them there, or add the source on the machine itself: costobs source add {kind.kind} NAME --config …"
            " An address begins with its scheme, such as https:// or s3://"
        )
        raise BadConfig(dict.fromkeys(outside, words), kind.kind)
    return stored


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The setting whose host changed, if any."""
    old, new = config.hosts(before), config.hosts(after)
    return next((name for name in new if new[name] != old.get(name)), "")


def _locked(source_id: int) -> Source:
    try:
        # Without the credentials: they are opened where they are needed, and may not open at all.
        return Source.objects.select_for_update().defer("credentials").get(pk=source_id)
    except Source.DoesNotExist as problem:
        raise UnknownSource(f"there is no source {source_id}") from problem
