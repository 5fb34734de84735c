"""Anthropic's Admin API: cost report, usage report, workspaces and keys, as its documentation and its own client have them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.servers import admin
from tests.servers.admin import Asked, Refusal

_WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86400, 7, 31)}
_BY_DESCRIPTION = (
    "description",
    "cost_type",
    "model",
    "token_type",
    "service_tier",
    "context_window",
    "inference_geo",
)
_DIMENSIONS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")
_FLAT = ("uncached_input_tokens", "cache_read_input_tokens", "output_tokens", "5m", "1h", "web_search_requests")
Rows = list[dict[str, Any]]


@dataclass
class AnthropicAdmin(admin.AdminServer):
    """Costs by day and usage by moment, each at its finest grain; the server groups and sums them as it is asked."""

    key: str = "sk-ant-admin-test"
    costs: dict[datetime, Rows] = field(default_factory=dict)
    usage: dict[datetime, Rows] = field(default_factory=dict)
    workspaces: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Any:
        if asked.headers.get("x-api-key") != self.key:
            raise Refusal(401, "invalid x-api-key")
        if not asked.headers.get("anthropic-version"):
            raise Refusal(400, "anthropic-version: header is required")
        path = asked.path.removeprefix("/v1/organizations/")
        if any(path.startswith(denied) for denied in self.denied):
            raise Refusal(403, "Your account does not have permission to use this resource")
        if path == "cost_report":
            return self._costs(asked)
        if path == "usage_report/messages":
            return self._usage(asked)
        if path in ("workspaces", "api_keys"):
            return self._listed(asked, path)
        raise Refusal(404, "Not found")

    def error(self, message: str, kind: str) -> Any:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    def _costs(self, asked: Asked) -> Any:
        by = asked.query.get("group_by[]", [])
        fields = [name for name in by if name != "description"] + (list(_BY_DESCRIPTION) if "description" in by else [])
        buckets = []
        for start, end in self._spans(asked, "1d"):
            rows = [row | {"amount": Decimal(row["amount"])} for row in self.costs.get(start, [])]
            results = admin.grouped(rows, fields, ("amount",), ("workspace_id", *_BY_DESCRIPTION))
            told = [row | {"amount": str(row["amount"]), "currency": "USD"} for row in results]
            buckets.append({"starting_at": _text(start), "ending_at": _text(end), "results": told})
        return self.paged(buckets, asked.query, default=7, most=31)

    def _usage(self, asked: Asked) -> Any:
        width = asked.query.get("bucket_width", ["1d"])[0]
        _, default, most = _WIDTHS[width]
        buckets = []
        for start, end in self._spans(asked, width):
            rows = [row for at, held in self.usage.items() if start <= at < end for row in held]
            results = admin.grouped(rows, asked.query.get("group_by[]", []), _FLAT, _DIMENSIONS)
            buckets.append(
                {"starting_at": _text(start), "ending_at": _text(end), "results": [_nested(row) for row in results]}
            )
        return self.paged(buckets, asked.query, default=default, most=most)

    def _spans(self, asked: Asked, width: str) -> Iterator[tuple[datetime, datetime]]:
        if "starting_at" not in asked.query:
            raise Refusal(400, "starting_at: Field required")
        start = datetime.fromisoformat(asked.query["starting_at"][0])
        end = asked.query.get("ending_at")
        return self.spans(
            start, datetime.fromisoformat(end[0]) if end else self.now, timedelta(seconds=_WIDTHS[width][0])
        )

    def _listed(self, asked: Asked, path: str) -> Any:
        if path == "workspaces":
            found = [_workspace(one, name) for one, name in self.workspaces.items()]
        else:
            found = [_key(one, name) for one, name in self.keys.items()]
        after, size = (
            asked.query.get("after_id", [""])[0],
            min(int(asked.query.get("limit", ["20"])[0]), self.page_size),
        )
        start = next((at + 1 for at, one in enumerate(found) if one["id"] == after), 0)
        held = found[start : start + size]
        ends = {"first_id": held[0]["id"], "last_id": held[-1]["id"]} if held else {"first_id": None, "last_id": None}
        return {"data": held, "has_more": start + size < len(found), **ends}


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    flat = {name: row.pop(name, 0) for name in _FLAT}
    return {
        **row,
        "uncached_input_tokens": flat["uncached_input_tokens"],
        "cache_read_input_tokens": flat["cache_read_input_tokens"],
        "output_tokens": flat["output_tokens"],
        "cache_creation": {"ephemeral_5m_input_tokens": flat["5m"], "ephemeral_1h_input_tokens": flat["1h"]},
        "server_tool_use": {"web_search_requests": flat["web_search_requests"]},
    }


def _workspace(one: str, name: str) -> dict[str, Any]:
    residency = {"workspace_geo": "us", "allowed_inference_geos": "unrestricted", "default_inference_geo": "global"}
    return {
        "id": one,
        "type": "workspace",
        "name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "archived_at": None,
        "display_color": "#6C5BB9",
        "compartment_id": "cmp_1",
        "data_residency": residency,
        "external_key_id": None,
        "tags": {},
        "user_profile_id": None,
    }


def _key(one: str, name: str) -> dict[str, Any]:
    return {
        "id": one,
        "type": "api_key",
        "name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "created_by": {"id": "user_1", "type": "user"},
        "expires_at": None,
        "partial_key_hint": "sk-ant-api03-…AA",
        "principal": None,
        "scope": {"type": "workspace", "workspace_id": "wrkspc_1"},
        "status": "active",
    }


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def started(*, now: datetime) -> Iterator[AnthropicAdmin]:
    """An Anthropic that knows nothing yet."""
    with admin.started(AnthropicAdmin(now=now)) as server:
        assert isinstance(server, AnthropicAdmin)
        yield server
