"""A page's rows as a CSV file, with every digit."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from django.http import HttpResponse

from attribution.exports import guarded
from costobs.kernel import money

Value = str | int | Decimal | date | datetime | None


def response(*, name: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> HttpResponse:
    """A download called `name`. Amounts keep their digits and never take an exponent; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(value) for value in row] for row in rows)
    found = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    found["Content-Disposition"] = f'attachment; filename="{name}"'
    return found


def _plain(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, date):
        return value.isoformat()
    return guarded(value) if isinstance(value, str) else str(value)
