"""Settings, hooks."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from costobs.web.settings_access import looking


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "pages/settings_hooks.html", {"page": "settings", "heading": "Hooks", "sub": ""})
