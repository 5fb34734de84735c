"""Colours bound to what is drawn: the same model, team or feature has the same one on every page."""

import hashlib
from collections.abc import Iterable
from typing import Literal

Kind = Literal["", "other", "idle", "unallocated", "unpriced", "shared"]

RESERVED = 10  # Other, idle, unallocated, unpriced
# The first five are the easiest to tell apart; 8 and 9 look like an alarm and come when seven are taken.
_PREFERRED = (1, 2, 3, 4, 5)
_LAST = (6, 7, 8, 9)
HATCHES = {"idle": "\\", "unallocated": "x", "unpriced": "."}
NOT_FINAL = "/"


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


def slots(keys: Iterable[str]) -> dict[str, int]:
    """A slot of 1 to 9 for each key: its hash picks, and of two that pick alike the later digest moves on.

    Independent of order and of amounts. Give the nine largest keys of a dimension, not only those in view, to keep
    colours when filtering; beyond nine some share one.
    """
    taken: dict[str, int] = {}
    for key in sorted(set(keys), key=lambda name: (_digest(name), name)):
        first = _digest(key) % len(_PREFERRED)
        wheel = _PREFERRED[first:] + _PREFERRED[:first] + _LAST
        used = set(taken.values())
        taken[key] = next((slot for slot in wheel if slot not in used), wheel[0])
    return taken


def token(slot: int) -> str:
    """The CSS variable of a slot; the browser resolves it for the theme in force."""
    return f"var(--c{slot})"
