"""What an OpenAI organization used, by project, key and model, in hours that OpenAI has summed."""

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
from ingest.sources.formats.admin import admin_api, admin_units, openai_admin
from ingest.sources.formats.usage import token_usage

_PATH = "/organization/usage/"
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
# OpenTelemetry's word for what each endpoint counts, and by what it can be grouped.
OPERATIONS = {
    "completions": "chat",
    "embeddings": "embeddings",
    "moderations": "moderation",
    "images": "image_generation",
    "audio_speeches": "speech",
    "audio_transcriptions": "transcription",
}
_GROUPS = ("project_id", "api_key_id", "model")
# They count images, characters and seconds, of which usage has no kind: their requests are kept.
_WITHOUT_TOKENS = ("images", "audio_speeches", "audio_transcriptions")
_WIDTHS = {"1h": (_HOUR, 168), "1d": (_DAY, 31)}  # width: its length, and how many buckets one request may ask for
_SETTLES = timedelta(minutes=15)
# Field of the answer -> the name of the inclusive form that `token_usage.disjoint` takes apart.
_INCLUSIVE = {
    "input_tokens": "input_tokens",
    "input_cached_tokens": "cache_read_tokens",
    "input_cache_write_tokens": "cache_write_tokens",
    "input_cache_write_12h_tokens": "cache_write_1h_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_tokens": "output_tokens",
    "output_audio_tokens": "output_audio_tokens",
}


@dataclass(frozen=True, slots=True)
class OpenAIUsageConfig:
    """Which usage to read, and in how long buckets."""

    base_url: str = setting(openai_admin.BASE_URL, label="Address", hint="Change it for a proxy only.")
    bucket_width: str = setting(
        "1h", label="Bucket", choices=("1h", "1d"), hint="Hours, or days where an hour is too many rows."
    )
    endpoints: Sequence[str] = setting(
        tuple, label="Endpoints", hint=f"Of {', '.join(OPERATIONS)}; none named is all of them."
    )
    resolve_names: bool = setting(True, label="Names", hint="Show projects and keys by name; else by id.")

    def __post_init__(self) -> None:
        if self.bucket_width not in _WIDTHS:
            raise ValueError(f"bucket_width: expected 1h or 1d, found {self.bucket_width!r}")
        if unknown := sorted(set(self.endpoints) - set(OPERATIONS)):
            raise ValueError(f"endpoints: there is no {unknown[0]!r}; expected some of {', '.join(OPERATIONS)}")


class OpenAIUsage(Source):
    """The tokens and requests of an OpenAI organization by hour, project, key, model, batch and service tier.

    OpenAI's input tokens include those read from and written to the cache; here they are kinds that do not overlap, and a
    result whose parts do not add up is set aside. Batches have the tier "batch". Images, speech and transcriptions are
    counted by OpenAI in images, characters and seconds: their requests are kept, the bill has their cost. Writes kept for 30
    minutes count as short cache writes, those for 12 hours as long ones. OpenAI does not say how long prompts were: where a
    price has steps, the estimate takes the first. Each read takes the days again that OpenAI may still correct, and
    replaces them. Azure's usage of the same models is not in it. Example configuration:

        {"base_url": "https://api.openai.com/v1", "bucket_width": "1h", "endpoints": ["completions", "embeddings"],
         "resolve_names": true}
    """

    kind: ClassVar[str] = "openai_usage"
    title: ClassVar[str] = "OpenAI usage"
    produces: ClassVar[Produces] = "usage_buckets"
    Config: ClassVar[type[OpenAIUsageConfig]] = OpenAIUsageConfig
    secrets: ClassVar[tuple[Secret, ...]] = openai_admin.SECRETS
    grants: ClassVar[tuple[str, ...]] = openai_admin.GRANTS
    expected_lag_seconds: ClassVar[int] = 3 * 3600
    restatement_days: ClassVar[int] = 3
    poll_seconds: ClassVar[int] = 900
    backfill_days: ClassVar[int] = 7

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Each day that the window touches, whole. Days are asked for together and loaded one by one."""
        step, at_most = _WIDTHS[self.config.bucket_width]
        with openai_admin.api(self.config.base_url, self.credentials) as api:
            for group in admin_units.days(window, at_most=at_most // (_DAY // step)):
                span = Window(group[0].start, group[-1].end)
                found = [each for endpoint in self._endpoints() for each in self._found(api, endpoint, span)]
                names = openai_admin.names(api, found) if self.config.resolve_names else admin_units.Names()
                for day in group:
                    held = [each for each in found if day.start <= each.starts_at < day.end]
                    yield admin_units.unit(
                        name=f"OpenAI usage {day.start:%Y-%m-%d}",
                        found=held,
                        names=openai_admin.used(names, held),
                        complete_through=admin_units.complete(day, told_at=window.end, settles=_SETTLES, step=step),
                        span=day,
                    )

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether each endpoint can be read, how new its data are, and whether names can be seen."""
        if not self.credentials.get("admin_key"):
            yield Finding("Admin key", "missing", "No admin key is set.", openai_admin.GRANTS[0])
            return
        today = admin_units.midnight(window.end)
        with openai_admin.api(self.config.base_url, self.credentials).hurry() as api:
            for endpoint in self._endpoints():
                try:
                    found = self._found(api, endpoint, Window(today - _DAY, today + _DAY))
                except (SourceUnavailable, BadDelivery) as problem:
                    yield Finding(f"Usage of {endpoint}", "missing", str(problem), openai_admin.GRANTS[0])
                    continue
                yield _seen(endpoint, found)
            if self.config.resolve_names:
                yield from openai_admin.probe_names(api)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The buckets of one day. A result that cannot be counted is set aside, and named."""
        unit: admin_units.Unit = raw.payload
        rows = admin_units.BucketRows(file=raw.name, provider="openai")
        for number, each in enumerate(unit.found, start=1):
            try:
                counts = tokens(each.result, each.endpoint)
                told = _told(each, unit.names)
            except (admin_units.NotACount, token_usage.Contradiction) as problem:
                rows.reject(number, each, problem.field, str(problem))
                continue
            rows.add(number, each, told, counts)
        yield Normalized(rows.batch(), rows.rejected, raw.name)

    def _endpoints(self) -> Sequence[str]:
        return tuple(self.config.endpoints) or tuple(OPERATIONS)

    def _found(self, api: admin_api.AdminApi, endpoint: str, span: Window) -> list[admin_units.Found]:
        step, at_most = _WIDTHS[self.config.bucket_width]
        groups = (*_GROUPS, "batch", "service_tier") if endpoint == "completions" else _GROUPS
        parameters = [
            ("start_time", str(int(span.start.timestamp()))),
            ("end_time", str(int(span.end.timestamp()))),
            ("bucket_width", self.config.bucket_width),
            ("limit", str(min(at_most, (span.end - span.start) // step))),
            *(("group_by[]", name) for name in groups),
        ]
        return admin_units.found(api, _PATH + endpoint, parameters, span=span, endpoint=endpoint)


def tokens(result: Mapping[str, Any], endpoint: str) -> dict[str, int | None]:
    """The tokens of a result as kinds that do not overlap. Raises NotACount and Contradiction."""
    if endpoint in _WITHOUT_TOKENS:
        return {}
    told = {name: admin_units.count(result, name) for name in (*_INCLUSIVE, *_CHECKED)}
    if told["input_tokens"] is None:
        raise admin_units.NotACount("input_tokens", None)
    reported = {ours: told[name] or 0 for name, ours in _INCLUSIVE.items() if told[name] is not None}
    short, long = told["input_cache_write_30m_tokens"] or 0, told["input_cache_write_12h_tokens"] or 0
    reported.setdefault("cache_write_tokens", short + long)
    reported["cache_write_5m_tokens"] = short
    uncached = told["input_uncached_tokens"]
    if uncached is not None:
        _check_sum(told["input_tokens"], uncached, reported)
    else:
        # Before OpenAI told uncached tokens, audio and image tokens included the cached ones.
        reported["cache_audio_read_tokens"] = told["input_cached_audio_tokens"] or 0
        reported["cache_image_read_tokens"] = told["input_cached_image_tokens"] or 0
    found = token_usage.disjoint(reported, limit=admin_units.MOST_COUNT)
    kinds = {name: getattr(found, name) for name in _KINDS}
    return (
        kinds if endpoint == "completions" else {"input_uncached": found.input_uncached, "cache_read": found.cache_read}
    )


_CHECKED = (
    "input_uncached_tokens",
    "input_cache_write_30m_tokens",
    "input_cached_audio_tokens",
    "input_cached_image_tokens",
)
_KINDS = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "audio_input",
    "audio_output",
    "image_input",
)


def _check_sum(total: int, uncached: int, reported: Mapping[str, int]) -> None:
    read, written = reported.get("cache_read_tokens", 0), reported["cache_write_tokens"]
    if total != uncached + read + written:
        reason = (
            f"{uncached} uncached + {read} cached + {written} written to the cache are {uncached + read + written}, "
            f"not the {total} input tokens; the difference is {total - uncached - read - written}"
        )
        raise token_usage.Contradiction("input_tokens", reason)


def _told(found: admin_units.Found, names: admin_units.Names) -> admin_units.Told:
    result = found.result
    told = {name: admin_api.text(result.get(name)) for name in (*_GROUPS, "service_tier")}
    project, key = told["project_id"], told["api_key_id"]
    attributes = {"account": project, "project": names.projects.get(project, project), "key": key}
    if name := names.keys.get(key):
        attributes["tags"] = admin_units.tags(api_key_name=name)
    return admin_units.Told(
        model=told["model"],
        operation=OPERATIONS[found.endpoint],
        service_tier="batch" if result.get("batch") is True else told["service_tier"],
        requests=admin_units.count(result, "num_model_requests"),
        attributes=attributes,
    )


def _seen(endpoint: str, found: Sequence[admin_units.Found]) -> Finding:
    subject = f"Usage of {endpoint}"
    if not found:
        return Finding(subject, "note", "It can be read; yesterday and today have none.")
    projects = len({each.result.get("project_id") for each in found})
    newest = max(each.starts_at for each in found)
    said = f"{len(found)} sums of {projects} projects, the newest bucket begins {newest:%Y-%m-%d %H:%M} UTC"
    if endpoint in _WITHOUT_TOKENS:
        said += "; it has no tokens, so that only its requests are kept"
    return Finding(subject, "ok", said)
