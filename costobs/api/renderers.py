"""Which form an answer takes."""

from collections.abc import Iterable, Sequence

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from costobs.api.errors import Bad


class JsonAlways(DefaultContentNegotiation):
    """Answers and errors are JSON whatever `format` and `Accept` say; a view that has other forms reads them itself."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return next(iter(renderers)), "application/json"


def form(request: Request, *, forms: Sequence[str]) -> str:
    """The form asked for: `format`, else CSV when `Accept` prefers it, else JSON. Raises Bad."""
    asked = request.query_params.get("format", "")
    if asked:
        if asked not in forms:
            raise Bad(f"expected format as one of {', '.join(forms)}, found {asked!r}")
        return asked
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")]
    known = {"text/csv": "csv", "application/json": "json", "application/*": "json", "*/*": "json"}
    return next((known[part] for part in accepted if part in known), "json")
