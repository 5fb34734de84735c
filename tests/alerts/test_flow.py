"""From a pushed call to a refused one: the whole flow, with the gate's own code at its end."""

import gzip
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from costobs_gate.policy import PolicyStore

from alerts import gates, policy, queries
from alerts.models import Alert
from attribution import queries as spend_queries
from costobs import pipeline
from costobs.kernel.period import month
from costobs.kernel.scope import SpendScope
from ingest import configure, inbox
from tests.alerts.conftest import at, make_budget, rung

pytestmark = pytest.mark.django_db


def push(source_id: int, now: datetime, *, calls: int) -> None:
    """Calls of one request each: 1M input tokens of gpt-4o."""
    lines = [
        orjson.dumps(
            {
                "event_id": f"{now:%H%M%S}-{number}",
                "occurred_at": now.isoformat(),
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 1_000_000,
                "gen_ai.usage.output_tokens": 0,
            }
        )
        for number in range(calls)
    ]
    inbox.accept(
        source_id=source_id,
        body=gzip.compress(b"\n".join(lines)),
        encoding="gzip",
        idempotency_key=f"{now:%H%M%S}",
        now=now,
        limit=10_000_000,
    )


def test_it_throttles_in_the_round_that_sees_the_call(tmp_path: Path) -> None:
    now = at(10)
    source_id = configure.create_source(kind="gate", name="chat-1", now=at(1))
    gates.create(name="chat-1", deployment="chat-small", source_id=source_id, by="ada", now=at(1))
    _key_id, key_text = gates.create_key(name="web", team="search", by="ada", now=at(1))
    budget_id = make_budget(rung("60", "notify"), rung("100", "throttle"), amount="10", scope={"model": ["gpt-4o"]})
    store = PolicyStore(tmp_path / "policy.json")

    def ask(moment: datetime) -> None:
        found = policy.answer(source_id=source_id, if_none_match=store.etag, now=moment)
        if found.body is not None:
            store.replace(found.body, found.etag)

    ask(now)
    push(source_id, now, calls=2)
    pipeline.run_once(now)
    assert queries.budget_line(budget_id=budget_id, now=now).spend_cost == Decimal(5)

    later = now + timedelta(seconds=10)
    push(source_id, later, calls=3)
    pipeline.run_once(later + timedelta(seconds=1))
    ask(later + timedelta(seconds=2))

    assert store.current is not None
    key = store.current.find_key(key_text)
    assert key is not None
    (rule,) = store.current.rules
    assert (rule.action, rule.requests_per_minute) == ("throttle", 6)
    assert rule.covers(key, None, "gpt-4o") and not rule.covers(key, None, "other")

    ask(later + timedelta(seconds=3))
    pipeline.run_once(later + timedelta(seconds=4))

    line = queries.budget_line(budget_id=budget_id, now=later + timedelta(seconds=5))
    scope = SpendScope(month(now.date()), teams=None).where("model", "gpt-4o")
    assert line.state == "throttled"
    assert line.spend_cost == line.estimated_cost == spend_queries.total(scope=scope).cost == Decimal("12.5")
    assert [alert.payload["header"] for alert in Alert.objects.all()] == ["Budget: Search answers passed 100 %"]
