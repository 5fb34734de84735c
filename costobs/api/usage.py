"""Calls of models, pushed one a line."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from costobs.access.authentication import token
from costobs.api.errors import Bad
from costobs.api.push import REPEATS, Push
from ingest import queries as ingest_queries

# Others have an address of their own: their rows are not events.
_KINDS = frozenset({"usage_log", "gate"})


class UsageEvents(Push):
    """NDJSON of LLM calls, one a line."""

    @extend_schema(
        request={"application/x-ndjson": OpenApiTypes.BINARY},
        parameters=[REPEATS],
        responses={202: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request) -> Response:
        """Takes a batch of usage events, gzip or plain; 202 means they are safe."""
        return self.accept(request)

    def source_id(self, request: Request) -> int:
        source_id = token(request).source_id
        if source_id is None:
            raise Bad("this token belongs to no source; make one with: costobs token create NAME --grant ingest")
        kind = ingest_queries.kind_of(source_id=source_id)
        if kind not in _KINDS:
            raise Bad(
                f"this token's source is of the kind {kind or 'none'}, which takes no usage events at this address"
            )
        return source_id
