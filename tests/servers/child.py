"""Processes of their own that a test kills: they work on the database of the test."""

import os
from urllib.parse import urlsplit

from django.db import connection

from costobs.embedded import paths


def environment() -> dict[str, str]:
    """The environment of a process that uses the test's database."""
    address = urlsplit(paths.database_url())._replace(path=f"/{connection.settings_dict['NAME']}")
    return {**os.environ, "DATABASE_URL": address.geturl(), "DJANGO_SETTINGS_MODULE": "costobs.settings"}
