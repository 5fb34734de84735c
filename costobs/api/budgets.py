"""Budgets: where they stand, and for those who may, what they are."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import budget_cells, budget_files
from alerts import budgets as budget_steps
from alerts import queries as alert_queries
from alerts.budgets import RungSpec
from alerts.queries import BudgetDetail, BudgetLine, BudgetTerms
from attribution.exports import guarded
from costobs.access.authentication import MayReadOrManageBudgets
from costobs.api import renderers, scope
from costobs.api.errors import Bad
from costobs.kernel import money

_JSON = {"application/json": OpenApiTypes.OBJECT}
_FORMAT = OpenApiParameter(
    "format", str, enum=["json", "csv"], description="Default: json. csv is what the import reads."
)
_PLAIN = ("name", "currency", "period", "owner_email")
_STATE = OpenApiParameter("state", str, description="Only budgets in this state.")
_TERMS = tuple(one.name for one in fields(BudgetTerms))
_BESIDE = tuple(one.name for one in fields(RungSpec))


class Budgets(APIView):
    """The budgets the viewer may see."""

    permission_classes = [MayReadOrManageBudgets]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(operation_id="budgets_list", parameters=[_FORMAT, _STATE], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response | HttpResponse:
        """Every budget in its current period, the worst first; money is a string of exact digits."""
        now = timezone.now()
        lines = alert_queries.budgets(now=now, teams=scope.viewer(request).teams)
        state = request.query_params.get("state", "")
        shown = [line for line in lines if not state or line.state == state]
        if renderers.form(request, forms=("json", "csv")) == "csv":
            return _csv(shown)
        return Response({"budgets": [_line(line) for line in shown]})

    @extend_schema(request=_JSON, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Makes a budget. Money and percentages are strings or whole numbers; what is left out has its default."""
        given = _given(request.data, BudgetTerms())
        missing = [name for name in ("name", "amount") if name not in given]
        if missing:
            raise Bad(f"expected {missing[0]}, found nothing")
        defaults: dict[str, Any] = {"scope": {}, "currency": "USD", "period": "month", "rungs": ()}
        now = timezone.now()
        try:
            made = budget_steps.create(**{**defaults, **given}, by=scope.viewer(request).name, now=now)
        except budget_steps.Invalid as problem:
            raise Bad(str(problem)) from problem
        return Response(_detail(alert_queries.budget(id=made, now=now, teams=None)), status=201)


class Budget(APIView):
    """One budget."""

    permission_classes = [MayReadOrManageBudgets]
    content_negotiation_class = renderers.JsonAlways

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, budget_id: int) -> Response:
        """Where it stands, its terms and ladder, the parts of its true cost, its periods, and the budgets around it."""
        return Response(_detail(_found(request, budget_id)))

    @extend_schema(request=_JSON, responses=OpenApiTypes.OBJECT)
    def patch(self, request: Request, budget_id: int) -> Response:
        """Changes what is given; a ladder is given as a whole."""
        found = _found(request, budget_id)
        given = _given(request.data, found.line.terms)
        try:
            budget_steps.update(budget_id=budget_id, **given, by=scope.viewer(request).name, now=timezone.now())
        except budget_steps.Invalid as problem:
            raise Bad(str(problem)) from problem
        return Response(_detail(_found(request, budget_id)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, budget_id: int) -> Response:
        """Deletes it with its history; refused while an action of it is open."""
        _found(request, budget_id)
        try:
            budget_steps.delete(budget_id=budget_id, by=scope.viewer(request).name, now=timezone.now())
        except budget_steps.Invalid as problem:
            raise Bad(str(problem), 409) from problem
        return Response(status=204)


def _found(request: Request, budget_id: int) -> BudgetDetail:
    try:
        return alert_queries.budget(id=budget_id, now=timezone.now(), teams=scope.viewer(request).teams)
    except alert_queries.NotFound as problem:
        raise NotFound(str(problem)) from problem


def _given(data: Any, terms: BudgetTerms) -> dict[str, Any]:  # Any: what a program sent
    """The arguments of the step. Raises Bad with the first field that cannot be read."""
    if not isinstance(data, dict):
        raise Bad("expected a JSON object")
    unknown = sorted(set(data) - {*_PLAIN, "amount", "scope", "terms", "ladder"})
    if unknown:
        raise Bad(f"unknown field {unknown[0]!r}")
    given: dict[str, Any] = {name: _read(name, _text, data[name]) for name in _PLAIN if name in data}
    for name, target, read in (
        ("amount", "amount", _decimal),
        ("scope", "scope", _scope),
        ("ladder", "rungs", _ladder),
    ):
        if name in data:
            given[target] = _read(name, read, data[name])
    if "terms" in data:
        given["terms"] = _terms(data["terms"], terms)
    return given


def _terms(found: Any, terms: BudgetTerms) -> BudgetTerms:  # as above
    if not isinstance(found, dict) or set(found) - set(_TERMS):
        raise Bad(f"terms: expected an object of {', '.join(_TERMS)}")
    readers: dict[str, Callable[[Any], Any]] = {
        "rolling_days": _whole, "parent_id": _whole, "default_max_tokens": _whole,
        "starts_on": _day, "ends_on": _day,
        "rollover_cap_percent": _decimal, "borrow_percent": _decimal,
        "is_prorated": _bool, "is_hard": _bool, "aborts_running": _bool,
        "protected": _protected,
    }  # fmt: skip
    optional = {
        "rolling_days",
        "parent_id",
        "default_max_tokens",
        "starts_on",
        "ends_on",
        "rollover_cap_percent",
        "borrow_percent",
    }
    values: dict[str, Any] = {
        name: None if value is None and name in optional else _read(f"terms.{name}", readers.get(name, _text), value)
        for name, value in found.items()
    }
    return replace(terms, **values)


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:  # as above
    try:
        return read(value)
    except (ValueError, TypeError) as problem:
        raise Bad(f"{name}: {problem}") from problem


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {value!r}")
    return value


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'expected a number as text such as "1200.50", found {value!r}')
    return budget_cells.decimal(str(value))


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, found {value!r}")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")
    return value


def _day(value: Any) -> date:
    found = budget_cells.day(_text(value))
    if found is None:
        raise ValueError("expected a day as YYYY-MM-DD, found nothing")
    return found


def _scope(value: Any) -> dict[str, list[str]]:
    if not isinstance(value, dict) or not all(
        isinstance(values, list) and all(isinstance(one, str) for one in values) for values in value.values()
    ):
        raise ValueError('expected {"dimension": ["value", …]}')
    return {str(name): list(values) for name, values in value.items()}


def _protected(value: Any) -> tuple[dict[str, list[str]], ...]:
    if not isinstance(value, list):
        raise ValueError("expected a list of scopes")
    return tuple(_scope(one) for one in value)


def _ladder(value: Any) -> list[RungSpec]:
    if not isinstance(value, list):
        raise ValueError("expected a list of steps")
    found = []
    for one in value:
        if not isinstance(one, dict) or not {"percent", "action"} <= set(one) or set(one) - set(_BESIDE):
            raise ValueError(f"expected steps of {', '.join(_BESIDE)} with at least percent and action")
        if not isinstance(one.get("config", {}), dict):
            raise ValueError("expected the config of a step as an object")
        hours = one.get("expires_after_hours")
        if hours is not None:
            _whole(hours)
        found.append(RungSpec(**{**one, "percent": _decimal(one["percent"]), "action": _text(one["action"])}))
    return found


def _csv(lines: Sequence[BudgetLine]) -> HttpResponse:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(budget_files.COLUMNS)
    rows = budget_files.rows(ids=[line.id for line in lines])
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")


def _line(line: BudgetLine) -> dict[str, Any]:
    amounts = {
        name: _amount(getattr(line, name))
        for name in (
            "spend_cost", "estimated_cost", "unpriced_cost", "converted_cost", "base_amount", "carried_cost", "borrowed_cost",
            "forecast_cost", "forecast_low_cost", "forecast_high_cost", "forecast_error_percent", "variance_cost",
            "used_percent", "elapsed_percent",
        )
    }  # fmt: skip
    return {
        "id": line.id,
        "name": line.name,
        "scope": {name: list(values) for name, values in line.scope.items()},
        "owner_email": line.owner_email,
        "amount": money.text(line.own_amount),
        "currency": line.currency,
        "period": line.period,
        "terms": {name: _plain(getattr(line.terms, name)) for name in _TERMS},
        "now": {
            "from": line.days.start.isoformat(),
            "to": line.days.last.isoformat(),
            "starts_at": line.starts_at.isoformat(),
            "ends_at": line.ends_at.isoformat(),
            "amount": money.text(line.amount),
            **amounts,
            "forecast_method": line.forecast_method,
            "exchange_rates": line.rates,
            "unconverted": list(line.unconverted),
            "state": line.state,
            "is_unbalanced": line.is_unbalanced,
            "late_sources": line.late,
            "evaluated_at": None if line.evaluated_at is None else line.evaluated_at.isoformat(),
            "complete_through": None if line.complete_through is None else line.complete_through.isoformat(),
            "paused_until": None if line.paused_until is None else line.paused_until.isoformat(),
        },
    }


def _detail(found: BudgetDetail) -> dict[str, Any]:
    family = found.family
    return {
        **_line(found.line),
        "ladder": [
            {
                "trigger": rung.trigger,
                "percent": money.text(rung.percent),
                "action": rung.action,
                "config": dict(rung.config),
                "approval": rung.approval,
                "expires_after_hours": rung.expires_after_hours,
                "state": rung.state,
            }
            for rung in found.rungs
        ],
        "parts": [{"part": part.part, "cost": money.text(part.cost)} for part in found.blend],
        "periods": [
            {
                "from": period.days.start.isoformat(),
                "to": period.days.last.isoformat(),
                "amount": money.text(period.amount),
                "carried_cost": money.text(period.carried_cost),
                "borrowed_cost": money.text(period.borrowed_cost),
                "actual_cost": money.text(period.actual_cost),
            }
            for period in found.periods
        ],
        "above": [{"id": one.id, "name": one.name} for one in family.ancestors],
        "below": [
            {"id": one.id, "name": one.name, "amount": money.text(one.base_amount), "currency": one.currency}
            for one in family.children
        ],
        "allocated_cost": _amount(family.allocated_cost),
        "unallocated_cost": _amount(family.unallocated_cost),
        "overlaps": [
            {"id": one.id, "name": one.name, "relation": one.relation, "shared_cost": _amount(one.shared_cost)}
            for one in found.overlaps
            if one.may_see
        ],
    }


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else money.text(amount)


def _plain(value: Any) -> Any:  # a term as JSON keeps it
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [dict(one) if isinstance(one, Mapping) else one for one in value]
    return value
