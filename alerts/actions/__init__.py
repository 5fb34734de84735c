"""The actions a rung may have."""

from alerts.actions.base import Action
from alerts.actions.notify import Notify
from alerts.actions.reroute import Reroute
from alerts.actions.shutdown import Shutdown
from alerts.actions.throttle import Throttle
from costobs.kernel.registry import Registry

KINDS: Registry[Action] = Registry("action", [Notify, Throttle, Reroute, Shutdown])
