"""What a test asks of a page: its parts by the context, its words by the answer."""

import re
from decimal import Decimal
from html import unescape
from typing import Any

from django.test import Client

from costobs.web.parts import Kpi, Table


def shown(client: Client, url: str, status: int = 200) -> Any:
    """The answer, with its context; fails with the words of the page when the status is another."""
    response = client.get(url)
    assert response.status_code == status, words(response)
    return response


def words(response: Any) -> str:
    """The text of a page without its marks, one space between words."""
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(text).split())


def column(table: Table, label: str) -> list[str]:
    """The texts of one column, by its header."""
    index = [one.label for one in table.columns].index(label)
    return [row.cells[index].text for row in table.rows]


def total(table: Table, label: str) -> str:
    """The text of one column of the total row."""
    assert table.total is not None
    return table.total.cells[[one.label for one in table.columns].index(label)].text


def kpi(kpis: list[Kpi], title: str) -> Kpi:
    """The KPI whose title begins so."""
    return next(one for one in kpis if one.title.startswith(title))


def amount(text: str) -> Decimal:
    """The number of a written amount; a dash is nothing."""
    digits = re.sub(r"[^0-9.\-]", "", text.replace("\u2212", "-"))
    return Decimal(digits or "0")
