"""What stands beside the sample's cost: scores of answers, tickets and documents, deploys and releases."""

from datetime import datetime, timedelta

import orjson

from costobs.embedded.sample import organisation, story
from costobs.embedded.sample.features import FEATURES
from costobs.embedded.sample.story import Story

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# Feature -> the mean score of its answers; the quantized models score a little lower, as they do.
_MEANS = {
    "search-answers": 0.91,
    "support-copilot": 0.88,
    "ticket-triage": 0.84,
    "query-rewrite": 0.79,
    "campaign-writer": 0.86,
}
_SCORES_A_DAY = 12
# Feature -> what it does for the business, and how much of it for each call.
_FIGURES = {
    "support-copilot": ("tickets_resolved", "ticket", 0.31),
    "doc-extraction": ("documents_read", "document", 1.0),
}
# Day, hour, what, in which words, whose.
_EVENTS = (
    (story.CONTRACT, 0, "config_change", "New contract with Anthropic in force", "", ""),
    (story.LAUNCH, 9, "release", "search-answers 2.0 for everybody", "search", "search-answers"),
    (story.INCIDENT, 13, "incident", "Anthropic answers with errors", "", ""),
    (72, 10, "deploy", "query-rewrite on qwen2.5-14b, 4 bits", "search", "query-rewrite"),
    (80, 15, "deploy", "extraction v4 goes live", "data-platform", "doc-extraction"),
    (story.RUNAWAY[0], 7, "deploy", "market-briefs 1.9", "growth", "market-briefs"),
    (story.RUNAWAY[1] + 1, 8, "rollback", "market-briefs 1.8", "growth", "market-briefs"),
)


def scores(told: Story, *, until: datetime) -> bytes:
    """Scores of a few answers of each day, in the form of the push API; 0 to 1."""
    lines = []
    for feature in (one for one in FEATURES if one.name in _MEANS):
        mean = _MEANS[feature.name]
        for day in story.span(story.midnight(told.start), until):
            chance = told.random("score", feature.name, day)
            for number in range(_SCORES_A_DAY):
                at = story.midnight(day) + timedelta(hours=8, minutes=number * 50)
                value = min(1.0, max(0.0, chance.gauss(mean, 0.09)))
                if at < until:
                    lines.append(_score(told, feature, at, number, value))
    return b"".join(line + b"\n" for line in lines)


def figures(told: Story, *, until: datetime) -> bytes:
    """What the business did on each whole day."""
    lines = []
    for feature in (one for one in FEATURES if one.name in _FIGURES):
        name, unit, each = _FIGURES[feature.name]
        for day in story.span(story.midnight(told.start), story.midnight(until.date())):
            start = story.midnight(day)
            lines.append(
                orjson.dumps(
                    {
                        "name": name,
                        "period_start": start.strftime(_FORMAT),
                        "period_end": (start + timedelta(days=1)).strftime(_FORMAT),
                        "value": round(told.volume(feature, day) * each),
                        "unit": unit,
                        "attributes": _owner(feature.team, feature.name),
                    }
                )
            )
    return b"".join(line + b"\n" for line in lines)


def markers(told: Story, *, until: datetime) -> bytes:
    """Deploys, releases and incidents that had happened by `until`."""
    lines = []
    for day, hour, act, title, team, feature in _EVENTS:
        at = story.midnight(told.day(day)) + timedelta(hours=hour)
        if story.midnight(told.start) <= at < until:
            event = {
                "marker_id": f"event-{day}-{hour}",
                "at": at.strftime(_FORMAT),
                "act": act,
                "title": title,
                "attributes": _owner(team, feature),
            }
            lines.append(orjson.dumps(event))
    return b"".join(line + b"\n" for line in lines)


def _score(told: Story, feature: organisation.Feature, at: datetime, number: int, value: float) -> bytes:
    return orjson.dumps(
        {
            "score_id": f"{feature.name}-{told.index(at.date())}-{number}",
            "scored_at": at.strftime(_FORMAT),
            "name": "helpfulness",
            "value": f"{value:.2f}",
            "gen_ai.provider.name": organisation.MODELS[feature.model].provider,
            "gen_ai.request.model": feature.model,
            "evaluator": "reviewers",
            "attributes": _owner(feature.team, feature.name),
        }
    )


def _owner(team: str, feature: str) -> dict[str, str]:
    return {name: value for name, value in (("team", team), ("feature", feature)) if value}
