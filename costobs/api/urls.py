"""The REST API, version 1."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from costobs.api import (
    anomalies,
    budgets,
    chargeback,
    forecast,
    gate,
    gate_leases,
    reconciliation,
    reports,
    spend,
    unit_costs,
    units,
    usage,
)

urlpatterns = [
    path("schema", SpectacularAPIView.as_view(), name="api_schema"),
    path("usage-events", usage.UsageEvents.as_view(), name="api_usage_events"),
    path("fine-tune-runs", reports.FineTuneRuns.as_view(), name="api_fine_tune_runs"),
    path("quality-scores", reports.QualityScores.as_view(), name="api_quality_scores"),
    path("business-metrics", reports.BusinessMetrics.as_view(), name="api_business_metrics"),
    path("markers", reports.Markers.as_view(), name="api_markers"),
    path("markers/webhook/<int:source_id>", reports.MarkerWebhook.as_view(), name="api_marker_webhook"),
    path("gate/leases", gate_leases.Leases.as_view(), name="api_gate_leases"),
    path("gate/policy", gate.Policy.as_view(), name="api_gate_policy"),
    path("budgets", budgets.Budgets.as_view(), name="api_budgets"),
    path("budgets/<int:budget_id>", budgets.Budget.as_view(), name="api_budget"),
    path("forecast", forecast.Forecast.as_view(), name="api_forecast"),
    path("anomalies", anomalies.Anomalies.as_view(), name="api_anomalies"),
    path("anomalies/thresholds", anomalies.Thresholds.as_view(), name="api_anomaly_thresholds"),
    path("anomalies/<int:anomaly_id>", anomalies.OneAnomaly.as_view(), name="api_anomaly"),
    path("spend", spend.Spend.as_view(), name="api_spend"),
    path("unit-costs", unit_costs.UnitCosts.as_view(), name="api_unit_costs"),
    path("units", units.Units.as_view(), name="api_units"),
    path("reconciliation", reconciliation.Reconciliation.as_view(), name="api_reconciliation"),
    path("chargeback/<str:month>", chargeback.Chargeback.as_view(), name="api_chargeback"),
    path("statements/", chargeback.Statements.as_view(), name="api_statements"),
    path("statements/<path:statement_id>", chargeback.Statement.as_view(), name="api_statement"),
]
