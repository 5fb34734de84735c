"""Whatever happens after months have closed, they say what they said, and the books still hold everything once.

Each case is a small company whose days lie around the end of a month, with rules of every kind: it closes one month or two, and
then come late charges, bills delivered again, other rules, other cost centres and exchange rates, in any order.
"""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from django.db import transaction
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from attribution import close, issue, own, verify
from attribution.models import ExchangeRate, PeriodBook, Team
from attribution.queries import month_checks
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope
from ingest.models import Delivery
from tests.attribution import test_properties_books as random
from tests.attribution import world

pytestmark = pytest.mark.django_db

LAST = date(2026, 3, 31)  # the first day of a case; the others are in April
MARCH, APRIL = LAST.replace(day=1), date(2026, 4, 1)
NOW = world.at(12, day=date(2026, 5, 4))
Act = Callable[[], None]


@pytest.fixture(autouse=True)
def _around_the_end_of_a_month(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "DAY", LAST)


@settings(random._settings, phases=[Phase.explicit, Phase.generate], max_examples=6)
@given(
    company=random._companies(),
    later=random._companies(),
    chance=st.randoms(use_true_random=False),
    months=st.sampled_from([(MARCH,), (MARCH, APRIL)]),
)
def test_it_changes_nothing_of_a_closed_month_and_loses_nothing_after_it(company, later, chance, months):
    ends = []
    for turn in range(2):
        with transaction.atomic():
            random._begin(company)
            random._put(company)
            world.settle()
            _close(*months)
            closed = [month for month in (MARCH, APRIL) if close.state(month=month, now=NOW) == "closed"]
            before = _said(*closed)

            acts = _acts(later)
            chance.shuffle(acts)
            for number, act in enumerate(acts):
                act()
                if turn == 0 or number == len(acts) - 1:
                    world.settle(newest_first=chance.random() < 0.5)
                    assert _said(*closed) == before
                    assert verify.run().failures == ()
            assert _held() == _whole(random._delivered([*company.charges, *later.charges]))
            ends.append(_rows())
            transaction.set_rollback(True)
    assert ends[0] == ends[1]


@settings(random._settings, phases=[Phase.explicit, Phase.generate], max_examples=5)
@given(company=random._companies(), later=random._companies(), chance=st.randoms(use_true_random=False))
def test_it_says_after_opening_again_what_it_would_say_had_it_never_closed(company, later, chance):
    ends = []
    for closes in (True, False):
        with transaction.atomic():
            random._begin(company)
            random._put(company)
            world.settle()
            if closes:
                _close(MARCH, APRIL)
            for act in _acts(later):
                act()
                world.settle(newest_first=chance.random() < 0.5)
            if closes:
                for month in (APRIL, MARCH):
                    if not PeriodBook.objects.filter(month=month, state="closed").exists():
                        continue
                    close.ask_reopen(month=month, reason="wrong bill", by="ada", now=NOW)
                    close.agree_reopen(month=month, by="eve", now=NOW)
                    world.settle(newest_first=chance.random() < 0.5)
                    assert verify.run().failures == ()
            _open_all()
            world.settle()
            assert verify.run().failures == ()
            ends.append(random._content())
            transaction.set_rollback(True)
    assert ends[0] == ends[1]


def _open_all() -> None:
    """Splits of new rules hold for days that are made again: all of them, here, the closed ones among them."""
    world.fetch("UPDATE ingest_touched SET version = version + 1 RETURNING 1")


def _close(*months: date) -> None:
    for month in months:
        status = close.status(month=month, now=NOW)
        if status.state == "closed" or month_checks.is_empty(days=month_of(month)):
            continue
        waive = dict.fromkeys((line.key for line in status.open_lines if line.may_be_waived), "known")
        close.close(month=month, by="ada", now=NOW, waive=waive)


def _acts(later: random.Company) -> list[Act]:
    """What happens after a month has closed; each may come in any order."""

    def late() -> None:
        before = [of for (of,) in world.fetch("SELECT id FROM ingest_delivery ORDER BY 1")]
        Delivery.objects.filter(pk__in=before).update(state="held")  # what is late comes in deliveries of its own
        random.small._put(later.charges, [], [], [])
        Delivery.objects.filter(pk__in=before).update(state="current")

    def rules() -> None:
        own.reattribute(drafts=later.rules, now=NOW, by="test")
        _open_all()

    def centres() -> None:
        Team.objects.update_or_create(name="a", defaults={"title": "A", "cost_centre": "9999"})

    def published() -> None:
        ExchangeRate.objects.create(
            base="EUR", currency="USD", day=LAST, rate="1.25", publisher="ECB", known_from=NOW, set_by="ada"
        )

    return [late, rules, centres, published]


def _said(*months: date) -> dict[str, Any]:
    """Everything a closed month says: its rows with their ids, and its statements."""
    found: dict[str, Any] = {}
    for month in months:
        days = month_of(month)
        found[f"rows {month}"] = world.fetch(
            f"SELECT * FROM attribution_dailycost d WHERE day >= '{days.start}' AND day < '{days.end}' ORDER BY id"
        )
        for currency in ("USD", "EUR"):
            scope = SpendScope(days, (), "effective", currency, None)
            found[f"{month} {currency}"] = list(_files(scope))
    return found


def _files(scope: SpendScope) -> Iterator[bytes]:
    for file in issue.files(scope=scope, cost_centre=None, kinds=["json", "csv", "focus"]):
        yield file.content


def _held() -> dict[Any, Any]:
    """What the books hold of each day, corrections counted where they belong."""
    sums = ", ".join(f"sum(d.{cost})" for cost in random.COSTS)
    rows = world.fetch(
        f"""SELECT s.name, coalesce(d.origin_day, d.day), d.currency, {sums} FROM attribution_dailycost d
            JOIN ingest_source s ON s.id = d.source_id WHERE d.basis = 'billed' GROUP BY 1, 2, 3"""
    )
    return _whole({(name, day, currency): tuple(costs) for name, day, currency, *costs in rows})


def _whole(found: dict[Any, Any]) -> dict[Any, Any]:
    """Without what comes to nothing: a closed day gets no correction of zero."""
    return {key: costs for key, costs in found.items() if any(costs)}


def _rows() -> list[tuple[Any, ...]]:
    """The books, corrections among them, by names instead of ids; the lines of one kind added up."""
    sums = ", ".join(f"sum(d.{cost})" for cost in random.COSTS)
    return world.fetch(
        f"""SELECT d.day, d.origin_day, s.name, d.basis, d.is_current, d.currency, d.provider_name, d.sub_account, d.service_name,
                d.charge_category, d.model, d.deployment, d.token_kind, d.share_kind, d.method, a.digest, {sums}
            FROM attribution_dailycost d JOIN ingest_source s ON s.id = d.source_id
            JOIN ingest_attributeset a ON a.id = d.attribute_set_id
            GROUP BY {", ".join(map(str, range(1, 17)))} ORDER BY {", ".join(map(str, range(1, 17)))}"""
    )
