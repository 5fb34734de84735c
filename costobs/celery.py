"""The Celery application; tasks live in `costobs.pipeline` and in the rooms' `tasks` modules."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")

app = Celery("costobs")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["costobs"], related_name="pipeline")
