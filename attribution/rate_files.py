"""Reads files of exchange rates: the European Central Bank's as CSV, XML and zip, and any table of date, currency and rate."""

import csv
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from xml.parsers import expat

from costobs.kernel import money

MOST_BYTES = 64 * 1024 * 1024
# Every currency there is for as long as the bank has published: more is no file of rates.
_MOST_ROWS = 2_000_000
_MOST_PROBLEMS = 200
_CURRENCY = re.compile(r"[A-Z]{3}")
_ABSENT = frozenset({"", "N/A", "NA", "-", "NULL"})
_EUROPEAN = re.compile(
    r"(\d{1,2}) (January|February|March|April|May|June|July|August|September|October|November|December) \d{4}"
)


class BadFile(ValueError):
    """The file is no file of exchange rates at all; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class RateRow:
    """What one unit of `base` is worth in `currency` on a day, and where it stood."""

    base: str
    currency: str
    day: date
    rate: Decimal
    place: str


@dataclass(frozen=True, slots=True)
class RateFile:
    """The rows of a file, and what is wrong with those that were left out, each named by file, row and field."""

    rows: tuple[RateRow, ...]
    problems: tuple[str, ...]
    left_out: int


def read(content: bytes, *, name: str, base: str) -> RateFile:
    """Rates of one file; `base` is the currency they are told for one unit of, unless its rows say so.

    Raises BadFile when it cannot be read at all. A bad row never loses another.
    """
    if len(content) > MOST_BYTES:
        raise BadFile(f"{name}: expected at most {MOST_BYTES:,} bytes, found {len(content):,}")
    if not _CURRENCY.fullmatch(base):
        raise BadFile(f"expected the base as three letters such as EUR, found {base!r}")
    if content[:2] == b"PK":
        name, content = _unpacked(content, name)
    collected = _Collected(name)
    text = _decoded(content, name)
    cells = _xml(text, name, base) if text.lstrip().startswith("<") else _csv(text, name, base)
    for place, of, currency, day, rate in cells:
        collected.add(place, of, currency, day, rate)
    if not collected.rows and not collected.left_out:
        raise BadFile(f"{name}: expected exchange rates, found none")
    return RateFile(tuple(collected.rows.values()), tuple(collected.problems), collected.left_out)


class _Collected:
    """Good rows by what they tell of, and the words about bad ones."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.rows: dict[tuple[str, str, date], RateRow] = {}
        self.problems: list[str] = []
        self.left_out = 0

    def add(self, place: str, base: str, currency: str, day: str, rate: str) -> None:
        base, currency, rate = base.strip().upper(), currency.strip().upper(), rate.strip()
        try:
            row = RateRow(_code(base, "base"), _code(currency, "currency"), _day(day.strip()), _rate(rate), place)
        except ValueError as problem:
            self._problem(place, str(problem))
            return
        if base == currency:
            if row.rate != 1:
                self._problem(place, f"rate: expected 1 for {base} in {base}, found {rate!r}")
            return
        if len(self.rows) >= _MOST_ROWS:
            raise BadFile(f"{self.file}: expected at most {_MOST_ROWS:,} rates, found more; load it in parts")
        before = self.rows.setdefault((base, currency, row.day), row)
        if before.rate != row.rate:
            self._problem(place, f"rate: {before.place} says {before.rate} for {currency} on {row.day}, found {rate!r}")

    def _problem(self, place: str, words: str) -> None:
        self.left_out += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{self.file}, {place}, {words}")


def _code(text: str, field: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f"{field}: expected three letters such as USD, found {text!r}")
    return text


def _day(text: str) -> date:
    try:
        found = datetime.strptime(text, "%d %B %Y").date() if _EUROPEAN.fullmatch(text) else date.fromisoformat(text)  # noqa: DTZ007
    except ValueError:
        raise ValueError(f"date: expected YYYY-MM-DD, found {text!r}") from None
    if not date(1970, 1, 1) <= found <= date(2100, 1, 1):
        raise ValueError(f"date: expected a day between 1970 and 2100, found {text!r}")
    return found


def _rate(text: str) -> Decimal:
    try:
        found = money.parse(text)
    except money.MoneyError:
        raise ValueError(f"rate: expected a number with a decimal point, found {text!r}") from None
    # Wider bounds than any currency has; beyond them a decimal would cost memory, not tell a rate.
    if not Decimal("1E-12") <= found <= Decimal("1E12"):
        raise ValueError(f"rate: expected a number above zero, found {text!r}")
    exponent = found.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -30:
        raise ValueError("rate: expected at most 30 decimals")
    return found


# What a broken archive makes the unpackers of its methods say.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError, OSError, EOFError, ValueError),
)


def _unpacked(content: bytes, name: str) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [one for one in archive.infolist() if one.filename.lower().endswith((".csv", ".xml"))]
            if len(inside) != 1:
                raise BadFile(f"{name}: expected a zip with one CSV or XML file, found {len(inside)}")
            with archive.open(inside[0]) as file:
                found = file.read(MOST_BYTES + 1)
    except BadFile:
        raise
    except _BROKEN as problem:
        raise BadFile(f"{name}: expected a zip file, found one that cannot be unpacked ({problem})") from problem
    if len(found) > MOST_BYTES:
        raise BadFile(f"{name}: expected at most {MOST_BYTES:,} bytes inside, found more")
    return f"{name}/{inside[0].filename}", found


def _decoded(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadFile(f"{name}: expected text in UTF-8, found byte {problem.start} that is not") from problem
    if "\x00" in text:
        raise BadFile(f"{name}: expected text, found a null character")
    return text


_Cell = tuple[str, str, str, str, str]


def _csv(text: str, name: str, base: str) -> Iterator[_Cell]:
    """A table of date, currency, rate (and base), or the bank's: a column for each currency."""
    header = text.strip("\r\n").partition("\n")[0]
    mark = next((one for one in ("\t", ";", ",") if one in header), ",")
    try:
        yield from _table(csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True, strict=True), name, base)
    except csv.Error as problem:
        raise BadFile(f"{name}: cannot be read as a table: {problem}") from problem


def _table(rows: Iterator[list[str]], name: str, base: str) -> Iterator[_Cell]:
    header = next((row for row in rows if any(map(str.strip, row))), None)
    if header is None:
        raise BadFile(f"{name}: expected a header, found an empty file")
    names = [cell.strip() for cell in header]
    lower = [cell.lower() for cell in names]
    if {"date", "currency", "rate"} <= set(lower):
        at = {each: lower.index(each) for each in ("date", "currency", "rate")}
        of = lower.index("base") if "base" in lower else None
        yield from _long(rows, at, of, base)
    elif lower[:1] == ["date"] and any(_CURRENCY.fullmatch(cell) for cell in names[1:]):
        yield from _wide(rows, names, base)
    else:
        raise BadFile(
            f"{name}: expected the columns date, currency and rate, or date and a column a currency;"
            f" found {','.join(names)[:200]!r}"
        )


def _long(rows: Iterator[list[str]], at: dict[str, int], of: int | None, base: str) -> Iterator[_Cell]:
    for number, row in enumerate(rows, start=2):
        if any(cell.strip() for cell in row):
            told = {name: row[index] if index < len(row) else "" for name, index in at.items()}
            its_base = row[of].strip() if of is not None and of < len(row) else ""
            yield f"row {number}", its_base or base, told["currency"], told["date"], told["rate"]


def _wide(rows: Iterator[list[str]], names: Sequence[str], base: str) -> Iterator[_Cell]:
    for number, row in enumerate(rows, start=2):
        for currency, rate in zip(names[1:], row[1:], strict=False):
            # The bank leaves what was not traded as N/A, and ends its lines with a comma.
            if currency and rate.strip().upper() not in _ABSENT:
                yield f"row {number}", base, currency, row[0], rate


def _xml(text: str, name: str, base: str) -> Iterator[_Cell]:
    """The bank's envelope: a cube with a time holds a cube for each currency."""
    found: list[_Cell] = []
    day = ""
    parser = expat.ParserCreate("UTF-8")  # the text is decoded already, whatever it says of itself

    def refuse(*_: object) -> None:
        raise BadFile(f"{name}: expected plain XML, found a document type or entities, which are not read")

    def begin(tag: str, values: dict[str, str]) -> None:
        nonlocal day
        if tag.rpartition(":")[2] != "Cube":
            return
        day = values.get("time", day)
        if "currency" in values:
            found.append((f"line {parser.CurrentLineNumber}", base, values["currency"], day, values.get("rate", "")))

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = begin
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as problem:
        raise BadFile(f"{name}: cannot be read as XML: {problem}") from problem
    yield from found
