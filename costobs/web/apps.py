"""The Django application of the pages: template tags and nothing in the database."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "costobs.web"
