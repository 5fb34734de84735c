"""What may move a rung."""

from alerts.triggers.actual import Actual
from alerts.triggers.base import Trigger
from alerts.triggers.burn_rate import BurnRate
from alerts.triggers.forecast import Forecast
from alerts.triggers.idleness import Idleness
from alerts.triggers.schedule import Schedule
from alerts.triggers.trend import Trend
from costobs.kernel.registry import Registry

KINDS: Registry[Trigger] = Registry("trigger", [Actual, Forecast, BurnRate, Trend, Schedule, Idleness])
