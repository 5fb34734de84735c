"""The pages."""

from django.urls import path

from costobs.web import (
    budget_forms,
    budgets,
    chargeback,
    explore,
    gpus,
    overview,
    saved_views,
    session,
    sources,
    unit_costs,
    values,
)

urlpatterns = [
    path("", overview.page, name="overview"),
    path("explore/", explore.page, name="explore"),
    path("explore/export.csv", explore.export, name="explore_export"),
    path("unit-costs/", unit_costs.page, name="unit_costs"),
    path("unit-costs/export.csv", unit_costs.export, name="unit_costs_export"),
    path("budgets/", budgets.page, name="budgets"),
    path("budgets/new/", budget_forms.new, name="budget_new"),
    path("budgets/pause-all/", budget_forms.pause_all, name="budget_pause_all"),
    path("budgets/<int:budget_id>/", budgets.detail, name="budget"),
    path("budgets/<int:budget_id>/edit/", budget_forms.edit, name="budget_edit"),
    path("budgets/<int:budget_id>/pause/", budget_forms.pause, name="budget_pause"),
    path("actions/<int:run_id>/", budgets.action, name="action"),
    path("actions/<int:run_id>/<str:verb>/", budgets.decide, name="action_decide"),
    path("gpus/", gpus.page, name="gpus"),
    path("gpus/export.csv", gpus.export, name="gpus_export"),
    path("chargeback/", chargeback.latest, name="chargeback"),
    path("chargeback/<str:month>/", chargeback.page, name="chargeback_month"),
    path("sources/", sources.page, name="sources"),
    path("sources/prices/", sources.set_price, name="price_set"),
    path("sources/sample/remove/", sources.remove_sample, name="sample_remove"),
    path("sources/quarantined.csv", sources.quarantined_csv, name="quarantined_csv"),
    path("views/save/", saved_views.save, name="view_save"),
    path("values/", values.listing, name="values"),
    path("sign-in/", session.sign_in, name="sign_in"),
    path("sign-out/", session.sign_out, name="sign_out"),
]
