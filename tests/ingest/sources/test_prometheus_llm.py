"""Usage from the counters of model servers: a real Prometheus, restarts, gaps, late data, and every engine's names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum

from ingest import configure, load
from ingest.models import Load, QuarantinedRow, UsageHour
from ingest.models import Source as SourceRow
from ingest.rows import USAGE_BUCKET
from ingest.sources.base import Finding, Window
from ingest.sources.prometheus_llm import PrometheusLlm, PrometheusLlmConfig
from tests import servers
from tests.servers import prometheus as server

GOLDEN = Path(__file__).parents[2] / "golden" / "model_servers"
HOUR = datetime(2026, 10, 1, 10, tzinfo=UTC)
ONE_HOUR = timedelta(hours=1)
NOW = datetime(2026, 10, 2, tzinfo=UTC)
SCRAPE = timedelta(seconds=15)
POD_A = 'model_name="llama-8b",engine="0",namespace="serving",pod="chat-6d4cf56db6-bzx2k",instance="10.0.0.1:8000"'
POD_B = 'model_name="llama-8b",engine="0",namespace="serving",pod="chat-6d4cf56db6-c4d5f",instance="10.0.0.2:8000"'

Readings = list[tuple[datetime, object]]
TOKENS = ("requests", "errors", "input_uncached", "cache_read", "output", "unknown_usage")


def counter(
    per_scrape: int, *, start: datetime, end: datetime, restart_at: datetime | None = None, first: int = 0
) -> Readings:
    """A counter that grows by the same with each scrape, from `first`, and from zero after a restart."""
    found: Readings = []
    at, value = start, first
    while at < end:
        if at == restart_at:
            value = 0
        found.append((at, value))
        value += per_scrape
        at += SCRAPE
    return found


def vllm(series: Mapping[str, Readings], name: str = "prompt_tokens") -> str:
    return server.metric(f"vllm:{name}_total", "counter", series)


def create(url: str, **config: Any) -> int:
    return configure.create_source(kind="prometheus_llm", name="servers", config={"url": url, **config}, now=NOW)


def sync(source: int, start: datetime, end: datetime) -> list[load.LoadResult]:
    return list(load.sync(source_id=source, window=Window(start, end), now=end))


def hours() -> list[tuple[Any, ...]]:
    return list(UsageHour.objects.order_by("hour", "offering_id").values_list("hour", *TOKENS))


def total(column: str) -> int:
    found: int = UsageHour.objects.aggregate(all=Sum(column))["all"] or 0
    return found


def buckets(text: str, folder: Path, *, hour: datetime = HOUR, **config: Any) -> tuple[list[dict[str, Any]], Any]:
    """The rows of one hour, through a real Prometheus but without a database, and what else was found."""
    with server.started(folder, text) as url:
        source = PrometheusLlm(PrometheusLlmConfig(url=url, **config))
        (raw,) = source.read({}, Window(hour, hour + ONE_HOUR))
        (found,) = source.normalize(raw)
    assert found.batch.schema.equals(USAGE_BUCKET)
    return found.batch.to_pylist(), found


def recorded(name: str, *, labels: str = 'instance="10.0.0.9:80"') -> str:
    """What a Prometheus knows that scraped a server when it had just started, and again when its page was as recorded."""
    page = (GOLDEN / f"{name}.prom.txt").read_text()
    lines: dict[str, list[str]] = {}
    for metric, own, value in re.findall(r"^([a-z][\w:]*?)(?:\{(.*)\})? (\S+)$", page, re.MULTILINE):
        told = ",".join(filter(None, (own, labels)))
        for at, number in ((HOUR - timedelta(minutes=1), "0"), (HOUR + timedelta(minutes=30), value)):
            lines.setdefault(metric, []).append(f"{metric}{{{told}}} {number} {at.timestamp()}")
    return "\n".join(line for metric, found in lines.items() for line in (f"# TYPE {metric} gauge", *found)) + "\n"


def row(found: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    (one,) = found
    return tuple(
        one[name] for name in ("request_model", "requests", "errors", "input_uncached", "cache_read", "output")
    )


def two_replicas() -> str:
    """Two replicas over three hours; the second restarts at half past eleven."""
    start, end, restart = HOUR - timedelta(minutes=5), HOUR + 3 * ONE_HOUR, HOUR + 1.5 * ONE_HOUR
    growth = {"prompt_tokens": (7, 11), "prompt_tokens_cached": (3, 4), "generation_tokens": (2, 5)}
    text = "".join(
        vllm(
            {
                POD_A: counter(a, start=start, end=end, first=1_000_000),
                POD_B: counter(b, start=start, end=end, restart_at=restart, first=50),
            },
            name,
        )
        for name, (a, b) in growth.items()
    )
    ends = {
        f'{POD_A},finished_reason="stop"': counter(1, start=start, end=end),
        f'{POD_A},finished_reason="error"': [(HOUR - SCRAPE, 4), (HOUR + SCRAPE, 4), (HOUR + 2 * SCRAPE, 6)],
        f'{POD_B},finished_reason="length"': counter(2, start=start, end=end, restart_at=restart),
    }
    return text + vllm(ends, "request_success")


@pytest.mark.django_db
def test_it_loads_exact_tokens_of_two_replicas_by_hour(tmp_path: Path) -> None:
    with server.started(tmp_path, two_replicas()) as url:
        source = create(url)

        found = sync(source, HOUR, HOUR + 3 * ONE_HOUR + timedelta(minutes=5))

    # 240 scrapes an hour; where the second replica restarts, one difference is its zero.
    assert [one.state for one in found] == ["succeeded"] * 4
    assert [(one.rows_read, one.rows_loaded) for one in found] == [(1, 1), (1, 1), (1, 1), (0, 0)]
    assert hours() == [
        (HOUR, 240 + 480 + 2, 2, 240 * 18 - 240 * 7, 240 * 7, 240 * 7, 0),
        (
            HOUR + ONE_HOUR,
            240 + 478,
            0,
            240 * 7 + 239 * 11 - 240 * 3 - 239 * 4,
            240 * 3 + 239 * 4,
            240 * 2 + 239 * 5,
            0,
        ),
        (HOUR + 2 * ONE_HOUR, 720, 0, 240 * 11, 240 * 7, 240 * 7, 0),
    ]
    offering = UsageHour.objects.select_related("offering").first().offering
    assert (offering.provider, offering.model, offering.deployment) == ("self_hosted", "llama-8b", "chat")


@pytest.mark.django_db
def test_it_changes_nothing_when_read_again_and_replaces_an_hour_that_was_corrected(tmp_path: Path) -> None:
    port, span = servers.free_port(), (HOUR, HOUR + 2 * ONE_HOUR)
    late = vllm({POD_B.replace("c4d5f", "g7h8j").replace("0.2", "0.3"): counter(100, start=HOUR, end=HOUR + ONE_HOUR)})
    with server.started(tmp_path, two_replicas(), port=port) as url:
        source = create(url)
        sync(source, *span)
        before = hours()
        again = [load.run_unit(source_id=source, raw=raw, now=NOW, advances=False) for raw in read(source, span)]
        assert ([one.state for one in again], hours()) == (["unchanged", "unchanged"], before)
    with server.started(tmp_path, late, port=port):
        corrected = [load.run_unit(source_id=source, raw=raw, now=NOW, advances=False) for raw in read(source, span)]
        once_more = [load.run_unit(source_id=source, raw=raw, now=NOW, advances=False) for raw in read(source, span)]

    assert [one.state for one in corrected + once_more] == ["succeeded"] * 2 + ["unchanged"] * 2
    assert [found[3] - was[3] for found, was in zip(hours(), before, strict=True)] == [239 * 100, 0]


def read(source: int, span: tuple[datetime, datetime]) -> list[Any]:
    return list(load.connect(source).read({}, Window(*span)))


def test_t208_it_counts_from_zero_after_a_restart(tmp_path: Path) -> None:
    readings = [(HOUR - SCRAPE, 900), (HOUR, 1000), (HOUR + SCRAPE, 40), (HOUR + 2 * SCRAPE, 45)]

    rows, _ = buckets(vllm({POD_A: readings}), tmp_path)

    assert rows[0]["input_uncached"] == 100 + 40 + 5


def test_t209_it_compares_with_the_first_reading_of_a_counter_unless_that_says_when_it_began(tmp_path: Path) -> None:
    readings = [(HOUR + timedelta(minutes=10), 700), (HOUR + timedelta(minutes=20), 1000)]
    began = (HOUR + timedelta(minutes=9)).timestamp()
    created = server.metric(
        "vllm:prompt_tokens_created", "gauge", {POD_B: [(at, began) for at, _ in readings]}
    ) + server.metric("vllm:generation_tokens_created", "gauge", {POD_B: [(at, 1.7e9) for at, _ in readings]})

    rows, _ = buckets(
        vllm({POD_A: readings, POD_B: readings}) + vllm({POD_B: readings}, "generation_tokens") + created, tmp_path
    )

    assert (rows[0]["input_uncached"], rows[0]["output"]) == (300 + 1000, 300)


@pytest.mark.django_db
def test_t210_it_reads_the_hour_that_runs_again_until_it_is_over(tmp_path: Path) -> None:
    text = vllm({POD_A: counter(1, start=HOUR - SCRAPE, end=HOUR + 2 * ONE_HOUR)})
    seen = []

    with server.started(tmp_path, text) as url:
        source = create(url)
        for minutes in (20, 40, 61, 63, 90):
            sync(source, HOUR, HOUR + timedelta(minutes=minutes))
            row = SourceRow.objects.get(pk=source)
            seen.append((total("input_uncached"), row.cursor["through"], row.complete_through))

    over = HOUR + ONE_HOUR
    assert [tokens for tokens, _, _ in seen] == [81, 161, 245, 253, 361]
    assert [through for _, through, _ in seen] == [HOUR.isoformat()] * 2 + [over.isoformat()] * 3
    assert Load.objects.count() == 6  # 10:00 three times, 11:00 three times


@pytest.mark.django_db
def test_it_leaves_no_hour_out_after_a_long_pause(tmp_path: Path) -> None:
    text = vllm({POD_A: counter(1, start=HOUR - SCRAPE, end=HOUR + 5 * ONE_HOUR)})

    with server.started(tmp_path, text) as url:
        source = create(url)
        sync(source, HOUR, HOUR + timedelta(minutes=30))
        sync(source, HOUR + 4 * ONE_HOUR, HOUR + 5 * ONE_HOUR)

    assert total("input_uncached") == 5 * 240


def test_t211_it_knows_nothing_of_an_hour_without_readings(tmp_path: Path) -> None:
    before, after = [(HOUR - 3 * ONE_HOUR, 100), (HOUR - 3 * ONE_HOUR + SCRAPE, 200)], [(HOUR + SCRAPE, 9_000)]

    silent, _ = buckets(vllm({POD_A: before}), tmp_path)
    rows, found = buckets(vllm({POD_A: after}), tmp_path)

    assert silent == []
    assert rows == []
    assert found.skipped == {"a counter with one reading, which nothing can be compared with": 1}


def test_it_counts_what_was_used_in_a_short_gap_when_it_ends(tmp_path: Path) -> None:
    readings = [(HOUR - timedelta(minutes=40), 100), (HOUR + timedelta(minutes=15), 900)]

    rows, _ = buckets(vllm({POD_A: readings}), tmp_path)

    assert rows[0]["input_uncached"] == 800


@pytest.mark.parametrize("label", ["job", "prometheus_replica", "service"])
def test_t212_it_counts_a_server_once_that_is_scraped_twice(label: str, tmp_path: Path) -> None:
    readings = counter(1, start=HOUR - SCRAPE, end=HOUR + ONE_HOUR)
    # The other one's clock is behind: mixed, its readings would look like restarts.
    behind = [(at - timedelta(seconds=1), value) for at, value in readings[:-1]]

    rows, _ = buckets(vllm({f'{POD_A},{label}="a"': readings, f'{POD_A},{label}="b"': behind}), tmp_path)

    assert rows[0]["input_uncached"] == 240


def test_it_goes_on_with_the_other_scrape_when_one_of_them_ends(tmp_path: Path) -> None:
    readings = counter(1, start=HOUR - SCRAPE, end=HOUR + ONE_HOUR)

    rows, _ = buckets(vllm({f'{POD_A},job="a"': readings[:150], f'{POD_A},job="b"': readings[150:]}), tmp_path)

    assert rows[0]["input_uncached"] == 240


def test_t213_it_knows_counters_with_and_without_the_ending_of_openmetrics(tmp_path: Path) -> None:
    readings = [(HOUR - SCRAPE, 10), (HOUR + SCRAPE, 30)]
    old = server.metric("vllm:generation_tokens", "gauge", {POD_A: readings})

    rows, _ = buckets(vllm({POD_A: readings}) + old, tmp_path)

    assert (rows[0]["input_uncached"], rows[0]["output"]) == (20, 20)


def test_t214_it_takes_cached_tokens_out_of_the_prompt_and_never_more_than_it_has(tmp_path: Path) -> None:
    def hits(grown: int) -> str:
        prompt = [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 100)]
        return vllm({POD_A: prompt}) + vllm({POD_A: [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, grown)]}, "prefix_cache_hits")

    some, _ = buckets(hits(30), tmp_path / "some")
    more, _ = buckets(hits(130), tmp_path / "more")

    assert [(rows[0]["input_uncached"], rows[0]["cache_read"]) for rows in (some, more)] == [(70, 30), (0, 100)]


def test_t215_it_takes_cached_tokens_from_one_counter_of_each_server(tmp_path: Path) -> None:
    grown = [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 100)]
    text = (
        vllm({POD_A: grown, POD_B: grown})
        + vllm({POD_A: grown, POD_B: grown}, "prefix_cache_hits")
        + vllm({POD_A: [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 60)]}, "prompt_tokens_cached")
    )

    rows, _ = buckets(text, tmp_path)

    assert (rows[0]["input_uncached"], rows[0]["cache_read"]) == (40, 160)


def test_t216_it_counts_ranks_that_work_on_one_request_together_once(tmp_path: Path) -> None:
    grown = [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 100)]
    ranks = ('tp_rank="0",dp_rank="0"', 'tp_rank="1",dp_rank="0"', 'tp_rank="0",dp_rank="1"')
    series = {f'model_name="q",instance="10.0.0.9:1",{rank}': grown for rank in ranks}

    rows, _ = buckets(server.metric("sglang:prompt_tokens_total", "counter", series), tmp_path)

    assert rows[0]["input_uncached"] == 200


def test_t217_it_counts_a_request_to_a_triton_ensemble_once(tmp_path: Path) -> None:
    rows, found = buckets(recorded("triton"), tmp_path, models={"tensorrt_llm": "llama-70b"})

    assert row(rows) == ("llama-70b", 102, 2, 51200, None, 12800)
    assert found.skipped == {"steps of a Triton ensemble, which counts each request for the whole": 3}


@pytest.mark.django_db
def test_t218_it_says_that_tokens_are_unknown_where_only_requests_are_counted(tmp_path: Path) -> None:
    with server.started(tmp_path, recorded("triton_requests")) as url:
        sync(create(url), HOUR, HOUR + ONE_HOUR)

    assert hours() == [(HOUR, 40, 0, 0, 0, 0, 40)]


def test_t219_it_names_the_model_of_tgi_by_its_deployment(tmp_path: Path) -> None:
    config = {"deployments": {"10.0.0.9:80": "chat"}, "models": {"chat": "mistral-7b"}}

    rows, _ = buckets(recorded("tgi"), tmp_path, **config)

    assert row(rows) == ("mistral-7b", 51, 3, 40960, None, 9600)
    assert rows[0]["deployment"] == "chat"


@pytest.mark.django_db
def test_t220_it_keeps_an_hour_that_prometheus_has_forgotten(tmp_path: Path) -> None:
    with server.started(tmp_path / "knows", two_replicas()) as url:
        source = create(url)
        sync(source, HOUR, HOUR + ONE_HOUR)
        before = hours()
    with server.started(tmp_path / "forgot", port=int(url.rsplit(":", 1)[1])):
        again = [load.run_unit(source_id=source, raw=raw, now=NOW) for raw in read(source, (HOUR, HOUR + ONE_HOUR))]

    assert [(one.state, one.rows_read) for one in again] == [("succeeded", 0)]
    assert hours() == before != []


def test_t221_it_knows_what_vllm_counts_under_ray_serve(tmp_path: Path) -> None:
    rows, _ = buckets(recorded("ray_serve"), tmp_path)

    assert row(rows) == ("qwen-7b", 30, None, 5000, 4000, 1200)


def test_it_reads_the_recorded_page_of_vllm(tmp_path: Path) -> None:
    rows, _ = buckets(recorded("vllm"), tmp_path)

    assert row(rows) == ("m200", 7, 1, 49, 256, 16)
    assert (rows[0]["provider"], rows[0]["starts_at"], rows[0]["interval_seconds"]) == ("self_hosted", HOUR, 3600)


def test_it_reads_the_recorded_page_of_sglang(tmp_path: Path) -> None:
    rows, _ = buckets(recorded("sglang"), tmp_path)

    assert row(rows) == ("llama-8b", 4020, None, 8_128_902 + 1000 - 130_000, 130_000, 7_557_572 + 500)


def test_it_reads_attributes_from_labels(tmp_path: Path) -> None:
    labels = f'{POD_A},label_team="search"'
    text = vllm({labels: [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 5)]})

    rows, _ = buckets(text, tmp_path, attributes={"namespace": "namespace", "team": "label_team"})

    assert (rows[0]["attr_namespace"], rows[0]["attr_team"], rows[0]["attr_service_name"]) == ("serving", "search", "")


def test_it_asks_only_for_the_servers_it_is_told_to(tmp_path: Path) -> None:
    grown = [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 5)]
    text = vllm({f'{POD_A},cluster="a"': grown, f'{POD_B},cluster="b"': grown})

    rows, _ = buckets(text, tmp_path, selector='cluster="a"')

    assert rows[0]["input_uncached"] == 5


def test_it_says_nothing_of_servers_that_nobody_asked(tmp_path: Path) -> None:
    rows, found = buckets(vllm({POD_A: [(HOUR - SCRAPE, 5), (HOUR + SCRAPE, 5)]}), tmp_path)

    assert (rows, found.skipped) == ([], {"servers that nobody asked in this hour": 1})


@pytest.mark.django_db
@pytest.mark.parametrize("value", [1.5, 1e300, -7])
def test_it_refuses_counters_that_are_no_whole_numbers_and_keeps_the_rest(value: float, tmp_path: Path) -> None:
    good, bad = [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, 5)], [(HOUR - SCRAPE, 0), (HOUR + SCRAPE, value)]
    text = server.metric("vllm:prompt_tokens", "gauge", {POD_A: good, POD_B: bad})

    with server.started(tmp_path, text) as url:
        (found,) = sync(create(url), HOUR, HOUR + ONE_HOUR)

    assert (found.rows_read, found.rows_loaded, found.rows_quarantined) == (2, 1, 1)
    refused = QuarantinedRow.objects.get()
    assert (refused.file, refused.field) == ("2026-10-01T10:00Z", "vllm:prompt_tokens")
    assert "whole numbers" in refused.reason
    assert "10.0.0.2:8000" in refused.raw


def test_it_takes_no_blank_for_a_reading(tmp_path: Path) -> None:
    readings = [(HOUR - SCRAPE, 5), (HOUR, "NaN"), (HOUR + SCRAPE, 9)]

    rows, _ = buckets(server.metric("vllm:prompt_tokens", "gauge", {POD_A: readings}), tmp_path)

    assert rows[0]["input_uncached"] == 4


def test_it_adds_up_to_the_whole_however_the_hours_lie(tmp_path: Path) -> None:
    values = [3, 10, 10, 500, 7, 7, 90, 2, 2, 1000, 1001]
    readings = [(HOUR + number * timedelta(minutes=23), value) for number, value in enumerate(values)]
    with server.started(tmp_path, vllm({POD_A: readings})) as url:
        source = PrometheusLlm(PrometheusLlmConfig(url=url))

        found = [row for raw in source.read({}, Window(HOUR, HOUR + 5 * ONE_HOUR)) for row in rows_of(source, raw)]

    assert sum(row["input_uncached"] for row in found) == 7 + 490 + 7 + 83 + 2 + 998 + 1


def rows_of(source: PrometheusLlm, raw: Any) -> Iterable[dict[str, Any]]:
    (found,) = source.normalize(raw)
    rows: list[dict[str, Any]] = found.batch.to_pylist()
    return rows


def probed(folder: Path, text: str, **config: Any) -> dict[str, Finding]:
    with server.started(folder, text) as url:
        source = PrometheusLlm(PrometheusLlmConfig(url=url, **config))
        return {one.subject: one for one in source.probe(Window(HOUR, HOUR + timedelta(minutes=31)))}


def test_it_says_which_servers_it_sees(tmp_path: Path) -> None:
    text = recorded("vllm", labels='instance="10.0.0.8:80",pod="m200-0"') + recorded("sglang", labels='pod="s-0"')

    found = probed(tmp_path, text)

    assert {subject: one.state for subject, one in found.items()} == {"Prometheus": "ok", "Model servers": "ok"}
    assert found["Model servers"].detail == "2 servers: 1 of SGLang, 1 of vLLM."


def test_it_says_what_of_the_servers_cannot_be_told_or_named(tmp_path: Path) -> None:
    text = recorded("tgi") + recorded("triton_requests", labels='instance="10.0.0.7:8002",pod="t-0"')

    found = probed(tmp_path, text)

    assert found["Deployments"].detail == "10.0.0.9:80 cannot be named."
    assert found["Models"].detail == "10.0.0.9:80 report no model."
    assert found["Tokens"].detail == "10.0.0.7:8002 count requests only: their tokens are unknown."


def test_it_says_that_there_are_no_servers(tmp_path: Path) -> None:
    found = probed(tmp_path, recorded("vllm"), selector='cluster="nowhere"')

    assert (found["Model servers"].state, "--enable-metrics" in found["Model servers"].remedy) == ("missing", True)


def test_it_passes_on_what_is_wrong_with_the_matchers(tmp_path: Path) -> None:
    found = probed(tmp_path, recorded("vllm"), selector="cluster=")

    assert found["Prometheus"].state == "missing"
    assert "parse error" in found["Prometheus"].detail


@pytest.mark.django_db
def test_it_marks_a_source_that_does_not_answer() -> None:
    source = create(f"http://127.0.0.1:{servers.free_port()}")

    (found,) = sync(source, HOUR, HOUR + ONE_HOUR)

    assert (found.state, "cannot be reached" in found.error) == ("failed", True)
    assert "cannot be reached" in SourceRow.objects.get(pk=source).last_error


def test_it_refuses_an_attribute_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="no attribute 'tema'"):
        PrometheusLlmConfig(attributes={"tema": "x"})
