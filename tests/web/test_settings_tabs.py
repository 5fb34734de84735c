"""The tabs of Settings: on each page they lead to, once, with the one that the page is marked."""

import re

import pytest
from django.test import Client

from tests.web.conftest import signed_in

TABS = {
    "Sources": "/settings/sources/",
    "Rules": "/settings/rules/",
    "Prices": "/settings/prices/",
    "Exchange rates": "/settings/rates/",
    "Chargeback": "/settings/chargeback/",
    "Alerts": "/settings/alerts/",
    "Gates and keys": "/settings/gates/",
    "Hooks": "/settings/hooks/",
}


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["admin", "finance"])
def test_it_leads_from_each_page_of_settings_to_the_others(clock: None, role: str) -> None:
    dana = signed_in("dana@example.com", role)

    for name, path in TABS.items():
        found = tabs(dana, path)

        assert {word: url for url, _, word in found} == TABS
        assert len(found) == len(TABS)
        assert [word for _, current, word in found if current] == [name]


def tabs(client: Client, path: str) -> list[tuple[str, str, str]]:
    """Address, mark and word of each tab on a page."""
    page = client.get(path).content.decode()
    return re.findall(r'<a class="tabs__tab" href="(/settings/[^"]+)"(?: aria-current="(\w+)")?>([^<]+)</a>', page)
