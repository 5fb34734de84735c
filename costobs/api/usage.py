"""Pushed rows: acknowledged with 202 once they are durable, loaded within seconds."""

from django.conf import settings
from django.http import UnreadablePostError
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from costobs.access.authentication import MayIngest, TokenAuthentication, token
from costobs.api import renderers
from costobs.api.errors import Bad
from ingest import configure, inbox
from ingest import queries as ingest_queries

_DOUBLE = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeats of a key are stored once."
)


_KEY_LENGTH = 200


class _AnyBody(BaseParser):
    """Any media type; the body stays bytes, because it may be gzip and the inbox keeps it as it came."""

    media_type = "*/*"


class _Push(APIView):
    authentication_classes = [TokenAuthentication]
    permission_classes = [MayIngest]
    parser_classes = [_AnyBody]
    content_negotiation_class = renderers.JsonAlways

    def source_id(self, request: Request) -> int:
        """The source the rows go to."""
        raise NotImplementedError(type(self).__name__)

    def accept(self, request: Request) -> Response:
        """Commits the body and acknowledges it."""
        limit = settings.COSTOBS_INBOX_BYTES
        try:
            receipt = inbox.accept(
                source_id=self.source_id(request),
                body=_body(request, limit),
                encoding=request.headers.get("Content-Encoding", "").strip().lower(),
                idempotency_key=_key(request),
                limit=limit,
                now=timezone.now(),
            )
        except inbox.TooLarge as problem:
            raise Bad(str(problem), 413) from problem
        except inbox.BadBatch as problem:
            raise Bad(str(problem)) from problem
        return Response(
            {"accepted": receipt.lines, "batch_id": receipt.batch_id, "repeated": receipt.is_repeat}, status=202
        )


def _body(request: Request, limit: int) -> bytes:
    # Read here, not through request.body: its limit is meant for forms, and ours is known before the bytes are kept.
    try:
        body: bytes = request._request.read(limit + 1)
    except UnreadablePostError as problem:
        raise Bad("the body ended before all of it had arrived; send it again") from problem
    if len(body) > limit:
        raise Bad(f"expected at most {limit} bytes; send smaller batches", 413)
    return body


def _key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > _KEY_LENGTH or not key.isprintable():
        raise Bad(f"expected an Idempotency-Key of at most {_KEY_LENGTH} printable characters, found {len(key)}")
    return key


class UsageEvents(_Push):
    """NDJSON of LLM calls, one a line."""

    @extend_schema(
        request={"application/x-ndjson": OpenApiTypes.BINARY},
        parameters=[_DOUBLE],
        responses={202: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request) -> Response:
        """Takes a batch of usage events, gzip or plain; 202 means they are safe."""
        return self.accept(request)

    def source_id(self, request: Request) -> int:
        source_id = token(request).source_id
        if source_id is None:
            raise Bad("this token belongs to no source; make one with: costobs token create NAME --grant ingest")
        return source_id


class FineTuneRuns(_Push):
    """Fine-tune runs as JSON, one object or one a line."""

    @extend_schema(
        request={"application/json": OpenApiTypes.OBJECT}, parameters=[_DOUBLE], responses={202: OpenApiTypes.OBJECT}
    )
    def post(self, request: Request) -> Response:
        """Takes fine-tune runs; a later report of the same external_id replaces the earlier one."""
        return self.accept(request)

    def source_id(self, request: Request) -> int:
        name = token(request).name
        found = ingest_queries.source_named(kind="fine_tunes", name=name)
        return found or configure.create_source(kind="fine_tunes", name=name, now=timezone.now())
