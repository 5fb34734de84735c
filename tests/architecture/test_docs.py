"""What is written for people against the code: links lead somewhere, commands are read, rules load, queries are there."""

import inspect
import re
import shlex
from pathlib import Path

import orjson
import pytest
from costobs_gate.config import from_environment
from costobs_gate.metrics import COUNTERS, GAUGES
from costobs_gate.proxy import serve
from django.apps import apps
from django.core import management

from alerts.actions import KINDS as ACTIONS
from alerts.channels import KINDS as CHANNELS
from alerts.hooks import RESOURCES
from alerts.triggers import KINDS as TRIGGERS
from attribution import queries, rules
from attribution.causes.facts import CAUSES
from attribution.checklist import NEEDED
from attribution.exports import KINDS
from attribution.rules.pools import POOLS
from costobs.kernel import http

ROOT = Path(__file__).parents[2]
MANUALS = sorted((ROOT / "docs").glob("*.md"))
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *MANUALS,
    *(ROOT / room / "README.md" for room in ("alerts", "attribution", "bench", "ingest", "templates")),
    *(ROOT / "alerts" / part / "README.md" for part in ("channels", "gate", "hooks", "triggers")),
]
NAMES = [str(path.relative_to(ROOT)) for path in WRITTEN]


def read(path: str) -> str:
    """The words of one file."""
    return (ROOT / path).read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    """The names in backticks in the first column of every table."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in rows for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("path", NAMES)
def test_it_links_to_what_is_there(path: str) -> None:
    found = re.findall(r"\]\((?!https?:)([^)#]+)\)", read(path))

    assert [link for link in found if not ((ROOT / path).parent / link).exists()] == []


def test_it_is_linked_from_the_first_page() -> None:
    first = read("README.md")

    assert [path.name for path in MANUALS if f"docs/{path.name}" not in first] == []


@pytest.mark.parametrize(
    "path", [path for path in NAMES if path != "docs/serving.md"]
)  # its blocks are what was printed
def test_it_names_commands_as_they_are(path: str) -> None:
    """An unknown option would end the parser with SystemExit."""
    lines = re.findall(r"^ {4}costobs (.+)$", read(path), re.MULTILINE)
    names = management.get_commands()

    for line in lines:
        name, *words = shlex.split(line, comments=True)
        command = management.load_command_class(names[name.replace("-", "_")], name.replace("-", "_"))
        assert command.create_parser("costobs", name).parse_args(words), line


@pytest.mark.parametrize("path", [path for path in NAMES if "```json" in read(path)])
def test_it_shows_rules_that_load(path: str) -> None:
    for block in re.findall(r"```json\n(.+?)```", read(path), re.DOTALL):
        for rule in orjson.loads(block):
            assert rules.parse(rule["kind"], rule["config"]), rule["name"]


def test_it_tells_of_every_query_and_of_none_that_is_gone() -> None:
    text = read("attribution/README.md")
    table = text.split("## What others may ask")[1].split("## Invariants")[0]
    told = set(re.findall(r"`([a-z_]+)\(", "\n".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    there = {name for name in queries.__all__ if inspect.isfunction(getattr(queries, name))}

    assert told == there


def test_it_starts_the_proxy_as_the_manual_says() -> None:
    commands = re.findall(r"^costobs-gate serve (.+?[^\\])$", read("docs/gate.md"), re.MULTILINE | re.DOTALL)

    assert commands
    for line in commands:
        asked = serve.parser("costobs-gate serve").parse_args(shlex.split(line.replace("\\\n", " ")))
        assert asked.upstream


def test_it_has_a_row_for_each_action_trigger_hook_and_channel() -> None:
    assert set(first_cells(read("docs/budgets.md"))) >= {*TRIGGERS.names(), *ACTIONS.names()}
    assert set(first_cells(read("alerts/triggers/README.md"))) == set(TRIGGERS.names())
    assert set(first_cells(read("docs/hooks.md"))) == set(RESOURCES.names())
    assert set(first_cells(read("docs/alerts.md"))) >= set(CHANNELS.names())
    assert set(first_cells(read("alerts/channels/README.md"))) == set(CHANNELS.names())


@pytest.mark.parametrize("kind", RESOURCES.names())
def test_it_shows_settings_of_hooks_that_load(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in the manual of the kind, and those in the table of docs/hooks.md."""
    monkeypatch.setattr(http, "check", lambda url: url)
    hook = RESOURCES[kind]()
    rows = [line for line in read("docs/hooks.md").splitlines() if line.startswith(f"| `{kind}` | `{{")]
    found = re.findall(r"(\{\"[^{}]+\})", " ".join((type(hook).__doc__ or "").split()).split("Each answer")[0])
    found += re.findall(r"`(\{.+?\})`", "\n".join(rows))
    known = {one.name for one in hook.secrets}
    secrets = {"token": "t", "admin_key": "k", "secret": "s" * 32}
    credentials = {name: secret for name, secret in secrets.items() if name in known}

    assert len(rows) == 1
    assert len(found) >= 2
    for example in found:
        hook.check(orjson.loads(example), credentials)


def test_it_names_every_table_of_alerts() -> None:
    told = read("alerts/README.md").split("## What it does not decide")[0]
    tables = [model.__name__ for model in apps.get_app_config("alerts").get_models()]

    assert [name for name in tables if not re.search(rf"\b{name}\b", told)] == []


def test_it_names_every_metric_and_setting_of_the_gate() -> None:
    told = read("alerts/gate/README.md")
    names = re.findall(r"COSTOBS_[A-Z_]+[A-Z]", inspect.getsource(inspect.getmodule(from_environment)))  # type: ignore[arg-type]
    metrics = {name.removeprefix("costobs_gate_") for name in (*COUNTERS, *GAUGES)}

    assert [name for name in sorted(set(names)) if f"`{name}`" not in told] == []
    assert sorted(metrics - set(first_cells(told))) == []


def test_it_has_a_row_for_each_kind_of_rule_pool_cause_and_file() -> None:
    told = first_cells(read("docs/rules.md"))
    assert set(told) >= {*rules.KINDS, *POOLS}
    assert set(first_cells(read("docs/reconciliation.md"))) == set(CAUSES)
    assert set(first_cells(read("docs/chargeback.md"))) == set(KINDS.names())
    assert set(first_cells(read("docs/month-close.md"))) >= set(NEEDED)


def test_it_keeps_the_first_page_short() -> None:
    first = read("README.md")
    words, rest = first.split("![Overview", 1)

    assert len([line for line in words.splitlines() if line and not line.startswith("#")]) == 5
    assert re.findall(r"^ {4}(make .+)$", rest.split("## After")[0], re.MULTILINE) == ["make run", "make test"]
    assert len(read("attribution/README.md").splitlines()) < 330
