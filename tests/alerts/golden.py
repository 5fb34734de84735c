"""Golden files of what alerts say: exactly the payload, without the numbers that the database gave."""

import os
import re
from pathlib import Path
from typing import Any

import orjson

GOLDEN = Path(__file__).parents[1] / "golden" / "alerts"
# What the database numbers: pages of budgets, actions and alerts, ids in blocks, subjects of buttons, threads.
_NUMBERS = (
    (r"/(anomalies|budgets|actions|alerts)/\d+/", r"/\1/7/"),
    (r"alert:\d+", "alert:7"),
    (r"<alert\.\d+@", "<alert.7@"),
    (r"\b(anomaly|budget|drift|digest)([:.])\d+\b", r"\1\g<2>7"),
    (r'"\d+:v(\d+)"', r'"7:v\1"'),
    (r'"id": \d+', '"id": 7'),
)


def stable(content: str) -> str:
    """Without the numbers of rows."""
    for pattern, put in _NUMBERS:
        content = re.sub(pattern, put, content)
    return content


def as_json(body: Any) -> str:
    """One payload, readable."""
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode() + "\n"


def same_as_golden(name: str, found: str) -> None:
    """Compares with the golden file; COSTOBS_WRITE_GOLDEN=1 writes it, which is a reviewed act."""
    path = GOLDEN / name
    if os.environ.get("COSTOBS_WRITE_GOLDEN"):
        path.write_text(stable(found), encoding="utf-8")
    assert stable(found) == path.read_text(encoding="utf-8")
