"""The ledger, and the people and programs who ask it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from costobs.access import tokens
from costobs.access.models import Membership
from tests.api import october

Person = Callable[..., Client]
Program = Callable[..., Client]


@pytest.fixture
def ledger(db: None, tmp_path: Path) -> october.Ledger:
    """October 2026 in the books."""
    return october.build(tmp_path)


@pytest.fixture
def person(db: None) -> Person:
    """Signs somebody in with a role: person("lead", "search")."""

    def sign_in(role: str, *teams: str) -> Client:
        user = get_user_model().objects.create_user(f"{role}{''.join(teams)}")
        Membership.objects.create(user=user, role=role, teams=list(teams))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def program(db: None) -> Program:
    """A client that sends a token: program("read", teams=["search"])."""

    def connect(*grants: str, teams: list[str] | None = None, source_id: int | None = None) -> Client:
        name = "-".join([*grants, *(teams or ())])
        _token, text = tokens.create(
            name=name, grants=grants, teams=teams, source_id=source_id, created_by="test", now=october.NOW
        )
        return Client(headers={"Authorization": f"Bearer {text}"})

    return connect
