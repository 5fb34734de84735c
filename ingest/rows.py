"""The shapes of rows on the hot path: one Arrow schema for each thing a source can deliver.

Money and quantities of a bill are text here and become `numeric` in PostgreSQL, so that no digit is lost on the way.
Every text column is "" where the vendor said nothing, never null, because null is not equal to itself in a key; numbers
that may be unknown are null, because unknown is not zero.
"""

from dataclasses import dataclass

import pyarrow as pa

# The closed list of attributes that form an attribute set. Everything else on a row stays in its `extra`.
ATTRIBUTES = (
    "key",
    "project",
    "account",
    "team",
    "feature",
    "cost_centre",
    "environment",
    "service_name",
    "namespace",
    "user_agent",
    "tags",
)

TOKEN_KINDS = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",  # part of output: never added to it
    "audio_input",
    "audio_output",
    "image_input",
)
# The kinds that partition a request's tokens. Audio and image inputs are not part of input_uncached, audio output is not
# part of output; reasoning is part of output.
DISJOINT_TOKEN_KINDS = tuple(kind for kind in TOKEN_KINDS if kind != "reasoning")

COSTS = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")

_TEXT = pa.field("x", pa.string(), nullable=False).type
_INSTANT = pa.timestamp("us", tz="UTC")
# The columns that form the attribute set of a row.
_ATTRIBUTED = {f"attr_{name}": _TEXT for name in ATTRIBUTES}


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


# What the money of a charge is for: the parts of the cost of owning a language model.
COST_KINDS = (
    "api_inference",  # tokens of a model somebody else runs
    "serverless_inference",  # an endpoint billed by use, or capacity of a provider (PTU, provisioned throughput)
    "gpu_compute",  # GPUs, Inferentia, Trainium, TPUs: nodes and endpoints
    "cpu_compute",  # CPU and edge inference, and every other machine
    "fine_tuning",
    "storage",
    "vector_store",  # vector databases and RAG indexes
    "network",  # egress, load balancers, private links
    "energy",
    "licence",
    "staff",
    "support",
    "tax",
    "credit",
    "other_service",  # a service that is none of these
)
PURCHASE_OPTIONS = ("on_demand", "spot", "reserved", "savings_plan", "serverless", "owned")

# A FOCUS charge, FOCUS names in snake case. `model` and `token_kind` are classified from the vendor's SKU text by the source
# ("" when it is not a model); `tags` and `extra` are JSON objects as text; `attr_*` form the attribute set.
CHARGE = _schema(
    file_index=pa.int16(),
    row_number=pa.int64(),  # 1 is the first data row of its file
    charge_period_start=_INSTANT,
    charge_period_end=_INSTANT,
    billing_period_start=pa.date32(),
    billing_period_end=pa.date32(),
    billing_account_id=_TEXT,
    billing_account_name=_TEXT,
    sub_account_id=_TEXT,
    sub_account_name=_TEXT,
    billing_currency=_TEXT,
    billed_cost=_TEXT,
    effective_cost=_TEXT,
    list_cost=_TEXT,
    contracted_cost=_TEXT,
    charge_category=_TEXT,
    charge_class=_TEXT,
    charge_description=_TEXT,
    charge_frequency=_TEXT,
    service_provider_name=_TEXT,
    host_provider_name=_TEXT,
    invoice_issuer_name=_TEXT,
    invoice_id=_TEXT,
    service_category=_TEXT,
    service_subcategory=_TEXT,
    service_name=_TEXT,
    sku_id=_TEXT,
    sku_meter=_TEXT,
    sku_price_id=_TEXT,
    resource_id=_TEXT,
    resource_name=_TEXT,
    resource_type=_TEXT,
    region_id=_TEXT,
    pricing_category=_TEXT,
    pricing_quantity=pa.string(),
    pricing_unit=_TEXT,
    consumed_quantity=pa.string(),
    consumed_unit=_TEXT,
    commitment_discount_id=_TEXT,
    commitment_discount_status=_TEXT,
    model=_TEXT,
    token_kind=_TEXT,
    purchase_option=_TEXT,  # on_demand, spot, reserved, savings_plan, serverless, owned, or "" where none is bought
    cost_kind=_TEXT,  # what the money is for, of COST_KINDS
    tags=_TEXT,
    extra=_TEXT,
    **_ATTRIBUTED,
)

# One inference. `provider` is an OpenTelemetry gen_ai.provider.name, or "self_hosted" for our own GPUs.
USAGE = _schema(
    row_number=pa.int64(),
    event_id=_TEXT,
    occurred_at=_INSTANT,
    provider=_TEXT,
    request_model=_TEXT,
    response_model=_TEXT,
    operation=_TEXT,
    deployment=_TEXT,
    service_tier=_TEXT,
    **{kind: pa.int32() for kind in TOKEN_KINDS},
    usage_known=pa.bool_(),
    latency_ms=pa.int32(),
    ttft_ms=pa.int32(),
    status=pa.int16(),  # HTTP status of the call, 0 where unknown
    outcome=_TEXT,  # ok, error, refused, cancelled, unknown
    trace_id=_TEXT,
    session_id=_TEXT,
    extra=_TEXT,
    **_ATTRIBUTED,
)

# Usage that somebody else has summed already: the calls of one key and model in one bucket of time. `requests` is null where
# the vendor does not say how many calls those were. `context_from` is the least prompt size of the bucket, for prices that
# depend on it. Buckets are folded into hours and stand for no single call: they have no latency and no trace.
USAGE_BUCKET = _schema(
    row_number=pa.int64(),
    starts_at=_INSTANT,
    interval_seconds=pa.int32(),
    provider=_TEXT,
    request_model=_TEXT,
    response_model=_TEXT,
    operation=_TEXT,
    deployment=_TEXT,
    service_tier=_TEXT,
    context_from=pa.int32(),
    requests=pa.int64(),
    errors=pa.int64(),
    **{kind: pa.int64() for kind in TOKEN_KINDS},
    **_ATTRIBUTED,
)

# One reading of one GPU or MIG slice.
GPU_SAMPLE = _schema(
    row_number=pa.int64(),
    sampled_at=_INSTANT,
    interval_seconds=pa.int32(),  # how much time this sample stands for
    node=_TEXT,
    gpu_index=_TEXT,
    gpu_uuid=_TEXT,
    mig_instance=_TEXT,
    mig_profile=_TEXT,
    gpu_model=_TEXT,
    namespace=_TEXT,
    pod=_TEXT,
    container=_TEXT,
    deployment=_TEXT,  # "" when nothing runs there
    activity=pa.float64(),  # 0..1, null when not measured
    activity_source=_TEXT,  # gr_engine_active, gpu_util, … as the vendor names it, or ""
    sm_active=pa.float64(),
    tensor_active=pa.float64(),
    dram_active=pa.float64(),
    power_watts=pa.float64(),
    energy_millijoules=pa.int64(),  # the counter, not a difference
    memory_used_mib=pa.float64(),
    memory_total_mib=pa.float64(),
)

# One fine-tune run; a later row with the same external_id replaces the earlier one.
FINE_TUNE = _schema(
    row_number=pa.int64(),
    external_id=_TEXT,
    name=_TEXT,
    provider=_TEXT,
    base_model=_TEXT,
    artefact=_TEXT,
    method=_TEXT,  # full, lora, qlora
    state=_TEXT,  # running, succeeded, failed, preempted, cancelled
    started_at=_INSTANT,
    ended_at=_INSTANT,
    node=_TEXT,
    gpu_uuids=_TEXT,  # comma-separated; "" = all GPUs of the node
    provider_job=_TEXT,  # resource_id of the bill's lines when the provider ran it
    useful_seconds=pa.int64(),
    trained_tokens=pa.int64(),
    **_ATTRIBUTED,
)

# One judgement of one answer; a later row with the same score_id replaces the earlier one.
QUALITY_SCORE = _schema(
    row_number=pa.int64(),
    score_id=_TEXT,
    scored_at=_INSTANT,
    name=_TEXT,
    value=_TEXT,
    scale_min=_TEXT,
    scale_max=_TEXT,
    provider=_TEXT,
    model=_TEXT,
    variant=_TEXT,
    deployment=_TEXT,
    evaluator=_TEXT,
    trace_id=_TEXT,
    **_ATTRIBUTED,
)

# What the business did in one period; a later row of the same name, period and attributes replaces the earlier one.
BUSINESS_METRIC = _schema(
    row_number=pa.int64(),
    name=_TEXT,
    period_start=_INSTANT,
    period_end=_INSTANT,
    value=_TEXT,
    unit=_TEXT,
    **_ATTRIBUTED,
)

# An event that people want to see on charts; a later row with the same marker_id replaces the earlier one.
MARKER = _schema(
    row_number=pa.int64(),
    marker_id=_TEXT,
    at=_INSTANT,
    act=_TEXT,
    title=_TEXT,
    url=_TEXT,
    **_ATTRIBUTED,
)

SCHEMAS = {
    "charges": CHARGE,
    "usage": USAGE,
    "usage_buckets": USAGE_BUCKET,
    "gpu_samples": GPU_SAMPLE,
    "fine_tunes": FINE_TUNE,
    "quality_scores": QUALITY_SCORE,
    "business_metrics": BUSINESS_METRIC,
    "markers": MARKER,
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that cannot be loaded: where it is, which field, and why; `raw` is what was found, cut to 2,000 characters."""

    file: str
    row: int
    field: str
    reason: str
    raw: str = ""
