"""FOCUS bills: every digit of money, every version's names, and refusals that say where and why."""

import gzip
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.rows import CHARGE, Rejected
from ingest.sources import focus_export
from ingest.sources.base import BadDelivery, SourceUnavailable, Window
from tests.servers.s3 import CREDENTIALS, S3

GOLDEN = Path(__file__).parents[2] / "golden" / "focus"
ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
HEADER = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd"
ROW = "1.5,USD,2026-10-01T00:00:00Z,2026-10-01T01:00:00Z"


def source(**config: Any) -> focus_export.FocusExport:
    return focus_export.FocusExport(focus_export.FocusExportConfig(**config))


def rows_of(found: focus_export.FocusExport, raw: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for each in found.normalize(raw):
        assert each.batch.schema.equals(CHARGE)
        rows += each.batch.to_pylist()
        rejected += each.rejected
    return rows, rejected


def read(content: str | bytes, **config: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    found = source(**config)
    return rows_of(
        found, found.open_bytes(name="bill.csv", content=content.encode() if isinstance(content, str) else content)
    )


def billed_by_provider(rows: list[dict[str, Any]]) -> dict[str, str]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["service_provider_name"]] += Decimal(row["billed_cost"])
    return {name: str(amount) for name, amount in sums.items()}


def test_it_loads_the_real_sample_with_its_exact_totals() -> None:
    found = source()
    raw = next(found.open_paths([str(GOLDEN / "focus_sample.csv")]))

    rows, rejected = rows_of(found, raw)

    assert rejected == []
    assert billed_by_provider(rows) == {
        "AWS": "18.00663861840",
        "Microsoft": "1.97651418586",
        "Oracle": "0.53707392473",
    }
    assert (raw.export, len(rows)) == ("focus_sample", 1000)
    assert raw.content_hash == raw.run_id != ""


def test_it_keeps_each_cost_of_the_real_sample_digit_for_digit() -> None:
    import csv

    rows, _ = read((GOLDEN / "focus_sample.csv").read_bytes())

    with (GOLDEN / "focus_sample.csv").open(encoding="utf-8") as handle:
        written = list(csv.DictReader(handle))
    assert [row["billed_cost"] for row in rows] == [row["BilledCost"] for row in written]
    assert [row["list_cost"] for row in rows] == [row["ListCost"] for row in written]
    extra = orjson.loads(rows[0]["extra"])
    assert extra["Id"] == written[0]["Id"] and extra["ListUnitPrice"] == written[0]["ListUnitPrice"]


@pytest.mark.parametrize(
    ("name", "count", "billed", "refused"),
    [
        ("virtual_currency_pricing_model_a1.csv", 1, "200000.00", []),
        ("virtual_currency_pricing_model_a2.csv", 3, "0.00", []),
        ("simple_saas_agreements_c.csv", 3, "35800.00", []),
        ("commitment_discount_usage_scenario_1.csv", 1, "0.00", []),
        ("saas_spend_agreements_a1.csv", 4, "1200", []),
        # The specification's own example has an end of "2023-02-01T30:00:00Z".
        ("commitment_discount_purchase_scenario_2.csv", 2, "2.00", [(3, "ChargePeriodEnd")]),
    ],
)
def test_it_reads_the_examples_of_the_specification(name: str, count: int, billed: str, refused: list[Any]) -> None:
    rows, rejected = read((GOLDEN / "spec" / name).read_bytes(), default_currency="usd")

    assert len(rows) == count
    assert str(sum(Decimal(row["billed_cost"]) for row in rows)) == billed
    assert [(each.row, each.field) for each in rejected] == refused
    assert {row["billing_currency"] for row in rows} == {"USD"}


def test_t03_it_reads_american_dates_after_a_byte_order_mark() -> None:
    rows, _ = read((GOLDEN / "spec" / "virtual_currency_pricing_model_a1.csv").read_bytes())

    assert rows[0]["charge_period_start"] == datetime(2025, 4, 1, tzinfo=UTC)
    assert (rows[0]["billing_period_start"], rows[0]["billing_period_end"]) == (date(2025, 4, 1), date(2025, 5, 1))
    assert orjson.loads(rows[0]["extra"])["PricingCurrency"] == "USD"


@pytest.mark.parametrize(
    ("provider", "host"),
    [
        ("ProviderName", "PublisherName"),
        ("ServiceProviderName", "HostProviderName"),
        ("service provider name", "host_provider_name"),
    ],
)
def test_t04_it_accepts_the_names_of_all_versions(provider: str, host: str) -> None:
    rows, _ = read(f"{HEADER.lower()},{provider},{host}\n{ROW},Acme,Hosted\n")

    assert (rows[0]["service_provider_name"], rows[0]["host_provider_name"]) == ("Acme", "Hosted")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_t06_it_tells_the_delimiter_from_the_header(delimiter: str) -> None:
    rows, _ = read(f"{HEADER}\n{ROW}\n".replace(",", delimiter))

    assert rows[0]["billed_cost"] == "1.5"


def test_t08_it_takes_unstated_costs_for_the_billed_one() -> None:
    rows, _ = read(f"{HEADER},EffectiveCost,ListCost\n{ROW},NULL,\n")

    assert {rows[0][name] for name in ("billed_cost", "effective_cost", "list_cost", "contracted_cost")} == {"1.5"}


@pytest.mark.parametrize(
    "cost", ["NaN", "inf", "-Infinity", "", "abc", "1,234", "1.2.3", "0x10", "NULL", "١٢", "(1.5)"]
)
def test_t09_it_refuses_a_cost_that_is_no_number_by_row_and_field(cost: str) -> None:
    quoted = f'"{cost}"'

    rows, rejected = read(f"{HEADER}\n{ROW}\n{quoted},USD,2026-10-01,2026-10-02\n")

    assert len(rows) == 1
    assert [(each.file, each.row, each.field) for each in rejected] == [("bill.csv", 2, "BilledCost")]


@pytest.mark.parametrize(
    ("cost", "kept"),
    [
        ("$10,000.00", "10000.00"),
        ("1e-7", "0.0000001"),
        ("-0.000000000000000000001", "-0.000000000000000000001"),
        (" 2.50 ", "2.50"),
        ("8E+2", "800"),
    ],
)
def test_it_keeps_odd_but_certain_costs_exactly(cost: str, kept: str) -> None:
    rows, rejected = read(f'{HEADER}\n"{cost}",USD,2026-10-01,2026-10-02\n')

    assert rejected == []
    assert rows[0]["billed_cost"] == kept


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("1,USD,1970-01-01,1970-01-02", "ChargePeriodStart"),
        ("1,USD,2026-10-01,2101-01-02", "ChargePeriodEnd"),
        ("1,USD,soon,2026-10-02", "ChargePeriodStart"),
        ("1,USD,2026-10-02,2026-10-01", "ChargePeriodEnd"),
        ("1,,2026-10-01,2026-10-02", "BillingCurrency"),
    ],
)
def test_it_refuses_a_row_that_cannot_be_placed(row: str, field: str) -> None:
    _, rejected = read(f"{HEADER}\n{row}\n")

    assert [each.field for each in rejected] == [field]


def test_it_names_a_missing_column_and_its_closest_relatives() -> None:
    with pytest.raises(BadDelivery, match=r"bill\.csv.*BilledCost is missing.*closest are BiledCost"):
        read(f"{HEADER.replace('BilledCost', 'BiledCost')}\n{ROW}\n")


@pytest.mark.parametrize("content", ["", "\n"])
def test_it_refuses_an_empty_file(content: str) -> None:
    with pytest.raises(BadDelivery, match="empty"):
        read(content)


def test_it_accepts_a_bill_without_a_single_row() -> None:
    assert read(f"{HEADER}\n") == ([], [])


def test_it_refuses_a_row_with_too_many_fields_by_its_number() -> None:
    with pytest.raises(BadDelivery) as refused:
        read(f"{HEADER}\n{ROW}\n{ROW},extra\n")

    assert (refused.value.rejected.row, refused.value.rejected.file) == (2, "bill.csv")


def test_t15_it_refuses_a_truncated_gzip_by_name() -> None:
    content = gzip.compress((GOLDEN / "focus_sample.csv").read_bytes())

    with pytest.raises(BadDelivery, match=r"bill\.csv.*truncated"):
        read(content[: len(content) // 2])


def test_it_refuses_truncated_parquet_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"BilledCost": ["1"]}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()

    with pytest.raises(BadDelivery, match=r"bill\.csv.*truncated"):
        read(content[:-20])


def test_t10_it_reads_parquet_of_every_type_without_losing_a_digit(tmp_path: Path) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    table = pa.table(
        {
            "BilledCost": pa.array(
                [Decimal("0.000000080000"), Decimal("-12345678901234567890.000000000001")], pa.decimal128(38, 12)
            ),
            "EffectiveCost": pa.array([8e-7, 0.1], pa.float64()),
            "ListCost": pa.array([1, 2], pa.int64()),
            "BillingCurrency": pa.array(["USD", "USD"]).dictionary_encode(),
            "ChargePeriodStart": pa.array([start, start], pa.timestamp("ms")),
            "ChargePeriodEnd": pa.array([start, start], pa.timestamp("ns", tz="UTC")),
            "BillingPeriodStart": pa.array([date(2026, 10, 1)] * 2),
            "Tags": pa.array([[("team", "search")], None], pa.map_(pa.string(), pa.string())),
            "x_Exact": pa.array([True, None]),
        }
    )
    pq.write_table(table, tmp_path / "bill.parquet")
    found = source()

    rows, rejected = rows_of(found, next(found.open_paths([str(tmp_path / "bill.parquet")])))

    assert rejected == []
    assert [row["billed_cost"] for row in rows] == ["0.000000080000", "-12345678901234567890.000000000001"]
    assert [row["effective_cost"] for row in rows] == ["0.0000008", "0.1"]
    assert [row["list_cost"] for row in rows] == ["1", "2"]
    assert rows[0]["charge_period_start"] == start
    assert (rows[0]["attr_team"], rows[0]["tags"], rows[1]["tags"]) == ("search", '{"team":"search"}', "{}")
    assert orjson.loads(rows[0]["extra"]) == {"x_Exact": "true"}


def test_it_reads_two_columns_of_one_name_in_parquet(tmp_path: Path) -> None:
    titles = [*HEADER.split(","), "Note", "Note"]
    table = pa.table([pa.array([value]) for value in (*ROW.split(","), "a", "b")], names=titles)
    pq.write_table(table, tmp_path / "bill.parquet")

    rows, rejected = read((tmp_path / "bill.parquet").read_bytes())

    assert (rejected, orjson.loads(rows[0]["extra"])) == ([], {"Note": "a", "Note (6)": "b"})


def test_it_refuses_a_moment_that_no_calendar_has_by_row(tmp_path: Path) -> None:
    moments = pa.array([300 * 10**12, 0], pa.timestamp("s", tz="UTC"))
    columns = {"BilledCost": [1.5, 2.5], "BillingCurrency": ["USD"] * 2}
    table = pa.table(columns | {"ChargePeriodStart": moments, "ChargePeriodEnd": moments})
    pq.write_table(table, tmp_path / "bill.parquet")

    _, rejected = read((tmp_path / "bill.parquet").read_bytes())

    assert [(each.row, each.field) for each in rejected] == [(1, "ChargePeriodStart"), (2, "ChargePeriodStart")]


@pytest.mark.parametrize("store_schema", [True, False])
def test_t250_it_refuses_a_small_file_that_unpacks_without_end(tmp_path: Path, store_schema: bool) -> None:
    """A text of a megabyte in a hundred thousand rows: 50 kB of Parquet, 100 GB of text."""
    rows = 100_000
    values = [*ROW.split(","), "z" * (1 << 20)]
    repeated = [pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([each])) for each in values]
    table = pa.table(repeated, names=[*HEADER.split(","), "x_Note"])
    pq.write_table(table, tmp_path / "bill.parquet", store_schema=store_schema)

    assert (tmp_path / "bill.parquet").stat().st_size < 200_000
    with pytest.raises(BadDelivery, match="104,857,600,000 bytes of text"):
        read((tmp_path / "bill.parquet").read_bytes())


@pytest.mark.parametrize("start", [b"", f"{HEADER}\n".encode(), f'{HEADER}\n"'.encode()])
def test_it_refuses_a_line_without_end_and_does_not_hold_it(start: bytes) -> None:
    with pytest.raises(BadDelivery, match=r"straddles|field limit"):
        read(gzip.compress(start + b"0" * (64 << 20), 1))


def test_it_reads_lines_that_end_in_a_carriage_return_alone() -> None:
    rows, rejected = read(f"{HEADER}\r{ROW}\r")

    assert (rejected, [row["billed_cost"] for row in rows]) == ([], ["1.5"])


def test_it_refuses_a_not_a_number_in_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "BilledCost": [1.0, float("nan")],
            "BillingCurrency": ["USD"] * 2,
            "ChargePeriodStart": ["2026-10-01"] * 2,
            "ChargePeriodEnd": ["2026-10-02"] * 2,
        }
    )
    pq.write_table(table, tmp_path / "bill.parquet")
    found = source()

    _, rejected = rows_of(found, next(found.open_paths([str(tmp_path / "bill.parquet")])))

    assert [(each.row, each.field) for each in rejected] == [(2, "BilledCost")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=21, min_value=-(10**15), max_value=10**15),
        min_size=1,
        max_size=20,
    )
)
def test_it_never_changes_a_digit_of_money(amounts: list[Decimal]) -> None:
    lines = [f"{amount:f},USD,2026-10-01,2026-10-02" for amount in amounts]

    rows, rejected = read("\n".join([HEADER, *lines]) + "\n")

    assert rejected == []
    assert [row["billed_cost"] for row in rows] == [f"{amount:f}" for amount in amounts]


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ('{"Team": "search", "env": "prod"}', {"Team": "search", "env": "prod"}),
        ('"Team": "search","env": "prod"', {"Team": "search", "env": "prod"}),  # Microsoft's older exports
        ("{'Team': 'search'}", {"_raw": "{'Team': 'search'}"}),
        ("[1]", {"_raw": "[1]"}),
        ("NULL", {}),
    ],
)
def test_t11_it_loses_no_tags_however_they_are_written(tags: str, kept: dict[str, str]) -> None:
    escaped = tags.replace('"', '""')

    rows, rejected = read(f'{HEADER},Tags\n{ROW},"{escaped}"\n')

    assert rejected == []
    assert orjson.loads(rows[0]["tags"]) == kept
    if "Team" in kept:
        assert (rows[0]["attr_team"], rows[0]["attr_environment"]) == ("search", "prod")


def test_it_reads_attributes_by_configured_tags() -> None:
    tags = '{""squad"": ""blue"", ""team"": ""x"", ""Cost-Center"": ""42"", ""product"": ""p""}'
    row = f'{HEADER},Tags,SubAccountId,ServiceName\n{ROW},"{tags}",acc,Bedrock\n'

    rows, _ = read(row, tag_map={"team": "squad"}, tag_keys=["Product"])

    assert (rows[0]["attr_team"], rows[0]["attr_cost_centre"], rows[0]["attr_account"]) == ("blue", "42", "acc")
    assert (rows[0]["attr_tags"], rows[0]["attr_service_name"]) == ('{"product":"p"}', "Bedrock")


def test_t07_it_keeps_quotes_and_unknown_columns_in_extra() -> None:
    rows, _ = read(f'{HEADER},x_Note,x_Note,Weird "Name"\n{ROW},"say ""hi"" \\ ü",2,3\n')

    assert orjson.loads(rows[0]["extra"]) == {"x_Note": 'say "hi" \\ ü', "x_Note (6)": "2", 'Weird "Name"': "3"}


def test_it_keeps_what_later_versions_of_focus_add() -> None:
    """The virtual currency of 1.2, the split allocation of 1.3 and the invoice detail of 1.4 have no column of ours."""
    told = {
        "ServiceProviderName": "Acme AI",
        "HostProviderName": "AWS",
        "InvoiceIssuerName": "Acme Billing",
        "InvoiceDetailId": "INV-7/3",
        "PricingCurrency": "Tokens",
        "PricingCurrencyListUnitPrice": "1.0",
        "PricingCurrencyContractedUnitPrice": "0.90",
        "PricingCurrencyEffectiveCost": "123456789012345678.123456789",
        "AllocatedMethodId": "m-1",
        "AllocatedResourceId": "pod-1",
        "ContractApplied": "[]",
    }

    (row,), rejected = read(f"{HEADER},{','.join(told)}\n{ROW},{','.join(told.values())}\n")

    named = ("service_provider_name", "host_provider_name", "invoice_issuer_name")
    assert rejected == []
    assert [row[name] for name in named] == ["Acme AI", "AWS", "Acme Billing"]
    assert orjson.loads(row["extra"]) == {name: value for name, value in told.items() if not name.endswith("Name")}


def test_it_keeps_virtual_currencies_of_the_examples_of_the_specification() -> None:
    import csv

    seen = set()
    for path in sorted((GOLDEN / "spec").glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as handle:
            written = list(csv.DictReader(handle))
        virtual = [name for name in written[0] if name and name.startswith("PricingCurrency")]
        for row in read(path.read_bytes(), default_currency="USD")[0]:
            said = {name: written[row["row_number"] - 1][name] for name in virtual}
            kept = orjson.loads(row["extra"])
            assert {name: kept[name] for name in virtual if name in kept} == {
                name: value for name, value in said.items() if value.lower() not in ("", "null")
            }
            seen.add(said.get("PricingCurrency"))
    assert "Token" in seen


def test_it_says_which_model_and_kind_of_token_a_line_charges_for() -> None:
    lines = [
        f"{ROW},OpenAI,{meter}"
        for meter in ("gpt-5-mini-2025-08-07 input", "gpt-5-mini-2025-08-07 output", "Storage GB")
    ]

    rows, _ = read("\n".join([f"{HEADER},ProviderName,SkuMeter", *lines]))

    assert [(row["model"], row["token_kind"]) for row in rows] == [
        ("gpt-5-mini", "input_uncached"),
        ("gpt-5-mini", "output"),
        ("", ""),
    ]


# Deliveries


def azure(folder: Path, *, run: str, rows: int, cost: str, submitted: str) -> Path:
    """A Cost Management run folder with one part and its manifest."""
    place = folder / "costs" / "20261001-20261031" / run
    place.mkdir(parents=True)
    (place / "part_0_0001.csv").write_text("\n".join([HEADER, *[ROW.replace("1.5", cost)] * 2]) + "\n")
    manifest = {
        "manifestVersion": "2024-04-01",
        "dataRowCount": rows,
        "exportConfig": {"exportName": "costs", "type": "FocusCost"},
        "runInfo": {
            "runId": run,
            "submittedTime": submitted,
            "startDate": "2026-10-01T00:00:00",
            "endDate": "2026-10-31T00:00:00",
        },
        "blobs": [
            {"blobName": f"root/costs/20261001-20261031/{run}/part_0_0001.csv", "byteCount": 1, "dataRowCount": rows}
        ],
    }
    (place / "manifest.json").write_bytes(orjson.dumps(manifest))
    return place


def test_t12_it_takes_the_newest_run_of_a_period_and_not_the_folders_left_behind(tmp_path: Path) -> None:
    azure(tmp_path, run="b-old", rows=2, cost="1", submitted="2026-11-01T00:00:00Z")
    azure(tmp_path, run="a-new", rows=2, cost="2", submitted="2026-11-02T00:00:00Z")
    found = source()

    units = list(found.open_paths([str(tmp_path)]))

    assert [(raw.export, raw.run_id, raw.expected_rows) for raw in units] == [("costs", "a-new", 2)]
    assert [row["billed_cost"] for row in rows_of(found, units[0])[0]] == ["2", "2"]


def test_t13_it_refuses_a_delivery_with_fewer_rows_than_its_manifest_says(tmp_path: Path) -> None:
    azure(tmp_path, run="r", rows=3, cost="1", submitted="2026-11-01T00:00:00Z")
    found = source()

    with pytest.raises(BadDelivery, match="says 3 rows, found 2"):
        rows_of(found, next(found.open_paths([str(tmp_path)])))


def test_it_refuses_a_manifest_whose_file_was_not_delivered(tmp_path: Path) -> None:
    (azure(tmp_path, run="r", rows=2, cost="1", submitted="2026-11-01T00:00:00Z") / "part_0_0001.csv").unlink()

    with pytest.raises(BadDelivery, match="was not delivered"):
        list(source().open_paths([str(tmp_path)]))


def test_it_takes_a_directory_without_a_manifest_as_one_delivery(tmp_path: Path) -> None:
    place = tmp_path / "october"
    place.mkdir()
    (place / "2.csv").write_text(f"{HEADER}\n{ROW}\n")
    (place / "1.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{ROW}\n{ROW}\n".encode()))
    found = source()

    (raw,) = found.open_paths([str(place)])

    assert (raw.export, raw.files) == ("october", ("1.csv.gz", "2.csv"))
    assert [(row["file_index"], row["row_number"]) for row in rows_of(found, raw)[0]] == [(0, 1), (0, 2), (1, 1)]


def test_it_reads_our_own_manifest_with_how_far_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{ROW}\n")
    manifest = {
        "export": "e",
        "run_id": "r1",
        "files": [{"path": "a.csv", "rows": 1}],
        "complete_through": "2026-10-20T00:00:00Z",
    }
    (tmp_path / "manifest.json").write_bytes(orjson.dumps(manifest))

    (raw,) = source().open_paths([str(tmp_path)])

    assert (raw.export, raw.run_id, raw.complete_through) == ("e", "r1", datetime(2026, 10, 20, tzinfo=UTC))


def test_it_reads_deliveries_from_s3_by_manifest_and_only_when_they_change(s3: S3, tmp_path: Path) -> None:
    client = s3.client()
    client.create_bucket(Bucket="bills")
    start = datetime(2026, 10, 1, tzinfo=UTC)
    pq.write_table(
        pa.table(
            {
                "BilledCost": [0.1, 0.2],
                "BillingCurrency": ["USD"] * 2,
                "ChargePeriodStart": [start] * 2,
                "ChargePeriodEnd": [start] * 2,
            }
        ),
        tmp_path / "1.parquet",
    )
    key = "focus/costs/data/BILLING_PERIOD=2026-10/costs-00001.snappy.parquet"
    client.upload_file(str(tmp_path / "1.parquet"), "bills", key)
    client.put_object(
        Bucket="bills",
        Key=key.replace("00001.snappy.parquet", "00002.csv.gz"),
        Body=gzip.compress(f"{HEADER}\n{ROW}\n".encode()),
    )
    client.put_object(
        Bucket="bills", Key="focus/costs/data/BILLING_PERIOD=2026-10/stale-00009.csv.gz", Body=b"left behind"
    )
    manifest_key = "focus/costs/metadata/BILLING_PERIOD=2026-10/costs-Manifest.json"
    manifest = {
        "exportArn": "arn:aws:bcm-data-exports:us-east-1:1:export/costs-abc",
        "executionId": "x1",
        "dataFiles": [f"s3://bills/{key}", key.replace("00001.snappy.parquet", "00002.csv.gz")],
    }
    client.put_object(Bucket="bills", Key=manifest_key, Body=orjson.dumps(manifest))
    found = focus_export.FocusExport(focus_export.FocusExportConfig(url="s3://bills/focus", **s3.config), CREDENTIALS)

    (raw,) = found.read({}, ALWAYS)
    rows, rejected = rows_of(found, raw)

    assert rejected == []
    assert [row["billed_cost"] for row in rows] == ["0.1", "0.2", "1.5"]
    assert (raw.export, raw.run_id) == ("1/costs-abc", "x1")
    assert list(found.read(raw.cursor, ALWAYS)) == []

    client.put_object(
        Bucket="bills", Key=manifest["dataFiles"][1], Body=gzip.compress(f"{HEADER}\n{ROW}\n{ROW}\n".encode())
    )
    (again,) = found.read(raw.cursor, ALWAYS)
    assert again.content_hash != raw.content_hash
    assert len(rows_of(found, again)[0]) == 4


def test_it_says_what_s3_refuses_without_the_secret(s3: S3) -> None:
    found = focus_export.FocusExport(
        focus_export.FocusExportConfig(url="s3://nowhere/x", **s3.config), CREDENTIALS | {"secret_access_key": "hush"}
    )

    with pytest.raises(SourceUnavailable, match="NoSuchBucket; check the bucket's name") as refused:
        list(found.read({}, ALWAYS))

    assert "hush" not in str(refused.value)


def test_it_refuses_a_row_with_a_nul_character() -> None:
    _, rejected = read(f"{HEADER},x_Note\n{ROW},fine\n{ROW},a\x00b\n")

    assert [(each.row, each.field) for each in rejected] == [(2, "text")]


def test_it_refuses_text_that_is_not_utf8_by_file() -> None:
    with pytest.raises(BadDelivery, match=r"bill\.csv.*UTF8"):
        read(f"{HEADER},x_Note\n{ROW},".encode() + b"\xff\n")
