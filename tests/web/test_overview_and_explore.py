"""Overview, Explore and Sources: one scope, one total, seen by whom it concerns."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from attribution import queries
from costobs.kernel import fmt
from costobs.web import csv_file
from costobs.web.urls import urlpatterns
from tests.web.conftest import Ledger, scope
from tests.web.reading import amount, column, kpi, shown, total, words


def test_it_shows_the_same_total_on_overview_and_explore_and_in_the_export(ledger: Ledger, ada: Client) -> None:
    expected = queries.total(scope=scope()).cost

    overview = shown(ada, reverse("overview"))
    explore = shown(ada, f"{reverse('explore')}?group=team")
    export = ada.get(f"{reverse('explore_export')}?group=team").content.decode().splitlines()[1:]

    assert kpi(overview.context["kpis"], "Spend").value == fmt.money(expected, mode="kpi")
    assert amount(total(explore.context["table"], "Spend")) == Decimal(fmt.digits(expected).replace(",", ""))
    assert sum(Decimal(line.split(",")[6]) for line in export) == expected


@pytest.mark.parametrize(
    "group",
    [
        "team",
        "model",
        "provider_name",
        "feature",
        "share_kind",
        "service_name",
        "environment",
        "cost_kind",
        "purchase_option",
    ],
)
def test_it_has_rows_that_add_up_to_the_total_for_every_group(ledger: Ledger, ada: Client, group: str) -> None:
    export = ada.get(f"{reverse('explore_export')}?group={group}").content.decode().splitlines()[1:]

    assert sum(Decimal(line.split(",")[6]) for line in export) == queries.total(scope=scope()).cost


def test_it_names_what_nobody_owns_uses_or_shares_last(ledger: Ledger, ada: Client) -> None:
    names = column(shown(ada, f"{reverse('explore')}?group=team").context["table"], "Team")

    assert names[0] in {"search", "support"}
    assert names[-1] == "Unallocated"
    assert any(name.startswith("Idle GPU") for name in names)


def test_it_says_what_money_is_for_and_how_capacity_was_bought(ledger: Ledger, ada: Client) -> None:
    kinds = column(shown(ada, f"{reverse('explore')}?group=cost_kind").context["table"], "Cost kind")
    options = column(shown(ada, f"{reverse('explore')}?group=purchase_option").context["table"], "Bought as")

    assert {"API inference", "CPU compute"} <= set(kinds)
    assert "Not classified" not in kinds
    assert options[0] == "On-demand"
    assert "No capacity bought" in options
    spot = shown(ada, f"{reverse('explore')}?f=purchase_option:on_demand&group=cost_kind")
    assert "Bought as is" in words(spot)


def test_it_drills_into_a_group_with_a_filter_that_gives_the_same_amount(ledger: Ledger, ada: Client) -> None:
    table = shown(ada, f"{reverse('explore')}?group=team").context["table"]
    row = table.rows[0]

    inside = shown(ada, row.cells[0].url)

    # A column shows cents when all of it is small: the same amount with other decimals.
    assert round(amount(total(inside.context["table"], "Spend"))) == amount(row.cells[1].text)
    assert "Team is" in words(inside)


@pytest.mark.parametrize("view", ["bars", "lines", "cumulative", "explain"])
def test_it_draws_every_view_and_explains_the_number(ledger: Ledger, ada: Client, view: str) -> None:
    text = words(shown(ada, f"{reverse('explore')}?view={view}"))

    assert ("Prices of estimated usage" in text) == (view == "explain")


def test_it_explains_a_change_by_effects_that_add_up(ledger: Ledger, ada: Client) -> None:
    card = shown(ada, reverse("overview")).context["moved"]

    *effects, net = [amount(row.cells[1].text) for row in card.table.rows]

    assert abs(sum(effects) - net) <= Decimal("0.03")  # each is printed in cents


def test_it_shows_a_lead_only_the_own_team(ledger: Ledger, ben: Client) -> None:
    expected = queries.total(scope=scope(teams=("search",))).cost

    response = shown(ben, reverse("overview"))

    assert kpi(response.context["kpis"], "Spend").value == fmt.money(expected, mode="kpi")
    assert "support" not in words(shown(ben, f"{reverse('explore')}?group=team"))
    assert ben.get(reverse("sources")).status_code == 403
    assert ben.get(reverse("quarantined_csv")).status_code == 403


def test_it_tells_somebody_without_a_role_whom_to_ask(ledger: Ledger, cleo: Client) -> None:
    for name in ("overview", "explore", "explore_export", "sources"):
        assert "you have no role yet" in words(shown(cleo, reverse(name), 403))


def test_it_sends_strangers_to_the_sign_in(db: None, client: Client) -> None:
    # Addresses with arguments are covered by the tests of their pages.
    names = [one.name for one in urlpatterns if "<" not in str(one.pattern) and one.name not in {"sign_in"}]

    for name in names:
        response = client.get(reverse(name))
        assert response.status_code in {302, 405}, name


@pytest.mark.parametrize(
    "query",
    [
        "group=colour",
        "basis=guess",
        "from=2026-13-01",
        "from=0001-01-01&to=9999-12-31",
        "f=colour:red",
        "f=nonsense",
        "preset=someday",
        "cmp=yesterday",
    ],
)
def test_it_says_what_is_wrong_with_an_address(ledger: Ledger, ada: Client, query: str) -> None:
    text = words(shown(ada, f"{reverse('explore')}?{query}", 400))

    assert "This address asks for something unknown" in text


def test_it_turns_the_filter_popover_into_a_clean_address(ledger: Ledger, ada: Client) -> None:
    response = ada.get(f"{reverse('explore')}?preset=mtd&fdim=team&fop=not&fvalue=search")

    assert response.status_code == 302
    assert response["Location"] == "/explore/?preset=mtd&f=team%21%3Asearch"
    assert "Team is not search" in words(ada.get(response["Location"]))


def test_it_offers_a_way_out_where_nothing_matches(ledger: Ledger, ada: Client) -> None:
    text = words(shown(ada, f"{reverse('explore')}?f=team:nobody"))

    assert "Clear filters" in text
    assert "Widen to 90 days" in text


def test_it_lists_every_source_with_its_rows_and_every_load(ledger: Ledger, ada: Client) -> None:
    response = shown(ada, reverse("sources"))

    assert sorted(column(response.context["sources"], "Source")) == ["bill", "calls", "gpus"]
    for row in response.context["loads"].rows:
        read, loaded, known, quarantined = (amount(cell.text) for cell in row.cells[4:8])
        assert read == loaded + known + quarantined


def test_it_lets_only_an_administrator_set_a_price_or_remove_the_sample(ledger: Ledger, ada: Client) -> None:
    form = {"provider": "openai", "model": "gpt-4o", "input": "1", "output": "2", "valid_from": "2026-11-01"}

    assert ada.post(reverse("price_set"), form).status_code == 403
    assert ada.post(reverse("sample_remove")).status_code == 403
    assert ada.get(reverse("price_set")).status_code == 405


def test_it_writes_no_cell_that_a_spreadsheet_would_run() -> None:
    rows: list[list[csv_file.Value]] = [["=1+1", Decimal("-2.50"), None]]

    text = csv_file.response(name="x.csv", columns=["a", "b", "c"], rows=rows).content.decode()

    assert text.splitlines()[1] == "'=1+1,-2.50,"
