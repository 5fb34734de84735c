"""Set up the delivery of statements: what goes where, and when. Every change is audited; credentials are never shown again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import IntegrityError, transaction

from alerts.destinations import KINDS
from alerts.destinations.base import BadConfig
from alerts.models import StatementDispatch, StatementSchedule
from attribution import exports, issue
from costobs.audit import record

TRIGGERS = {"closed": "When the month closes", "monthly": "On a day of the next month, as showback"}
_LONGEST = 100
_MOST_CENTRES = 500


class Invalid(ValueError):
    """The schedule cannot be set up as asked; `errors` says why, by field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


class NotFound(LookupError):
    """There is no schedule of that id."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule as somebody asks for it. `credentials` None keeps those that are stored."""

    name: str
    trigger: str
    day_of_month: int | None
    cost_centres: Sequence[str]
    formats: Sequence[str]
    cost: str
    destination: str
    config: Mapping[str, Any]
    credentials: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class DispatchLine:
    """One month of a schedule, as people see it."""

    id: int
    month: date
    version: int
    state: str
    attempts: int
    next_attempt_at: datetime
    sent_at: datetime | None
    files: tuple[str, ...]
    receipt: str
    error: str


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """One schedule with its newest dispatches. `secrets` are the names of stored credentials, never their values."""

    id: int
    name: str
    trigger: str
    day_of_month: int | None
    cost_centres: tuple[str, ...]
    formats: tuple[str, ...]
    cost: str
    destination: str
    config: dict[str, Any]
    secrets: tuple[str, ...]
    is_active: bool
    active_from: datetime
    dispatches: tuple[DispatchLine, ...]


def create(*, plan: Plan, by: str, now: datetime) -> int:
    """The id of a new schedule. It sends months that close, and days that come, from now on. Raises Invalid."""
    secrets = dict(plan.credentials or {})
    _check(plan, secrets)
    try:
        with transaction.atomic():
            made = StatementSchedule.objects.create(
                **_columns(plan), credentials=secrets or None, active_from=now, created_by=by, created_at=now
            )
            _audit("statement_schedule.created", made.pk, by, now, after=_told(made))
    except IntegrityError as problem:
        raise Invalid({"name": f"there is a schedule called {plan.name!r}; choose another name"}) from problem
    return int(made.pk)


def update(*, schedule_id: int, plan: Plan, by: str, now: datetime) -> None:
    """Changes a schedule; what was sent stays sent. Raises Invalid, NotFound."""
    try:
        with transaction.atomic():
            row = _locked(schedule_id)
            kept = row.credentials if row.destination == plan.destination else None
            secrets = dict(plan.credentials if plan.credentials is not None else kept or {})
            _check(plan, secrets)
            before = _told(row)
            # Stored credentials belong to where they were meant for: another address must not get them.
            if plan.credentials is None and secrets and _place(row.config) != _place(plan.config):
                raise Invalid({"credentials": "the destination is another one now; enter its credentials again"})
            StatementSchedule.objects.filter(pk=row.pk).update(**_columns(plan), credentials=secrets or None)
            _audit("statement_schedule.changed", row.pk, by, now, before, _told(_locked(schedule_id)))
    except IntegrityError as problem:
        raise Invalid({"name": f"there is a schedule called {plan.name!r}; choose another name"}) from problem


def pause(*, schedule_id: int, is_active: bool, by: str, now: datetime) -> None:
    """Pauses or resumes; what falls into a pause is not sent later. Raises NotFound."""
    with transaction.atomic():
        row = _locked(schedule_id)
        columns: dict[str, Any] = {"is_active": is_active}
        if is_active and not row.is_active:
            columns["active_from"] = now
        StatementSchedule.objects.filter(pk=row.pk).update(**columns)
        act = "statement_schedule.resumed" if is_active else "statement_schedule.paused"
        _audit(act, row.pk, by, now, after={"name": row.name})


def remove(*, schedule_id: int, by: str, now: datetime) -> None:
    """Removes a schedule and its list of what was sent. Raises NotFound."""
    with transaction.atomic():
        row = _locked(schedule_id)
        _audit("statement_schedule.removed", row.pk, by, now, before=_told(row))
        row.delete()


def again(*, dispatch_id: int, schedule_id: int, by: str, now: datetime) -> bool:
    """Sends one month once more, with the same key; False when it is on its way. Raises NotFound."""
    with transaction.atomic():
        row = _locked(schedule_id)
        changed = StatementDispatch.objects.filter(pk=dispatch_id, schedule=row, state__in=["sent", "failed"]).update(
            state="waiting", attempts=0, next_attempt_at=now, error=""
        )
        if changed:
            _audit("statement_schedule.sent_again", row.pk, by, now, after={"dispatch": dispatch_id})
    return bool(changed)


def schedules() -> list[ScheduleLine]:
    """Every schedule, by name, with its newest twelve dispatches."""
    return [_line(row) for row in StatementSchedule.objects.order_by("name")]


def schedule(schedule_id: int) -> ScheduleLine:
    """One schedule. Raises NotFound."""
    row = StatementSchedule.objects.filter(pk=schedule_id).first()
    if row is None:
        raise NotFound(schedule_id)
    return _line(row)


def _check(plan: Plan, secrets: Mapping[str, str]) -> None:
    errors: dict[str, str] = {}
    name = plan.name.strip()
    if not name or len(name) > _LONGEST or "\x00" in name:
        errors["name"] = f"give it a name of up to {_LONGEST} characters"
    if plan.trigger not in TRIGGERS:
        errors["trigger"] = f"expected one of {', '.join(TRIGGERS)}, found {plan.trigger!r}"
    if plan.trigger == "monthly" and (plan.day_of_month is None or not 1 <= plan.day_of_month <= 28):
        errors["day_of_month"] = "expected a day from 1 to 28, which every month has"
    unknown = [one for one in plan.formats if one not in exports.KINDS]
    if not plan.formats or unknown:
        errors["formats"] = f"choose at least one of {', '.join(exports.KINDS.names())}"
    if plan.cost not in issue.COLUMNS:
        errors["cost"] = f"expected one of {', '.join(issue.COLUMNS)}, found {plan.cost!r}"
    if len(plan.cost_centres) > _MOST_CENTRES or any("\x00" in one for one in plan.cost_centres):
        errors["cost_centres"] = f"expected up to {_MOST_CENTRES} cost centres"
    if plan.destination not in KINDS:
        errors["destination"] = f"expected one of {', '.join(KINDS.names())}, found {plan.destination!r}"
    else:
        try:
            KINDS[plan.destination]().check(plan.config, secrets)
        except BadConfig as problem:
            errors[problem.field] = problem.message
    if errors:
        raise Invalid(errors)


def _columns(plan: Plan) -> dict[str, Any]:
    return {
        "name": " ".join(plan.name.split()),
        "trigger": plan.trigger,
        "day_of_month": plan.day_of_month if plan.trigger == "monthly" else None,
        "cost_centres": list(plan.cost_centres),
        "formats": list(plan.formats),
        "cost": plan.cost,
        "destination": plan.destination,
        "config": dict(plan.config),
    }


def _place(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(config.get(name, "")) for name in ("url", "endpoint_url", "account"))


def _told(row: StatementSchedule) -> dict[str, Any]:
    """What the audit log keeps: everything but the credentials."""
    kept = ("name", "trigger", "day_of_month", "cost_centres", "formats", "cost", "destination", "config")
    return {**{name: getattr(row, name) for name in kept}, "credentials": sorted(row.credentials or {})}


def _locked(schedule_id: int) -> StatementSchedule:
    row = StatementSchedule.objects.select_for_update().filter(pk=schedule_id).first()
    if row is None:
        raise NotFound(schedule_id)
    return row


def _line(row: StatementSchedule) -> ScheduleLine:
    found = StatementDispatch.objects.filter(schedule=row).order_by("-month", "-version")[:12]
    return ScheduleLine(
        row.pk,
        row.name,
        row.trigger,
        row.day_of_month,
        tuple(row.cost_centres),
        tuple(row.formats),
        row.cost,
        row.destination,
        dict(row.config),
        tuple(sorted(row.credentials or {})),
        row.is_active,
        row.active_from,
        tuple(
            DispatchLine(
                one.pk,
                one.month,
                one.version,
                one.state,
                one.attempts,
                one.next_attempt_at,
                one.sent_at,
                tuple(file["name"] for file in one.files),
                one.receipt,
                one.error,
            )
            for one in found
        ),
    )


def _audit(
    act: str,
    schedule_id: int,
    by: str,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    record.write(actor=by, act=act, subject=f"statement_schedule:{schedule_id}", at=now, before=before, after=after)
