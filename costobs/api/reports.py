"""What programs report beside calls: fine-tune runs, quality scores, business metrics, and events for the charts."""

import hashlib
import hmac
from typing import ClassVar

from django.conf import settings
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from costobs.access.authentication import MayReport, token
from costobs.api import renderers
from costobs.api.errors import Bad
from costobs.api.push import REPEATS, AnyBody, Push, read_body
from ingest import configure, inbox
from ingest import queries as ingest_queries

_WEBHOOK_BYTES = 1_000_000
# GitHub sends every event that is ticked, and a ping; these become marks.
_TOLD = ("deployment_status", "release")


class _Reports(Push):
    """Objects as JSON: one, a list, or one a line. They go to the source of this kind that has the token's name."""

    permission_classes = [MayReport]
    kind: ClassVar[str]
    is_report = True

    def source_id(self, request: Request) -> int:
        own = token(request).source_id
        if own is not None and ingest_queries.kind_of(source_id=own) == self.kind:
            return own
        name = token(request).name
        found = ingest_queries.source_named(kind=self.kind, name=name)
        return found or configure.create_source(kind=self.kind, name=name, now=timezone.now())


_JSON = {"application/json": OpenApiTypes.OBJECT}
_TAKEN = {202: OpenApiTypes.OBJECT}


class FineTuneRuns(_Reports):
    kind = "fine_tunes"

    @extend_schema(request=_JSON, parameters=[REPEATS], responses=_TAKEN)
    def post(self, request: Request) -> Response:
        """Takes fine-tune runs; a later report of the same external_id replaces the earlier one."""
        return self.accept(request)


class QualityScores(_Reports):
    kind = "quality_scores"

    @extend_schema(request=_JSON, parameters=[REPEATS], responses=_TAKEN)
    def post(self, request: Request) -> Response:
        """Takes scores of answers by model, trace and variant; a later score of the same score_id replaces the earlier one."""
        return self.accept(request)


class BusinessMetrics(_Reports):
    kind = "business_metrics"

    @extend_schema(request=_JSON, parameters=[REPEATS], responses=_TAKEN)
    def post(self, request: Request) -> Response:
        """Takes figures of a period; a later one of the same name, period and attributes replaces the earlier one."""
        return self.accept(request)


class Markers(_Reports):
    kind = "markers"

    @extend_schema(request=_JSON, parameters=[REPEATS], responses=_TAKEN)
    def post(self, request: Request) -> Response:
        """Takes deploys, releases and other events; a later one of the same marker_id replaces the earlier one."""
        return self.accept(request)


class MarkerWebhook(APIView):
    """The webhook of a forge: GitHub signs the body (X-Hub-Signature-256), GitLab sends its secret (X-Gitlab-Token)."""

    authentication_classes = []  # the signature is the proof
    permission_classes = [AllowAny]
    parser_classes = [AnyBody]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(request=_JSON, responses=_TAKEN)
    def post(self, request: Request, source_id: int) -> Response:
        """Takes one event whose signature fits the webhook_secret of this source."""
        body = read_body(request, min(_WEBHOOK_BYTES, settings.COSTOBS_INBOX_BYTES))
        secret = ingest_queries.webhook_secret(source_id=source_id, kind=Markers.kind)
        if not secret or not _is_signed(request, body, secret):
            raise Bad("the signature does not fit the webhook_secret of this source", 403)
        if request.headers.get("X-GitHub-Event", _TOLD[0]) not in _TOLD:
            return Response({"accepted": 0}, status=202)
        try:
            receipt = inbox.accept(
                source_id=source_id,
                body=body,
                encoding="",
                # What is signed, not an id beside it: an old event that somebody sends again would else undo a newer one.
                idempotency_key=hashlib.sha256(body).hexdigest(),
                limit=_WEBHOOK_BYTES,
                now=timezone.now(),
                is_report=True,
            )
        except inbox.BadBatch as problem:
            raise Bad(str(problem)) from problem
        return Response({"accepted": receipt.lines, "repeated": receipt.is_repeat}, status=202)


def _is_signed(request: Request, body: bytes, secret: str) -> bool:
    signed = request.headers.get("X-Hub-Signature-256", "")
    if signed:
        expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(signed.removeprefix("sha256=").encode(), expected.encode())
    return hmac.compare_digest(request.headers.get("X-Gitlab-Token", "").encode(), secret.encode())
