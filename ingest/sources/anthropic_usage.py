"""What an Anthropic organization used, by workspace, key and model, in hours that Anthropic has summed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from ingest.sources.base import (
    BadDelivery,
    Cursor,
    Finding,
    Normalized,
    Produces,
    Raw,
    Secret,
    Source,
    SourceUnavailable,
    Window,
    setting,
)
from ingest.sources.formats.admin import admin_api, admin_units, anthropic_admin

_PATH = "/v1/organizations/usage_report/messages"
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_WIDTHS = {"1h": (_HOUR, 168), "1d": (_DAY, 31)}  # width: its length, and how many buckets one request may ask for
_GROUPS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")
_SETTLES = timedelta(minutes=15)
KINDS = {
    "input_uncached": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}
_SPAN = re.compile(r"(\d+)([kKmM]?)\s*(?:-.*|\+)", re.ASCII)
_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}
_NO_REGION = {"", "not_available", "global"}


@dataclass(frozen=True, slots=True)
class AnthropicUsageConfig:
    """Where to read, and in how long buckets."""

    base_url: str = setting(anthropic_admin.BASE_URL, label="Address", hint="Change it for a proxy only.")
    bucket_width: str = setting(
        "1h", label="Bucket", choices=("1h", "1d"), hint="Hours, or days where an hour is too many rows."
    )
    resolve_names: bool = setting(True, label="Names", hint="Show workspaces and keys by name; else by id.")

    def __post_init__(self) -> None:
        if self.bucket_width not in _WIDTHS:
            raise ValueError(f"bucket_width: expected 1h or 1d, found {self.bucket_width!r}")


class AnthropicUsage(Source):
    """The tokens of an Anthropic organization by hour, workspace, key, model, service tier, context window and geography.

    Anthropic's input tokens leave out what was read from or written to the cache, so that its kinds do not overlap. Prompts
    above 200,000 tokens have a window of their own, and the price that holds for them. The report does not say how many
    requests there were: they are unknown, not zero, and no cost per request can be worked out from it. Searches of the web
    are in the bill only; fast mode is not told apart here, and its estimate too low until the bill comes. Each read takes
    the days again that Anthropic may still correct, and replaces them. What runs on Bedrock or Vertex AI is not in it.
    Example configuration:

        {"base_url": "https://api.anthropic.com", "bucket_width": "1h", "resolve_names": true}
    """

    kind: ClassVar[str] = "anthropic_usage"
    title: ClassVar[str] = "Anthropic usage"
    produces: ClassVar[Produces] = "usage_buckets"
    Config: ClassVar[type[AnthropicUsageConfig]] = AnthropicUsageConfig
    secrets: ClassVar[tuple[Secret, ...]] = anthropic_admin.SECRETS
    grants: ClassVar[tuple[str, ...]] = anthropic_admin.GRANTS
    expected_lag_seconds: ClassVar[int] = 3 * 3600
    restatement_days: ClassVar[int] = 3
    poll_seconds: ClassVar[int] = 900
    backfill_days: ClassVar[int] = 7

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Each day that the window touches, whole. Days are asked for together and loaded one by one."""
        step, at_most = _WIDTHS[self.config.bucket_width]
        with anthropic_admin.api(self.config.base_url, self.credentials) as api:
            named = anthropic_admin.names(api) if self.config.resolve_names else admin_units.Names()
            for group in admin_units.days(window, at_most=at_most // (_DAY // step)):
                found = self._found(api, Window(group[0].start, group[-1].end))
                for day in group:
                    held = [each for each in found if day.start <= each.starts_at < day.end]
                    yield admin_units.unit(
                        name=f"Anthropic usage {day.start:%Y-%m-%d}",
                        found=held,
                        names=anthropic_admin.used(named, held),
                        complete_through=admin_units.complete(day, told_at=window.end, settles=_SETTLES, step=step),
                        span=day,
                    )

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether usage can be read, how new it is, and whether names can be seen."""
        if not self.credentials.get("admin_key"):
            yield Finding("Admin key", "missing", "No admin key is set.", anthropic_admin.GRANTS[0])
            return
        today = admin_units.midnight(window.end)
        with anthropic_admin.api(self.config.base_url, self.credentials).hurry() as api:
            try:
                found = self._found(api, Window(today - _DAY, today + _DAY))
            except (SourceUnavailable, BadDelivery) as problem:
                yield Finding("Usage", "missing", str(problem), anthropic_admin.GRANTS[0])
                return
            yield _seen(found)
            if self.config.resolve_names:
                yield from anthropic_admin.probe_names(api)
        yield Finding(
            "Requests", "note", "The report counts tokens, not requests: a cost per request is not known from it."
        )

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The buckets of one day. A result that cannot be counted is set aside, and named."""
        unit: admin_units.Unit = raw.payload
        rows = admin_units.BucketRows(file=raw.name, provider="anthropic")
        for number, each in enumerate(unit.found, start=1):
            try:
                counts = {kind: admin_units.count(each.result, name) or 0 for kind, name in KINDS.items()}
                told = _told(each.result, unit.names)
            except admin_units.NotACount as problem:
                rows.reject(number, each, problem.field, str(problem))
                continue
            except ValueError as problem:
                rows.reject(number, each, "context_window", str(problem))
                continue
            rows.add(number, each, told, counts)
        yield Normalized(rows.batch(), rows.rejected, raw.name)

    def _found(self, api: admin_api.AdminApi, span: Window) -> list[admin_units.Found]:
        step, at_most = _WIDTHS[self.config.bucket_width]
        parameters = [
            ("starting_at", f"{span.start:%Y-%m-%dT%H:%M:%SZ}"),
            ("ending_at", f"{span.end:%Y-%m-%dT%H:%M:%SZ}"),
            ("bucket_width", self.config.bucket_width),
            ("limit", str(min(at_most, (span.end - span.start) // step))),
            *(("group_by[]", name) for name in _GROUPS),
        ]
        return admin_units.found(api, _PATH, parameters, span=span, endpoint="messages")


def context_from(window: str) -> int:
    """The least prompt of a context window such as "200k-1M": one token more than the window below ends with, which is where
    the dearer step of a price begins. Raises ValueError for a text of another form, which would be priced by guess.
    """
    if not window:
        return 0
    found = _SPAN.fullmatch(window.strip())
    if found is None:
        raise ValueError(f"expected a window like 0-200k, found {window[:60]!r}")
    least = int(found.group(1)) * _THOUSANDS[found.group(2).lower()]
    return least + 1 if least else 0


def _told(result: Mapping[str, Any], names: admin_units.Names) -> admin_units.Told:
    told = {name: admin_api.text(result.get(name)) for name in _GROUPS}
    workspace, name = anthropic_admin.workspace(result.get("workspace_id"), names)
    key, geo = told["api_key_id"], told["inference_geo"]
    further = admin_units.tags(api_key_name=names.keys.get(key, ""), inference_geo="" if geo in _NO_REGION else geo)
    return admin_units.Told(
        model=told["model"],
        operation="chat",
        service_tier=told["service_tier"],
        context_from=context_from(told["context_window"]),
        attributes={"account": workspace, "project": name or workspace, "key": key, "tags": further},
    )


def _seen(found: Sequence[admin_units.Found]) -> Finding:
    if not found:
        return Finding("Usage", "note", "It can be read; yesterday and today have none.")
    workspaces = len({each.result.get("workspace_id") for each in found})
    newest = max(each.starts_at for each in found)
    said = f"{len(found)} sums of {workspaces} workspaces, the newest bucket begins {newest:%Y-%m-%d %H:%M} UTC"
    return Finding("Usage", "ok", said)
