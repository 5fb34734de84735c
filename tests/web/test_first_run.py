"""The first minutes: nothing is loaded, and every page says what to do."""

from django.test import Client
from django.urls import reverse

from tests.web.conftest import signed_in
from tests.web.reading import shown, words


def test_it_begins_with_what_to_do_in_an_empty_ledger(ada: Client) -> None:
    assert "Load a bill or a usage log to begin" in words(shown(ada, reverse("overview")))
    assert "No source is connected yet" in words(shown(ada, reverse("sources")))
    assert "No spend in" in words(shown(ada, reverse("explore")))


def test_it_leads_an_administrator_from_nothing_to_the_first_source(db: None, clock: None) -> None:
    page = signed_in("dana@example.com", "admin").get(reverse("overview")).content.decode()

    assert '<a class="btn btn--primary" href="/settings/sources/new/">' in page


def test_it_claims_nothing_about_calls_where_none_was_logged(ada: Client) -> None:
    text = words(shown(ada, reverse("sources")))

    assert text.count("No call was logged in these days") == 2
    assert "Every call" not in text
