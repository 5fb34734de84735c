"""How rows are pushed: acknowledged with 202 once they are durable, loaded within seconds."""

from typing import ClassVar

from django.conf import settings
from django.http import UnreadablePostError
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from costobs.access.authentication import MayIngest, TokenAuthentication
from costobs.api import renderers
from costobs.api.errors import Bad
from ingest import inbox

REPEATS = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeats of a key are stored once."
)


_KEY_LENGTH = 200


class AnyBody(BaseParser):
    """Any media type; the body stays bytes, because it may be gzip and the inbox keeps it as it came."""

    media_type = "*/*"


class Push(APIView):
    """An endpoint that commits the body to the inbox of one source."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [MayIngest]
    parser_classes = [AnyBody]
    content_negotiation_class = renderers.JsonAlways
    # Whether the last report counts; a body may then be one JSON document rather than an object on each line.
    is_report: ClassVar[bool] = False

    def source_id(self, request: Request) -> int:
        """The source the rows go to."""
        raise NotImplementedError(type(self).__name__)

    def accept(self, request: Request) -> Response:
        """Commits the body and acknowledges it."""
        limit = settings.COSTOBS_INBOX_BYTES
        try:
            receipt = inbox.accept(
                source_id=self.source_id(request),
                body=read_body(request, limit),
                encoding=request.headers.get("Content-Encoding", "").strip().lower(),
                idempotency_key=_key(request),
                limit=limit,
                now=timezone.now(),
                is_report=self.is_report,
            )
        except inbox.TooLarge as problem:
            raise Bad(str(problem), 413) from problem
        except inbox.BadBatch as problem:
            raise Bad(str(problem)) from problem
        return Response(
            {"accepted": receipt.lines, "batch_id": receipt.batch_id, "repeated": receipt.is_repeat}, status=202
        )


def read_body(request: Request, limit: int) -> bytes:
    """The bytes of a request, at most `limit` of them. Raises Bad."""
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
