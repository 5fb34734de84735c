"""costobs price: set, list and unpriced, as a script sees them."""

from datetime import date
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from ingest import price
from ingest.models import UnitPrice

pytestmark = pytest.mark.django_db

SET = ["price", "set", "--provider", "self_hosted", "--model", "llama-3.1-8b-w8a8", "--from", "2026-11-01"]


def _run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_it_sets_a_price_and_lists_it_per_million() -> None:
    said = _run(*SET, "--input", "0.40", "--output", "1.2", "--cache-read", "0.04")

    listed = _run("price", "list", "--provider", "self_hosted")
    assert "from 2026-11-01: 0 calls of 0 days priced again" in said
    (line,) = listed.splitlines()[1:]
    assert " ".join(line.split()) == (
        "self_hosted llama-3.1-8b-w8a8 standard 0 2026-11-01 0.4 0.04 0.4 0.4 1.2 USD operator"
    )


def test_it_says_which_price_is_wrong_and_sets_nothing() -> None:
    with pytest.raises(CommandError, match="expected a decimal number, found 'cheap'"):
        _run(*SET, "--input", "cheap", "--output", "1")

    assert not UnitPrice.objects.exists()


def test_it_refuses_a_price_below_zero() -> None:
    with pytest.raises(CommandError, match="zero or more"):
        _run(*SET, "--input=-1", "--output", "1")


def test_it_says_when_there_is_nothing_to_list() -> None:
    assert "no prices yet" in _run("price", "list")
    assert "all usage has a price" in _run("price", "unpriced")


def test_it_lists_conservative_prices_as_such() -> None:
    price.resolve([price.Wanted("self_hosted", "house-blend-7b", "standard", date(2026, 11, 10))])

    assert "conservative (dearest of self_hosted reference)" in _run("price", "list")
