"""Azure bills: one set of charges of a scope and month, exact, however Azure delivers it."""

import gzip
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import configure, load
from ingest.models import Charge, Delivery, Source
from ingest.rows import CHARGE, COSTS, Rejected
from ingest.sources import azure_costs
from ingest.sources.base import BadDelivery, Finding, SourceUnavailable, Window
from ingest.sources.formats.azure import azure_dates, azure_units
from tests.servers import azure_query as query_server
from tests.servers.azure_query import AzureQuery
from tests.servers.azurite import ACCOUNT, CREDENTIALS, Azurite

NOW = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = Window(datetime(2026, 10, 15, tzinfo=UTC), NOW)
SUB = "/subscriptions/s1"
VM = "/subscriptions/S1/resourceGroups/RG-Search/providers/Microsoft.Compute/virtualMachines/gpu01"
OPENAI = "/subscriptions/s1/resourceGroups/rg-ai/providers/Microsoft.CognitiveServices/accounts/answers"
ROW = {
    "Date": "11/13/2026",
    "SubscriptionId": "S1",
    "SubscriptionName": "Production",
    "ResourceGroup": "RG-Search",
    "ResourceId": VM,
    "MeterCategory": "Virtual Machines",
    "MeterSubCategory": "NCads H100 v5",
    "MeterId": "m-1",
    "MeterName": "NC40ads H100 v5",
    "UnitOfMeasure": "1 Hour",
    "Quantity": "24",
    "CostInBillingCurrency": "10",
    "BillingCurrency": "EUR",
    "ChargeType": "Usage",
    "PricingModel": "OnDemand",
    "Frequency": "UsageBased",
    "ReservationId": "",
    "PublisherType": "Azure",
    "InvoiceId": "INV-7",
    "Tags": '"team": "search","env": "prod"',
    "AdditionalInfo": "",
    "CostCenter": "CC-9",
}
# What a month with a reservation looks like in both kinds: bought in one, spread over its use and its idle hours in the other.
ACTUAL = (
    {"CostInBillingCurrency": "12.345678901234567890"},
    {"CostInBillingCurrency": "0", "PricingModel": "Reservation", "ReservationId": "r-1", "MeterId": "m-2"},
    {
        "CostInBillingCurrency": "300.00",
        "ChargeType": "Purchase",
        "PricingModel": "Reservation",
        "ReservationId": "r-1",
        "ResourceId": "",
        "Quantity": "1",
        "Frequency": "OneTime",
    },
    {"CostInBillingCurrency": "-20.5", "ChargeType": "Refund", "PricingModel": "Reservation", "ReservationId": "r-0"},
)
AMORTISED = (
    {"CostInBillingCurrency": "12.345678901234567890"},
    {"CostInBillingCurrency": "7.1", "PricingModel": "Reservation", "ReservationId": "r-1", "MeterId": "m-2"},
    {
        "CostInBillingCurrency": "2.9",
        "ChargeType": "UnusedReservation",
        "PricingModel": "Reservation",
        "ReservationId": "r-1",
        "ResourceId": "",
    },
)


def csv(*rows: Mapping[str, str], titles: Sequence[str] = tuple(ROW), names: Mapping[str, str] | None = None) -> bytes:
    """A cost file of rows that differ from ROW in what they say; `names` are other titles for columns."""
    names = names or {}
    lines = [",".join(_quoted(names.get(title, title)) for title in titles)]
    lines += [",".join(_quoted({**ROW, **row}[title]) for title in titles) for row in rows]
    return "\n".join([*lines, ""]).encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def run(
    kind: str,
    content: bytes | Sequence[bytes],
    *,
    rows: int | None,
    folder: str = "",
    submitted: str = "2026-11-19T06:00:00Z",
    scope: str = SUB,
    days: tuple[str, str] = ("2026-11-01", "2026-11-30"),
    ending: str = "csv",
    counts: Sequence[int] = (),
) -> dict[str, bytes]:
    """A run of an export as Cost Management lays it out: its partitions, then the manifest."""
    contents = [content] if isinstance(content, bytes) else list(content)
    at = f"costs/{kind.lower()}/{days[0].replace('-', '')}-{days[1].replace('-', '')}{folder}"
    blobs = {f"{at}/part_{part}_0001.{ending}": each for part, each in enumerate(contents)}
    listed = [
        {"blobName": name, "byteCount": len(each)} | ({"dataRowCount": counts[part]} if counts else {})
        for part, (name, each) in enumerate(blobs.items())
    ]
    manifest = {
        "manifestVersion": "2024-04-01",
        "blobCount": len(listed),
        "dataRowCount": rows,
        "exportConfig": {"exportName": kind.lower(), "resourceId": scope, "type": kind, "dataVersion": "2021-10-01"},
        "runInfo": {
            "executionType": "Scheduled",
            "submittedTime": submitted,
            "runId": f"{kind}-{submitted}",
            "startDate": f"{days[0]}T00:00:00",
            "endDate": f"{days[1]}T00:00:00",
        },
        "blobs": listed,
    }
    return {**blobs, f"{at}/manifest.json": orjson.dumps(manifest)}


def source(**config: Any) -> azure_costs.AzureCosts:
    return azure_costs.AzureCosts(azure_costs.AzureCostsConfig(**config))


def rows_of(found: azure_costs.AzureCosts, raw: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    read = 0
    for each in found.normalize(raw):
        assert each.batch.schema.equals(CHARGE)
        rows += each.batch.to_pylist()
        rejected += each.rejected
        read += each.batch.num_rows + len(each.rejected) + sum(each.skipped.values())
    assert raw.expected_rows is None or read == raw.expected_rows
    return rows, rejected


def read(content: bytes, **config: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    found = source(**config)
    return rows_of(found, found.open_bytes(name="bill.csv", content=content))


def read_folder(root: Path, *runs: Mapping[str, bytes], **config: Any) -> list[list[dict[str, Any]]]:
    """The rows of each month that a directory with these runs delivers."""
    write(root, *runs)
    found = source(**config)
    units = []
    for raw in found.open_paths([str(root)]):
        rows, rejected = rows_of(found, raw)
        assert rejected == []
        units.append(rows)
    return units


def write(root: Path, *runs: Mapping[str, bytes]) -> None:
    for name, content in (pair for each in runs for pair in each.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def total(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    return format(sum((Decimal(row[name]) for row in rows), Decimal(0)), "f")


def in_database() -> dict[str, str]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in Charge.objects.values(*COSTS):
        for name in ("billed_cost", "effective_cost"):
            sums[name] += row[name]
    return {name: format(amount, "f") for name, amount in sums.items()}


def made(azurite: Azurite, container: str) -> int:
    config = {"url": f"az://{ACCOUNT}/{container}/costs", **azurite.config}
    return configure.create_source(kind="azure_costs", name=container, config=config, credentials=CREDENTIALS, now=NOW)


def synced(source_id: int, now: datetime = NOW) -> list[tuple[str, int, int]]:
    return [(each.state, each.rows_loaded, each.rows_skipped) for each in load.sync(source_id=source_id, now=now)]


# ---------------------------------------------------------------------------------------------- exports in a container


@pytest.mark.django_db
def test_t102_it_joins_actual_and_amortised_to_one_set_of_charges(azurite: Azurite) -> None:
    azurite.put("both", run("ActualCost", csv(*ACTUAL), rows=4) | run("AmortizedCost", csv(*AMORTISED), rows=3))
    source_id = made(azurite, "both")

    first = synced(source_id)
    again = synced(source_id)

    # Seven rows read: two pairs, two of ActualCost alone, one of AmortizedCost alone.
    assert first == [("succeeded", 5, 2)]
    assert again == []
    assert in_database() == {"billed_cost": "291.845678901234567890", "effective_cost": "22.345678901234567890"}
    assert Charge.objects.filter(commitment_discount_status="Unused").count() == 1
    purchase = Charge.objects.get(charge_category="Purchase")
    assert (purchase.billed_cost, purchase.effective_cost) == (Decimal("300.00"), Decimal(0))
    covered = Charge.objects.get(sku_id="m-2")
    assert (covered.billed_cost, covered.effective_cost) == (Decimal(0), Decimal("7.1"))


@pytest.mark.django_db
def test_it_replaces_the_month_when_it_is_delivered_again(azurite: Azurite) -> None:
    azurite.put("again", run("ActualCost", csv({}), rows=1) | run("AmortizedCost", csv({}), rows=1))
    source_id = made(azurite, "again")
    synced(source_id)

    later = "2026-11-20T06:00:00Z"
    azurite.put(
        "again",
        run("ActualCost", csv({}, {"MeterId": "m-3", "CostInBillingCurrency": "0.25"}), rows=2, submitted=later),
    )
    corrected = synced(source_id, NOW + timedelta(days=1))

    assert corrected == [("succeeded", 2, 1)]
    # The amortised run is a day older: its one line is whole, the new line waits for its effective cost.
    assert in_database() == {"billed_cost": "10.25", "effective_cost": "10"}
    azurite.put(
        "again",
        run("AmortizedCost", csv({}, {"MeterId": "m-3", "CostInBillingCurrency": "0.25"}), rows=2, submitted=later),
    )
    assert synced(source_id, NOW + timedelta(days=1)) == [("succeeded", 2, 2)]
    assert in_database() == {"billed_cost": "10.25", "effective_cost": "10.25"}
    assert list(Delivery.objects.order_by("pk").values_list("state", "export")) == [
        ("replaced", SUB),
        ("replaced", SUB),
        ("current", SUB),
    ]


@pytest.mark.django_db
def test_t103_it_never_adds_focus_to_actual_or_amortised(azurite: Azurite) -> None:
    azurite.put("three", run("ActualCost", csv(*ACTUAL), rows=4) | run("AmortizedCost", csv(*AMORTISED), rows=3))
    source_id = made(azurite, "three")
    synced(source_id)

    azurite.put("three", run("FocusCost", focus("291.5", "22.25"), rows=1))
    with_focus = synced(source_id)

    assert with_focus == [("succeeded", 1, 0)]
    assert in_database() == {"billed_cost": "291.5", "effective_cost": "22.25"}


@pytest.mark.django_db
def test_t104_it_takes_the_newest_run_where_each_run_has_a_folder(azurite: Azurite) -> None:
    early = run("FocusCost", focus("1"), rows=1, folder="/b-run", submitted="2026-11-18T06:00:00Z")
    azurite.put("newest", early)
    source_id = made(azurite, "newest")
    synced(source_id)

    azurite.put("newest", run("FocusCost", focus("2"), rows=1, folder="/a-run", submitted="2026-11-19T06:00:00Z"))
    second = synced(source_id, NOW + timedelta(days=1))

    assert second == [("succeeded", 1, 0)]
    assert in_database()["billed_cost"] == "2"
    assert synced(source_id, NOW + timedelta(days=1)) == []


@pytest.mark.django_db
def test_t105_it_refuses_a_run_whose_rows_are_not_all_there(azurite: Azurite) -> None:
    azurite.put("short", run("ActualCost", [csv({}), csv({}, {})], rows=3, counts=(1, 2)))
    source_id = made(azurite, "short")
    synced(source_id)
    azurite.put("short", run("ActualCost", [csv({}), csv({})], rows=3, counts=(1, 2), submitted="2026-11-20T06:00:00Z"))

    refused = list(load.sync(source_id=source_id, now=NOW + timedelta(days=1)))

    assert [each.state for each in refused] == ["refused"]
    assert "part_1_0001.csv" in refused[0].error and "says 2 rows, found 1 (difference -1)" in refused[0].error
    assert in_database()["billed_cost"] == "30"
    assert "dataRowCount" in Source.objects.get(pk=source_id).last_error


@pytest.mark.django_db
def test_t106_it_passes_over_a_month_that_is_empty_so_far(azurite: Azurite) -> None:
    empty = run("ActualCost", [], rows=0)
    azurite.put(
        "empty", empty | run("ActualCost", csv({"Date": "10/31/2026"}), rows=1, days=("2026-10-01", "2026-10-31"))
    )
    source_id = made(azurite, "empty")

    found = synced(source_id)

    assert found == [("succeeded", 1, 0)]
    assert list(Delivery.objects.values_list("billing_period_start", flat=True)) == [date(2026, 10, 1)]


@pytest.mark.django_db
def test_it_takes_charges_back_when_a_month_is_delivered_empty(azurite: Azurite) -> None:
    azurite.put("emptied", run("ActualCost", csv({}), rows=1))
    source_id = made(azurite, "emptied")
    synced(source_id)

    azurite.put("emptied", run("ActualCost", [], rows=0, submitted="2026-11-20T06:00:00Z"))
    emptied = synced(source_id, NOW + timedelta(days=1))
    left = in_database()
    azurite.put("emptied", run("ActualCost", csv({}), rows=1, submitted="2026-11-21T06:00:00Z"))
    again = synced(source_id, NOW + timedelta(days=2))

    assert (emptied, left) == ([("succeeded", 0, 0)], {})
    assert (again, in_database()["billed_cost"]) == ([("succeeded", 1, 0)], "10")


def test_it_names_a_file_that_the_manifest_lists_and_nobody_delivered(azurite: Azurite) -> None:
    files = run("ActualCost", csv({}), rows=1)
    azurite.put("missing", {name: each for name, each in files.items() if name.endswith(".json")})
    found = azure_costs.AzureCosts(
        azure_costs.AzureCostsConfig(url=f"az://{ACCOUNT}/missing/costs", **azurite.config), CREDENTIALS
    )

    with pytest.raises(BadDelivery, match=r"part_0_0001\.csv.*was not delivered"):
        list(found.read({}, WINDOW))


def test_it_says_in_its_test_what_counts_and_what_does_not(azurite: Azurite) -> None:
    october = ("2026-10-01", "2026-10-31")
    azurite.put(
        "probe",
        run("ActualCost", csv({}), rows=1)
        | run("ActualCost", csv({}), rows=1, days=october)
        | run("FocusCost", focus("1"), rows=1, days=october)
        | run("ReservationDetails", csv({}), rows=1)
        | run("AmortizedCost", csv({}), rows=1, days=("2026-11-03", "2026-11-09"))
        | run("ActualCost", csv({}), rows=1, scope=f"{SUB}/resourceGroups/rg", folder="/inner"),
    )
    found = azure_costs.AzureCosts(
        azure_costs.AzureCostsConfig(url=f"az://{ACCOUNT}/probe/costs", **azurite.config), CREDENTIALS
    )

    told = {each.subject: each for each in found.probe(WINDOW)}
    left_out = [each.detail for each in found.probe(WINDOW) if each.subject == "Not loaded"]

    assert told[f"List az://{ACCOUNT}/probe/costs"].state == "ok"
    assert told[f"FocusCost 2026-10 of {SUB}"].detail == "1 rows; FocusCost counts, ActualCost beside it not"
    assert "add an export of AmortizedCost" in told[f"ActualCost 2026-11 of {SUB}"].detail
    assert left_out == [
        "exports that hold no charges: ReservationDetails",
        "runs that cover no whole month and so can replace none: amortizedcost",
        f"scopes inside another one that is delivered too: {SUB}/resourcegroups/rg",
    ]


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ({"url": f"az://{ACCOUNT}/absent-one/costs"}, "Storage Blob Data Reader on the container"),
        ({"url": ""}, "az://account/container/prefix"),
    ],
)
def test_it_says_in_its_test_what_to_grant(azurite: Azurite, config: dict[str, Any], remedy: str) -> None:
    found = azure_costs.AzureCosts(azure_costs.AzureCostsConfig(**config, **azurite.config), CREDENTIALS)

    told: list[Finding] = list(found.probe(WINDOW))

    assert "missing" in {each.state for each in told}
    assert any(remedy in each.remedy for each in told)


# ------------------------------------------------------------------------------------------------------ sets of charges


@pytest.mark.parametrize(
    ("kind", "rows", "amount"),
    [("ActualCost", ACTUAL, "291.845678901234567890"), ("AmortizedCost", AMORTISED, "22.345678901234567890")],
)
def test_t107_it_takes_both_costs_from_the_only_kind_there_is(
    tmp_path: Path, kind: str, rows: Any, amount: str
) -> None:
    (found,) = read_folder(tmp_path, run(kind, csv(*rows), rows=len(rows)))

    assert (total(found, "billed_cost"), total(found, "effective_cost")) == (amount, amount)
    assert {orjson.loads(row["extra"])["x_CostType"] for row in found} == {kind}


def test_it_joins_with_a_kind_that_is_empty_so_far(tmp_path: Path) -> None:
    (found,) = read_folder(tmp_path, run("ActualCost", [], rows=0), run("AmortizedCost", csv(*AMORTISED), rows=3))

    assert (total(found, "billed_cost"), total(found, "effective_cost")) == ("0", "22.345678901234567890")


def test_it_joins_instead_of_taking_a_focus_export_that_is_empty_so_far(tmp_path: Path) -> None:
    runs = [run("FocusCost", [], rows=0), run("ActualCost", csv({}), rows=1), run("AmortizedCost", csv({}), rows=1)]

    (found,) = read_folder(tmp_path, *runs)

    assert [(row["billed_cost"], row["effective_cost"]) for row in found] == [("10", "10")]


@pytest.mark.parametrize(("content", "counts"), [([], ()), (csv(), (5,))])
def test_it_refuses_a_manifest_that_contradicts_itself(tmp_path: Path, content: Any, counts: Sequence[int]) -> None:
    rows = 0 if counts else 5
    write(tmp_path, run("ActualCost", content, rows=rows, counts=counts))
    found = source()

    (raw,) = found.open_paths([str(tmp_path)])

    with pytest.raises(BadDelivery, match="says 5 rows, found 0"):
        list(found.normalize(raw))


def test_t108_it_pairs_lines_that_are_alike_one_by_one(tmp_path: Path) -> None:
    alike = [{"CostInBillingCurrency": cost} for cost in ("1", "2", "3")]
    actual = run("ActualCost", [csv(*alike[:2]), csv(alike[2], {"MeterId": "m-9"})], rows=4)
    amortised = run("AmortizedCost", [csv(*alike[:1]), csv(alike[1], {"MeterId": "m-8"})], rows=3)

    (found,) = read_folder(tmp_path, actual, amortised)

    assert (total(found, "billed_cost"), total(found, "effective_cost")) == ("16", "13")
    kinds = sorted(orjson.loads(row["extra"])["x_CostType"] for row in found)
    assert kinds == ["ActualCost"] * 2 + ["ActualCost and AmortizedCost"] * 2 + ["AmortizedCost"]
    assert [row["row_number"] for row in found if row["sku_id"] == "m-8"] == [2]


def test_t109_it_divides_a_run_over_several_months_among_them(tmp_path: Path) -> None:
    rows = [
        {"Date": day, "CostInBillingCurrency": cost}
        for day, cost in (("2026-09-30", "1"), ("2026-10-01", "2"), ("2026-11-05", "4"))
    ]

    units = read_folder(tmp_path, run("ActualCost", csv(*rows), rows=3, days=("2026-10-01", "2026-11-30")))

    # What lies before the run's first day stays with its first month.
    assert [total(unit, "billed_cost") for unit in units] == ["3", "4"]
    assert [{row["billing_period_start"] for row in unit} for unit in units] == [
        {date(2026, 10, 1)},
        {date(2026, 11, 1)},
    ]


def test_t110_it_keeps_months_apart_where_the_invoice_period_is_not_the_month(tmp_path: Path) -> None:
    titles = (*ROW, "BillingPeriodStartDate", "BillingPeriodEndDate")
    held = {"BillingPeriodStartDate": "2026-10-15", "BillingPeriodEndDate": "2026-11-14", "Date": "2026-11-03"}

    (found,) = read_folder(tmp_path, run("ActualCost", csv(held, titles=titles), rows=1))

    assert (found[0]["billing_period_start"], found[0]["billing_period_end"]) == (date(2026, 11, 1), date(2026, 12, 1))
    assert orjson.loads(found[0]["extra"])["BillingPeriodStartDate"] == "2026-10-15"


def test_t111_it_takes_no_run_that_ends_early_for_one_that_goes_on(tmp_path: Path) -> None:
    part = run("ActualCost", csv({}), rows=1, days=("2026-11-01", "2026-11-10"), submitted="2026-11-20T00:00:00Z")

    (found,) = read_folder(tmp_path, run("ActualCost", csv({}, {}), rows=2), part)

    assert len(found) == 2


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_it_reads_parquet_digit_by_digit(tmp_path: Path, compression: str) -> None:
    columns: dict[str, Any] = {name.lower(): [value] for name, value in ROW.items()}
    columns["date"] = pa.array([datetime(2026, 11, 3, tzinfo=UTC)], pa.timestamp("ms"))
    columns["costinbillingcurrency"] = pa.array([Decimal("0.000000080000001")], pa.decimal128(38, 15))
    columns["quantity"] = pa.array([8e-7], pa.float64())
    held = io.BytesIO()
    pq.write_table(pa.table(columns), held, compression=compression)

    (found,) = read_folder(tmp_path, run("ActualCost", held.getvalue(), rows=1, ending="snappy.parquet"))

    assert (found[0]["billed_cost"], found[0]["pricing_quantity"]) == ("0.000000080000001", "0.0000008")
    assert found[0]["charge_period_start"] == datetime(2026, 11, 3, tzinfo=UTC)


def test_it_reads_compressed_partitions(tmp_path: Path) -> None:
    parts = [gzip.compress(csv({})), gzip.compress(csv({}, {}))]

    (found,) = read_folder(tmp_path, run("ActualCost", parts, rows=3, ending="csv.gz", counts=(1, 2)))

    assert [(row["file_index"], row["row_number"]) for row in found] == [(0, 1), (1, 1), (1, 2)]


# --------------------------------------------------------------------------------------------- headers, dates and words


@pytest.mark.parametrize(
    "names",
    [
        {name: name[0].lower() + name[1:] for name in ROW},
        {name: name.upper() for name in ROW},
        {"Date": "Datum (Date)", "CostInBillingCurrency": "Kosten (CostInBillingCurrency)", "Tags": "Tags (Tags)"},
        {"Date": "\ufeffDate", "CostInBillingCurrency": " Cost In Billing Currency ", "ResourceId": "Resource ID"},
        {
            "Date": "日付（Date）",
            "CostInBillingCurrency": "PreTaxCost",
            "BillingCurrency": "Currency",
            "ResourceId": "InstanceId",
        },
        {"CostInBillingCurrency": "Cost (EUR)", "Date": "UsageDateTime", "BillingCurrency": "billing_currency_code"},
    ],
)
def test_t112_it_knows_a_column_in_every_spelling_and_language(names: Mapping[str, str]) -> None:
    rows, rejected = read(csv({}, names=names))

    assert rejected == []
    assert (rows[0]["billed_cost"], rows[0]["billing_currency"], rows[0]["resource_id"]) == ("10", "EUR", VM.lower())
    assert rows[0]["charge_period_start"] == datetime(2026, 11, 13, tzinfo=UTC)


def test_it_names_a_missing_column_and_its_closest_relatives() -> None:
    with pytest.raises(BadDelivery, match=r"CostInBillingCurrency is missing.*closest are CostInBilingCurrency"):
        read(csv({}, names={"CostInBillingCurrency": "CostInBilingCurrency"}))


def test_it_keeps_what_has_no_column_of_its_own() -> None:
    rows, _ = read(csv({}, names={"ReservationId": "Etwas Neues"}))
    extra = orjson.loads(rows[0]["extra"])

    assert (extra["MeterSubCategory"], extra["CostCenter"], extra["ResourceGroup"]) == (
        "NCads H100 v5",
        "CC-9",
        "RG-Search",
    )
    assert "Etwas Neues" not in extra  # empty there
    assert extra["PricingModel"] == "OnDemand"


@pytest.mark.parametrize(
    ("tags", "team"),
    [
        ('"team": "search","env": "prod"', "search"),
        ('{"team": "search", "env": "prod"}', "search"),
        ('{"team":"a \\"b\\", c"}', 'a "b", c'),
        ("", ""),
    ],
)
def test_t113_it_reads_tags_with_and_without_braces(tags: str, team: str) -> None:
    rows, rejected = read(csv({"Tags": tags}))

    assert rejected == []
    assert rows[0]["attr_team"] == team
    # The columns say it where no tag does.
    assert (rows[0]["attr_cost_centre"], rows[0]["attr_project"]) == ("CC-9", "rg-search")


@pytest.mark.parametrize(
    ("dates", "days"),
    [
        (("11/03/2026", "11/13/2026"), (3, 13)),
        (("03/11/2026", "13/11/2026"), (3, 13)),
        (("2026-11-03", "2026-11-13T00:00:00Z"), (3, 13)),
        (("3.11.2026", "13.11.2026"), (3, 13)),
        (("20261103", "20261113"), (3, 13)),
        (("11/03/2026 00:00:00", "11/13/2026 00:00:00"), (3, 13)),
        (("11/11/2026", "11/11/2026"), (11, 11)),
    ],
)
def test_t114_it_tells_the_order_of_a_date_from_rows_that_leave_no_doubt(
    dates: Sequence[str], days: tuple[int, int]
) -> None:
    rows, rejected = read(csv(*({"Date": each} for each in dates)))

    assert rejected == []
    assert tuple(row["charge_period_start"] for row in rows) == tuple(
        datetime(2026, 11, day, tzinfo=UTC) for day in days
    )
    assert rows[0]["charge_period_end"] == datetime(2026, 11, days[0] + 1, tzinfo=UTC)


@pytest.mark.parametrize("dates", [("11/03/2026", "11/04/2026"), ("03/11/2026", "04/11/2026")])
def test_t125_it_tells_it_from_the_period_where_every_row_is_in_doubt(tmp_path: Path, dates: Sequence[str]) -> None:
    content = csv(*({"Date": each} for each in dates))

    (found,) = read_folder(tmp_path, run("ActualCost", content, rows=2))

    assert [row["charge_period_start"].date() for row in found] == [date(2026, 11, 3), date(2026, 11, 4)]


@pytest.mark.parametrize("dates", [("03/11/2026",), ("03/11/2026", "2026-11-01"), ("11/11/2026", "03/11/2026")])
def test_t126_it_refuses_dates_that_nothing_decides(dates: Sequence[str]) -> None:
    with pytest.raises(BadDelivery) as refused:
        read(csv(*({"Date": each} for each in dates)))

    assert (refused.value.rejected.field, refused.value.rejected.row) == ("Date", 1)
    assert "set date_order" in refused.value.rejected.reason
    rows, _ = read(csv({"Date": "03/11/2026"}), date_order="day first")
    assert rows[0]["charge_period_start"].date() == date(2026, 11, 3)


@pytest.mark.parametrize(
    ("dates", "row"),
    [(("11/13/2026", "13/11/2026"), 2), (("2026-11-01", "soon"), 2)],
)
def test_it_rejects_a_date_of_another_order_by_row(dates: Sequence[str], row: int) -> None:
    _, rejected = read(csv(*({"Date": each} for each in dates)))

    assert [(each.row, each.field) for each in rejected] == [(row, "ChargePeriodStart")]
    assert dates[1] in rejected[0].reason


@pytest.mark.parametrize(
    ("unit", "category", "quantity", "consumed", "what"),
    [
        ("100 Hours", "Storage", "0.24", "24.00", "Hours"),
        ("100 Hours", "Virtual Machines", "24", "24", "Hours"),
        ("1K", "Cognitive Services", "12.3456789", "12345.6789000", "Tokens"),
        ("1M Tokens", "Cognitive Services", "0.000001", "1.000000", "Tokens"),
        ("10K", "Storage", "2", "20000", "Units"),
        ("1 GB/Month", "Storage", "3.5", "3.5", "GB/Month"),
        ("1/Month", "Storage", "1", "1", "Month"),
        ("1 MB", "Bandwidth", "5", "5", "MB"),
        ("", "Storage", "5", "5", ""),
    ],
)
def test_t115_it_multiplies_units_of_several(unit: str, category: str, quantity: str, consumed: str, what: str) -> None:
    meter = "gpt 4o 0806 Inp glbl Tokens" if what == "Tokens" else "Something"
    row = {"UnitOfMeasure": unit, "MeterCategory": category, "Quantity": quantity, "MeterName": meter}

    rows, rejected = read(csv(row))

    assert rejected == []
    assert (rows[0]["consumed_quantity"], rows[0]["consumed_unit"]) == (consumed, what)
    assert (rows[0]["pricing_quantity"], rows[0]["pricing_unit"]) == (quantity, unit)


def test_it_reads_no_open_date_in_a_file_that_seemed_to_have_none() -> None:
    found = azure_dates.days(pl.Series(["11/03/2026", "11/11/2026", "2026-11-04"]), None)

    assert found["starts"].to_list() == ["11/03/2026 as a day", "2026-11-11", "2026-11-04"]


def test_it_multiplies_units_without_losing_a_digit() -> None:
    rows, _ = read(csv({"UnitOfMeasure": "100 Hours", "MeterCategory": "Storage", "Quantity": "1." + "123456789" * 5}))

    assert rows[0]["consumed_quantity"] == "112.3456789" + "123456789" * 4 + "00"
    assert azure_units.split("1 Hour") == ("1", "Hour")


def test_t116_it_takes_a_resource_in_two_spellings_for_one() -> None:
    rows, _ = read(csv({"ResourceId": VM}, {"ResourceId": VM.upper()}))

    assert {row["resource_id"] for row in rows} == {VM.lower()}
    assert {row["resource_name"] for row in rows} == {"gpu01"}
    assert {(row["resource_type"], row["sub_account_id"]) for row in rows} == {
        ("microsoft.compute/virtualmachines", "s1")
    }


@pytest.mark.parametrize(
    ("charge", "model", "expected"),
    [
        ("Usage", "OnDemand", ("Usage", "", "", "on_demand", "Standard")),
        ("Usage", "Spot", ("Usage", "", "", "spot", "Dynamic")),
        ("Usage", "Reservation", ("Usage", "", "Used", "reserved", "Committed")),
        ("Usage", "SavingsPlan", ("Usage", "", "Used", "savings_plan", "Committed")),
        ("UnusedReservation", "Reservation", ("Usage", "", "Unused", "reserved", "Committed")),
        ("UnusedSavingsPlan", "SavingsPlan", ("Usage", "", "Unused", "savings_plan", "Committed")),
        ("Purchase", "Reservation", ("Purchase", "", "", "reserved", "Committed")),
        ("Refund", "Reservation", ("Adjustment", "Correction", "", "reserved", "Committed")),
        ("Tax", "", ("Tax", "", "", "", "")),
    ],
)
def test_t117_it_says_what_a_charge_is_in_the_words_of_focus(
    charge: str, model: str, expected: tuple[str, ...]
) -> None:
    rows, rejected = read(csv({"ChargeType": charge, "PricingModel": model, "CostInBillingCurrency": "-1.50"}))

    assert rejected == []
    names = ("charge_category", "charge_class", "commitment_discount_status", "purchase_option", "pricing_category")
    assert tuple(rows[0][name] for name in names) == expected
    assert (rows[0]["billed_cost"], rows[0]["charge_frequency"], rows[0]["invoice_id"]) == (
        "-1.50",
        "Usage-Based",
        "INV-7",
    )


def test_it_counts_a_rounding_as_an_adjustment() -> None:
    rows, rejected = read(csv({"ChargeType": "RoundingAdjustment", "CostInBillingCurrency": "0.004"}))

    assert rejected == []
    assert (rows[0]["charge_category"], rows[0]["billed_cost"]) == ("Adjustment", "0.004")


def test_t118_it_names_the_publisher_of_what_the_marketplace_sells() -> None:
    titles = (*ROW, "PublisherName", "ProductName")
    market = {
        "PublisherType": "Marketplace",
        "PublisherName": "Pinecone",
        "MeterCategory": "",
        "ProductName": "Pinecone Standard",
    }
    azure = {"PublisherName": "Microsoft", "ProductName": "NC40ads H100 v5 - DE"}

    rows, _ = read(csv(market, azure, titles=titles))

    assert [(row["service_provider_name"], row["service_name"]) for row in rows] == [
        ("Pinecone", "Pinecone Standard"),
        ("Microsoft Azure", "Virtual Machines"),
    ]
    assert {row["host_provider_name"] for row in rows} == {"Microsoft Azure"}


@pytest.mark.parametrize(
    ("meter", "model", "kind"),
    [
        ("gpt 4o 0806 Inp glbl Tokens", "gpt-4o", "input_uncached"),
        ("gpt 4o 0806 Outp glbl Tokens", "gpt-4o", "output"),
        ("gpt-4.1-mini-cached-input-Data Zone Tokens", "gpt-4.1-mini", "cache_read"),
        ("Az-GPT4o-mini-0718-Outp-regnl Tokens", "gpt-4o-mini", "output"),
        ("text embedding 3 large-glbl Tokens", "text-embedding-3-large", "input_uncached"),
    ],
)
def test_t119_it_knows_models_and_tokens_by_their_meters(meter: str, model: str, kind: str) -> None:
    row = {
        "MeterCategory": "Cognitive Services",
        "MeterSubCategory": "Azure OpenAI",
        "MeterName": meter,
        "ResourceId": OPENAI,
        "UnitOfMeasure": "1K",
    }

    rows, rejected = read(csv(row))

    assert rejected == []
    assert rows[0]["model"].startswith(model)
    assert rows[0]["token_kind"] == kind
    assert (rows[0]["resource_name"], rows[0]["consumed_unit"]) == ("answers", "Tokens")


@pytest.mark.parametrize(("pricing", "option"), [("OnDemand", "serverless"), ("Reservation", "reserved")])
def test_t120_it_tells_provisioned_throughput_by_how_it_is_paid(pricing: str, option: str) -> None:
    row = {
        "MeterCategory": "Cognitive Services",
        "MeterSubCategory": "Azure OpenAI",
        "MeterName": "Provisioned Managed Global Unit",
        "PricingModel": pricing,
        "ResourceId": OPENAI,
        "UnitOfMeasure": "1 Hour",
    }

    rows, _ = read(csv(row))

    assert (rows[0]["purchase_option"], rows[0]["token_kind"]) == (option, "")


def test_t121_it_names_the_endpoint_of_machine_learning_by_its_tags() -> None:
    tags = '"azuremlendpoint": "ranker","azuremldeployment": "blue"'
    held = "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"

    rows, _ = read(csv({"Tags": tags, "ResourceId": held}))

    assert rows[0]["resource_name"] == "ranker/blue"
    assert rows[0]["resource_type"] == "microsoft.machinelearningservices/onlineendpoints"


@pytest.mark.parametrize("cost", ["NaN", "", "1,5", "ten"])
def test_it_refuses_a_cost_that_is_no_number_in_each_kind(tmp_path: Path, cost: str) -> None:
    bad = {"CostInBillingCurrency": cost}
    write(tmp_path, run("ActualCost", csv({}), rows=1), run("AmortizedCost", csv(bad), rows=1))
    found = source()

    (raw,) = found.open_paths([str(tmp_path)])
    rejected = [one for each in found.normalize(raw) for one in each.rejected]

    assert [(each.row, each.field) for each in rejected] == [(1, "EffectiveCost")]
    _, alone = read(csv(bad))
    assert [(each.row, each.field) for each in alone] == [(1, "BilledCost")]


def test_it_takes_the_list_cost_that_azure_states(tmp_path: Path) -> None:
    titles = (*ROW, "PaygCostInBillingCurrency")

    rows, _ = read(csv({"PaygCostInBillingCurrency": "12.5"}, {"PaygCostInBillingCurrency": ""}, titles=titles))

    assert [row["list_cost"] for row in rows] == ["12.5", "10"]


def test_it_refuses_a_truncated_partition_by_name(tmp_path: Path) -> None:
    content = gzip.compress(csv(*({"MeterId": str(number)} for number in range(500))))
    write(tmp_path, run("ActualCost", content[: len(content) // 2], rows=500, ending="csv.gz"))
    found = source()

    (raw,) = found.open_paths([str(tmp_path)])

    with pytest.raises(BadDelivery, match=r"part_0_0001\.csv\.gz.*truncated"):
        list(found.normalize(raw))


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "costs/actualcost/other/part_0_0001.csv"])
def test_t127_it_takes_no_file_but_those_of_the_run(tmp_path: Path, name: str) -> None:
    files = run("ActualCost", csv({}), rows=1)
    path = next(each for each in files if each.endswith("manifest.json"))
    manifest = orjson.loads(files[path])
    manifest["blobs"][0]["blobName"] = name.replace("part_0", "part_7")
    write(tmp_path, files, {path: orjson.dumps(manifest)})

    with pytest.raises(BadDelivery, match="was not delivered"):
        list(source().open_paths([str(tmp_path)]))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "not valid JSON"),
        (b'{"exportConfig": {"type": "ActualCost"}, "runInfo": {}}', "lists no blobs"),
        (b'{"exportConfig": {"type": "ActualCost"}, "blobs": [{}]}', "which days it covers"),
        (
            b'{"exportConfig": {"type": "Usage"}, "runInfo": {"startDate": "2026-11-01", "endDate": "2026-11-30"}, "blobs": [{}]}',
            "a blob without a name",
        ),
    ],
)
def test_it_names_what_a_manifest_lacks(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)

    with pytest.raises(BadDelivery, match=told):
        list(source().open_paths([str(tmp_path)]))


def test_it_reads_the_period_from_the_folder_where_the_manifest_does_not_say_it(tmp_path: Path) -> None:
    files = run("ActualCost", csv({"Date": "11/03/2026"}), rows=1)
    path = next(each for each in files if each.endswith("manifest.json"))
    manifest = orjson.loads(files[path])
    manifest["runInfo"] = {}

    (found,) = read_folder(tmp_path, files, {path: b"\xef\xbb\xbf" + orjson.dumps(manifest)})

    assert found[0]["charge_period_start"].date() == date(2026, 11, 3)


def test_it_takes_focus_resources_in_lower_case_and_keeps_their_own_words(tmp_path: Path) -> None:
    header, row = focus("1").decode().splitlines()
    content = f"{header},ResourceId,x_SkuMeterName\n{row},{VM},gpt 4o 0806 Inp glbl Tokens\n".encode()

    (found,) = read_folder(tmp_path, run("FocusCost", content, rows=1))

    assert found[0]["resource_id"] == VM.lower()
    assert orjson.loads(found[0]["extra"])["x_SkuMeterName"] == "gpt 4o 0806 Inp glbl Tokens"
    assert found[0]["token_kind"] == "input_uncached"


def test_it_says_that_a_directory_has_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv({}))

    with pytest.raises(SourceUnavailable, match=r"holds no manifest\.json"):
        list(source().open_paths([str(tmp_path)]))


# --------------------------------------------------------------------------------------------------------- the query API


@pytest.fixture(scope="module")
def api() -> Iterator[AzureQuery]:
    with query_server.started() as server:
        yield server


@pytest.fixture
def query(api: AzureQuery) -> AzureQuery:
    api.reset()
    return api


def asking(query: AzureQuery, **config: Any) -> azure_costs.AzureCosts:
    settings = {"mode": "query", "scope": "/subscriptions/S1/", "management_url": query.url, **config}
    return azure_costs.AzureCosts(azure_costs.AzureCostsConfig(**settings), query_server.CREDENTIALS)


@pytest.mark.django_db
def test_t122_it_joins_both_kinds_of_the_api_and_replaces_the_month(query: AzureQuery) -> None:
    query.page = 1
    query.rows["ActualCost"] = [
        ("0.10000000000000000001", 20261101, OPENAI, "gpt 4o 0806 Inp glbl Tokens", "EUR"),
        ("1E-7", 20261102, OPENAI, "gpt 4o 0806 Outp glbl Tokens", "EUR"),
        ("300", 20261102, "", "Reserved H100", "EUR"),
        ("5", 20261031, VM, "NC40ads H100 v5", "EUR"),
        ("7", 20261103, VM.upper(), "NC40ads H100 v5", "EUR"),
    ]
    query.rows["AmortizedCost"] = [
        ("0.10000000000000000001", 20261101, OPENAI, "gpt 4o 0806 Inp glbl Tokens", "EUR"),
        ("1E-7", 20261102, OPENAI, "gpt 4o 0806 Outp glbl Tokens", "EUR"),
        ("5", 20261031, VM, "NC40ads H100 v5", "EUR"),
        ("9.75", 20261103, VM, "NC40ads H100 v5", "EUR"),
    ]
    config = {"mode": "query", "scope": "/subscriptions/S1", "management_url": query.url}
    source_id = configure.create_source(
        kind="azure_costs", name="query", config=config, credentials=query_server.CREDENTIALS, now=NOW
    )

    first = synced(source_id)
    again = synced(source_id)
    before = in_database()
    query.rows["ActualCost"][2] = ("290", 20261102, "", "Reserved H100", "EUR")
    corrected = synced(source_id)

    assert first == [("succeeded", 1, 0), ("succeeded", 4, 0)]
    assert again == []
    assert before == {"billed_cost": "312.10000010000000000001", "effective_cost": "14.85000010000000000001"}
    assert corrected == [("succeeded", 4, 0)]
    assert in_database()["billed_cost"] == "302.10000010000000000001"
    assert {each["skip"] for each in query.asked} == {"", "1", "2", "3"}
    purchase = Charge.objects.get(charge_category="Purchase")
    assert (purchase.billed_cost, purchase.effective_cost) == (Decimal(290), Decimal(0))
    # Two spellings of one resource are one line.
    machine = Charge.objects.get(billed_cost=7)
    assert (machine.resource_id, machine.resource_name, machine.effective_cost) == (
        VM.lower(),
        "gpu01",
        Decimal("9.75"),
    )


@pytest.mark.django_db
def test_it_takes_back_what_the_api_does_not_tell_any_more(query: AzureQuery) -> None:
    query.rows["ActualCost"] = [("1", 20261101, VM, "m", "EUR")]
    config = {"mode": "query", "scope": "/subscriptions/S1", "management_url": query.url}
    source_id = configure.create_source(
        kind="azure_costs", name="query", config=config, credentials=query_server.CREDENTIALS, now=NOW
    )
    synced(source_id)

    query.rows["ActualCost"] = []
    emptied = synced(source_id)
    left = in_database()
    query.rows["ActualCost"] = [("1", 20261101, VM, "m", "EUR")]
    again = synced(source_id)

    assert (emptied, left) == ([("succeeded", 0, 0)], {})
    assert (again, in_database()["billed_cost"]) == ([("succeeded", 1, 0)], "1")


def test_it_asks_for_whole_months_by_day_and_two_groups(query: AzureQuery) -> None:
    list(asking(query, group_by=["ServiceName", "tag:team"]).read({}, WINDOW))

    assert [(each["type"], each["timePeriod"]["from"][:10], each["timePeriod"]["to"][:10]) for each in query.asked] == [
        ("ActualCost", "2026-10-01", "2026-10-31"),
        ("AmortizedCost", "2026-10-01", "2026-10-31"),
        ("ActualCost", "2026-11-01", "2026-11-20"),
        ("AmortizedCost", "2026-11-01", "2026-11-20"),
    ]
    assert query.asked[0]["dataset"]["grouping"] == [
        {"type": "Dimension", "name": "ServiceName"},
        {"type": "TagKey", "name": "team"},
    ]


@pytest.mark.parametrize(
    ("told", "category"), [("Usage", "Usage"), ("Tax", "Tax"), ("Refund", "Adjustment"), ("Purchase", "Purchase")]
)
def test_it_takes_the_charge_type_where_it_groups_by_it(query: AzureQuery, told: str, category: str) -> None:
    query.rows["ActualCost"] = [("1", 20261101, told, "search", "EUR")]
    found = asking(query, group_by=["ChargeType", "SubscriptionId"])

    (raw,) = found.read({}, WINDOW)
    rows, rejected = rows_of(found, raw)

    assert rejected == []
    assert [(row["charge_category"], row["sub_account_id"], row["billed_cost"]) for row in rows] == [
        (category, "search", "1")
    ]


@pytest.mark.parametrize("name", ["Retry-After", "x-ms-ratelimit-microsoft.costmanagement-entity-retry-after"])
def test_t123_it_comes_again_as_soon_as_the_api_lets_it(query: AzureQuery, name: str) -> None:
    query.rows["ActualCost"] = [("1", 20261101, VM, "m", "EUR"), ("2", 20261102, VM, "m", "EUR")]
    query.page = 1
    query.refusals = [(429, {name: "0"}), (503, {name: "0"}), (429, {name: "0"})]

    (raw,) = asking(query).read({}, WINDOW)

    assert [line.actual for line in raw.payload.lines] == ["1", "2"]
    assert query.refusals == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "3600"},
        {"x-ms-ratelimit-microsoft.costmanagement-tenant-retry-after": "3600", "Retry-After": "5"},
        {"X-Ms-Ratelimit-Microsoft.CostManagement-QPU-Retry-After": "3600"},
    ],
)
def test_it_does_not_wait_for_the_api_for_ever(query: AzureQuery, headers: dict[str, str]) -> None:
    query.refusals = [(429, headers)]

    with pytest.raises(SourceUnavailable, match=r"\(429\) and asks to wait 3600 s; the next run goes on"):
        list(asking(query).read({}, WINDOW))


def test_it_gives_up_when_the_api_refuses_again_and_again(query: AzureQuery) -> None:
    query.refusals = [(429, {"Retry-After": "0"})] * 50

    with pytest.raises(SourceUnavailable, match="does not answer"):
        list(asking(query).read({}, WINDOW))
    assert len(query.refusals) == 44


def test_t124_it_sends_its_token_to_no_other_service(query: AzureQuery) -> None:
    query.rows["ActualCost"] = [("1", 20261101, VM, "m", "EUR"), ("2", 20261102, VM, "m", "EUR")]
    query.page, query.next_host = 1, "http://127.0.0.1:9"

    with pytest.raises(BadDelivery, match="the next page is at another service"):
        list(asking(query).read({}, WINDOW))


@pytest.mark.parametrize("cost", ["NaN", '"12"', "null", "true"])
def test_it_refuses_a_cost_of_the_api_that_is_no_number(query: AzureQuery, cost: str) -> None:
    query.rows["ActualCost"] = [(cost, 20261101, VM, "m", "EUR")]

    with pytest.raises(BadDelivery, match="expected a cost"):
        list(asking(query).read({}, WINDOW))


def test_it_says_in_its_test_that_both_kinds_can_be_asked(query: AzureQuery) -> None:
    query.rows["ActualCost"] = [("1", 20261119, VM, "m", "EUR")]

    told = [(each.subject, each.state, each.detail) for each in asking(query).probe(WINDOW)]

    assert told == [
        ("Ask /subscriptions/s1 for ActualCost", "ok", "1 lines on 2026-11-19"),
        ("Ask /subscriptions/s1 for AmortizedCost", "ok", "0 lines on 2026-11-19"),
    ]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"scope": "/subscriptions/other"}, "check the scope"),
        ({"scope": ""}, "set scope to"),
        ({"scope": "/subscriptions/s1?x="}, "expected a scope"),
        ({"scope": "/subscriptions/../s1"}, "expected a scope"),
        ({"group_by": ["a", "b", "c"]}, "group_by has 3"),
        ({"management_url": "http://management.example"}, "cannot be resolved"),
        ({"management_url": "http://192.0.2.1"}, "192.0.2.1"),
    ],
)
def test_it_says_what_to_change_when_the_api_refuses(query: AzureQuery, config: dict[str, Any], told: str) -> None:
    found = list(asking(query, **config).probe(WINDOW))

    assert {each.state for each in found} == {"missing"}
    assert told in found[0].detail
    assert found[0].remedy == "Cost Management Reader on the scope"


def test_it_says_which_credentials_are_refused(query: AzureQuery) -> None:
    found = azure_costs.AzureCosts(asking(query).config, {"access_token": "stale-secret"})

    told = list(found.probe(WINDOW))

    assert {each.state for each in told} == {"missing"}
    assert "check the credentials" in told[0].detail and "stale-secret" not in told[0].detail


# ------------------------------------------------------------------------------------------------------------- FOCUS rows


def focus(*costs: str) -> bytes:
    """A FocusCost file of one row, billed and effective."""
    billed, effective = costs[0], costs[-1]
    header = (
        "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingPeriodEnd"
    )
    row = (
        f"{billed},{effective},EUR,2026-11-03T00:00:00Z,2026-11-04T00:00:00Z,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z"
    )
    return f"{header}\n{row}\n".encode()
