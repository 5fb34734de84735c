"""Saved views: keep the address of a page under a name, open it again, share it, delete it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from costobs.access import saved
from costobs.kernel.scope import BadScope
from costobs.web.page import page as page_view

PAGES = {
    "overview": "Overview",
    "explore": "Explore",
    "unit_costs": "Unit economics",
    "budgets": "Budgets",
    "gpus": "GPUs",
    "chargeback": "Chargeback",
}


@page_view
def save(request: HttpRequest) -> HttpResponse:
    """GET shows the form and the views there are; POST saves one, or deletes the one in `delete`."""
    query = request.GET.copy()
    page = (query.pop("page", None) or ["overview"])[-1]
    if page not in PAGES:
        raise BadScope(f"unknown page {page!r}; known: {', '.join(PAGES)}")
    kept = query.urlencode()
    name = request.POST.get("name", "")
    error = ""
    if request.method == "POST" and "delete" in request.POST:
        return _delete(request)
    if request.method == "POST":
        try:
            _save(request, page, name, kept)
        except saved.BadView as problem:
            error = str(problem)
        else:
            messages.success(request, f"The view {' '.join(name.split())!r} is saved.")
            return HttpResponseRedirect(_address(page, kept))
    views = saved.views(user_id=int(request.user.pk or 0), page=page)
    context = {
        "page": page,
        "title": PAGES[page],
        "back": _address(page, kept),
        "name": name,
        "is_shared": "is_shared" in request.POST,
        "error": error,
        "query": kept,
        "limit": saved.NAME_LENGTH,
        "views": [(view, _address(page, view.query)) for view in views],
    }
    return render(request, "pages/saved_views.html", context, status=400 if error else 200)


def _save(request: HttpRequest, page: str, name: str, query: str) -> None:
    user_id = int(request.user.pk or 0)
    saved.save(user_id=user_id, page=page, name=name, query=query, is_shared="is_shared" in request.POST)


def _delete(request: HttpRequest) -> HttpResponse:
    text = request.POST["delete"]
    is_gone = text.isdecimal() and len(text) < 19 and saved.delete(user_id=int(request.user.pk or 0), view_id=int(text))
    if is_gone:
        messages.success(request, "The view is deleted.")
    else:
        messages.warning(request, "There is no such view of yours.")
    return HttpResponseRedirect(request.get_full_path())


def _address(page: str, query: str) -> str:
    return f"{reverse(page)}?{query}" if query else reverse(page)
