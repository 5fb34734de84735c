"""Where actions take effect."""

from alerts.hooks.base import Hook
from alerts.hooks.gate import GateHook
from costobs.kernel.registry import Registry

KINDS: Registry[Hook] = Registry("hook", [GateHook])
