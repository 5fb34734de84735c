"""costobs hooks: add, look, plan, apply and undo from the command line."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from alerts import carry, resources
from alerts.models import Resource, ResourceChange
from costobs.audit.models import AuditEntry
from tests.alerts.carrying import scaler
from tests.alerts.conftest import Books
from tests.servers.scaler import SECRET, Scaler

__all__ = ["scaler"]

pytestmark = pytest.mark.django_db


def said(*words: str) -> str:
    out = io.StringIO()
    call_command("hooks", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def added(books: Books, scaler: Scaler, monkeypatch: pytest.MonkeyPatch) -> Scaler:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    given = ["--kind", "webhook", "--set", f"url={scaler.url}", "--secret", "secret", "--scope", "deployment=llama"]
    assert "look at it with: costobs hooks look vllm" in said("add", "vllm", *given, "--drain-seconds", "0")
    return scaler


def test_it_adds_looks_plans_and_lists(added: Scaler) -> None:
    assert said("look", "vllm") == "3 machines\n"
    planned = said("plan", "vllm", "--to", "0")

    assert "would do" in planned and "from 3 to 0 units" in planned
    assert "no cost of deployment llama is in the books" in planned
    assert said("list") == "vllm  webhook  deployment llama  3 machines\n"
    assert SECRET not in str(AuditEntry.objects.get(act="hook.created").after)


def test_it_plans_until_it_is_told_to_do_it(added: Scaler) -> None:
    assert "Nothing was changed" in said("apply", "vllm", "--to", "1")
    assert ResourceChange.objects.count() == 0

    asked = said("apply", "vllm", "--to", "1", "--yes", "--reason", "night")
    for _ in range(4):
        carry.run(now=resources.recent()[0].asked_at)

    change = ResourceChange.objects.get()
    assert f"costobs hooks undo {change.pk}" in asked
    assert (change.state, change.reason, added.units) == ("verified", "night", 1)
    assert "In force" in said("changes", "vllm")
    with pytest.raises(CommandError, match="holds it"):
        said("remove", "vllm")
    said("undo", str(change.pk))
    for _ in range(3):
        carry.run(now=change.asked_at)
    assert added.units == 3
    said("remove", "vllm")
    assert Resource.objects.count() == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("look", "other"), "there is no hook called 'other'; known: vllm"),
        (("undo", "99"), "there is no change 99"),
        (
            ("add", "two", "--kind", "litellm", "--set", "url=https://x.invalid"),
            "Admin key|admin_key|cannot be resolved",
        ),
    ],
)
def test_it_says_what_is_wrong(added: Scaler, words: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        said(*words)


def test_it_looks_at_nothing_that_cannot_be_reached(added: Scaler) -> None:
    added.fails_with = [404]

    with pytest.raises(CommandError, match="knows no such resource"):
        said("look", "vllm")
