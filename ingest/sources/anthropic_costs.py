"""What Anthropic charges an organization, by workspace and line of the bill, from its cost report."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
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
from ingest.sources.formats.admin import admin_api, admin_bills, admin_units, anthropic_admin

_PATH = "/v1/organizations/cost_report"
_DAY = timedelta(days=1)
TOKEN_KINDS = {
    "uncached_input_tokens": "input_uncached",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
}
_KEPT = ("cost_type", "token_type", "service_tier", "context_window", "inference_geo", "workspace_id", "amount_cents")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_NO_REGION = {"", "not_available"}


@dataclass(frozen=True, slots=True)
class AnthropicCostsConfig:
    """Whose bill it is, and how soon after midnight a day counts as complete."""

    organization: str = setting("", label="Organization", hint="Its id or name, as it should stand on the bill.")
    base_url: str = setting(anthropic_admin.BASE_URL, label="Address", hint="Change it for a proxy only.")
    settle_hours: int = setting(
        6, label="Settles after", hint="Hours after midnight UTC until a day counts as complete."
    )
    resolve_names: bool = setting(True, label="Names", hint="Show workspaces by name; else by id.")

    def __post_init__(self) -> None:
        if not 0 <= self.settle_hours <= 168:
            raise ValueError(f"settle_hours: expected 0 to 168, found {self.settle_hours}")


class AnthropicCosts(Source):
    """The bill of an Anthropic organization by day, workspace, model and kind of token, in US dollars.

    Amounts come in cents, with fractions of one, and are kept to the last digit. Spend of the default workspace has no id in
    the report and is shown as "Default workspace". Each read takes whole months of UTC days and replaces the month that was
    there. The report has no quantities, no keys and **no Priority Tier**: what is committed for that is on the invoice only;
    load it as a FOCUS file. What Bedrock and Vertex AI bill for the same models is in the bills of AWS and Google, not here.
    Example configuration:

        {"organization": "acme", "base_url": "https://api.anthropic.com", "settle_hours": 6, "resolve_names": true}
    """

    kind: ClassVar[str] = "anthropic_costs"
    title: ClassVar[str] = "Anthropic costs"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[AnthropicCostsConfig]] = AnthropicCostsConfig
    secrets: ClassVar[tuple[Secret, ...]] = anthropic_admin.SECRETS
    grants: ClassVar[tuple[str, ...]] = anthropic_admin.GRANTS
    # Whole days: the newest complete one is up to a day and `settle_hours` ago.
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    restatement_days: ClassVar[int] = 10
    poll_seconds: ClassVar[int] = 3600

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Each month that the window touches, whole, up to what the vendor knows by now."""
        with anthropic_admin.api(self.config.base_url, self.credentials) as api:
            named = anthropic_admin.names(api) if self.config.resolve_names else admin_units.Names()
            for month in admin_units.months(window):
                found = _found(api, month)
                yield admin_units.month_unit(
                    api,
                    month,
                    window,
                    name="Anthropic costs",
                    found=found,
                    names=anthropic_admin.used(named, found),
                    settle_hours=self.config.settle_hours,
                    export=self.config.organization or "anthropic",
                )

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether costs can be read, how new they are, whether names can be seen, and what is never among them."""
        if not self.credentials.get("admin_key"):
            yield Finding("Admin key", "missing", "No admin key is set.", anthropic_admin.GRANTS[0])
            return
        today = admin_units.midnight(window.end)
        with anthropic_admin.api(self.config.base_url, self.credentials).hurry() as api:
            try:
                found = _found(api, Window(today - 7 * _DAY, today + _DAY))
            except (SourceUnavailable, BadDelivery) as problem:
                yield Finding("Costs", "missing", str(problem), anthropic_admin.GRANTS[0])
                return
            yield admin_bills.seen(found, account="workspace_id")
            if self.config.resolve_names:
                yield from anthropic_admin.probe_names(api)
        said = "The cost report leaves Priority Tier out; its commitment is on the invoice only."
        yield Finding("Priority Tier", "note", said, "If you have one, load the invoice's lines as a FOCUS export.")

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of one month. A line that cannot be one is rejected, which refuses the month."""
        unit: admin_units.Unit = raw.payload
        lines = [self._line(each, unit.names) for each in unit.found]
        yield admin_bills.charges(lines, extra=_KEPT, file=raw.name)

    def _line(self, found: admin_units.Found, names: admin_units.Names) -> dict[str, object]:
        told = {name: admin_api.text(value) for name, value in found.result.items()}
        workspace, name = anthropic_admin.workspace(found.result.get("workspace_id"), names)
        model, geo = told.get("model", ""), told.get("inference_geo", "")
        kept = {f"+{each}": told.get(each, "") for each in _KEPT}
        return admin_bills.line(
            found,
            vendor="Anthropic",
            service="Claude API",
            billing_account_id=self.config.organization,
            sub_account_id=workspace,
            sub_account_name=name,
            billing_currency=told.get("currency", ""),
            billed_cost=dollars(told.get("amount", ""), told.get("currency", "")),
            charge_description=told.get("description", ""),
            region_id="" if geo in _NO_REGION else geo,
            model=classify.canonical_model("anthropic", model),
            token_kind=TOKEN_KINDS.get(told.get("token_type", ""), ""),
            cost_kind="api_inference" if told.get("cost_type", "") in ("", "tokens") else "other_service",
            tags=admin_bills.tags(project=name or workspace),
            **kept | {"+amount_cents": told.get("amount", "")},
        )


def dollars(amount: str, currency: str) -> str:
    """Cents as dollars by moving the point, so that no digit is lost. What is no number, or counts the lowest unit of
    another currency (there are some without cents), stays as a text that the bill is refused for.
    """
    if currency.upper() != "USD":
        return f"{amount} in the lowest unit of {currency or 'no currency'}"
    if not _NUMBER.fullmatch(amount):
        return amount
    sign, digits, exponent = Decimal(amount).as_tuple()
    return str(Decimal((sign, digits, int(exponent) - 2)))


def _found(api: admin_api.AdminApi, span: Window) -> list[admin_units.Found]:
    parameters = [
        ("starting_at", f"{span.start:%Y-%m-%dT%H:%M:%SZ}"),
        ("ending_at", f"{span.end:%Y-%m-%dT%H:%M:%SZ}"),
        ("bucket_width", "1d"),
        ("limit", "31"),
        ("group_by[]", "workspace_id"),
        ("group_by[]", "description"),
    ]
    return admin_units.found(api, _PATH, parameters, span=span, endpoint="cost_report")
