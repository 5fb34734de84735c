"""The Django application of this room."""

from django.apps import AppConfig


class AttributionConfig(AppConfig):
    name = "attribution"
