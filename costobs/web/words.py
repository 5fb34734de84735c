"""How values of a dimension are called on a page, and which of them are drawn as what nobody owns, used or named."""

from costobs.web.parts import RowKind

SHARES = {
    "direct": "Direct",
    "shared": "Shared",
    "idle_workload": "Idle, loaded",
    "idle_infrastructure": "Idle, empty",
    "overhead": "Overhead",
    "unallocated": "Unallocated",
}
COST_KINDS = {
    "api_inference": "API inference",
    "serverless_inference": "Serverless and provisioned inference",
    "gpu_compute": "GPU compute",
    "cpu_compute": "CPU compute",
    "fine_tuning": "Fine-tuning",
    "storage": "Storage",
    "vector_store": "Vector stores and RAG",
    "network": "Network",
    "energy": "Energy",
    "licence": "Licences",
    "staff": "Staff",
    "support": "Support",
    "tax": "Tax",
    "credit": "Credits",
    "other_service": "Other services",
}
PURCHASES = {
    "on_demand": "On-demand",
    "spot": "Spot",
    "reserved": "Reserved",
    "savings_plan": "Savings plan",
    "serverless": "Serverless",
    "owned": "Owned",
}
# Where a row has no value in the dimension, its share says what it is.
_NAMELESS: dict[str, tuple[str, RowKind]] = {
    "idle_workload": ("Idle GPU, loaded", "idle"),
    "idle_infrastructure": ("Idle GPU, empty", "idle"),
    "unallocated": ("Unallocated", "unallocated"),
    "shared": ("Shared", "shared"),
    "overhead": ("GPU overhead", "shared"),
}
_NONE = {
    "model": "No model",
    "team": "No team",
    "feature": "No feature",
    "cost_centre": "No cost centre",
    "environment": "No environment",
    "key": "No key",
    "deployment": "No deployment",
    "sub_account": "No account",
    "region": "No region",
    "cost_kind": "Not classified",
    "purchase_option": "No capacity bought",
}
PROVIDERS = {"self_hosted": "Self-hosted"}
_NAMES = {"share_kind": SHARES, "cost_kind": COST_KINDS, "purchase_option": PURCHASES}


def label(dimension: str, key: str) -> str:
    """The name of a value; an empty one is named for what it lacks."""
    if not key:
        return _NONE.get(dimension, "None")
    if dimension == "basis":
        return key.capitalize()
    return _NAMES.get(dimension, PROVIDERS).get(key, key)


def nameless(dimension: str, share_kind: str) -> tuple[str, RowKind]:
    """The name and kind of what has no value in `dimension`, by its share."""
    return _NAMELESS.get(share_kind, (label(dimension, ""), "other"))


def share_row(share_kind: str) -> RowKind:
    """The kind of a row when the dimension is the share itself."""
    found: dict[str, RowKind] = {
        "idle_workload": "idle",
        "idle_infrastructure": "idle",
        "unallocated": "unallocated",
        "shared": "shared",
        "overhead": "shared",
    }
    return found.get(share_kind, "")
