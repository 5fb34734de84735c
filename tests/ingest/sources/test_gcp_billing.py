"""The billing export of Google Cloud: the real BigQuery client against recorded answers, down into the books.

`make test-gcp` reads and writes the same export in an emulated BigQuery.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from ingest import configure, load
from ingest.sources.base import BadDelivery, Finding, SourceUnavailable, Window
from ingest.sources.formats.gcp import gcp_catalogue, gcp_export, gcp_queries
from ingest.sources.gcp_billing import GcpBilling, GcpBillingConfig
from ingest.sources.stores import google_login
from tests.ingest.sources.test_gcs_store import key_file
from tests.servers import bigquery, google_api
from tests.servers.bigquery import DETAILED, STANDARD, credit, export, line, row
from tests.servers.google_api import GoogleApi

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SPAN = Window(datetime(2026, 9, 19, tzinfo=UTC), NOW)
COUNTED = ("month", "newest", "rows_in_all", "first", "last")
NEWEST = 1_790_000_000_000_000


@pytest.fixture
def api() -> Iterator[GoogleApi]:
    with google_api.started() as server:
        server.table()
        yield server


def source(api: GoogleApi, **config: Any) -> GcpBilling:
    return GcpBilling(GcpBillingConfig(**api.config | config))


# Which tables and rows are asked for


def test_t91_it_knows_the_tables_that_hold_the_same_costs() -> None:
    tables = [
        STANDARD,
        DETAILED,
        "gcp_billing_export_v1_AAAAAA_BBBBBB_CCCCCC",
        "gcp_billing_export_focus_01AB23_45CD67_89EF01",
        "cloud_pricing_export",
        "my_copy_of_gcp_billing_export_v1_01AB23_45CD67_89EF01",
    ]

    other = {"AAAAAA-BBBBBB-CCCCCC": ["gcp_billing_export_v1_AAAAAA_BBBBBB_CCCCCC"]}
    assert gcp_export.chosen(tables) == {bigquery.ACCOUNT: [DETAILED, STANDARD], **other}
    assert gcp_export.chosen(tables, account="aaaaaa-bbbbbb-cccccc") == other


@pytest.mark.parametrize(
    ("first", "last", "read"),
    [
        (0, 30, DETAILED),
        (0, 29, DETAILED),  # a little behind, as it always may be
        (12, 30, STANDARD),  # enabled on the 12th, in a region
        (0, 15, STANDARD),  # being filled, in the order of usage
        (12, 15, STANDARD),
    ],
)
def test_t99_it_reads_the_detailed_table_only_where_it_has_all_of_a_month(
    api: GoogleApi, first: int, last: int, read: str
) -> None:
    api.table(STANDARD, is_detailed=False)
    day = 86_400_000_000
    api.answer(COUNTED, ["202610", "10", "9", str(first * day), str(last * day)])
    api.answer(COUNTED, ["202610", "10", "5", "0", str(30 * day)])

    (raw,) = source(api).read({}, SPAN)

    assert (raw.name, raw.export) == (f"{read} 202610", bigquery.ACCOUNT)


def test_t92_it_asks_only_for_recent_partitions_and_rows_that_have_none_yet(api: GoogleApi) -> None:
    api.answer(COUNTED, ["202610", str(NEWEST), "1"])
    configured = source(api, maximum_bytes_billed=1_000_000_000)

    (raw,) = configured.read({}, SPAN)
    api.answer(["line"], [line(export(), row(1.0))])
    list(configured.normalize(raw))

    counting, reading = api.queries
    assert "(_PARTITIONTIME >= @floor OR _PARTITIONTIME IS NULL)" in counting["query"]
    assert counting["parameters"] == {"floor": "2026-08-22 00:00:00+00:00"}
    assert reading["parameters"] == {"floor": "2026-09-21 00:00:00+00:00", "month": "202610", "newest": str(NEWEST)}
    assert {each["maximumBytesBilled"] for each in api.queries} == {"1000000000"}
    assert {each["labels"]["application"] for each in api.queries} == {"costobs"}
    assert "UNNEST" not in reading["query"] and "SELECT *" not in reading["query"]


def test_t93_it_counts_an_older_month_whole_when_rows_of_it_arrive(api: GoogleApi) -> None:
    begin = int(SPAN.start.timestamp()) * 1_000_000
    api.answer(COUNTED, ["202606", str(begin - 1), "5"], ["202607", str(begin), "1"], ["202610", str(NEWEST), "7"])
    api.answer(COUNTED, ["202607", str(begin), "900"], ["202608", str(begin - 5), "9"], ["202610", str(NEWEST), "7"])

    found = list(source(api).read({}, SPAN))

    assert [(each.name.rpartition(" ")[2], each.payload.rows) for each in found] == [("202607", 900), ("202610", 7)]
    assert api.queries[1]["parameters"] == {"floor": "2026-06-21 00:00:00+00:00"}


def test_it_offers_a_month_again_only_when_rows_were_added_to_it(api: GoogleApi) -> None:
    configured = source(api)
    api.answer(COUNTED, ["202610", "10", "5"], ["202611", "20", "1"])
    first = list(configured.read({}, SPAN))
    cursor = first[-1].cursor

    def offered(*months: list[str]) -> list[str]:
        api.answer(COUNTED, *months)
        return [raw.name.rpartition(" ")[2] for raw in configured.read(cursor, SPAN)]

    assert [raw.name for raw in first] == [f"{DETAILED} 202610", f"{DETAILED} 202611"]
    assert offered(["202610", "10", "5"], ["202611", "20", "1"]) == []
    assert offered(["202610", "10", "6"], ["202611", "20", "1"]) == ["202610"]
    assert offered(["202610", "10", "5"], ["202611", "21", "1"]) == ["202611"]
    assert len({raw.content_hash for raw in first}) == 2


def test_it_reads_a_backfill_month_by_month_of_its_window(api: GoogleApi) -> None:
    api.answer(COUNTED, ["202608", "10", "5"], ["202609", "20", "1"], ["202610", "30", "1"])

    found = list(source(api).read({}, Window(datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))))

    assert [raw.name.rpartition(" ")[2] for raw in found] == ["202608"]


@pytest.mark.parametrize("month", ["2026-10", "202613", "", "20261", "x"])
def test_it_refuses_an_invoice_month_that_is_none(api: GoogleApi, month: str) -> None:
    api.answer(COUNTED, [month, "10", "5"])

    with pytest.raises(BadDelivery, match=r"invoice\.month"):
        list(source(api).read({}, SPAN))


@pytest.mark.parametrize("setting", ["project", "dataset", "table", "job_project"])
def test_t94_it_takes_no_name_that_would_change_a_query(api: GoogleApi, setting: str) -> None:
    with pytest.raises(SourceUnavailable, match="expected a name"):
        list(source(api, **{setting: "x` WHERE FALSE; DROP TABLE y; --"}).read({}, SPAN))

    assert api.asked == []


def test_t95_it_shows_this_machine_s_identity_to_nobody_but_google(
    api: GoogleApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth.default", lambda **_: pytest.fail("the machine's identity was asked for"))
    api.answer(COUNTED)

    assert list(source(api).read({}, SPAN)) == []
    assert all("authorization" not in each.headers for each in api.asked)


def test_it_asks_for_a_token_with_the_key_and_sends_it(api: GoogleApi) -> None:
    api.answer(COUNTED)
    key = key_file(token_uri=f"{api.address}/token")
    configured = GcpBilling(GcpBillingConfig(**api.config), {"service_account_json": key})

    assert list(configured.read({}, SPAN)) == []
    asked = {each.path: each for each in api.asked}
    assert "grant_type=urn" in asked["/token"].body
    assert asked["/bigquery/v2/projects/costs/jobs"].headers["authorization"] == "Bearer ya29.recorded"


def test_it_says_that_a_key_is_no_longer_taken_and_shows_nothing_of_it(api: GoogleApi) -> None:
    api.fixed["/token"] = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    key = key_file(token_uri=f"{api.address}/token")
    configured = GcpBilling(GcpBillingConfig(**api.config), {"service_account_json": key})

    found = probed(configured)["Read the dataset billing"]

    assert found.state == "missing" and "make a new key of the service account" in found.detail
    assert "assertion" not in found.detail and "PRIVATE KEY" not in found.detail


def test_t98_it_follows_no_redirect_away_from_the_address_that_was_checked(api: GoogleApi) -> None:
    away = 302, {"location": f"{api.address}/inside"}
    api.fixed["/bigquery/v2/projects/costs/datasets/billing/tables"] = away
    api.fixed["/v1/billingAccounts"] = away

    with pytest.raises(SourceUnavailable, match="redirects"):
        list(source(api).read({}, SPAN))
    with pytest.raises(SourceUnavailable, match="redirects"):
        gcp_catalogue.accounts(google_login.credentials({}, endpoint_url=api.address), api.address)

    assert "/inside" not in {each.path for each in api.asked}


# What can go wrong


def test_t96_it_refuses_a_month_whose_rows_are_not_all_there(api: GoogleApi) -> None:
    api.answer(COUNTED, ["202610", str(NEWEST), "2"])
    configured = source(api)
    (raw,) = configured.read({}, SPAN)
    api.answer(["line"], [line(export(), row(1.0))])

    with pytest.raises(SourceUnavailable, match=r"2 rows when it was counted and 1 when it was read \(difference -1\)"):
        list(configured.normalize(raw))


def test_it_pages_and_asks_again_when_the_server_is_busy(api: GoogleApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcp_queries, "_PAGE", 40)
    api.answer(COUNTED, ["202610", str(NEWEST), "100"])
    configured = source(api)
    (raw,) = configured.read({}, SPAN)
    api.answer(["line"], *[[line(export(), row(0.01))]] * 100)
    api.refuse(503, "backendError", "try again")
    api.refuse(403, "rateLimitExceeded", "too many")

    parts = list(configured.normalize(raw))

    assert [part.batch.num_rows for part in parts] == [40, 40, 20]
    numbers = [number for part in parts for number in part.batch.column("row_number").to_pylist()]
    assert numbers == list(range(1, 101))


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (
            {"reason": "bytesBilledLimitExceeded", "message": "Query exceeded limit for bytes billed"},
            "maximum_bytes_billed",
        ),
        ({"reason": "accessDenied", "message": "Access Denied"}, "roles/bigquery.jobUser on the project costs"),
        ({"reason": "notFound", "message": "Not found: Table"}, "check the project, dataset and table"),
    ],
)
def test_t97_it_says_what_to_do_when_a_query_fails(api: GoogleApi, problem: dict[str, str], says: str) -> None:
    api.answers.append(problem)

    with pytest.raises(SourceUnavailable, match=says):
        list(source(api).read({}, SPAN))


def test_it_says_that_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcp_queries, "_RETRY_SECONDS", 0.5)
    gone = GoogleApi(address="http://127.0.0.1:9")

    with pytest.raises(SourceUnavailable, match="to list the dataset billing"):
        list(source(gone).read({}, SPAN))


def test_it_refuses_a_table_that_is_no_billing_export(api: GoogleApi) -> None:
    api.tables["other"] = {"schema": {"fields": [{"name": "cost", "type": "FLOAT"}]}}

    with pytest.raises(BadDelivery, match=r"other.*no column billing_account_id, usage_start_time"):
        list(source(api, table="other").read({}, SPAN))


# The connection test


def probed(configured: GcpBilling) -> dict[str, Finding]:
    return {each.subject: each for each in configured.probe(SPAN)}


def test_it_says_what_it_can_see(api: GoogleApi) -> None:
    newest = int(datetime(2026, 11, 20, 6, tzinfo=UTC).timestamp()) * 1_000_000
    api.answer(COUNTED, ["202610", "10", "5000"], ["202611", str(newest), "1"])
    api.fixed["/v1/billingAccounts"] = (
        200,
        {"billingAccounts": [{"name": f"billingAccounts/{bigquery.ACCOUNT}", "displayName": "Main", "open": True}]},
    )
    api.fixed["/v1/services"] = (
        200,
        {"services": [{"serviceId": "C7E2-9256-1C43", "displayName": "Vertex AI"}]},
    )

    rates = [{"startUsageAmount": each, "unitPrice": {"currencyCode": "USD", "units": "1"}} for each in (0, 1000)]
    api.fixed["/v1/services/C7E2-9256-1C43/skus"] = (
        200,
        {"skus": [{"skuId": "0001-AAAA", "pricingInfo": [{"pricingExpression": {"tieredRates": rates}}]}]},
    )

    found = probed(source(api, billing_endpoint_url=api.address))

    assert {each.state for each in found.values()} == {"ok"}
    assert found["Prices of Vertex AI"].detail == "2 list prices of 1 SKUs"
    assert found[f"Query {DETAILED}"].detail == "202610: 5,000 rows, 202611: 1 rows"
    assert found[f"Newest rows of {DETAILED}"].detail == "exported 2026-11-20 06:00 UTC"
    assert (found["Billing accounts"].detail, found["Public prices"].detail) == ("Main", "1 services")


def test_it_says_in_its_test_that_prices_may_not_be_seen(api: GoogleApi) -> None:
    api.answer(COUNTED, ["202610", "10", "5"])
    api.fixed["/v1/billingAccounts"] = (200, {"billingAccounts": []})
    api.fixed["/v1/services"] = (200, {"services": [{"serviceId": "C7E2-9256-1C43", "displayName": "Vertex AI"}]})
    api.fixed["/v1/services/C7E2-9256-1C43/skus"] = (403, google_api.refusal(403, "PERMISSION_DENIED", "no"))

    found = probed(source(api, billing_endpoint_url=api.address))["Prices of Vertex AI"]

    assert found.state == "note" and "billing.viewer" in found.remedy


def test_it_says_which_columns_are_missing_and_that_the_export_is_old(api: GoogleApi) -> None:
    api.tables.clear()
    api.table(STANDARD, is_detailed=False, without=("credits", "labels"))
    api.tables[STANDARD]["schema"]["fields"].append({"name": "brand_new", "type": "STRING"})
    api.answer(COUNTED, ["202610", "1790000000000000", "5"])

    found = probed(source(api))

    assert found[f"Column credits of {STANDARD}"].detail == (
        "It is missing: discounts and credits are not seen, costs are gross."
    )
    assert "enable the detailed" in found[f"Column resource.global_name of {STANDARD}"].detail
    assert found[f"Columns of {STANDARD}"].detail == "Not read, because not known: brand_new"
    newest = found[f"Newest rows of {STANDARD}"]
    assert (newest.state, newest.remedy) == ("note", "check that the export is still enabled")
    assert found["Cloud Billing API"].state == "note"


@pytest.mark.parametrize(
    ("path", "subject", "says"),
    [
        ("/bigquery/v2/projects/costs/datasets/billing/tables", "Read the dataset billing", "bigquery.dataViewer"),
        ("/bigquery/v2/projects/costs/jobs", f"Query {DETAILED}", "roles/bigquery.jobUser on the project"),
    ],
)
def test_it_names_the_role_that_is_missing(api: GoogleApi, path: str, subject: str, says: str) -> None:
    api.fixed[path] = (403, google_api.refusal(403, "accessDenied", "Access Denied: User does not have permission"))

    found = probed(source(api))[subject]

    assert found.state == "missing" and says in found.remedy and "Access Denied" in found.detail


def test_it_goes_on_without_the_billing_api(api: GoogleApi) -> None:
    api.answer(COUNTED, ["202610", "10", "5"])
    api.fixed["/v1/billingAccounts"] = (403, google_api.refusal(403, "PERMISSION_DENIED", "no"))

    found = probed(source(api, billing_endpoint_url=api.address))

    assert found["Cloud Billing API"].state == "note" and "billing.viewer" in found["Cloud Billing API"].remedy
    assert found[f"Query {DETAILED}"].state == "ok"


# Prices


def test_it_reads_public_prices_exactly_under_the_id_that_charges_have(api: GoogleApi) -> None:
    def sku(name: str, *tiers: tuple[int, str, int]) -> dict[str, Any]:
        rates = [
            {"startUsageAmount": start, "unitPrice": {"currencyCode": "USD", "units": units, "nanos": nanos}}
            for start, units, nanos in tiers
        ]
        expression = {"usageUnit": "count", "displayQuantity": 1000000, "tieredRates": rates}
        return {
            "skuId": name,
            "description": "Gemini 2.5 Flash Text Input - Predictions",
            "category": {"serviceDisplayName": "Vertex AI"},
            "serviceRegions": ["global"],
            "pricingInfo": [{"pricingExpression": expression}],
        }

    api.fixed["/v1/services/C7E2-9256-1C43/skus"] = (
        200,
        {"skus": [sku("0001-AAAA", (0, "0", 300_000_000), (1000, "1", 1)), {"skuId": "0002-BBBB"}]},
    )

    found = list(source(api, billing_endpoint_url=api.address).sku_prices("C7E2-9256-1C43"))

    assert [(each.sku_price_id, str(each.price), each.unit) for each in found] == [
        ("0001-AAAA/0", "0.3", "count"),
        ("0001-AAAA/1000", "1.000000001", "count"),
    ]
    assert api.asked[-1].query["currencyCode"] == ["USD"]


# Into the books


@pytest.mark.django_db
def test_it_loads_corrects_and_loads_again_to_the_exact_total(api: GoogleApi) -> None:
    source_id = configure.create_source(kind="gcp_billing", name="google", config=api.config, now=NOW)
    october = [row(0.1, credits=[credit(-0.03), credit(-0.02, "PROMOTION")]), row(0.2)]
    november = [row(7.5, month="202611")]

    def synced(
        *read: list[dict[str, Any]], counted: list[list[dict[str, Any]]], lost: int = 0
    ) -> tuple[list[tuple[str, str]], str]:
        api.answer(
            COUNTED,
            *([rows[0]["invoice"]["month"], str(NEWEST + len(rows)), str(len(rows)), "0", "0"] for rows in counted),
        )
        for rows in read:
            api.answer(["line"], *([line(export(), each)] for each in rows[lost:]))
        states = [(each.name.rpartition(" ")[2], each.state) for each in load.sync(source_id=source_id, now=NOW)]
        with connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(sum(billed_cost), 0)::text FROM ingest_charge")
            return states, str(cursor.fetchone()[0])

    first = synced(october, november, counted=[october, november])
    again = synced(counted=[october, november])
    october.append(row(0.25, exported="2026-11-03T09:30:00Z"))
    halfway = synced(october, counted=[october, november], lost=1)
    late = synced(october, counted=[october, november])
    november.append(row(-0.2, month="202611", cost_type="adjustment"))
    corrected = synced(november, counted=[october, november])

    assert first == ([("202610", "succeeded"), ("202611", "succeeded")], "7.75")
    assert again == ([], "7.75")
    assert [state for _, state in halfway[0]] == ["failed"] and halfway[1] == "7.75"
    assert late == ([("202610", "succeeded")], "8.00")
    assert corrected == ([("202611", "succeeded")], "7.80")


@pytest.mark.django_db
def test_it_refuses_a_month_with_a_row_that_cannot_be_read(api: GoogleApi) -> None:
    source_id = configure.create_source(kind="gcp_billing", name="google", config=api.config, now=NOW)
    api.answer(COUNTED, ["202610", str(NEWEST), "2"])
    api.answer(["line"], [line(export(), row(1.0))], [line(export(), {**row(1.0), "cost": None})])

    (result,) = load.sync(source_id=source_id, now=NOW)

    assert (result.state, result.rows_loaded, result.rows_quarantined) == ("refused", 0, 1)
    assert "BilledCost" in result.error
