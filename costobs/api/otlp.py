"""OTLP over HTTP: traces are acknowledged once what counts of them is durable, in the words of the protocol."""

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from rest_framework.request import Request
from rest_framework.response import Response

from costobs.access.authentication import MayReport, token
from costobs.api.errors import Bad
from costobs.api.push import Push, read_body
from ingest import configure, inbox, load
from ingest import queries as ingest_queries
from ingest.sources.formats.otlp import otlp_spans
from ingest.sources.otlp import Otlp

PROTOBUF, JSON = "application/x-protobuf", "application/json"
# Lines of JSON are longer than the protobuf they were made of, by this at most.
_SWELLING = 4
# google.rpc.Code of an HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 413: 8, 415: 3, 429: 8, 503: 14}


@extend_schema(exclude=True)  # the protocol is described elsewhere: opentelemetry.io/docs/specs/otlp
class Traces(Push):
    """POST /v1/traces below the endpoint that an exporter is given."""

    permission_classes = [MayReport]

    def post(self, request: Request) -> HttpResponse:
        """Takes an ExportTraceServiceRequest; 200 means that its spans are safe."""
        media_type = _media_type(request)
        if media_type not in {PROTOBUF, JSON}:
            raise Bad(f"expected Content-Type {PROTOBUF} or {JSON}, found {media_type or 'none'}", 415)
        source_id = self.source_id(request)
        kind = load.connect(source_id)
        assert isinstance(kind, Otlp)  # source_id answers with no other
        taken = _taken(request, kind, media_type)
        if taken.lines:
            _keep(source_id, b"\n".join(taken.lines))
        answer = ExportTraceServiceResponse()
        if taken.unidentified:
            answer.partial_success.rejected_spans = taken.unidentified
            answer.partial_success.error_message = "expected trace ids of 16 bytes and span ids of 8, not all zero"
        return _message(answer, media_type, 200)

    def source_id(self, request: Request) -> int:
        """The token's own source when it takes traces, else one of the token's name."""
        own = token(request)
        if own.source_id is not None and ingest_queries.kind_of(source_id=own.source_id) == Otlp.kind:
            return own.source_id
        found = ingest_queries.source_named(kind=Otlp.kind, name=own.name)
        return found or configure.create_source(kind=Otlp.kind, name=own.name, now=timezone.now())

    def handle_exception(self, exc: Exception) -> Response:
        """Errors as google.rpc.Status, in the content type of the request."""
        if isinstance(exc, DatabaseError):
            # An exporter sends again after 503 and gives up after 500 (OTLP, "Retryable Response Codes").
            exc = Bad("the spans could not be stored; send them again", 503)
        problem = super().handle_exception(exc)
        status = Status(code=_CODES.get(problem.status_code, 2), message=problem.data["detail"])
        answer = _message(status, _media_type(self.request), problem.status_code)
        for name in ("WWW-Authenticate", "Retry-After"):
            if name in problem:
                answer[name] = problem[name]
        return answer  # type: ignore[return-value]  # the framework finishes either


def _media_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _taken(request: Request, kind: Otlp, media_type: str) -> otlp_spans.Taken:
    limit = settings.COSTOBS_INBOX_BYTES
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    try:
        return kind.take(inbox.unpack(read_body(request, limit), encoding, limit), media_type=media_type)
    except inbox.TooLarge as problem:
        raise Bad(str(problem), 413) from problem
    except (inbox.BadBatch, otlp_spans.BadRequest) as problem:
        raise Bad(str(problem)) from problem


def _keep(source_id: int, lines: bytes) -> None:
    limit = settings.COSTOBS_INBOX_BYTES * _SWELLING
    try:
        inbox.accept(source_id=source_id, body=lines, encoding="", idempotency_key="", limit=limit, now=timezone.now())
    except inbox.TooLarge as problem:
        raise Bad(str(problem), 413) from problem


def _message(message: Message, media_type: str, status: int) -> HttpResponse:
    if media_type == JSON:
        return HttpResponse(json_format.MessageToJson(message, indent=None), content_type=JSON, status=status)
    return HttpResponse(message.SerializeToString(), content_type=PROTOBUF, status=status)
