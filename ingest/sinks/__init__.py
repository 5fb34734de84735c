"""Where the rows of each kind go."""

from ingest.sinks.base import Sink
from ingest.sinks.charges import ChargeSink
from ingest.sinks.gpu_samples import GpuSampleSink
from ingest.sinks.reports import BusinessMetricSink, FineTuneSink, MarkerSink, QualityScoreSink
from ingest.sinks.usage import UsageSink
from ingest.sinks.usage_buckets import UsageBucketSink

SINKS: dict[str, type[Sink]] = {
    "charges": ChargeSink,
    "usage": UsageSink,
    "usage_buckets": UsageBucketSink,
    "gpu_samples": GpuSampleSink,
    "fine_tunes": FineTuneSink,
    "quality_scores": QualityScoreSink,
    "business_metrics": BusinessMetricSink,
    "markers": MarkerSink,
}

__all__ = ["SINKS", "Sink"]
