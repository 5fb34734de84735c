"""The true cost behind a budget's spend, by part: API calls, own GPUs, commitments, idle, shared, unpriced."""

from decimal import Decimal

from alerts import spent
from alerts.rows import BlendPart
from alerts.spent import Window
from costobs.kernel import money

PARTS = ("api", "gpu", "commitments", "shared", "idle", "other", "unallocated", "unpriced", "converted")
_BY = ("share_kind", "cost_kind", "purchase_option")
_API = {"api_inference", "serverless_inference"}
_COMMITTED = {"reserved", "savings_plan"}
_SHARES = {
    "idle_workload": "idle",
    "idle_infrastructure": "idle",
    "shared": "shared",
    "overhead": "shared",
    "unallocated": "unallocated",
}


def parts(window: Window, *, converted_cost: Decimal) -> tuple[BlendPart, ...]:
    """The parts that are there, in the order of PARTS; they add to the spend of the window.

    What is priced conservatively is `unpriced` whatever it is for; what came in other currencies is `converted`.
    """
    sums: dict[str, list[Decimal]] = {"converted": [converted_cost]}
    for (share, kind, bought), cost, unpriced in spent.blended(window, _BY):
        sums.setdefault(_part(share, kind, bought), []).append(money.EXACT.subtract(cost, unpriced))
        sums.setdefault("unpriced", []).append(unpriced)
    found = [BlendPart(part, money.total(sums.get(part, ()))) for part in PARTS]
    return tuple(part for part in found if part.cost)


def _part(share: str, kind: str, bought: str) -> str:
    if share in _SHARES:
        return _SHARES[share]
    if bought in _COMMITTED:
        return "commitments"
    if kind in _API:
        return "api"
    return "gpu" if kind == "gpu_compute" else "other"
