"""Pushed rows: acknowledged with 202 once they are durable, loaded within seconds."""

from django.conf import settings
from django.http import RawPostDataException
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from costobs.access.authentication import MayIngest, TokenAuthentication
from costobs.api.errors import Bad
from ingest import configure, inbox
from ingest import queries as ingest_queries

_DOUBLE = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeats of a key are stored once."
)


class _AnyBody(BaseParser):
    """The body stays bytes: it may be gzip, and the inbox keeps it as it came."""

    media_type = "*/*"

    def parse(self, stream: object, media_type: str | None = None, parser_context: object = None) -> bytes:
        raise Bad("the body is read as bytes")


class _JsonAlways(BaseContentNegotiation):
    def select_parser(self, request: Request, parsers: list[BaseParser]) -> BaseParser:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: list[object], format_suffix: str | None = None
    ) -> tuple[object, str]:
        return renderers[0], "application/json"


class _Push(APIView):
    authentication_classes = [TokenAuthentication]
    permission_classes = [MayIngest]
    parser_classes = [_AnyBody]
    content_negotiation_class = _JsonAlways

    def source_id(self, request: Request) -> int:
        """The source the rows go to."""
        raise NotImplementedError(type(self).__name__)

    def accept(self, request: Request) -> Response:
        """Commits the body and acknowledges it."""
        try:
            body = request._request.body
        except RawPostDataException as problem:
            raise Bad("the body could not be read; send it in one piece") from problem
        try:
            receipt = inbox.accept(
                source_id=self.source_id(request),
                body=body,
                encoding=request.headers.get("Content-Encoding", ""),
                idempotency_key=request.headers.get("Idempotency-Key", "")[:200],
                limit=settings.COSTOBS_INBOX_BYTES,
                now=timezone.now(),
            )
        except inbox.BadBatch as problem:
            raise Bad(str(problem)) from problem
        return Response(
            {"accepted": receipt.lines, "batch_id": receipt.batch_id, "repeated": receipt.is_repeat}, status=202
        )


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
        if request.auth.source_id is None:
            raise Bad("this token belongs to no source; make one with: costobs token create NAME --grant ingest")
        return int(request.auth.source_id)


class FineTuneRuns(_Push):
    """Fine-tune runs as JSON, one object or one a line."""

    @extend_schema(
        request={"application/json": OpenApiTypes.OBJECT}, parameters=[_DOUBLE], responses={202: OpenApiTypes.OBJECT}
    )
    def post(self, request: Request) -> Response:
        """Takes fine-tune runs; a later report of the same external_id replaces the earlier one."""
        return self.accept(request)

    def source_id(self, request: Request) -> int:
        name = request.auth.name
        found = ingest_queries.source_named(kind="fine_tunes", name=name)
        return found or configure.create_source(kind="fine_tunes", name=name, now=timezone.now())
