"""The Django application of the command line."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "costobs.console"
