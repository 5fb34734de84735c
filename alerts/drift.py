"""Tells people when estimates and bills of a provider drift apart: one open item for each provider and month."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from alerts import messages, notices
from alerts.models import DriftItem
from alerts.rows import Notice
from attribution import queries
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months, day_of
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope

# Bills of a month are corrected for some weeks; what is older does not change any more.
_MONTHS = 3
_CAUSES = 3

CAUSE_WORDS = {
    "bypass": "billed and never logged",
    "cached_tokens": "cached tokens counted differently",
    "cancelled": "streams that ended without usage",
    "day_boundary": "days cut at another hour",
    "duplicates": "calls logged twice",
    "fx": "another exchange rate",
    "price": "another price than ours",
    "tier": "another service tier",
    "unknown": "no known cause",
    "unpriced": "a model without a price",
}


@dataclass(frozen=True, slots=True)
class Drifted:
    """What one run did."""

    opened: int
    closed: int


def run(*, now: datetime) -> Drifted:
    """Opens an item for each provider and month over its threshold, and closes those that are back under it.

    An item is told once when it opens and once when it closes. Safe to repeat and to run twice at once: a lock is taken and
    the open item is unique. While all sources are the sample's, nobody is told.
    """
    opened = closed = 0
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs drift'))")
            cursor.execute("SELECT EXISTS (SELECT FROM ingest_source WHERE NOT is_sample)")
            if not cursor.fetchone()[0]:
                return Drifted(0, 0)
        first = day_of(now).replace(day=1)
        for back in range(_MONTHS):
            more_opened, more_closed = _month(month_of(add_months(first, -back)), now)
            opened, closed = opened + more_opened, closed + more_closed
    return Drifted(opened, closed)


def _month(days: Days, now: datetime) -> tuple[int, int]:
    lines: dict[tuple[str, str], queries.ProviderLine] = {}
    currencies = list(queries.compared(scope=SpendScope(days, teams=None)).currencies)
    for currency in currencies:
        sheet = queries.compared(scope=SpendScope(days, currency=currency, teams=None))
        lines |= {(one.provider, currency): one for one in sheet.providers if one.days}
    open_items = {
        (item.provider, item.currency): item for item in DriftItem.objects.filter(month=days.start, closed_at=None)
    }
    over = {key: line for key, line in lines.items() if line.is_over}
    for key in sorted(over.keys() - open_items.keys()):
        _open(over[key], days, now)
    gone = sorted(open_items.keys() - over.keys())
    for key in gone:
        _close(open_items[key], lines.get(key), now)
    return len(over.keys() - open_items.keys()), len(gone)


def _open(line: queries.ProviderLine, days: Days, now: datetime) -> None:
    before = DriftItem.objects.filter(provider=line.provider, month=days.start, currency=line.currency).count()
    item = DriftItem.objects.create(
        provider=line.provider, month=days.start, currency=line.currency, episode=before + 1, opened_at=now
    )
    _tell(item, "drift", messages.drifted(line, month=days.start, causes=_causes(line, days)), now)


def _close(item: DriftItem, line: queries.ProviderLine | None, now: datetime) -> None:
    DriftItem.objects.filter(pk=item.pk).update(closed_at=now)
    notice = messages.drift_ended(item.provider, month=item.month, currency=item.currency, line=line)
    _tell(item, "drift_ended", notice, now)


def _causes(line: queries.ProviderLine, days: Days) -> list[str]:
    scope = SpendScope(days, currency=line.currency, teams=None)
    found = [
        one
        for one in queries.compared(scope=scope, provider=line.provider).causes
        if one.cause in CAUSE_WORDS and one.amount
    ]
    return [_words(one, line.currency) for one in found[:_CAUSES]]


def _words(one: queries.CauseSum, currency: str) -> str:
    cells = "cell" if one.cells == 1 else "cells"
    words = CAUSE_WORDS[one.cause]
    amount = fmt.money(one.amount, currency, signed=True)
    return f"{words[0].upper()}{words[1:]}: {amount}, in {fmt.integer(one.cells)} {cells}."


def _tell(item: DriftItem, kind: str, notice: Notice, now: datetime) -> None:
    # It becomes a part of a Message-ID, where a name with spaces may not stand; the row's own number keeps names apart.
    first = DriftItem.objects.filter(provider=item.provider, month=item.month, currency=item.currency).order_by("pk")
    thread = f"drift:{first.values_list('pk', flat=True)[0]}:{item.month:%Y-%m}"
    notices.raise_alert(
        kind=kind,
        budget=None,
        run=None,
        notice=notice,
        key=f"{kind}:{thread}:{item.episode}",
        now=now,
        thread=thread,
    )
