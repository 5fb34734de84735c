"""What budgets were expected to come to, kept for each day it was said."""

from django.db import models

from alerts.models.budgets import Budget
from costobs.kernel.fields import MoneyField


class BudgetForecast(models.Model):
    """The end of a budget's period, from the days complete before `through`.

    The newest of a period is what an evaluation reads; the earlier ones stay, so that anybody can see what was said and
    what it became. Without a method there was not enough history.
    """

    budget = models.ForeignKey(Budget, models.CASCADE)
    period_start = models.DateField()
    period_end = models.DateField()
    through = models.DateField()  # the first day that was not complete
    made_at = models.DateTimeField()
    spent_cost = MoneyField(db_default=0, default=0)  # of the period before `through`
    adjusted_cost = MoneyField(db_default=0, default=0)  # of the period: what corrects closed months
    forecast_cost = MoneyField(null=True)
    forecast_low_cost = MoneyField(null=True)  # an 80 % interval
    forecast_high_cost = MoneyField(null=True)
    method = models.TextField(db_default="", default="")
    error_percent = models.DecimalField(max_digits=7, decimal_places=2, null=True)  # of sums of `tested_days` days
    pace_error_percent = models.DecimalField(
        max_digits=7, decimal_places=2, null=True
    )  # of the naive pace, the same days
    tests = models.IntegerField(db_default=0, default=0)
    tested_days = models.IntegerField(db_default=0, default=0)
    history_days = models.IntegerField(db_default=0, default=0)
    days = models.JSONField(default=list)  # [day, expected, low, high]: running totals of the period
    is_later = models.BooleanField(
        db_default=False, default=False
    )  # worked out afterwards from the books as they are now
    mark = models.TextField(db_default="", default="")  # of the books and the budget it was made from

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["budget", "period_start", "through"], name="budget_forecast_once")
        ]
