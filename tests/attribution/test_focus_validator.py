"""The FOCUS files against the FinOps Foundation's own validator; docs/focus.md names what it may find wrong, with the reason."""

import re
from pathlib import Path

import pytest

from attribution import issue
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from tests.api import october
from tests.servers import focus_validator

ROOT = Path(__file__).parents[2]


def unclaimed() -> set[str]:
    """The rules that docs/focus.md names as not claimed."""
    text = (ROOT / "docs" / "focus.md").read_text()
    return set(re.findall(r"^\| `([A-Za-z]+-[A-Z]-\d{3}-[A-Z])`", text, re.MULTILINE))


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["focus", "focus_parquet"])
def test_it_passes_every_check_that_we_claim(kind: str, tmp_path: Path) -> None:
    october.build(tmp_path)
    scope = SpendScope(parse_month(october.MONTH), (), "effective", "USD", None)
    (file,) = issue.files(scope=scope, cost_centre=None, kinds=[kind])
    path = tmp_path / f"october.{'csv' if kind == 'focus' else 'parquet'}"
    path.write_bytes(file.content)

    verdict = focus_validator.validate(path)

    assert verdict.failed - unclaimed() == set()
    assert verdict.passed >= 120


def test_it_gives_a_reason_for_what_it_does_not_claim() -> None:
    text = (ROOT / "docs" / "focus.md").read_text()

    assert "BilledCost-C-005-C" in unclaimed()
    assert all(f"`{rule}`" in text for rule in unclaimed())
    assert len(unclaimed()) < 12
