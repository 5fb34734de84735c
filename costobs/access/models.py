"""Memberships, API tokens and saved views."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models


class Membership(models.Model):
    """What a user may see and do. `teams` counts for leads only; finance and admins see everything."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE)
    role = models.TextField()  # admin, finance, lead, none
    teams = ArrayField(models.TextField(), default=list)


class ApiToken(models.Model):
    """A token for programs; only its hash is stored."""

    name = models.TextField(unique=True)
    sha256 = models.TextField(unique=True)
    prefix = models.TextField()
    grants = ArrayField(models.TextField())  # read, ingest, gate
    teams = ArrayField(models.TextField(), null=True)  # null: everything
    source_id = models.BigIntegerField(null=True)  # where pushed rows go
    created_at = models.DateTimeField()
    created_by = models.TextField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class SavedView(models.Model):
    """A named query string of a page."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    page = models.TextField()
    name = models.TextField()
    query = models.TextField()
    is_shared = models.BooleanField(db_default=False, default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "page", "name"], name="saved_view_once")]
