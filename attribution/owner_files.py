"""Owners as files tell of them: a table of a spreadsheet, or a service catalogue."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from attribution.rules.base import OWNED

MOST_BYTES, _MOST_ROWS, _MOST_TEXT = 2_000_000, 50_000, 200

# What people call the columns, in lower case without spaces and signs.
_OWNER_WORDS = {
    "team": ("team", "owner", "ownerteam", "owningteam", "squad", "group", "teamname"),
    "feature": ("feature", "product", "application", "app", "usecase", "featurename"),
    "cost_centre": ("costcentre", "costcenter", "cc", "costcentreid", "costcenterid", "kostenstelle"),
    "environment": ("environment", "env", "stage"),
}
_ATTRIBUTE_WORDS = {
    "key": ("key", "apikey", "keyid", "apikeyid", "virtualkey", "keyname", "keyalias"),
    "project": ("project", "projectid", "projectname", "workspace", "workspaceid"),
    "account": ("account", "accountid", "subaccount", "subaccountid", "subscription", "subscriptionid"),
    "namespace": ("namespace", "k8snamespace", "kubernetesnamespace"),
    "deployment": ("deployment", "deploymentname", "endpoint"),
    "service_name": ("servicename", "service"),
}
_ATTRIBUTE_COLUMN, _VALUE_COLUMN = ("attribute", "dimension", "matchon"), ("value", "attributevalue", "match")
# Annotations of a catalogue that say where a component runs.
_ANNOTATIONS = {
    "namespace": ("backstage.io/kubernetes-namespace", "costobs/namespace"),
    "deployment": ("backstage.io/kubernetes-id", "costobs/deployment"),
    "account": ("amazonaws.com/account-id", "costobs/account"),
    "project": ("google.com/project-id", "costobs/project"),
    "key": ("costobs/key",),
}


class Unreadable(ValueError):
    """The file cannot be used at all; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Row:
    """One owner that a file tells of, or with `problem` why it cannot be used."""

    line: int
    attribute: str
    value: str
    owner: Mapping[str, str]
    problem: str = ""


def read(content: bytes, *, name: str = "") -> list[Row]:
    """The owners in a file, whatever it is: CSV by any sign, Backstage's catalog-info.yaml, a list in YAML or JSON.

    A row that cannot be used says why and spoils no other. Raises Unreadable.
    """
    text = decoded(content)
    if not text.strip():
        raise Unreadable("the file is empty")
    rows = _catalogue(text) if _is_catalogue(text, name) else _table(text)
    if len(rows) > _MOST_ROWS:
        raise Unreadable(f"expected at most {_MOST_ROWS:,} rows, found {len(rows):,}")
    if not rows:
        raise Unreadable(
            "no owner is told in this file; expected columns such as key and team, or components with spec.owner"
        )
    return _once(rows)


def words_of(attribute: str) -> str:
    """An attribute as a person reads it."""
    return attribute.replace("_", " ")


def _once(rows: Sequence[Row]) -> list[Row]:
    """The same value twice is one row; with two owners the second cannot be used."""
    seen: dict[tuple[str, str], Row] = {}
    found = []
    for row in rows:
        first = seen.get((row.attribute, row.value)) if not row.problem else None
        if first is not None and first.owner == row.owner:
            continue
        if first is not None:
            row = replace(row, problem=f"line {first.line} gives {row.value} to another owner; one line for each value")
        elif not row.problem:
            seen[row.attribute, row.value] = row
        found.append(row)
    return found


def _row(line: int, attribute: str, value: str, owner: Mapping[str, str]) -> Row:
    owner = {name: " ".join(text.split()) for name, text in owner.items() if text.strip()}
    value = value.strip()
    problem = ""
    if not value:
        problem = f"no {words_of(attribute)} on this line"
    elif not owner:
        problem = "no owner on this line: team, feature, cost centre and environment are empty"
    elif set(value) & set("*?"):
        problem = f"{value} has a wildcard; values are looked up as they are, add a rule of your own for it"
    elif any(len(text) > _MOST_TEXT for text in (value, *owner.values())):
        problem = f"a text of this line is longer than {_MOST_TEXT} characters"
    elif any(text.startswith("$") or "|" in text for text in owner.values()):
        problem = "an owner is a name; $ and | have a meaning in rules only"
    return Row(line, attribute, value, owner, problem)


def decoded(content: bytes) -> str:
    """The text of a file in the encodings that spreadsheets write. Raises Unreadable."""
    if len(content) > MOST_BYTES:
        raise Unreadable(f"expected at most {MOST_BYTES // 1_000_000} MB; import it in parts")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise Unreadable("expected text in UTF-8, UTF-16 or Windows-1252; save the file as CSV UTF-8")


def _is_catalogue(text: str, name: str) -> bool:
    if name.lower().endswith((".yaml", ".yml", ".json")):
        return True
    if name.lower().endswith((".csv", ".tsv", ".txt")):
        return False
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return first.lstrip().startswith(("---", "[", "{", "- ")) or bool(re.match(r"\s*[A-Za-z]+:(\s|$)", first))


# --- tables ---


def _table(text: str) -> list[Row]:
    lines = text.splitlines()
    header = next((line for line in lines if line.strip()), "")
    mark = max("\t;,|", key=header.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True)
        cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as problem:
        raise Unreadable(f"the table cannot be read: {problem}") from None
    filled = [(line, row) for line, row in cells if any(row)]
    columns = [_column(cell) for cell in filled[0][1]]
    attributes = [at for at, column in enumerate(columns) if column.startswith("attribute:")]
    owners = {column: at for at, column in enumerate(columns) if column in OWNED}
    by_name = "attribute" in columns and "value" in columns
    if not owners or not (attributes or by_name):
        raise Unreadable(
            "expected a first line that names the columns: one or more of key, project, account, namespace, deployment,"
            f" tags.NAME (or attribute and value), and one or more of team, feature, cost centre, environment; found {header[:200]}"
        )
    found = []
    for line, row in filled[1:]:
        row = row + [""] * (len(columns) - len(row))
        owner = {name: row[at] for name, at in owners.items()}
        if len(row) > len(columns):
            found.append(Row(line, "", "", {}, f"{len(row)} cells, the first line names {len(columns)} columns"))
        elif by_name:
            found.append(_named(line, row[columns.index("attribute")], row[columns.index("value")], owner))
        else:
            told = [at for at in attributes if row[at]] or attributes[:1]
            found += [_row(line, columns[at].removeprefix("attribute:"), row[at], owner) for at in told]
    return found


def _named(line: int, attribute: str, value: str, owner: Mapping[str, str]) -> Row:
    column = _column(attribute)
    if not column.startswith("attribute:"):
        known = ", ".join([*_ATTRIBUTE_WORDS, "tags.NAME"])
        return Row(line, attribute, value, {}, f"unknown attribute {attribute!r}; known: {known}")
    return _row(line, column.removeprefix("attribute:"), value, owner)


def _column(name: str) -> str:
    """`team`, `attribute:key`, `attribute`, `value`, or "" for a column that means nothing here."""
    tag = re.fullmatch(r"(?:tags?|labels?)[.:/ ]\s*([A-Za-z0-9_.:/-]{1,100})", name.strip(), re.IGNORECASE)
    if tag:
        return f"attribute:tags.{tag.group(1)}"
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    for attribute, names in _ATTRIBUTE_WORDS.items():
        if bare in names:
            return f"attribute:{attribute}"
    for part, names in _OWNER_WORDS.items():
        if bare in names:
            return part
    return "attribute" if bare in _ATTRIBUTE_COLUMN else "value" if bare in _VALUE_COLUMN else ""


# --- catalogues ---


class _Loader(yaml.SafeLoader):
    """Safe YAML that keeps the line each document and object begins on, and follows no alias: a few could fill the memory.

    Every value is the text that stands there: a cost centre 0441 is no octal number, and a team called `on` is no yes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:  # yaml's own types
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # yaml's own types
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        found["__line__"] = node.start_mark.line + 1
        return found


_Loader.yaml_implicit_resolvers = {
    first: [(tag, written) for tag, written in told if tag == "tag:yaml.org,2002:null"]
    for first, told in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _catalogue(text: str) -> list[Row]:
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))  # a subclass of the safe one
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        said = re.sub(r"\s+", " ", str(problem))
        raise Unreadable(f"the file is neither YAML nor JSON: {said}"[:300]) from None
    entries = [entry for document in documents for entry in _entries(document)]
    titles = {_ref(_text(entry, "metadata", "name")): entry for entry in entries if _text(entry, "kind") == "Group"}
    found: list[Row] = []
    for entry in entries:
        if "metadata" in entry or "spec" in entry:
            found += _component(entry, titles)
        else:
            found += _plain(entry)
    return found


def _entries(document: Any) -> Iterator[Mapping[Any, Any]]:
    if isinstance(document, list):
        for each in document:
            yield from _entries(each)
    elif isinstance(document, Mapping):
        inner = next(
            (document[name] for name in ("items", "owners", "services") if isinstance(document.get(name), list)), None
        )
        if inner is not None:
            yield from _entries(inner)
        else:
            yield document


def _component(entry: Mapping[Any, Any], groups: Mapping[str, Mapping[Any, Any]]) -> Iterator[Row]:
    """A Component or System: its owner for its name as feature, and for the places its annotations name."""
    line = int(entry.get("__line__", 0))
    kind, name = _text(entry, "kind"), _text(entry, "metadata", "name")
    if kind not in ("Component", "System", "Resource", "API"):
        return
    team = _ref(_text(entry, "spec", "owner"))
    if not team:
        yield Row(line, "service_name", name, {}, f"{kind} {name or 'without a name'} has no spec.owner")
        return
    group = groups.get(team)
    centre = _annotation(entry, ("costobs/cost-centre", "costobs/cost-center"))
    if not centre and group is not None:
        centre = _annotation(group, ("costobs/cost-centre", "costobs/cost-center"))
    owner = {"team": team, "cost_centre": centre, "feature": _ref(_text(entry, "spec", "system")) or name}
    if kind == "Component" and name:
        yield _row(line, "service_name", name, owner)
    for attribute, annotations in _ANNOTATIONS.items():
        for value in filter(None, map(str.strip, _annotation(entry, annotations).split(","))):
            yield _row(line, attribute, value, owner)


def _plain(entry: Mapping[Any, Any]) -> Iterator[Row]:
    """An object of a plain list, which is a row of a table with names."""
    line = int(entry.get("__line__", 0))
    texts = {_column(str(key)): value for key, value in entry.items() if isinstance(value, str)}
    owner = {name: _ref(texts.get(name, "")) if name == "team" else texts.get(name, "") for name in OWNED}
    if texts.get("attribute"):
        yield _named(line, texts["attribute"], texts.get("value", ""), owner)
        return
    places = [
        (name.removeprefix("attribute:"), value) for name, value in texts.items() if name.startswith("attribute:")
    ]
    if not places:
        yield Row(line, "", "", {}, "expected key, project, account, namespace, deployment or tags.NAME in this object")
    for attribute, value in places:
        yield _row(line, attribute, value, owner)


def _text(entry: Mapping[Any, Any], *path: str) -> str:
    found: Any = entry
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found.strip() if isinstance(found, str) else ""


def _annotation(entry: Mapping[Any, Any], names: Sequence[str]) -> str:
    return next(filter(None, (_text(entry, "metadata", "annotations", name) for name in names)), "")


def _ref(text: str) -> str:
    """The name in a reference such as group:default/search."""
    return text.rsplit("/", 1)[-1].rsplit(":", 1)[-1].strip()
