"""The sample organisation in an installation: loaded slice by slice through the real path, topped up, and removed."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from django.db import connection

from attribution import own, teams
from costobs import pipeline
from costobs.audit import record
from costobs.audit.models import AuditEntry
from costobs.embedded import paths
from costobs.embedded.sample import organisation, story
from costobs.embedded.sample.story import Story
from costobs.sample import budgets, months, plan, removal, rules
from ingest import configure, inbox, load, queries

PREFIX = f"{organisation.LABEL}: "
_SUBJECT = "sample"
_CLOCK = Callable[[], datetime]


class NotWanted(Exception):
    """The sample is not loaded here; the message says why, and how it would be."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step that is done, and how much of the whole that makes."""

    what: str
    state: str
    rows: int
    percent: int


def run(*, clock: _CLOCK, is_asked: bool = False, days: int = organisation.DAYS) -> Iterator[Progress]:
    """Loads what is missing up to the clock's moment: all of it the first time, later what has passed since.

    Each slice is one unit of the real load path, committed with the cursor that says how far the sample reaches, so that
    a run that was killed goes on where it was. `is_asked` loads it even where it was removed or where other data are.
    Raises NotWanted.
    """
    until = clock().astimezone(UTC).replace(second=0, microsecond=0)
    is_new = not queries.has_sample()
    if is_new and not is_asked:
        _refuse_where_not_wanted(now=clock())
    with _locked("costobs sample"):
        sources = _set_up(now=clock(), is_new=is_new)
        told = _story(sources["usage"], until=until, days=days)
        rules.add_prices(told=told, now=clock())
        yield from _load(told, sources, until=until, clock=clock)
        with _locked("costobs tick"):
            closed = months.close_oldest(now=clock())
            made = budgets.create(usage_source_id=sources["usage"], now=clock())
        if closed:
            yield Progress("closed months", "succeeded", closed, 99)
        if made:
            yield Progress("budgets and their ladders", "succeeded", made, 100)


def remove(*, by: str, now: datetime) -> int:
    """Deletes everything the sample brought and brings the books up to date; returns how many sources went.

    Safe to repeat. Rows of other sources stay; days they share with the sample are rolled up again. The audit log keeps
    that it was removed, and the next start does not bring it back.
    """
    with _locked("costobs sample"), _locked("costobs tick"):
        gone = removal.run(by=by, now=now)
        if gone:
            record.write(actor=by, act="sample.removed", subject=_SUBJECT, at=now)
        return gone


def _refuse_where_not_wanted(*, now: datetime) -> None:
    how = "`costobs sample --again` loads it"
    if AuditEntry.objects.filter(subject=_SUBJECT).order_by("-at", "-pk").values_list("act", flat=True).first() == (
        "sample.removed"
    ):
        raise NotWanted(f"the sample was removed; {how}")
    if any(line.last_load_at for line in queries.sources(now=now)):
        raise NotWanted(f"there are other data here, and the sample would stand beside them; {how}")


def _set_up(*, now: datetime, is_new: bool) -> dict[str, int]:
    """Teams, rules and sources; all of it may be there already. The ids of the sources by their short names."""
    if is_new:
        record.write(actor=organisation.SET_BY, act="sample.loaded", subject=_SUBJECT, at=now)
    for team in organisation.TEAMS:
        teams.ensure(name=team.name, title=team.title, cost_centre=team.cost_centre, email=team.email, is_sample=True)
    own.ensure_default_ruleset(now=now)
    rules.add(now=now)
    wanted: dict[str, tuple[str, str, dict[str, object]]] = {
        "usage": ("usage_log", "gateway log", {}),
        "openai": ("focus_export", "OpenAI bill", {}),
        "anthropic": ("focus_export", "Anthropic bill", {}),
        "aws": ("focus_export", "AWS bill", {}),
        "gpus": ("dcgm", "GPU telemetry", {"step_seconds": plan.MINUTE}),
        "gpu_history": ("dcgm", "GPU telemetry, each quarter hour", {"step_seconds": plan.QUARTER}),
        "fine_tunes": ("fine_tunes", "fine-tune runs", {}),
        "scores": ("quality_scores", "reviewers' scores", {}),
        "figures": ("business_metrics", "business figures", {}),
        "markers": ("markers", "deploys and incidents", {}),
    }
    made = {
        name: configure.create_source(kind=kind, name=f"{PREFIX}{title}", config=config, is_sample=True, now=now)
        for name, (kind, title, config) in wanted.items()
    }
    configure.pause(source_id=made["gpu_history"], is_active=False)  # history: nothing more is expected of it
    return made


def _story(source_id: int, *, until: datetime, days: int) -> Story:
    """The story that was begun here, or a new one that ends now."""
    begun = queries.cursor(source_id=source_id).get("story_start")
    return Story(date.fromisoformat(begun) if begun else story.starting(until=until, days=days))


def _load(told: Story, sources: dict[str, int], *, until: datetime, clock: _CLOCK) -> Iterator[Progress]:
    groups = [*plan.groups(told, sources, until=until, now=clock())]
    total, done = sum(one.weight for group in groups for one in group) or 1, 0
    for group in groups:
        # The tick waits meanwhile: it would roll up the same days beside us, and judge budgets by half a month.
        with _locked("costobs tick"):
            for one in group:
                result = _load_one(one, clock())
                done += one.weight
                yield Progress(one.name, result.state, result.rows_loaded, done * 99 // total)
            inbox.drain(now=clock())
            while pipeline.settle(clock()):
                continue


def _load_one(one: plan.Slice, now: datetime) -> load.LoadResult:
    """Writes the slice's file, loads it as any file is loaded, and deletes it."""
    folder = paths.data_dir() / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as private:
        file = Path(private) / one.name
        file.write_bytes(one.content())
        (raw,) = load.connect(one.source_id).open_paths([str(file)])
        return load.run_unit(source_id=one.source_id, raw=replace(raw, cursor=one.cursor), now=now)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Holds a lock of the database session: of two runs at once the second waits and finds nothing left to do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [name])
