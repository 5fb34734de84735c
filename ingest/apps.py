"""The Django application of this room."""

from django.apps import AppConfig


class IngestConfig(AppConfig):
    name = "ingest"
