"""Rules of the house that no linter knows. Each one says why it is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("costobs", "ingest", "attribution", "alerts")
MOST_LINES, MOST_FUNCTION_LINES = 400, 50
BANNED_NAMES = {"utils", "helpers", "common", "misc", "manager", "services"}
# A binary number would lose cents. It is right only where nothing is money: pixels of a chart, and telemetry.
MAY_FLOAT = {
    "costobs/web/charts/frame.py",
    "costobs/web/charts/points.py",
}


def modules() -> Iterator[Path]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "migrations" not in path.parts and ".venv" not in path.parts:
                yield path


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_it_keeps_modules_and_functions_short_enough_to_read_at_once() -> None:
    long = [named(path) for path in modules() if len(path.read_text().splitlines()) > MOST_LINES]
    long += [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in modules()
        for node in functions(path)
        if (node.end_lineno or node.lineno) - node.lineno + 1 > MOST_FUNCTION_LINES
    ]

    assert "\n".join(long) == ""


def test_it_names_no_module_after_nothing() -> None:
    assert [named(path) for path in modules() if path.stem in BANNED_NAMES] == []


def test_it_never_turns_money_into_a_binary_number() -> None:
    found = [
        f"{named(path)}:{number}"
        for path in modules()
        if named(path) not in MAY_FLOAT
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?<![\w.])float\(", line)
    ]

    assert found == []


def test_it_reads_the_clock_only_at_the_edges() -> None:
    """Steps take `now`: what they do must be repeatable for any moment, as the sample's replay of 90 days does."""
    edges = (
        "costobs/web/",
        "costobs/api/",
        "costobs/console/",
        "costobs/access/",
        "costobs/embedded/",
        "costobs/pipeline.py",
    )
    found = [
        f"{named(path)}:{number}"
        for path in modules()
        if not named(path).startswith((*edges, "alerts/gate/")) and "management" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"datetime\.now\(|timezone\.now\(|date\.today\(|\.replace\(hour=|time\.time\(", line)
    ]

    assert found == []


def test_it_says_what_each_module_is_for() -> None:
    silent = [named(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]

    assert silent == []


def test_it_has_no_markup_that_escapes_the_content_policy() -> None:
    """|safe would trust data, an inline style or script would need a hole in the policy."""
    found = [
        f"{path.relative_to(ROOT)}: {pattern}"
        for path in sorted((ROOT / "templates").rglob("*.html"))
        # Mail clients read no stylesheets: their templates carry styles, and no policy applies to them.
        if "alerts" not in path.parts
        for pattern in (r"\|safe\b", r"\sstyle=", r"<style", r"<script(?![^>]*\ssrc=)", r"\son\w+=")
        if re.search(pattern, path.read_text())
    ]

    assert found == []


@pytest.mark.parametrize("room", ["ingest", "attribution", "alerts", "costobs/access", "costobs/audit"])
def test_it_writes_migrations_that_import_nothing_of_ours(room: str) -> None:
    """A migration must still run when today's code is gone."""
    found = [
        f"{named(path)}: {line}"
        for path in sorted((ROOT / room / "migrations").glob("*.py"))
        for line in path.read_text().splitlines()
        if re.match(r"\s*(from|import) (costobs|ingest|attribution|alerts)\b", line)
    ]

    assert found == []


@pytest.mark.parametrize("room", ["ingest", "attribution", "alerts", "alerts/gate", "costobs/embedded", "templates"])
def test_it_has_a_readme_for_each_room(room: str) -> None:
    text = (ROOT / room / "README.md").read_text()

    assert len(text.splitlines()) > 10


def test_it_lists_every_kind_of_source_in_its_readme() -> None:
    from ingest.sources import KINDS

    text = (ROOT / "ingest" / "sources" / "README.md").read_text()

    assert [kind for kind in KINDS.names() if f"`{kind}`" not in text] == []


def test_it_loads_the_example_in_every_manual_of_a_source() -> None:
    import json

    from ingest.sources import KINDS

    for kind in KINDS:
        found = re.findall(r"^\s*(\{.*?\})\s*$", kind.__doc__ or "", flags=re.MULTILINE | re.DOTALL)
        assert found, f"the manual of {kind.kind} has no example configuration"
        kind.Config(**json.loads(found[0]))


def test_it_tests_every_address() -> None:
    from costobs.web.urls import urlpatterns

    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    untested = [
        str(one.name)
        for one in urlpatterns
        if f'"{one.name}"' not in text and f"/{str(one.pattern).split('<')[0]}" not in text
    ]

    assert untested == []
