"""Auto Scaling groups of Amazon EC2: scaled down and back."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.hooks import aws_login
from alerts.hooks.base import Change, Field, PermanentFailure, ResourceHook, Standing

_GRANT = "autoscaling:DescribeAutoScalingGroups and autoscaling:UpdateAutoScalingGroup"


class Ec2Group(ResourceHook):
    """Scales an Auto Scaling group: its wanted size, its least and, so that nothing scales it up again meanwhile, its most
    are set; all three are restored. Example configuration:

    {"region": "eu-central-1", "group": "vllm-chat"}

    The keys need autoscaling:DescribeAutoScalingGroups and autoscaling:UpdateAutoScalingGroup. Instances are terminated.
    """

    kind: ClassVar = "ec2_group"
    title: ClassVar = "Amazon EC2 Auto Scaling group"
    settings: ClassVar = (Field("group", "Group", "Its name.", is_needed=True), *aws_login.SETTINGS)
    secrets: ClassVar = aws_login.SECRETS

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        aws_login.check(config, credentials)

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        name = config["group"]
        with aws_login.told(f"look at the group {name}", grant=_GRANT):
            client = aws_login.client("autoscaling", config, credentials)
            found = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not found:
            raise PermanentFailure(f"there is no Auto Scaling group {name} in {config['region']}")
        group = found[0]
        up = [one for one in group["Instances"] if one["LifecycleState"] == "InService"]
        sizes = {"MinSize": group["MinSize"], "MaxSize": group["MaxSize"], "DesiredCapacity": group["DesiredCapacity"]}
        return Standing(
            units=sizes["DesiredCapacity"],
            words=f"{len(up)} of {sizes['DesiredCapacity']} instances in service, {sizes['MinSize']} to {sizes['MaxSize']}",
            is_settled=len(group["Instances"]) == sizes["DesiredCapacity"] == len(up),
            details=sizes,
        )

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if not 0 <= to_units <= standing.units:
            raise PermanentFailure(
                f"expected 0 to {standing.units} instances, found {to_units}; a budget only scales down"
            )
        return Change(
            from_units=standing.units,
            to_units=to_units,
            words=f"Scale the group {config['group']} from {standing.units} to {to_units} instances and hold it there",
            loses="The instances are terminated with what they hold" if to_units < standing.units else "",
            resume_words="New instances are launched and load their models: about 8 minutes; capacity must be free",
            resume_seconds=480,
            before=dict(standing.details),
        )

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        self._set(_held(change), config, credentials)

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        self._set(change.before, config, credentials)

    def is_applied(self, change: Change, standing: Standing) -> bool:
        # Its own scaling may want fewer meanwhile.
        sizes, held = standing.details, _held(change)
        are_bounds = all(sizes[name] == held[name] for name in ("MinSize", "MaxSize"))
        return are_bounds and sizes["DesiredCapacity"] <= change.to_units and standing.is_settled

    def is_undone(self, change: Change, standing: Standing) -> bool:
        # How many it wants between the two is its own scaling's to say again.
        sizes, before = standing.details, change.before
        are_bounds = all(sizes[name] == before[name] for name in ("MinSize", "MaxSize"))
        return are_bounds and (sizes["DesiredCapacity"] > 0) == (before["DesiredCapacity"] > 0)

    def _set(self, sizes: Mapping[str, Any], config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        with aws_login.told(f"scale the group {config['group']}", grant=_GRANT):
            client = aws_login.client("autoscaling", config, credentials)
            client.update_auto_scaling_group(AutoScalingGroupName=config["group"], **sizes)


def _held(change: Change) -> dict[str, int]:
    to = change.to_units
    return {"MinSize": min(change.before["MinSize"], to), "MaxSize": to, "DesiredCapacity": to}
