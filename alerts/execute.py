"""Carry out action runs: apply, verify that it took effect, and undo; approve and decline what waits."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from alerts import brakes, changes, ladder, lines, messages, notices, queries, spans, wording
from alerts.hooks import KINDS
from alerts.hooks import gate as gate_hook
from alerts.hooks.base import PlaceFact, ProcessFact, Verdict
from alerts.models import ActionRun, Budget, BudgetState, Gate, GateProcess, RunApproval
from alerts.rows import Notice
from costobs.audit import record
from costobs.kernel.period import Days

# How long an action may wait for the gates before people are told that it does not hold.
CONFIRM_WITHIN = timedelta(seconds=60)
_DOUBTFUL = "the data are late or failing, or do not add up; nothing is applied until they are right"
_FORGET_PROCESSES_AFTER = timedelta(days=1)


class Conflict(Exception):
    """Somebody or the clock was faster, or it must not be done now; the message says what is true instead."""


class NotConfirmed(ValueError):
    """The name that was typed is not the budget's."""


def run(*, now: datetime) -> list[int]:
    """The ids of the runs that changed. Each change is one conditional update, so a repeat adds nothing.

    Applying puts the rules of a run into the policy that gates ask for; in force is only what every gate has confirmed.
    """
    changed = [run_.pk for run_ in _runs("running").filter(applied_at=None) if _apply(run_, now)]
    places = _places()
    for run_ in _runs("running").filter(applied_at__isnull=False):
        if _verify(run_, places[run_.budget.is_sample], now):
            changed.append(run_.pk)
    GateProcess.objects.filter(last_seen_at__lt=now - _FORGET_PROCESSES_AFTER).delete()
    return changed


def approve(
    *,
    run_id: int,
    version: int,
    by: str,
    now: datetime,
    confirm: str = "",
    may_still: Callable[[str], bool] | None = None,
) -> int:
    """Lets a waiting action run, once as many different people have agreed as it needs; how many more must. A shutdown needs
    the budget's name in `confirm`. Raises Conflict, NotConfirmed.

    `may_still` says whether somebody who agreed before may decide on it even now; who may not counts no more.
    """
    with transaction.atomic():
        run_ = _locked(run_id)
        _expect(run_, version, ("waiting_approval",), now)
        _expect_free(run_, now)
        if _is_stale(run_, now):
            raise Conflict(_DOUBTFUL)
        if run_.action == "shutdown" and confirm.strip() != run_.budget.name:
            raise NotConfirmed(f"type the name of the budget, {run_.budget.name!r}, to shut it down")
        agreed, needed = _agreed(run_, by, now, may_still), _needed(run_)
        if agreed < needed:
            _change(run_, state="waiting_approval", plan={**run_.plan, "approvals": needed})
            after: dict[str, object] = {"state": "waiting_approval", "approvals": f"{agreed} of {needed}"}
            _record(run_, "action.approved", by, now, {"state": "waiting_approval"}, after, run_.reason)
            return needed - agreed
        ends_at = datetime.fromisoformat(run_.plan["ends_at"])
        hours = run_.plan["expires_after_hours"]
        expires_at = ends_at if hours is None else min(ends_at, now + timedelta(hours=hours))
        _change(run_, state="running", decided_at=now, decided_by=by, expires_at=expires_at)
        _record(run_, "action.approved", by, now, {"state": "waiting_approval"}, {"state": "running"}, run_.reason)
    return 0


def decline(*, run_id: int, version: int, by: str, now: datetime, reason: str = "") -> None:
    """Refuses a waiting action for the rest of its episode. Raises Conflict."""
    with transaction.atomic():
        run_ = _locked(run_id)
        _expect(run_, version, ("waiting_approval",), now)
        _change(run_, state="declined", decided_at=now, decided_by=by, ended_at=now, ended_by=by)
        _record(run_, "action.declined", by, now, {"state": "waiting_approval"}, {"state": "declined"}, reason)


def undo(*, run_id: int, by: str, now: datetime, version: int | None = None, reason: str = "") -> None:
    """Takes an action back: the policy is again what it would be without it. Raises Conflict."""
    with transaction.atomic():
        run_ = _locked(run_id)
        _expect(run_, version, ladder.APPLYING, now)
        before = {"state": run_.state, "rules": run_.plan["rules"]}
        _change(run_, state="undone", ended_at=now, ended_by=by)
        _record(run_, "action.undone", by, now, before, {"state": "undone", **run_.before}, reason)
        if run_.applied_at is not None:
            _tell(run_, "action_undone", "undone", now)


def _runs(state: str):  # type: ignore[no-untyped-def]  # a queryset of runs with what a message needs
    return ActionRun.objects.filter(state=state).select_related("budget", "rung").order_by("pk")


def _locked(run_id: int) -> ActionRun:
    run_ = ActionRun.objects.select_for_update(of=("self",)).select_related("budget", "rung").filter(pk=run_id).first()
    if run_ is None:
        raise Conflict(f"there is no action {run_id} any more")
    return run_


def _expect(run_: ActionRun, version: int | None, states: tuple[str, ...], now: datetime) -> None:
    if run_.state not in states:
        who = f" by {run_.ended_by or run_.decided_by}" if run_.ended_by or run_.decided_by else ""
        raise Conflict(f"this action is {wording.STATES[run_.state].lower()} already{who}")
    if version is not None and run_.version != version:
        raise Conflict(f"this action has changed: expected version {version}, found {run_.version}; look at it again")
    if run_.expires_at is not None and run_.expires_at <= now:
        raise Conflict(f"this request expired {run_.expires_at:%Y-%m-%d %H:%M} UTC")


def _expect_free(run_: ActionRun, now: datetime) -> None:
    """Refuses while the ladder is paused or a maintenance window is open, and what the ladder does not want any more."""
    hold = brakes.now_on(now=now)
    if hold.pause is not None:
        raise Conflict(f"every ladder is paused by {hold.pause.started_by}: {hold.pause.reason}; resume them first")
    if not run_.rung.is_active:
        raise Conflict(f"its step was taken out of the ladder of {run_.budget.name} since; decline it")
    if run_.budget.paused_until is not None and run_.budget.paused_until > now:
        raise Conflict(f"the ladder of {run_.budget.name} is paused; resume it first")
    until = hold.open_until("maintenance", run_.budget.scope)
    if until is not None:
        names = ", ".join(hold.names("maintenance", run_.budget.scope))
        raise Conflict(f"the maintenance window {names} is open until {until:%Y-%m-%d %H:%M} UTC")


def _agreed(run_: ActionRun, by: str, now: datetime, may_still: Callable[[str], bool] | None) -> int:
    """Notes that this person agrees; how many different people have. Raises Conflict when it is the same once more."""
    known = set()
    for approval in RunApproval.objects.filter(run=run_):
        is_same = approval.by.casefold() == by.casefold()
        if is_same or may_still is None or may_still(approval.by):
            known.add(approval.by.casefold())
            continue
        approval.delete()
        before: dict[str, object] = {"by": approval.by, "at": approval.at.isoformat()}
        _record(run_, "action.approval_lapsed", by, now, before, {}, f"{approval.by} may not decide on it any more")
    if by.casefold() in known:
        raise Conflict(f"{by} has approved it already; it needs somebody else, too")
    RunApproval.objects.create(run=run_, by=by, at=now)
    return len(known) + 1


def _needed(run_: ActionRun) -> int:
    """How many must agree: as many as when it was asked, or more where the step or the criticality was tightened since."""
    mode = ladder.approval(run_.rung.approval, action=run_.action, criticality=run_.budget.criticality)
    return max(int(run_.plan.get("approvals", 1)), ladder.APPROVALS[mode])


def _is_stale(run_: ActionRun, now: datetime) -> bool:
    start = spans.current(run_.budget, now).key_date
    state = BudgetState.objects.filter(budget=run_.budget, period_start=start).first()
    return state is not None and state.is_untrusted


def _change(run_: ActionRun, **columns: object) -> None:
    """Writes the columns and counts the version up, in the table and on the object."""
    ActionRun.objects.filter(pk=run_.pk).update(**columns, version=F("version") + 1)
    run_.refresh_from_db()


def _record(
    run_: ActionRun, act: str, by: str, now: datetime, before: dict[str, object], after: dict[str, object], reason: str
) -> None:
    record.write(actor=by, act=act, subject=f"action:{run_.pk}", at=now, before=before, after=after, reason=reason)


def _apply(run_: ActionRun, now: datetime) -> bool:
    """Puts the run into the policy, once."""
    is_gated = run_.plan.get("hook") in KINDS and run_.plan.get("rules")
    if not is_gated and not run_.plan.get("targets"):
        return _fail(run_, "the plan has nothing that a hook could carry out", now)
    if _is_stale(run_, now):
        # Nobody limits anything on figures that have become doubtful since it was started or approved.
        ActionRun.objects.filter(pk=run_.pk, state="running").exclude(error=_DOUBTFUL).update(error=_DOUBTFUL)
        return False
    if _is_protected(run_):
        return _fail(run_, "everything in its scope is protected, so nothing would be touched", now)
    with transaction.atomic():
        before = _limits_before(run_)
        changed = ActionRun.objects.filter(pk=run_.pk, state="running", applied_at=None).update(
            applied_at=now, before=before, error="", version=F("version") + 1
        )
        if changed:
            after = {"rules": run_.plan["rules"], "until": run_.expires_at and run_.expires_at.isoformat()}
            actor = run_.decided_by or "ladder"
            _record(run_, f"action.{run_.action}", actor, now, before, after, run_.reason)
    return bool(changed)


def _is_protected(run_: ActionRun) -> bool:
    """Whether every rule of the run is about protected requests only."""
    protected = brakes.protected_matches(run_.budget, brakes.protected())
    rules = run_.plan["rules"]
    return bool(rules) and all(brakes.is_within(rule["match"], protected) for rule in rules)


def _limits_before(run_: ActionRun) -> dict[str, object]:
    """What held for this target before, for people; the policy itself needs no memory."""
    others = ActionRun.objects.filter(
        state__in=ladder.APPLYING, target=run_.target, applied_at__isnull=False, budget__is_sample=run_.budget.is_sample
    )
    held = list(others.exclude(pk=run_.pk).order_by("pk"))
    words = ", ".join(other.plan["words"] for other in held) or "No limit"
    return {"words": words, "runs": [other.pk for other in held]}


def _fail(run_: ActionRun, error: str, now: datetime) -> bool:
    with transaction.atomic():
        changed = ActionRun.objects.filter(pk=run_.pk, state="running").update(
            state="failed", error=error, version=F("version") + 1
        )
        if changed:
            run_.refresh_from_db()
            _tell(run_, "action_failed", "failed", now)
    return bool(changed)


def _places() -> dict[bool, list[PlaceFact]]:
    """The gates of real and of sample budgets, with what their processes hold."""
    found: dict[bool, list[PlaceFact]] = {False: [], True: []}
    for gate in Gate.objects.prefetch_related("processes").order_by("name"):
        processes = tuple(
            ProcessFact(process.name, process.last_seen_at, frozenset(process.rules))
            for process in gate.processes.all()
        )
        found[gate.is_sample].append(PlaceFact(gate.name, processes))
    return found


def _verify(run_: ActionRun, places: list[PlaceFact], now: datetime) -> bool:
    """In force once every gate has proved that it holds the rules and every resource is where it should be; else says
    whom it waits for.
    """
    verdict = Verdict(0, 0, ())
    if run_.plan["rules"]:
        rules = gate_hook.rule_ids(run_.pk, len(run_.plan["rules"]))
        verdict = KINDS[run_.plan["hook"]]().verify(rules=rules, places=places, now=now)
    if verdict.is_in_effect or not run_.plan["rules"]:
        waiting = changes.waiting_for(run_id=run_.pk, targets=run_.plan.get("targets") or ())
        if not waiting:
            return _confirm(run_, verdict, now)
        # Trouble with a resource is told by who carries it out.
        ActionRun.objects.filter(pk=run_.pk, state="running").exclude(error=waiting).update(error=waiting)
        return False
    words = wording.waiting_for_gates(verdict.confirmed, verdict.expected)
    ActionRun.objects.filter(pk=run_.pk, state="running").exclude(error=words).update(error=words)
    run_.error = words
    if run_.applied_at is not None and now - run_.applied_at >= CONFIRM_WITHIN:
        line = queries.budget_line(budget_id=run_.budget_id, now=now)
        notice = messages.not_confirmed(line, lines.run_line(run_), names=verdict.waiting, now=now)
        _raise(run_, "action_failed", "unconfirmed", notice, now)
    return False


def _confirm(run_: ActionRun, verdict: Verdict, now: datetime) -> bool:
    with transaction.atomic():
        changed = ActionRun.objects.filter(pk=run_.pk, state="running").update(
            state="in_force", verified_at=now, error="", version=F("version") + 1
        )
        if changed and run_.decided_by:
            # What the ladder does by itself was told when the rung was passed; people wait for what they approved.
            run_.refresh_from_db()
            line = queries.budget_line(budget_id=run_.budget_id, now=now)
            notice = messages.in_force(line, lines.run_line(run_), gates=verdict.confirmed)
            _raise(run_, "action_done", "in_force", notice, now)
    return bool(changed)


def _tell(run_: ActionRun, kind: str, what: str, now: datetime) -> None:
    line = queries.budget_line(budget_id=run_.budget_id, now=now)
    shown = lines.run_line(run_)
    notice = messages.undone(line, shown) if what == "undone" else messages.failed(line, shown)
    _raise(run_, kind, what, notice, now)


def _raise(run_: ActionRun, kind: str, what: str, notice: Notice, now: datetime) -> None:
    budget: Budget = run_.budget
    notices.raise_alert(
        kind=kind,
        budget=budget,
        run=run_,
        notice=notice,
        key=f"run:{run_.pk}:{what}",
        period=Days(run_.period_start, spans.keyed(budget, run_.period_start, now).whole.end),
        now=now,
    )
