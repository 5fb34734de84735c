"""Every address of the installation."""

from django.contrib import admin
from django.urls import include, path

from costobs.api import otlp
from costobs.web import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("admin/", admin.site.urls),
    # Exporters add /v1/traces to the endpoint they are given: COSTOBS_URL/otlp, or COSTOBS_URL alone.
    path("otlp/v1/traces", otlp.Traces.as_view(), name="otlp_traces"),
    path("v1/traces", otlp.Traces.as_view()),
    path("api/v1/", include("costobs.api.urls")),
    path("", include("costobs.web.urls")),
]
