"""Shares by what the GPUs of a node did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from attribution.rules.base import BadRule, Field, SplitRule, weights

# What one token weighs when nothing was fitted for a deployment: output is dearer than input, cached input is nearly free.
DEFAULT_WEIGHTS = {"input": Decimal(1), "cached": Decimal("0.1"), "output": Decimal(5)}


@dataclass(frozen=True, slots=True)
class GpuShare(SplitRule):
    """Splits the bill of a GPU node by telemetry: busy time to the requests, idle time to the deployment's owner.

    Charges are a node's when their resource id, resource name or a tag (node, hostname, Name) is the node's name in telemetry
    or is listed in `nodes`. `weights` are for all deployments, `deployment_weights` for one. `deployment_owners` says whose
    the idle time of a deployment is; without it idle time has no owner.

    Example: {"deployment_owners": {"llama-prod": "search"}, "nodes": {"i-0a1b2c": "gpu-node-1"},
              "weights": {"input": "1", "cached": "0.1", "output": "5"}}
    """

    kind = "gpu_share"
    title = "By GPU telemetry"
    deployment_owners: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    token_weights: Mapping[str, Decimal] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    deployment_weights: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field("deployment_owners", "Owners of idle time", "pairs", "deployment = team; else it is nobody's.", {}),
            Field("nodes", "Nodes", "pairs", "resource on the bill = node in telemetry, where the names differ.", {}),
            Field("weights", "Token weights", "weights", "input, cached and output; empty takes the defaults.", {}),
            Field("deployment_weights", "Token weights by deployment", "json", "deployment to weights.", {}),
        )

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        special = config.get("deployment_weights", {})
        if not isinstance(special, Mapping):
            raise BadRule(f"expected deployment_weights as an object, found {special!r}")
        return cls(
            {},
            (),
            _names(config, "deployment_owners"),
            _names(config, "nodes"),
            _complete(weights(config, "weights")) if config.get("weights") else dict(DEFAULT_WEIGHTS),
            {name: _complete(weights(special, name)) for name in special},
        )


def _names(config: Mapping[str, Any], key: str) -> dict[str, str]:
    found = config.get(key, {})
    if not isinstance(found, Mapping) or not all(isinstance(value, str) for value in found.values()):
        raise BadRule(f"expected {key} as an object of texts, found {found!r}")
    return dict(found)


def _complete(given: Mapping[str, Decimal]) -> dict[str, Decimal]:
    unknown = [name for name in given if name not in DEFAULT_WEIGHTS]
    if unknown:
        raise BadRule(f"unknown weight {unknown[0]!r}; known: {', '.join(DEFAULT_WEIGHTS)}")
    return {**DEFAULT_WEIGHTS, **given}
