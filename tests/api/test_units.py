"""Units of business value over the API: the digits of the page, for whoever may see them."""

from decimal import Decimal
from typing import Any

import pytest

from attribution import queries, unit_values
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from tests.api import october
from tests.api.conftest import Program
from tests.api.october import Ledger
from tests.attribution.test_values import push

DAYS = {"from": "2026-10-01", "to": "2026-10-31"}


def figures(team: str, *days: int) -> list[dict[str, Any]]:
    return [
        {
            "name": "tickets_resolved",
            "period_start": f"2026-10-{day:02}T00:00:00Z",
            "period_end": f"2026-10-{day + 1:02}T00:00:00Z",
            "value": 4,
            "unit": "ticket",
            "attributes": {"team": team},
        }
        for day in days
    ]


def test_it_gives_the_digits_of_the_query_by_period_and_owner(ledger: Ledger, program: Program) -> None:
    push("business_metrics", *figures("search", 1, 2), *figures("growth", 3))

    answer = program("read").get("/api/v1/units", {**DAYS, "name": "tickets_resolved"}).json()

    found = queries.unit_values(scope=SpendScope(parse_month("2026-10"), teams=None), name="tickets_resolved")
    assert [Decimal(one["cost"]) for one in answer["periods"]] == [one.cost for one in found.periods]
    assert [(one["team"], one["value"]) for one in answer["owners"]] == [("growth", "4"), ("search", "8")]
    assert Decimal(answer["whole"]["cost_per_unit"]) == (found.whole.cost_per_unit if found.whole else None)
    assert (answer["by"], answer["unit"], answer["left_out_figures"]) == ("day", "ticket", 0)
    parts = sum(Decimal(answer["whole"][f"{part}_cost"]) for part in ("api", "gpu", "shared", "idle", "other"))
    assert parts == Decimal(answer["whole"]["cost"])
    assert answer["whole"]["margin"] is None


def test_it_lists_units_with_their_targets(ledger: Ledger, program: Program) -> None:
    push("business_metrics", *figures("search", 1))
    unit_values.set_target(
        unit="figure:tickets_resolved", currency="USD", scale=1000, amount=Decimal(3), by="ada", now=october.NOW
    )

    answer = program("read").get("/api/v1/units", DAYS).json()

    assert [(one["name"], one["target"], one["figures"]) for one in answer["units"]] == [
        ("tickets_resolved", "0.003", 1)
    ]


def test_it_keeps_to_the_teams_of_the_token(ledger: Ledger, program: Program) -> None:
    push("business_metrics", *figures("search", 1), *figures("growth", 3))
    client = program("read", teams=["growth"])

    one = client.get("/api/v1/units", {**DAYS, "name": "tickets_resolved"}).json()

    assert [each["team"] for each in one["owners"]] == ["growth"]
    assert [each["figures"] for each in client.get("/api/v1/units", DAYS).json()["units"]] == [1]


@pytest.mark.parametrize(("query", "status"), [({"name": "nothing"}, 200), ({"name": "nothing", "by": "year"}, 400)])
def test_it_answers_for_what_is_not_there(ledger: Ledger, program: Program, query: dict[str, str], status: int) -> None:
    answer = program("read").get("/api/v1/units", {**DAYS, **query})

    assert answer.status_code == status
    assert program("ingest").get("/api/v1/units").status_code == 403
