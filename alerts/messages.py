"""What alerts say: pure functions from rows to notices, to the one anatomy of every alert."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from alerts import wording
from alerts.rows import BudgetLine, Button, Fact, Notice, RunLine
from attribution.queries import ProviderLine
from costobs.kernel import fmt
from costobs.kernel.period import month as month_of

_TONES = {"on_track": "ok", "watch": "watch", "throttled": "thr", "rerouted": "thr", "over": "over", "stopped": "stop"}
_FULL_BAR = Decimal(100)
_DONE = {"throttle": "Throttled", "reroute": "Rerouted", "shutdown": "Shut down", "notify": "Notified"}


@dataclass(frozen=True, slots=True)
class Driver:
    """What the largest part of a budget was spent on."""

    name: str
    cost_words: str


def threshold(
    line: BudgetLine, *, passed: str, is_forecast: bool, runs: Sequence[RunLine], driver: Driver | None
) -> Notice:
    """A rung was passed; `passed` says how, and `runs` are those that were started by it, strongest first."""
    steps = [_started(run) for run in runs if run.action != "notify"]
    if line.state == "unknown":
        steps.append("Data are late or failing, so nothing but notices happens until they are in.")
    elif not steps and is_forecast:
        steps.append("No action was taken. A forecast only notifies.")
    if line.next_step is not None:
        steps.append(f"Next: {_lower(line.next_step.text)}{wording.about(line.next_step.on)}.")
    undoable = next((run for run in runs if run.may_undo), None)
    buttons = [Button("Open budget", _budget_path(line), "primary")]
    if undoable is not None:
        buttons.append(Button(f"Undo {_noun(undoable)}…", _action_path(undoable)))
    return Notice(
        about=f"Budget · {line.name}",
        first_line=f"Budget {line.name}: {_used(line)} of {_period(line)} gone{_forecast_tail(line)}",
        header=f"Budget: {line.name} {passed}",
        lead=_lead(line),
        facts=(*_period_facts(line), *_driver_fact(driver), _owner(line)),
        steps=tuple(steps),
        consequence=steps[0] if steps else _lead(line),
        buttons=tuple(buttons),
        footer=_footer(line),
        tone="watch" if is_forecast else _TONES.get(line.state, "stale"),
        bar_percent=_bar_percent(line),
        bar_words=_bar_words(line),
    )


def approval(line: BudgetLine, run: RunLine, *, started: Sequence[RunLine], driver: Driver | None) -> Notice:
    """An action waits for somebody; `started` are those that did not have to wait."""
    expires = fmt.moment(run.expires_at)
    steps = [
        f"If nobody answers, the request expires {expires} and nothing happens.",
        *(_started(other) for other in started if other.action != "notify"),
    ]
    return Notice(
        about=f"Budget · {line.name}",
        first_line=f"Approve? {run.words} for {run.target_words} ({run.reason}). Expires {expires}",
        header=f"Approval needed: {_noun(run)} {line.name}",
        lead=f"{_lead(line)} {run.effect}",
        facts=(
            Fact("Why now", run.reason),
            Fact("Affects", run.target_words),
            *_period_facts(line),
            *_driver_fact(driver),
            _owner(line),
        ),
        steps=tuple(steps),
        consequence=f"{run.words} waits for approval until {expires}.",
        buttons=(
            Button("Review and approve", f"{_action_path(run)}?version={run.version}", "primary"),
            Button("Open budget", _budget_path(line)),
        ),
        footer=_footer(line),
        tone="watch",
        bar_percent=_bar_percent(line),
        bar_words=_bar_words(line),
    )


def in_force(line: BudgetLine, run: RunLine, *, gates: int) -> Notice:
    """An approved action took effect."""
    confirmed = f"{gates} gate confirmed it" if gates == 1 else f"{gates} gates confirmed it"
    until = f"until {fmt.moment(run.expires_at)} or undo"
    first = run.words.replace("Throttle", "Throttled", 1)
    return _about_run(
        line,
        run,
        header=f"{_DONE[run.action]}: {line.name}",
        first_line=f"{first} for {run.target_words}, approved by {run.decided_by}; {until}",
        lead=f"{confirmed} {fmt.moment(run.verified_at)}. {run.effect}",
        steps=(f"In force {until}.",),
        buttons=(Button(f"Undo {_noun(run)}…", _action_path(run)), Button("Open budget", _budget_path(line))),
        tone="stop" if run.action == "shutdown" else "thr",
    )


def not_confirmed(line: BudgetLine, run: RunLine, *, names: Sequence[str], now: datetime) -> Notice:
    """An action does not take effect: louder than one that did."""
    where = f" ({', '.join(names)})" if names else ""
    return _about_run(
        line,
        run,
        header=f"Not in effect: {_noun(run)} {line.name}",
        first_line=f"{run.words} for {run.target_words} has not taken effect: {run.error}. Spend continues",
        lead=f"Since {fmt.moment(run.applied_at or now)}: {run.error}{where}. Spend there continues without the limit.",
        steps=(
            "It takes effect as soon as the gates ask for their policy; check that they run and reach this address.",
        ),
        buttons=(Button("Open action", _action_path(run), "primary"), Button("Open budget", _budget_path(line))),
        tone="over",
    )


def failed(line: BudgetLine, run: RunLine) -> Notice:
    """An action could not be carried out."""
    return _about_run(
        line,
        run,
        header=f"Failed: {_noun(run)} {line.name}",
        first_line=f"{run.words} for {run.target_words} failed: {run.error}. Spend continues",
        lead=f"{run.error}. Nothing limits this spend now.",
        steps=("Correct the cause; the rung fires again in the next period, or once spend was back under it.",),
        buttons=(Button("Open action", _action_path(run), "primary"), Button("Open budget", _budget_path(line))),
        tone="over",
    )


def undone(line: BudgetLine, run: RunLine) -> Notice:
    """Somebody took an action back."""
    return _about_run(
        line,
        run,
        header=f"Undone: {_noun(run)} {line.name}",
        first_line=f"Undone by {run.ended_by}: {_lower(run.words)} for {run.target_words}",
        lead=f"Back to {_lower(run.before_words)} since {fmt.moment(run.ended_at)}.",
        steps=("The rung stays silent until spend was back under it, or until the next period.",),
        buttons=(Button("Open budget", _budget_path(line), "primary"),),
        tone="stale",
    )


def ended(line: BudgetLine, run: RunLine, *, why: str) -> Notice:
    """An action ended by itself."""
    return _about_run(
        line,
        run,
        header=f"Ended: {_noun(run)} {line.name}",
        first_line=f"Ended: {_lower(run.words)} for {run.target_words}, {why}",
        lead=f"Back to {_lower(run.before_words)} since {fmt.moment(run.ended_at)}.",
        steps=(),
        buttons=(Button("Open budget", _budget_path(line), "primary"),),
        tone="ok",
    )


def drifted(line: ProviderLine, *, month: date, causes: Sequence[str]) -> Notice:
    """Estimates and bills of a provider are further apart than its threshold allows; `causes` are words, the largest first."""
    apart = fmt.money(abs(line.drift_cost), line.currency)
    side = "below" if line.drift_cost > 0 else "above"
    share = fmt.percent(abs(line.drift_cost) / line.billed_cost) if line.billed_cost > 0 else "all"
    unknown = fmt.money(line.unknown_cost, line.currency)
    return Notice(
        about=f"Reconciliation · {line.provider}",
        first_line=f"{line.provider}, {fmt.month(month)}: estimates are {apart} ({share}) {side} the bill",
        header=f"Drift: {line.provider} {fmt.month(month)}",
        lead=f"Estimated {fmt.money(line.estimated_cost, line.currency)}, billed"
        f" {fmt.money(line.billed_cost, line.currency)}. {unknown} of it has no known cause.",
        facts=(
            Fact("Month", fmt.month(month)),
            Fact("Days compared", fmt.integer(line.days)),
            Fact("Logged share of the bill", fmt.percent(line.coverage) if line.coverage is not None else "unknown"),
            Fact("Told from", _drift_limit(line)),
        ),
        steps=tuple(causes),
        consequence=causes[0] if causes else "No cause is known.",
        buttons=(Button("Open reconciliation", _reconciliation_path(month, line.currency), "primary"),),
        footer=f"Without what the bill adds by itself: credits, discounts, taxes · Billed cost in {line.currency}",
        tone="over" if line.unknown_cost > abs(line.drift_cost) / 2 else "watch",
    )


def drift_ended(provider: str, *, month: date, currency: str, line: ProviderLine | None) -> Notice:
    """Estimates and bills of a provider are back within the threshold."""
    apart = fmt.money(abs(line.drift_cost), currency) if line else "nothing"
    return Notice(
        about=f"Reconciliation · {provider}",
        first_line=f"{provider}, {fmt.month(month)}: estimates agree with the bill again, {apart} apart",
        header=f"Ended: drift of {provider} {fmt.month(month)}",
        lead=f"Estimates and bill are {apart} apart, within the threshold.",
        facts=(Fact("Month", fmt.month(month)), *((Fact("Told from", _drift_limit(line)),) if line else ())),
        steps=(),
        consequence="Nothing is left to do.",
        buttons=(Button("Open reconciliation", _reconciliation_path(month, currency), "primary"),),
        footer=f"Billed cost in {currency}",
        tone="ok",
    )


def _drift_limit(line: ProviderLine) -> str:
    limit = line.threshold
    return f"{fmt.percent(limit.percent / 100)} of the bill and {fmt.money(limit.amount, line.currency)}"


def _reconciliation_path(month: date, currency: str) -> str:
    last = month_of(month).last
    return f"/reconciliation/?preset=custom&from={month}&to={last}&currency={currency}"


def _about_run(
    line: BudgetLine,
    run: RunLine,
    *,
    header: str,
    first_line: str,
    lead: str,
    steps: tuple[str, ...],
    buttons: tuple[Button, ...],
    tone: str,
) -> Notice:
    return Notice(
        about=f"Budget · {line.name}",
        first_line=first_line,
        header=header,
        lead=lead,
        facts=(Fact("Why", run.reason), Fact("Affects", run.target_words), *_period_facts(line), _owner(line)),
        steps=steps,
        consequence=lead,
        buttons=buttons,
        footer=_footer(line),
        tone=tone,
        bar_percent=_bar_percent(line),
        bar_words=_bar_words(line),
    )


def _started(run: RunLine) -> str:
    words = run.words.replace("Throttle", "Throttled", 1)
    return f"{words} from now on, until {fmt.moment(run.expires_at)} or undo. {run.effect}"


def _used(line: BudgetLine) -> str:
    return f"{fmt.percent(line.used_ratio)} used with {fmt.percent(line.elapsed_ratio, places=0)}"


def _lead(line: BudgetLine) -> str:
    spent = f"{fmt.money(line.spend_cost, line.currency)} of {fmt.money(line.amount, line.currency)} used"
    text = f"{spent} ({fmt.percent(line.used_ratio)})."
    if line.forecast_cost is None:
        return text
    forecast = fmt.money(line.forecast_cost, line.currency, mode="short")
    over = fmt.variance(line.forecast_cost, line.amount, line.currency)
    if line.forecast_low_cost is None or line.forecast_high_cost is None:
        return f"{text} At the {line.forecast_method} it ends at {forecast}, {over}."
    between = fmt.money_range(line.forecast_low_cost, line.forecast_high_cost, line.currency, level=80)
    return f"{text} It is expected to end at {forecast}, {between}, {over}."


def _forecast_tail(line: BudgetLine) -> str:
    if line.forecast_cost is None:
        return f"; {fmt.money(line.spend_cost, line.currency)} of {fmt.money(line.amount, line.currency)}"
    forecast = fmt.money(line.forecast_cost, line.currency, mode="short")
    return f"; forecast {forecast} of {fmt.money(line.amount, line.currency)}"


def _period(line: BudgetLine) -> str:
    return wording.period_name(line.period, line.days)


def _period_facts(line: BudgetLine) -> tuple[Fact, ...]:
    even = line.amount * line.elapsed_ratio
    return (
        Fact("Period", wording.period(line.period, line.days)),
        Fact("Even pace would be", fmt.money(even, line.currency)),
    )


def _driver_fact(driver: Driver | None) -> tuple[Fact, ...]:
    return () if driver is None else (Fact("Largest model", f"{driver.name} {driver.cost_words}"),)


def _owner(line: BudgetLine) -> Fact:
    return Fact("Owner", line.owner_email or ", ".join(line.teams) or "nobody is named")


def _footer(line: BudgetLine) -> str:
    fresh = f"Complete to {fmt.moment(line.complete_through)}" if line.complete_through else "How complete is unknown"
    parts = [fresh]
    if line.estimated_cost:
        parts.append(f"{fmt.money(line.estimated_cost, line.currency)} of it estimated")
    if line.unpriced_cost:
        parts.append(f"{fmt.money(line.unpriced_cost, line.currency)} at a conservative price")
    return " · ".join([*parts, f"Effective cost in {line.currency}"])


def _noun(run: RunLine) -> str:
    return {"throttle": "throttle", "reroute": "reroute", "shutdown": "shutdown", "notify": "notice"}[run.action]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _bar_percent(line: BudgetLine) -> int | None:
    return None if line.used_percent is None else int(min(line.used_percent, _FULL_BAR))


def _bar_words(line: BudgetLine) -> str:
    return f"{fmt.percent(line.used_ratio)} used, {fmt.percent(line.elapsed_ratio, places=0)} of the time gone"


def _budget_path(line: BudgetLine) -> str:
    return f"/budgets/{line.id}/"


def _action_path(run: RunLine) -> str:
    return f"/actions/{run.id}/"
