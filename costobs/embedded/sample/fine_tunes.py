"""The sample's fine-tune runs, as the push API takes them."""

from datetime import datetime, timedelta

import orjson

from costobs.embedded.sample import bills, gpus, organisation, story
from costobs.embedded.sample.story import Run, Story

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def ndjson(told: Story, *, until: datetime) -> bytes:
    """The runs that had ended by `until`, one JSON object on each line."""
    lines = [orjson.dumps(_run(told, run)) for run in story.RUNS if _span(told, run)[1] <= until]
    return b"".join(line + b"\n" for line in lines)


def _span(told: Story, run: Run) -> tuple[datetime, datetime]:
    start = story.midnight(told.day(run.day)) + timedelta(hours=run.start_hour)
    return start, start + timedelta(hours=run.hours)


def _run(told: Story, run: Run) -> dict[str, object]:
    start, end = _span(told, run)
    node = next((node for node in organisation.NODES if node.name == run.node), None)
    return {
        "external_id": run.external_id,
        "name": run.name,
        "provider": run.provider,
        "base_model": run.base_model,
        "artefact": f"quillfern/{run.name.split(',')[0].replace(' ', '-')}" if run.state == "succeeded" else "",
        "method": run.method,
        "state": run.state,
        "started_at": start.strftime(_FORMAT),
        "ended_at": end.strftime(_FORMAT),
        "node": run.node,
        "gpu_uuids": [gpus.uuid(told, node, gpu) for gpu in run.gpus] if node else [],
        "provider_job": "" if node else bills.provider_job(run),
        "useful_seconds": int(run.hours * 3600 * run.useful),
        "trained_tokens": run.trained_tokens,
        "attributes": {
            "team": run.team,
            "feature": run.feature,
            "cost_centre": organisation.COST_CENTRES[run.team],
            "environment": "dev",
        },
    }
