"""The sample's bills: one FOCUS 1.2 file for each provider and month, made from what was used and from contracts."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from io import StringIO

import polars as pl

from costobs.embedded.sample import cloud_bill, organisation, story
from costobs.embedded.sample.cloud_bill import Row
from costobs.embedded.sample.story import Story

LAG_DAYS = 1  # bills are complete up to the end of the day before yesterday
_MILLION = Decimal(1_000_000)
# The fourteenth digit of a dollar: vendors deliver that many, and the product has to keep them.
_DIGITS = Decimal("0.00000000000001")
_KIND_WORDS = {
    "input_uncached": "input",
    "cache_read": "cached input",
    "cache_write_5m": "cache write",
    "output": "output",
}
_ANTHROPIC_WORDS = {
    "input_uncached": "Input Tokens",
    "cache_read": "Input Tokens, Cache Read",
    "cache_write_5m": "Input Tokens, Cache Write 5m",
    "output": "Output Tokens",
}
_ANTHROPIC_MODELS = {
    "claude-sonnet-4-5": "Claude Sonnet 4.5",
    "claude-haiku-4-5": "Claude Haiku 4.5",
    "claude-opus-4-5": "Claude Opus 4.5",
}
_BYPASS_ACCOUNT = "proj_experiments"
_FINE_TUNE_PRICE = Decimal("5")  # training, USD per 1M tokens

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountId",
    "CommitmentDiscountStatus",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)


@dataclass(frozen=True, slots=True)
class Bill:
    """One delivery of one provider's month: a file's name and its bytes."""

    provider: str
    month: date
    name: str
    content: bytes


def bill(
    told: Story, *, provider: str, month: date, through: date, tokens: pl.DataFrame, is_first: bool = False
) -> Bill | None:
    """The bill of a provider (openai, anthropic, aws) for a month, with the days before `through`; None without a day.

    `tokens` is `usage.by_day` of at least those days. `is_first` makes the first delivery of a closed month, which
    lacks what vendors add later: corrections, the support fee and tax.
    """
    first, last = max(month, told.start), min(next_month(month), through)
    if first >= last:
        return None
    days = [first + timedelta(days=number) for number in range((last - first).days)]
    inside = tokens.filter((pl.col("day") >= first) & (pl.col("day") < last))
    rows = [*_of_tokens(told, provider, inside, days)]
    if provider == "aws":
        rows += cloud_bill.rows(told, days=days, month=month, is_closed=last == next_month(month), is_first=is_first)
    name = f"{provider}-{month:%Y-%m}.csv"
    return Bill(provider, month, name, _csv(_common(row, provider, month) for row in rows))


def months(told: Story, *, through: date) -> list[date]:
    """The first days of the months that have billed days, oldest first."""
    found, month = [], told.start.replace(day=1)
    while month < through:
        found.append(month)
        month = next_month(month)
    return found


def next_month(month: date) -> date:
    """The first day of the month after the one `month` begins."""
    return (month + timedelta(days=32)).replace(day=1)


def _of_tokens(told: Story, provider: str, tokens: pl.DataFrame, days: list[date]) -> Iterator[Row]:
    wanted = "aws.bedrock" if provider == "aws" else provider
    for line in tokens.filter(pl.col("provider") == wanted).iter_rows(named=True):
        logged = {kind: line[kind] or 0 for kind in _KIND_WORDS}
        # Cut streams and calls around the log are billed as well: the log covers 94 to 99 % of what is billed.
        cover = told.random("cover", line["day"], line["account"], line["model"]).uniform(0.94, 0.99)
        used = {kind: int(count / cover) for kind, count in logged.items()}
        yield from _token_rows(told, wanted, line["day"], line["account"], line["model"], used)
    if provider == "openai":
        for day in days:
            yield from _bypass(told, day)
        yield from _provider_fine_tunes(told, days)


def _bypass(told: Story, day: date) -> Iterator[Row]:
    """A project that calls the provider directly: billed, and never in any log."""
    chance = told.random("bypass", day)
    busy = 0.25 if day.weekday() >= 5 else 1.0
    used = {
        "input_uncached": int(chance.uniform(9e6, 17e6) * busy),
        "cache_read": int(chance.uniform(1e6, 4e6) * busy),
        "cache_write_5m": 0,
        "output": int(chance.uniform(1.4e6, 2.9e6) * busy),
    }
    yield from _token_rows(told, "openai", day, _BYPASS_ACCOUNT, "gpt-5", used)


def _token_rows(
    told: Story, provider: str, day: date, account: str, model: str, used: Mapping[str, int]
) -> Iterator[Row]:
    contract = Decimal(told.discount(provider, day))
    for kind, tokens in used.items():
        price = organisation.MODELS[model].prices.get(kind)
        if not tokens or not price:
            continue
        meter, sku = _meter(provider, model, kind)
        quantity = Decimal(tokens) / _MILLION
        contracted = price * contract
        cost = (quantity * contracted).quantize(_DIGITS, ROUND_HALF_EVEN)
        yield {
            **_day(day),
            **_price(quantity, "1M tokens", price, contracted, cost),
            **_service(provider),
            "ConsumedQuantity": str(tokens),
            "ConsumedUnit": "Tokens",
            "ChargeDescription": meter,
            "SkuId": sku,
            "SkuMeter": meter,
            "SkuPriceId": f"{sku}-{'standard' if contract == 1 else 'contract'}",
            "SubAccountId": account,
            "SubAccountName": organisation.ACCOUNTS[account],
        }


def _meter(provider: str, model: str, kind: str) -> tuple[str, str]:
    if provider == "anthropic":
        return f"{_ANTHROPIC_MODELS[model]} Usage - {_ANTHROPIC_WORDS[kind]}", f"{model}-{kind.replace('_', '-')}"
    if provider == "aws.bedrock":
        words = {
            "input_uncached": "input-tokens",
            "cache_read": "cache-read-input-token-count",
            "output": "output-tokens",
        }
        return f"USE1-NovaPro-{words[kind]}", f"NovaPro-{words[kind]}"
    return f"{model}, {_KIND_WORDS[kind]}", f"{model}-{kind.replace('_', '-')}"


def _provider_fine_tunes(told: Story, days: list[date]) -> Iterator[Row]:
    for run in story.RUNS:
        if run.provider != "openai" or told.day(run.day) not in days:
            continue
        quantity = Decimal(run.trained_tokens) / _MILLION
        price = _FINE_TUNE_PRICE * Decimal(told.discount("openai", told.day(run.day)))
        cost = (quantity * price).quantize(_DIGITS, ROUND_HALF_EVEN)
        yield {
            **_day(told.day(run.day)),
            **_price(quantity, "1M tokens", _FINE_TUNE_PRICE, price, cost),
            **_service("openai"),
            "ConsumedQuantity": str(run.trained_tokens),
            "ConsumedUnit": "Tokens",
            "ChargeDescription": "Fine-tuning training",
            "ResourceId": provider_job(run),
            "ResourceType": "Fine-tuning job",
            "SkuId": "fine-tuning-training",
            "SkuMeter": "Fine-tuning training",
            "SkuPriceId": "fine-tuning-training-contract",
            "SubAccountId": f"proj_{run.team}",
            "SubAccountName": organisation.ACCOUNTS[f"proj_{run.team}"],
        }


def provider_job(run: story.Run) -> str:
    """The name of a provider's fine-tune job, as the bill and the run both give it."""
    return f"ftjob-{run.external_id}"


def _day(day: date) -> Row:
    return {
        "ChargePeriodStart": f"{day}T00:00:00Z",
        "ChargePeriodEnd": f"{day + timedelta(days=1)}T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
    }


def _price(quantity: Decimal, unit: str, listed: Decimal, contracted: Decimal, cost: Decimal) -> Row:
    return {
        "PricingQuantity": f"{quantity:f}",
        "PricingUnit": unit,
        "PricingCategory": "Standard",
        "ListUnitPrice": f"{listed:f}",
        "ContractedUnitPrice": f"{contracted:f}",
        "ListCost": f"{(quantity * listed).quantize(_DIGITS, ROUND_HALF_EVEN):f}",
        "ContractedCost": f"{cost:f}",
        "BilledCost": f"{cost:f}",
        "EffectiveCost": f"{cost:f}",
    }


def _service(provider: str) -> Row:
    name = {"openai": "OpenAI API", "anthropic": "Claude API", "aws.bedrock": "Amazon Bedrock"}[provider]
    region = {"RegionId": "us-east-1"} if provider == "aws.bedrock" else {}
    return {
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": name,
        "ResourceType": "Model",
        **region,
    }


def _common(row: Row, provider: str, month: date) -> Row:
    issuer = {"openai": "OpenAI, LLC", "anthropic": "Anthropic, PBC", "aws": "Amazon Web Services, Inc."}[provider]
    name = {"openai": "OpenAI", "anthropic": "Anthropic", "aws": "AWS"}[provider]
    account = {"openai": "org-quillfern", "anthropic": "a1f0c2d4-quillfern", "aws": "441200000001"}[provider]
    return {
        "BillingAccountId": account,
        "BillingAccountName": organisation.NAME,
        "BillingCurrency": "USD",
        "BillingPeriodStart": f"{month}T00:00:00Z",
        "BillingPeriodEnd": f"{next_month(month)}T00:00:00Z",
        "InvoiceIssuerName": issuer,
        "InvoiceId": f"{provider.upper()}-{month:%Y%m}",
        "ProviderName": name,
        "PublisherName": name,
        **row,
    }


def _csv(rows: Iterable[Row]) -> bytes:
    target = StringIO()
    writer = csv.DictWriter(target, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()
