"""What an API server refused, in words that say what to do."""

import json
from typing import Any

_MOST = 200


def explained(problem: Any, *, act: str, namespace: str, name: str) -> tuple[int, str]:
    """The status of an ApiException, and what it means. The text holds no header, so no token."""
    status = int(problem.status or 0)
    verb, _, what = act.partition(" ")
    resource, _, group = what.partition(".")
    words = {
        401: "the API server does not know the token (401): it has expired or is wrong; enter a new one",
        403: f"the token may not {verb} {resource} in namespace {namespace} (403): give its role `{verb}` on {resource}"
        f" of the API group {group or 'apps'!r}",
        404: f"there is no {resource.partition('/')[0].rstrip('s')} {namespace}/{name} (404); correct namespace and name",
    }.get(status)
    if words is None:
        words = f"the API server answered {act} with {status or 'nothing'}{_said(problem)}"
    return status, words


def _said(problem: Any) -> str:
    """The message of the server's own Status object."""
    try:
        message = json.loads(problem.body)["message"]
    except (TypeError, ValueError, KeyError):
        return ""
    return f": {str(message)[:_MOST]}"
