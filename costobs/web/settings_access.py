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
_LOOK = "Settings are about every team's data. Administrators make them; finance may look at them."
_MANAGE = "Only administrators add, change and remove settings. Finance may look at them."


def looking(view: View) -> View:
    """A page for those who see everything."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not scopes.viewer(request.user).may_see_all:
            return no_permission(request, _LOOK)
        return view(request, *args, **kwargs)

    return page_view(wrapped)


def managing(view: View) -> View:
    """A page or an act for administrators."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not scopes.viewer(request.user).may_manage:
            return no_permission(request, _MANAGE)
        return view(request, *args, **kwargs)

    return page_view(wrapped)
