"""Counts of what the business does, pushed as JSON, so that spend can be divided by them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from ingest.rows import BUSINESS_METRIC
from ingest.sources.base import Normalized, Produces, Raw, Source, setting
from ingest.sources.formats import pushed_rows

_LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class BusinessMetricsConfig:
    """What to fill in where a figure is silent."""

    unit: str = setting("", hint="Of figures that name none, such as ticket, document or EUR")


class BusinessMetrics(Source):
    """Figures such as tickets resolved or documents read: one JSON object, a list, or one a line.

    A figure counts a half-open period of UTC time; a later report of the same name, period and attributes replaces the
    earlier one. It belongs to the owner its attributes mean, by the same rules as spend. Example configuration:

        {"unit": "ticket"}

    Example figure:

        {"name": "tickets_resolved", "period_start": "2026-11-20T00:00:00Z", "period_end": "2026-11-21T00:00:00Z",
         "value": 412, "unit": "ticket", "attributes": {"team": "support", "feature": "answers"}}
    """

    kind: ClassVar[str] = "business_metrics"
    title: ClassVar[str] = "Business metrics"
    produces: ClassVar[Produces] = "business_metrics"
    Config: ClassVar[type[BusinessMetricsConfig]] = BusinessMetricsConfig
    is_pushed: ClassVar[bool] = True

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The figures of a batch in order; one with a wrong field is rejected by that field's name."""
        yield pushed_rows.normalize(raw.payload, BUSINESS_METRIC, self._figure)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file."""
        yield from pushed_rows.open_paths(paths)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        return pushed_rows.pushed(name, content)

    def _figure(self, parsed: Mapping[str, Any], row: int) -> pushed_rows.Row:
        start = pushed_rows.moment(parsed, "period_start", required=True)
        end = pushed_rows.moment(parsed, "period_end", required=True)
        assert start is not None and end is not None  # both are mandatory
        if not start < end <= start + _LONGEST:
            reason = f"expected a period of up to a year, found {start.isoformat()} to {end.isoformat()}"
            raise pushed_rows.Invalid("period_end", reason)
        return {
            "row_number": row,
            "name": pushed_rows.text(parsed, "name", required=True).lower(),
            "period_start": start,
            "period_end": end,
            "value": pushed_rows.number(parsed, "value"),
            "unit": pushed_rows.text(parsed, "unit") or self.config.unit,
            **pushed_rows.attributes(parsed),
        }
