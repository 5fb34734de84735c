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
    time_sliced: Mapping[str, Sequence[str]] = field(default_factory=dict)
    electricity: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field("deployment_owners", "Owners of idle time", "pairs", "deployment = team; else it is nobody's.", {}),
            Field("nodes", "Nodes", "pairs", "resource on the bill = node in telemetry, where the names differ.", {}),
            Field("weights", "Token weights", "weights", "input, cached and output; empty takes the defaults.", {}),
            Field("deployment_weights", "Token weights by deployment", "json", "deployment to weights.", {}),
            Field("time_sliced", "Taking turns", "json", "deployment to those that take turns on its GPUs.", {}),
            Field("electricity", "Electricity", "json", "node, region or * to pue and grams_per_kwh.", {}),
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
            _turns(config),
            _electricity(config),
        )


def _names(config: Mapping[str, Any], key: str) -> dict[str, str]:
    found = config.get(key, {})
    if not isinstance(found, Mapping) or not all(isinstance(value, str) for value in found.values()):
        raise BadRule(f"expected {key} as an object of texts, found {found!r}")
    return dict(found)


def _turns(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = config.get("time_sliced", {})
    if not isinstance(found, Mapping) or not all(
        isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in names)
        for names in found.values()
    ):
        raise BadRule(f"expected time_sliced as an object of lists of deployments, found {found!r}")
    turns = {str(pool): tuple(name for name in names if name != pool) for pool, names in found.items()}
    members = [name for names in turns.values() for name in names]
    if twice := sorted({name for name in members if members.count(name) > 1 or name in turns}):
        raise BadRule(f"time_sliced: {twice[0]!r} takes turns on the GPUs of more than one deployment")
    return turns


def _electricity(config: Mapping[str, Any]) -> dict[str, dict[str, Decimal]]:
    found = config.get("electricity", {})
    if not isinstance(found, Mapping):
        raise BadRule(f"expected electricity as an object by node, region or '*', found {found!r}")
    said = {str(place): weights(found, place) for place in found}
    for place, values in said.items():
        if unknown := sorted(set(values) - {"pue", "grams_per_kwh"}):
            raise BadRule(f"electricity of {place!r}: unknown {unknown[0]!r}; known: pue, grams_per_kwh")
        if "pue" in values and values["pue"] < 1:
            raise BadRule(f"electricity of {place!r}: expected a PUE of 1 or more, found {values['pue']}")
    return said


def _complete(given: Mapping[str, Decimal]) -> dict[str, Decimal]:
    unknown = [name for name in given if name not in DEFAULT_WEIGHTS]
    if unknown:
        raise BadRule(f"unknown weight {unknown[0]!r}; known: {', '.join(DEFAULT_WEIGHTS)}")
    return {**DEFAULT_WEIGHTS, **given}
