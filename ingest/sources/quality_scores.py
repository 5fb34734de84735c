"""Quality scores of model answers, pushed as JSON, so that cost can stand beside quality."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from ingest.rows import QUALITY_SCORE
from ingest.sources.base import Normalized, Produces, Raw, Source, setting
from ingest.sources.formats import classify, pushed_rows


@dataclass(frozen=True, slots=True)
class QualityScoresConfig:
    """What to fill in where a score is silent."""

    provider: str = setting("", hint="Of scores that name none, such as openai or self_hosted")
    evaluator: str = setting("", hint="Who or what judged: people, a model, a test suite")


class QualityScores(Source):
    """Scores of answers: one JSON object, a list, or one a line. A later score of the same id replaces the earlier one.

    A score has a name (what was judged) and a value between `scale_min` and `scale_max` (0 and 1 where nothing is said;
    true and false are 1 and 0). It belongs to a model, and to a trace, a variant (a prompt or quantization under test) or
    an owner where they are named. Example configuration:

        {"provider": "openai", "evaluator": "helpdesk team"}

    Example score:

        {"score_id": "s-1", "scored_at": "2026-11-20T10:00:00Z", "name": "faithfulness", "value": 0.92,
         "scale_min": 0, "scale_max": 1, "gen_ai.request.model": "gpt-5-mini", "trace_id": "4bf92f35", "variant": "prompt-7",
         "evaluator": "judge-v2", "attributes": {"team": "search", "feature": "answers"}}
    """

    kind: ClassVar[str] = "quality_scores"
    title: ClassVar[str] = "Quality scores"
    produces: ClassVar[Produces] = "quality_scores"
    Config: ClassVar[type[QualityScoresConfig]] = QualityScoresConfig
    is_pushed: ClassVar[bool] = True

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The scores of a batch in order; a score with a wrong field is rejected by that field's name."""
        yield pushed_rows.normalize(raw.payload, QUALITY_SCORE, self._score)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file."""
        yield from pushed_rows.open_paths(paths)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        return pushed_rows.pushed(name, content)

    def _score(self, parsed: Mapping[str, Any], row: int) -> pushed_rows.Row:
        provider = pushed_rows.text(parsed, "gen_ai.provider.name") or pushed_rows.text(parsed, "provider")
        provider = classify.otel_provider(provider or self.config.provider)
        model = (
            pushed_rows.text(parsed, "gen_ai.response.model")
            or pushed_rows.text(parsed, "gen_ai.request.model")
            or pushed_rows.text(parsed, "model")
        )
        given = parsed.get("value")
        if isinstance(given, bool):
            parsed = {**parsed, "value": int(given)}
        value, low, high = (
            pushed_rows.number({"scale_min": 0, "scale_max": 1, **parsed}, name)
            for name in ("value", "scale_min", "scale_max")
        )
        if Decimal(low) >= Decimal(high):
            raise pushed_rows.Invalid("scale_max", f"expected more than scale_min {low}, found {high}")
        if not Decimal(low) <= Decimal(value) <= Decimal(high):
            raise pushed_rows.Invalid(
                "value", f"expected {low} to {high}, found {value}; say its scale_min and scale_max"
            )
        return {
            "row_number": row,
            "score_id": pushed_rows.text(parsed, "score_id") or pushed_rows.content_id(parsed),
            "scored_at": pushed_rows.moment(parsed, "scored_at", required=True),
            "name": pushed_rows.text(parsed, "name", required=True).lower(),
            "value": value,
            "scale_min": low,
            "scale_max": high,
            "provider": provider,
            "model": classify.canonical_model(provider, model),
            "variant": pushed_rows.text(parsed, "variant"),
            "deployment": pushed_rows.text(parsed, "deployment"),
            "evaluator": pushed_rows.text(parsed, "evaluator") or self.config.evaluator,
            "trace_id": pushed_rows.text(parsed, "trace_id"),
            **pushed_rows.attributes(parsed),
        }
