"""The Django application of this package."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "costobs.audit"
