"""What may be done from a chat: a name for each act, checked here as on the page: who, role, version, end.

Another act is a function in `ACTS`; a notice offers it with `rows.Offer`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts import anomaly_queries, execute, feedback, mutes, queries, routing
from alerts.anomaly_lines import AnomalyLine
from alerts.models import Alert, OpenItem
from alerts.rows import RunLine
from costobs.kernel import fmt

MUTE_FOR = timedelta(hours=24)
EXPECTED_FOR = timedelta(days=7)


class Refused(Exception):
    """It was not done; the message says why and holds nothing that the person may not see."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, as an account of this installation. `teams` None sees all; `may_act` says for which teams' items."""

    name: str
    teams: tuple[str, ...] | None
    may_act: Callable[[Sequence[str]], bool]
    others_may: Callable[[str, Sequence[str]], bool]  # the same of somebody else, by name


@dataclass(frozen=True, slots=True)
class Asked:
    """One press of a button, after it is known who pressed it."""

    person: Person
    subject_id: int
    version: int
    now: datetime
    confirm: str = ""
    channel_id: int | None = None


def _approve(asked: Asked) -> str:
    run = _run(asked)
    missing: list[int] = []
    _carry(lambda: missing.append(execute.approve(
        run_id=run.id, version=asked.version, by=asked.person.name, now=asked.now, confirm=asked.confirm,
        may_still=lambda name: asked.person.others_may(name, run.teams),
    )))  # fmt: skip
    if missing[0]:
        return (
            f"Approved by {asked.person.name}: {run.words} for {run.target_words}. Nothing changes yet: it waits for"
            f" {missing[0]} more, somebody else, on its page."
        )
    return f"Approved by {asked.person.name}: {run.words} for {run.target_words}. It takes effect within seconds."


def _decline(asked: Asked) -> str:
    run = _run(asked)
    _carry(lambda: execute.decline(
        run_id=run.id, version=asked.version, by=asked.person.name, now=asked.now, reason="declined in chat"
    ))  # fmt: skip
    return f"Declined by {asked.person.name}: {run.words} for {run.target_words}. Nothing changes."


def _undo(asked: Asked) -> str:
    run = _run(asked)
    _carry(lambda: execute.undo(
        run_id=run.id, version=asked.version, by=asked.person.name, now=asked.now, reason="undone in chat"
    ))  # fmt: skip
    return (
        f"Undone by {asked.person.name}: {run.words} for {run.target_words}. Back to: {run.before_words or 'no limit'}."
    )


def _acknowledge(asked: Asked) -> str:
    item = _item(asked)
    try:
        mutes.acknowledge(
            item_id=item.pk, version=asked.version, by=asked.person.name, now=asked.now, besides=asked.channel_id
        )
    except mutes.Invalid as problem:
        raise Refused(str(problem)) from problem
    return f"{asked.person.name} has it. Nobody else is called for it."


def _mute(asked: Asked) -> str:
    item = _item(asked)
    try:
        mutes.mute_item(
            item_id=item.pk,
            until=asked.now + MUTE_FOR,
            reason="muted in chat",
            by=asked.person.name,
            now=asked.now,
        )
    except mutes.Invalid as problem:
        raise Refused(str(problem)) from problem
    return f"Muted for 24 hours by {asked.person.name}. What is critical is told all the same."


def _anomaly_ack(asked: Asked) -> str:
    line = _anomaly(asked)
    # Not the version of the button: what is measured anew with each look does not outdate it.
    _say(lambda: feedback.acknowledge(
        anomaly_id=line.id, version=None, by=asked.person.name, now=asked.now, besides=asked.channel_id
    ))  # fmt: skip
    return f"{asked.person.name} is on it. Nobody else is called for it.{_since_told(line, asked)}"


def _anomaly_expected(asked: Asked) -> str:
    line, until = _anomaly(asked), asked.now + EXPECTED_FOR
    _say(lambda: feedback.say(
        anomaly_id=line.id, version=line.version, kind="expected", by=asked.person.name, now=asked.now, ends_at=until,
        note="said in chat",
    ))  # fmt: skip
    return f"{asked.person.name} expects it: {line.scope_words} may cost this until {fmt.moment(until)}. Undo it on its page."


def _anomaly_mute(asked: Asked) -> str:
    line = _anomaly(asked)
    _say(lambda: feedback.mute(
        anomaly_id=line.id, version=None, by=asked.person.name, now=asked.now, besides=asked.channel_id
    ))  # fmt: skip
    return f"Muted for 7 days by {asked.person.name}. It goes on being measured."


def _since_told(line: AnomalyLine, asked: Asked) -> str:
    """What it is by now, where it was measured anew since the button was made."""
    if line.version == asked.version:
        return ""
    return f" It is {fmt.money(line.impact_cost, line.currency)} above expected by now."


ACTS: dict[str, Callable[[Asked], str]] = {
    "act_approve": _approve,
    "act_decline": _decline,
    "act_undo": _undo,
    "alert_ack": _acknowledge,
    "alert_mute": _mute,
    "anomaly_ack": _anomaly_ack,
    "anomaly_expected": _anomaly_expected,
    "anomaly_mute": _anomaly_mute,
}


def carry_out(act: str, asked: Asked) -> str:
    """Does it, and says what was done. Raises Refused."""
    if act not in ACTS:
        raise Refused("this installation does not know that button; open the page instead")
    return ACTS[act](asked)


def question(run_id: int, person: Person) -> tuple[str, str] | None:
    """What must be asked before a run is approved: title and text; None where one press is enough. Raises Refused."""
    run = _visible(run_id, person)
    if not run.confirm_phrase:
        return None
    return run.words, f"{run.words} for {run.target_words}. {run.effect} Type the name of the budget to approve."


def _run(asked: Asked) -> RunLine:
    return _visible(asked.subject_id, asked.person)


def _visible(run_id: int, person: Person) -> RunLine:
    try:
        run = queries.action(id=run_id, teams=person.teams)
    except queries.NotFound:
        raise Refused("there is no such action, or it is of a team that you do not see") from None
    if not person.may_act(run.teams):
        who = (
            f"administrators, finance and the lead of {', '.join(run.teams)}"
            if run.teams
            else "administrators and finance"
        )
        raise Refused(f"this is not yours to decide: {who} may")
    return run


def _item(asked: Asked) -> OpenItem:
    item = OpenItem.objects.filter(pk=asked.subject_id).first()
    newest = Alert.objects.filter(thread=item.thread).order_by("pk").last() if item else None
    if item is None or newest is None:
        raise Refused("there is no such item, or it is of a team that you do not see")
    teams = routing.teams_of(newest)
    if asked.person.teams is not None and not (teams and set(teams) <= set(asked.person.teams)):
        raise Refused("there is no such item, or it is of a team that you do not see")
    if not asked.person.may_act(teams):
        raise Refused("this is not yours to decide")
    return item


def _anomaly(asked: Asked) -> AnomalyLine:
    """The anomaly as it is now, if it is open and theirs: what is measured anew with each look does not outdate a button."""
    try:
        line = anomaly_queries.anomaly(anomaly_id=asked.subject_id, teams=asked.person.teams)
    except anomaly_queries.NotFound:
        raise Refused("there is no such anomaly, or it is of a team that you do not see") from None
    if not asked.person.may_act(line.teams):
        raise Refused("this is not yours to decide")
    if not line.is_open:
        raise Refused(f"{feedback.over(line.outcome, line.closed_at)}. What it was stands on its page")
    return line


def _say(work: Callable[[], object]) -> None:
    try:
        work()
    except (feedback.Conflict, feedback.Invalid, feedback.NotFound) as problem:
        raise Refused(str(problem)) from problem


def _carry(work: Callable[[], None]) -> None:
    try:
        work()
    except (execute.Conflict, execute.NotConfirmed) as problem:
        raise Refused(str(problem)) from problem
