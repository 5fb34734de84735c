"""Saved views: a named address of a page, kept by a person, shown to the others when it is shared."""

from dataclasses import dataclass

from django.db import IntegrityError, transaction

from costobs.access.models import SavedView

NAME_LENGTH, QUERY_LENGTH = 80, 4000


class BadView(ValueError):
    """The view cannot be saved as asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class ViewLine:
    """One saved view of a page. `is_own`: whoever asks may delete it."""

    id: int
    name: str
    query: str
    owner: str
    is_own: bool
    is_shared: bool


def save(*, user_id: int, page: str, name: str, query: str, is_shared: bool) -> int:
    """The id of the new view. A name is used once by a person on a page. Raises BadView."""
    name = " ".join(name.split())
    if not name:
        raise BadView("Give the view a name.")
    if len(name) > NAME_LENGTH:
        raise BadView(f"Use at most {NAME_LENGTH} characters; this name has {len(name)}.")
    if "\x00" in name or "\x00" in query or len(query) > QUERY_LENGTH:
        raise BadView(f"This address cannot be kept: it has more than {QUERY_LENGTH} characters, or a null character.")
    try:
        with transaction.atomic():
            found = SavedView.objects.create(user_id=user_id, page=page, name=name, query=query, is_shared=is_shared)
    except IntegrityError as problem:
        raise BadView(
            f"You already have a view called {name!r} here. Choose another name, or delete that one."
        ) from problem
    return int(found.pk)


def views(*, user_id: int, page: str) -> list[ViewLine]:
    """The person's own views of a page and those that others share, by name, the own ones first."""
    found = SavedView.objects.filter(page=page).select_related("user").order_by("name", "pk")
    lines = [
        ViewLine(
            view.pk,
            view.name,
            view.query,
            view.user.get_full_name() or view.user.get_username(),
            view.user_id == user_id,
            view.is_shared,
        )
        for view in found
        if view.user_id == user_id or view.is_shared
    ]
    return sorted(lines, key=lambda line: not line.is_own)


def delete(*, user_id: int, view_id: int) -> bool:
    """Deletes a view of this person; False when there is none of that id."""
    deleted, _ = SavedView.objects.filter(pk=view_id, user_id=user_id).delete()
    return bool(deleted)
