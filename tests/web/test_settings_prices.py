"""Settings, prices: the book, its history, and changes that one proposes and another approves."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from attribution import queries
from attribution.models import DailyCost, PeriodBook, RulesetVersion
from costobs import pipeline
from ingest import price_book
from ingest.models import PriceChange, UsageEvent
from tests.web import reading
from tests.web.conftest import NOW, Ledger, scope, signed_in

ONE = {
    "way": "one",
    "provider": "openai",
    "model": "gpt-4o",
    "input": "5",
    "output": "20",
    "cache_read": "2.5",
    "valid_from": "2026-10-02",
    "note": "annex B",
}


@pytest.fixture(autouse=True)
def _strict(settings: Any) -> None:
    """The ledger is small: a cent is much here."""
    settings.COSTOBS_PRICE_APPROVAL_COST = Decimal("0.01")


@pytest.fixture
def boss(db: None, clock: None) -> Client:
    """An administrator, who proposes prices."""
    return signed_in("boss@example.com", "admin")


def _proposed(boss: Client, **changes: Any) -> int:
    response = boss.post(reverse("settings_price_new"), {**ONE, **changes})
    assert response.status_code == 302, reading.words(response)
    return int(response["Location"].rstrip("/").rpartition("/")[2])


def _decide(who: Client, change: int, verb: str, **form: str) -> str:
    response = who.post(reverse("settings_price_decide", args=[change, verb]), form, follow=True)
    return reading.words(response)


def _closed(month: date) -> None:
    ruleset = RulesetVersion.objects.get(is_current=True)
    PeriodBook.objects.create(month=month, state="closed", ruleset=ruleset, closed_at=NOW, closed_by="ada")


def test_it_lists_every_price_with_where_it_comes_from(ledger: Ledger, ada: Client) -> None:
    response = reading.shown(ada, reverse("settings_prices"))

    book = response.context["book"]
    assert reading.column(book, "Model") == ["gpt-4o", "gpt-4o-mini", "llama-70b"]
    assert "3 models have a price, nothing to decide" in reading.words(response)
    assert reading.column(book, "Input")[2] == "$0.90"
    assert "set by ada@example.com" in reading.words(response)


def test_it_finds_prices_by_words(ledger: Ledger, ada: Client) -> None:
    found = reading.shown(ada, f"{reverse('settings_prices')}?q=mini+openai")
    nothing = reading.shown(ada, f"{reverse('settings_prices')}?q=%00nonsense&page=9")

    assert reading.column(found.context["book"], "Model") == ["gpt-4o-mini"]
    assert "No price matches" in reading.words(nothing)


def test_it_exports_what_it_can_read_back(ledger: Ledger, boss: Client) -> None:
    text = reading.shown(boss, reverse("settings_prices_export")).content.decode()
    file = SimpleUploadedFile("prices.csv", text.replace("0.9,", "0.8,", 1).encode())

    change = _proposed(boss, way="file", file=file)

    found = PriceChange.objects.get(pk=change)
    assert found.problems == []
    assert len(found.lines) == len(text.splitlines()) - 1
    assert text.startswith("provider,model,tier,prompt_from,valid_from,currency,input,cache_read")


def test_it_shows_the_difference_before_anything_counts(ledger: Ledger, boss: Client) -> None:
    before = queries.total(scope=scope()).cost
    change = _proposed(boss)

    response = reading.shown(boss, reverse("settings_price_change", args=[change]))

    words = reading.words(response)
    assert "Another person has to approve this change" in words
    assert "annex B" in words
    effect, teams = response.context["effect"], response.context["teams"]
    assert sorted(set(reading.column(effect, "Model"))) == ["gpt-4o"]
    assert {"search", "support"} == set(reading.column(teams, "Team"))
    assert reading.amount(reading.total(teams, "Change")) == reading.amount(reading.total(effect, "Change"))
    assert queries.total(scope=scope()).cost == before
    assert "Put in force" not in words


def test_it_is_approved_by_another_person_and_moves_the_books(ledger: Ledger, boss: Client, ada: Client) -> None:
    before = queries.total(scope=scope().where("model", "gpt-4o")).cost
    change = _proposed(boss)

    assert "you proposed this change" in _decide(boss, change, "approve")
    assert "another person has to approve" in _decide(boss, change, "apply")
    assert "Approved" in _decide(ada, change, "approve")
    assert "calls are priced anew" in _decide(boss, change, "apply")

    while pipeline.settle(NOW):
        continue
    assert queries.total(scope=scope().where("model", "gpt-4o")).cost == 2 * before
    assert "Taken back" in _decide(ada, change, "undo", reason="wrong annex")
    while pipeline.settle(NOW):
        continue
    assert queries.total(scope=scope().where("model", "gpt-4o")).cost == before
    assert "wrong annex" in reading.words(reading.shown(ada, reverse("settings_price_change", args=[change])))


def test_it_moves_no_number_of_a_closed_month(ledger: Ledger, boss: Client, ada: Client) -> None:
    _closed(date(2026, 10, 1))
    october = scope(start=date(2026, 10, 1)).during(queries.extent().until(date(2026, 11, 1)))  # type: ignore[union-attr]
    rows = list(DailyCost.objects.filter(day__lt="2026-11-01").order_by("id").values())
    prices = list(UsageEvent.objects.filter(occurred_at__lt="2026-11-01T00:00Z").values_list("event_id", "price_id"))
    statement = queries.statement(scope=october)
    change = _proposed(boss)

    shown = reading.shown(ada, reverse("settings_price_change", args=[change]))
    _decide(ada, change, "approve")
    _decide(ada, change, "apply")
    while pipeline.settle(NOW):
        continue

    assert reading.column(shown.context["closed"], "Month") == ["Oct 2026"]
    assert list(DailyCost.objects.filter(day__lt="2026-11-01").order_by("id").values()) == rows
    assert (
        list(UsageEvent.objects.filter(occurred_at__lt="2026-11-01T00:00Z").values_list("event_id", "price_id"))
        == prices
    )
    assert queries.statement(scope=october) == statement


def test_it_is_declined_with_a_reason(ledger: Ledger, boss: Client, ada: Client) -> None:
    change = _proposed(boss)

    assert "Declined" in _decide(ada, change, "decline", reason="no such annex")
    assert "is declined" in _decide(ada, change, "apply")
    assert PriceChange.objects.get().state == "declined"


def test_it_is_withdrawn_by_its_proposer(ledger: Ledger, boss: Client, ada: Client) -> None:
    change = _proposed(boss)

    assert "Only its proposer" in _decide(ada, change, "withdraw")
    assert "Withdrawn" in _decide(boss, change, "withdraw")


def test_it_takes_a_discount(ledger: Ledger, boss: Client) -> None:
    change = _proposed(boss, way="discount", model="", percent="10")

    lines = reading.shown(boss, reverse("settings_price_change", args=[change])).context["lines"]
    assert set(reading.column(lines, "Model")) == {"gpt-4o", "gpt-4o-mini"}
    assert "$2.25" in reading.column(lines, "Input")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": "cheap"}, "input: expected a decimal number"),
        ({"input": ""}, "expected an input price"),
        ({"valid_from": "soon"}, "valid_from: expected a day"),
        ({"model": "\x00"}, "expected a provider and a model"),
        ({"tier": "warp"}, "expected a service tier"),
        ({"way": "discount", "percent": "0"}, "between 0 and 100"),
        ({"way": "discount", "percent": "10", "provider": "nobody"}, "found none"),
        ({"way": "file"}, "expected a file or pasted rows"),
        ({"way": "file", "rows": "provider,model\n"}, "without valid_from, input"),
        ({"way": "file", "rows": "provider,model,valid_from,input\nopenai,gpt-4o,soon,1"}, "row 2"),
        ({"way": "none"}, "found none of them"),
    ],
)
def test_it_says_what_is_wrong_and_keeps_what_was_typed(
    ledger: Ledger, boss: Client, changes: dict[str, str], words: str
) -> None:
    response = boss.post(reverse("settings_price_new"), {**ONE, **changes})

    assert response.status_code == 400
    assert words in reading.words(response)
    assert "annex B" in response.content.decode()
    assert not PriceChange.objects.exists()


def test_it_names_the_rows_it_left_out(ledger: Ledger, boss: Client) -> None:
    rows = "provider,model,valid_from,input\nopenai,gpt-4o,2026-11-01,1\nopenai,gpt-4o,2026-11-31,1\n"

    change = _proposed(boss, way="file", rows=rows)

    words = reading.words(reading.shown(boss, reverse("settings_price_change", args=[change])))
    assert "1 row left out" in words and "pasted rows, row 3: valid_from" in words


def test_it_tells_what_was_believed_about_one_price(ledger: Ledger, ada: Client, boss: Client) -> None:
    change = _proposed(boss)
    _decide(ada, change, "approve")
    _decide(ada, change, "apply")

    response = reading.shown(ada, f"{reverse('settings_price_history')}?provider=openai&model=gpt-4o")

    words = reading.words(response)
    assert "gpt-4o costs $5.00 in and $20.00 out per 1M tokens" in words
    assert "believed now" in words and "given up" in words
    missing = reading.shown(ada, f"{reverse('settings_price_history')}?provider=x&model=%00y", 404)
    assert "There is no such price" in reading.words(missing)


def test_it_lets_the_quick_form_set_a_first_price_and_propose_another(ledger: Ledger, boss: Client) -> None:
    form = {"provider": "self_hosted", "model": "house-7b", "input": "0.4", "output": "1", "valid_from": "2026-11-01"}

    first = boss.post(reverse("price_set"), form, follow=True)
    second = boss.post(reverse("price_set"), ONE, follow=True)

    assert "The price is set" in reading.words(first)
    assert "The price is proposed and does not count yet" in reading.words(second)
    assert [row.set_by for row in price_book.current(provider="self_hosted") if row.model == "house-7b"] == [
        "boss@example.com"
    ]
    assert sorted(PriceChange.objects.values_list("state", flat=True)) == ["applied", "proposed"]


def test_it_shows_a_team_lead_nothing_and_lets_finance_only_decide(
    ledger: Ledger, ada: Client, ben: Client, cleo: Client, boss: Client
) -> None:
    change = _proposed(boss)
    pages = (
        reverse("settings_prices"),
        reverse("settings_prices_export"),
        reverse("settings_price_history"),
        reverse("settings_price_new"),
        reverse("settings_price_change", args=[change]),
    )

    for path in pages:
        reading.shown(ben, path, 403)
        reading.shown(cleo, path, 403)
    for verb in ("approve", "apply", "undo", "decline", "withdraw"):
        assert ben.post(reverse("settings_price_decide", args=[change, verb])).status_code == 403
        assert ada.get(reverse("settings_price_decide", args=[change, verb])).status_code == 405
    assert ada.post(reverse("settings_price_new"), ONE).status_code == 403
    assert ada.post(reverse("settings_price_decide", args=[change, "bless"])).status_code == 404
    assert PriceChange.objects.get().state == "proposed"
    assert reading.shown(ada, reverse("settings_price_change", args=[10**9]), 404)
