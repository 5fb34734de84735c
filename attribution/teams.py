"""Teams: made where they are not there, taken away when what brought them goes."""

from attribution.models import Team


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
