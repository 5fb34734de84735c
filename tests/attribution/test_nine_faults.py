"""Nine faults, alone and in pairs: reconcile sees the bill and the usage, and names and sizes each."""

import itertools
from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from attribution import reconcile
from attribution.models import ReconciledCause, ReconciledCell
from costobs.kernel.period import Days
from ingest import partitions
from tests.attribution import month as months
from tests.attribution.month import DAYS, FAULTS, Month

pytestmark = pytest.mark.django_db

FEBRUARY = Days(DAYS[0], date(2026, 3, 1))
_ONE_PERCENT = Decimal("0.01")

Sizes = dict[tuple[date, str], Decimal]


@pytest.fixture(scope="module", autouse=True)
def _partitions(django_db_setup: None, django_db_blocker: Any) -> None:
    """The days of the month once, for they outlast what each test rolls back."""
    with django_db_blocker.unblock():
        partitions.ensure_days([months.BEFORE, *DAYS, months.AFTER])
        partitions.ensure_months([months.BEFORE, *DAYS, months.AFTER])


def _found() -> dict[str, Sizes]:
    found: dict[str, Sizes] = defaultdict(lambda: defaultdict(Decimal))
    for cause, day, account, amount in ReconciledCause.objects.values_list("cause", "day", "cell__account", "amount"):
        found[cause][day, account] += amount
    return found


def _size(sizes: Sizes) -> Decimal:
    """Regardless of signs: a day boundary takes from one day what it gives to the next."""
    return sum((abs(amount) for amount in sizes.values()), Decimal(0))


def _apart(found: Sizes, truth: Sizes) -> Decimal:
    return _size({at: found.get(at, Decimal(0)) - truth.get(at, Decimal(0)) for at in {*found, *truth}})


def _reconciled(month: Month, *, digits: int | None = None) -> dict[str, Sizes]:
    months.write(month, digits=digits)
    reconcile.run(month=FEBRUARY, now=months.NOW)
    return _found()


def _check(month: Month, found: dict[str, Sizes]) -> None:
    """Each fault by its size on each day and account; nothing else that is worth a hundredth of the smallest of them."""
    truths = {cause: truth for cause, truth in month.truth.items() if _size(truth)}
    for cause, truth in truths.items():
        apart = _apart(found.get(cause, {}), truth)
        told = {name: f"{_size(sizes):.4f}" for name, sizes in found.items()}
        assert apart <= _size(truth) * _ONE_PERCENT, (
            f"{month.seed}: {cause} {_size(truth):.4f} is off by {apart:.4f}; {told}"
        )
    least = min(_size(truth) for truth in truths.values())
    others = {cause: _size(sizes) for cause, sizes in found.items() if cause not in truths}
    assert sum(others.values(), Decimal(0)) <= least * _ONE_PERCENT, f"{month.seed}: {others}, truths {list(truths)}"


def _sums_are_exact() -> bool:
    causes: dict[int, Decimal] = defaultdict(Decimal)
    for cell, amount in ReconciledCause.objects.values_list("cell_id", "amount"):
        causes[cell] += amount
    return all(
        causes[cell.pk] == cell.billed_cost - cell.estimated_cost
        for cell in ReconciledCell.objects.filter(is_billed=True)
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_names_no_cause_where_bill_and_log_agree(seed: int) -> None:
    month = months.make(f"none {seed}")

    found = _reconciled(month)

    assert {cause for cause, sizes in found.items() if _size(sizes) > Decimal("1e-6")} == set()
    assert ReconciledCell.objects.count() > 500
    assert _sums_are_exact()


def test_it_calls_rounding_what_a_bill_loses_by_it() -> None:
    month = months.make("rounded")

    found = _reconciled(month, digits=4)

    assert set(found) == {"rounding"}
    assert _size(found["rounding"]) < Decimal("0.1")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", FAULTS)
def test_it_names_and_sizes_one_fault(fault: str, seed: int) -> None:
    month = months.make(f"{fault} {seed}", [fault])

    found = _reconciled(month)

    _check(month, found)
    assert _sums_are_exact()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pair", list(itertools.combinations(FAULTS, 2)), ids=" and ".join)
def test_it_names_and_sizes_two_faults_at_once(pair: tuple[str, str], seed: int) -> None:
    month = months.make(f"{pair[0]} {pair[1]} {seed}", pair)

    found = _reconciled(month)

    _check(month, found)
    assert _sums_are_exact()


@pytest.mark.parametrize("seed", range(2))
def test_its_causes_add_up_whatever_comes_together(seed: int) -> None:
    month = months.make(f"all {seed}", FAULTS)

    found = _reconciled(month, digits=6)

    assert _sums_are_exact()
    assert {"duplicates", "credit", "price"} <= set(found)
