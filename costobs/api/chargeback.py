"""Chargeback for programs: the statement of the page as JSON, CSV and FOCUS CSV, with every digit."""

import hashlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import printing, queries
from costobs.access.authentication import MayRead
from costobs.api import focus, renderers, scope
from costobs.api.errors import Bad
from costobs.kernel import money
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope

FORMS = ("json", "csv", "focus")
COSTS = ("effective", "billed")
_PARAMETERS = [
    OpenApiParameter("month", str, OpenApiParameter.PATH, description="The calendar month as YYYY-MM."),
    OpenApiParameter("format", str, enum=list(FORMS), description="Default: json, or csv when Accept prefers it."),
    OpenApiParameter("cost", str, enum=list(COSTS), description="Which cost column. Default: effective."),
    OpenApiParameter("currency", str, description="ISO 4217 code."),
    OpenApiParameter("team", str, description="The statement of one team; empty for spend nobody owns."),
    OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of the answer that is held."),
]
_CSV = (
    "statement_id",
    "month",
    "state",
    "currency",
    "cost_column",
    "cost_centre",
    "team",
    *(f"{name}_cost" for name in printing.PARTS),
    "total_cost",
    *(f"{name}_cost" for name in printing.TIES),
    "printed_total_cost",
    "statement_sha256",
)


@dataclass(frozen=True, slots=True)
class _Asked:
    scope: SpendScope
    teams: tuple[str, ...] | None  # what the statement is narrowed to, for its id


class Chargeback(APIView):
    """The statement of one month."""

    permission_classes = [MayRead]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(
        parameters=_PARAMETERS,
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/csv"): OpenApiTypes.STR,
            304: None,
        },
    )
    def get(self, request: Request, month: str) -> HttpResponseBase:
        """Lines by cost centre and team, what ties them to the invoices, and a checksum; the same figures as the page."""
        form, asked = renderers.form(request, forms=FORMS), _read(request, month)
        if form == "focus":
            return _focus(request, asked)
        found = _narrowed(queries.statement(scope=asked.scope), asked)
        checksum = printing.checksum(found)
        headers = _headers(f"{checksum}-{form}")
        if _is_held(request, headers["ETag"]):
            return HttpResponse(status=304, headers=headers)
        if form == "csv":
            rows = _csv_rows(asked, found, checksum)
            return renderers.csv_stream(name=f"{_name(asked)}.csv", columns=_CSV, rows=rows, headers=headers)
        return Response(_document(asked, found, checksum), headers=headers)


def _read(request: Request, month: str) -> _Asked:
    try:
        days = parse_month(month)
    except (ValueError, OverflowError) as problem:
        raise Bad(f"expected a month as YYYY-MM, found {month!r}") from problem
    cost = request.query_params.get("cost", "effective")
    if cost not in COSTS:
        raise Bad(f"unknown cost {cost!r}; a statement is in one of: {', '.join(COSTS)}")
    visible = scope.viewer(request).teams
    asked = SpendScope(days, (), cost, request.query_params.get("currency", settings.COSTOBS_CURRENCY), visible)
    team = request.query_params.get("team")
    if team is None:
        return _Asked(asked, visible)
    return _Asked(asked.where("team", team), (team,))


def _narrowed(found: queries.Statement, asked: _Asked) -> queries.Statement:
    """Invoices are about all teams at once: a statement of some of them has no reconciliation."""
    return found if asked.teams is None else replace(found, reconciliation=())


def _headers(tag: str) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, Cookie"}


def _is_held(request: Request, etag: str) -> bool:
    held = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    return etag in held or "*" in held


def _name(asked: _Asked) -> str:
    return f"chargeback-{asked.scope.days.start:%Y-%m}-{asked.scope.cost}"


def _document(asked: _Asked, found: queries.Statement, checksum: str) -> dict[str, Any]:
    sheet = printing.printed(found)
    return {
        "id": printing.identity(found, teams=asked.teams),
        "sha256": checksum,
        "month": f"{found.month:%Y-%m}",
        "currency": found.currency,
        "cost": found.cost,
        "state": printing.state(found),
        "is_final": found.is_final,
        "lines": [
            {
                "id": f"{line.cost_centre}/{line.team}",
                "cost_centre": line.cost_centre,
                "team": line.team,
                **_figures(line),
                "printed": _printed(row),
            }
            for line, row in zip(found.lines, sheet.rows, strict=True)
        ],
        "total": {**_totals(found), "printed": _printed(sheet.total)},
        "reconciliation": [_reconciled(one) for one in found.reconciliation],
    }


def _figures(line: queries.StatementLine) -> dict[str, str]:
    figures = {**printing.exact_parts(line), "total": line.total_cost, **printing.exact_ties(line)}
    return {f"{name}_cost": money.text(amount) for name, amount in figures.items()}


def _totals(found: queries.Statement) -> dict[str, str]:
    sums: dict[str, list[Decimal]] = {name: [] for name in (*printing.PARTS, "total", *printing.TIES)}
    for line in found.lines:
        figures = {**printing.exact_parts(line), "total": line.total_cost, **printing.exact_ties(line)}
        for name, amount in figures.items():
            sums[name].append(amount)
    return {f"{name}_cost": money.text(money.total(amounts)) for name, amounts in sums.items()}


def _printed(row: printing.Printed) -> dict[str, str]:
    figures = {**row.parts, "total": row.total, **row.ties}
    return {f"{name}_cost": money.text(amount) for name, amount in figures.items()}


def _reconciled(one: queries.Reconciliation) -> dict[str, Any]:
    return {
        "invoice_issuer_name": one.invoice_issuer_name,
        "provider_name": one.provider_name,
        "invoices": sorted(one.invoices),
        "invoiced_cost": money.text(one.invoiced_cost),
        "in_books_cost": money.text(one.in_books_cost),
        "other_authority_cost": money.text(one.other_authority_cost),
        "difference": money.text(one.difference),
    }


def _csv_rows(asked: _Asked, found: queries.Statement, checksum: str) -> list[list[str]]:
    sheet = printing.printed(found)
    head = [
        printing.identity(found, teams=asked.teams),
        f"{found.month:%Y-%m}",
        printing.state(found),
        found.currency,
        found.cost,
    ]
    return [
        [*head, line.cost_centre, line.team, *_figures(line).values(), money.text(row.total), checksum]
        for line, row in zip(found.lines, sheet.rows, strict=True)
    ]


def _focus(request: Request, asked: _Asked) -> HttpResponseBase:
    rows = queries.focus_rows(scope=asked.scope)
    # A finer grain than the statement: a feature may change its owner while every line stays what it was.
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    headers = _headers(f"{digest.hexdigest()}-focus")
    if _is_held(request, headers["ETag"]):
        return HttpResponse(status=304, headers=headers)
    categories = queries.service_categories(scope=asked.scope)
    written = focus.rows(rows, currency=asked.scope.currency, categories=categories)
    name = f"{_name(asked)}-focus.csv"
    return renderers.csv_stream(name=name, columns=focus.COLUMNS, rows=written, headers=headers)
