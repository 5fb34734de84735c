"""Settings, exchange rates: uploads, the feed, and which currencies of the books have no rate."""

from datetime import date
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from attribution import books, own, rates
from attribution.models import ExchangeRate, RateFeed
from tests.attribution import world
from tests.web import reading
from tests.web.conftest import NOW, signed_in

pytestmark = pytest.mark.django_db

WIDE = "Date,USD,JPY,\n2026-11-20,1.25,160.5,\n2026-11-19,1.2,N/A,\n"


@pytest.fixture
def boss(db: None, clock: None) -> Client:
    """An administrator."""
    return signed_in("boss@example.com", "admin")


def _upload(who: Client, text: str, name: str = "eurofxref-hist.csv", base: str = "EUR") -> Any:
    form = {"file": SimpleUploadedFile(name, text.encode()), "base": base}
    return who.post(reverse("settings_rates_upload"), form, follow=True)


def _spent(currency: str) -> None:
    world.charge(world.source(), "10", billing_currency=currency, starts=world.at(day=date(2026, 11, 20)))
    own.run(now=NOW)
    books.rebuild(day=date(2026, 11, 20), now=NOW)


def test_it_loads_a_file_and_says_what_it_brought(boss: Client) -> None:
    words = reading.words(_upload(boss, WIDE))

    assert "3 rates are new, 0 corrected others, 0 were known" in words
    assert "eurofxref-hist.csv" in words
    table = reading.shown(boss, reverse("settings_rates")).context["rates"]
    assert reading.column(table, "Currency") == ["JPY", "USD"]
    assert reading.column(table, "Newest rate") == ["160.5", "1.25"]


def test_it_names_what_it_left_out(boss: Client) -> None:
    bad = "date,currency,rate\n2026-11-20,USD,1.25\n" + "".join(f"2026-11-{day},USD,none\n" for day in range(10, 18))

    words = reading.words(_upload(boss, bad))

    assert "Left out: eurofxref-hist.csv, row 3, rate: expected a number" in words
    assert "3 more rows were left out" in words
    assert ExchangeRate.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "base", "words"), [("hello", "EUR", "expected the columns"), (WIDE, "euro", "three letters")]
)
def test_it_says_why_nothing_was_loaded(boss: Client, text: str, base: str, words: str) -> None:
    assert words in reading.words(_upload(boss, text, base=base))
    assert "choose a file" in reading.words(boss.post(reverse("settings_rates_upload"), follow=True))
    assert not ExchangeRate.objects.exists()


def test_it_says_which_currency_of_the_books_has_no_rate(boss: Client, ada: Client) -> None:
    _spent("EUR")
    without = reading.words(reading.shown(ada, reverse("settings_rates")))
    _upload(boss, WIDE)

    assert "EUR has days in the books without a rate into USD" in without
    assert "Every day of EUR in the books has a rate into USD" in reading.words(
        reading.shown(ada, reverse("settings_rates"))
    )


def test_it_lists_what_was_corrected(boss: Client) -> None:
    _upload(boss, WIDE)
    _upload(boss, "date,currency,rate\n2026-11-20,USD,1.3\n", name="mine.csv")

    table = reading.shown(boss, reverse("settings_rates")).context["corrections"]
    assert (reading.column(table, "Was"), reading.column(table, "Is")) == (["1.25"], ["1.3"])


def test_it_fetches_nothing_before_it_is_switched_on(boss: Client) -> None:
    words = reading.words(boss.post(reverse("settings_rates_fetch"), follow=True))

    assert "switch the feed on first" in words
    assert "Nothing leaves this installation" in words
    assert not RateFeed.objects.exists()


def test_it_says_why_a_feed_failed(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costobs.kernel.http.check", lambda url: url)
    form = {"url": "https://rates.example/x.csv", "base": "EUR", "is_active": "on"}
    saved = reading.words(boss.post(reverse("settings_rates_feed"), form, follow=True))

    def fail(*_: object, **__: object) -> None:
        raise rates.BadFile("https://rates.example/x.csv answers with 503, expected 200")

    monkeypatch.setattr("attribution.rates._answer", fail)
    failed = reading.words(boss.post(reverse("settings_rates_fetch"), follow=True))

    assert "Rates are fetched once a day from now on" in saved
    assert "Nothing was fetched: https://rates.example/x.csv answers with 503" in failed
    assert "The feed failed 1 time" in failed


def test_it_refuses_an_address_of_the_own_network(boss: Client) -> None:
    form = {"url": "http://169.254.169.254/latest", "base": "EUR", "is_active": "on"}

    assert "never called" in reading.words(boss.post(reverse("settings_rates_feed"), form, follow=True))
    assert not RateFeed.objects.exists()


def test_it_lets_finance_look_and_only_administrators_act(ada: Client, ben: Client, cleo: Client) -> None:
    words = reading.words(reading.shown(ada, reverse("settings_rates")))

    assert "Upload rates" not in words
    for name in ("settings_rates_upload", "settings_rates_feed", "settings_rates_fetch"):
        assert ada.post(reverse(name)).status_code == 403
        assert ada.get(reverse(name)).status_code == 405
    reading.shown(ben, reverse("settings_rates"), 403)
    reading.shown(cleo, reverse("settings_rates"), 403)


def test_it_says_that_no_rate_is_needed(ada: Client) -> None:
    words = reading.words(reading.shown(ada, reverse("settings_rates")))

    assert "The books are in USD alone, no exchange rate is needed" in words
    assert "No rates yet" in words
