"""Where the rows of each kind go."""

from ingest.sinks.base import Sink
from ingest.sinks.charges import ChargeSink
from ingest.sinks.fine_tunes import FineTuneSink
from ingest.sinks.gpu_samples import GpuSampleSink
from ingest.sinks.usage import UsageSink
from ingest.sinks.usage_buckets import UsageBucketSink

SINKS: dict[str, type[Sink]] = {
    "charges": ChargeSink,
    "usage": UsageSink,
    "usage_buckets": UsageBucketSink,
    "gpu_samples": GpuSampleSink,
    "fine_tunes": FineTuneSink,
}

__all__ = ["SINKS", "Sink"]
