"""The counters of model servers: what vLLM, SGLang, TGI, Triton, TensorRT-LLM and Ray Serve call their tokens and requests."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Counter:
    """What a counter counts: `role` is prompt, cached, output, requests or errors (which are requests too).

    Where several counters of a server tell the same, those of the lowest `rank` count.
    """

    engine: str
    role: str
    rank: int = 0


# vLLM 0.32 and 0.33, /metrics. prompt_tokens include the cached ones; prefix_cache_hits are tokens, not blocks, and are all
# that older versions have.
_VLLM = {
    "prompt_tokens": ("prompt", 0),
    "prompt_tokens_cached": ("cached", 0),
    "prefix_cache_hits": ("cached", 1),
    "generation_tokens": ("output", 0),
    "request_success": ("requests", 0),
}
# SGLang with --enable-metrics (its references/production_metrics page). prompt_tokens include the cached ones.
_SGLANG = {
    "prompt_tokens": ("prompt", 0),
    "cached_tokens": ("cached", 0),
    "generation_tokens": ("output", 0),
    "num_requests": ("requests", 0),
}
_COUNTERS = {
    **{f"vllm:{name}": Counter("vLLM", *says) for name, says in _VLLM.items()},
    # Ray Serve passes on what vLLM counts under its own prefix; which of the two separators depends on its version.
    **{f"ray_vllm{mark}{name}": Counter("Ray Serve", *says) for name, says in _VLLM.items() for mark in ":_"},
    **{f"sglang{mark}{name}": Counter("SGLang", *says) for name, says in _SGLANG.items() for mark in ":_"},
    # Text Generation Inference has no counters of tokens; the sums of its histograms of tokens are such.
    "tgi_request_input_length_sum": Counter("TGI", "prompt"),
    "tgi_request_generated_tokens_sum": Counter("TGI", "output"),
    "tgi_request_success": Counter("TGI", "requests"),
    "tgi_request_failure": Counter("TGI", "errors"),
    "tgi_request_count": Counter("TGI", "requests", 1),
    # Triton counts requests of any model; its TensorRT-LLM backend has histograms of tokens since 24.12.
    "nv_inference_request_success": Counter("Triton", "requests"),
    "nv_inference_request_failure": Counter("Triton", "errors"),
    "nv_llm_input_token_len_sum": Counter("Triton", "prompt"),
    "nv_llm_output_token_len_sum": Counter("Triton", "output"),
    # trtllm-serve
    "trtllm_prompt_tokens": Counter("TensorRT-LLM", "prompt"),
    "trtllm_generation_tokens": Counter("TensorRT-LLM", "output"),
    "trtllm_request_success": Counter("TensorRT-LLM", "requests"),
}
_SUFFIX = re.compile(r"_(total|created)$")
# What a scrape adds. One server scraped by two jobs, or by two replicas of Prometheus, is one server.
SCRAPE_LABELS = frozenset({"job", "endpoint", "service", "prometheus", "prometheus_replica", "monitor"})
# What tells requests of one server apart from each other, rather than servers.
_DETAILS = frozenset(
    {"finished_reason", "method", "err", "reason", "is_streaming", "cache_source", "response_metric_type", "code"}
)


def base_name(name: str) -> str:
    """A counter's name without what OpenMetrics puts after it."""
    return _SUFFIX.sub("", name)


def find(name: str) -> Counter | None:
    """What the counter of this name counts, None where it is none of ours."""
    return _COUNTERS.get(base_name(name))


def is_creation(name: str) -> bool:
    """Whether this says when the counter began to count, rather than what it counts."""
    return name.endswith("_created")


def selector(more: str) -> str:
    """What finds all of them in Prometheus, with the matchers of the user."""
    names = "|".join(sorted(_COUNTERS))
    return f'{{__name__=~"({names})(_total|_created)?"{f",{more}" if more else ""}}}'


def server(labels: Labels) -> frozenset[tuple[str, str]]:
    """The labels that tell one server's process from another's."""
    dropped = _DETAILS | {"model", "version", "model_name", "engine"}
    if "instance" in labels:
        dropped |= SCRAPE_LABELS
    return frozenset((name, value) for name, value in labels.items() if name not in dropped)


def role(counter: Counter, labels: Labels) -> str:
    """What this series counts: requests that ended in an error are told by a label in vLLM."""
    if counter.role == "requests" and labels.get("finished_reason") == "error":
        return "errors"
    return counter.role


def is_repeated(labels: Labels) -> bool:
    """Whether another rank of the same engine reports the same tokens: ranks of tensor and pipeline parallelism work on
    one request together (those of data parallelism do not).
    """
    return labels.get("tp_rank", "0") != "0" or labels.get("pp_rank", "0") != "0"
