"""The tables of ingest. Charge and UsageEvent are partitioned, so their tables are made by hand-written migrations."""

from ingest.models.attributes import AttributeSet, Offering, UnitPrice
from ingest.models.charges import Charge
from ingest.models.deliveries import Authority, Backfill, Delivery, InboxBatch, Load, QuarantinedRow, Source, Touched
from ingest.models.gpus import FineTuneRun, GpuHour, GpuSample
from ingest.models.price_changes import PriceChange
from ingest.models.usage import AgentRun, LatencyDay, UsageDay, UsageEvent, UsageHour
from ingest.models.values import BusinessMetric, Marker, QualityScore

__all__ = [
    "AgentRun",
    "AttributeSet",
    "Authority",
    "Backfill",
    "BusinessMetric",
    "Charge",
    "Delivery",
    "FineTuneRun",
    "GpuHour",
    "GpuSample",
    "InboxBatch",
    "LatencyDay",
    "Load",
    "Marker",
    "Offering",
    "PriceChange",
    "QualityScore",
    "QuarantinedRow",
    "Source",
    "Touched",
    "UnitPrice",
    "UsageDay",
    "UsageEvent",
    "UsageHour",
]
