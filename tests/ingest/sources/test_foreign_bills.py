"""Bills of vendors, languages and layouts that nobody listed: liberal in titles, strict in sums."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.rows import Rejected
from ingest.sources import focus_export
from ingest.sources.base import BadDelivery

NAMED = {
    "ChargePeriodStart": "when",
    "billed_cost": "Net of all",
    "BillingCurrency": "ccy",
    "ServiceName": "what",
}


def read(text: str, **config: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    source = focus_export.FocusExport(focus_export.FocusExportConfig(**config))
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for each in source.normalize(source.open_bytes(name="bill.csv", content=text.encode())):
        rows += each.batch.to_pylist()
        rejected += each.rejected
    return rows, rejected


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("Date,Service,Description,Amount,Currency\n2026-11-21,GPU Cloud,H100 80GB,12.50,usd\n", {}),
        ("usage_start_time,usage_end_time,Product,cost_usd\n2026-11-21,2026-11-22,GPU Cloud,12.50\n", {"default_currency": "USD"}),
        ("Datum;Dienst;Beschreibung;Betrag;Währung\n21.11.2026;GPU Cloud;H100;12,50;USD\n", {"decimal_comma": True}),
        ("Fecha;Servicio;Importe;Moneda\n21/11/2026;GPU Cloud;12,50 $;USD\n", {"decimal_comma": True, "day_first": True}),
        ("Date de début\tProduit\tMontant HT\tDevise\n2026-11-21\tGPU Cloud\t12.50\tUSD\n", {}),
        ("日付,サービス,金額,通貨\n2026-11-21,GPU Cloud,12.50,USD\n", {}),
        ("when,what,net of all,ccy\n11/21/2026,GPU Cloud,12.50,USD\n", {"columns": NAMED}),
    ],
    ids=["English", "other words", "German", "Spanish", "French", "Japanese", "named by a person"],
)  # fmt: skip
def test_it_reads_a_bill_that_is_not_focus(text: str, config: dict[str, Any]) -> None:
    rows, rejected = read(text, service_provider_name="Acme GPUs", **config)

    assert rejected == []
    (row,) = rows
    assert (row["charge_period_start"], row["charge_period_end"]) == (
        datetime(2026, 11, 21, tzinfo=UTC),
        datetime(2026, 11, 22, tzinfo=UTC),
    )
    assert Decimal(row["billed_cost"]) == Decimal(row["effective_cost"]) == Decimal("12.5")
    assert (row["billing_currency"], row["service_name"]) == ("USD", "GPU Cloud")
    assert (row["service_provider_name"], row["charge_category"]) == ("Acme GPUs", "Usage")


def test_it_refuses_a_number_that_means_two_things_until_a_setting_says_which() -> None:
    text = "Date;Service;Amount;Currency\n2026-11-21;x;1,234;EUR\n2026-11-21;x;1.5;EUR\n"

    _, unsaid = read(text)
    _, said = read(text, decimal_comma=True)

    assert [(one.row, one.field) for one in unsaid] == [(1, "BilledCost")]
    assert "decimal_comma" in unsaid[0].reason
    # 1.5 is no number of a file with decimal commas: it is refused rather than made 15.
    assert [(one.row, one.field) for one in said] == [(2, "BilledCost")]


def test_it_refuses_a_moment_without_an_end_by_its_row() -> None:
    _, rejected = read("Date,Amount,Currency\n2026-11-21,1,USD\n2026-11-21T10:00:00Z,1,USD\n")

    assert [(one.row, one.field) for one in rejected] == [(2, "ChargePeriodEnd")]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Date,Service,Price,Currency", "BilledCost"),
        ("Service,Amount,Currency", "ChargePeriodStart"),
        ("Date,Amount", "BillingCurrency"),
    ],
)
def test_it_says_which_column_it_cannot_find(header: str, said: str) -> None:
    with pytest.raises(BadDelivery, match=said):
        read(f"{header}\n{','.join('1' for _ in header.split(','))}\n")


def test_it_says_when_the_settings_name_what_is_not_there() -> None:
    with pytest.raises(BadDelivery, match="FOCUS does not have"):
        read("Date,Amount,Currency\n", columns={"Costs": "Amount"})
    with pytest.raises(BadDelivery, match="mandatory column Betrag is missing"):
        read("Date,Amount,Currency\n", columns={"BilledCost": "Betrag"})


def test_it_keeps_every_column_it_has_no_place_for() -> None:
    rows, _ = read("Date,Amount,Currency,Rack,Ticket\n2026-11-21,1,USD,r7,T-1\n")

    assert rows[0]["extra"] == '{"Rack":"r7","Ticket":"T-1"}'


def test_it_does_not_take_other_titles_for_columns_of_a_focus_file() -> None:
    header = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,Description"

    rows, _ = read(f"{header}\n1,USD,2026-11-21T00:00:00Z,2026-11-22T00:00:00Z,note\n")

    assert (rows[0]["charge_description"], rows[0]["extra"]) == ("", '{"Description":"note"}')


def german(amount: Decimal) -> str:
    """1.234.567,89, as a German spreadsheet writes it."""
    return f"{amount:,f}".translate(str.maketrans(",.", ".,"))


@given(st.lists(st.decimals(min_value=-(10**9), max_value=10**9, allow_nan=False, places=4), min_size=1, max_size=20))
def test_it_never_changes_a_sum_written_with_commas(amounts: list[Decimal]) -> None:
    lines = "".join(f"21.11.2026;{german(amount)};EUR\n" for amount in amounts)

    rows, rejected = read(f"Datum;Betrag;Währung\n{lines}", decimal_comma=True)

    assert rejected == []
    assert sum(Decimal(row["billed_cost"]) for row in rows) == sum(amounts)
