"""Where actions take effect: policies that gates hold, and resources that are scaled or stopped."""

from alerts.hooks.base import Hook, ResourceHook
from alerts.hooks.gate import GateHook
from alerts.hooks.kubernetes import Kubernetes
from alerts.hooks.litellm import LiteLLM
from alerts.hooks.webhook import Webhook
from costobs.kernel.registry import Registry

KINDS: Registry[Hook] = Registry("hook", [GateHook])
RESOURCES: Registry[ResourceHook] = Registry("resource hook", [Kubernetes, LiteLLM, Webhook])
