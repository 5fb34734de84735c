"""The Django application of this package."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "costobs.access"
