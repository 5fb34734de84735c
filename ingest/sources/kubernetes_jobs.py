"""Fine-tune runs that are Jobs of a Kubernetes cluster, found by label."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from costobs.kernel import http
from ingest.sources.base import Cursor, Normalized, Produces, Raw, Secret, Source, SourceUnavailable, Window, setting
from ingest.sources.formats import classify, instants, tuning_runs
from ingest.sources.formats.admin import admin_api
from ingest.sources.formats.pushed_rows import Row

_LABEL = "costobs.io/fine-tune"
_PREEMPTED = {
    "Preempted",
    "Evicted",
    "NodeLost",
    "Shutdown",
    "Terminated",
    "PreemptionByScheduler",
    "DeletionByTaintManager",
}


@dataclass(frozen=True, slots=True)
class KubernetesJobsConfig:
    """Which cluster, and which of its Jobs."""

    url: str = setting("", hint="The API server, such as https://10.0.0.1:6443", required=True)
    namespace: str = setting("", hint="Only this namespace; empty: all that may be read")
    label_selector: str = setting(_LABEL, hint="Which Jobs are fine-tune runs", required=True)


class KubernetesJobs(Source):
    """Jobs (batch/v1) with the label `costobs.io/fine-tune`, and the nodes their pods ran on.

    The run is described by labels or annotations of the Job: `costobs.io/base-model` (needed), `costobs.io/method`,
    `costobs.io/artefact`, `costobs.io/trained-tokens`, `costobs.io/team` and every other attribute. Time of pods that
    failed or were preempted is wasted, time of those that succeeded is useful. A Job on several nodes is one run on each.
    Its GPUs are told by telemetry of the node; Jobs are to have the node's GPUs for themselves. A Job that was deleted is
    no longer seen: keep `ttlSecondsAfterFinished` above ten minutes. Example configuration:

        {"url": "https://10.0.0.1:6443", "namespace": "training", "label_selector": "costobs.io/fine-tune"}

    Credentials: bearer_token of a service account, and ca_certificate (PEM) of the cluster.
    """

    kind: ClassVar[str] = "kubernetes_jobs"
    title: ClassVar[str] = "Kubernetes Jobs"
    produces: ClassVar[Produces] = "fine_tunes"
    Config: ClassVar[type[KubernetesJobsConfig]] = KubernetesJobsConfig
    secrets: ClassVar[Sequence[Secret]] = (
        Secret("bearer_token", "kubectl create token costobs --duration=8760h"),
        Secret("ca_certificate", "The cluster's certificate authority, PEM.", is_long=True),
    )
    grants: ClassVar[Sequence[str]] = ("get and list on jobs (batch) and pods, by a Role bound to the service account",)
    restatement_days: ClassVar[int] = 30
    poll_seconds: ClassVar[int] = 120

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """The Jobs that are there and were created before the window's end, as one unit with their pods."""
        if not self.config.url:
            return
        token = self.credentials.get("bearer_token", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        remedy = f"Grant the service account {self.grants[0]}."
        access = admin_api.Access("Kubernetes", self.config.url, headers, token, remedy)
        within = f"/namespaces/{self.config.namespace}" if self.config.namespace else ""
        with admin_api.AdminApi(access, _client=http.client(verify=self._trust())) as api:
            jobs = list(_items(api, f"/apis/batch/v1{within}/jobs", self.config.label_selector))
            pods: dict[str, list[Mapping[str, Any]]] = {}
            for pod in _items(api, f"/api/v1{within}/pods", "batch.kubernetes.io/job-name") if jobs else ():
                for owner in pod["metadata"].get("ownerReferences", ()):
                    pods.setdefault(str(owner.get("uid")), []).append(pod)
        found = [
            {"job": job, "pods": [_kept(pod) for pod in pods.get(str(job["metadata"]["uid"]), [])]}
            for job in jobs
            if (_moment(job["metadata"].get("creationTimestamp")) or window.start) < window.end
        ]
        if found:
            yield tuning_runs.unit(name=f"jobs at {window.end:%Y-%m-%dT%H:%MZ}", found=found)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The Jobs of one answer; one that cannot be a run is rejected by its field."""
        yield tuning_runs.normalize(raw, _runs)

    def _trust(self) -> ssl.SSLContext | bool:
        authority = self.credentials.get("ca_certificate", "").strip()
        if not authority:
            return True
        try:
            return ssl.create_default_context(cadata=authority)
        except (ssl.SSLError, ValueError) as problem:
            raise SourceUnavailable(
                "ca_certificate is no certificate in PEM form; paste the cluster's own"
            ) from problem


def _items(api: admin_api.AdminApi, path: str, selector: str) -> Iterator[Mapping[str, Any]]:
    parameters = [("labelSelector", selector), ("limit", "500")]
    for answer in api.follow(
        path,
        lambda following: api.get(path, [*parameters, *([("continue", following)] if following else [])]),
        lambda answer: str((answer.get("metadata") or {}).get("continue") or ""),
    ):
        yield from answer.get("items") or ()


def _kept(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Of a pod only what a run needs: its specification may hold secrets in its environment."""
    status = pod.get("status") or {}
    ended = [
        (each.get("state") or {}).get("terminated") or {}
        for each in status.get("containerStatuses") or ()
        if (each.get("state") or {}).get("terminated")
    ]
    reasons = {
        status.get("reason"),
        *(each.get("reason") for each in status.get("conditions") or () if each.get("status") == "True"),
    }
    return {
        "node": (pod.get("spec") or {}).get("nodeName") or "",
        "phase": status.get("phase") or "",
        "started": status.get("startTime"),
        "ended": max((str(each["finishedAt"]) for each in ended if each.get("finishedAt")), default=None),
        "preempted": bool(_PREEMPTED & reasons),
    }


def _runs(found: Mapping[str, Any]) -> Sequence[Row] | str:
    job, pods = found["job"], found["pods"]
    metadata, status = job["metadata"], job.get("status") or {}
    named = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    told = {key.replace("costobs.io/", "").replace("-", "_"): value for key, value in named.items()}
    base_model = tuning_runs.said(told, tuning_runs.BASE_MODEL_KEYS)
    if not base_model:
        return "no label or annotation costobs.io/base-model"
    started = _moment(status.get("startTime"))
    if started is None:
        return "not started yet"
    state, ended = _state(status, pods)
    nodes = sorted({pod["node"] for pod in pods if pod["node"]}) or [""]
    name = f"{metadata.get('namespace')}/{metadata.get('name')}"
    attributes = tuning_runs.attributes(told)
    attributes["attr_namespace"] = attributes["attr_namespace"] or str(metadata.get("namespace") or "")
    return [
        tuning_runs.row(
            external_id=str(metadata["uid"]) if len(nodes) == 1 else f"{metadata['uid']}/{node}",
            name=name,
            state=state,
            started_at=started,
            ended_at=ended or started,
            node=node,
            base_model=classify.canonical_model("self_hosted", base_model),
            method=tuning_runs.method(told),
            artefact=tuning_runs.said(told, tuning_runs.ARTEFACT_KEYS),
            trained_tokens=tuning_runs.whole(tuning_runs.said(told, tuning_runs.TOKEN_KEYS)),
            useful_seconds=_useful(pods, node) if state != "running" else None,
            **attributes,
        )
        for node in nodes
    ]


def _state(status: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> tuple[str, datetime | None]:
    met = {each.get("type"): each for each in status.get("conditions") or () if each.get("status") == "True"}
    if "Complete" in met:
        return "succeeded", _moment(status.get("completionTime") or met["Complete"].get("lastTransitionTime"))
    if failed := met.get("Failed"):
        is_preempted = bool(pods) and all(pod["preempted"] for pod in pods if pod["phase"] == "Failed")
        return "preempted" if is_preempted else "failed", _moment(failed.get("lastTransitionTime"))
    if suspended := met.get("Suspended"):
        return "cancelled", _moment(suspended.get("lastTransitionTime"))
    return "running", None


def _useful(pods: Sequence[Mapping[str, Any]], node: str) -> int | None:
    """Seconds of the longest pod on the node that succeeded; what failed or was preempted before it was in vain."""
    spans = [
        (ended - started).total_seconds()
        for pod in pods
        if pod["node"] == node and pod["phase"] == "Succeeded"
        if (started := _moment(pod["started"])) and (ended := _moment(pod["ended"]))
    ]
    if not pods:
        return None
    return round(max(spans, default=0))


def _moment(text: Any) -> datetime | None:
    return instants.one(str(text)) if text else None
