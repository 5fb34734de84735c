"""What every page shows around its content: counts in the navigation, the sample strip."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from alerts import anomaly_queries
from alerts import queries as alert_queries
from costobs.access import scopes
from costobs.web import month_close
from ingest import queries as ingest_queries


def context(request: HttpRequest) -> dict[str, Any]:
    """The context processor of the shell; nothing for strangers."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    viewer = scopes.viewer(user)
    return {
        "nav_counts": _counts(viewer),
        "sample": _sample(viewer),
        "sign_out_url": reverse("sign_out"),
        "viewer": viewer,
    }


def _counts(viewer: scopes.Viewer) -> dict[str, dict[str, str]]:
    counts: dict[str, dict[str, str]] = {}
    attention = alert_queries.attention_count(teams=viewer.teams)
    if attention:
        counts["budgets"] = {"text": str(attention), "label": f"{attention} need attention", "tone": "watch"}
    odd = anomaly_queries.open_count(teams=viewer.teams)
    if odd:
        counts["anomalies"] = {"text": str(odd), "label": f"{odd} open", "tone": "watch"}
    if viewer.may_act_for(None):
        ready = month_close.ready()
        if ready:
            months = "1 month is" if ready == 1 else f"{ready} months are"
            counts["chargeback"] = {"text": str(ready), "label": f"{months} billed and not closed", "tone": "plain"}
    drifting = alert_queries.drifting_count() if viewer.may_see_all else 0
    if drifting:
        providers = "1 provider is" if drifting == 1 else f"{drifting} providers are"
        counts["reconciliation"] = {"text": str(drifting), "label": f"{providers} over the threshold", "tone": "watch"}
    behind = [line for line in ingest_queries.sources(now=timezone.now()) if line.status in {"late", "failed"}]
    if behind and viewer.may_see_all:
        worst = "over" if any(line.status == "failed" for line in behind) else "watch"
        counts["sources"] = {"text": str(len(behind)), "label": f"{len(behind)} late or failed", "tone": worst}
    return counts


def _sample(viewer: scopes.Viewer) -> dict[str, str] | None:
    if not ingest_queries.has_sample():
        return None
    strip = {"text": "These figures belong to an invented organisation. Remove it when your own sources are connected."}
    if ingest_queries.is_sample_loading():
        strip["progress"] = "Still loading; figures grow until it is done."
    if viewer.may_manage:
        strip["remove_url"] = reverse("sample_remove")
    return strip
