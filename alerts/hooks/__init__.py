"""Where actions take effect: policies that gates hold, and resources that are scaled or stopped."""

from alerts.hooks.base import Hook, ResourceHook
from alerts.hooks.gate import GateHook
from costobs.kernel.registry import Registry

KINDS: Registry[Hook] = Registry("hook", [GateHook])
RESOURCES: Registry[ResourceHook] = Registry("resource hook", [])
