"""Deploys, releases and other events of note, pushed as JSON or by a forge's webhook, shown as marks on charts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ingest.rows import MARKER
from ingest.sources.base import Normalized, Produces, Raw, Secret, Source, setting
from ingest.sources.formats import pushed_rows

ACTS = ("deploy", "release", "rollback", "config_change", "experiment", "incident", "note")
_MOST_TEXT = 300


@dataclass(frozen=True, slots=True)
class MarkersConfig:
    """Whose events these are, where the sender does not say."""

    team: str = setting("", hint="Only this team's charts show them; empty: everybody's")
    feature: str = setting("", hint="The feature that is deployed, if it is always the same")


class Markers(Source):
    """Marks on charts: one JSON object, a list, or one a line; or the webhook of GitHub and GitLab for deployments and releases.

    A later event of the same id replaces the earlier one. Example configuration:

        {"team": "search", "feature": "answers"}

    Example event:

        {"marker_id": "deploy-812", "at": "2026-11-20T10:00:00Z", "act": "deploy", "title": "answers 2.4.0",
         "url": "https://example.com/deploys/812", "attributes": {"team": "search", "environment": "prod"}}

    Credential `webhook_secret`: what the forge signs its webhook with. Point it to the address on this page.
    """

    kind: ClassVar[str] = "markers"
    title: ClassVar[str] = "Deploy and release markers"
    produces: ClassVar[Produces] = "markers"
    Config: ClassVar[type[MarkersConfig]] = MarkersConfig
    secrets: ClassVar[Sequence[Secret]] = (Secret("webhook_secret", "The secret you gave the webhook at your forge."),)
    is_pushed: ClassVar[bool] = True

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The events of a batch in order; one with a wrong field is rejected by that field's name."""
        yield pushed_rows.normalize(raw.payload, MARKER, self._marker)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file."""
        yield from pushed_rows.open_paths(paths)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        return pushed_rows.pushed(name, content)

    def _marker(self, parsed: Mapping[str, Any], row: int) -> pushed_rows.Row:
        told = _from_forge(parsed) or parsed
        attributes = pushed_rows.attributes(told)
        at = pushed_rows.moment(told, "at", required=True)
        url = pushed_rows.text(told, "url")
        if url and not url.startswith(("https://", "http://")):
            raise pushed_rows.Invalid("url", f"expected an http or https address, found {url[:60]!r}")
        return {
            "row_number": row,
            "marker_id": pushed_rows.text(told, "marker_id") or pushed_rows.content_id(told),
            "at": at,
            "act": pushed_rows.one_of(told, "act", ACTS, "note"),
            "title": pushed_rows.text(told, "title", required=True)[:_MOST_TEXT],
            "url": url[:_MOST_TEXT],
            **attributes,
            "attr_team": attributes["attr_team"] or self.config.team,
            "attr_feature": attributes["attr_feature"] or self.config.feature,
        }


def _from_forge(parsed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a webhook of GitHub or GitLab tells, in our words; None when it is not one.

    GitHub: the events deployment_status and release (docs.github.com, webhook events and payloads, as known 2026-11-28).
    GitLab: deployment and release events (docs.gitlab.com, webhook events, as known 2026-11-28).
    """
    if isinstance(parsed.get("deployment_status"), dict) and isinstance(parsed.get("deployment"), dict):
        return _github_deployment(parsed)
    release = parsed.get("release")
    if isinstance(release, dict) and isinstance(parsed.get("repository"), dict):
        title = f"{_named(parsed, 'repository', 'name')} {release.get('name') or release.get('tag_name') or ''}"
        return {
            "marker_id": f"github release {release.get('id')}",
            "at": release.get("published_at") or release.get("created_at"),
            "act": "release",
            "title": title.strip(),
            "url": release.get("html_url"),
        }
    if parsed.get("object_kind") in ("deployment", "release"):
        return _gitlab(parsed)
    return None


def _github_deployment(parsed: Mapping[str, Any]) -> Mapping[str, Any]:
    status, deployment = parsed["deployment_status"], parsed["deployment"]
    state = str(status.get("state") or "")
    title = f"{_named(parsed, 'repository', 'name')} {deployment.get('ref') or ''}".strip()
    return {
        "marker_id": f"github deployment {deployment.get('id')}",
        "at": status.get("updated_at") or status.get("created_at"),
        "act": "deploy",
        "title": title if state == "success" else f"{title} ({state})",
        "url": status.get("target_url") or status.get("log_url"),
        "attributes": {"environment": str(deployment.get("environment") or "")},
    }


def _gitlab(parsed: Mapping[str, Any]) -> Mapping[str, Any]:
    name = _named(parsed, "project", "name")
    if parsed["object_kind"] == "release":
        return {
            "marker_id": f"gitlab release {parsed.get('id')}",
            "at": _gitlab_time(parsed.get("released_at") or parsed.get("created_at")),
            "act": "release",
            "title": f"{name} {parsed.get('name') or parsed.get('tag') or ''}".strip(),
            "url": parsed.get("url"),
        }
    state = str(parsed.get("status") or "")
    title = f"{name} {parsed.get('ref') or parsed.get('short_sha') or ''}".strip()
    return {
        "marker_id": f"gitlab deployment {parsed.get('deployment_id')}",
        "at": _gitlab_time(parsed.get("status_changed_at")),
        "act": "deploy",
        "title": title if state == "success" else f"{title} ({state})",
        "url": parsed.get("deployable_url"),
        "attributes": {"environment": str(parsed.get("environment") or "")},
    }


def _gitlab_time(value: Any) -> Any:
    """GitLab writes "2026-11-20 10:00:00 UTC" and "2026-11-20 11:00:00 +0100"."""
    text = str(value or "").removesuffix(" UTC")
    date, _, rest = text.partition(" ")
    clock, _, zone = rest.partition(" ")
    return f"{date}T{clock}{zone or 'Z'}" if clock else text


def _named(parsed: Mapping[str, Any], key: str, name: str) -> str:
    found = parsed.get(key)
    return str(found.get(name) or "") if isinstance(found, dict) else ""
