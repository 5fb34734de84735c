"""The months of the books: reviewed, closed, and what was pinned when they were."""

from django.db import models
from django.db.models import Q

from attribution.models.owners import RulesetVersion
from costobs.kernel.fields import MoneyField


class PeriodBook(models.Model):
    """One month that somebody reviewed or closed. A month without a row, or in state open, is still open.

    Months close in order, the oldest first, and reopen in reverse. A closed one never changes: its days are not rebuilt, its
    owners are those of `ruleset` and of its ClosedTeam rows, and what changes later is booked in the next open month.
    """

    month = models.DateField(unique=True)  # its first day
    state = models.TextField()  # open (again), reviewed, closed
    version = models.IntegerField(db_default=0, default=0)  # how often it was closed
    ruleset = models.ForeignKey(RulesetVersion, models.PROTECT, null=True)  # pinned by closing
    reviewed_by = models.TextField(db_default="", default="")
    reviewed_at = models.DateTimeField(null=True)
    reviewed_sha256 = models.TextField(db_default="", default="")  # what the month said then
    closed_by = models.TextField(db_default="", default="")
    closed_at = models.DateTimeField(null=True)
    note = models.TextField(db_default="", default="")
    checklist = models.JSONField(default=list)  # as it stood when the month closed: {"key", "state", "words"}
    exchange_rates = models.JSONField(default=dict)  # currency -> day -> rate into the reporting currency, as text
    deliveries = models.JSONField(default=list)  # ids of the deliveries the month rests on
    sha256 = models.TextField(db_default="", default="")  # of everything the closed month says
    terms = models.JSONField(null=True)  # what its statements say beside the figures: {"company", "journal"}
    # Reopening takes two: one asks and says why, another agrees.
    reopen_reason = models.TextField(db_default="", default="")
    reopen_asked_by = models.TextField(db_default="", default="")
    reopen_asked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="closed") | Q(ruleset__isnull=False, closed_at__isnull=False),
                name="closed_book_is_pinned",
            )
        ]


class ClosedTeam(models.Model):
    """A team as it was when a month closed: a cost centre given later moves no closed number."""

    month = models.DateField()
    team = models.TextField()
    title = models.TextField()
    cost_centre = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["month", "team"], name="closed_team_once")]


class ExchangeRate(models.Model):
    """What one unit of `currency` was worth in `base` on a day, as a publisher said: bitemporal, so a correction adds a row."""

    base = models.TextField()  # EUR at the European Central Bank
    currency = models.TextField()
    day = models.DateField()
    rate = MoneyField()  # units of `currency` for one `base`, with the publisher's digits
    publisher = models.TextField()  # ECB, an uploaded file's name
    known_from = models.DateTimeField()
    known_to = models.DateTimeField(null=True)
    set_by = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["base", "currency", "day"],
                condition=Q(known_to__isnull=True),
                name="exchange_rate_one_believed",
            )
        ]
