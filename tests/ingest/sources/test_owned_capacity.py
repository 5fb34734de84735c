"""Owned capacity: what was bought and what is paid by the month becomes hourly charges, and not a digit is lost."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import books, own, queries, verify
from costobs.kernel.period import Days, add_months
from costobs.kernel.scope import SpendScope
from ingest import configure, load
from ingest.models import Source
from ingest.rows import CHARGE
from ingest.sources import config as configs
from ingest.sources.base import Window
from ingest.sources.owned_capacity import OwnedCapacity, OwnedCapacityConfig
from tests.attribution import world

HOUR = timedelta(hours=1)
# What the tests look at: making Python of all the columns would take most of their time.
_ASKED = [
    "charge_period_start", "charge_period_end", "billing_period_start", "billing_period_end", "billed_cost", "billing_currency",
    "billing_account_id", "sub_account_id", "service_provider_name", "invoice_issuer_name", "service_name", "charge_category",
    "charge_frequency", "charge_description", "resource_id", "region_id", "consumed_quantity", "consumed_unit", "model",
    "token_kind", "cost_kind", "purchase_option", "attr_team", "attr_cost_centre",
]  # fmt: skip
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
NODE: dict[str, Any] = {
    "name": "gpu-1",
    "gpus": 8,
    "gpu_model": "H100",
    "purchase_price": "100000",
    "residual_value": "10000",
    "purchased_on": "2026-02-16",
    "amortisation_months": 36,
}
STAFF: dict[str, Any] = {"name": "ML platform", "kind": "staff", "amount": "10000", "from": "2026-01-01"}


def at(year: int, month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


def source(**config: Any) -> OwnedCapacity:
    return OwnedCapacity(OwnedCapacityConfig(**{"company": "Quillfern", **config}))


def charges(start: datetime, end: datetime, **config: Any) -> list[dict[str, Any]]:
    found = source(**config)
    rows = []
    for raw in found.read({}, Window(start, end)):
        for each in found.normalize(raw):
            assert each.batch.schema.equals(CHARGE)
            assert list(each.rejected) == []
            rows += each.batch.select(_ASKED).to_pylist()
    return rows


def total(rows: list[dict[str, Any]], starting: str = "") -> Decimal:
    chosen = (row for row in rows if row["charge_description"].startswith(starting))
    return sum((Decimal(row["billed_cost"]) for row in chosen), Decimal(0))


def by_month(rows: list[dict[str, Any]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[f"{row['charge_period_start']:%Y-%m}"] += Decimal(row["billed_cost"])
    return dict(sums)


def test_it_charges_each_hour_of_a_node_for_amortisation_energy_and_hosting_under_its_name() -> None:
    node = {**NODE, "power_watts": 6800, "hosting_per_month": "744", "region": "fra", "team": "platform"}

    rows = charges(at(2026, 3), at(2026, 3, 1, 2), machines=[node], pue=Decimal("1.5"), power_price="0.20", site="dc-1")

    assert [row["charge_description"] for row in rows[::2]] == [
        "Amortisation of gpu-1, 8 × H100",
        "Hosting of gpu-1, 8 × H100",
        "Energy of gpu-1",
    ]
    assert {row["resource_id"] for row in rows} == {"gpu-1"}
    assert [(row["cost_kind"], row["purchase_option"]) for row in rows[::2]] == [
        ("gpu_compute", "owned"),
        ("gpu_compute", "owned"),
        ("energy", "owned"),
    ]
    assert [Decimal(row["billed_cost"]) for row in rows[2:]] == [Decimal(1)] * 2 + [Decimal("2.04")] * 2
    assert (rows[4]["consumed_quantity"], rows[4]["consumed_unit"]) == ("10.2000", "kWh")
    first = rows[0]
    assert (first["service_provider_name"], first["invoice_issuer_name"]) == ("Owned", "Quillfern")
    assert (first["billing_account_id"], first["sub_account_id"], first["region_id"]) == (
        "Quillfern/dc-1",
        "dc-1",
        "fra",
    )
    assert (first["attr_team"], first["billing_currency"]) == ("platform", "USD")
    assert (first["charge_period_start"], first["charge_period_end"]) == (at(2026, 3), at(2026, 3, 1, 1))
    assert (first["billing_period_start"], first["billing_period_end"]) == (date(2026, 3, 1), date(2026, 4, 1))


def test_it_reads_each_month_up_to_the_last_complete_hour() -> None:
    found = source(machines=[NODE])

    units = list(found.read({}, Window(at(2026, 2, 20), NOW)))

    assert [(raw.name, raw.complete_through) for raw in units] == [
        ("2026-02", at(2026, 3)),
        ("2026-03", at(2026, 3, 10, 12)),
    ]
    assert [raw.content_hash for raw in found.read({}, Window(at(2026, 2, 20), NOW))] == [
        raw.content_hash for raw in units
    ]
    dearer = source(machines=[{**NODE, "purchase_price": "100001"}])
    assert not {raw.content_hash for raw in dearer.read({}, Window(at(2026, 2, 20), NOW))} & {
        raw.content_hash for raw in units
    }


def test_it_has_no_unit_for_a_month_without_a_complete_hour() -> None:
    units = source(machines=[NODE]).read({}, Window(at(2026, 2, 20), at(2026, 3) + timedelta(minutes=40)))

    assert [raw.name for raw in units] == ["2026-02"]


@settings(max_examples=12, deadline=None)
@given(
    price=st.decimals(0, 500_000, places=2),
    residual=st.decimals(0, 1, places=2),
    bought=st.dates(date(2023, 1, 1), date(2024, 12, 31)),
    months=st.integers(1, 14),
)
def test_t227_it_spreads_price_less_residual_over_the_term_to_the_cent(
    price: Decimal, residual: Decimal, bought: date, months: int
) -> None:
    left = (price * residual).quantize(Decimal("0.01"))
    node = {**NODE, "purchase_price": str(price), "residual_value": str(left), "purchased_on": str(bought)}
    node["amortisation_months"] = months
    window = (at(bought.year, bought.month), at(bought.year + 2, 6))

    rows = charges(*window, machines=[node])

    assert total(rows) == price - left
    if rows:
        assert rows[0]["charge_period_start"] == datetime.combine(bought, datetime.min.time(), UTC)
        costs = [Decimal(row["billed_cost"]) for row in rows]
        assert max(costs) - min(costs) <= Decimal("0.000001")


def test_it_charges_a_node_bought_in_mid_month_from_its_day_on() -> None:
    rows = charges(at(2026, 2), at(2026, 3), machines=[{**NODE, "hosting_per_month": "672"}])

    assert min(row["charge_period_start"] for row in rows) == at(2026, 2, 16)
    assert total(rows, "Hosting") == 13 * 24
    assert total(rows, "Amortisation") == Decimal("1067.518248")  # 90,000 × 312 of 26,304 hours, cut at six places


def test_t228_it_ends_a_term_that_began_on_a_31st_on_the_last_day_of_its_month() -> None:
    node = {**NODE, "purchased_on": "2024-01-31", "amortisation_months": 1}

    rows = charges(at(2024, 1), at(2024, 5), machines=[node])

    assert max(row["charge_period_end"] for row in rows) == at(2024, 2, 29)
    assert (len(rows), total(rows)) == (29 * 24, 90000)


def test_it_charges_only_energy_and_hosting_once_a_node_is_written_off() -> None:
    node = {**NODE, "purchased_on": "2023-03-15", "power_watts": 1000, "hosting_per_month": "10"}

    rows = charges(at(2026, 3), at(2026, 5), machines=[node], power_price="0.1")

    amortised = [row for row in rows if row["charge_description"].startswith("Amortisation")]
    assert max(row["charge_period_end"] for row in amortised) == at(2026, 3, 15)
    assert total(rows, "Hosting") == 20
    assert total(rows, "Energy") == Decimal("0.1") * 61 * 24


def test_t229_it_charges_what_is_left_of_a_node_in_its_last_hour() -> None:
    node = {**NODE, "retired_on": "2026-04-01"}

    rows = charges(at(2026, 2), at(2026, 6), machines=[node])

    assert total(rows) == 90000
    (left,) = [row for row in rows if row["charge_category"] == "Adjustment"]
    assert (left["charge_period_start"], left["charge_period_end"]) == (at(2026, 3, 31, 23), at(2026, 4))
    assert (left["charge_description"], left["cost_kind"]) == ("Left of gpu-1 when it was retired", "gpu_compute")
    assert max(row["charge_period_end"] for row in rows) == at(2026, 4)


def test_t230_it_changes_the_power_price_on_its_day_and_takes_the_shortest_digits_of_a_number() -> None:
    node = {**NODE, "purchase_price": 0, "residual_value": 0, "idle_watts": 500, "max_watts": 1500, "load": 0.1}
    prices = [{"from": "2026-03-10", "per_kwh": 0.3}, {"per_kwh": 0.1}]

    rows = charges(at(2026, 3, 9), at(2026, 3, 11), machines=[node], power_price=prices)

    march = {row["charge_period_start"]: Decimal(row["billed_cost"]) for row in rows}
    assert (march[at(2026, 3, 9, 23)], march[at(2026, 3, 10)]) == (Decimal("0.06"), Decimal("0.18"))
    assert total(rows) == Decimal("0.06") * 9 * 24 + Decimal("0.18") * 24


@settings(max_examples=15, deadline=None)
@given(
    amount=st.decimals(-1000, 100_000, places=2),
    starts=st.dates(date(2024, 1, 1), date(2024, 3, 31)),
    days=st.one_of(st.none(), st.integers(1, 90)),
)
def test_t231_it_adds_the_hours_of_a_monthly_line_up_to_the_month(
    amount: Decimal, starts: date, days: int | None
) -> None:
    ends = starts + timedelta(days=days) if days else None
    line = {**STAFF, "amount": str(amount), "from": str(starts), **({"until": str(ends)} if ends else {})}

    rows = charges(at(2024, 1), at(2024, 7), monthly_lines=[line])

    sums = by_month(rows)
    for number in range(6):
        month = Days(add_months(date(2024, 1, 1), number), add_months(date(2024, 2, 1), number))
        is_whole = starts <= month.start and (ends is None or ends >= month.end)
        found = sums.get(f"{month.start:%Y-%m}", Decimal(0))
        assert found == amount if is_whole else abs(found) <= abs(amount)
    paid = [row["charge_period_start"] for row in rows if row["service_name"] == "ML platform"]
    assert all(moment.date() >= starts and (ends is None or moment.date() < ends) for moment in paid)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("licence", ("licence", "")),
        ("License", ("licence", "")),
        ("staff", ("staff", "")),
        ("vector_store", ("vector_store", "")),
        ("egress", ("network", "")),
        ("support", ("support", "")),
        ("storage", ("storage", "")),
        ("energy", ("energy", "")),
        ("cpu", ("cpu_compute", "owned")),
        ("other", ("other_service", "")),
    ],
)
def test_it_knows_the_kind_and_the_owner_of_a_monthly_line(kind: str, expected: tuple[str, str]) -> None:
    line = {**STAFF, "kind": kind, "owner": "search", "tags": {"cost_centre": "100"}, "currency": "eur"}

    row = charges(at(2026, 3), at(2026, 3, 1, 1), monthly_lines=[line])[0]

    assert (row["cost_kind"], row["purchase_option"]) == expected
    assert (row["attr_team"], row["attr_cost_centre"], row["billing_currency"]) == ("search", "100", "EUR")
    assert row["charge_frequency"] == "Recurring"


def test_t232_it_takes_no_name_written_by_hand_for_a_model() -> None:
    lines = [{**STAFF, "name": "gpt-4o prompt team"}]

    rows = charges(at(2026, 3), at(2026, 3, 1, 1), machines=[{**NODE, "name": "llama-3.1-70b"}], monthly_lines=lines)

    assert {row["model"] for row in rows} == {row["token_kind"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"machines": [{**NODE, "name": ""}]}, "machines[0].name: is needed"),
        ({"machines": [NODE, {**NODE, "name": "b", "gpus": "8"}]}, "machines[1].gpus: expected a whole number"),
        ({"machines": [{**NODE, "purchase_price": "12,000"}]}, "machines[0].purchase_price: expected an amount"),
        ({"machines": [{**NODE, "purchase_price": "NaN"}]}, "machines[0].purchase_price: expected an amount"),
        ({"machines": [{**NODE, "purchase_price": "1e99"}]}, "machines[0].purchase_price: expected at most 15 digits"),
        ({"machines": [{**NODE, "purchase_price": True}]}, "machines[0].purchase_price: expected an amount"),
        ({"machines": [{**NODE, "residual_value": "100001"}]}, "machines[0].residual_value: expected at most"),
        ({"machines": [{**NODE, "purchased_on": "16.2.2026"}]}, "machines[0].purchased_on: expected a day"),
        ({"machines": [{**NODE, "purchased_on": "1970-01-01"}]}, "machines[0].purchased_on: 1970-01-01 is outside"),
        ({"machines": [{**NODE, "amortisation_months": 0}]}, "machines[0].amortisation_months: is needed"),
        ({"machines": [{**NODE, "retired_on": "2026-02-16"}]}, "machines[0].retired_on: expected a day after"),
        ({"machines": [{**NODE, "power_watts": 100}]}, "machines[0].power_price: is needed"),
        ({"machines": [{**NODE, "power_watts": 1, "load": 1}]}, "machines[0].load: expected either"),
        ({"machines": [{**NODE, "idle_watts": 9, "max_watts": 1}]}, "machines[0].max_watts: expected at least"),
        ({"machines": [{**NODE, "pue": "0.9"}]}, "machines[0].pue: expected at least 1"),
        ({"machines": [{**NODE, "prize": "1"}]}, "machines[0].prize: is not known"),
        ({"machines": [{**NODE, "tags": {"a": 1}}]}, "machines[0].tags: expected pairs of text"),
        ({"machines": [{**NODE, "currency": "euro"}]}, "machines[0].currency: expected a currency"),
        ({"machines": [NODE, NODE]}, "machines[1].name: 'gpu-1' is there twice"),
        ({"machines": ["gpu-1"]}, "machines[0]: expected an object"),
        ({"machines": {"name": "gpu-1"}}, "machines: expected a list"),
        ({"monthly_lines": [{**STAFF, "kind": "beer"}]}, "monthly_lines[0].kind: expected one of"),
        ({"monthly_lines": [{**STAFF, "amount": ""}]}, "monthly_lines[0].amount: expected an amount"),
        ({"monthly_lines": [{**STAFF, "until": "2026-01-01"}]}, "monthly_lines[0].until: expected a day after"),
        ({"power_price": []}, ""),
        ({"power_price": [{"per_kwh": "x"}]}, "power_price[0].per_kwh: expected an amount"),
        ({"power_price": [{"per_kwh": 1}, {"per_kwh": 2}]}, "power_price: expected a price for each"),
        ({"pue": "0.5"}, "pue: expected at least 1"),
        ({"currency": "dollars"}, "currency: expected a currency"),
        (
            {
                "machines": [{**NODE, "power_watts": 1, "power_price": [{"from": "2026-03-01", "per_kwh": 1}]}],
            },
            "machines[0].power_price: there is none before 2026-03-01",
        ),
    ],
)  # fmt: skip
def test_it_names_the_field_of_a_configuration_that_is_wrong(config: dict[str, Any], named: str) -> None:
    if not named:
        assert configs.checked(OwnedCapacity, config) == config
        return

    with pytest.raises(configs.BadConfig) as refused:
        configs.checked(OwnedCapacity, config)

    assert named in str(refused.value)
    assert set(refused.value.errors) == {named.partition(":")[0].partition("[")[0]}


def test_it_takes_a_node_of_the_same_name_after_the_one_before_it_retired() -> None:
    machines = [{**NODE, "retired_on": "2026-03-01"}, {**NODE, "purchased_on": "2026-03-01"}]

    assert source(machines=machines).config.machines == machines


def test_it_says_what_a_connection_test_sees_and_misses() -> None:
    window = Window(at(2026, 3), NOW)
    good = source(machines=[{**NODE, "power_watts": 1}], power_price="1", site="a")

    assert [(one.subject, one.state, one.detail) for one in good.probe(window)] == [
        ("Configuration", "ok", "machines: 1, their GPUs: 8, monthly lines: 0")
    ]
    found = {one.subject: one for one in source(machines=[NODE]).probe(window)}
    assert (found["Energy"].state, found["Energy"].remedy) == ("note", "Give power_watts of each machine")
    assert found["Site"].state == "note"
    (empty,) = source(site="a").probe(window)
    assert (empty.state, empty.remedy) == ("missing", "Add machines or monthly lines")


def loaded(source_id: int, when: datetime = NOW) -> dict[str, str]:
    return {result.name: result.state for result in load.sync(source_id=source_id, now=when)}


def billed() -> dict[str, Decimal]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT to_char(c.billing_period_start, 'YYYY-MM'), sum(c.billed_cost) FROM ingest_charge c
               JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current' GROUP BY 1 ORDER BY 1"""
        )
        return dict(cursor.fetchall())


def reconfigured(source_id: int, **config: Any) -> None:
    stored = configs.checked(OwnedCapacity, {"company": "Quillfern", **config})
    Source.objects.filter(pk=source_id).update(config=stored)


@pytest.mark.django_db
def test_it_loads_again_only_what_has_changed_and_replaces_what_was_restated() -> None:
    config = {"company": "Quillfern", "monthly_lines": [STAFF]}
    source_id = configure.create_source(kind="owned_capacity", name="owned", config=config, now=NOW)

    assert loaded(source_id) == {"2026-02": "succeeded", "2026-03": "succeeded"}
    # 228 of 744 hours, cut at six places.
    assert billed() == {"2026-02": Decimal("10000.000000"), "2026-03": Decimal("3064.516129")}
    assert loaded(source_id) == {"2026-02": "unchanged", "2026-03": "unchanged"}
    assert loaded(source_id, NOW + HOUR) == {"2026-02": "unchanged", "2026-03": "succeeded"}
    assert billed()["2026-03"] == Decimal("3077.956989")
    assert Source.objects.get(pk=source_id).complete_through == at(2026, 3, 10, 13)

    reconfigured(source_id, monthly_lines=[{**STAFF, "amount": "7440"}])
    assert loaded(source_id, NOW + HOUR) == {"2026-02": "succeeded", "2026-03": "succeeded"}
    assert billed() == {"2026-02": Decimal(7440), "2026-03": Decimal(2290)}

    reconfigured(source_id, monthly_lines=[STAFF])
    assert loaded(source_id, NOW + HOUR) == {"2026-02": "succeeded", "2026-03": "succeeded"}
    assert billed()["2026-03"] == Decimal("3077.956989")


@pytest.mark.django_db
def test_t233_it_empties_a_month_from_which_everything_was_taken_out() -> None:
    config = {"company": "Quillfern", "monthly_lines": [STAFF]}
    source_id = configure.create_source(kind="owned_capacity", name="owned", config=config, now=NOW)
    loaded(source_id)

    reconfigured(source_id, monthly_lines=[{**STAFF, "from": "2026-04-01"}])
    loaded(source_id)

    assert billed() == {}
    reconfigured(source_id, monthly_lines=[STAFF])
    assert loaded(source_id) == {"2026-02": "succeeded", "2026-03": "succeeded"}
    assert billed()["2026-02"] == 10000


@pytest.mark.django_db
def test_t234_it_counts_two_sites_of_one_company_both() -> None:
    for site in ("dc-1", "dc-2"):
        config = {"company": "Quillfern", "site": site, "monthly_lines": [{**STAFF, "amount": "744"}]}
        loaded(configure.create_source(kind="owned_capacity", name=site, config=config, now=NOW))

    world.settle()

    scope = SpendScope(Days(date(2026, 3, 1), date(2026, 3, 2)), teams=None)
    assert queries.total(scope=scope).cost == 48
    assert {row.keys[0]: row.cost for row in queries.spend(scope=scope, group_by=["sub_account"])} == {
        "dc-1": 24,
        "dc-2": 24,
    }


@pytest.mark.django_db
def test_it_is_split_as_a_node_by_what_its_gpus_did_with_its_energy_and_hosting() -> None:
    node = {**NODE, "amortisation_months": 1, "purchased_on": "2026-03-01", "residual_value": "92560"}  # 10 an hour
    node |= {"power_watts": 5000, "hosting_per_month": "744"}
    config = {"company": "Quillfern", "machines": [node], "power_price": "0.2", "pue": "2"}
    source_id = configure.create_source(kind="owned_capacity", name="owned", config=config, now=NOW)
    loaded(source_id, at(2026, 3, 10, 11))
    log, dcgm = world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    for hour in range(11):
        world.gpu_hour(dcgm, world.at(hour), busy=1_800_000, deployment="llama")
    world.usage(
        log, attributes={"team": "search"}, provider="self_hosted", model="llama", deployment="llama", input_uncached=9
    )

    own.run(now=NOW)
    books.rebuild(day=world.DAY, now=NOW)

    day = SpendScope(Days(world.DAY, world.DAY + timedelta(days=1)), teams=None)
    (paid,) = queries.gpu_node_costs(scope=day)
    assert (paid.node, paid.paid_cost) == ("gpu-1", 11 * 13)
    assert paid.bought_as == (("owned", Decimal(11 * 13)),)
    assert (paid.used_cost, paid.overhead_cost, paid.idle_workload_cost) == (
        Decimal("6.5"),
        Decimal("6.5") * 10,
        Decimal("6.5") * 11,
    )
    kinds = {row.keys: row.cost for row in queries.spend(scope=day, group_by=["cost_kind", "team"])}
    assert (kinds[("gpu_compute", "search")], kinds[("energy", "search")]) == (Decimal("5.5"), Decimal(1))
    assert verify.run(days=day.days).failures == ()
