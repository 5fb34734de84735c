"""Instances of Amazon EC2: stopped and started."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.hooks import aws_login
from alerts.hooks.base import BadConfig, Change, Field, PermanentFailure, ResourceHook, Standing
from alerts.hooks.machines import run_again, stands, started_again, stopped_by, words_of, would_stop

_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_GONE = frozenset(("terminated", "shutting-down"))
_MOVING = frozenset(("pending", "stopping"))
_UP = ("running", "pending")
_GROUP_TAG = "aws:autoscaling:groupName"
_GRANT = "ec2:DescribeInstances, ec2:StopInstances and ec2:StartInstances"


class Ec2(ResourceHook):
    """Stops EC2 instances, the last ones named first, and starts the same ones again. Example configuration:

    {"region": "eu-central-1", "instances": "i-0123456789abcdef0, i-0fedcba9876543210"}

    The keys need ec2:DescribeInstances, ec2:StopInstances and ec2:StartInstances. A stopped instance costs nothing, its EBS
    volumes and elastic addresses still do. Instances that cannot be stopped (spot, instance store as root) and members of an
    Auto Scaling group, which would replace them, are refused: use ec2_group for a group.
    """

    kind: ClassVar = "ec2"
    title: ClassVar = "Amazon EC2 instances"
    settings: ClassVar = (
        Field("instances", "Instances", "Their ids, separated by commas.", is_needed=True),
        *aws_login.SETTINGS,
    )
    secrets: ClassVar = aws_login.SECRETS

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        for one in aws_login.listed(config["instances"]):
            if not _INSTANCE.fullmatch(one):
                raise BadConfig("instances", f"expected ids as i-0123456789abcdef0, found {one!r}")
        aws_login.check(config, credentials)

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        wanted = aws_login.listed(config["instances"])
        with aws_login.told(f"look at {', '.join(wanted)}", grant=_GRANT):
            answer = aws_login.client("ec2", config, credentials).describe_instances(InstanceIds=wanted)
        found = {one["InstanceId"]: one for group in answer["Reservations"] for one in group["Instances"]}
        states = {name: found[name]["State"]["Name"] if name in found else "terminated" for name in wanted}
        if gone := [name for name, state in states.items() if state in _GONE]:
            raise PermanentFailure(f"{', '.join(gone)} is terminated; take it out of the configuration")
        return Standing(
            units=sum(state in _UP for state in states.values()),
            words=words_of("instance", states, "running"),
            is_settled=not any(state in _MOVING for state in states.values()),
            details={"states": states, "held": {name: why for name in wanted if (why := _held(found[name]))}},
        )

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if held := [f"{name} {why}" for name, why in standing.details["held"].items()]:
            raise PermanentFailure("; ".join(held))
        return would_stop(
            standing,
            to_units,
            noun="instance",
            verb="Stop",
            running=_UP,
            loses="The memory of the instances, their instance store volumes, and public addresses that are not elastic",
            resume_words="They boot and load their models again: about 5 minutes; capacity of the type must be free",
            resume_seconds=300,
        )

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        names = stopped_by(change, _UP)
        if names:
            with aws_login.told(f"stop {', '.join(names)}", grant=_GRANT):
                aws_login.client("ec2", config, credentials).stop_instances(InstanceIds=names)

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        # One that is still on its way down cannot be started; the next look finds it stopped.
        names = started_again(change, self.look(config, credentials), _UP, stopped="stopped")
        if names:
            with aws_login.told(f"start {', '.join(names)}", grant=_GRANT):
                aws_login.client("ec2", config, credentials).start_instances(InstanceIds=names)

    def is_applied(self, change: Change, standing: Standing) -> bool:
        return stands(change, standing, _UP)

    def is_undone(self, change: Change, standing: Standing) -> bool:
        return run_again(change, standing, _UP)


def _held(instance: Mapping[str, Any]) -> str:
    """Why the instance cannot be stopped for a while; empty: it can."""
    if instance.get("InstanceLifecycle") == "spot":
        return "is a spot instance: stopping it would give it up"
    if instance.get("RootDeviceType") == "instance-store":
        return "has an instance store as root: it cannot be stopped, only terminated"
    group = next((tag["Value"] for tag in instance.get("Tags", ()) if tag["Key"] == _GROUP_TAG), "")
    return f"belongs to the Auto Scaling group {group}, which would replace it; use ec2_group" if group else ""
