"""Is the process alive, is the installation ready, and how is the pipeline doing."""

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from ingest import queries as ingest_queries


def healthz(_request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(_request: HttpRequest) -> HttpResponse:
    """The database answers and its schema is this version's; 503 says what is missing."""
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return JsonResponse({"status": "not ready", "reason": "the database does not answer"}, status=503)
    if waiting:
        reason = f"{len(waiting)} migrations have not run; run: costobs migrate"
        return JsonResponse({"status": "not ready", "reason": reason}, status=503)
    return JsonResponse({"status": "ready"})


def metrics(request: HttpRequest) -> HttpResponse:
    """Source freshness and loads for Prometheus; from this machine only, unless a token says otherwise."""
    if request.META.get("REMOTE_ADDR") not in {"127.0.0.1", "::1", "", None}:
        return HttpResponse("metrics are served to this machine only\n", status=403, content_type="text/plain")
    registry = CollectorRegistry()
    behind = Gauge(
        "costobs_source_behind_seconds", "Age of the newest complete data", ["kind", "source"], registry=registry
    )
    now = timezone.now()
    for line in ingest_queries.sources(now=now):
        if line.complete_through:
            behind.labels(line.kind, line.name).set((now - line.complete_through).total_seconds())
    loads = Gauge("costobs_loads", "Loads by state", ["state"], registry=registry)
    for state, count in ingest_queries.counts().items():
        loads.labels(state).set(count)
    Gauge("costobs_open_days", "Days that wait to be rolled up", registry=registry).set(len(ingest_queries.open_days()))
    return HttpResponse(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")
