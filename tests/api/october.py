"""October 2026 of a small company, built through the real load."""

import csv
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from costobs import pipeline
from ingest import configure, load

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MONTH = "2026-10"
_HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "ChargeClass,BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,InvoiceId,ServiceCategory,"
    "ServiceName,ResourceId,Tags"
)
# Thirds of cents, a credit, a correction, a commitment whose cost lies in another month, and spend that nobody owns.
CHARGES = (
    (1, "Usage", "", "10.333333333333", "10.333333333333", "Amazon EC2", {"team": "search", "cost_centre": "4410"}),
    (2, "Usage", "", "20.333333333333", "20.333333333333", "Amazon EC2", {"team": "search", "feature": "answers"}),
    (3, "Usage", "", "5.005", "5.005", "Amazon S3", {"team": "growth", "cost_centre": "4420"}),
    (4, "Usage", "", "0", "7.125", "Amazon EC2", {"team": "growth", "cost_centre": "4420"}),
    (5, "Usage", "", "3.3349", "3.3349", "Amazon S3", {}),
    (6, "Credit", "", "-1.115", "-1.115", "Amazon EC2", {"team": "search", "cost_centre": "4410"}),
    (31, "Usage", "Correction", "0.004", "0.004", "Amazon EC2", {"team": "growth", "cost_centre": "4420"}),
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was loaded: the exact sums of the month."""

    billed: Decimal
    effective: Decimal


def bill(path: Path, charges: tuple[Any, ...] = CHARGES, *, currency: str = "USD") -> Path:
    """A FOCUS bill of October 2026."""
    rows = [_HEADER.split(",")]
    for day, category, corrected, billed, effective, service, tags in charges:
        start = datetime(2026, 10, day, tzinfo=UTC)
        spans = [
            "2026-10-01T00:00:00Z",
            "2026-11-01T00:00:00Z",
            f"{start:%FT%TZ}",
            f"{start + timedelta(days=1):%FT%TZ}",
        ]
        kind = "Storage" if service == "Amazon S3" else "Compute"
        costs = [billed, effective, effective, effective]
        names = ["AWS", "Amazon Web Services, Inc.", "INV-1", kind, service, "i-1"]
        rows.append(["acct", currency, *spans, category, corrected, *costs, *names, json.dumps(tags)])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def events(*, team: str, day: str, count: int = 3, prefix: str = "e") -> bytes:
    """A batch of calls of one team at noon of a day."""
    return b"".join(
        json.dumps(
            {
                "event_id": f"{prefix}-{team}-{day}-{number}",
                "occurred_at": f"{day}T12:00:00Z",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 1001,
                "gen_ai.usage.output_tokens": 17,
                "attributes": {"team": team, "feature": "answers"},
            }
        ).encode()
        + b"\n"
        for number in range(count)
    )


def settle() -> None:
    """Brings the books up to date."""
    while pipeline.settle(NOW):
        continue


def build(folder: Path) -> Ledger:
    """A bill of AWS, and calls to OpenAI that no bill has confirmed."""
    bills = configure.create_source(kind="focus_export", name="aws bill", now=NOW)
    log = configure.create_source(kind="usage_log", name="calls", now=NOW)
    (folder / "calls.ndjson").write_bytes(
        events(team="search", day="2026-10-02") + events(team="growth", day="2026-10-03")
    )
    states = [
        result.state
        for source_id, path in ((bills, bill(folder / "aws.csv")), (log, folder / "calls.ndjson"))
        for result in load.from_paths(source_id=source_id, paths=[str(path)], now=NOW)
    ]
    assert states == ["succeeded", "succeeded"]
    settle()
    billed, effective = (sum((Decimal(row[index]) for row in CHARGES), Decimal(0)) for index in (3, 4))
    return Ledger(billed, effective)
