"""The billing export read from an emulated BigQuery through the real client: loaded, re-delivered, corrected, loaded again."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from ingest import configure, load
from ingest.sources.base import Finding, Window
from ingest.sources.formats.gcp import gcp_queries
from ingest.sources.gcp_billing import GcpBilling, GcpBillingConfig
from tests.servers.bigquery import DETAILED, STANDARD, credit, row, schema

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SPAN = Window(datetime(2026, 9, 19, tzinfo=UTC), NOW)
ENDPOINT = os.environ["COSTOBS_BIGQUERY"]
SUMS = """
SELECT to_char(billing_period_start, 'YYYYMM'), charge_category, sum(billed_cost)::text
FROM ingest_charge GROUP BY 1, 2 ORDER BY 1, 2
"""

pytestmark = pytest.mark.django_db


class Dataset:
    """A dataset of the emulator and what a test does to it."""

    def __init__(self) -> None:
        self.client = bigquery.Client(
            project="costs", credentials=AnonymousCredentials(), client_options={"api_endpoint": ENDPOINT}
        )
        self.name = f"billing_{uuid4().hex[:12]}"
        self.client.create_dataset(self.name)

    def table(self, name: str = DETAILED, **of: Any) -> None:
        made = bigquery.Table(
            f"costs.{self.name}.{name}", schema=[bigquery.SchemaField.from_api_repr(each) for each in schema(**of)]
        )
        made.time_partitioning = bigquery.TimePartitioning(type_="DAY")
        self.client.create_table(made)

    def insert(self, *rows: dict[str, Any], table: str = DETAILED) -> None:
        assert self.client.insert_rows_json(f"costs.{self.name}.{table}", rows) == []

    @property
    def config(self) -> dict[str, Any]:
        return {"project": "costs", "dataset": self.name, "endpoint_url": ENDPOINT}


@pytest.fixture(autouse=True)
def private_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")


@pytest.fixture
def dataset() -> Iterator[Dataset]:
    found = Dataset()
    yield found
    found.client.delete_dataset(found.name, delete_contents=True)


@pytest.fixture
def synced(dataset: Dataset) -> Callable[[], list[tuple[str, str, int]]]:
    source_id = configure.create_source(kind="gcp_billing", name="google", config=dataset.config, now=NOW)

    def sync() -> list[tuple[str, str, int]]:
        found = load.sync(source_id=source_id, now=NOW)
        return [(each.name.rpartition(" ")[2], each.state, each.rows_loaded) for each in found]

    return sync


def sums() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(SUMS)
        for month, category, amount in cursor.fetchall():
            found.setdefault(month, {})[category] = amount
    return found


def probed(found: Dataset, **config: Any) -> list[Finding]:
    return list(GcpBilling(GcpBillingConfig(**found.config | config)).probe(SPAN))


def test_it_loads_late_rows_and_corrections_to_the_exact_total(dataset: Dataset, synced: Any) -> None:
    dataset.table()
    dataset.insert(
        row(
            0.1,
            credits=[credit(-0.03, "SUSTAINED_USAGE_DISCOUNT"), credit(-0.02, "PROMOTION", name="Welcome")],
            labels=[{"key": "team", "value": "search"}],
        ),
        row(0.2),
        row(1e-7, credits=[credit(-1e-7, "FREE_TIER")]),
        row(4.35, cost_type="tax", project=None, service=None),
        row(7.5, month="202611", exported="2026-11-02T00:00:00Z"),
    )

    first = synced(), sums()
    again = synced()
    # Usage of October that is exported in November, for the invoice of October.
    dataset.insert(row(0.25, exported="2026-11-03T09:30:00.123456Z"))
    late = synced(), sums()
    # A correction is a negative row of a later export_time, on the invoice of November, about usage of October.
    info = {"id": "a1", "description": "Refund of usage", "mode": "PARTIAL_CORRECTION", "type": "USAGE_CORRECTION"}
    dataset.insert(
        row(-0.2, month="202611", exported="2026-11-10T00:00:00Z", cost_type="adjustment", adjustment_info=info)
    )
    corrected = synced(), sums()
    finally_unchanged = synced(), sums()

    october = {"Credit": "-0.0500001", "Tax": "4.35", "Usage": "0.3000001"}
    assert first == (
        [("202610", "succeeded", 7), ("202611", "succeeded", 1)],
        {"202610": october, "202611": {"Usage": "7.5"}},
    )
    assert again == []
    october["Usage"] = "0.5500001"
    assert late == ([("202610", "succeeded", 8)], {"202610": october, "202611": {"Usage": "7.5"}})
    november = {"Adjustment": "-0.2", "Usage": "7.5"}
    assert corrected == ([("202611", "succeeded", 2)], {"202610": october, "202611": november})
    assert finally_unchanged == ([], corrected[1])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT charge_class, (charge_period_start AT TIME ZONE 'UTC')::text FROM ingest_charge"
            " WHERE charge_category = 'Adjustment'"
        )
        assert cursor.fetchall() == [("Correction", "2026-10-03 07:00:00")]


def test_it_sees_a_row_that_is_late_and_older_than_the_newest(dataset: Dataset, synced: Any) -> None:
    dataset.table()
    dataset.insert(row(1.0, exported="2026-10-09T00:00:00Z"))
    synced()

    dataset.insert(row(2.0, exported="2026-10-08T00:00:00Z"))

    assert (synced(), sums()) == ([("202610", "succeeded", 2)], {"202610": {"Usage": "3.0"}})


def test_it_reads_the_detailed_table_and_never_both(dataset: Dataset, synced: Any) -> None:
    for table, is_detailed in ((DETAILED, True), (STANDARD, False)):
        dataset.table(table, is_detailed=is_detailed)
        dataset.insert(row(2.5), table=table)

    assert synced() == [("202610", "succeeded", 1)]
    assert sums() == {"202610": {"Usage": "2.5"}}


def test_it_changes_to_the_detailed_table_month_by_month(dataset: Dataset, synced: Any) -> None:
    early = {"usage_start_time": "2026-10-01T07:00:00Z", "usage_end_time": "2026-10-01T08:00:00Z"}
    late = {"usage_start_time": "2026-10-30T07:00:00Z", "usage_end_time": "2026-10-30T08:00:00Z"}
    november = {"usage_start_time": "2026-11-02T07:00:00Z", "usage_end_time": "2026-11-02T08:00:00Z", "month": "202611"}
    dataset.table(STANDARD, is_detailed=False)
    dataset.insert(row(1.0, **early), row(2.0, **late), row(4.0, **november), table=STANDARD)
    first = synced(), sums()

    # Enabled at the end of October: of that month it has a part, of November all, in more rows.
    dataset.table(DETAILED)
    dataset.insert(row(2.0, **late), row(1.5, **november), row(2.5, **november))
    second = synced(), sums()

    assert first == (
        [("202610", "succeeded", 2), ("202611", "succeeded", 1)],
        {"202610": {"Usage": "3.0"}, "202611": {"Usage": "4.0"}},
    )
    assert second == ([("202611", "succeeded", 2)], first[1])


def test_it_loads_an_old_table_that_lacks_columns(dataset: Dataset, synced: Any) -> None:
    gone = ("credits", "tags", "cost_at_list", "cost_type", "adjustment_info", "subscription", "invoice", "labels")
    dataset.table(STANDARD, is_detailed=False, without=(*gone, "consumption_model", "transaction_type", "seller_name"))
    old = row(3.25)
    dataset.insert(
        {name: value for name, value in old.items() if name not in {*gone, "transaction_type"}},
        table=STANDARD,
    )

    found = synced(), sums(), {each.subject: each.state for each in probed(dataset)}

    assert found[:2] == ([("202610", "succeeded", 1)], {"202610": {"Usage": "3.25"}})
    assert found[2][f"Column credits of {STANDARD}"] == "note" and found[2][f"Query {STANDARD}"] == "ok"


def test_it_pages_through_a_month_without_losing_a_row(
    dataset: Dataset, synced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcp_queries, "_PAGE", 300)
    dataset.table()
    dataset.insert(*(row(0.01, credits=[credit(-0.001), credit(-0.002)]) for _ in range(2000)))

    assert synced() == [("202610", "succeeded", 6000)]
    assert sums() == {"202610": {"Credit": "-6.000", "Usage": "20.00"}}


def test_it_says_what_it_can_see(dataset: Dataset) -> None:
    dataset.table()
    dataset.insert(row(1.0), row(2.0, exported="2026-11-20T06:00:00Z", month="202611"))

    found = {each.subject: each for each in probed(dataset)}

    assert found[f"Table {DETAILED}"].state == "ok" and "detailed" in found[f"Table {DETAILED}"].detail
    assert found[f"Query {DETAILED}"].detail == "202610: 1 rows, 202611: 1 rows"
    assert found[f"Newest rows of {DETAILED}"] == Finding(
        f"Newest rows of {DETAILED}", "ok", "exported 2026-11-20 06:00 UTC"
    )
    assert {each.state for each in found.values()} == {"ok", "note"}


def test_it_says_that_the_dataset_is_empty_or_the_table_not_there(dataset: Dataset) -> None:
    (empty,) = probed(dataset)
    (wrong,) = probed(dataset, table="no_such_table")

    assert (empty.state, empty.remedy.partition(" (")[0]) == (
        "missing",
        "enable the detailed usage cost export to this dataset",
    )
    assert (wrong.state, wrong.remedy) == ("missing", "roles/bigquery.dataViewer on the dataset")
    assert "404" in wrong.detail and "check the table's name" in wrong.detail
