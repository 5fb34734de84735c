"""costobs sign-in-link: a one-time link that signs in without a password."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from sesame.utils import get_query_string

from costobs.access.models import Membership
from costobs.access.scopes import ROLES


class Command(BaseCommand):
    help = (
        "Print a one-time sign-in link, valid for an hour: costobs sign-in-link --email ada@example.com --role finance"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--email", default="", help="whose link (default: the administrator's); the account is made if new"
        )
        parser.add_argument("--role", default="", choices=["", *ROLES], help="role of a new account")
        parser.add_argument("--team", action="append", default=[], help="teams of a lead; repeat for several")
        parser.add_argument("--format", default="text", choices=["text", "url"])

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()._default_manager
        email = options["email"] or "admin@localhost"
        user = users.filter(username=email).first()
        if user is None:
            role = options["role"] or ("admin" if not options["email"] else "")
            if not role:
                raise CommandError(f"{email} has no account; say which role it gets with --role")
            user = users.create_user(
                username=email, email=email, is_superuser=role == "admin", is_staff=role == "admin"
            )
            Membership.objects.create(user=user, role=role, teams=options["team"])
        url = f"{settings.COSTOBS_URL}{reverse('sign_in')}{get_query_string(user)}"
        self.stdout.write(url if options["format"] == "url" else f"Sign in as {email}, once, within an hour:\n{url}")
