"""costobs price: set, list and unpriced, as a script sees them."""

from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from costobs.access.models import Membership
from ingest import price
from ingest.models import UnitPrice
from tests.ingest.test_price import Usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def ledgered() -> None:
    """One call of a listed model, dear enough for a second person."""
    usage = Usage("openai", "gpt-4o")
    usage.add(datetime(2026, 11, 10, 5, tzinfo=UTC), input_uncached=2_000_000_000)


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


def test_it_proposes_what_moves_much_and_takes_it_back(ledgered: None) -> None:
    much = ["price", "set", "--provider", "openai", "--model", "gpt-4o", "--from", "2026-11-01"]
    much += ["--input", "9", "--output", "9"]

    for name in ("ada", "ben"):
        user = get_user_model().objects.create_user(name, email=f"{name}@example.com")
        Membership.objects.create(user=user, role="finance")
    with pytest.raises(CommandError, match=r"change \d+ is proposed and does not count yet: another person"):
        _run(*much, "--by", "ada")
    with pytest.raises(CommandError, match=r"found 'Zoe'"):
        _run("price", "approve", _run("price", "changes").splitlines()[1].split()[0], "--by", "Zoe")
    number = _run("price", "changes").splitlines()[1].split()[0]
    for herself in ("ada", "ADA@example.com"):
        with pytest.raises(CommandError, match="you proposed this change"):
            _run("price", "approve", number, "--by", herself)
    approved, applied = _run("price", "approve", number, "--by", "ben"), _run("price", "apply", number, "--by", "ben")
    undone = _run("price", "undo", number, "--by", "ben")

    assert "is approved" in approved
    assert "is in force; 1 calls are priced again" in applied
    assert "1 calls have their former price" in undone
    assert " undone " in _run("price", "changes")


def test_it_imports_a_table_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("provider,model,valid_from,input\nself_hosted,own-7b,2026-11-01,1\nself_hosted,own-8b,soon,1\n")
    said, errors = StringIO(), StringIO()

    call_command("price", "import", str(path), stdout=said, stderr=errors)

    assert "1 prices set" in said.getvalue()
    assert "left out: prices.csv, row 3: valid_from" in errors.getvalue()
    with pytest.raises(CommandError):
        _run("price", "import", str(tmp_path / "none.csv"))


def test_it_says_when_the_list_has_nothing_new() -> None:
    assert "those of the installed list" in _run("price", "refresh")


def test_it_lists_what_was_believed_on_a_day() -> None:
    _run(*SET, "--input", "1", "--output", "2")

    assert "no prices yet" in _run("price", "list", "--known-at", "2026-11-01")
    with pytest.raises(CommandError):
        _run("price", "list", "--known-at", "soon")
