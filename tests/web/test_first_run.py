"""The first minutes: nothing is loaded, and every page says what to do."""

from django.test import Client
from django.urls import reverse

from tests.web.reading import shown, words


def test_it_begins_with_what_to_do_in_an_empty_ledger(ada: Client) -> None:
    assert "Load a bill or a usage log to begin" in words(shown(ada, reverse("overview")))
    assert "No source is connected yet" in words(shown(ada, reverse("sources")))
    assert "No spend in" in words(shown(ada, reverse("explore")))
