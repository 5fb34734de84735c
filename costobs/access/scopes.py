"""From a person or a token to the rows they may see: the only place that sets a scope's teams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q

from costobs.access.models import ApiToken, Membership

ROLES = ("admin", "finance", "lead", "none")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. `teams` is None for someone who sees everything, () for someone who sees nothing."""

    name: str
    role: str
    teams: tuple[str, ...] | None

    @property
    def may_see_all(self) -> bool:
        return self.teams is None

    @property
    def may_manage(self) -> bool:
        """Sources, rules, prices, sample data, keys."""
        return self.role == "admin"

    def may_act_for(self, team: str | None) -> bool:
        """Approve, decline, undo: admins and finance for all, a lead for own teams."""
        if self.role in {"admin", "finance"}:
            return True
        return self.role == "lead" and team is not None and team in (self.teams or ())

    def may_act_for_all(self, teams: Sequence[str]) -> bool:
        """The same for what is about these teams; what names none is for admins and finance."""
        return all(self.may_act_for(team) for team in teams) if teams else self.may_act_for(None)


# What is done on the server's own command line, by whoever runs costobs there.
CONSOLE = "command line"
NOBODY = Viewer("nobody", "none", ())


def viewer(user: Any, token: ApiToken | None = None) -> Viewer:
    """The viewer behind a signed-in user, or behind an API token with the `read` grant."""
    if token is not None:
        if "read" not in token.grants:
            return Viewer(token.name, "none", ())
        return Viewer(token.name, "token", None if token.teams is None else tuple(token.teams))
    if user is None or not user.is_authenticated:
        return NOBODY
    name = user.email or user.get_username()
    if user.is_superuser:
        return Viewer(name, "admin", None)
    member = Membership.objects.filter(user=user).first()
    if member is None or member.role not in ROLES or member.role == "none":
        return Viewer(name, "none", ())
    if member.role == "lead":
        return Viewer(name, "lead", tuple(member.teams))
    return Viewer(name, member.role, None)


def named(name: str) -> Viewer:
    """The viewer behind the account of this e-mail address or user name, NOBODY without one; its name is the account's own."""
    users = get_user_model().objects.filter(Q(email__iexact=name) | Q(username__iexact=name), is_active=True)
    found = users.order_by("pk").first() if name.strip() else None
    return viewer(found)


def may_decide(name: str, teams: Sequence[str]) -> bool:
    """Whether whoever acted under this name may act for these teams now; without an account only the command line may."""
    return name == CONSOLE or named(name).may_act_for_all(teams)
