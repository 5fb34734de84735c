"""Removing a source that is in the books: what it says goes, goes, and nothing before its name is typed."""

from datetime import date

import pytest
from django.test import Client

from attribution import queries as attribution_queries
from costobs import pipeline
from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days
from ingest import queries
from ingest.models import Source
from tests.web import reading
from tests.web.conftest import NOW, Ledger, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    """An administrator."""
    return signed_in("dana@example.com", "admin")


def test_it_removes_a_source_once_its_name_is_typed(dana: Client, ledger: Ledger) -> None:
    source_id = queries.source_named(kind="focus_export", name="bill")
    own = f"/settings/sources/{source_id}/remove/"

    page = reading.shown(dana, own)
    words = reading.words(page)
    assert "Charges 39" in words and "Billed, USD $1,872.00" in words and "Spend on pages, USD" in words
    for given in ("", "Bill", "bil"):
        wrong = dana.post(own, {"confirm": given})
        assert wrong.status_code == 400 and "Type bill to remove it. Nothing was deleted." in reading.words(wrong)
    assert dana.get(own).status_code == 200
    assert queries.source_named(kind="focus_export", name="bill") == source_id

    done = dana.post(own, {"confirm": "bill"}, follow=True)

    assert "bill is removed" in reading.words(done)
    assert queries.source_named(kind="focus_export", name="bill") is None
    assert AuditEntry.objects.get(act="source.removed").before["billed_cost"] == {"USD": "1872.00"}
    while pipeline.settle(NOW):
        continue
    # The calls are still in the books; what only the bill had is not.
    assert attribution_queries.extent() == Days(date(2026, 10, 2), date(2026, 11, 22))
    assert dana.get("/sources/").status_code == 200


def test_it_keeps_a_source_that_a_gate_needs(dana: Client, ledger: Ledger) -> None:
    own = f"/settings/sources/{ledger.usage_source_id}/remove/"

    page = dana.post(own, {"confirm": "calls"})

    assert page.status_code == 400 and "costobs gate remove chat-1" in reading.words(page)
    assert Source.objects.filter(pk=ledger.usage_source_id).exists()
