"""Endpoints of Amazon SageMaker: fewer instances, no copies, or no endpoint."""

from collections.abc import Mapping
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from alerts.hooks import aws_login
from alerts.hooks.base import AIM, Change, Field, PermanentFailure, ResourceHook, Standing

_GRANT = (
    "sagemaker:DescribeEndpoint, sagemaker:UpdateEndpointWeightsAndCapacities, sagemaker:DeleteEndpoint,"
    " sagemaker:CreateEndpoint, sagemaker:DescribeInferenceComponent and sagemaker:UpdateInferenceComponentRuntimeConfig"
)
_ENDED = ("InService", "Failed", "OutOfService")
_NOT_THERE = "Could not find"


class SageMaker(ResourceHook):
    """Scales the variants of an endpoint; to zero it deletes the endpoint and keeps its configuration, from which the same
    endpoint is made again. With `component`, an inference component is set to so many copies instead, zero among them, and
    the endpoint's own scaling gives the instances back. Example configuration:

    {"region": "eu-central-1", "endpoint": "chat-small"}

    The keys need the permissions of sagemaker on the endpoint: Describe, UpdateEndpointWeightsAndCapacities, Delete and Create,
    or of the component: Describe and UpdateInferenceComponentRuntimeConfig.
    """

    kind: ClassVar = "sagemaker"
    title: ClassVar = "Amazon SageMaker endpoint"
    settings: ClassVar = (
        Field("endpoint", "Endpoint", "Its name.", is_needed=True),
        Field("component", "Inference component", "Only where the endpoint serves components: its name."),
        *aws_login.SETTINGS,
    )
    secrets: ClassVar = aws_login.SECRETS

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        aws_login.check(config, credentials)

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        if config.get("component"):
            return self._component(config, credentials)
        name = config["endpoint"]
        with aws_login.told(f"look at the endpoint {name}", grant=_GRANT):
            try:
                found = aws_login.client("sagemaker", config, credentials).describe_endpoint(EndpointName=name)
            except ClientError as problem:
                if _NOT_THERE not in str(problem.response.get("Error", {}).get("Message", "")):
                    raise
                return Standing(0, f"There is no endpoint {name}", details={"exists": False})
        status = found["EndpointStatus"]
        counts = {
            one["VariantName"]: one.get("DesiredInstanceCount", one.get("CurrentInstanceCount", 1))
            for one in found.get("ProductionVariants", ())
        }
        units = sum(counts.values())
        return Standing(
            units=units,
            words=f"{status}, {units} instance{'' if units == 1 else 's'}",
            is_settled=status in _ENDED,
            details={"exists": True, "configuration": found["EndpointConfigName"], "counts": counts},
        )

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if not 0 <= to_units <= standing.units:
            raise PermanentFailure(f"expected 0 to {standing.units}, found {to_units}; a budget only scales down")
        before = {**standing.details}
        if config.get("component"):
            words = f"Set {config['component']} from {standing.units} to {to_units} copies"
            loses, resume, seconds = "", "Copies are started and load the model again: about 5 minutes", 300
        elif to_units == 0:
            words = f"Delete the endpoint {config['endpoint']} and keep its configuration"
            loses = "Calls fail until it is made again; its own scaling policies are gone with it"
            resume, seconds = "The endpoint is made again from its configuration: about 10 minutes", 600
        else:
            before[AIM] = _fewer(standing.details["counts"], to_units)
            words = f"Scale the endpoint {config['endpoint']} from {standing.units} to {to_units} instances"
            loses, resume, seconds = "", "Instances are added and load the model: about 8 minutes", 480
        return Change(standing.units, to_units, words, loses, resume, seconds, before)

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        if config.get("component"):
            self._copies(change.to_units, config, credentials)
        elif change.to_units == 0:
            self._delete(config, credentials)
        else:
            self._scale(change.before[AIM], config, credentials)

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        if config.get("component"):
            self._copies(change.from_units, config, credentials)
        elif change.to_units == 0:
            self._make_again(change, config, credentials)
        else:
            self._scale(change.before["counts"], config, credentials)

    def is_half_undone(self, change: Change, standing: Standing) -> bool:
        # It begins with the counts of its configuration, which may not be those it had.
        details, before = standing.details, change.before
        is_same = details.get("exists") and details["configuration"] == before.get("configuration")
        return bool(change.to_units == 0 and is_same and standing.is_settled and details["counts"] != before["counts"])

    def _component(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        name = config["component"]
        with aws_login.told(f"look at the component {name}", grant=_GRANT):
            client = aws_login.client("sagemaker", config, credentials)
            found = client.describe_inference_component(InferenceComponentName=name)
        copies = found["RuntimeConfig"]
        wanted = copies.get("DesiredCopyCount", 0)
        running = copies.get("CurrentCopyCount", 0)
        status = found["InferenceComponentStatus"]
        words = f"{status}, {running} of {wanted} cop{'y' if wanted == 1 else 'ies'}"
        return Standing(wanted, words, is_settled=status in _ENDED and running == wanted)

    def _copies(self, count: int, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        with aws_login.told(f"set the copies of {config['component']}", grant=_GRANT):
            aws_login.client("sagemaker", config, credentials).update_inference_component_runtime_config(
                InferenceComponentName=config["component"], DesiredRuntimeConfig={"CopyCount": count}
            )

    def _scale(self, counts: Mapping[str, int], config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        wanted = [{"VariantName": name, "DesiredInstanceCount": count} for name, count in sorted(counts.items())]
        with aws_login.told(f"scale the endpoint {config['endpoint']}", grant=_GRANT):
            aws_login.client("sagemaker", config, credentials).update_endpoint_weights_and_capacities(
                EndpointName=config["endpoint"], DesiredWeightsAndCapacities=wanted
            )

    def _delete(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        with aws_login.told(f"delete the endpoint {config['endpoint']}", grant=_GRANT):
            try:
                aws_login.client("sagemaker", config, credentials).delete_endpoint(EndpointName=config["endpoint"])
            except ClientError as problem:
                if _NOT_THERE not in str(problem.response.get("Error", {}).get("Message", "")):
                    raise

    def _make_again(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        standing = self.look(config, credentials)
        if self.is_half_undone(change, standing):
            self._scale(change.before["counts"], config, credentials)
        if standing.details["exists"]:
            return
        with aws_login.told(f"make the endpoint {config['endpoint']} again", grant=_GRANT):
            aws_login.client("sagemaker", config, credentials).create_endpoint(
                EndpointName=config["endpoint"], EndpointConfigName=change.before["configuration"]
            )


def _fewer(counts: Mapping[str, int], units: int) -> dict[str, int]:
    """`units` instances over the variants, one for each at least, the largest variants giving theirs up first."""
    if units < len(counts):
        raise PermanentFailure(f"{len(counts)} variants need an instance each, found {units}; 0 deletes the endpoint")
    left = dict(counts)
    while sum(left.values()) > units:
        largest = max(sorted(left), key=lambda name: left[name])
        left[largest] -= 1
    return left
