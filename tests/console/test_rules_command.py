"""costobs rules: list, show, publish, history, restore and import, as a script sees them."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import orjson
import pytest
from django.core.management import CommandError, call_command

from attribution import own
from attribution.models import RulesetVersion
from costobs.audit.models import AuditEntry

pytestmark = pytest.mark.django_db


def _run(*words: str) -> str:
    out = StringIO()
    call_command("rules", *words, stdout=out, stderr=out)
    return out.getvalue()


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_it_lists_the_rules_in_force_in_words() -> None:
    found = _run("list")

    assert "1  Team named on the call or the resource: everything → the team it names" in found
    assert len(found.splitlines()) == 9


def test_it_publishes_what_it_showed_with_one_more_rule_and_restores(tmp_path: Path) -> None:
    rules = orjson.loads(_run("show"))
    first = RulesetVersion.objects.get().pk
    rules.insert(0, {"kind": "match", "name": "k1", "config": {"when": {"key": ["k1"]}, "set": {"team": "search"}}})
    path = _file(tmp_path, "rules.json", orjson.dumps(rules).decode())

    assert "k1 added: key is k1 → team search" in _run("publish", path, "--note", "try", "--dry-run")
    assert RulesetVersion.objects.count() == 1
    assert "is in force; 0 days are split anew" in _run("publish", path, "--note", "search has a key", "--by", "ada")
    assert own.current_rules()[0].name == "k1"
    assert AuditEntry.objects.get().actor == "ada"
    assert "search has a key  in force" in _run("history")
    _run("restore", str(first))

    assert own.current_rules()[0].name == own.DEFAULT_RULES[0].name
    assert RulesetVersion.objects.count() == 3


def test_it_says_what_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    own.ensure_default_ruleset(now=datetime(2026, 11, 21, tzinfo=UTC))
    bad = '[{"kind": "match", "name": "x", "config": {}}]'

    with pytest.raises(CommandError, match="expected set or lookup"):
        _run("publish", _file(tmp_path, "bad.json", bad), "--note", "x")
    with pytest.raises(CommandError, match="expected a list of rules"):
        _run("publish", _file(tmp_path, "no.json", "{}"), "--note", "x")
    with pytest.raises(CommandError, match="cannot be read"):
        _run("import", str(tmp_path / "missing.csv"))
    with pytest.raises(CommandError, match="there is no version 99999"):
        _run("restore", "99999")
    assert RulesetVersion.objects.count() == 1


def test_it_imports_owners_and_tells_lines_it_cannot_use(tmp_path: Path) -> None:
    path = _file(tmp_path, "owners.csv", "API key,Owner\nk1,search\n,nobody\n")

    said = _run("import", path)
    again = _run("import", path)

    assert "owners.csv: 1 new, 0 changed, 0 same, 1 unusable" in said and "line 3: no key on this line" in said
    assert "1 same" in again
    assert RulesetVersion.objects.count() == 2
    (rule,) = [one for one in own.current_rules() if one.name.startswith("Imported")]
    assert rule.config == {"lookup": {"attribute": "key", "table": {"k1": "search"}}}
