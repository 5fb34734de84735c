"""Who may change a budget and decide on its actions, and what those see who may not."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from alerts import brakes
from alerts.brakes import Pause
from costobs.access.scopes import Viewer
from costobs.web.page import notice
from costobs.web.parts import Link, Notice

NOT_MANAGER = "Administrators and finance make, change and pause budgets. A lead may act on the actions of own teams."


def may_manage(viewer: Viewer) -> bool:
    """Make, change and pause budgets."""
    return viewer.role in {"admin", "finance"}


def all_paused(now: datetime) -> Pause | None:
    """The break-glass pause that holds now."""
    return brakes.pause(now=now)


def pause_context(viewer: Viewer, now: datetime) -> dict[str, Any]:
    """What every budgets page shows of the break-glass pause."""
    return {"all_paused": all_paused(now), "may_resume": may_manage(viewer)}


def may_act(viewer: Viewer, teams: Sequence[str]) -> bool:
    """Decide on an action of a budget with these teams: admins and finance on all, a lead on those of own teams."""
    return viewer.may_act_for_all(teams)


def whole(text: str, *, digits: int = 9) -> int | None:
    """A number as forms send it back; None for anything else, other alphabets' digits included."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def not_yours(teams: Sequence[str]) -> str:
    """Who decides instead."""
    if teams:
        return f"Administrators, finance and the lead of {', '.join(teams)} decide on this."
    return "Administrators and finance decide on this: the budget is not bound to one team."


def not_found(request: HttpRequest, what: str) -> HttpResponse:
    """The same answer for what does not exist and for what is not the viewer's to see."""
    back = [Link("All budgets", reverse("budgets"), icon="wallet")]
    text = "It does not exist, it was removed, or it belongs to a team you do not see."
    return notice(request, Notice("nothing_matches", f"There is no such {what}", text, back), status=404)
