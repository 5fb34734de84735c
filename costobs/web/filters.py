"""From a request to a scope: the query string is the whole state of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils import timezone

from attribution import queries
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months, month
from costobs.kernel.scope import BadScope, Filter, SpendScope
from costobs.web.scope_view import Chip, Choice, Freshness, ScopeBar, SourceFreshness
from ingest import queries as ingest_queries

LABELS = {
    "provider_name": "Provider",
    "sub_account": "Account",
    "service_name": "Service",
    "model": "Model",
    "deployment": "Deployment",
    "team": "Team",
    "feature": "Feature",
    "cost_centre": "Cost centre",
    "environment": "Environment",
    "key": "Key",
    "region": "Region",
    "charge_category": "Charge category",
    "cost_kind": "Cost kind",
    "purchase_option": "Bought as",
    "share_kind": "Share",
    "basis": "Basis",
    "source": "Source",
    "invoice_issuer_name": "Invoice issuer",
}
GROUPS = (
    "model",
    "team",
    "feature",
    "provider_name",
    "service_name",
    "cost_kind",
    "purchase_option",
    "cost_centre",
    "environment",
    "key",
    "share_kind",
)
BASES = {"effective": "Effective cost", "billed": "Billed cost", "list": "List cost", "contracted": "Contracted cost"}
PRESETS = {
    "mtd": "Month to date",
    "last_month": "Last month",
    "7d": "Last 7 days",
    "28d": "Last 28 days",
    "90d": "Last 90 days",
    "qtd": "Quarter to date",
    "ytd": "Year to date",
}
COMPARES = {"prev": "Previous period", "month": "Same days last month", "none": "No comparison"}
OPS = {"is": ":", "is_not": "!:", "contains": "~:"}
_FIRST, _LAST, _LONGEST = date(2000, 1, 1), date(2100, 1, 1), 1100
_WORDS = {"is": "is", "is_not": "is not", "contains": "contains"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page was asked: its scope, what it is compared with, how it is grouped, and when and by whom."""

    scope: SpendScope
    compare: SpendScope | None
    compare_label: str
    group: str
    viewer: scopes.Viewer
    now: datetime
    bar: ScopeBar
    query: str

    @property
    def complete(self) -> SpendScope:
        """The complete days of the scope: what comparisons use."""
        return self.scope.during(self.scope.days.until(self.now.date()))


def read(request: HttpRequest, *, group: str = "model", groups: Sequence[str] = GROUPS) -> Asked:
    """The scope in the query string; what is missing gets its default, what is wrong is a BadScope that says so."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    preset, days = _days(request.GET, now)
    filters = tuple(Filter.parse(text) for text in request.GET.getlist("f"))
    grouped = request.GET.get("group", group)
    if grouped not in LABELS:
        raise BadScope(f"unknown group {grouped!r}; known: {', '.join(LABELS)}")
    scope = SpendScope(days, filters, request.GET.get("basis", "effective"), settings.COSTOBS_CURRENCY, viewer.teams)
    compare_kind = request.GET.get("cmp", "prev")
    before = _before(days.until(now.date()), compare_kind)
    compare = scope.during(before) if before is not None and len(before) else None
    label = f"vs {fmt.period(before.start, before.end)}" if compare and before else ""
    bar = _bar(request, scope, preset, compare_kind, label, grouped, groups, now)
    return Asked(scope, compare, label, grouped, viewer, now, bar, request.GET.urlencode())


def added_filter(request: HttpRequest) -> HttpResponse | None:
    """A redirect to the clean address when the filter popover was sent, else None."""
    if "fdim" not in request.GET:
        return None
    op = {"is": "is", "not": "is_not", "contains": "contains"}.get(request.GET.get("fop", "is"), "is")
    query = request.GET.copy()
    for name in ("fdim", "fop", "fvalue"):
        query.pop(name, None)
    if request.GET.get("fvalue", "").strip():
        query.appendlist("f", f"{request.GET['fdim']}{OPS[op]}{request.GET['fvalue'].strip()}")
    return HttpResponseRedirect(f"{request.path}?{query.urlencode()}")


def by(dimension: str) -> str:
    """The label after "by" in a sentence."""
    return "how it was bought" if dimension == "purchase_option" else LABELS[dimension].lower()


def url(request: HttpRequest, *, path: str = "", drop: Sequence[str] = (), **changes: Any) -> str:
    """The address of this page (or `path`) with some parameters changed; a list repeats a parameter."""
    query = request.GET.copy()
    for name in drop:
        query.pop(name, None)
    for name, value in changes.items():
        query.setlist(name, list(value) if isinstance(value, list | tuple) else [str(value)])
    return f"{path or request.path}?{query.urlencode()}"


def drill_url(request: HttpRequest, *, path: str, dimension: str, value: str, group: str = "") -> str:
    """`path` in the same scope, narrowed to one value, and grouped by the next dimension when given."""
    filters = [*request.GET.getlist("f"), f"{dimension}:{value}"]
    return url(request, path=path, f=filters, **({"group": group} if group else {}))


def freshness(now: datetime) -> Freshness:
    """The badge of the scope bar."""
    found = ingest_queries.freshness(now=now)
    rows = [
        SourceFreshness(
            name=line.name,
            state=line.status,
            complete_through=fmt.moment(line.complete_through) if line.complete_through else "no data yet",
            expected_lag=fmt.duration(timedelta(seconds=line.expected_lag_seconds)),
            last_sync=fmt.moment(line.last_load_at) if line.last_load_at else fmt.NOT_APPLICABLE,
        )
        for line in found.sources
    ]
    if found.complete_through is None:
        return Freshness("No complete data yet", "unknown", rows)
    text = f"Complete to {fmt.moment(found.complete_through)}"
    if found.late:
        failed = any(line.status == "failed" for line in found.late)
        text = f"{text} · {len(found.late)} of {len(found.sources)} sources late"
        return Freshness(text, "failed" if failed else "late", rows)
    return Freshness(text, "on_time", rows)


def _days(query: QueryDict, now: datetime) -> tuple[str, Days]:
    today = now.date()
    preset = query.get("preset") or ("custom" if "from" in query else "mtd")
    tomorrow = today + timedelta(days=1)
    match preset:
        case "custom":
            return preset, _custom(query)
        case "last_month":
            return preset, month(add_months(today, -1))
        case "7d" | "28d" | "90d":
            return preset, Days(tomorrow - timedelta(days=int(preset[:-1])), tomorrow)
        case "qtd":
            return preset, Days(date(today.year, 3 * ((today.month - 1) // 3) + 1, 1), tomorrow)
        case "ytd":
            return preset, Days(date(today.year, 1, 1), tomorrow)
        case "mtd":
            return preset, Days(today.replace(day=1), tomorrow)
    raise BadScope(f"unknown preset {preset!r}; known: custom, {', '.join(PRESETS)}")


def _custom(query: QueryDict) -> Days:
    try:
        start = date.fromisoformat(query.get("from", ""))
        last = date.fromisoformat(query.get("to", "") or query.get("from", ""))
    except ValueError as problem:
        raise BadScope(f"expected from and to as YYYY-MM-DD: {problem}") from problem
    if not _FIRST <= start <= last <= _LAST or (last - start).days >= _LONGEST:
        raise BadScope(f"expected from before to, between {_FIRST} and {_LAST}, and at most {_LONGEST} days")
    return Days(start, last + timedelta(days=1))


def _before(days: Days, kind: str) -> Days | None:
    if kind not in COMPARES:
        raise BadScope(f"unknown comparison {kind!r}; known: {', '.join(COMPARES)}")
    if kind == "none":
        return None
    if kind == "month" or (kind == "prev" and days.start.day == 1 and len(days) <= 31 and len(days)):
        start = add_months(days.start, -1) + timedelta(days=days.start.day - 1)
        return Days(start, min(start + timedelta(days=len(days)), days.start))
    return days.before()


def _bar(
    request: HttpRequest,
    scope: SpendScope,
    preset: str,
    compare_kind: str,
    compare_label: str,
    group: str,
    groups: Sequence[str],
    now: datetime,
) -> ScopeBar:
    days = scope.days
    earlier, later = days.before(), Days(days.end, days.end + timedelta(days=len(days)))
    return ScopeBar(
        start=days.start,
        last=days.last,
        label=fmt.period(days.start, days.end),
        preset=preset,
        presets=[Choice(key, label) for key, label in PRESETS.items()],
        compare=compare_kind,
        compare_label=compare_label,
        compares=[Choice(key, label) for key, label in COMPARES.items()],
        group=group,
        groups=[Choice(name, LABELS[name]) for name in groups],
        filters=_chips(request, scope),
        dims=[Choice(name, label) for name, label in LABELS.items()],
        basis=scope.cost,
        bases=[Choice(key, label) for key, label in BASES.items()],
        currency=scope.currency,
        freshness=freshness(now),
        hidden=[(name, request.GET[name]) for name in ("view", "unit", "gran", "by", "scale") if name in request.GET],
        previous_url=_days_url(request, earlier),
        next_url=_days_url(request, later) if later.start <= now.date() else "",
        share_url=request.build_absolute_uri(),
    )


def _days_url(request: HttpRequest, days: Days) -> str:
    changes: dict[str, Any] = {"preset": "custom", "from": days.start, "to": days.last}
    return url(request, **changes)


def _chips(request: HttpRequest, scope: SpendScope) -> list[Chip]:
    texts = request.GET.getlist("f")
    return [
        Chip(
            dim=LABELS[one.dimension],
            op=_WORDS[one.op],
            value=" or ".join(value or "none" for value in one.values),
            query=text,
            remove_url=url(request, f=[other for other in texts if other != text]),
        )
        for one, text in zip(scope.filters, texts, strict=True)
    ]


def known_values(*, scope: SpendScope, dimension: str, search: str) -> list[tuple[str, Any]]:
    """The first 50 values of a dimension in scope, by spend."""
    return [
        (row[0], row[1]) for row in queries.dimension_values(scope=scope, dimension=dimension, search=search, limit=50)
    ]
