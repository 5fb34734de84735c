"""Everything pages, exports, alerts and programs may ask of the books. Every answer obeys the scope it is asked in."""

from attribution.queries.closed_months import Adjusted, Restated, adjustments, restatement
from attribution.queries.explaining import (
    Explanation,
    FromDelivery,
    FromMethod,
    FromPrice,
    FromRule,
    FromSource,
    explain,
)
from attribution.queries.extents import currencies, currencies_of, extent, last_final_day
from attribution.queries.focus import FocusRow, focus_rows, service_categories
from attribution.queries.gpus import GpuCost, GpuHourCell, GpuNodeCost, gpu_costs, gpu_node_costs, gpu_utilisation
from attribution.queries.rules import RuleLine, rules_in_force
from attribution.queries.runs import AgentRunLine, FineTuneLine, agent_runs, fine_tune_runs
from attribution.queries.spending import (
    DaySpend,
    EstimateLine,
    Mover,
    SpendRow,
    SpendTotal,
    dimension_values,
    estimated_versus_billed,
    movers,
    other_currencies,
    spend,
    spend_by_day,
    total,
)
from attribution.queries.statements import Reconciliation, Statement, StatementLine, reconciliation, statement
from attribution.queries.unit_costs import DayUnitCost, UnitCost, unit_cost_by_day, unit_costs
from attribution.queries.values import BusinessValue, MarkerLine, Quality, business_values, markers, quality

__all__ = [
    "Adjusted",
    "AgentRunLine",
    "BusinessValue",
    "DaySpend",
    "DayUnitCost",
    "EstimateLine",
    "Explanation",
    "FineTuneLine",
    "FocusRow",
    "FromDelivery",
    "FromMethod",
    "FromPrice",
    "FromRule",
    "FromSource",
    "GpuCost",
    "GpuHourCell",
    "GpuNodeCost",
    "MarkerLine",
    "Mover",
    "Quality",
    "Reconciliation",
    "Restated",
    "RuleLine",
    "SpendRow",
    "SpendTotal",
    "Statement",
    "StatementLine",
    "UnitCost",
    "adjustments",
    "agent_runs",
    "business_values",
    "currencies",
    "currencies_of",
    "dimension_values",
    "estimated_versus_billed",
    "explain",
    "extent",
    "fine_tune_runs",
    "focus_rows",
    "gpu_costs",
    "gpu_node_costs",
    "gpu_utilisation",
    "last_final_day",
    "markers",
    "movers",
    "other_currencies",
    "quality",
    "reconciliation",
    "restatement",
    "rules_in_force",
    "service_categories",
    "spend",
    "spend_by_day",
    "statement",
    "total",
    "unit_cost_by_day",
    "unit_costs",
]
