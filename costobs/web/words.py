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
}
PROVIDERS = {"self_hosted": "Self-hosted"}


def label(dimension: str, key: str) -> str:
    """The name of a value; an empty one is named for what it lacks."""
    if not key:
        return _NONE.get(dimension, "None")
    if dimension == "share_kind":
        return SHARES.get(key, key)
    if dimension == "basis":
        return key.capitalize()
    return PROVIDERS.get(key, key)


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
