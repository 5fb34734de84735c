"""Which months are closed: what every step that would change a day asks first."""

from datetime import date

from attribution.models import PeriodBook
from costobs.kernel.period import add_months


def closed_until() -> date | None:
    """The first day that is still open, None while nothing is closed. Months close in order, so all before it is closed."""
    found = PeriodBook.objects.filter(state="closed").order_by("-month").values_list("month", flat=True).first()
    return add_months(found, 1) if found is not None else None


def is_closed(day: date) -> bool:
    """Whether the books of `day` are closed."""
    until = closed_until()
    return until is not None and day < until
