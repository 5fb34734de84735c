"""The REST API, version 1."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from costobs.api import chargeback, gate, spend, unit_costs, usage

urlpatterns = [
    path("schema", SpectacularAPIView.as_view(), name="api_schema"),
    path("usage-events", usage.UsageEvents.as_view(), name="api_usage_events"),
    path("fine-tune-runs", usage.FineTuneRuns.as_view(), name="api_fine_tune_runs"),
    path("gate/policy", gate.Policy.as_view(), name="api_gate_policy"),
    path("spend", spend.Spend.as_view(), name="api_spend"),
    path("unit-costs", unit_costs.UnitCosts.as_view(), name="api_unit_costs"),
    path("chargeback/<str:month>", chargeback.Chargeback.as_view(), name="api_chargeback"),
]
