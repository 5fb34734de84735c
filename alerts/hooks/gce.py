"""Instances of Google Compute Engine, and managed groups of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from alerts.hooks import aws_login
from alerts.hooks.base import (
    BadConfig,
    Change,
    Field,
    PermanentFailure,
    ResourceHook,
    Standing,
    TemporaryFailure,
    checked,
    endpoint,
)
from alerts.hooks.machines import run_again, stands, started_again, stopped_by, words_of, would_stop
from ingest.sources.base import SourceUnavailable
from ingest.sources.stores import google_login

_SCOPES = ("https://www.googleapis.com/auth/compute",)
_SECONDS = 20.0
_RUNNING = ("RUNNING", "PROVISIONING", "STAGING", "REPAIRING")
_MOVING = frozenset(
    ("PROVISIONING", "STAGING", "STOPPING", "PENDING_STOP", "SUSPENDING", "DEPROVISIONING", "REPAIRING")
)
_ROLES = "compute.instances.get, .start and .stop, compute.instanceGroupManagers.get and .update (roles/compute.instanceAdmin.v1)"


class Gce(ResourceHook):
    """Stops and starts instances by name, or sets the size of a zonal managed group. Example configurations:

    {"project": "acme-ml", "zone": "europe-west4-a", "instances": "vllm-1, vllm-2"}

    or `{"project": "acme-ml", "zone": "europe-west4-a", "group": "vllm-chat"}`. The service account needs compute.instances.get,
    .start and .stop, for groups compute.instanceGroupManagers.get and .update. A stopped instance costs nothing but its disks
    and reserved addresses; local SSDs lose their content, so instances with some are refused. A group whose autoscaler is on
    is refused: it would set its own size.
    """

    kind: ClassVar = "gce"
    title: ClassVar = "Google Compute Engine"
    settings: ClassVar = (
        Field("project", "Project", "Its id.", is_needed=True),
        Field("zone", "Zone", "As europe-west4-a.", is_needed=True),
        Field("instances", "Instances", "Their names, separated by commas; or a group."),
        Field("group", "Managed group", "Its name; or instances."),
        Field("endpoint_url", "Endpoint", "Only for another address than Google's."),
    )
    secrets: ClassVar = (
        Field(
            "service_account_json",
            "Key file",
            "Of a service account. Leave empty to use this machine's identity.",
            is_long=True,
        ),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        if bool(config.get("instances")) == bool(config.get("group")):
            raise BadConfig("instances", "give either instances or a managed group")
        if url := config.get("endpoint_url"):
            checked("endpoint_url", url)
        if credentials.get("service_account_json"):
            try:
                google_login.credentials(credentials)
            except SourceUnavailable as problem:
                raise BadConfig("service_account_json", str(problem)) from None

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        return self._group(config, credentials) if config.get("group") else self._instances(config, credentials)

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if standing.details["held"]:
            raise PermanentFailure("; ".join(f"{name} {why}" for name, why in standing.details["held"].items()))
        resume = "They boot and load their models again: about 5 minutes; capacity of the type must be free"
        if not config.get("group"):
            return would_stop(
                standing, to_units, noun="instance", verb="Stop", running=_RUNNING,
                loses="The memory of the instances and ephemeral addresses", resume_words=resume, resume_seconds=300,
            )  # fmt: skip
        if not 0 <= to_units <= standing.units:
            raise PermanentFailure(
                f"expected 0 to {standing.units} instances, found {to_units}; a budget only scales down"
            )
        words = f"Scale the group {config['group']} from {standing.units} to {to_units} instances"
        loses = "The instances are deleted with what they hold" if to_units < standing.units else ""
        return Change(standing.units, to_units, words, loses, resume, 300, {"size": standing.units})

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        if config.get("group"):
            self._resize(change.to_units, config, credentials)
            return
        client, where = _client("InstancesClient", config, credentials), _where(config)
        for name in stopped_by(change, _RUNNING):
            with _told(f"stop {name}"):
                client.stop(instance=name, timeout=_SECONDS, **where)

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        if config.get("group"):
            self._resize(change.from_units, config, credentials)
            return
        names = started_again(change, self._instances(config, credentials), _RUNNING, stopped="TERMINATED")
        client, where = _client("InstancesClient", config, credentials), _where(config)
        for name in names:
            with _told(f"start {name}"):
                client.start(instance=name, timeout=_SECONDS, **where)

    def is_applied(self, change: Change, standing: Standing) -> bool:
        if "states" in standing.details:
            return stands(change, standing, _RUNNING)
        return super().is_applied(change, standing)

    def is_undone(self, change: Change, standing: Standing) -> bool:
        if "states" in standing.details:
            return run_again(change, standing, _RUNNING)
        return super().is_undone(change, standing)

    def _instances(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        client, where = _client("InstancesClient", config, credentials), _where(config)
        states: dict[str, str] = {}
        held: dict[str, str] = {}
        for name in aws_login.listed(config["instances"]):
            with _told(f"look at {name}"):
                found = client.get(instance=name, timeout=_SECONDS, **where)
            states[name] = found.status
            if why := _held(found):
                held[name] = why
        return Standing(
            units=sum(state in _RUNNING for state in states.values()),
            words=words_of("instance", states, "RUNNING"),
            is_settled=not any(state in _MOVING for state in states.values()),
            details={"states": states, "held": held},
        )

    def _group(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        name = config["group"]
        client = _client("InstanceGroupManagersClient", config, credentials)
        with _told(f"look at the group {name}"):
            found = client.get(instance_group_manager=name, timeout=_SECONDS, **_where(config))
        scaled = found.status.autoscaler if "status" in found else ""
        held = {name: "has an autoscaler, which would set its own size; switch it off first"} if scaled else {}
        size = int(found.target_size)
        settled = bool(found.status.is_stable) if "status" in found else True
        words = f"{size} instance{'' if size == 1 else 's'}{'' if settled else ', changing'}"
        return Standing(size, words, settled, {"size": size, "held": held})

    def _resize(self, size: int, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        client = _client("InstanceGroupManagersClient", config, credentials)
        with _told(f"scale the group {config['group']}"):
            client.resize(instance_group_manager=config["group"], size=size, timeout=_SECONDS, **_where(config))


def _held(instance: Any) -> str:  # google-cloud-compute's Instance
    """Why the instance cannot be stopped for a while; empty: it can."""
    if any(disk.type_ == "SCRATCH" for disk in instance.disks):
        return "has a local SSD, which would lose its content"
    if instance.scheduling.preemptible or instance.scheduling.provisioning_model == "SPOT":
        return "is a spot instance, which may not get its place back"
    return ""


def _where(config: Mapping[str, Any]) -> dict[str, str]:
    return {"project": config["project"], "zone": config["zone"]}


def _client(name: str, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Any:
    from google.cloud import compute_v1

    url = endpoint(config)
    try:
        own: Any = google_login.credentials(credentials, endpoint_url=url)
    except SourceUnavailable as problem:
        raise PermanentFailure(str(problem)) from None
    # The readers ask for a token that may only read.
    if hasattr(own, "with_scopes") and getattr(own, "requires_scopes", True) is not None:
        own = own.with_scopes(_SCOPES)
    made = getattr(compute_v1, name)(credentials=own, client_options={"api_endpoint": url} if url else None)
    google_login.stay(made.transport._session)
    return made


@contextmanager
def _told(what: str) -> Iterator[None]:
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except exceptions.GoogleAPICallError as problem:
        code = int(problem.code) if problem.code else 0
        if code in {408, 409, 429} or code >= 500:
            raise TemporaryFailure(f"Google Cloud could not {what} now ({code})") from None
        hint = {403: f"; grant {_ROLES}", 404: "; check project, zone and name", 401: "; make a new key"}.get(code, "")
        raise PermanentFailure(f"Google Cloud refused to {what}: {code} {str(problem.message)[:300]}{hint}") from None
    except GoogleAuthError as problem:
        raise PermanentFailure(f"Google Cloud does not take the credentials ({type(problem).__name__})") from None
    except (exceptions.RetryError, RequestException, OSError) as problem:
        raise TemporaryFailure(f"Google Cloud cannot be reached to {what} ({type(problem).__name__})") from None
