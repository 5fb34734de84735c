"""What the two Anthropic kinds share: the way in, the names of workspaces and keys, and what a person must grant."""

from collections.abc import Iterable, Iterator, Mapping

from ingest.sources.base import BadDelivery, Finding, Secret, SourceUnavailable
from ingest.sources.formats.admin import admin_api, admin_units

BASE_URL = "https://api.anthropic.com"
VENDOR = "Anthropic"
SECRETS = (Secret("admin_key", "console.anthropic.com → Settings → Admin keys; it begins with sk-ant-admin"),)
GRANTS = ("an Admin API key (sk-ant-admin…), which only a member with the admin role can make",)
_REMEDY = (
    "A member with the admin role makes an Admin API key (sk-ant-admin…) at console.anthropic.com → Settings → Admin keys; "
    "a key of a workspace (sk-ant-api…) cannot read this, and accounts of one person have no Admin API."
)
_VERSION = "2023-06-01"
_PAGE = "100"
# The reports give null for what was spent in no workspace of one's own. An empty account would fit every other one.
DEFAULT_WORKSPACE = "default"
DEFAULT_NAME = "Default workspace"


def api(base_url: str, credentials: Mapping[str, str]) -> admin_api.AdminApi:
    """The conversation of a configured source. Both headers are set here: what SDKs send has changed with their version."""
    key = credentials.get("admin_key", "").strip()
    headers = {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})
    return admin_api.AdminApi(admin_api.Access(VENDOR, base_url, headers, key, _REMEDY))


def names(conversation: admin_api.AdminApi) -> admin_units.Names:
    """What workspaces and keys are called. What the admin key may not see keeps its id."""
    return admin_units.Names(dict(_seen(_workspaces(conversation))), dict(_seen(_keys(conversation))))


def used(named: admin_units.Names, found: Iterable[admin_units.Found]) -> admin_units.Names:
    """The names that the results use, so that a rename elsewhere changes nothing."""
    results = [each.result for each in found]
    workspaces = {admin_api.text(each.get("workspace_id")) for each in results}
    keys = {admin_api.text(each.get("api_key_id")) for each in results}
    return admin_units.Names(
        {one: name for one, name in named.projects.items() if one in workspaces},
        {one: name for one, name in named.keys.items() if one in keys},
    )


def workspace(value: object, named: admin_units.Names) -> tuple[str, str]:
    """The id and the name of a result's workspace."""
    found = admin_api.text(value)
    return (found, named.projects.get(found, "")) if found else (DEFAULT_WORKSPACE, DEFAULT_NAME)


def probe_names(conversation: admin_api.AdminApi) -> Iterator[Finding]:
    """Whether names can be seen."""
    try:
        found = sorted(name for _, name in _workspaces(conversation))
    except (SourceUnavailable, BadDelivery) as problem:
        remedy = "Use an Admin API key of a member with the admin role, or set resolve_names to false."
        yield Finding("Names of workspaces and keys", "note", f"Ids are shown instead: {problem}", remedy)
        return
    shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
    yield Finding("Names of workspaces and keys", "ok", f"{len(found)} workspaces: {shown}")


def _workspaces(conversation: admin_api.AdminApi) -> Iterator[tuple[str, str]]:
    # An archived workspace still has a bill.
    parameters = [("limit", _PAGE), ("include_archived", "true")]
    yield from _named(conversation, "/v1/organizations/workspaces", parameters)


def _keys(conversation: admin_api.AdminApi) -> Iterator[tuple[str, str]]:
    yield from _named(conversation, "/v1/organizations/api_keys", [("limit", _PAGE)])


def _named(conversation: admin_api.AdminApi, path: str, parameters: admin_api.Parameters) -> Iterator[tuple[str, str]]:
    for one in conversation.objects(path, parameters, after="after_id"):
        if name := admin_api.label(one):
            yield admin_api.text(one.get("id")), name


def _seen(listed: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What is listed, as far as that is allowed. Any other failure is one: else ids and names would take turns."""
    try:
        yield from listed
    except admin_api.Refused as problem:
        if problem.status not in (401, 403, 404):
            raise
