"""The link of a message opens the page that asks, and says so when the request has changed meanwhile."""

import pytest
from django.test import Client
from django.urls import reverse

from alerts.models import ActionRun
from tests.web import reading
from tests.web.conftest import Ledger

pytestmark = pytest.mark.django_db


def test_it_says_at_the_link_of_a_message_that_the_request_has_changed(ledger: Ledger, ada: Client) -> None:
    run = ActionRun.objects.filter(state="waiting_approval").first()
    assert run is not None
    url = reverse("action", args=[run.pk])

    fresh = reading.words(reading.shown(ada, f"{url}?version={run.version}"))
    stale = reading.words(reading.shown(ada, f"{url}?version={run.version + 1}"))

    assert "Nothing was done" not in fresh
    assert "the message you came from" in stale
    run.refresh_from_db()
    assert run.state == "waiting_approval"
