"""Prices as people give them: one by one, as a table, or as a discount off the list; none is in force yet."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from costobs.kernel import money
from ingest import price, price_list, price_tiers
from ingest.models import UnitPrice
from ingest.price import BadPrice, Wanted
from ingest.price_list import PRICED
from ingest.price_rows import Key

FIRST, LAST = date(1970, 1, 1), date(2100, 1, 1)
MOST = 2_000
MOST_PRICE, MOST_DECIMALS = 10**9, 18
# The columns of a table of prices; the price book is exported with the same ones, so that it can be edited and read back.
NAMED = ("provider", "model", "tier", "prompt_from", "valid_from", "currency")
KINDS = ("input", *(kind for kind in PRICED if kind != "input_uncached"))
_IGNORED = frozenset({"valid_to", "provenance", "set_by", "note"})
_MILLION = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One price to set: per 1M tokens of each kind, and for one request, by the size of the prompt it begins at."""

    provider: str
    model: str
    service_tier: str
    valid_from: date
    currency: str
    steps: Mapping[int, Mapping[str, Decimal]]

    @property
    def key(self) -> Key:
        """What is priced."""
        return price.key_of(Wanted(self.provider, self.model, self.service_tier, self.valid_from))


def check(line: Line) -> None:
    """Raises BadPrice for a price that cannot be, with what was expected."""
    if not line.provider.strip() or not line.model.strip():
        raise BadPrice("expected a provider and a model, found nothing")
    if "\x00" in f"{line.provider}{line.model}":
        raise BadPrice("expected names, found a null character")
    if not FIRST <= line.valid_from <= LAST:
        raise BadPrice(f"expected a day between {FIRST} and {LAST}, found {line.valid_from}")
    if not (len(line.currency) == 3 and line.currency.isascii() and line.currency.isalpha()):
        raise BadPrice(f"expected a currency as three letters, found {line.currency!r}")
    if not price_tiers.is_known(line.provider, line.service_tier):
        raise BadPrice(f"expected a service tier that {line.provider} sells, found {line.service_tier!r}")
    if 0 not in line.steps:
        raise BadPrice("expected a price for prompts of every size (prompt_from 0), found only those of long prompts")
    for prices in line.steps.values():
        price.per_token(prices)
        for kind, amount in prices.items():
            if amount > MOST_PRICE or _decimals(amount) > MOST_DECIMALS:
                raise BadPrice(
                    f"{kind}: expected at most {MOST_PRICE:,} with at most {MOST_DECIMALS} decimals, found another amount"
                )


def discounted(*, provider: str, model: str, percent: Decimal, valid_from: date) -> list[Line]:
    """A provider's list prices less a negotiated percentage, of one model or of all that usage has met, from a day on.

    It follows the changes the list knows of; asked for twice it is the same discount, not one on the other.
    """
    if not (percent.is_finite() and 0 < percent <= 100 and _decimals(percent) <= MOST_DECIMALS):
        raise BadPrice(f"expected a discount between 0 and 100 %, found {percent} %")
    rows = UnitPrice.objects.filter(provider=provider, known_to=None, is_conservative=False)
    keys = sorted(set(rows.values_list("provider", "model", "service_tier")))
    if model:
        wanted = price.key_of(Wanted(provider, model, price_tiers.STANDARD, valid_from))
        keys = [key for key in keys if key[1] == wanted[1]] or [wanted]
    share = 1 - percent.scaleb(-2)
    start = datetime.combine(valid_from, time(0), UTC)
    found = []
    for key in keys:
        for period in price_list.periods(*key):
            if period.valid_to is None or period.valid_to > start:
                steps = {step.context_from: _per_million(step.prices, share) for step in period.steps}
                found.append(Line(*key, max(valid_from, period.valid_from.date()), "USD", steps))
    if not found:
        raise BadPrice(f"expected models of {provider} that the list prices, found none: set their prices one by one")
    return found


def read(text: str, *, file: str) -> tuple[list[Line], list[str]]:
    """The prices of a table with commas, semicolons or tabs, and what is wrong with the rows that were left out.

    Raises BadPrice when it is no such table at all.
    """
    rows = _table(text, file)
    lines: dict[tuple[Key, date], Line] = {}
    problems: list[str] = []
    for number, row in rows:
        try:
            line = _line(row)
            name = (line.key, line.valid_from)
            before = lines.get(name)
            if before is not None and before.steps.keys() & line.steps.keys():
                raise BadPrice("the same model, tier, prompt size and day as a row above; a model has one price a day")
            steps = {**(before.steps if before else {}), **line.steps}
            lines[name] = replace(line, steps=steps)
        except (BadPrice, money.MoneyError) as problem:
            problems.append(f"{file}, row {number}: {problem}")
    good = []
    for line in lines.values():
        try:
            check(line)
            good.append(line)
        except BadPrice as problem:
            problems.append(f"{file}, {line.provider}/{line.model} from {line.valid_from}: {problem}")
    return good, problems


def stored(line: Line) -> dict[str, Any]:
    """A line as JSON."""
    return {
        "provider": line.provider.strip(),
        "model": line.model.strip(),
        "service_tier": line.service_tier,
        "valid_from": line.valid_from.isoformat(),
        "currency": line.currency.upper(),
        "steps": {
            str(at): {kind: money.text(each) for kind, each in prices.items()} for at, prices in line.steps.items()
        },
    }


def restored(one: Mapping[str, Any]) -> Line:
    """A line from its JSON."""
    steps = {
        int(at): {kind: Decimal(text) for kind, text in prices.items()}
        for at, prices in sorted(one["steps"].items(), key=lambda pair: int(pair[0]))
    }
    day = date.fromisoformat(one["valid_from"])
    return Line(one["provider"], one["model"], one["service_tier"], day, one["currency"], steps)


def _decimals(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _table(text: str, file: str) -> list[tuple[int, dict[str, str]]]:
    text = text.lstrip("\ufeff")
    header = text.strip("\r\n").partition("\n")[0]
    mark = next((one for one in ("\t", ";", ",") if one in header), ",")
    try:
        cells = list(csv.reader(io.StringIO(text.strip("\r\n")), delimiter=mark, skipinitialspace=True, strict=True))
    except csv.Error as problem:
        raise BadPrice(f"{file} cannot be read as a table: {problem}") from problem
    names = [name.strip().lower().replace(" ", "_") for name in cells[0]] if cells else []
    unknown = [name for name in names if name not in {*NAMED, *KINDS, *_IGNORED}]
    missing = [name for name in ("provider", "model", "valid_from", "input") if name not in names]
    if unknown or missing or len(set(names)) != len(names):
        what = (
            f"found {', '.join(unknown)}" if unknown else f"without {', '.join(missing)}" if missing else "one is twice"
        )
        raise BadPrice(f"{file}: expected the columns {', '.join((*NAMED, *KINDS))}; {what}")
    rows = [
        (number, dict(zip(names, map(str.strip, row), strict=False)))
        for number, row in enumerate(cells[1:], start=2)
        if any(map(str.strip, row))
    ]
    if len(rows) > MOST:
        raise BadPrice(f"{file}: expected at most {MOST:,} prices, found {len(rows):,}")
    return rows


def _line(row: Mapping[str, str]) -> Line:
    try:
        day = date.fromisoformat(row.get("valid_from", ""))
    except ValueError as problem:
        raise BadPrice(f"valid_from: expected a day as YYYY-MM-DD, found {row.get('valid_from', '')!r}") from problem
    at = row.get("prompt_from") or "0"
    if not (at.isascii() and at.isdigit() and len(at) < 10):
        raise BadPrice(f"prompt_from: expected a whole number of tokens, found {at!r}")
    prices: dict[str, Decimal] = {}
    for kind in KINDS:
        if row.get(kind):
            try:
                prices[kind] = money.parse(row[kind])
            except money.MoneyError as problem:
                raise BadPrice(f"{kind}: {problem}") from problem
    tier = row.get("tier") or price_tiers.STANDARD
    currency = (row.get("currency") or "USD").upper()
    line = Line(row.get("provider", "").lower(), row.get("model", ""), tier, day, currency, {int(at): prices})
    check(replace(line, steps={0: prices}))
    return line


def _per_million(prices: price_list.Prices, share: Decimal) -> dict[str, Decimal]:
    return {kind: (prices[kind] if kind == "request" else prices[kind].scaleb(_MILLION)) * share for kind in PRICED}


def several(lines: Sequence[Line]) -> list[Line]:
    """The lines in the order in which they are set, whoever gave them: two changes at once take locks in one order."""
    return sorted(lines, key=lambda line: (line.key, line.valid_from))
