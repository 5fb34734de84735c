"""Chargeback for programs: statements by month and by their lasting id, in every form they can be had in."""

import base64
import hashlib
from datetime import date
from typing import Any

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import issue, printing
from attribution.exports import KINDS, Document, Export
from costobs.access.authentication import MayRead
from costobs.api import renderers, scope
from costobs.api.errors import Bad
from costobs.kernel import money
from costobs.kernel.period import Days, month, parse_month
from costobs.kernel.scope import BadScope, SpendScope

FORMS = KINDS.names()
COSTS = issue.COLUMNS
_MOST_MONTHS = 36
_FORMAT = OpenApiParameter(
    "format", str, enum=FORMS, description="Which file. Default: json, or csv when Accept prefers it."
)
_HELD = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of the answer that is held."
)
_COST = OpenApiParameter("cost", str, enum=list(COSTS), description="Which cost column. Default: effective.")
_CURRENCY = OpenApiParameter("currency", str, description="ISO 4217 code. Default: the reporting currency.")
_PARAMETERS = [
    OpenApiParameter("month", str, OpenApiParameter.PATH, description="The calendar month as YYYY-MM."),
    _FORMAT,
    _COST,
    _CURRENCY,
    OpenApiParameter("cost_centre", str, description="The statement of one; empty for spend without a cost centre."),
    OpenApiParameter("team", str, description="The statement of one team; empty for spend nobody owns."),
    _HELD,
]
_ANSWERS: dict[Any, Any] = {
    (200, "application/json"): OpenApiTypes.OBJECT,
    (200, "text/csv"): OpenApiTypes.STR,
    (200, "application/pdf"): OpenApiTypes.BINARY,
    (200, "application/octet-stream"): OpenApiTypes.BINARY,
    304: None,
}
_LISTED = inline_serializer(
    "StatementList",
    {
        "statements": serializers.ListField(
            child=inline_serializer(
                "StatementEntry",
                {
                    "id": serializers.CharField(),
                    "url": serializers.CharField(),
                    "sha256": serializers.CharField(),
                    "month": serializers.CharField(),
                    "currency": serializers.CharField(),
                    "cost": serializers.CharField(),
                    "cost_centre": serializers.CharField(allow_null=True),
                    "kind": serializers.ChoiceField(["showback", "chargeback"]),
                    "state": serializers.CharField(),
                    "version": serializers.IntegerField(),
                    "total_cost": serializers.CharField(),
                    "charged_cost": serializers.CharField(),
                },
            )
        )
    },
)


class Chargeback(APIView):
    """The statement of one month."""

    permission_classes = [MayRead]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(parameters=_PARAMETERS, responses=_ANSWERS)
    def get(self, request: Request, month: str) -> HttpResponseBase:
        """Lines by cost centre and team, what ties them to the invoices, and a checksum; the same figures as the page."""
        export = KINDS[renderers.form(request, forms=FORMS)]()
        asked = _scope(request, _month(month))
        team, centre = request.query_params.get("team"), request.query_params.get("cost_centre")
        for name, value in (("team", team), ("cost_centre", centre)):
            if value is not None and "\x00" in value:
                raise Bad(f"a value of {name} holds a null character, which no name has")
        teams = asked.teams if team is None else (team,) if asked.teams is None or team in asked.teams else ()
        return _answer(request, issue.document(scope=asked, cost_centre=centre, teams=teams), asked, export)


class Statements(APIView):
    """Every statement there is."""

    permission_classes = [MayRead]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(
        operation_id="api_v1_statements_list",
        parameters=[
            OpenApiParameter("month", str, description="Only this month, as YYYY-MM."),
            OpenApiParameter(
                "months", int, description=f"How many months, the newest first; 12, at most {_MOST_MONTHS}."
            ),
            _COST,
            _CURRENCY,
        ],
        responses={200: _LISTED},
    )
    def get(self, request: Request) -> Response:
        """The whole statement and the one of each cost centre, by month, with ids and checksums."""
        found = [
            _entry(one)
            for start in _months(request)
            for one in issue.all_documents(scope=_scope(request, month(start)))
            if one.statement.lines
        ]
        return Response({"statements": found})


class Statement(APIView):
    """One statement by its id."""

    permission_classes = [MayRead]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "statement_id", str, OpenApiParameter.PATH, description="As 2026-10/USD/effective/4410/v1."
            ),
            _FORMAT,
            _HELD,
        ],
        responses={**_ANSWERS, 404: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, statement_id: str) -> HttpResponseBase:
        """The statement in force under this id. A version that was reopened is not found any more; the answer names what is."""
        export = KINDS[renderers.form(request, forms=FORMS)]()
        try:
            shown, asked = issue.by_id(issue.parse(statement_id), teams=scope.viewer(request).teams)
        except issue.NoStatement as problem:
            raise NotFound(str(problem)) from problem
        return _answer(request, shown, asked, export)


def _month(text: str) -> Days:
    try:
        return parse_month(text)
    except (ValueError, OverflowError) as problem:
        raise Bad(f"expected a month as YYYY-MM, found {text!r}") from problem


def _months(request: Request) -> list[date]:
    """The months asked for, the newest first."""
    if wanted := request.query_params.get("month"):
        return [_month(wanted).start]
    count = request.query_params.get("months", "12")
    if not (count.isascii() and count.isdigit()) or not 1 <= int(count) <= _MOST_MONTHS:
        raise Bad(f"expected months as a number from 1 to {_MOST_MONTHS}, found {count!r}")
    return issue.months()[::-1][: int(count)]


def _scope(request: Request, days: Days) -> SpendScope:
    cost = request.query_params.get("cost", "effective")
    if cost not in COSTS:
        raise Bad(f"unknown cost {cost!r}; a statement is in one of: {', '.join(COSTS)}")
    currency = request.query_params.get("currency", settings.COSTOBS_CURRENCY)
    try:
        return SpendScope(days, (), cost, currency, scope.viewer(request).teams)
    except BadScope as problem:
        raise Bad(str(problem)) from problem


def _answer(request: Request, shown: Document, asked: SpendScope, export: Export) -> HttpResponseBase:
    full = issue.for_export(shown, export, scope=asked)
    headers = {
        "ETag": f'"{export.tag(full)}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization, Cookie",
        "X-Costobs-Statement": full.id,
        "X-Costobs-Statement-SHA256": full.sha256,
    }
    if _is_held(request, headers["ETag"]):
        return HttpResponse(status=304, headers=headers)
    if export.kind == "json":
        return HttpResponse(b"".join(export.write(full)), content_type=export.media_type, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{export.file_name(full)}"'
    if export.media_type.startswith("text/csv"):
        return StreamingHttpResponse(export.write(full), content_type=export.media_type, headers=headers)
    content = b"".join(export.write(full))
    headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
    return HttpResponse(content, content_type=export.media_type, headers=headers)


def _is_held(request: Request, etag: str) -> bool:
    held = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    return etag in held or "*" in held


def _entry(one: Document) -> dict[str, Any]:
    found = one.statement
    return {
        "id": one.id,
        "url": f"/api/v1/statements/{one.id}",
        "sha256": one.sha256,
        "month": f"{found.month:%Y-%m}",
        "currency": found.currency,
        "cost": found.cost,
        "cost_centre": one.cost_centre,
        "kind": printing.kind(found),
        "state": found.state,
        "version": found.version,
        "total_cost": money.text(found.total_cost),
        "charged_cost": money.text(found.charged_cost),
    }
