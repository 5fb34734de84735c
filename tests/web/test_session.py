"""Signing in: a link works once and only when its reader acts, a password works, and nothing leads elsewhere."""

from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse

from costobs.access.models import Membership
from costobs.audit.models import AuditEntry

pytestmark = pytest.mark.django_db


def link(*args: str) -> str:
    out = StringIO()
    call_command("sign_in_link", *args, "--format", "url", stdout=out)
    address = out.getvalue().strip()
    return address[address.index("/sign-in/") :]


def test_it_signs_in_by_a_link_once(client: Client) -> None:
    address = link()

    opened = client.get(address)
    assert opened.status_code == 200
    assert "_auth_user_id" not in client.session  # a mail scanner that opens the link uses nothing up

    assert client.post(address).status_code == 302
    assert "_auth_user_id" in client.session
    assert AuditEntry.objects.filter(act="person.signed_in").count() == 1
    assert "used before" in Client().post(address).content.decode()


def test_it_makes_an_account_only_with_a_role(client: Client) -> None:
    with pytest.raises(CommandError, match="role"):
        link("--email", "ben@example.com")

    client.post(link("--email", "ben@example.com", "--role", "lead", "--team", "search"))

    member = Membership.objects.get(user__email="ben@example.com")
    assert (member.role, member.teams) == ("lead", ["search"])


def test_it_signs_in_by_password_and_out_again(client: Client) -> None:
    get_user_model()._default_manager.create_user("ada", password="a long enough secret")

    assert "do not fit" in client.post(reverse("sign_in"), {"username": "ada", "password": "wrong"}).content.decode()
    client.post(reverse("sign_in"), {"username": "ada", "password": "a long enough secret"})
    assert "_auth_user_id" in client.session

    assert client.get(reverse("sign_out")).status_code == 405
    client.post(reverse("sign_out"))
    assert "_auth_user_id" not in client.session


def test_it_follows_only_addresses_of_its_own(client: Client) -> None:
    address = link()

    response = client.post(f"{address}&next=https://elsewhere.example/")

    assert response["Location"] == reverse("overview")


def test_it_answers_probes_without_a_session_and_keeps_its_policy(client: Client) -> None:
    assert client.get(reverse("healthz")).json() == {"status": "ok"}
    assert client.get(reverse("readyz")).json() == {"status": "ready"}
    assert "costobs_open_days" in client.get(reverse("metrics")).content.decode()
    assert client.get(reverse("metrics"), REMOTE_ADDR="192.0.2.1").status_code == 403

    policy = client.get(reverse("sign_in"))["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self'" in policy
