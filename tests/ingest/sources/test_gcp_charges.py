"""What becomes of a row of Google Cloud's billing export."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.rows import CHARGE, Rejected
from ingest.sources.formats import charge_rows
from ingest.sources.formats.gcp import gcp_charges, gcp_export
from tests.servers import bigquery
from tests.servers.bigquery import STANDARD, credit, export, line, row


def charged(
    *rows: dict[str, Any], month: str = "202610", of: gcp_export.Export | None = None, **reading: Any
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    found = of or export()
    lines = pl.Series([line(found, each) for each in rows], dtype=pl.String)
    part = gcp_charges.charges(lines, found, charge_rows.Reading(**reading), month=month, file="bill", first_row=1)
    assert part.batch.schema.equals(CHARGE)
    return part.batch.to_pylist(), list(part.rejected)


def billed(rows: list[dict[str, Any]]) -> dict[str, str]:
    sums: dict[str, Decimal] = {}
    for each in rows:
        sums[each["charge_category"]] = sums.get(each["charge_category"], Decimal()) + Decimal(each["billed_cost"])
    return {name: str(amount) for name, amount in sums.items()}


def test_it_maps_a_row_to_focus() -> None:
    (found,), rejected = charged(
        row(
            0.0475,
            resource={
                "name": "node-1",
                "global_name": "//compute.googleapis.com/projects/search-prod/zones/z/instances/1",
            },
            price={"effective_price": "0.0475", "tier_start_amount": "0", "list_price": "0.05", "unit": "hour"},
            cost_at_list=0.05,
            labels=[{"key": "k8s-namespace", "value": "ranking"}, {"key": "goog-k8s-cluster-name", "value": "prod-1"}],
        )
    )

    assert rejected == []
    expected = {
        "charge_period_start": datetime(2026, 10, 3, 7, tzinfo=UTC),
        "charge_period_end": datetime(2026, 10, 3, 8, tzinfo=UTC),
        "billing_period_start": date(2026, 10, 1),
        "billing_period_end": date(2026, 11, 1),
        "billing_account_id": bigquery.ACCOUNT,
        "sub_account_id": "search-prod",
        "sub_account_name": "Search",
        "billing_currency": "USD",
        "billed_cost": "0.0475",
        "effective_cost": "0.0475",
        "contracted_cost": "0.0475",
        "list_cost": "0.05",
        "charge_category": "Usage",
        "charge_frequency": "Usage-Based",
        "service_provider_name": "Google Cloud",
        "service_name": "Compute Engine",
        "service_category": "Compute",
        "sku_id": "2E27-4F75-95CD",
        "sku_price_id": "2E27-4F75-95CD/0",
        "resource_id": "//compute.googleapis.com/projects/search-prod/zones/z/instances/1",
        "resource_name": "node-1",
        "region_id": "us-central1",
        "pricing_quantity": "1.0",
        "pricing_unit": "hour",
        "consumed_quantity": "3600.0",
        "consumed_unit": "seconds",
        "attr_namespace": "ranking",
        "attr_account": "search-prod",
    }
    assert {name: found[name] for name in expected} == expected
    extra = orjson.loads(found["extra"])
    assert (extra["price.list_price"], extra["cost_type"]) == ("0.05", "regular")
    assert extra["export_time"].startswith("2026-10-03T12:00:00")


def test_t82_it_counts_every_credit_once_and_never_multiplies_a_cost() -> None:
    three = [
        credit(-1.5, name="Sustained use"),
        credit(-0.25, "PROMOTION", name="Welcome"),
        credit(-0.125, "FREE_TIER"),
    ]

    found, _ = charged(row(10.0, credits=three), row(1.0), row(2.0, credits=[]), row(3.0, credits=None))

    assert billed(found) == {"Usage": "16.0", "Credit": "-1.875"}
    assert [(each["charge_description"], each["billed_cost"]) for each in found[1:4]] == [
        ("Sustained use", "-1.5"),
        ("Welcome", "-0.25"),
        ("free_tier", "-0.125"),
    ]
    assert [each["row_number"] for each in found] == list(range(1, 8))
    assert {orjson.loads(each["extra"])["credit.type"] for each in found[1:4]} == {
        "SUSTAINED_USAGE_DISCOUNT",
        "PROMOTION",
        "FREE_TIER",
    }


def test_t83_it_gives_a_credit_the_owner_of_its_row_and_none_of_its_quantities() -> None:
    usage = {"amount": 1000.0, "unit": "count", "amount_in_pricing_units": 1000.0, "pricing_unit": "count"}
    of = row(
        0.3,
        usage=usage,
        service={"id": "C7E2-9256-1C43", "description": "Vertex AI"},
        sku={"id": "A", "description": "Gemini 2.5 Flash Text Input - Predictions"},
        credits=[credit(-0.1)],
        labels=[{"key": "team", "value": "search"}],
    )

    (used, discount), _ = charged(of)

    for name in ("attr_team", "model", "token_kind", "sub_account_id", "resource_id", "sku_id", "tags"):
        assert used[name] == discount[name]
    assert (used["consumed_quantity"], discount["consumed_quantity"], discount["pricing_quantity"]) == (
        "1000.0",
        "",
        "",
    )
    assert (discount["list_cost"], discount["contracted_cost"]) == ("0", "0")


@pytest.mark.parametrize(
    ("cost", "kept"),
    [
        (0.1 + 0.2, "0.30000000000000004"),
        (0.1234567890123456, "0.1234567890123456"),
        (1e-7, "0.0000001"),
        (-4.35, "-4.35"),
        (5e-324, f"0.{'0' * 323}5"),
        (123456789.987654, "123456789.987654"),
    ],
)
def test_t84_it_keeps_the_shortest_digits_of_a_double_however_the_server_writes_it(cost: float, kept: str) -> None:
    (found, discount), _ = charged(row(cost, credits=[credit(-cost)]))

    assert found["billed_cost"] == kept
    assert Decimal(found["billed_cost"]) + Decimal(discount["billed_cost"]) == 0


def test_it_keeps_every_digit_of_an_exact_number() -> None:
    exact = {"effective_price": "0.00000000123456789012345678", "tier_start_amount": "1000000"}

    (found,), _ = charged(row(1.0, price=exact))

    assert orjson.loads(found["extra"])["price.effective_price"] == "0.00000000123456789012345678"


def test_t85_it_books_an_invoice_month_and_keeps_the_days_of_usage() -> None:
    late = row(1.0, usage_start_time="2026-10-31T23:00:00Z", usage_end_time="2026-11-01T00:00:00Z")
    old = row(
        -2.0,
        usage_start_time="2026-07-05T00:00:00Z",
        usage_end_time="2026-07-06T00:00:00Z",
        cost_type="adjustment",
        adjustment_info={
            "id": "a1",
            "description": "Outage",
            "mode": "MANUAL_ADJUSTMENT",
            "type": "GENERAL_ADJUSTMENT",
        },
    )

    found, _ = charged(late, old, month="202611")

    assert {each["billing_period_start"] for each in found} == {date(2026, 11, 1)}
    assert [each["charge_period_start"].month for each in found] == [10, 7]
    assert [each["charge_class"] for each in found] == ["", "Correction"]
    assert (found[1]["charge_description"], found[1]["charge_category"]) == ("Outage", "Adjustment")


@pytest.mark.parametrize(
    ("changed", "category", "charge_class"),
    [
        ({"cost_type": "tax"}, "Tax", ""),
        ({"cost_type": "rounding_error"}, "Adjustment", ""),
        ({"cost_type": "adjustment"}, "Adjustment", "Correction"),
        ({"cost_type": "regular", "adjustment_info": {"type": "PRICE_CORRECTION"}}, "Usage", "Correction"),
        ({"sku": {"id": "C", "description": "Commitment v1: Cpu in Americas for 1 Year"}}, "Purchase", ""),
        ({"cost_type": "something new"}, "Usage", ""),
    ],
)
def test_t86_it_tells_tax_and_corrections_which_may_have_no_project(
    changed: dict[str, Any], category: str, charge_class: str
) -> None:
    (found,), rejected = charged(row(1.0, **{"project": None, "labels": None, "location": None, **changed}))

    assert rejected == []
    assert (found["charge_category"], found["charge_class"], found["sub_account_id"]) == (category, charge_class, "")


def test_t87_it_reads_a_key_that_is_a_label_and_a_tag_once_and_the_nearest_first() -> None:
    (found,), _ = charged(
        row(
            1.0,
            labels=[{"key": "team", "value": "search"}, {"key": "empty", "value": None}],
            tags=[
                {"key": "team", "value": "platform", "inherited": True, "namespace": "9876"},
                {"key": "env", "value": "prod", "inherited": True, "namespace": "9876"},
                {"key": "env", "value": "staging", "inherited": False, "namespace": "9876"},
                {"key": "team", "value": "search", "inherited": False, "namespace": "9876"},
            ],
            project={"id": "p", "labels": [{"key": "team", "value": "owners"}, {"key": "cost_centre", "value": "77"}]},
            system_labels=[{"key": "compute.googleapis.com/cores", "value": "4"}],
        )
    )

    assert orjson.loads(found["tags"]) == {
        "team": "search",
        "9876/team": "platform",
        "project/team": "owners",
        "env": "staging",
        "9876/env": "prod",
        "cost_centre": "77",
        "empty": "",
        "compute.googleapis.com/cores": "4",
    }
    assert (found["attr_team"], found["attr_environment"], found["attr_cost_centre"]) == ("search", "staging", "77")


@pytest.mark.parametrize(
    ("sku", "kinds", "model", "option", "category"),
    [
        ("Spot Preemptible A2 Instance Core running in Americas", [], "", "spot", "Dynamic"),
        ("N1 Predefined Instance Core", ["COMMITTED_USAGE_DISCOUNT"], "", "reserved", "Committed"),
        ("N1 Predefined Instance Core", ["COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE"], "", "savings_plan", "Committed"),
        ("N1 Predefined Instance Core", [], "Compute Flexible CUD - 1 Year", "savings_plan", "Committed"),
        ("Commitment v1: Cpu in Americas for 1 Year", [], "", "reserved", "Committed"),
        ("Commitment - dollar based v1: GCE for 1 year", ["FEE_UTILIZATION_OFFSET"], "", "savings_plan", "Committed"),
    ],
)
def test_t88_it_tells_how_capacity_was_bought_from_credits_and_sku(
    sku: str, kinds: list[str], model: str, option: str, category: str
) -> None:
    found, _ = charged(
        row(
            1.0,
            sku={"id": "S", "description": sku},
            credits=[credit(-0.5, kind, id="cud-7") for kind in kinds],
            consumption_model={"id": "m", "description": model},
        )
    )

    assert {(each["purchase_option"], each["pricing_category"]) for each in found} == {(option, category)}
    committed = [(each["commitment_discount_id"], each["commitment_discount_status"]) for each in found]
    assert committed == [("cud-7", "Used")] * (1 + len(kinds)) if kinds else committed == [("", "")]


@pytest.mark.parametrize(
    ("service", "sku", "model", "token_kind"),
    [
        ("Vertex AI", "Gemini 2.5 Flash Text Input - Predictions", "gemini-2.5-flash", "input_uncached"),
        ("Vertex AI", "Gemini 2.5 Flash Thinking Text Output - Predictions", "gemini-2.5-flash", "output"),
        ("Vertex AI", "Gemini 2.5 Flash GA Text Output - Predictions", "gemini-2.5-flash", "output"),
        ("Vertex AI", "Gemini 2.5 Pro Text Input Caching", "gemini-2.5-pro", "cache_read"),
        ("Vertex AI", "Gemini 2.5 Pro Text Input Caching Storage", "gemini-2.5-pro", ""),
        ("Vertex AI", "Gemini 2.0 Flash Audio Input - Predictions", "gemini-2.0-flash", "audio_input"),
        ("Gemini API", "Generate content input token count gemini 2.5 flash", "gemini-2.5-flash", "input_uncached"),
        (
            "Gemini API",
            "Generate content input token count Gemini 2.5 Pro long input text",
            "gemini-2.5-pro",
            "input_uncached",
        ),
        (
            "Gemini API",
            "Generate content input token count Gemini 2.5 Pro input image",
            "gemini-2.5-pro",
            "image_input",
        ),
        ("Gemini API", "Generate content output token count gemini 2.5 flash", "gemini-2.5-flash", "output"),
        ("Gemini API", "Generate content cached input token count gemini 2.5 pro", "gemini-2.5-pro", "cache_read"),
        ("Vertex AI", "Claude Sonnet 4.5 Input Tokens", "claude-sonnet-4-5", "input_uncached"),
        ("Vertex AI", "Online/Batch Prediction Nvidia L4 GPU running in Iowa", "", ""),
    ],
)
def test_t89_it_tells_model_and_kind_of_token_from_google_s_words(
    service: str, sku: str, model: str, token_kind: str
) -> None:
    (found,), _ = charged(row(1.0, service={"id": "s", "description": service}, sku={"id": "k", "description": sku}))

    assert (found["model"], found["token_kind"]) == (model, token_kind)


def test_t90_it_reads_tables_that_have_fewer_columns_and_more() -> None:
    few = ("credits", "tags", "system_labels", "cost_type", "adjustment_info", "cost_at_list", "subscription")
    old = export(STANDARD, is_detailed=False, without=(*few, "labels", "consumption_model", "seller_name"))
    (found,), rejected = charged(row(2.0), of=old)

    query = gcp_export.rows_query(old)

    assert rejected == []
    assert (found["billed_cost"], found["list_cost"], found["resource_id"], found["charge_category"]) == (
        "2.0",
        "2.0",
        "",
        "Usage",
    )
    assert not any(name in query for name in (*few, "resource."))


def test_it_takes_a_partner_s_name_for_what_a_partner_sells() -> None:
    (found,), _ = charged(row(1.0, invoice={"month": "202610", "publisher_type": "PARTNER"}, seller_name="Anthropic"))

    assert (found["service_provider_name"], found["host_provider_name"]) == ("Anthropic", "Google Cloud")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"cost": None}, "BilledCost"),
        ({"cost": float("nan")}, "BilledCost"),
        ({"usage_start_time": None}, "ChargePeriodStart"),
        ({"currency": ""}, "BillingCurrency"),
        ({"credits": [{"name": "odd", "amount": None, "type": "PROMOTION"}]}, "BilledCost"),
        ({"labels": [{"key": "a", "value": "\x00"}]}, "Tags"),
    ],
)
def test_it_refuses_a_row_that_cannot_be_a_charge_by_its_field(changed: dict[str, Any], field: str) -> None:
    _, rejected = charged({**row(1.0), **changed})

    assert [each.field for each in rejected] == [field]


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.lists(st.floats(-1e6, 0), max_size=4)), min_size=1, max_size=8))
def test_it_conserves_cost_and_all_credits(rows: list[tuple[float, list[float]]]) -> None:
    found, rejected = charged(*(row(cost, credits=[credit(one) for one in discounts]) for cost, discounts in rows))

    assert rejected == []
    expected = sum(Decimal(repr(each)) for cost, discounts in rows for each in (cost, *discounts))
    assert sum(Decimal(each["billed_cost"]) for each in found) == expected
    assert len(found) == sum(1 + len(discounts) for _, discounts in rows)
