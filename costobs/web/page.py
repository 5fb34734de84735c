"""What every page does before its own work: sign-in, the filter popover, wrong scopes, and people without any role."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from costobs.access import scopes
from costobs.kernel.scope import BadScope
from costobs.web import filters
from costobs.web.parts import Link, Notice

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """A page for signed-in people. A wrong scope is answered with 400 and what is known; no role with a clear word."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not scopes.viewer(request.user).teams and not scopes.viewer(request.user).may_see_all:
            return notice(request, NO_ROLE, status=403)
        cleaned = filters.added_filter(request)
        if cleaned is not None:
            return cleaned
        try:
            return view(request, *args, **kwargs)
        except BadScope as problem:
            found = Notice(
                "error", "This address asks for something unknown", str(problem), [Link("Start again", request.path)]
            )
            return notice(request, found, status=400)

    return login_required(wrapped)


NO_ROLE = Notice(
    "no_permission",
    "You are signed in, but you have no role yet",
    "Ask an administrator for a role. They run: costobs sign-in-link --email you@example.com --role lead --team your-team",
)


def notice(request: HttpRequest, found: Notice, *, status: int) -> HttpResponse:
    """A page that says one thing."""
    return render(request, "pages/notice.html", {"notice": found}, status=status)


def no_permission(request: HttpRequest, text: str) -> HttpResponse:
    """What somebody sees who may not do this; never a fake empty page."""
    return notice(request, Notice("no_permission", "You may not do this", text), status=403)
