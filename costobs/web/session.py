"""Signing in and out: by one-time link, or by password."""

from django.contrib import auth, messages
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from sesame.utils import get_user

from costobs.audit import record


@never_cache
def sign_in(request: HttpRequest) -> HttpResponse:
    """A link is used by a POST of the person who opened it: mail scanners open links, and would use it up."""
    token = request.GET.get("sesame", "")
    form = AuthenticationForm(request, data=request.POST if request.method == "POST" and not token else None)
    for field in form.fields.values():
        field.widget.attrs["class"] = "input"
    error = ""
    if request.method == "POST" and token:
        user = get_user(token)
        if user is not None:
            return _enter(request, user, "sesame.backends.ModelBackend")
        error = "This link was used before or is older than an hour. Ask for a new one: costobs sign-in-link"
    elif request.method == "POST" and form.is_valid():
        return _enter(request, form.get_user(), "django.contrib.auth.backends.ModelBackend")
    elif request.method == "POST":
        error = "The name and the password do not fit. After forgetting one, use: costobs sign-in-link"
    return render(request, "pages/sign_in.html", {"form": form, "has_link": bool(token), "error": error})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    messages.info(request, "You are signed out.")
    return redirect("sign_in")


def _enter(request: HttpRequest, user: object, backend: str) -> HttpResponse:
    auth.login(request, user, backend=backend)  # type: ignore[arg-type]  # both backends give the project's user
    name = request.user.get_username()
    record.write(actor=name, act="person.signed_in", subject=f"user:{name}", at=timezone.now())
    target = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return redirect(target if safe else "overview")
