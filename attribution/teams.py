"""Teams: made where they are not there, described by people, taken away when what brought them goes."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import transaction

from attribution.models import Team
from costobs.audit import record

_MOST = 200
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class BadTeam(ValueError):
    """A team cannot be described so. `field` is what is wrong."""

    def __init__(self, field: str, text: str) -> None:
        self.field = field
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class TeamLine:
    """A team as people describe it; `name` is what rows say."""

    name: str
    title: str
    cost_centre: str
    email: str
    slack_channel: str


def listing() -> list[TeamLine]:
    """All teams by name."""
    names = ("name", "title", "cost_centre", "email", "slack_channel")
    return [TeamLine(*row) for row in Team.objects.order_by("name").values_list(*names)]


def describe(*, line: TeamLine, by: str, now: datetime) -> bool:
    """Changes what is said of a team; whether anything is other now. Raises BadTeam.

    A cost centre counts for open months at once; closed months keep the one they were closed with.
    """
    wanted = TeamLine(line.name, *(" ".join(getattr(line, name).split()) for name in _DESCRIBED))
    for name in _DESCRIBED:
        if "\x00" in getattr(wanted, name):
            raise BadTeam(name, "expected text without NUL characters")
        if len(getattr(wanted, name)) > _MOST:
            raise BadTeam(name, f"expected at most {_MOST} characters")
    if not wanted.title:
        raise BadTeam("title", "a team needs a title, as people write it")
    if wanted.email and not _ADDRESS.fullmatch(wanted.email):
        raise BadTeam("email", f"expected an address such as team@example.com, found {wanted.email!r}")
    with transaction.atomic():
        row = Team.objects.select_for_update().filter(name=line.name.replace("\x00", "")).first()
        if row is None:
            raise BadTeam("name", f"there is no team {line.name!r}")
        before = TeamLine(row.name, row.title, row.cost_centre, row.email, row.slack_channel)
        if before == wanted:
            return False
        Team.objects.filter(pk=row.pk).update(**{name: getattr(wanted, name) for name in _DESCRIBED})
        record.write(
            actor=by,
            act="team.described",
            subject=f"team:{line.name}",
            at=now,
            before=asdict(before),
            after=asdict(wanted),
        )
    return True


_DESCRIBED = ("title", "cost_centre", "email", "slack_channel")


def ensure(
    *, name: str, title: str, cost_centre: str = "", email: str = "", slack_channel: str = "", is_sample: bool = False
) -> bool:
    """Makes a team, unless there is one of that name, which stays as it is; whether it was made."""
    _, made = Team.objects.get_or_create(
        name=name,
        defaults={
            "title": title,
            "cost_centre": cost_centre,
            "email": email,
            "slack_channel": slack_channel,
            "is_sample": is_sample,
        },
    )
    return made


def forget_sample() -> int:
    """Deletes the teams of the sample; returns how many there were. What they owned is nobody's then."""
    return Team.objects.filter(is_sample=True).delete()[0]
