"""Where alerts can go."""

from alerts.channels.base import Channel
from alerts.channels.email import Email
from alerts.channels.pagerduty import PagerDuty
from alerts.channels.slack import Slack
from alerts.channels.slack_app import SlackApp
from alerts.channels.webhook import Webhook
from costobs.kernel.registry import Registry

KINDS: Registry[Channel] = Registry("channel", [Email, PagerDuty, Slack, SlackApp, Webhook])
