"""What happens in the sample's ninety days, and when: seasons, a launch, a new price, a runaway key, fine-tunes."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from costobs.embedded.sample import organisation
from costobs.embedded.sample.organisation import Feature

# Days since the story's start.
LAUNCH = 68  # search answers for everybody
CONTRACT = 62  # the new contract with Anthropic
RUNAWAY = (83, 84)  # the key of a batch job that retries for ever
MAINTENANCE = 40  # gpu-node-1 is off for two hours and its reservation pays for nothing
INCIDENT = 76  # one provider answers with errors for three hours
INCIDENT_HOURS = range(13, 16)
INCIDENT_PROVIDER = "anthropic"
RUNAWAY_KEY = "key-growth-batch"
RUNAWAY_FEATURE = "market-briefs"

_OFFICE = (1, 1, 1, 1, 1, 2, 5, 12, 26, 38, 42, 40, 33, 39, 43, 41, 35, 24, 13, 8, 5, 3, 2, 1)
_EVENING = (6, 4, 3, 2, 2, 3, 7, 12, 17, 20, 21, 22, 24, 23, 22, 22, 24, 29, 35, 40, 42, 36, 24, 12)
_NIGHT = (40, 44, 44, 42, 36, 24, 10, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 8, 14, 24, 34)
_FLAT = (1,) * 24
RHYTHMS = {
    name: tuple(share / sum(shares) for share in shares)
    for name, shares in {"office": _OFFICE, "evening": _EVENING, "night": _NIGHT, "flat": _FLAT}.items()
}


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tune run; hours are counted from the midnight of its day."""

    external_id: str
    name: str
    day: int
    start_hour: float
    hours: float
    state: str
    base_model: str
    method: str
    team: str
    feature: str
    useful: float  # the part of its time that was of use
    trained_tokens: int
    provider: str = "self_hosted"
    node: str = "gpu-node-2"
    gpus: tuple[int, ...] = (2, 3)


RUNS = (
    Run(
        "ft-0187",
        "support tone v2",
        20,
        9.5,
        6.25,
        "succeeded",
        "llama-3.1-8b",
        "lora",
        "support",
        "support-copilot",
        0.96,
        41_200_000,
    ),
    Run(
        "ft-0201",
        "catalogue style",
        41,
        13.0,
        3.5,
        "failed",
        "llama-3.1-8b",
        "qlora",
        "growth",
        "product-descriptions",
        0.0,
        9_800_000,
    ),
    Run(
        "ft-0214",
        "sql dialect",
        58,
        20.0,
        4.0,
        "preempted",
        "qwen2.5-14b",
        "lora",
        "data-platform",
        "sql-agent",
        0.3,
        17_500_000,
    ),
    Run(
        "ft-0215",
        "sql dialect, resumed",
        59,
        6.0,
        9.5,
        "succeeded",
        "qwen2.5-14b",
        "lora",
        "data-platform",
        "sql-agent",
        0.97,
        52_300_000,
    ),
    Run(
        "ft-0233",
        "extraction v4",
        79,
        7.0,
        13.0,
        "succeeded",
        "llama-3.1-8b",
        "full",
        "data-platform",
        "doc-extraction",
        0.94,
        88_000_000,
    ),
    Run(
        "ft-0240",
        "campaign voice",
        85,
        10.0,
        2.5,
        "succeeded",
        "gpt-4.1-mini",
        "full",
        "growth",
        "campaign-writer",
        1.0,
        24_000_000,
        provider="openai",
        node="",
        gpus=(),
    ),
)


@dataclass(frozen=True, slots=True)
class Story:
    """The story of one load of the sample: it starts on a day and goes on for as long as it is asked."""

    start: date
    seed: int = organisation.SEED

    def index(self, day: date) -> int:
        """How many days after the start `day` is."""
        return (day - self.start).days

    def day(self, index: int) -> date:
        """The day so many days after the start."""
        return self.start + timedelta(days=index)

    def random(self, *names: object) -> random.Random:
        """Chance for one purpose: the same names give the same numbers, whatever else was asked."""
        return random.Random("/".join(map(str, (self.seed, self.index_names(names)))))  # noqa: S311  # no secret depends on it

    def index_names(self, names: Sequence[object]) -> str:
        """The names with days counted from the start, so that the story does not depend on the day it is told."""
        return "/".join(str(self.index(name)) if isinstance(name, date) else str(name) for name in names)

    def volume(self, feature: Feature, day: date) -> float:
        """Calls (or runs) of a feature on a day."""
        index = self.index(day)
        growth = 0.84 + 0.30 * min(index, 120) / 120
        weekend = feature.weekend if day.weekday() >= 5 and not self.is_runaway(feature, day) else 1.0
        wobble = math.exp(self.random("volume", feature.name or feature.key, day).gauss(0, 0.06))
        return feature.calls * growth * weekend * wobble * self._event(feature, index)

    def prompt_growth(self, day: date) -> float:
        """Prompts grow slowly, as they do."""
        return 0.94 + 0.12 * min(max(self.index(day), 0), 120) / 120

    def is_runaway(self, feature: Feature, day: date) -> bool:
        """Whether the batch key of this feature has run away on this day."""
        return feature.name == RUNAWAY_FEATURE and self.index(day) in RUNAWAY

    def error_rate(self, provider: str, usual: float, at_day: date, hour: int) -> float:
        """The share of calls that fail in an hour."""
        if provider == INCIDENT_PROVIDER and self.index(at_day) == INCIDENT and hour in INCIDENT_HOURS:
            return 0.22
        return usual

    def discount(self, provider: str, day: date) -> str:
        """What the contract with a provider leaves of the list price, as a decimal number."""
        if provider == "anthropic":
            return "0.86" if self.index(day) >= CONTRACT else "0.96"
        return {"openai": "0.95", "aws.bedrock": "1"}.get(provider, "1")

    def _event(self, feature: Feature, index: int) -> float:
        if feature.name == "search-answers" and index >= LAUNCH:
            return min(2.3, 1.4 + 0.3 * (index - LAUNCH))
        if feature.name == RUNAWAY_FEATURE and index in RUNAWAY:
            return 4.2
        return 1.0


def starting(*, until: datetime, days: int = organisation.DAYS) -> date:
    """The first day of a story that has lasted `days` when it ends at `until`."""
    return until.astimezone(UTC).date() - timedelta(days=days - 1)


def midnight(day: date) -> datetime:
    """When a UTC day begins."""
    return datetime.combine(day, time(0), UTC)


def span(since: datetime, until: datetime) -> list[date]:
    """The UTC days that [since, until) touches."""
    if since >= until:
        return []
    first, last = since.astimezone(UTC).date(), (until - timedelta(microseconds=1)).astimezone(UTC).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
