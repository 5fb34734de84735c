"""What holds for every kind of source."""

import inspect
import re
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from ingest import rows
from ingest.sources import KINDS, base, usage_log
from ingest.sources.base import BadDelivery
from ingest.sources.formats import openings

README = Path(inspect.getfile(base)).with_name("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", list(KINDS), ids=KINDS.names())
def test_it_loads_the_example_configuration_of_its_manual(kind: type[base.Source]) -> None:
    manual = inspect.cleandoc(kind.__doc__ or "")
    example = re.search(r"xample configuration[^:]*:\n\n((?: {4}.*\n?)+)", manual)
    assert example is not None

    configured = kind(kind.Config(**orjson.loads(example.group(1))))

    assert configured.produces in rows.SCHEMAS


@pytest.mark.parametrize("kind", list(KINDS), ids=KINDS.names())
def test_it_has_a_row_in_the_readme(kind: type[base.Source]) -> None:
    assert f"| `{kind.kind}` | {kind.title} |" in README


def test_it_numbers_its_traps_without_a_gap() -> None:
    numbers = re.findall(r"^\| (T\d+) \|", README, re.MULTILINE)

    assert numbers == [f"T{number:02}" for number in range(1, len(numbers) + 1)]


def test_it_has_a_test_for_each_trap_and_a_trap_for_each_test() -> None:
    listed = re.findall(r"^\| (T\d+) \|", README, re.MULTILINE)
    here = Path(__file__).parents[2]
    tested = {
        number.upper()
        for path in sorted(here.rglob("test_*.py"))
        for number in re.findall(r"^def test_(t\d+)_", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert sorted(tested) == sorted(listed)


def test_it_reads_zstd_and_refuses_it_truncated(tmp_path: Path) -> None:
    line = b'{"event_id":"%d","occurred_at":"2026-11-21T10:00:00Z","gen_ai.provider.name":"openai"}\n'
    content = b"".join(line % number for number in range(5000))
    packed = pa.compress(content, codec="zstd", asbytes=True)
    source = usage_log.UsageLog(usage_log.UsageLogConfig())

    whole = sum(each.batch.num_rows for each in source.normalize(source.open_bytes(name="a.zst", content=packed)))

    assert whole == 5000
    with pytest.raises(BadDelivery, match=r"a\.zst"):
        list(source.normalize(source.open_bytes(name="a.zst", content=packed[: len(packed) // 2])))


def test_it_names_a_file_that_is_gone() -> None:
    with (
        pytest.raises(BadDelivery, match="does not exist"),
        openings.stream(openings.Part("gone.csv", "/nonexistent/gone.csv")),
    ):
        pytest.fail("nothing can be read", pytrace=False)
