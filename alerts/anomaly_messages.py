"""What alerts say of anomalies: pure functions to the one anatomy of every alert."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from alerts import anomaly_lines
from alerts.anomaly_lines import AnomalyLine
from alerts.rows import Button, Fact, Notice, Offer
from costobs.kernel import fmt
from costobs.kernel.period import day_of

__all__ = ["BudgetEnd", "Notice", "ended", "found"]


@dataclass(frozen=True, slots=True)
class BudgetEnd:
    """The budget that an anomaly is paid from; `over` is how far past its amount it is forecast to end, None: not known."""

    name: str
    owner_email: str
    over: Decimal | None


def found(line: AnomalyLine, *, now: datetime, budget: BudgetEnd | None = None) -> Notice:
    """It opened, or its impact grew by half."""
    name, rate = line.scope_words, fmt.money(line.rate_cost, line.currency)
    since = anomaly_lines.since(line)
    change = f" ({fmt.percent(line.change_ratio, places=0, signed=True)})" if line.change_ratio is not None else ""
    return Notice(
        about=f"Anomaly · {name}",
        first_line=f"Anomaly: {name} costs {rate} {_per(line)} more than expected since {since}{change}",
        header=f"Anomaly: {name}, +{rate} {_per(line)}",
        lead=f"{fmt.money(line.impact_cost, line.currency)} above expected so far. {_why(line)}",
        facts=(
            Fact(
                "Expected → actual",
                f"{_money(line, 'newest_expected_cost')} → {_money(line, 'newest_cost')} {_per(line)}",
            ),
            Fact("Since", since),
            Fact("Where", _where(line)),
            Fact("If it goes on", f"+{_money(line, 'if_goes_on_cost')} by {fmt.short_day(line.month_ends.last)}"),
            *([Fact("Coincides with", _coincides(line))] if line.coincidences else []),
            *_budget_facts(budget),
        ),
        steps=("Nothing was limited: an anomaly only tells. A rung with a trend can act on it.",),
        consequence=f"If it goes on: +{_money(line, 'if_goes_on_cost')} by {fmt.short_day(line.month_ends.last)}.",
        buttons=(
            Button("Open", path(line), "primary"),
            Button("I'm on it…", path(line)),
            Button("Expected…", path(line)),
            Button("Mute 7 days…", path(line)),
        ),
        footer=_footer(line, now),
        tone="watch",
        offers=_offers(line),
    )


def ended(line: AnomalyLine) -> Notice:
    """It is over, in the same thread."""
    name, impact = line.scope_words, fmt.money(line.impact_cost, line.currency)
    span = f"{anomaly_lines.since(line)} to {fmt.day(day_of(line.last_at))}"
    return Notice(
        about=f"Anomaly · {name}",
        first_line=f"Anomaly closed: {name}, {line.outcome_words.lower()}; it cost {impact} above expected",
        header=f"Closed: {name}",
        lead=f"{line.outcome_words}. {impact} above expected in all.",
        facts=(Fact("Lasted", span), Fact("Why", _why(line))),
        steps=(),
        consequence=f"{impact} above expected in all.",
        buttons=(Button("Open", path(line), "primary"),),
        footer=_footer(line, line.updated_at),
        tone="ok",
    )


def _offers(line: AnomalyLine) -> tuple[Offer, ...]:
    subject = f"{line.id}:v{line.version}"
    expected = (
        "Expected?",
        "What it costs is taken as all right for 7 days from now. You can undo it on its page.",
        "Expected",
    )
    return (
        Offer("anomaly_ack", "I'm on it", subject),
        Offer("anomaly_expected", "Expected", subject, asks=expected),
        Offer("anomaly_mute", "Mute 7 days", subject),
    )


def _budget_facts(budget: BudgetEnd | None) -> list[Fact]:
    if budget is None:
        return []
    is_over = budget.over is not None and budget.over > 0
    ends = f"{budget.name} would end {fmt.percent(budget.over, places=0)} over" if is_over else budget.name
    return [Fact("Budget", ends), *([Fact("Owner", budget.owner_email)] if budget.owner_email else [])]


def path(line: AnomalyLine) -> str:
    """The anomaly's page."""
    return f"/anomalies/{line.id}/"


def _per(line: AnomalyLine) -> str:
    return "a day" if line.grain == "day" else "an hour"


def _money(line: AnomalyLine, name: str) -> str:
    return fmt.money(getattr(line, name), line.currency)


def _why(line: AnomalyLine) -> str:
    parts = []
    if line.volume_percent is not None:
        parts.append(f"volume {fmt.percent(line.volume_percent / 100, places=0, signed=True)}")
    if line.price_percent is not None:
        parts.append(f"price per token {fmt.percent(line.price_percent / 100, places=0, signed=True)}")
    told = f" ({', '.join(parts)})" if parts else ""
    return f"Mostly {line.driver_words}{told}."


def _where(line: AnomalyLine) -> str:
    # Only scopes that the budget's people know by name; a key's name is public, its secret is not here.
    found = [f"{one.dimension.removesuffix('_name')} {one.value}" for one in line.places[:3]]
    return " · ".join(found) or line.scope_words


def _coincides(line: AnomalyLine) -> str:
    return "; ".join(f"{one.text}, {fmt.moment(one.at)}" for one in line.coincidences[:2])


def _footer(line: AnomalyLine, now: datetime) -> str:
    complete = (
        f"Complete to {fmt.moment(line.complete_through)}" if line.complete_through else "Complete data are awaited"
    )
    return f"{complete} · score {line.score} · detected {fmt.moment(line.detected_at)} · sent {fmt.moment(now)}"
