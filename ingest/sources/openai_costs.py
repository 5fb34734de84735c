"""What OpenAI charges an organization, by project, key and line of the bill, from its Costs API."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from ingest.sources.base import (
    BadDelivery,
    Cursor,
    Finding,
    Normalized,
    Produces,
    Raw,
    Secret,
    Source,
    SourceUnavailable,
    Window,
    setting,
)
from ingest.sources.formats import classify
from ingest.sources.formats.admin import admin_api, admin_bills, admin_units, openai_admin

_PATH = "/organization/costs"
_DAY = timedelta(days=1)
# `quantity_unit` in words that the books understand; another unit stays as it is.
_UNITS = {
    "tokens": "Tokens",
    "1000_tokens": "1K tokens",
    "duration_seconds": "Seconds",
    "duration_minutes": "Minutes",
    "duration_hours": "Hours",
    "gibibyte_hours": "GiB-Hours",
    "images": "Images",
    "characters": "Characters",
}
_CATEGORIES = (
    (re.compile(r"\bcredits?\b|\brefund", re.IGNORECASE), "Credit"),
    (re.compile(r"\btax\b|\bvat\b", re.IGNORECASE), "Tax"),
)
_COST_KINDS = (
    (re.compile(r"fine[-_\s]?tun|training|\bgrader", re.IGNORECASE), "fine_tuning"),
    (re.compile(r"vector[-_\s]?stor|file[-_\s]?search", re.IGNORECASE), "vector_store"),
    (re.compile(r"web[-_\s]?search|code[-_\s]?interpreter|container", re.IGNORECASE), "other_service"),
    (re.compile(r"storage", re.IGNORECASE), "storage"),
)


@dataclass(frozen=True, slots=True)
class OpenAICostsConfig:
    """Whose bill it is, and how soon after midnight a day counts as complete."""

    organization: str = setting(
        "", label="Organization", hint="Its id or name, as it should stand on the bill (org-…)."
    )
    base_url: str = setting(openai_admin.BASE_URL, label="Address", hint="Change it for a proxy only.")
    settle_hours: int = setting(
        6, label="Settles after", hint="Hours after midnight UTC until a day counts as complete."
    )
    resolve_names: bool = setting(True, label="Names", hint="Show projects and keys by name; else by id.")

    def __post_init__(self) -> None:
        if not 0 <= self.settle_hours <= 168:
            raise ValueError(f"settle_hours: expected 0 to 168, found {self.settle_hours}")


class OpenAICosts(Source):
    """The bill of an OpenAI organization by day, project, key and line item, in the currency of the account.

    A line item ("gpt-4o-2024-08-06, cached input") is all that links a cost to a model and a kind of token; lines without
    tokens (web search, code interpreter, file search, vector stores, training, images, seconds of audio) are told apart by
    it too. Each read takes whole months of UTC days and replaces the month that was there, so that corrections count once.
    A day is complete `settle_hours` after it ended; until then the estimate from usage counts. What Azure bills for the
    same models is in Azure's bill, not here. Example configuration:

        {"organization": "org-acme", "base_url": "https://api.openai.com/v1", "settle_hours": 6, "resolve_names": true}
    """

    kind: ClassVar[str] = "openai_costs"
    title: ClassVar[str] = "OpenAI costs"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[OpenAICostsConfig]] = OpenAICostsConfig
    secrets: ClassVar[tuple[Secret, ...]] = openai_admin.SECRETS
    grants: ClassVar[tuple[str, ...]] = openai_admin.GRANTS
    # Whole days: the newest complete one is up to a day and `settle_hours` ago.
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    restatement_days: ClassVar[int] = 10
    poll_seconds: ClassVar[int] = 3600

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Each month that the window touches, whole, up to what the vendor knows by now."""
        with openai_admin.api(self.config.base_url, self.credentials) as api:
            for month in admin_units.months(window):
                found = _found(api, month)
                names = openai_admin.names(api, found) if self.config.resolve_names else admin_units.Names()
                yield admin_units.month_unit(
                    api,
                    month,
                    window,
                    name="OpenAI costs",
                    found=found,
                    names=names,
                    settle_hours=self.config.settle_hours,
                    export=self.config.organization or "openai",
                )

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether costs can be read, how new they are, and whether names can be seen."""
        if not self.credentials.get("admin_key"):
            yield Finding("Admin key", "missing", "No admin key is set.", openai_admin.GRANTS[0])
            return
        today = admin_units.midnight(window.end)
        with openai_admin.api(self.config.base_url, self.credentials).hurry() as api:
            try:
                found = _found(api, Window(today - 7 * _DAY, today + _DAY))
            except (SourceUnavailable, BadDelivery) as problem:
                yield Finding("Costs", "missing", str(problem), openai_admin.GRANTS[0])
                return
            yield admin_bills.seen(found, account="project_id")
            if self.config.resolve_names:
                yield from openai_admin.probe_names(api)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of one month. A line that cannot be one is rejected, which refuses the month."""
        unit: admin_units.Unit = raw.payload
        lines = [self._line(each, unit.names) for each in unit.found]
        yield admin_bills.charges(lines, extra=("api_key_id", "api_key_name", "quantity_unit"), file=raw.name)

    def _line(self, found: admin_units.Found, names: admin_units.Names) -> dict[str, object]:
        told = {name: admin_api.text(value) for name, value in found.result.items()}
        amount = found.result.get("amount")
        amount = amount if isinstance(amount, dict) else {}
        item, unit = told.get("line_item", ""), told.get("quantity_unit", "")
        project, key = told.get("project_id", ""), told.get("api_key_id", "")
        model, token_kind = read_item(item)
        return admin_bills.line(
            found,
            vendor="OpenAI",
            service="OpenAI API",
            billing_account_id=self.config.organization,
            sub_account_id=project,
            sub_account_name=names.projects.get(project, ""),
            billing_currency=admin_api.text(amount.get("currency")),
            billed_cost=admin_api.text(amount.get("value")),
            charge_category=next((name for pattern, name in _CATEGORIES if pattern.search(item)), "Usage"),
            charge_description=item,
            consumed_quantity=told.get("quantity", ""),
            consumed_unit=_UNITS.get(unit, unit),
            model=model,
            token_kind=token_kind,
            cost_kind=_cost_kind(item),
            tags=admin_bills.tags(project=names.projects.get(project, project), api_key_name=names.keys.get(key, "")),
            attr_key=key,
            **{"+api_key_id": key, "+api_key_name": names.keys.get(key, ""), "+quantity_unit": unit},
        )


def read_item(item: str) -> tuple[str, str]:
    """The model and the kind of token of a line item. The kind is read from what follows the comma: a model's own name may
    speak of audio, images or embeddings where the line is about text.
    """
    head, comma, rest = (part.strip() for part in item.partition(","))
    if not comma:
        return classify.line("openai", item).model, ""
    token_kind = classify.token_kind(rest)
    known = classify.line("openai", head).model
    # A model that is newer than the list keeps its name, as it does in usage.
    return known or (classify.canonical_model("openai", head) if token_kind else ""), token_kind


def _cost_kind(item: str) -> str:
    return next((kind for pattern, kind in _COST_KINDS if pattern.search(item)), "api_inference")


def _found(api: admin_api.AdminApi, span: Window) -> list[admin_units.Found]:
    """The results of a span. Not every organization may group costs by key: then they come without keys."""
    try:
        return _grouped(api, span, ("project_id", "line_item", "api_key_id"))
    except admin_api.Refused as problem:
        if problem.status != 400 or "group" not in str(problem):
            raise
        return _grouped(api, span, ("project_id", "line_item"))


def _grouped(api: admin_api.AdminApi, span: Window, groups: tuple[str, ...]) -> list[admin_units.Found]:
    parameters = [
        ("start_time", str(int(span.start.timestamp()))),
        ("end_time", str(int(span.end.timestamp()))),
        ("bucket_width", "1d"),
        ("limit", "31"),
        *(("group_by[]", name) for name in groups),
    ]
    return admin_units.found(api, _PATH, parameters, span=span, endpoint="costs")
