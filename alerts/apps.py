"""The Django application of this room."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "alerts"
