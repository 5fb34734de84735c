"""GPU telemetry from a real Prometheus into hours of GPUs: resets, slices, gaps, late data; and the connection test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum

from ingest import configure, load
from ingest.models import GpuHour, GpuSample
from ingest.sources import dcgm
from ingest.sources.base import BadDelivery, Finding, Window
from tests import servers
from tests.servers import pages
from tests.servers import prometheus as server

pytestmark = pytest.mark.django_db

HOUR = datetime(2026, 10, 1, 10, tzinfo=UTC)
NOW = datetime(2026, 10, 1, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
ENGINE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
BOARD = 'gpu="0",UUID="GPU-1",Hostname="node-1",modelName="H100"'
POD = 'namespace="serving",pod="chat-6d4cf56db6-bzx2k",container="c"'


def readings(
    values: Sequence[object], *, start: datetime = HOUR, step: timedelta = MINUTE
) -> list[tuple[datetime, object]]:
    return [(start + number * step, value) for number, value in enumerate(values) if value is not None]


def create(url: str, **config: Any) -> int:
    return configure.create_source(kind="dcgm", name="gpus", config={"url": url, **config}, now=NOW)


def sync(source_id: int, start: datetime = HOUR, end: datetime = NOW) -> list[load.LoadResult]:
    return list(load.sync(source_id=source_id, window=Window(start, end), now=NOW))


def energy() -> int | None:
    found: int | None = GpuHour.objects.aggregate(all=Sum("energy_millijoules"))["all"]
    return found


def loaded(folder: Path, text: str, **config: Any) -> list[load.LoadResult]:
    with server.started(folder, text) as url:
        return sync(create(url, **config))


def test_t33_it_counts_the_energy_of_a_board_once_over_its_slices(tmp_path: Path) -> None:
    slices = {
        f'{BOARD},GPU_I_ID="{number}",GPU_I_PROFILE="{profile}",namespace="ml",pod="{pod}",container="c"': readings(
            [5_000_000, 5_000_000 + 1_000_003, 5_000_000 + 2_000_001]
        )
        for number, profile, pod in ((5, "2g.10gb", "large-0"), (7, "1g.5gb", "small-0"), (9, "1g.5gb", "small-0"))
    }

    loaded(tmp_path, server.metric(ENERGY, "counter", slices))

    assert energy() == 2_000_001
    by_deployment = GpuHour.objects.values_list("deployment").annotate(Sum("energy_millijoules")).order_by("deployment")
    assert list(by_deployment) == [("large", 1_000_000), ("small", 1_000_001)]
    assert set(GpuSample.objects.values_list("energy_millijoules", flat=True)) == {5_000_000, 6_000_003, 7_000_001}


def test_it_gives_no_energy_to_the_series_of_a_board_that_is_sliced(tmp_path: Path) -> None:
    counter = readings([1_000, 1_700])
    series = {BOARD: counter, f'{BOARD},GPU_I_ID="5",GPU_I_PROFILE="7g.80gb",{POD}': counter}

    loaded(tmp_path, server.metric(ENERGY, "counter", series))

    assert dict(GpuHour.objects.values_list("deployment", "energy_millijoules")) == {"": 0, "chat": 700}


def test_t189_it_counts_energy_from_zero_after_a_boot(tmp_path: Path) -> None:
    before = [9_000_000_000_000 + 30_000 * minute for minute in range(90)]
    after = [4_000 + 30_000 * minute for minute in range(60)]
    text = server.metric(ENERGY, "counter", {f"{BOARD},{POD}": readings(before + after)})

    loaded(tmp_path, text)

    assert energy() == 89 * 30_000 + 4_000 + 59 * 30_000
    by_hour = list(GpuHour.objects.order_by("hour").values_list("energy_millijoules", flat=True))
    # Until Prometheus forgets the series five minutes after its end, it repeats the last reading: no energy.
    assert by_hour == [59 * 30_000, 30 * 30_000 + 4_000 + 29 * 30_000, 30 * 30_000]


@pytest.mark.parametrize("fallen", [0, 17])
def test_t190_it_does_not_take_a_reading_gone_wrong_for_energy(tmp_path: Path, fallen: int) -> None:
    high = 9_000_000_000_000
    text = server.metric(
        ENERGY, "counter", {f"{BOARD},{POD}": readings([high, high + 100, fallen, high + 300, high + 400])}
    )

    loaded(tmp_path, text)

    assert energy() == 100 + fallen + 100


def test_t191_it_does_not_know_the_energy_of_a_gap_of_more_than_an_hour(tmp_path: Path) -> None:
    first, last = readings([1_000, 2_000]), readings([900_000, 900_500], start=HOUR + timedelta(hours=2))
    text = server.metric(ENERGY, "counter", {f"{BOARD},{POD}": first + last})

    loaded(tmp_path, text)

    assert energy() == 1_000 + 500


def test_t192_it_counts_energy_once_when_samples_come_late(tmp_path: Path) -> None:
    counter = [1_000 * minute for minute in range(120)]
    port = servers.free_port()
    early = readings([value if minute <= 10 or minute >= 60 else None for minute, value in enumerate(counter)])
    late = readings([value if 10 < minute < 60 else None for minute, value in enumerate(counter)])
    labels = f"{BOARD},{POD}"
    # Prometheus repeats a reading for five minutes, also into the gap.
    with server.started(tmp_path, server.metric(ENERGY, "counter", {labels: early}), port=port) as url:
        source = create(url)
        sync(source, HOUR, HOUR + timedelta(hours=2))
        assert energy() == 119_000
    with server.started(tmp_path, server.metric(ENERGY, "counter", {labels: late}), port=port) as url:
        source = create(url)

        backfilled = [load.run_unit(source_id=source, raw=raw, now=NOW, advances=False) for raw in read(source)]

    assert [(one.rows_read, one.rows_duplicate, one.rows_loaded) for one in backfilled] == [(120, 76, 44)]
    assert energy() == 119_000
    assert sorted(GpuHour.objects.values_list("energy_millijoules", flat=True)) == [59_000, 60_000]


def test_it_folds_the_next_hour_again_only_while_all_its_samples_are_there(tmp_path: Path) -> None:
    port = servers.free_port()
    labels, hours = f"{BOARD},{POD}", [HOUR, HOUR + timedelta(hours=1)]
    second = readings([1_000 * minute for minute in range(60, 120)], start=hours[1])
    first = readings([1_000 * minute for minute in range(60)])
    with server.started(tmp_path, server.metric(ENERGY, "counter", {labels: second}), port=port) as url:
        source = create(url, late_minutes=0)
        sync(source, hours[1], hours[1] + timedelta(hours=1))
    GpuSample.objects.filter(sampled_at__lt=hours[1] + timedelta(minutes=30)).delete()
    with server.started(tmp_path, server.metric(ENERGY, "counter", {labels: first}), port=port):
        (raw,) = load.connect(source).read({}, Window(*hours))

        load.run_unit(source_id=source, raw=raw, now=NOW, advances=False)

    assert list(GpuHour.objects.order_by("hour").values_list("hour", "samples", "energy_millijoules")) == [
        (hours[0], 60, 59_000),
        (hours[1], 60, 59_000),
    ]


def test_it_loads_the_same_span_once(tmp_path: Path) -> None:
    text = server.metric(ENGINE, "gauge", {f"{BOARD},{POD}": readings([0.5] * 60)})

    with server.started(tmp_path, text) as url:
        source = create(url, late_minutes=5)
        first = sync(source, HOUR, HOUR + timedelta(minutes=40))
        second = sync(source, HOUR, HOUR + timedelta(hours=1))
        third = sync(source, HOUR, HOUR + timedelta(hours=1))

    assert [(one.rows_loaded, one.rows_duplicate) for one in first + second] == [(40, 0), (20, 5)]
    assert third == []
    hour = GpuHour.objects.get()
    assert (hour.deployment, hour.covered_ms, hour.busy_ms) == ("chat", 3_600_000, 1_800_000)
    assert hour.activity_source == "gr_engine_active"


def test_it_goes_on_where_it_was_after_a_long_pause(tmp_path: Path) -> None:
    text = server.metric(ENGINE, "gauge", {f"{BOARD},{POD}": readings([0.5] * 120)})

    with server.started(tmp_path, text) as url:
        source = create(url)
        sync(source, HOUR, HOUR + 30 * MINUTE)
        sync(source, HOUR + 100 * MINUTE, HOUR + 120 * MINUTE)

    assert GpuSample.objects.count() == 120


@pytest.mark.parametrize(
    "answer",
    [
        '{"data": {"result": [{"metric": {"UUID": "GPU-1"}, "values": [[1e30, "1"]]}]}}',
        '{"data": {"result": [{"metric": {"UUID": "GPU-1"}, "values": [["x", "1"]]}]}}',
        '{"data": {"result": [{"metric": {"UUID": "GPU-1"}, "values": [1, 2]}]}}',
        '{"data": {"result": [{"metric": [], "value": [1, "1"]}]}}',
        '{"data": {"result": [{"metric": {}}]}}',
        '{"data": {"result": 7}}',
        "[" * 5000,
        "{}",
    ],
)
def test_it_refuses_an_answer_that_makes_no_sense(answer: str) -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig())
    raw = source.open_bytes(name="answer.json", content=answer.encode())

    with pytest.raises(BadDelivery, match=r"answer\.json.*data\.result"):
        list(source.normalize(raw))


def test_it_reads_nothing_without_an_address_and_says_so() -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig())

    assert list(source.read({}, Window(HOUR, NOW))) == []
    assert "expected an http or https address" in probed("")["Prometheus"].detail


def test_it_takes_no_number_from_text_that_is_none() -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig())
    content = (
        b'{"data": {"result": [{"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "UUID": "G"}, "value": [1, "1e"]}]}}'
    )

    (found,) = source.normalize(source.open_bytes(name="answer.json", content=content))

    assert found.batch.num_rows == 0


def probed(url: str, credentials: dict[str, str] | None = None, **config: Any) -> dict[str, Finding]:
    source = dcgm.Dcgm(dcgm.DcgmConfig(url=url, **config), credentials)
    return {one.subject: one for one in source.probe(Window(HOUR, HOUR + timedelta(minutes=2)))}


def test_t195_it_says_which_line_the_exporter_lacks(tmp_path: Path) -> None:
    text = server.metric("DCGM_FI_DEV_GPU_UTIL", "gauge", {BOARD: readings([80, 80, 80])})

    with server.started(tmp_path, text) as url:
        found = probed(url)

    assert found["Prometheus"].state == "ok"
    assert (found["gr_engine_active"].state, found["gr_engine_active"].detail) == (
        "note",
        "Activity is taken from gpu_util instead.",
    )
    assert found["gr_engine_active"].remedy.endswith(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE, gauge, Ratio of time the graphics engine is active."
    )
    assert "DCGM_FI_PROF_SM_ACTIVE, gauge" in found["sm_active"].remedy
    assert found["GPUs"].detail == "1 GPU on 1 node."
    assert "node-1/0" in found["Deployments"].detail


def test_it_finds_nothing_to_say_of_a_complete_exporter(tmp_path: Path) -> None:
    labels = f'{BOARD},GPU_I_ID="5",GPU_I_PROFILE="7g.80gb",{POD}'
    fields = ("PROF_GR_ENGINE_ACTIVE", "PROF_SM_ACTIVE", "PROF_PIPE_TENSOR_ACTIVE", "PROF_DRAM_ACTIVE")
    more = ("DEV_POWER_USAGE", "DEV_TOTAL_ENERGY_CONSUMPTION", "DEV_FB_USED", "DEV_FB_FREE")
    text = "".join(server.metric(f"DCGM_FI_{field}", "gauge", {labels: readings([1, 1, 1])}) for field in fields + more)

    with server.started(tmp_path, text) as url:
        found = probed(url)

    assert {subject: one.state for subject, one in found.items()} == {"Prometheus": "ok", "GPUs": "ok"}
    assert found["GPUs"].detail == "1 GPU on 1 node, in 1 slice."


def test_it_asks_for_credentials_and_uses_them(tmp_path: Path) -> None:
    # The hash of "test", as the documentation of Prometheus on basic authentication has it.
    web = "basic_auth_users:\n  admin: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n"
    text = server.metric(ENGINE, "gauge", {BOARD: readings([0.5, 0.5, 0.5])})

    with server.started(tmp_path, text, web_config=web) as url:
        refused = probed(url)
        let_in = probed(url, {"username": "admin", "password": "test"})

    assert list(refused) == ["Prometheus"]
    assert (refused["Prometheus"].state, "401" in refused["Prometheus"].detail) == ("missing", True)
    assert "give a bearer token, or a user name and password" in refused["Prometheus"].detail
    assert let_in["Prometheus"].state == "ok"


def test_it_shows_a_token_to_an_exporter_behind_a_proxy() -> None:
    page = f"{ENGINE}{{{BOARD}}} 0.5\n"

    with pages.serving(page, bearer_token="t0ken") as url:
        refused = probed(url, mode="scrape")
        let_in = probed(url, {"bearer_token": "t0ken"}, mode="scrape")

    assert [one.state for one in refused.values()] == ["missing"]
    assert "t0ken" not in str(refused)
    assert let_in["GPUs"].detail == "1 GPU on 1 node."


def test_it_says_that_prometheus_knows_no_gpus(tmp_path: Path) -> None:
    with server.started(tmp_path) as url:
        found = probed(url)

    assert (found["GPUs"].state, found["GPUs"].remedy) == (
        "missing",
        "Have Prometheus scrape dcgm-exporter, or give queries that find its series.",
    )


def test_t196_it_wants_no_partial_answer_of_thanos() -> None:
    asked: list[str] = []

    with pages.serving('{"status":"success","data":{"resultType":"matrix","result":[]}}', asked=asked) as url:
        source = dcgm.Dcgm(dcgm.DcgmConfig(url=url.removesuffix("/metrics")))
        list(source.read({}, Window(HOUR, HOUR + timedelta(hours=1))))

    assert len(asked) == 10
    assert all(path.startswith("/api/v1/query_range?") and "partial_response=false" in path for path in asked)


def test_it_says_that_nobody_answers_without_raising() -> None:
    found = probed(f"http://127.0.0.1:{servers.free_port()}")

    assert found["Prometheus"].state == "missing"
    assert "COSTOBS_PRIVATE_HOSTS" in found["Prometheus"].remedy


@pytest.mark.parametrize(
    "config", [{"mode": "push"}, {"step_seconds": 0}, {"step_seconds": 7200}, {"late_minutes": -1}]
)
def test_it_refuses_settings_that_make_no_sense(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(config))}: expected"):
        dcgm.DcgmConfig(**config)


def read(source_id: int) -> list[Any]:
    return list(load.connect(source_id).read({}, Window(HOUR, HOUR + timedelta(hours=2))))
