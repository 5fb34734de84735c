"""Calls of models from OpenTelemetry traces that applications and model servers push."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from ingest.sources.base import Normalized, Produces, Raw, Source, setting
from ingest.sources.formats import openings
from ingest.sources.formats.otlp import otlp_calls, otlp_repeats, otlp_spans
from ingest.sources.formats.usage import foreign_lines, usage_rows


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    """What spans do not say, and which of them count."""

    server_spans: str = setting(
        "without_parent",
        hint="Spans of model servers (vLLM): without_parent counts those that no traced caller reports",
        choices=("without_parent", "always", "never"),
    )
    server_models: Mapping[str, str] = setting(dict, hint="service.name of a model server = the model it serves")
    hosts: Mapping[str, str] = setting(
        dict, hint="Host that a client called = provider, such as llm.internal = self_hosted"
    )
    attribute_map: Mapping[str, str] = setting(dict, hint="Our attribute = your span or resource attribute")
    ignored_scopes: Sequence[str] = setting(tuple, hint="Instrumentations (scope names) whose spans do not count")
    exclusive_scopes: Sequence[str] = setting(
        tuple, hint="Instrumentations whose input tokens leave the cached ones out, against the convention"
    )
    provider: str = setting("", hint="Provider of spans that name none")


class Otlp(Source):
    """GenAI spans over OTLP/HTTP, from any of the usual instrumentations and from vLLM.

    Applications send their traces to `COSTOBS_URL/otlp` (the exporter adds /v1/traces), protobuf or JSON, gzip or not:

        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://costobs.example.com/otlp/v1/traces
        OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20cobs_…

    Spans of calls of a model count (chat, generate_content, text_completion, embeddings); agents, tools and chains repeat
    their usage and do not. Prompts and answers are dropped before anything is stored. Where two instrumentations report one
    call, the inner span counts. Example configuration:

        {"server_spans": "without_parent", "server_models": {"vllm-chat": "llama-3.1-8b"},
         "hosts": {"llm.internal": "self_hosted"}, "attribute_map": {"team": "app.squad"}, "ignored_scopes": [],
         "exclusive_scopes": [], "provider": ""}

    Team, feature, environment and the other attributes are read from `costobs.team`, `traceloop.association.properties.team`,
    OpenInference metadata, a plain `team`, or the attribute that `attribute_map` names, of the span or else of its resource.
    """

    kind: ClassVar[str] = "otlp"
    title: ClassVar[str] = "OpenTelemetry traces"
    produces: ClassVar[Produces] = "usage"
    Config: ClassVar[type[OtlpConfig]] = OtlpConfig
    expected_lag_seconds: ClassVar[int] = 300
    is_pushed: ClassVar[bool] = True

    def take(self, content: bytes, *, media_type: str) -> otlp_spans.Taken:
        """A pushed request as lines for the inbox, one for each span and without what people wrote.

        Raises otlp_spans.BadRequest when it is no trace request.
        """
        return otlp_spans.take(content, media_type=media_type, further=self.config.attribute_map.values())

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The calls of a batch. Other spans are counted as skipped, with the reason."""
        config = self.config
        reading = otlp_calls.Reading(
            server_spans=config.server_spans,
            ignored_scopes=frozenset(config.ignored_scopes),
            exclusive_scopes=frozenset(config.exclusive_scopes),
            server_models=config.server_models,
            hosts=config.hosts,
            attribute_map=config.attribute_map,
        )
        part: openings.Part = raw.payload
        repeats = otlp_repeats.find(_spans(part), ignored=reading.ignored_scopes)

        def translate(span: Mapping[str, Any], _row: int) -> foreign_lines.Event:
            key = otlp_repeats.key_of(span)
            if key in repeats.keys:
                raise foreign_lines.LeftOut(otlp_repeats.REASON)
            if key in repeats.told:
                span = {**span, "attributes": {**repeats.told[key], **span["attributes"]}}
            return otlp_calls.event(span, reading)

        yield from foreign_lines.normalize(part, translate, usage_rows.Defaults(provider=config.provider))

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """Batches out of the inbox."""
        part = openings.Part(name=name, content=content)
        found, size = openings.digest([part])
        return Raw(name=name, payload=part, content_hash=found, size_bytes=size, files=(name,))


def _spans(part: openings.Part) -> Iterator[Mapping[str, Any]]:
    """The spans of a batch; a line that is none is left to be rejected later."""
    with openings.stream(part) as stream:
        for line in stream:
            try:
                span = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(span, dict):
                yield span
