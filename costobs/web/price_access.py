"""Who may look at prices and exchange rates, who may propose other ones, and who may decide."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from costobs.access import scopes
from costobs.web.page import no_permission
from costobs.web.page import page as page_view

View = Callable[..., HttpResponseBase]
_LOOK = "Prices and exchange rates count for every team. Administrators set them; finance looks at them and approves changes."
_MANAGE = "Only administrators propose prices and load exchange rates. Finance looks at them and approves changes."


def looking(view: View) -> View:
    """A page, or a decision, for those who see everything: administrators and finance."""

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
