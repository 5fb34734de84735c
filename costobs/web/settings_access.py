"""Who may look at settings, and who may change them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from costobs.access import scopes
from costobs.web.page import no_permission
from costobs.web.page import page as page_view

View = Callable[..., HttpResponseBase]


def letting(may: Callable[[scopes.Viewer], bool], words: str) -> Callable[[View], View]:
    """A page or an act for those who may; the others are told the words."""

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not may(scopes.viewer(request.user)):
                return no_permission(request, words)
            return view(request, *args, **kwargs)

        return page_view(wrapped)

    return decorate


def sees_all(viewer: scopes.Viewer) -> bool:
    """Administrators and finance."""
    return viewer.may_see_all


def manages(viewer: scopes.Viewer) -> bool:
    """Administrators."""
    return viewer.may_manage


looking = letting(sees_all, "Settings are about every team's data. Administrators make them; finance may look at them.")
managing = letting(manages, "Only administrators add, change and remove settings. Finance may look at them.")
