"""Replicas on Kubernetes: scaled to zero, or held below a number, whoever owns their count."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.hooks.base import (
    TOUCHED,
    BadConfig,
    Change,
    Field,
    PermanentFailure,
    ResourceHook,
    Standing,
    checked,
    touches,
)
from alerts.hooks.kubernetes_calls import cluster as connected

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
PAUSED = "autoscaling.keda.sh/paused"
_KEDA_MOST = 100  # KEDA's own ceiling where a ScaledObject names none
_REPLICAS, _BOUNDS, _PAUSE = "replicas", "bounds", "pause"  # what a change takes, and gives back
_KINDS = ("deployment", "statefulset")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Kubernetes(ResourceHook):
    """Scales a Deployment or StatefulSet, and holds its autoscaler meanwhile. Example configuration:

        {"server": "https://k8s.example.com:6443", "namespace": "chat", "name": "vllm", "resume_seconds": "240"}

    To 0: where a KEDA ScaledObject owns it, the annotation autoscaling.keda.sh/paused-replicas is set to "0", so that KEDA
    does not scale it up again; else the scale subresource is set to 0, which also switches a HorizontalPodAutoscaler off.
    To a number above 0, it is a ceiling: the maximum of the ScaledObject or HorizontalPodAutoscaler is lowered (and its
    minimum with it, where that is higher); without one, the replicas are. Undo restores each of these as it was.

    Without `server`, it uses the service account of the pod that it runs in. The token needs, in the namespace, `get` and
    `patch` on deployments/scale (or statefulsets/scale), `list` and `patch` on horizontalpodautoscalers (autoscaling), and
    `list` and `patch` on scaledobjects (keda.sh), harmless where there are none. With `get` on deployments (statefulsets),
    gates refuse until its pods are ready again; without, until they are placed and `resume_seconds` are over.
    """

    kind: ClassVar = "kubernetes"
    title: ClassVar = "Kubernetes"
    settings: ClassVar = (
        Field("server", "Address of the API server", "Empty: the cluster that costobs itself runs in."),
        Field("namespace", "Namespace", "Where it runs.", is_needed=True),
        Field("workload", "Kind", "deployment or statefulset; empty: deployment."),
        Field("name", "Name", "Of the Deployment or StatefulSet.", is_needed=True),
        Field(
            "resume_seconds", "Seconds to resume", "From 0 until it answers: pulling the image, loading the weights."
        ),
    )
    secrets: ClassVar = (
        Field("token", "Bearer token", "Of a service account with the rights in the manual."),
        Field("ca", "CA certificate", "PEM, of the API server; empty: the system's.", is_long=True),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        for name in ("namespace", "name"):
            if not _NAME.fullmatch(str(config[name])):
                raise BadConfig(name, f"expected a name of Kubernetes, found {config[name]!r}")
        if config.get("workload") and config["workload"] not in _KINDS:
            raise BadConfig("workload", f"expected {' or '.join(_KINDS)}, found {config['workload']!r}")
        if config.get("resume_seconds") and not str(config["resume_seconds"]).isdigit():
            raise BadConfig("resume_seconds", f"expected whole seconds, found {config['resume_seconds']!r}")
        if config.get("server"):
            checked("server", str(config["server"]))
            if not credentials.get("token"):
                raise BadConfig("token", "an address of its own needs a token of its own")
        elif credentials.get("token") or credentials.get("ca"):
            raise BadConfig(
                "server", "without an address, the pod's own service account is used; remove the credentials"
            )
        if credentials.get("ca") and "BEGIN CERTIFICATE" not in credentials["ca"]:
            raise BadConfig("ca", "expected a certificate as PEM text")

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        with connected(config, credentials) as cluster:
            scale, ready = cluster.scale(), cluster.ready()
            scaled_object = cluster.scaled_object()
            # The one that KEDA made is KEDA's; whoever changes it is overwritten.
            autoscaler = None if scaled_object else cluster.autoscaler()
        units, there = int(scale["spec"].get("replicas") or 0), int((scale.get("status") or {}).get("replicas") or 0)
        details = {
            "replicas": units,
            "autoscaler": autoscaler and _limits(autoscaler, "minReplicas", "maxReplicas"),
            "scaled_object": scaled_object
            and {**_limits(scaled_object, "minReplicaCount", "maxReplicaCount"), **_pauses(scaled_object)},
        }
        is_settled = units == there and (ready is None or ready >= units)
        return Standing(units, _words(units, there, ready, details), is_settled, details)

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if to_units < 0:
            raise PermanentFailure(f"expected 0 replicas or more, found {to_units}")
        owner, what = _owner(standing.details), _what(config)
        before = {**standing.details, TOUCHED: [_touched(standing.details, to_units)]}
        seconds = int(config["resume_seconds"]) if config.get("resume_seconds") else None
        if to_units == 0:
            words = f"Scale {what} from {standing.units} to 0 replicas"
            words += f" and pause {owner}, which would scale it up again" if owner.startswith("ScaledObject") else ""
            loses = "Every request in its pods that did not end while it drained, and what the pods keep in memory"
            return Change(standing.units, 0, words, loses, _resume(seconds), seconds, before)
        words = f"Scale {what} from {standing.units} to {to_units} replicas"
        if owner:
            limits = standing.details["scaled_object"] or standing.details["autoscaler"]
            words = (
                f"Lower the maximum of {owner} on {what} from {_most(standing.details, limits)} to {to_units} replicas"
            )
        loses = "Requests wait longer when there are more than the rest can take"
        return Change(standing.units, to_units, words, loses, _resume(seconds), seconds, before)

    def is_there(self, standing: Standing, to_units: int) -> bool:
        scaled_object, autoscaler = standing.details["scaled_object"], standing.details["autoscaler"]
        if scaled_object and to_units == 0:
            return bool(scaled_object["paused_replicas"] == "0") and standing.units == 0
        if to_units and (scaled_object or autoscaler):
            most = _most(standing.details, scaled_object or autoscaler)
            return most <= to_units and standing.units <= to_units
        return standing.units <= to_units

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        scaled_object, autoscaler = change.before.get("scaled_object"), change.before.get("autoscaler")
        with connected(config, credentials) as cluster:
            if scaled_object and change.to_units == 0:
                cluster.patch_scaled_object(
                    scaled_object["name"], {"metadata": {"annotations": {PAUSED_REPLICAS: "0"}}}
                )
            elif scaled_object:
                lowered = _lowered(scaled_object, change.to_units, _KEDA_MOST)
                cluster.patch_scaled_object(scaled_object["name"], {"spec": _named(lowered, "ReplicaCount")})
            elif autoscaler and change.to_units:
                lowered = _lowered(autoscaler, change.to_units, change.to_units)
                cluster.patch_autoscaler(autoscaler["name"], {"spec": _named(lowered, "Replicas")})
            else:
                cluster.set_replicas(min(change.to_units, change.from_units))

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        scaled_object, autoscaler = change.before.get("scaled_object"), change.before.get("autoscaler")
        with connected(config, credentials) as cluster:
            if scaled_object:
                patch: dict[str, Any] = {}
                if touches(change, _PAUSE):
                    patch["metadata"] = {"annotations": {PAUSED_REPLICAS: scaled_object["paused_replicas"]}}
                if touches(change, _BOUNDS):
                    bounds = {"min": scaled_object["min"], "max": scaled_object["max"]}
                    patch["spec"] = _named(bounds, "ReplicaCount")
                cluster.patch_scaled_object(scaled_object["name"], patch)
                return
            if autoscaler and touches(change, _BOUNDS):
                spec = _named({"min": autoscaler["min"], "max": autoscaler["max"]}, "Replicas")
                cluster.patch_autoscaler(autoscaler["name"], {"spec": spec})
            if touches(change, _REPLICAS) and (not autoscaler or cluster.replicas() == 0):
                # At 0 the autoscaler is off; above, it decides.
                cluster.set_replicas(change.from_units)

    def is_applied(self, change: Change, standing: Standing) -> bool:
        scaled_object, autoscaler = standing.details["scaled_object"], standing.details["autoscaler"]
        if change.to_units == 0:
            is_held = not scaled_object or scaled_object["paused_replicas"] == "0"
            return is_held and standing.units == 0 and standing.is_settled
        if owner := scaled_object or autoscaler:
            before = change.before.get("scaled_object" if scaled_object else "autoscaler")
            if before is None:  # it came since
                return _most(standing.details, owner) <= change.to_units and standing.units <= change.to_units
            wanted = {**before, **_lowered(before, change.to_units, _KEDA_MOST if scaled_object else change.to_units)}
            return all(owner[name] == wanted[name] for name in ("min", "max")) and standing.units <= change.to_units
        return standing.units == min(change.to_units, change.from_units) and standing.is_settled

    def is_undone(self, change: Change, standing: Standing) -> bool:
        names = [
            *(["min", "max"] if touches(change, _BOUNDS) else []),
            *(["paused_replicas"] * touches(change, _PAUSE)),
        ]
        for kind in ("scaled_object", "autoscaler"):
            before, now = change.before.get(kind), standing.details[kind]
            if before and (now is None or any(before.get(name) != now.get(name) for name in ("name", *names))):
                return False
        if change.before.get("scaled_object") or not touches(change, _REPLICAS):
            return True  # how many run is the autoscaler's to say again
        if change.before.get("autoscaler"):
            return (standing.units > 0) == (change.from_units > 0)
        return standing.units == change.from_units


def _touched(details: Mapping[str, Any], to_units: int) -> str:
    if details["scaled_object"]:
        return _BOUNDS if to_units else _PAUSE
    return _BOUNDS if details["autoscaler"] and to_units else _REPLICAS


def _limits(owner: Mapping[str, Any], least: str, most: str) -> dict[str, Any]:
    return {"name": owner["metadata"]["name"], "min": owner["spec"].get(least), "max": owner["spec"].get(most)}


def _pauses(owner: Mapping[str, Any]) -> dict[str, Any]:
    annotations = owner["metadata"].get("annotations") or {}
    return {"paused_replicas": annotations.get(PAUSED_REPLICAS), "paused": annotations.get(PAUSED)}


def _lowered(limits: Mapping[str, Any], most: int, default: int) -> dict[str, int | None]:
    """The ceiling, never above what it was, and the floor below it."""
    least, ceiling = limits["min"], min(limits["max"] if limits["max"] is not None else default, most)
    return {"max": ceiling, **({"min": ceiling} if least is not None and least > ceiling else {})}


def _named(limits: Mapping[str, int | None], suffix: str) -> dict[str, int | None]:
    return {f"{name}{suffix}": value for name, value in limits.items()}


def _most(details: Mapping[str, Any], limits: Mapping[str, Any]) -> int:
    default = _KEDA_MOST if details["scaled_object"] else 0
    return int(limits["max"] if limits["max"] is not None else default)


def _owner(details: Mapping[str, Any]) -> str:
    if details["scaled_object"]:
        return f"ScaledObject {details['scaled_object']['name']}"
    return f"HorizontalPodAutoscaler {details['autoscaler']['name']}" if details["autoscaler"] else ""


def _what(config: Mapping[str, Any]) -> str:
    return f"{config.get('workload') or 'deployment'} {config['namespace']}/{config['name']}"


def _words(units: int, there: int, ready: int | None, details: Mapping[str, Any]) -> str:
    if units:
        words = f"{there} of {units} replicas placed" if ready is None else f"{ready} of {units} replicas ready"
    else:
        words = f"{there} replicas are ending" if there else "0 replicas"
    owner = _owner(details)
    if not owner:
        return words
    limits = details["scaled_object"] or details["autoscaler"]
    is_paused = details["scaled_object"] and (limits["paused_replicas"] is not None or limits["paused"] == "true")
    return f"{words}, {owner} {'is paused' if is_paused else f'allows at most {_most(details, limits)}'}"


def _resume(seconds: int | None) -> str:
    cold = f"about {seconds} s until it answers" if seconds else "how long until it answers is not known yet"
    return f"A cold start: pods are placed, the image and the weights are loaded; {cold}"
