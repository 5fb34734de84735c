"""What the two OpenAI kinds share: the way in, the names of projects and keys, and what a person must grant."""

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from ingest.sources.base import BadDelivery, Finding, Secret, SourceUnavailable
from ingest.sources.formats.admin import admin_api, admin_units

BASE_URL = "https://api.openai.com/v1"
VENDOR = "OpenAI"
SECRETS = (Secret("admin_key", "platform.openai.com → Settings → Organization → Admin keys; it begins with sk-admin-"),)
GRANTS = (
    "an admin key (sk-admin-…) of an organization owner with the scope api.usage.read",
    "api.management.read besides, to show names of projects and keys instead of ids",
)
_REMEDY = (
    "An organization owner makes an admin key (sk-admin-…) at platform.openai.com → Settings → Organization → Admin keys, "
    "with the scope api.usage.read; a project key (sk-proj-…) cannot read this."
)
_NAMES_REMEDY = "Give the admin key the scope api.management.read, or set resolve_names to false."
_PAGE = "100"


def api(base_url: str, credentials: Mapping[str, str]) -> admin_api.AdminApi:
    """The conversation of a configured source."""
    key = credentials.get("admin_key", "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return admin_api.AdminApi(admin_api.Access(VENDOR, base_url, headers, key, _REMEDY))


def names(conversation: admin_api.AdminApi, found: Iterable[admin_units.Found]) -> admin_units.Names:
    """What the projects and keys of the results are called. What the admin key may not see keeps its id."""
    projects, keys = _ids(found)
    called = {one: name for one, name in _seen(_projects(conversation)) if one in projects}
    named: dict[str, str] = {}
    for project in sorted(called) if keys else ():
        # A project that has been deleted meanwhile has no keys to list any more.
        named |= {one: name for one, name in _seen(_keys(conversation, project)) if one in keys}
    return admin_units.Names(called, named)


def used(named: admin_units.Names, found: Iterable[admin_units.Found]) -> admin_units.Names:
    """The names that some of the results use."""
    projects, keys = _ids(found)
    return admin_units.Names(
        {one: name for one, name in named.projects.items() if one in projects},
        {one: name for one, name in named.keys.items() if one in keys},
    )


def probe_names(conversation: admin_api.AdminApi) -> Iterator[Finding]:
    """Whether names can be seen."""
    try:
        found = sorted(name for _, name in _projects(conversation))
    except (SourceUnavailable, BadDelivery) as problem:
        yield Finding("Names of projects and keys", "note", f"Ids are shown instead: {problem}", _NAMES_REMEDY)
        return
    shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
    yield Finding("Names of projects and keys", "ok", f"{len(found)} projects: {shown}")


def _ids(found: Iterable[admin_units.Found]) -> tuple[set[str], set[str]]:
    results = [each.result for each in found]
    return (
        {admin_api.text(each.get("project_id")) for each in results} - {""},
        {admin_api.text(each.get("api_key_id")) for each in results} - {""},
    )


def _projects(conversation: admin_api.AdminApi) -> Iterator[tuple[str, str]]:
    # An archived project still has a bill.
    parameters = [("limit", _PAGE), ("include_archived", "true")]
    for one in conversation.objects("/organization/projects", parameters, after="after"):
        if name := admin_api.label(one):
            yield admin_api.text(one.get("id")), name


def _keys(conversation: admin_api.AdminApi, project: str) -> Iterator[tuple[str, str]]:
    path = f"/organization/projects/{quote(project, safe='')}/api_keys"
    for one in conversation.objects(path, [("limit", _PAGE)], after="after"):
        if name := admin_api.label(one):
            yield admin_api.text(one.get("id")), name


def _seen(listed: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What is listed, as far as that is allowed. Any other failure is one: else ids and names would take turns."""
    try:
        yield from listed
    except admin_api.Refused as problem:
        if problem.status not in (401, 403, 404):
            raise
