"""OpenAI's admin API as its own client understands it: costs, usage, projects and their keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.servers import admin
from tests.servers.admin import Asked, Refusal

_WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86400, 7, 31)}
_DIMENSIONS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source")
_SUMS = {
    "completions": (
        "input_tokens",
        "input_cached_tokens",
        "input_cache_write_tokens",
        "input_cache_write_30m_tokens",
        "input_cache_write_12h_tokens",
        "input_uncached_tokens",
        "output_tokens",
        "input_text_tokens",
        "input_audio_tokens",
        "input_image_tokens",
        "input_cached_text_tokens",
        "input_cached_audio_tokens",
        "output_audio_tokens",
        "num_model_requests",
    ),
    "embeddings": ("input_tokens", "num_model_requests"),
    "moderations": ("input_tokens", "num_model_requests"),
    "images": ("images", "num_model_requests"),
    "audio_speeches": ("characters", "num_model_requests"),
    "audio_transcriptions": ("seconds", "num_model_requests"),
}
Rows = list[dict[str, Any]]


@dataclass
class OpenAIAdmin(admin.AdminServer):
    """Costs by day and usage by moment, each at its finest grain; the server groups and sums them as it is asked."""

    costs: dict[datetime, Rows] = field(default_factory=dict)
    usage: dict[str, dict[datetime, Rows]] = field(default_factory=dict)
    projects: dict[str, str] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)  # project: key: name
    groups_by_key: bool = True

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def answer(self, asked: Asked) -> Any:
        if asked.headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal(
                401, f"Incorrect API key provided: {asked.headers.get('authorization', '').removeprefix('Bearer ')}."
            )
        path = asked.path.removeprefix("/v1/organization/")
        if any(path.startswith(denied) for denied in self.denied):
            raise Refusal(403, "You have insufficient permissions for this operation. Missing scopes: api.usage.read")
        if path == "costs":
            return self._costs(asked)
        if path.startswith("usage/"):
            return self._usage(asked, path.removeprefix("usage/"))
        return self._listed(asked, path)

    def _costs(self, asked: Asked) -> Any:
        by = asked.query.get("group_by[]", [])
        if not self.groups_by_key and "api_key_id" in by:
            raise Refusal(400, "Unsupported group_by: api_key_id is not available for this organization")
        buckets = []
        for start, end in self._spans(asked, "1d"):
            results = []
            for row in admin.grouped(
                [self._cost(each) for each in self.costs.get(start, [])],
                by,
                ("_value", "quantity"),
                ("line_item", "project_id", "api_key_id", "user_id", "api_source"),
            ):
                value = row.pop("_value")
                unit = next(
                    (each.get("quantity_unit") for each in self.costs[start] if each["line_item"] == row["line_item"]),
                    None,
                )
                told = {
                    "amount": {"value": value, "currency": "usd"},
                    "quantity_unit": unit,
                    "quantity": row.get("quantity"),
                }
                results.append({"object": "organization.costs.result", **row, **told})
            buckets.append({"object": "bucket", "start_time": _unix(start), "end_time": _unix(end), "results": results})
        return {"object": "page", **self.paged(buckets, asked.query, default=7, most=180)}

    def _cost(self, row: dict[str, Any]) -> dict[str, Any]:
        numbers = {"_value": Decimal(row["value"])}
        if row.get("quantity") is not None:
            numbers["quantity"] = Decimal(row["quantity"])
        return {name: value for name, value in row.items() if name not in ("value", "quantity")} | numbers

    def _usage(self, asked: Asked, endpoint: str) -> Any:
        if endpoint not in _SUMS:
            raise Refusal(404, f"Unknown request URL: GET {asked.path}")
        width = asked.query.get("bucket_width", ["1d"])[0]
        _, default, most = _WIDTHS[width]
        buckets = []
        for start, end in self._spans(asked, width):
            rows = [row for at, held in self.usage.get(endpoint, {}).items() if start <= at < end for row in held]
            results = admin.grouped(rows, asked.query.get("group_by[]", []), _SUMS[endpoint], _DIMENSIONS)
            named = [{"object": f"organization.usage.{endpoint}.result", **row} for row in results]
            buckets.append({"object": "bucket", "start_time": _unix(start), "end_time": _unix(end), "results": named})
        return {"object": "page", **self.paged(buckets, asked.query, default=default, most=most)}

    def _spans(self, asked: Asked, width: str) -> Iterator[tuple[datetime, datetime]]:
        if "start_time" not in asked.query:
            raise Refusal(400, "Missing required parameter: 'start_time'.")
        seconds = timedelta(seconds=_WIDTHS[width][0])
        start = datetime.fromtimestamp(int(asked.query["start_time"][0]), UTC)
        end = asked.query.get("end_time")
        return self.spans(start, datetime.fromtimestamp(int(end[0]), UTC) if end else self.now, seconds)

    def _listed(self, asked: Asked, path: str) -> Any:
        if path == "projects":
            found = [
                {
                    "id": one,
                    "object": "organization.project",
                    "name": name,
                    "created_at": 1,
                    "archived_at": None,
                    "status": "active",
                }
                for one, name in self.projects.items()
            ]
        else:
            project = path.removeprefix("projects/").removesuffix("/api_keys")
            if project not in self.projects:
                raise Refusal(404, f"Project {project} not found")
            found = [_key(one, name) for one, name in self.keys.get(project, {}).items()]
        after, size = asked.query.get("after", [""])[0], min(int(asked.query.get("limit", ["20"])[0]), self.page_size)
        start = next((at + 1 for at, one in enumerate(found) if one["id"] == after), 0)
        held = found[start : start + size]
        ends = {"first_id": held[0]["id"], "last_id": held[-1]["id"]} if held else {"first_id": None, "last_id": None}
        return {"object": "list", "data": held, "has_more": start + size < len(found), **ends}


def _key(one: str, name: str) -> dict[str, Any]:
    user = {"id": "user_1", "created_at": 1, "email": "ada@example.com", "name": "Ada", "role": "owner"}
    return {
        "object": "organization.project.api_key",
        "id": one,
        "name": name,
        "redacted_value": "sk-proj-…abc",
        "created_at": 1,
        "last_used_at": 1,
        "owner": {"type": "user", "user": user},
        "owner_project_access": "active",
    }


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())


@contextmanager
def started(*, now: datetime) -> Iterator[OpenAIAdmin]:
    """An OpenAI that knows nothing yet."""
    with admin.started(OpenAIAdmin(now=now)) as server:
        assert isinstance(server, OpenAIAdmin)
        yield server
