"""costobs close and costobs verify --month, as a script sees them."""

from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from attribution import close
from attribution.models import DailyCost
from costobs.access.models import Membership
from tests.api import october

pytestmark = pytest.mark.django_db
REASONS = ("unallocated=the vendor never tags", "reconciled=x", "sources=x", "unpriced=x")
WAIVED = tuple(word for reason in REASONS for word in ("--waive", reason))


@pytest.fixture(autouse=True)
def books(tmp_path: Path) -> object:
    with time_machine.travel(october.NOW, tick=False):
        yield october.build(tmp_path)


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


def test_it_prints_where_every_billed_amount_of_a_month_went() -> None:
    head, *rows = run("verify", "--month", october.MONTH).splitlines()

    assert head.split() == [
        *("source", "currency", "cost", "billed", "attributed", "shared", "idle", "overhead", "unallocated"),
        *("adjustments", "difference"),
    ]
    found = {tuple(row.rsplit(maxsplit=10)[:3]): row.rsplit(maxsplit=10)[3:] for row in rows[:4]}
    assert found["focus_export/aws bill", "USD", "effective"] == [
        *("45.020566666666", "41.685666666666", "0", "0", "0", "3.3349", "0", "0")
    ]
    assert {row[-1] for row in found.values()} == {"0"}
    assert rows[-1].endswith("0 failures")


def account(name: str, role: str = "finance") -> None:
    user = get_user_model().objects.create_user(name, email=f"{name}@example.com")
    Membership.objects.create(user=user, role=role)


def test_it_reviews_closes_and_opens_again() -> None:
    account("ada")
    account("eve")
    with pytest.raises(CommandError, match="3 lines are open"):
        run("close", october.MONTH, "--check")
    reviewed = run("close", october.MONTH, "--review", "--by", "ada")
    closed = run("close", october.MONTH, "--by", "ada", "--note", "fine", *WAIVED[:4])
    checked = run("close", october.MONTH, "--check")
    run("close", october.MONTH, "--ask-reopen", "wrong bill", "--by", "ada")
    with pytest.raises(CommandError, match="another person"):
        run("close", october.MONTH, "--agree-reopen", "--by", "ada")
    opened = run("close", october.MONTH, "--agree-reopen", "--by", "eve")

    assert reviewed.startswith("2026-10 reviewed\n")
    assert closed.startswith("2026-10 closed by ada, sha256 ")
    assert "waived unallocated  Spend has owners: " in closed
    assert "(waived by ada: the vendor never tags)" in closed
    assert checked == closed
    assert opened.startswith("2026-10 provisional\n")


def test_it_takes_the_word_of_accounts_only_to_open_a_month_again() -> None:
    account("ada")
    account("ben", "lead")
    run("close", october.MONTH, "--waive", "reviewed=x", *WAIVED)

    for nobody in ("costobs close", "zoe", "ben", ""):
        with pytest.raises(CommandError, match="e-mail address of an administrator or of finance"):
            run("close", october.MONTH, "--ask-reopen", "wrong bill", "--by", nobody)
    run("close", october.MONTH, "--ask-reopen", "wrong bill", "--by", "ADA@example.com")
    for herself in ("ada", "Ada", "ada@example.com"):
        with pytest.raises(CommandError, match="another person"):
            run("close", october.MONTH, "--agree-reopen", "--by", herself)


def test_it_ends_with_an_error_that_names_what_is_open() -> None:
    with pytest.raises(CommandError, match=r"Oct 2026 cannot close: .*Spend has owners: .*nobody has reviewed"):
        run("close", october.MONTH)
    with pytest.raises(CommandError, match="expected --waive LINE=REASON, found 'unallocated'"):
        run("close", october.MONTH, "--waive", "unallocated")
    with pytest.raises(CommandError, match="expected a month as YYYY-MM, found 'soon'"):
        run("close", "soon")

    assert close.state(month=october.NOW.date().replace(month=10), now=october.NOW) == "provisional"


def test_it_says_when_a_closed_month_is_not_what_it_was() -> None:
    run("close", october.MONTH, "--waive", "reviewed=x", *WAIVED)
    DailyCost.objects.update(region="moon")

    with pytest.raises(CommandError, match="do not balance"):
        run("verify", "--month", october.MONTH)
