"""An OpenAI organization with a little of everything, the sources that read it, and what they left in the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection

from ingest import configure, load
from ingest.sources import openai_costs, openai_usage
from ingest.sources.base import Window
from tests.servers import openai_admin as server_of
from tests.servers.openai_admin import OpenAIAdmin

NOW = datetime(2026, 11, 28, 15, 20, tzinfo=UTC)
TODAY = datetime(2026, 11, 28, tzinfo=UTC)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BILLED = Decimal("12.455679001234567")  # the sum of its costs


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, number, hour, tzinfo=UTC)


def cost(
    item: str, value: str, quantity: str | None = None, unit: str | None = "tokens", **more: Any
) -> dict[str, Any]:
    return {"line_item": item, "value": value, "quantity": quantity, "quantity_unit": unit if quantity else None} | (
        {"project_id": "proj_a", "api_key_id": "key_1"} | more
    )


def calls(**counts: Any) -> dict[str, Any]:
    where = {"project_id": "proj_a", "api_key_id": "key_1", "model": "gpt-4o-2024-08-06", "batch": False}
    return where | {"service_tier": "default", "num_model_requests": 1, "input_tokens": 0, "output_tokens": 0} | counts


@contextmanager
def opened() -> Iterator[OpenAIAdmin]:
    """The server of that organization."""
    with server_of.started(now=NOW) as started:
        started.projects = {"proj_a": "Search", "proj_b": "Answers"}
        started.keys = {"proj_a": {"key_1": "search-prod"}, "proj_b": {"key_2": "answers-prod"}}
        started.costs = {
            day(26): [
                cost("gpt-4o-2024-08-06, input", "12.345678901234567", "4938271"),
                cost("gpt-4o-2024-08-06, cached input", "0.1", "80000", project_id="proj_b", api_key_id="key_2"),
                cost("web search tool calls", "0.01", None),
            ],
            day(27): [cost("gpt-4o-2024-08-06, output", "1e-7", "12.5", "1000_tokens")],
        }
        started.usage = {
            "completions": {
                day(26, 9): [
                    calls(
                        input_tokens=1000,
                        input_uncached_tokens=500,
                        input_cached_tokens=400,
                        input_cache_write_tokens=100,
                        output_tokens=70,
                        num_model_requests=3,
                    )
                ],
                day(27, 23): [calls(input_tokens=10, output_tokens=5, project_id="proj_b", api_key_id="key_2")],
            },
            "embeddings": {
                day(26, 9): [
                    {
                        "project_id": "proj_a",
                        "api_key_id": "key_1",
                        "model": "text-embedding-3-small",
                        "input_tokens": 3_000_000_000,
                        "num_model_requests": 7,
                    }
                ]
            },
        }
        yield started


def make(kind: str, server: OpenAIAdmin, **config: Any) -> int:
    return configure.create_source(
        kind=kind,
        name=kind,
        config={"base_url": server.base_url, **config},
        credentials={"admin_key": server.key},
        now=NOW,
    )


def costs(server: OpenAIAdmin, **config: Any) -> openai_costs.OpenAICosts:
    found = openai_costs.OpenAICostsConfig(base_url=server.base_url, **config)
    return openai_costs.OpenAICosts(found, {"admin_key": server.key})


def usage(server: OpenAIAdmin, **config: Any) -> openai_usage.OpenAIUsage:
    found = openai_usage.OpenAIUsageConfig(base_url=server.base_url, **config)
    return openai_usage.OpenAIUsage(found, {"admin_key": server.key})


def sync(source_id: int, *, now: datetime = NOW, window: Window | None = None) -> dict[str, str]:
    return {one.name: one.state for one in load.sync(source_id=source_id, now=now, window=window)}


def billed() -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(billed_cost), 0) FROM ingest_charge")
        return Decimal(cursor.fetchone()[0])


def charges() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.charge_description, c.billed_cost::text, c.model, c.token_kind, c.consumed_quantity::text,
                   c.consumed_unit, c.cost_kind, c.sub_account_id, c.sub_account_name, a.attributes
               FROM ingest_charge c JOIN ingest_attributeset a ON a.id = c.attribute_set_id ORDER BY c.row_number"""
        )
        return [(*row[:-1], _read(row[-1])) for row in cursor.fetchall()]


def used() -> dict[str, int]:
    names = ("requests", "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(f'coalesce(sum({name}), 0)' for name in names)} FROM ingest_usagehour")
        return {name: int(value) for name, value in zip(names, cursor.fetchone(), strict=True)}


def rows_of(source: openai_usage.OpenAIUsage, on: datetime) -> tuple[list[dict[str, Any]], list[Any]]:
    (raw,) = source.read({}, Window(on, on + DAY))
    (found,) = source.normalize(raw)
    return found.batch.to_pylist(), list(found.rejected)


def _read(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
