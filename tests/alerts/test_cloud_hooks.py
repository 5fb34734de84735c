"""Hooks into clouds: what they would do, that they did it, and that it can be taken back; with the clouds' own clients."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from alerts.hooks import RESOURCES
from alerts.hooks.base import BadConfig, Change, PermanentFailure, ResourceHook, Standing, TemporaryFailure
from tests.servers import machines, s3, sagemaker_components
from tests.servers.machines import SUBSCRIPTION, TOKEN, Machines
from tests.servers.s3 import CREDENTIALS, S3

pytestmark = pytest.mark.usefixtures("may_call_loopback")


@pytest.fixture
def may_call_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")


@pytest.fixture(scope="module")
def aws() -> Iterator[S3]:
    with s3.started() as server:
        yield server


@pytest.fixture(scope="module")
def recorded() -> Iterator[Machines]:
    with machines.started() as server:
        yield server


@pytest.fixture
def cloud(recorded: Machines) -> Iterator[Machines]:
    recorded.reset()
    yield recorded
    assert recorded.problems == []


class Driven:
    """A hook with its settings, taken through look, plan, apply and undo."""

    def __init__(self, kind: str, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        self.hook: ResourceHook = RESOURCES[kind]()
        self.config, self.credentials = config, credentials
        self.hook.check(config, credentials)

    def look(self) -> Standing:
        return self.hook.look(self.config, self.credentials)

    def plan(self, to_units: int = 0) -> Change:
        return self.hook.plan(self.look(), to_units, self.config)

    def apply(self, change: Change) -> None:
        """Twice, as after a crash between doing and noting it."""
        self.hook.apply(change, self.config, self.credentials)
        self.hook.apply(change, self.config, self.credentials)

    def undo(self, change: Change) -> None:
        self.hook.undo(change, self.config, self.credentials)
        self.hook.undo(change, self.config, self.credentials)

    def settled(self) -> Standing:
        """The standing once nothing is on its way; each look is a step for the recorded clouds."""
        for _ in range(10):
            found = self.look()
            if found.is_settled:
                return found
        raise AssertionError(f"it never settled: {found.words}")


def of_google(cloud: Machines, **config: str) -> Driven:
    return Driven("gce", {"project": "acme-ml", "zone": "europe-west4-a", "endpoint_url": cloud.url, **config}, {})


def of_azure(cloud: Machines, **config: str) -> Driven:
    where = {"subscription": SUBSCRIPTION, "resource_group": "ml", "management_url": cloud.url}
    return Driven("azure", {**where, **config}, {"access_token": TOKEN})


def instances(aws: S3, count: int, **columns: Any) -> list[str]:
    made = aws.client("ec2").run_instances(
        ImageId="ami-12c6146b", MinCount=count, MaxCount=count, InstanceType="g5.xlarge", **columns
    )
    return [one["InstanceId"] for one in made["Instances"]]


def of_ec2(aws: S3, names: list[str]) -> Driven:
    return Driven("ec2", {**aws.config, "instances": ", ".join(names)}, CREDENTIALS)


def states(aws: S3, names: list[str]) -> list[str]:
    found = aws.client("ec2").describe_instances(InstanceIds=names)["Reservations"]
    named = {one["InstanceId"]: one["State"]["Name"] for group in found for one in group["Instances"]}
    return [named[name] for name in names]


def test_ec2_it_stops_instances_and_starts_the_same_ones_again(aws: S3) -> None:
    names = instances(aws, 3)
    aws.client("ec2").stop_instances(InstanceIds=[names[0]])
    driven = of_ec2(aws, names)

    change = driven.plan(to_units=1)
    driven.apply(change)
    stopped, standing = states(aws, names), driven.look()
    driven.undo(change)

    assert change.words == f"Stop 1 of 2 running instances: {names[2]}"
    assert stopped == ["stopped", "running", "stopped"]
    assert driven.hook.is_applied(change, standing)
    assert standing.words == "1 of 3 instances running, 2 stopped"
    # The one that was stopped before by somebody else stays stopped.
    assert states(aws, names) == ["stopped", "running", "running"]
    assert driven.hook.is_undone(change, driven.look())


def test_ec2_it_sees_that_somebody_runs_another_one_instead(aws: S3) -> None:
    names = instances(aws, 2)
    driven = of_ec2(aws, names)
    change = driven.plan(to_units=1)
    driven.apply(change)

    aws.client("ec2").start_instances(InstanceIds=[names[1]])
    aws.client("ec2").stop_instances(InstanceIds=[names[0]])

    assert driven.look().units == change.to_units
    assert not driven.hook.is_applied(change, driven.look())


def test_ec2_it_refuses_members_of_a_group_which_would_replace_them(aws: S3) -> None:
    names = instances(aws, 1, TagSpecifications=[{
        "ResourceType": "instance", "Tags": [{"Key": "aws:autoscaling:groupName", "Value": "vllm"}],
    }])  # fmt: skip

    with pytest.raises(PermanentFailure, match="belongs to the Auto Scaling group vllm, which would replace it"):
        of_ec2(aws, names).plan()


def test_ec2_it_says_which_instance_is_gone(aws: S3) -> None:
    names = instances(aws, 1)
    aws.client("ec2").terminate_instances(InstanceIds=names)

    with pytest.raises(PermanentFailure, match=f"{names[0]} is terminated; take it out"):
        of_ec2(aws, names).look()
    with pytest.raises(PermanentFailure, match=r"InvalidInstanceID\.NotFound"):
        of_ec2(aws, ["i-0123456789abcdef0"]).look()


def test_ec2_it_starts_nothing_that_a_budget_did_not_stop(aws: S3) -> None:
    names = instances(aws, 2)
    aws.client("ec2").stop_instances(InstanceIds=names)

    with pytest.raises(PermanentFailure, match="a budget starts none"):
        of_ec2(aws, names).plan(to_units=1)


def group_of(aws: S3, name: str) -> Driven:
    ec2 = aws.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    client = aws.client("autoscaling")
    client.create_launch_configuration(
        LaunchConfigurationName=f"{name}-lc", ImageId="ami-12c6146b", InstanceType="g5.xlarge"
    )
    client.create_auto_scaling_group(
        AutoScalingGroupName=name, LaunchConfigurationName=f"{name}-lc", MinSize=1, MaxSize=6, DesiredCapacity=3,
        VPCZoneIdentifier=subnet,
    )  # fmt: skip
    return Driven("ec2_group", {**aws.config, "group": name}, CREDENTIALS)


def test_ec2_group_it_holds_a_group_down_and_restores_all_three_sizes(aws: S3) -> None:
    driven = group_of(aws, "vllm-chat")

    change = driven.plan(to_units=0)
    driven.apply(change)
    held = driven.look()
    driven.undo(change)

    assert held.details == {"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0}
    assert driven.hook.is_applied(change, held)
    assert driven.look().details == {"MinSize": 1, "MaxSize": 6, "DesiredCapacity": 3}
    assert driven.hook.is_undone(change, driven.look())


def test_ec2_group_it_sees_that_somebody_changed_its_bounds(aws: S3) -> None:
    driven = group_of(aws, "vllm-bounds")
    change = driven.plan(to_units=2)
    driven.apply(change)
    assert driven.hook.is_applied(change, driven.look())

    aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName="vllm-bounds", MaxSize=4)

    assert not driven.hook.is_applied(change, driven.look())


def test_ec2_group_it_still_holds_where_the_groups_own_scaling_wants_fewer(aws: S3) -> None:
    driven = group_of(aws, "vllm-fewer")
    change = driven.plan(to_units=2)
    driven.apply(change)

    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName="vllm-fewer", DesiredCapacity=1)

    assert driven.hook.is_applied(change, driven.look())


def test_ec2_group_it_is_restored_although_its_own_scaling_wants_another_size_again(aws: S3) -> None:
    driven = group_of(aws, "vllm-scaled")
    change = driven.plan(to_units=0)
    driven.apply(change)
    driven.undo(change)

    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName="vllm-scaled", DesiredCapacity=5)

    assert driven.hook.is_undone(change, driven.look())


def endpoint(aws: S3, name: str, **counts: int) -> Driven:
    client = aws.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/sagemaker"
    client.create_model(ModelName=f"{name}-model", ExecutionRoleArn=role, PrimaryContainer={"Image": "vllm"})
    client.create_endpoint_config(EndpointConfigName=f"{name}-config", ProductionVariants=[
        {"VariantName": variant, "ModelName": f"{name}-model", "InitialInstanceCount": count,
         "InstanceType": "ml.g4dn.xlarge", "InitialVariantWeight": 1.0}
        for variant, count in counts.items()
    ])  # fmt: skip
    client.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-config")
    return Driven("sagemaker", {**aws.config, "endpoint": name}, CREDENTIALS)


def test_sagemaker_it_deletes_the_endpoint_and_makes_the_same_one_again(aws: S3) -> None:
    driven = endpoint(aws, "chat-small", blue=2)
    before = driven.look()

    change = driven.plan(to_units=0)
    driven.apply(change)
    gone = driven.look()
    driven.undo(change)

    assert change.words == "Delete the endpoint chat-small and keep its configuration"
    assert (gone.units, gone.words) == (0, "There is no endpoint chat-small")
    assert driven.hook.is_applied(change, gone)
    assert driven.look().details["configuration"] == before.details["configuration"] == "chat-small-config"


def test_sagemaker_it_gives_the_new_endpoint_the_instances_that_it_had(aws: S3) -> None:
    driven = endpoint(aws, "chat-grown", blue=1, green=1)
    grown = [{"VariantName": "blue", "DesiredInstanceCount": 3}]
    aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="chat-grown", DesiredWeightsAndCapacities=grown
    )
    change = driven.plan(to_units=0)
    driven.apply(change)

    driven.hook.undo(change, driven.config, driven.credentials)
    first = driven.look()
    driven.undo(change)

    assert driven.hook.is_half_undone(change, first)
    assert driven.look().details["counts"] == {"blue": 3, "green": 1}
    assert driven.hook.is_undone(change, driven.look())
    assert not driven.hook.is_half_undone(change, driven.look())


def test_sagemaker_it_takes_instances_from_the_largest_variant(aws: S3) -> None:
    driven = endpoint(aws, "chat-two", blue=3, green=1)

    change = driven.plan(to_units=2)
    driven.apply(change)
    fewer = driven.look()
    driven.undo(change)

    assert fewer.details["counts"] == {"blue": 1, "green": 1}
    assert driven.look().details["counts"] == {"blue": 3, "green": 1}
    with pytest.raises(PermanentFailure, match="2 variants need an instance each, found 1"):
        driven.plan(to_units=1)


def test_aws_it_says_whom_to_grant_what(aws: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven("ec2", {**aws.config, "instances": "i-0123456789abcdef0"}, CREDENTIALS)
    cases = {
        "UnauthorizedOperation": "AWS does not allow to look at i-0123456789abcdef0; grant ec2:DescribeInstances",
        "AuthFailure": "AWS does not take the keys",
    }
    for code, expected in cases.items():
        with pytest.raises(PermanentFailure, match=re.escape(expected)), _refusing(monkeypatch, code):
            driven.look()
    with pytest.raises(TemporaryFailure, match="RequestLimitExceeded"), _refusing(monkeypatch, "RequestLimitExceeded"):
        driven.look()


@contextmanager
def _refusing(monkeypatch: pytest.MonkeyPatch, code: str) -> Iterator[None]:
    """Calls are refused as AWS words it; the emulator refuses nobody."""

    def refuse(_self: Any, operation: str, _parameters: Any) -> None:
        response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        raise ClientError(response, operation)

    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", refuse)
        yield


def test_gce_it_stops_instances_and_starts_the_same_ones_again(cloud: Machines) -> None:
    cloud.states = {"vllm-1": "RUNNING", "vllm-2": "RUNNING", "vllm-3": "TERMINATED"}
    driven = of_google(cloud, instances="vllm-1, vllm-2, vllm-3")

    change = driven.plan(to_units=1)
    driven.apply(change)
    on_its_way = driven.look()
    settled = driven.settled()
    driven.undo(change)

    assert change.words == "Stop 1 of 2 running instances: vllm-2"
    assert not driven.hook.is_applied(change, on_its_way)
    assert driven.hook.is_applied(change, settled)
    assert settled.words == "1 of 3 instances RUNNING, 2 TERMINATED"
    assert driven.settled().details["states"] == {"vllm-1": "RUNNING", "vllm-2": "RUNNING", "vllm-3": "TERMINATED"}
    assert cloud.asked.count("instances.start vllm-2") == 1


def test_gce_it_sets_the_size_of_a_group_and_restores_it(cloud: Machines) -> None:
    cloud.sizes = {"vllm-chat": 4}
    driven = of_google(cloud, group="vllm-chat")

    change = driven.plan(to_units=0)
    driven.apply(change)
    down = driven.look()
    driven.undo(change)

    assert (down.units, driven.hook.is_applied(change, down)) == (0, True)
    assert cloud.sizes == {"vllm-chat": 4}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"disks": [{"type": "SCRATCH"}]}, "vllm-1 has a local SSD"),
        ({"scheduling": {"provisioningModel": "SPOT"}}, "vllm-1 is a spot instance"),
    ],
)
def test_gce_it_refuses_what_would_not_come_back(cloud: Machines, extra: dict[str, Any], expected: str) -> None:
    cloud.states, cloud.extras = {"vllm-1": "RUNNING"}, {"vllm-1": extra}

    with pytest.raises(PermanentFailure, match=expected):
        of_google(cloud, instances="vllm-1").plan()


def test_gce_it_refuses_a_group_that_an_autoscaler_owns(cloud: Machines) -> None:
    cloud.sizes, cloud.autoscaled = {"vllm-chat": 4}, {"vllm-chat"}

    with pytest.raises(PermanentFailure, match="vllm-chat has an autoscaler"):
        of_google(cloud, group="vllm-chat").plan()


def test_gce_it_says_what_is_missing(cloud: Machines) -> None:
    driven = of_google(cloud, instances="vllm-9")

    with pytest.raises(PermanentFailure, match=r"404.*check project, zone and name"):
        driven.look()
    cloud.refusals = [403]
    with pytest.raises(PermanentFailure, match=r"403.*roles/compute\.instanceAdmin"):
        driven.look()


def test_azure_it_deallocates_machines_and_starts_the_same_ones_again(cloud: Machines) -> None:
    cloud.states = {"vllm-1": "running", "vllm-2": "running", "vllm-3": "stopped"}
    driven = of_azure(cloud, machines="vllm-1 vllm-2 vllm-3")

    change = driven.plan(to_units=0)
    driven.apply(change)
    on_its_way = driven.look()
    settled = driven.settled()
    driven.undo(change)

    assert change.words == "Deallocate 2 of 2 running machines: vllm-1, vllm-2"
    assert not driven.hook.is_applied(change, on_its_way)
    assert driven.hook.is_applied(change, settled)
    # The one that is only stopped is somebody else's, and is still paid for.
    assert driven.settled().details["states"] == {"vllm-1": "running", "vllm-2": "running", "vllm-3": "stopped"}


def test_azure_it_sets_the_capacity_of_a_scale_set_and_restores_it(cloud: Machines) -> None:
    cloud.sizes = {"vllm-chat": 3}
    driven = of_azure(cloud, scale_set="vllm-chat")

    change = driven.plan(to_units=1)
    driven.apply(change)
    down = driven.look()
    driven.undo(change)

    assert (down.units, driven.hook.is_applied(change, down)) == (1, True)
    assert cloud.sizes == {"vllm-chat": 3}


def test_azure_it_refuses_spot_machines(cloud: Machines) -> None:
    cloud.states, cloud.extras = {"vllm-1": "running"}, {"vllm-1": {"priority": "Spot"}}

    with pytest.raises(PermanentFailure, match="vllm-1 is a spot machine"):
        of_azure(cloud, machines="vllm-1").plan()


def test_azure_it_says_what_is_missing_and_shows_no_token(cloud: Machines) -> None:
    driven = of_azure(cloud, machines="vllm-9")

    with pytest.raises(PermanentFailure, match="check subscription, resource group and name"):
        driven.look()
    cloud.refusals = [403]
    with pytest.raises(PermanentFailure, match="grant Virtual Machine Contributor") as problem:
        driven.look()
    assert TOKEN not in str(problem.value)


@pytest.mark.parametrize(
    ("kind", "config", "credentials", "field"),
    [
        ("ec2", {"region": "eu-central-1"}, {}, "instances"),
        ("ec2", {"region": "eu-central-1", "instances": "vllm-1"}, {}, "instances"),
        (
            "ec2",
            {"region": "eu-central-1", "instances": "i-0123456789abcdef0"},
            {"access_key_id": "A"},
            "secret_access_key",
        ),
        (
            "ec2",
            {"region": "eu-central-1", "instances": "i-0123456789abcdef0", "endpoint_url": "http://127.0.0.1:1"},
            {},
            "access_key_id",
        ),
        ("sagemaker", {"region": "eu-central-1", "endpoint": "a", "colour": "b"}, {}, "colour"),
        ("gce", {"project": "p", "zone": "z"}, {}, "instances"),
        ("gce", {"project": "p", "zone": "z", "instances": "a", "group": "b"}, {}, "instances"),
        ("gce", {"project": "p", "zone": "z", "group": "b"}, {"service_account_json": "{"}, "service_account_json"),
        (
            "gce",
            {"project": "p", "zone": "z", "group": "b", "endpoint_url": "http://169.254.169.254"},
            {},
            "endpoint_url",
        ),
        ("azure", {"subscription": "acme", "resource_group": "ml", "machines": "a"}, {}, "subscription"),
        ("azure", {"subscription": SUBSCRIPTION, "resource_group": "ml"}, {}, "machines"),
        (
            "azure",
            {
                "subscription": SUBSCRIPTION,
                "resource_group": "ml",
                "machines": "a",
                "management_url": "http://10.0.0.1",
            },
            {"access_token": TOKEN},
            "management_url",
        ),
        (
            "azure",
            {
                "subscription": SUBSCRIPTION,
                "resource_group": "ml",
                "machines": "a",
                "management_url": "http://127.0.0.1:1",
            },
            {},
            "client_secret",
        ),
    ],
)
def test_it_names_the_setting_that_is_wrong(
    kind: str, config: dict[str, str], credentials: dict[str, str], field: str
) -> None:
    with pytest.raises(BadConfig) as problem:
        RESOURCES[kind]().check(config, credentials)

    assert problem.value.field == field


@pytest.mark.parametrize("kind", ["azure", "ec2", "ec2_group", "gce", "sagemaker"])
def test_it_says_so_when_the_cloud_cannot_be_reached(kind: str) -> None:
    nobody = "http://127.0.0.1:9"
    configs: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "azure": (
            {"subscription": SUBSCRIPTION, "resource_group": "ml", "machines": "a", "management_url": nobody},
            {"access_token": TOKEN},
        ),
        "ec2": ({"region": "r", "instances": "i-0123456789abcdef0", "endpoint_url": nobody}, CREDENTIALS),
        "ec2_group": ({"region": "r", "group": "g", "endpoint_url": nobody}, CREDENTIALS),
        "gce": ({"project": "p", "zone": "z", "instances": "a", "endpoint_url": nobody}, {}),
        "sagemaker": ({"region": "r", "endpoint": "e", "endpoint_url": nobody}, CREDENTIALS),
    }
    config, credentials = configs[kind]

    with pytest.raises(TemporaryFailure, match="cannot be reached"):
        Driven(kind, config, credentials).look()


def test_sagemaker_recorded_it_sets_the_copies_of_a_component() -> None:
    with sagemaker_components.started() as server:
        config = {"region": "eu-central-1", "endpoint": "chat", "component": "chat-llama", "endpoint_url": server.url}
        driven = Driven("sagemaker", config, CREDENTIALS)

        change = driven.plan(to_units=0)
        driven.apply(change)
        on_its_way = driven.look()
        settled = driven.settled()
        driven.undo(change)

        assert change.words == "Set chat-llama from 2 to 0 copies"
        assert not driven.hook.is_applied(change, on_its_way)
        assert driven.hook.is_applied(change, settled)
        assert driven.settled().units == 2
        assert server.problems == []


def test_it_shows_no_key_in_what_it_keeps_or_says(aws: S3) -> None:
    names, secret = instances(aws, 1), "secret-of-the-tests"
    own = {"access_key_id": "key-of-the-tests", "secret_access_key": secret}

    change = Driven("ec2", {**aws.config, "instances": names[0]}, own).plan()
    with pytest.raises(PermanentFailure) as problem:
        Driven("ec2", {**aws.config, "instances": "i-0123456789abcdef0"}, own).look()

    assert "of-the-tests" not in f"{change}{problem.value}"
