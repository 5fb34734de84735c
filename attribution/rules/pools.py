"""Ready-made selections of money by what it is: tax, credits, unused commitments, idle GPU time, what nobody logged."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CostPool:
    """One kind of money that rules may pick by name.

    `charges` is a condition on staged charges aliased `c`; `leftovers` one on those that no rule of any position has taken;
    `parts` one on the parts that telemetry and usage left without an owner, aliased `p`. A pool has one of the three.
    """

    title: str
    help: str
    charges: str = ""
    leftovers: str = ""
    parts: str = ""


# A reseller's name stands on everything it sells, a cloud's on what others sell through its marketplace.
_MARKETPLACE = """(c.service_name ILIKE '%%marketplace%%' OR c.charge_description ILIKE '%%marketplace%%'
    OR (c.invoice_issuer_name ~* '^(aws|amazon|google|microsoft|azure)' AND NOT
        c.service_provider_name ~* '^(aws|amazon|google|gcp|microsoft|azure)' AND c.service_provider_name <> ''))"""

POOLS: Mapping[str, CostPool] = {
    "tax": CostPool("Tax", "Tax lines.", "(c.charge_category = 'Tax' OR c.cost_kind = 'tax')"),
    "support": CostPool("Support", "Support plans and fees.", "c.cost_kind = 'support'"),
    "credits": CostPool(
        "Credits", "Credits the vendor grants.", "(c.charge_category = 'Credit' OR c.cost_kind = 'credit')"
    ),
    "refunds": CostPool(
        "Refunds",
        "Money back: adjustments and corrections below zero.",
        """((c.charge_category = 'Adjustment' OR c.charge_class = 'Correction') AND c.billed_cost + c.effective_cost < 0)""",
    ),
    "unused_commitments": CostPool(
        "Unused commitments",
        "Reservations and savings plans that covered nothing.",
        "c.commitment_discount_status ILIKE 'unused'",
    ),
    "commitment_fees": CostPool(
        "Commitment fees",
        "What reservations and savings plans cost by the month or up front.",
        """(c.charge_category = 'Purchase' AND (c.commitment_discount_id <> ''
            OR c.purchase_option IN ('reserved', 'savings_plan')))""",
    ),
    "marketplace": CostPool("Marketplace", "What others sell on a cloud's bill.", _MARKETPLACE),
    "unowned": CostPool(
        "Charges without an owner",
        "Charges that no other rule takes and no ownership rule knows a team for.",
        leftovers="{unowned}",
    ),
    "idle": CostPool(
        "Idle GPU time",
        "GPU time that was paid and not used.",
        parts="p.share_kind IN ('idle_workload', 'idle_infrastructure')",
    ),
    "idle_deployments": CostPool(
        "Idle time of deployments",
        "GPU time held by a deployment and not used.",
        parts="p.share_kind = 'idle_workload'",
    ),
    "idle_nodes": CostPool(
        "Idle time of nodes", "GPU time no deployment held.", parts="p.share_kind = 'idle_infrastructure'"
    ),
    "overhead": CostPool("Overhead", "GPUs busy without a request.", parts="p.share_kind = 'overhead'"),
    "unwatched": CostPool(
        "Unwatched GPU time",
        "GPU time without telemetry.",
        parts="(p.method = 'gpu_share' AND p.share_kind = 'unallocated')",
    ),
    "bypass": CostPool(
        "Bypass",
        "Model usage that was billed and never logged.",
        parts="(p.method = 'tie_out' AND p.share_kind = 'unallocated')",
    ),
}
