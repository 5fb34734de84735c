"""Every address of the installation."""

from django.contrib import admin
from django.urls import include, path

from costobs.web import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("costobs.api.urls")),
    path("", include("costobs.web.urls")),
]
