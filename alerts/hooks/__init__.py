"""Where actions take effect: policies that gates hold, and resources that are scaled or stopped."""

from alerts.hooks.azure import Azure
from alerts.hooks.base import Hook, ResourceHook
from alerts.hooks.ec2 import Ec2
from alerts.hooks.ec2_group import Ec2Group
from alerts.hooks.gate import GateHook
from alerts.hooks.gce import Gce
from alerts.hooks.kubernetes import Kubernetes
from alerts.hooks.litellm import LiteLLM
from alerts.hooks.sagemaker import SageMaker
from alerts.hooks.webhook import Webhook
from costobs.kernel.registry import Registry

KINDS: Registry[Hook] = Registry("hook", [GateHook])
RESOURCES: Registry[ResourceHook] = Registry(
    "resource hook", [Azure, Ec2, Ec2Group, Gce, Kubernetes, LiteLLM, SageMaker, Webhook]
)
