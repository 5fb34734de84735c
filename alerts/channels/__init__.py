"""Where alerts can go."""

from alerts.channels.base import Channel
from alerts.channels.email import Email
from alerts.channels.slack import Slack
from costobs.kernel.registry import Registry

KINDS: Registry[Channel] = Registry("channel", [Email, Slack])
