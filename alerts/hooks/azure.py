"""Virtual machines of Microsoft Azure, and scale sets of them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

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
from ingest.sources.stores import azure_login

_PUBLIC = "https://management.azure.com"
_SUBSCRIPTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
_RUNNING = ("running", "starting")
_MOVING = frozenset(("starting", "stopping", "deallocating"))
_ROLE = "Virtual Machine Contributor on the machines or the scale set"


class Azure(ResourceHook):
    """Deallocates and starts virtual machines by name, or sets the capacity of a scale set. Example configuration:

    {"subscription": "00000000-0000-0000-0000-000000000001", "resource_group": "ml", "machines": "vllm-1, vllm-2"}

    or with `"scale_set": "vllm-chat"` instead of machines. The service principal needs Virtual Machine Contributor. A
    deallocated machine costs nothing but its disks and static addresses; one that is only stopped is still paid for. Spot
    machines are refused: they may not get their place back.
    """

    kind: ClassVar = "azure"
    title: ClassVar = "Microsoft Azure virtual machines"
    settings: ClassVar = (
        Field("subscription", "Subscription", "Its id.", is_needed=True),
        Field("resource_group", "Resource group", is_needed=True),
        Field("machines", "Virtual machines", "Their names, separated by commas; or a scale set."),
        Field("scale_set", "Scale set", "Its name; or virtual machines."),
        Field(
            "management_url", "Management address", "Only outside the public cloud: https://management.chinacloudapi.cn"
        ),
    )
    secrets: ClassVar = (
        Field("tenant_id", "Tenant", "Of a service principal. Leave all empty to use this machine's identity."),
        Field("client_id", "Client id", "Of the service principal."),
        Field("client_secret", "Client secret", "Of the service principal."),
        Field(
            "access_token", "Access token", "Instead of a service principal, for a try: it ends after an hour or so."
        ),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        if not _SUBSCRIPTION.fullmatch(str(config["subscription"])):
            raise BadConfig("subscription", f"expected the id of a subscription, found {config['subscription']!r}")
        if bool(config.get("machines")) == bool(config.get("scale_set")):
            raise BadConfig("machines", "give either virtual machines or a scale set")
        if url := config.get("management_url"):
            checked("management_url", url)
            if not url.startswith("https:") and not _in_the_clear(config):
                raise BadConfig("management_url", "expected an https address: a token is not sent in the clear")
            if not any(credentials.get(name) for name in ("access_token", "client_secret")):
                # This machine's identity is shown to nobody but Azure.
                raise BadConfig("client_secret", "an address of your own needs a service principal")

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        with _client(config, credentials) as client:
            return _scale_set(client, config) if config.get("scale_set") else _machines(client, config)

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if held := [f"{name} {why}" for name, why in standing.details["held"].items()]:
            raise PermanentFailure("; ".join(held))
        resume = "They boot and load their models again: about 6 minutes; capacity of the size must be free"
        if not config.get("scale_set"):
            return would_stop(
                standing, to_units, noun="machine", verb="Deallocate", running=_RUNNING,
                loses="The memory and temporary disks of the machines, and dynamic addresses",
                resume_words=resume, resume_seconds=360,
            )  # fmt: skip
        if not 0 <= to_units <= standing.units:
            raise PermanentFailure(
                f"expected 0 to {standing.units} machines, found {to_units}; a budget only scales down"
            )
        words = f"Scale {config['scale_set']} from {standing.units} to {to_units} machines"
        loses = "The machines are deleted with what they hold" if to_units < standing.units else ""
        return Change(standing.units, to_units, words, loses, resume, 360, {"capacity": standing.units})

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        with _client(config, credentials) as client:
            if config.get("scale_set"):
                _set_capacity(client, change.to_units, config)
                return
            for name in stopped_by(change, _RUNNING):
                with _told(f"deallocate {name}"):
                    # The answer is that it was taken on; `look` says when it is done.
                    client.virtual_machines.begin_deallocate(
                        config["resource_group"], name, polling=False, **_in_the_clear(config)
                    )

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        with _client(config, credentials) as client:
            if config.get("scale_set"):
                _set_capacity(client, change.from_units, config)
                return
            for name in started_again(change, _machines(client, config), _RUNNING, stopped="deallocated"):
                with _told(f"start {name}"):
                    client.virtual_machines.begin_start(
                        config["resource_group"], name, polling=False, **_in_the_clear(config)
                    )

    def is_applied(self, change: Change, standing: Standing) -> bool:
        if "states" in standing.details:
            return stands(change, standing, _RUNNING)
        return super().is_applied(change, standing)

    def is_undone(self, change: Change, standing: Standing) -> bool:
        if "states" in standing.details:
            return run_again(change, standing, _RUNNING)
        return super().is_undone(change, standing)


def _machines(client: Any, config: Mapping[str, Any]) -> Standing:
    states: dict[str, str] = {}
    held: dict[str, str] = {}
    for name in aws_login.listed(config["machines"]):
        with _told(f"look at {name}"):
            found = client.virtual_machines.get(
                config["resource_group"], name, expand="instanceView", **_in_the_clear(config)
            )
        codes = [one.code or "" for one in (found.instance_view.statuses if found.instance_view else None) or ()]
        power = next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "unknown")
        states[name] = power
        if found.priority == "Spot":
            held[name] = "is a spot machine, which may not get its place back"
    return Standing(
        units=sum(state in _RUNNING for state in states.values()),
        words=words_of("machine", states, "running"),
        is_settled=not any(state in _MOVING for state in states.values()),
        details={"states": states, "held": held},
    )


def _scale_set(client: Any, config: Mapping[str, Any]) -> Standing:
    name = config["scale_set"]
    with _told(f"look at {name}"):
        found = client.virtual_machine_scale_sets.get(config["resource_group"], name, **_in_the_clear(config))
    capacity = int(found.sku.capacity or 0)
    settled = found.provisioning_state in {"Succeeded", "Failed", "Canceled"}
    words = f"{capacity} machine{'' if capacity == 1 else 's'}, {str(found.provisioning_state).lower()}"
    return Standing(capacity, words, settled, {"capacity": capacity, "held": {}})


def _set_capacity(client: Any, capacity: int, config: Mapping[str, Any]) -> None:
    from azure.mgmt.compute.models import Sku, VirtualMachineScaleSetUpdate

    name = config["scale_set"]
    with _told(f"scale {name}"):
        wanted = VirtualMachineScaleSetUpdate(sku=Sku(capacity=capacity))
        client.virtual_machine_scale_sets.begin_update(
            config["resource_group"], name, wanted, polling=False, **_in_the_clear(config)
        )


def _in_the_clear(config: Mapping[str, Any]) -> dict[str, bool]:
    """The option of each call that lets a token go over http: to this machine itself only."""
    parts = urlsplit(str(config.get("management_url") or ""))
    return {"enforce_https": False} if parts.scheme == "http" and parts.hostname in _LOOPBACK else {}


@contextmanager
def _client(config: Mapping[str, Any], credentials: Mapping[str, str]) -> Iterator[Any]:
    from azure.mgmt.compute import ComputeManagementClient

    url = (endpoint(config, "management_url") or _PUBLIC).rstrip("/")
    try:
        credential = azure_login.token_credential(credentials, service=url)
    except SourceUnavailable as problem:
        raise PermanentFailure(str(problem)) from None
    with ComputeManagementClient(
        credential, config["subscription"], base_url=url, credential_scopes=[f"{url}/.default"],
        connection_timeout=5, read_timeout=20, retry_total=2, permit_redirects=False,
    ) as client:  # fmt: skip
        yield client


@contextmanager
def _told(what: str) -> Iterator[None]:
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except ClientAuthenticationError as problem:
        raise PermanentFailure(f"Azure does not take the credentials to {what}: {azure_login.said(problem)}") from None
    except HttpResponseError as problem:
        status = problem.status_code or 0
        if status in {408, 409, 429} or status >= 500:
            raise TemporaryFailure(f"Azure could not {what} now ({status})") from None
        hint = {403: f"; grant {_ROLE}", 404: "; check subscription, resource group and name"}.get(status, "")
        raise PermanentFailure(f"Azure refused to {what}: {azure_login.said(problem)}{hint}") from None
    except ValueError as problem:
        raise PermanentFailure(f"Azure's client does not take the settings: {azure_login.said(problem)}") from None
    except AzureError as problem:
        raise TemporaryFailure(f"Azure cannot be reached to {what} ({type(problem).__name__})") from None
