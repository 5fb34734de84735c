"""Owners from files: tables as people save them, service catalogues, and what a row does to the rules."""

import pytest

from attribution import own, owner_files, owner_import, rule_changes
from attribution.owner_import import Unreadable
from attribution.owning import RuleDraft

CATALOGUE = """\
# owners of ours
apiVersion: backstage.io/v1alpha1
kind: Group
metadata:
  name: search
  annotations:
    costobs/cost-centre: "4711"
---
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: answers-api
  annotations:
    backstage.io/kubernetes-namespace: answers
    costobs/key: sk-1, sk-2
spec:
  owner: group:default/search
  system: answers
---
kind: Component
metadata:
  name: orphan
spec:
  type: service
---
kind: Location
metadata: {name: elsewhere}
"""


def _told(content: bytes, name: str = "") -> list[tuple[int, str, str, dict[str, str], str]]:
    return [
        (one.line, one.attribute, one.value, dict(one.owner), one.problem)
        for one in owner_import.read(content, name=name)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "API Key,Owner,Cost Center,Env\nk1,search,4711,prod\n",
        "api_key;team;cost centre;environment\nk1;search;4711;prod\n",
        "Virtual Key\tSquad\tKostenstelle\tStage\nk1\tsearch\t4711\tprod",
        '"key ID","team","CC","env"\n"k1"," search ","4711","prod"\n\n',
        "note|attribute|value|team|cost_centre|environment\nx|key|k1|search|4711|prod\n",
        '[{"key": "k1", "team": "search", "cost_centre": 4711, "env": "prod"}]',
        "- api key: k1\n  owner: group:search\n  cost centre: '4711'\n  stage: prod\n",
        "owners:\n  - {attribute: key, value: k1, team: search, cc: '4711', env: prod}\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_it_reads_an_owner_whatever_the_columns_are_called_and_however_it_was_saved(text: str, encoding: str) -> None:
    owner = {"team": "search", "cost_centre": "4711", "environment": "prod"}

    ((_line, attribute, value, found, problem),) = _told(text.encode(encoding))

    assert (attribute, value, found, problem) == ("key", "k1", owner, "")


def test_it_reads_umlauts_of_an_old_spreadsheet() -> None:
    ((_line, _attribute, _value, owner, _problem),) = _told("key;team\nk1;Büro\n".encode("cp1252"))

    assert owner == {"team": "Büro"}


def test_it_reads_tags_and_several_attributes_of_one_line() -> None:
    found = _told(b"project,tags.app,team\np1,answers,search\n,triage,support\n")

    assert [(line, attribute, value) for line, attribute, value, _o, _p in found] == [
        (2, "project", "p1"),
        (2, "tags.app", "answers"),
        (3, "tags.app", "triage"),
    ]


def test_it_reads_a_catalogue_of_many_documents() -> None:
    found = _told(CATALOGUE.encode(), "catalog-info.yaml")

    owner = {"team": "search", "feature": "answers", "cost_centre": "4711"}
    assert [(attribute, value, told) for _l, attribute, value, told, problem in found if not problem] == [
        ("service_name", "answers-api", owner),
        ("namespace", "answers", owner),
        ("key", "sk-1", owner),
        ("key", "sk-2", owner),
    ]
    assert [(line, problem) for line, *_rest, problem in found if problem] == [
        (20, "Component orphan has no spec.owner")
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("k*,search", "wildcard"),
        (",search", "no key on this line"),
        ("k1,", "no owner on this line"),
        ("k1,search,too,many", "4 cells, the first line names 2 columns"),
        ("k1,$team", "an owner is a name"),
        (f"{'k' * 300},search", "longer than 200"),
    ],
)
def test_it_says_why_a_row_cannot_be_used_and_spoils_no_other(line: str, problem: str) -> None:
    found = _told(f"key,team\n{line}\nk9,growth\n".encode())

    assert problem in found[0][4] and found[0][0] == 2
    assert found[1][1:] == ("key", "k9", {"team": "growth"}, "")


def test_it_takes_a_value_once_and_tells_of_a_second_owner() -> None:
    found = _told(b"key,team\nk1,search\nk1,search\nk1,growth\n")

    assert [problem for *_rest, problem in found] == ["", "line 2 gives k1 to another owner; one line for each value"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"colour,size\nred,1\n", "expected a first line"),
        (b"key,colour\nk1,red\n", "expected a first line"),
        (b"\x00\x01\x02\x00", "expected text"),
        (b"key,team\n", "no owner is told"),
        (b"a: [1, 2", "neither YAML nor JSON"),
        (b"- &a {key: k1, team: x}\n- *a\n", "aliases are not read"),
        (b"!!python/object/apply:os.system ['true']", "expected a first line|neither YAML"),
        (b"- !!python/object/apply:os.system ['true']", "neither YAML nor JSON"),
        (b"x" * 2_000_001, "at most 2 MB"),
        (b"- " * 100_000, "neither YAML nor JSON"),
    ],
)
def test_it_refuses_a_file_that_tells_of_no_owner(content: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        owner_import.read(content)


def test_it_plans_one_rule_for_each_attribute_and_judges_every_row() -> None:
    rows = owner_import.read(b"key,project,team,feature\nk1,,search,\nk2,,growth,chat\n,p1,search,\n")

    first = owner_import.plan(rows, own.DEFAULT_RULES)
    second = owner_import.plan(owner_import.read(b"key,team\nk1,search\nk2,growth\nk3,research\n"), first.rules)

    assert [one.verdict for one in first.rows] == ["new", "new", "new"]
    names = [rule.name for rule in first.rules]
    assert names.index("Imported owners by key") + 1 == names.index("Owner of the key")
    assert names.index("Imported owners by project") + 1 == names.index("Owner of the project")
    assert [(one.verdict, dict(one.before)) for one in second.rows] == [
        ("same", {"team": "search"}),
        ("changed", {"team": "growth", "feature": "chat"}),
        ("new", {}),
    ]
    rule = next(rule for rule in second.rules if rule.name == "Imported owners by key")
    assert rule.config["lookup"]["table"] == {"k1": "search", "k2": "growth", "k3": "research"}
    assert [one.what for one in rule_changes.between(first.rules, second.rules)] == ["changed"]


def test_it_leaves_the_rules_alone_when_the_file_says_nothing_new() -> None:
    rows = owner_import.read(b"key,team\nk1,search\n")
    once = owner_import.plan(rows, own.DEFAULT_RULES)

    again = owner_import.plan(rows, once.rules)

    assert not again.changes_anything
    assert list(again.rules) == list(once.rules)


def test_it_leaves_a_rule_of_that_name_alone_that_looks_up_something_else() -> None:
    mine = RuleDraft("match", "Imported owners by key", {"set": {"team": "mine"}})

    found = owner_import.plan(owner_import.read(b"key,team\nk1,search\n"), [mine])

    assert mine in found.rules and len(found.rules) == 2


@pytest.mark.parametrize("value", ["0441", "4_410", "12:30", "on", "1e3", "2026-11-01", "0x1F", "1:" * 3000 + "1"])
def test_it_takes_a_value_of_a_catalogue_as_it_is_written(value: str) -> None:
    owner = f"[{{key: {value}, team: search}}, {{key: sk-1, team: search, cost_centre: {value}}}]"

    first, second = owner_files.read(owner.encode(), name="owners.yaml")

    assert first.value == value
    assert second.owner["cost_centre"] == value
    assert bool(first.problem) == (len(value) > 200)


def test_it_takes_null_as_nothing() -> None:
    (row,) = owner_files.read(b"- {key: sk-1, team: search, cost_centre: null, feature: ~}", name="owners.yaml")

    assert row.owner == {"team": "search"}
