"""What stands in the books of one team is never told to another, and nobody without a right changes anything."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from attribution import close
from costobs.access import tokens
from costobs.audit.models import AuditEntry
from costobs.kernel.period import parse_month
from costobs.web import urls
from tests.api import october
from tests.web.test_chargeback_page import signed_in

__all__ = ["signed_in"]

pytestmark = pytest.mark.django_db

_SAMPLE = {
    "month": october.MONTH,
    "cost_centre": "4420",
    "verb": "review",
    "key": "1",
    "kind": "match",
    "run_id": 1,
    "version_id": 1,
    "change_id": 1,
    "markup_id": 1,
    "schedule_id": 1,
    "hook_id": 1,
}
_BOOKS = (
    "chargeback",
    "reconciliation",
    "explore/as-of",
    "unit-costs",
    "settings/rules",
    "settings/prices",
    "settings/rates",
)
_ACTS = (
    "chargeback_company", "chargeback_journal", "chargeback_markup", "chargeback_markup_end", "month_decide",
    "reconciliation_threshold", "settings_change_undo", "settings_hook_decide", "settings_hook_try",
    "settings_price_decide", "settings_rates_feed", "settings_rates_fetch", "settings_rates_upload",
    "settings_rule_preview", "settings_rule_restore", "settings_rules_change", "settings_rules_discard",
    "settings_rules_rebase", "settings_rules_split", "settings_team_describe", "statement_schedule_decide",
    "unit_target", "unit_upload",
)  # fmt: skip
_FORMS = (
    "month_close", "settings_hook", "settings_hook_new", "settings_price_new", "settings_rule", "settings_rule_add",
    "settings_rules_import", "settings_rules_publish", "statement_schedule", "statement_schedule_new",
)  # fmt: skip


def _address(name: str) -> str:
    found = next(one for one in urls.urlpatterns if isinstance(one, URLPattern) and one.name == name)
    wanted = re.findall(r"<\w+:(\w+)>", str(found.pattern))
    return reverse(name, kwargs={one: _SAMPLE[one] for one in wanted})


def _pages() -> list[str]:
    return [
        str(one.name)
        for one in urls.urlpatterns
        if isinstance(one, URLPattern) and str(one.pattern).startswith(_BOOKS) and one.name not in _ACTS
    ]


@pytest.fixture
def books(tmp_path: Path) -> october.Ledger:
    return october.build(tmp_path)


def _told(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code in {200, 302, 400, 403, 404}, (url, response.status_code)
    body = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
    return unescape(body.decode(errors="replace"))


@pytest.mark.parametrize("query", ["", "?preset=custom&from=2026-10-01&to=2026-10-31"])
def test_it_tells_a_lead_nothing_of_another_team(
    books: october.Ledger, signed_in: Callable[..., Client], query: str
) -> None:
    lead = signed_in("lead", "search")

    for name in _pages():
        said = _told(lead, _address(name) + query)
        for secret in ("growth", "5.005", "12.134", "12.13", "3.3349", "45.02", "acct"):
            assert secret not in said, (name, secret)


def test_it_tells_somebody_without_a_role_no_name_and_no_amount(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    nobody = signed_in("none")

    for name in _pages():
        said = _told(nobody, _address(name))
        for secret in ("growth", "search", "4410", "aws bill", "Amazon"):
            assert secret not in re.sub(r"(?i)<[^>]*search[^>]*>|/chargeback/[^\"]*|Search", "", said), (name, secret)


@pytest.mark.parametrize("name", [*_ACTS, *_FORMS])
def test_it_acts_only_for_those_who_may_and_only_with_a_token_of_the_form(
    name: str, books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    entries = AuditEntry.objects.count()
    lead, nobody = signed_in("lead", "search"), signed_in("none")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(_user("admin"))

    assert lead.post(_address(name)).status_code == 403
    assert nobody.post(_address(name)).status_code == 403
    assert strict.post(_address(name)).status_code == 403
    assert Client().post(_address(name)).status_code in {302, 401, 403}
    if name in _ACTS:
        assert signed_in("admin").get(_address(name)).status_code == 405
    assert AuditEntry.objects.count() == entries


def _user(role: str) -> object:
    from django.contrib.auth import get_user_model

    from costobs.access.models import Membership

    user = get_user_model().objects.create_user(f"strict-{role}")
    Membership.objects.create(user=user, role=role, teams=[])
    return user


_STATEMENTS = (
    f"/api/v1/chargeback/{october.MONTH}",
    f"/api/v1/chargeback/{october.MONTH}?cost_centre=4420",
    f"/api/v1/chargeback/{october.MONTH}?team=growth",
    f"/api/v1/chargeback/{october.MONTH}?team=",
    "/api/v1/statements/2026-10/USD/effective/4420/showback",
    "/api/v1/statements/2026-10/USD/effective/@growth/showback",
    "/api/v1/statements/2026-10/USD/effective/showback",
)
_OTHERS = (
    "/api/v1/statements/",
    "/api/v1/reconciliation?from=2026-10-01&to=2026-10-31",
    "/api/v1/units?from=2026-10-01&to=2026-10-31",
    "/api/v1/units?name=tickets&from=2026-10-01&to=2026-10-31",
)
_FORMS_OF_FILES = ("csv", "json", "focus", "journal")


def test_it_tells_a_token_of_one_team_nothing_of_another(books: october.Ledger) -> None:
    _token, text = tokens.create(
        name="own", grants=["read"], teams=["search"], source_id=None, created_by="test", now=october.NOW
    )
    client = Client(headers={"Authorization": f"Bearer {text}"})
    files = [f"{url}{'&' if '?' in url else '?'}format={form}" for url in _STATEMENTS for form in _FORMS_OF_FILES]

    for url in (*files, *_OTHERS):
        said = _told(client, url)
        named = "4420" if "4420" in url else "growth" if "growth" in url else ""  # the answer may say what was asked
        for secret in {"growth", "4420", "5.005", "12.134", "3.3349", "45.02"} - {named}:
            assert secret not in said, (url, secret)


def test_it_lets_nobody_agree_to_the_own_wish_under_another_spelling(books: october.Ledger) -> None:
    month = parse_month(october.MONTH).start
    waived = {"unallocated": "x", "reviewed": "x", "sources": "x", "unpriced": "x", "reconciled": "x"}
    found = {line.key for line in close.status(month=month, now=october.NOW).open_lines}
    close.close(
        month=month, by="ada@example.com", now=october.NOW, waive={k: v for k, v in waived.items() if k in found}
    )
    close.ask_reopen(month=month, reason="wrong bill", by="ada@example.com", now=october.NOW)

    for spelling in ("Ada@Example.com", " ada@example.com ", "ada@example.com", "\uff41\uff44\uff41@example.com"):
        with pytest.raises(close.Refused, match="another person"):
            close.agree_reopen(month=month, by=spelling, now=october.NOW)
