"""The rules and prices that the sample organisation has set: added in front of everyone's rules, taken away with it."""

from datetime import date, datetime

from attribution import own, periods
from attribution.own import RuleDraft
from costobs.embedded.sample import organisation
from costobs.embedded.sample.story import Story
from ingest import price

PREFIX = f"{organisation.LABEL}: "
_PRICED_SINCE = date(2024, 1, 1)
_OWN_MODELS = (organisation.LLAMA, organisation.QWEN)
_OWNERS = {
    "ws_search": "search",
    "ws_support": "support",
    "ws_data": "data-platform",
    "ws_research": "research",
    "proj_search": "search",
    "proj_growth": "growth",
    "proj_data": "data-platform",
    "441200000017": "research",
}
_TEAMS = [team.name for team in organisation.TEAMS]

RULES = (
    RuleDraft("match", f"{PREFIX}team named on the call or the resource", {"set": {"team": "$team"}}),
    RuleDraft("match", f"{PREFIX}owner of the account", {"lookup": {"attribute": "account", "table": _OWNERS}}),
    RuleDraft(
        "even_split",
        f"{PREFIX}support and tax, shared by all teams",
        {"select": {"service_name": ["AWS Support", "Tax"]}, "teams": _TEAMS},
    ),
    RuleDraft(
        "gpu_share",
        f"{PREFIX}GPU nodes by telemetry",
        {"deployment_owners": {"llama-70b": "data-platform", "qwen-14b": "search"}},
    ),
)


def add(*, now: datetime) -> None:
    """Puts the sample's rules in front of the current ones, unless they are there."""
    current = own.current_rules()
    if any(rule.name.startswith(PREFIX) for rule in current):
        return
    own.reattribute(drafts=[*RULES, *current], now=now, by=organisation.SET_BY, note="sample organisation")


def take_away(*, by: str, now: datetime) -> None:
    """The rules without the sample's."""
    current = own.current_rules()
    kept = [rule for rule in current if not rule.name.startswith(PREFIX)]
    if len(kept) != len(current):
        own.reattribute(drafts=kept, now=now, by=by, note="sample organisation removed")


def add_prices(*, told: Story, now: datetime) -> None:
    """What a token of the sample's own models counts until the bill of their node is in."""
    for name in _OWN_MODELS:
        prices = organisation.MODELS[name].prices
        price.set_override(
            provider=organisation.MODELS[name].provider,
            model=name,
            valid_from=min(_PRICED_SINCE, told.start),
            prices={
                "input": prices["input_uncached"],
                "cache_read": prices["cache_read"],
                "output": prices["output"],
            },
            set_by=organisation.SET_BY,
            now=now,
            open_from=periods.closed_until(),
        )


def take_prices_away(*, now: datetime) -> None:
    """Ends the sample's prices. Usage of other sources that had them gets the price it would have had."""
    price.withdraw(set_by=organisation.SET_BY, now=now, open_from=periods.closed_until())
