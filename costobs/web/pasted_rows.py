"""A list of objects typed as a table, the way a spreadsheet pastes it: the first line names the columns."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

_WHOLE = re.compile(r"[0-9]{1,15}")


def is_table(text: str) -> bool:
    """Whether `text` is meant as a table: it does not begin as JSON does."""
    return bool(text.strip()) and not text.lstrip().startswith(("[", "{", '"'))


def read(text: str, *, like: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table with tabs, semicolons or commas; a column `tags.environment` is a key of `tags`.

    Empty cells are left out. A column that holds whole numbers in `like`, the example, is read as such. Raises ValueError.
    """
    header, *_rest = text.strip("\r\n").splitlines()
    mark = next((one for one in ("\t", ";", ",") if one in header), ",")
    try:
        lines = list(csv.reader(io.StringIO(text.strip("\r\n")), delimiter=mark, skipinitialspace=True, strict=True))
    except csv.Error as problem:
        raise ValueError(f"the table cannot be read: {problem}") from None
    columns = [re.sub(r"\s+", "_", name.strip().lower()) for name in lines[0]]
    if len(columns) < 2 or "" in columns or len(set(columns)) != len(columns):
        raise ValueError(
            f"expected JSON, or a table whose first line names each column once, such as {', '.join(_columns(like)[:3])}"
        )
    whole = {name for one in like for name, value in one.items() if isinstance(value, int)}
    return [
        _row(columns, cells, at, whole) for at, cells in enumerate(lines[1:], start=2) if any(map(str.strip, cells))
    ]


def written(rows: Sequence[Mapping[str, Any]]) -> str:
    """`rows` as such a table, with commas."""
    target = io.StringIO()
    writer = csv.DictWriter(target, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return target.getvalue().strip()


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in _flat(row)))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, Mapping) else {name: value}
    return found


def _row(columns: Sequence[str], cells: Sequence[str], line: int, whole: set[str]) -> dict[str, Any]:
    if len(cells) > len(columns):
        raise ValueError(f"line {line} has {len(cells)} cells, the first line names {len(columns)} columns")
    found: dict[str, Any] = {}
    for column, cell in zip(columns, map(str.strip, cells), strict=False):
        name, _dot, key = column.partition(".")
        if not cell:
            continue
        if key:
            found.setdefault(name, {})[key] = cell
        else:
            found[name] = int(cell) if name in whole and _WHOLE.fullmatch(cell) else cell
    return found
