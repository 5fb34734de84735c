"""Books what changed on a closed day: the differences, as rows of the first open month; the day itself stays as it is."""

from datetime import date
from typing import Any

from django.db import connection

from attribution.splitting import COSTS

# How a row came to be and how a vendor classed it are not told apart: an adjustment has its own words for both.
_KEY = """source_id, basis, is_current, is_unpriced, currency, provider_name, sub_account, service_name, region,
    invoice_issuer_name, charge_category, cost_kind, purchase_option, attribute_set_id, model, deployment, token_kind, share_kind"""
_COSTS = ", ".join(COSTS)
_NEGATED = ", ".join(f"-{cost}" for cost in COSTS)
# What is booked is what the day says now, less what it said when it closed, less what closed months have corrected since.
_BOOK = f"""
INSERT INTO attribution_dailycost (day, origin_day, method, charge_class, {_KEY}, {_COSTS})
SELECT %(open_from)s, %(day)s, 'adjustment', 'Correction', {_KEY}, {", ".join(f"sum({cost})" for cost in COSTS)}
FROM (
    SELECT {_KEY}, {_COSTS} FROM book_row
    UNION ALL
    SELECT {_KEY}, {_NEGATED} FROM attribution_dailycost WHERE day = %(day)s AND origin_day IS NULL
    UNION ALL
    SELECT {_KEY}, {_NEGATED} FROM attribution_dailycost WHERE origin_day = %(day)s AND day < %(open_from)s
) x
GROUP BY {_KEY} HAVING {" OR ".join(f"sum({cost}) <> 0" for cost in COSTS)}
"""


def run(*, day: date, open_from: date) -> int:
    """Books the staged rows of a closed day as adjustments on `open_from`, the first open day; returns how many rows.

    What open months hold for the day is replaced, so the result follows from the day alone: repeated, reordered or brought
    back to the old figures it writes the same rows, or none. Part of the caller's transaction, after `roll_up.lay`.
    """
    values: dict[str, Any] = {"day": day, "open_from": open_from}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM attribution_dailycost WHERE origin_day = %(day)s AND day >= %(open_from)s", values)
        cursor.execute(_BOOK, values)
        booked: int = cursor.rowcount
        return booked
