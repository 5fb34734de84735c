"""Who stands behind a member of a chat: an account that an administrator linked, or the one with the confirmed address."""

from alerts import acts, chat, routes
from costobs.access import scopes


class Desk:
    """Decides for `alerts.chat`: who pressed, whether they may, and what happens."""

    def question(self, press: chat.Press) -> tuple[str, str] | None:
        """What must be typed before a shutdown is approved. Raises Refusal."""
        if press.act != "act_approve":
            return None
        try:
            return acts.question(_subject(press.subject)[0], person(press.member))
        except acts.Refused as problem:
            raise chat.Refusal(str(problem)) from problem

    def carry_out(self, press: chat.Press) -> str:
        """Does what the button says. Raises Refusal."""
        try:
            subject_id, version = _subject(press.subject)
            asked = acts.Asked(
                person(press.member), subject_id, version, press.now, press.confirm, channel_id=press.channel_id
            )
            return acts.carry_out(press.act, asked)
        except acts.Refused as problem:
            raise chat.Refusal(str(problem)) from problem


def person(member: chat.Member) -> acts.Person:
    """The account behind a member. Raises `acts.Refused` for strangers and for people without a role."""
    linked = routes.account_of(workspace=member.workspace, member=member.id) if member.workspace else ""
    name = linked or member.email
    viewer = scopes.named(name) if name else scopes.NOBODY
    if viewer.role == "none":
        raise acts.Refused("nobody here is known by your confirmed address; ask an administrator to link you")
    return acts.Person(viewer.name, viewer.teams, viewer.may_act_for_all, scopes.may_decide)


def _subject(text: str) -> tuple[int, int]:
    """`51:v2` as 51 and 2."""
    number, _, version = text.partition(":v")
    if not (number.isdecimal() and version.isdecimal() and len(text) < 40):
        raise acts.Refused("this button belongs to another version of costobs; open the page instead")
    return int(number), int(version)
