"""What runs and is paid for, and what was done to it."""

from django.db import models
from django.db.models import Q

from alerts.models.runs import ActionRun
from costobs.kernel.fields import EncryptedField, MoneyField

# A change in one of these states is working on its resource; there is one at a time.
WORKING = ("draining", "applying", "undoing")


class Resource(models.Model):
    """One thing that runs and is paid for, which a hook can scale or stop."""

    name = models.TextField(unique=True)
    hook = models.TextField()  # kubernetes, litellm, webhook, ec2, …
    config = models.JSONField(default=dict)
    credentials = EncryptedField(null=True)
    scope = models.JSONField(default=dict)  # dimension -> values: the spend and the tokens that are its own
    is_dedicated = models.BooleanField(db_default=False, default=False)  # one owner uses it, whatever the calls say
    is_protected = models.BooleanField(db_default=False, default=False)  # no action touches it
    drain_seconds = models.IntegerField(db_default=60, default=60)  # the longest wait for running requests
    kept_cost = MoneyField(null=True)  # what a day of it stopped still costs: disks, reservations; null: not known
    standing = models.JSONField(default=dict)  # units, words, is_settled, as it said itself
    looked_at = models.DateTimeField(null=True)
    look_error = models.TextField(db_default="", default="")
    is_sample = models.BooleanField(db_default=False, default=False)
    created_at = models.DateTimeField()
    created_by = models.TextField()


class ResourceChange(models.Model):
    """One change of one resource, for an action run or for a person; claimed by conditional update.

    States: waiting -> draining -> applying -> applied -> verified -> undoing -> undone; or ended (nothing was done),
    refused (it may not be done), failed, left (somebody changed the resource since; it was not touched again).
    """

    resource = models.ForeignKey(Resource, models.SET_NULL, null=True, related_name="changes")
    resource_name = models.TextField()
    action_run = models.ForeignKey(ActionRun, models.SET_NULL, null=True, related_name="changes")
    is_of_run = models.BooleanField(db_default=True, default=True)  # it ends with its run, even when that is deleted
    to_units = models.IntegerField()
    is_limit = models.BooleanField(db_default=False, default=False)  # at most so many, instead of so many
    state = models.TextField(db_default="waiting", default="waiting")
    change = models.JSONField(default=dict)  # the plan, fixed when it is made; see hooks.base.Change
    is_idle = models.BooleanField(
        db_default=False, default=False
    )  # it was there already: nothing to do, nothing to undo
    saves_cost = MoneyField(null=True)  # a day; null: not known
    currency = models.TextField(db_default="", default="")
    saves_words = models.TextField(db_default="", default="")
    asked_at = models.DateTimeField()
    asked_by = models.TextField(db_default="ladder", default="ladder")
    reason = models.TextField(db_default="", default="")
    next_at = models.DateTimeField()  # not looked at before; while claimed: when the claim of a lost worker ends
    is_claimed = models.BooleanField(db_default=False, default=False)
    attempts = models.IntegerField(db_default=0, default=0)  # of what is being done now
    version = models.IntegerField(db_default=1, default=1)  # counted up by each change of this row
    started_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True)
    undo_at = models.DateTimeField(null=True)  # since when it is to be undone
    restored_at = models.DateTimeField(null=True)  # undo was carried out
    ended_at = models.DateTimeField(null=True)
    ended_by = models.TextField(db_default="", default="")
    error = models.TextField(db_default="", default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["action_run", "resource_name"], name="resource_change_once"),
            models.UniqueConstraint(fields=["resource"], condition=Q(state__in=WORKING), name="resource_change_one"),
        ]
