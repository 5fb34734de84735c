"""One load: every file of it, and where each of its rows went."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from costobs.kernel import fmt
from costobs.web import settings_source_tables as tables
from costobs.web.page import notice
from costobs.web.parts import Kpi, Link, Notice
from costobs.web.settings_access import looking
from ingest import queries as ingest_queries
from ingest.queries import LoadLine

_QUARANTINED = 200


@require_safe
@looking
def page(request: HttpRequest, load_id: int) -> HttpResponse:
    found = ingest_queries.load(load_id=load_id)
    if found is None:
        back = [Link("Sources", reverse("sources"), icon="database")]
        text = "It belonged to a source that was removed, or it never was."
        return notice(request, Notice("nothing_matches", "There is no such load", text, back), status=404)
    context = {
        "page": "sources",
        "scope": None,
        "load": found,
        "source_url": reverse("settings_source", args=[found.source_id]),
        "heading": _heading(found),
        "sub": f"{found.source}, {found.state}, started {fmt.moment(found.started_at, year=True)}.",
        "problem": Notice("error", "This load failed", found.error) if found.error else None,
        "kpis": _kpis(found),
        "files": tables.files([found], limit=1000),
        "quarantined": tables.quarantined(
            ingest_queries.quarantined(load_id=load_id, limit=_QUARANTINED),
            csv_url=f"{reverse('quarantined_csv')}?load={load_id}",
        ),
    }
    return render(request, "pages/load.html", context)


def _heading(found: LoadLine) -> str:
    words = f"{fmt.integer(found.rows_read)} rows read, {fmt.integer(found.rows_loaded)} loaded"
    return f"{words}, {fmt.integer(found.rows_quarantined)} quarantined" if found.rows_quarantined else words


def _kpis(found: LoadLine) -> list[Kpi]:
    return [
        Kpi("Rows loaded", fmt.integer(found.rows_loaded), note=f"of {fmt.integer(found.rows_read)} read"),
        Kpi("Rows known", fmt.integer(found.rows_duplicate), note="In the books already"),
        Kpi("Rows quarantined", fmt.integer(found.rows_quarantined), note="Kept as they came"),
        Kpi("Rows skipped", fmt.integer(found.rows_skipped), note=tables.reasons(found.skipped) or "None was left out"),
    ]
