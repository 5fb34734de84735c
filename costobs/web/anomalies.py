"""Anomalies: what costs more than it should, since when, and why."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from costobs.web.page import page as page_view


@require_safe
@page_view
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "pages/anomalies.html", {"page": "anomalies", "heading": "Anomalies", "sub": ""})
