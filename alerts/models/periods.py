"""What budgets had and spent in the periods that are over, and which days of the books add up."""

from django.db import models

from alerts.models.budgets import Budget
from costobs.kernel.fields import MoneyField


class BudgetPeriod(models.Model):
    """A period of a budget that is over. Its base amount stays what it was; its spend follows the books."""

    budget = models.ForeignKey(Budget, models.CASCADE)
    period_start = models.DateField()  # as in BudgetState
    period_end = models.DateField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    base_amount = MoneyField()
    carried_cost = MoneyField(db_default=0, default=0)
    borrowed_cost = MoneyField(db_default=0, default=0)
    amount = MoneyField()
    spend_cost = MoneyField()
    unconverted = models.TextField(db_default="", default="")
    is_converted = models.BooleanField(db_default=False, default=False)  # exchange rates had a part in its spend
    books_version = models.TextField(db_default="", default="")  # which state of the books the spend was read from
    settled_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "period_start"], name="budget_period_once")]


class BooksCheck(models.Model):
    """Whether the books of a day added up when they were last compared with what was delivered."""

    day = models.DateField(unique=True)
    books_version = models.TextField()
    is_balanced = models.BooleanField()
    findings = models.JSONField(default=list)  # the first few, in words
    checked_at = models.DateTimeField()
