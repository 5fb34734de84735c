"""Errors as problem+json (RFC 9457): what was expected, what was found, what to do."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from costobs.kernel.scope import BadScope

_TITLES = {
    400: "The request is not right",
    401: "Sign in or send a token",
    403: "Not allowed",
    404: "Not found",
    405: "Not with this method",
    413: "Too large",
    415: "Not in this format",
    429: "Too many requests",
}


class Bad(exceptions.APIException):
    """A request that cannot be answered as it is."""

    status_code = status.HTTP_400_BAD_REQUEST

    def __init__(self, detail: str, code: int = status.HTTP_400_BAD_REQUEST) -> None:
        super().__init__(detail)
        self.status_code = code  # type: ignore[assignment]  # the stubs hold it for a constant


def problem_json(problem: Exception, context: dict[str, Any]) -> Response | None:
    """The exception handler of the API; what is not expected rises and is a 500 without details."""
    if isinstance(problem, BadScope):
        problem = Bad(str(problem))
    response = exception_handler(problem, context)
    if response is None:
        return None
    detail = getattr(problem, "detail", None)
    if isinstance(problem, Http404 | PermissionDenied):
        detail = str(problem)
    response.data = {
        "type": "about:blank",
        "title": _TITLES.get(response.status_code, "The request failed"),
        "status": response.status_code,
        "detail": detail if isinstance(detail, str) else str(detail),
    }
    response.content_type = "application/problem+json"
    return response
