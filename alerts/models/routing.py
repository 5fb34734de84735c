"""Who is told what: open items and their threads, routes, escalation, quiet hours, mutes, digests, people of chats."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from alerts.models.telling import Alert, Channel
from costobs.kernel.fields import MoneyField


class OpenItem(models.Model):
    """One thing people were told of, and whether somebody has taken it. Alerts with its thread belong to it."""

    thread = models.TextField(unique=True)
    severity = models.TextField()
    opened_at = models.DateTimeField()
    changed_at = models.DateTimeField()  # since when it waits for somebody; escalation counts from here
    closed_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.TextField(db_default="", default="")
    version = models.IntegerField(db_default=1, default=1)


class ThreadPosition(models.Model):
    """Where the thread of an open item stands on a channel, so that its first message can be edited and answered."""

    thread = models.TextField()
    channel = models.ForeignKey(Channel, models.CASCADE)
    ref = models.TextField()  # ts, Message-ID or dedup_key of the first message
    place = models.TextField(db_default="", default="")  # the channel inside Slack
    first_alert = models.ForeignKey(Alert, models.CASCADE)
    state = models.TextField(db_default="", default="")  # what the channel said last
    impact_cost = MoneyField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["thread", "channel"], name="thread_position_once")]


class Route(models.Model):
    """Which alerts a channel gets, and for whom it stands."""

    audience = models.TextField()  # owner, team, fallback, finance, on_call
    channel = models.ForeignKey(Channel, models.CASCADE)
    topics = ArrayField(models.TextField(), default=list)  # empty: what its audience is told by custom
    team = models.TextField(db_default="", default="")  # of the budget; empty: any
    least_severity = models.TextField(db_default="info", default="info")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["audience", "channel", "team"], name="alert_route_once")]


class EscalationStep(models.Model):
    """Whom an item of a severity is told to when nobody has acknowledged it after so many minutes."""

    severity = models.TextField()
    after_minutes = models.IntegerField()
    channel = models.ForeignKey(Channel, models.CASCADE)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["severity", "after_minutes", "channel"], name="escalation_step_once"),
            models.CheckConstraint(condition=models.Q(after_minutes__gt=0), name="escalation_step_later"),
        ]


class QuietHours(models.Model):
    """Hours of the day, in a zone, in which a channel or a person is not told what can wait."""

    channel = models.OneToOneField(Channel, models.CASCADE, null=True)
    person = models.TextField(null=True, unique=True)  # e-mail address, where the channel writes to owners
    zone = models.TextField()
    begins = models.TimeField()
    ends = models.TimeField()


class Mute(models.Model):
    """Somebody silenced an item, a budget or a team until a moment."""

    about = models.TextField()  # thread, budget, team
    subject = models.TextField()
    reason = models.TextField()
    muted_at = models.DateTimeField()
    muted_by = models.TextField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ended_by = models.TextField(db_default="", default="")


class DigestSchedule(models.Model):
    """A review pack for an audience, once for each period."""

    name = models.TextField(unique=True)
    audience = models.TextField()  # finance, engineering
    period = models.TextField()  # week, month, quarter
    zone = models.TextField(db_default="UTC", default="UTC")
    hour = models.IntegerField(db_default=8, default=8)  # of the first day after the period, there
    teams = ArrayField(models.TextField(), null=True)  # whose spend it tells; null: all
    channel = models.ForeignKey(Channel, models.CASCADE)
    is_active = models.BooleanField(db_default=True, default=True)
    active_from = models.DateTimeField()


class DigestIssue(models.Model):
    """One review pack that was made."""

    schedule = models.ForeignKey(DigestSchedule, models.CASCADE)
    period_start = models.DateField()
    alert = models.ForeignKey(Alert, models.SET_NULL, null=True)
    made_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["schedule", "period_start"], name="digest_issue_once")]


class ChatPerson(models.Model):
    """A member of a Slack workspace who was linked to an account by an administrator."""

    workspace = models.TextField()
    member = models.TextField()
    account = models.TextField()  # e-mail address or user name
    linked_at = models.DateTimeField()
    linked_by = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "member"], name="chat_person_once")]
