"""Prices: found or made once, the operator's before the list's, and usage that follows them exactly."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from django.db import connection, connections, transaction

from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days
from ingest import configure, load, partitions, price, price_book, price_list, price_usage
from ingest.models import AttributeSet, Offering, Source, Touched, UnitPrice, UsageHour
from ingest.price import Wanted
from ingest.price_list import PRICED
from ingest.rows import DISJOINT_TOKEN_KINDS, TOKEN_KINDS

pytestmark = pytest.mark.django_db
# Naming the apps makes the clean-up cascade into the partitioned tables, which Django does not know.
committed = pytest.mark.django_db(transaction=True, available_apps=["costobs.audit", "ingest"])

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = date(2026, 11, 10)
SONNET = Wanted("anthropic", "claude-sonnet-4-5-20250929", "standard", DAY)
OWN = {"input": Decimal("0.40"), "output": Decimal("1.20")}


def _prices(price_id: int) -> dict[str, Decimal]:
    row = UnitPrice.objects.get(pk=price_id)
    return {kind: getattr(row, f"{kind}_price") for kind in PRICED}


def _believed() -> list[tuple[object, ...]]:
    return list(
        UnitPrice.objects.filter(known_to=None)
        .order_by("provider", "model", "service_tier", "context_from", "valid_from")
        .values_list("provider", "model", "service_tier", "context_from", "valid_from", "provenance")
    )


def _set(**changes: object) -> price_usage.Repriced:
    values: dict[str, object] = {
        "provider": "self_hosted",
        "model": "llama-3.1-8b-w8a8",
        "valid_from": date(2026, 11, 1),
        "prices": OWN,
        "set_by": "ada@example.com",
        "now": NOW,
    }
    return price.set_override(**{**values, **changes})  # type: ignore[arg-type]  # the defaults have the right types


class Usage:
    """Stored usage of one offering, folded by the load's own statement."""

    def __init__(self, provider: str, model: str, tier: str = "standard") -> None:
        self.source = Source.objects.create(kind="usage_log", name="log", created_at=NOW)
        self.set = AttributeSet.objects.create(source=self.source, digest="d", seen_at=NOW)
        self.offering = Offering.objects.create(
            provider=provider, model=model, request_model=model, response_model=model, service_tier=tier
        )
        self.count = 0

    def add(self, at: datetime, **tokens: int) -> None:
        day = at.date()
        partitions.ensure_days({day})
        steps = price.resolve([Wanted(self.offering.provider, self.offering.model, self.offering.service_tier, day)])
        prompt = sum(tokens.get(kind, 0) for kind in price_usage.PROMPT_KINDS)
        (found,) = steps.values()
        price_id = [step.price_id for step in found if step.context_from <= prompt][-1]
        self.count += 1
        columns = ", ".join(TOKEN_KINDS)
        values = [tokens.get(kind, 0) for kind in TOKEN_KINDS]
        with connection.cursor() as cursor:
            cursor.execute(
                f"""WITH event AS (
                    INSERT INTO ingest_usageevent (source_id, event_id, occurred_at, attribute_set_id,
                        offering_id, price_id, {columns}, usage_known, latency_ms, status, outcome, trace_id,
                        session_id)
                    VALUES (%s, %s, %s, %s, %s, %s, {", ".join(["%s"] * len(values))}, true, 100, 200, 'ok', '', '')
                    RETURNING *)
                INSERT INTO ingest_usagehour AS old (hour, source_id, attribute_set_id, offering_id, price_id, requests,
                    errors, refused, unknown_usage, latency_ms, {columns})
                SELECT date_bin('1 hour', occurred_at, 'epoch'), source_id, attribute_set_id, offering_id, price_id, 1,
                    0, 0, 0, latency_ms, {columns} FROM event
                ON CONFLICT (hour, source_id, attribute_set_id, offering_id, price_id) DO UPDATE SET requests =
                    old.requests + 1, latency_ms = old.latency_ms + excluded.latency_ms,
                    {", ".join(f"{kind} = old.{kind} + excluded.{kind}" for kind in TOKEN_KINDS)}""",
                [self.source.pk, f"e{self.count}", at, self.set.pk, self.offering.pk, price_id, *values],
            )

    def sums(self) -> dict[str, int]:
        names = ("requests", "latency_ms", *TOKEN_KINDS)
        hours = list(UsageHour.objects.values(*names))
        return {name: sum(hour[name] for hour in hours) for name in names}

    def cost(self) -> Decimal:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT sum({price_usage.COST}) FROM ingest_usagehour h JOIN ingest_unitprice p ON p.id = h.price_id"
            )
            return cursor.fetchone()[0]


def test_it_gives_one_step_for_each_context_size() -> None:
    steps = price.resolve([SONNET])[SONNET]

    assert [step.context_from for step in steps] == [0, 200_001]
    assert _prices(steps[0].price_id)["input_uncached"] == Decimal("0.000003")
    assert _prices(steps[1].price_id)["input_uncached"] == Decimal("0.000006")


def test_it_inserts_nothing_the_second_time() -> None:
    first = price.resolve([SONNET, Wanted("openai", "gpt-4o", "batch", DAY)])
    rows = _believed()

    second = price.resolve([SONNET, Wanted("openai", "gpt-4o", "batch", DAY)])

    assert second == first
    assert _believed() == rows


def test_it_gives_each_price_period_its_own_row() -> None:
    before = Wanted("anthropic", "claude-opus-4-6", "standard", date(2026, 3, 12))
    after = Wanted("anthropic", "claude-opus-4-6", "standard", date(2026, 3, 13))

    found = price.resolve([before, after])

    assert [step.context_from for step in found[before]] == [0, 200_001]
    assert [step.context_from for step in found[after]] == [0]
    assert found[before][0].valid_to == found[after][0].valid_from == datetime(2026, 3, 13, tzinfo=UTC)


def test_it_prices_spellings_of_a_model_and_a_tier_by_one_row() -> None:
    other = Wanted("anthropic", "claude-sonnet-4-5", "default", DAY)

    found = price.resolve([SONNET, other])

    assert found[SONNET] == found[other]


def test_it_counts_an_unknown_tier_as_standard_and_says_so() -> None:
    odd = Wanted("anthropic", "claude-sonnet-4-5", "platinum", DAY)
    Usage("anthropic", "claude-sonnet-4-5", "platinum")

    found = price.resolve([SONNET, odd])

    assert found[odd] == found[SONNET]
    assert price_book.unknown_tiers() == [("anthropic", "platinum")]


def test_it_prices_an_unknown_model_no_lower_than_any_known_price_of_its_provider() -> None:
    _set(provider="openai", model="gpt-4o", prices={"input": Decimal(700), "output": Decimal(5)})
    wanted = Wanted("openai", "gpt-99-omega", "standard", DAY)

    (step,) = price.resolve([wanted])[wanted]

    row = UnitPrice.objects.get(pk=step.price_id)
    assert (row.is_conservative, row.model, row.provenance) == (
        True,
        "gpt-99-omega",
        "conservative (dearest of openai)",
    )
    assert row.input_uncached_price == Decimal("0.0007")
    for known in price_list._text_prices("openai"):
        assert all(getattr(row, f"{kind}_price") >= known[kind] for kind in PRICED)


@pytest.mark.parametrize("provider", ["self_hosted", "a-provider-nobody-knows"])
def test_it_never_prices_unknown_usage_at_zero(provider: str) -> None:
    wanted = Wanted(provider, "house-blend-7b", "standard", DAY)

    (step,) = price.resolve([wanted])[wanted]

    assert all(_prices(step.price_id)[kind] > 0 for kind in DISJOINT_TOKEN_KINDS)
    assert UnitPrice.objects.get(pk=step.price_id).is_conservative


def test_it_prices_an_unknown_model_of_our_own_at_the_dearest_operator_price() -> None:
    _set()
    _set(model="qwen-72b", prices={"input": Decimal(2), "output": Decimal("0.5")})
    wanted = Wanted("self_hosted", "house-blend-7b", "standard", DAY)

    (step,) = price.resolve([wanted])[wanted]

    assert _prices(step.price_id)["input_uncached"] == Decimal("0.000002")
    assert _prices(step.price_id)["output"] == Decimal("0.0000012")


def test_it_lets_the_operator_win_from_a_day_on() -> None:
    price.resolve([SONNET])

    _set(
        provider="anthropic",
        model="claude-sonnet-4-5",
        valid_from=DAY,
        prices={"input": Decimal(2), "output": Decimal(9)},
    )

    before = Wanted("anthropic", "claude-sonnet-4-5", "standard", date(2026, 11, 9))
    found = price.resolve([before, SONNET])
    assert [_prices(step.price_id)["input_uncached"] for step in found[before]] == [
        Decimal("0.000003"),
        Decimal("0.000006"),
    ]
    (step,) = found[SONNET]
    assert _prices(step.price_id)["cache_read"] == Decimal("0.000002")
    assert found[before][0].valid_to == step.valid_from == datetime(2026, 11, 10, tzinfo=UTC)


def test_it_lets_the_operator_win_whoever_came_first() -> None:
    _set(provider="anthropic", model="claude-sonnet-4-5", valid_from=DAY)
    before = Wanted("anthropic", "claude-sonnet-4-5", "standard", date(2026, 11, 9))

    found = price.resolve([before, SONNET])

    assert UnitPrice.objects.get(pk=found[SONNET][0].price_id).provenance == "operator"
    assert [step.valid_to for step in found[before]] == [datetime(2026, 11, 10, tzinfo=UTC)] * 2


def test_it_keeps_what_was_believed_before() -> None:
    _set()
    later = datetime(2026, 11, 21, tzinfo=UTC)

    _set(prices={"input": Decimal(1), "output": Decimal(2)}, now=later)

    old, new = UnitPrice.objects.order_by("id")
    assert (old.known_from, old.known_to, old.input_uncached_price) == (NOW, later, Decimal("0.0000004"))
    assert (new.known_from, new.known_to, new.input_uncached_price) == (later, None, Decimal("0.000001"))


def test_it_ends_an_override_where_a_later_one_begins() -> None:
    _set(valid_from=date(2026, 11, 15))

    _set(valid_from=date(2026, 11, 1), prices={"input": Decimal(1), "output": Decimal(2)})

    rows = (
        UnitPrice.objects.filter(known_to=None).order_by("valid_from").values_list("valid_from__day", "valid_to__day")
    )
    assert list(rows) == [(1, 15), (15, None)]


def test_it_does_nothing_when_the_same_price_is_set_again() -> None:
    _set()
    rows = list(UnitPrice.objects.order_by("id").values())

    _set(now=datetime(2026, 11, 21, tzinfo=UTC))

    assert list(UnitPrice.objects.order_by("id").values()) == rows
    assert AuditEntry.objects.count() == 1


def test_it_writes_who_set_a_price() -> None:
    price.resolve([SONNET])

    _set(provider="anthropic", model="claude-sonnet-4-5")

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.act) == ("ada@example.com", "price.set")
    assert entry.subject == "price:anthropic/claude-sonnet-4-5/standard"
    assert Decimal(entry.after["input_uncached_price"]) == Decimal("0.0000004")
    assert entry.before["provenance"] == "genai-prices 0.2.3 anthropic/claude-sonnet-4-5"


@pytest.mark.parametrize(
    "prices",
    [
        {"output": Decimal(1)},
        {"input": Decimal(-1), "output": Decimal(1)},
        {"input": Decimal(1), "thinking": Decimal(1)},
        {"input": Decimal("NaN")},
    ],
)
def test_it_refuses_a_price_that_cannot_be(prices: dict[str, Decimal]) -> None:
    with pytest.raises(price.BadPrice):
        _set(prices=prices)

    assert not UnitPrice.objects.exists()


def test_it_refuses_to_know_a_price_before_the_one_it_replaces() -> None:
    _set()

    with pytest.raises(price.BadPrice):
        _set(prices={"input": Decimal(9)}, now=datetime(2026, 11, 19, tzinfo=UTC))


def test_it_moves_cost_exactly_and_keeps_every_token() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    usage.add(datetime(2026, 11, 9, 10, 5, tzinfo=UTC), input_uncached=1000, output=100)
    usage.add(datetime(2026, 11, 10, 10, 5, tzinfo=UTC), input_uncached=1000, cache_read=500, output=100)
    usage.add(datetime(2026, 11, 10, 10, 50, tzinfo=UTC), input_uncached=300_000, output=7)
    sums, cost = usage.sums(), usage.cost()

    moved = _set(provider="anthropic", model="claude-sonnet-4-5", valid_from=DAY, prices=OWN)

    assert cost == Decimal("0.0045") + Decimal("0.00465") + Decimal("1.8001575")
    assert usage.cost() == Decimal("0.0045") + Decimal("0.00072") + Decimal("0.1200084")
    assert usage.sums() == sums
    assert (moved.events, moved.hours, moved.days) == (2, 1, (DAY,))
    assert UsageHour.objects.count() == 2


def test_it_bumps_the_touched_days_only() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    usage.add(datetime(2026, 11, 9, 10, 5, tzinfo=UTC), input_uncached=1000)
    usage.add(datetime(2026, 11, 10, 10, 5, tzinfo=UTC), input_uncached=1000)
    Touched.objects.create(source=usage.source, day=DAY, version=4)

    _set(provider="anthropic", model="claude-sonnet-4-5", valid_from=DAY)

    assert list(Touched.objects.values_list("day", "version")) == [(DAY, 5)]


def test_it_moves_nothing_when_repeated() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    usage.add(datetime(2026, 11, 10, 10, 5, tzinfo=UTC), input_uncached=1000)
    _set(provider="anthropic", model="claude-sonnet-4-5", valid_from=DAY)

    again = price.reprice(provider="anthropic", model="claude-sonnet-4-5", since=date(2026, 1, 1))

    assert again == price_usage.Repriced(0, 0, ())


def test_it_leaves_usage_before_the_open_books_alone() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    usage.add(datetime(2026, 10, 31, 23, tzinfo=UTC), input_uncached=1000)
    usage.add(datetime(2026, 11, 1, tzinfo=UTC), input_uncached=1000)

    _set(
        provider="anthropic",
        model="claude-sonnet-4-5",
        valid_from=date(2026, 10, 1),
        prices={"input": Decimal(1)},
        open_from=date(2026, 11, 1),
    )

    assert usage.cost() == Decimal("0.003") + Decimal("0.001")


def test_it_chooses_the_step_by_the_whole_prompt() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    usage.add(datetime(2026, 11, 10, 1, tzinfo=UTC), input_uncached=1, cache_read=199_999, output=1)
    usage.add(datetime(2026, 11, 10, 2, tzinfo=UTC), input_uncached=2, cache_read=199_999, output=1)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingest_usageevent SET price_id = 0")
    price.reprice(provider="anthropic", model="claude-sonnet-4-5", since=date(2026, 11, 1))

    steps = {step.price_id: step.context_from for step in price.resolve([SONNET])[SONNET]}
    hours = UsageHour.objects.order_by("hour").values_list("price_id", flat=True)
    assert [steps[price_id] for price_id in hours] == [0, 200_001]


def test_it_lists_unpriced_usage_until_somebody_prices_it() -> None:
    usage = Usage("self_hosted", "house-blend-7b")
    usage.add(datetime(2026, 11, 10, 1, 30, tzinfo=UTC), input_uncached=1000, output=100)
    usage.add(datetime(2026, 11, 12, 1, 30, tzinfo=UTC), input_uncached=1000, output=100)
    days = Days(date(2026, 11, 1), date(2026, 12, 1))
    (found,) = price.unpriced(days=days)

    _set(model="house-blend-7b")

    assert (found.provider, found.model, found.requests, found.tokens) == ("self_hosted", "house-blend-7b", 2, 2200)
    assert found.cost_at_conservative_price == Decimal("0.01384")
    assert (found.first_seen.day, found.last_seen.day) == (10, 12)
    assert price.unpriced(days=days) == []
    assert usage.cost() == Decimal("0.00104")


def test_it_settles_a_load_on_the_price_that_holds_when_it_closes() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    old = [step.price_id for step in price.resolve([SONNET])[SONNET]]
    _set(provider="anthropic", model="claude-sonnet-4-5", valid_from=DAY)
    usage.add(datetime(2026, 11, 10, 3, tzinfo=UTC), input_uncached=1_000_000)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingest_usageevent SET price_id = %s", [old[0]])
        cursor.execute("UPDATE ingest_usagehour SET price_id = %s", [old[0]])
    at_old_price = usage.cost()

    price.settle(price_ids=old, since=DAY)

    assert (at_old_price, usage.cost()) == (Decimal(3), Decimal("0.4"))


def test_it_follows_the_list_when_the_list_has_learned_better() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    usage.add(datetime(2026, 10, 31, tzinfo=UTC), input_uncached=1000)
    usage.add(datetime(2026, 11, 10, tzinfo=UTC), input_uncached=1000)
    UnitPrice.objects.update(input_uncached_price=Decimal("0.000001"), provenance="genai-prices 0.0.1 anthropic/old")
    at_old_prices = usage.cost()

    moved = [price.refresh(now=NOW, open_from=date(2026, 11, 1)) for _ in range(2)]

    assert moved == [1, 0]
    assert (at_old_prices, usage.cost()) == (Decimal("0.002"), Decimal("0.001") + Decimal("0.003"))


def test_it_leaves_good_prices_and_the_operators_alone_when_it_refreshes() -> None:
    price.resolve([SONNET, Wanted("self_hosted", "house-blend-7b", "standard", DAY)])
    _set(provider="openai", model="gpt-4o")
    rows = list(UnitPrice.objects.order_by("id").values())

    moved = price.refresh(now=NOW, open_from=date(2026, 11, 1))

    assert moved == 0
    assert list(UnitPrice.objects.order_by("id").values()) == rows


@committed
def test_it_inserts_each_price_once_when_many_workers_look_at_the_same_time() -> None:
    wanted = [
        SONNET,
        Wanted("openai", "gpt-4o", "batch", DAY),
        Wanted("openai", "gpt-99-omega", "standard", DAY),
        Wanted("deepseek", "deepseek-v4-flash", "standard", DAY),
    ]
    found: list[dict[Wanted, tuple[price.PriceStep, ...]]] = []
    start = threading.Barrier(6)

    def worker(turn: int) -> None:
        start.wait()
        try:
            found.append(price.resolve(wanted[turn % 4 :] + wanted[: turn % 4]))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=worker, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 6
    assert all(one == found[0] for one in found)
    assert UnitPrice.objects.count() == sum(len(steps) for steps in found[0].values())


@committed
def test_it_makes_a_new_price_wait_for_the_load_that_uses_the_old_one() -> None:
    usage = Usage("anthropic", "claude-sonnet-4-5")
    done = threading.Event()

    def operator() -> None:
        try:
            _set(provider="anthropic", model="claude-sonnet-4-5", valid_from=DAY)
            done.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=operator)
    with transaction.atomic():
        steps = price.resolve([SONNET])[SONNET]
        price.settle(price_ids=[step.price_id for step in steps], since=DAY)
        thread.start()
        waited = not done.wait(0.3)
        usage.add(datetime(2026, 11, 10, 5, tzinfo=UTC), input_uncached=1_000_000)
    thread.join()

    assert waited
    assert done.is_set()
    assert usage.cost() == Decimal("0.40")


@committed
def test_it_folds_hours_again_as_the_load_folded_them(tmp_path: Path) -> None:
    source = configure.create_source(kind="usage_log", name="log", now=NOW)
    calls: list[dict[str, object]] = [
        {"outcome": "ok", "latency_ms": 800, "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10},
        {"outcome": "error", "latency_ms": 3, "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 0},
        {"outcome": "refused", "gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0},
    ]
    common = {"occurred_at": "2026-11-10T10:00:00Z", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    path = tmp_path / "calls.ndjson"
    path.write_bytes(
        b"".join(orjson.dumps({"event_id": f"e{n}", **common, **call}) + b"\n" for n, call in enumerate(calls))
    )
    (result,) = load.from_paths(source_id=source, paths=[str(path)], now=NOW)
    before = list(UsageHour.objects.values().order_by("attribute_set", "offering"))

    moved = _set(provider="openai", model="gpt-4o")

    after = list(UsageHour.objects.values().order_by("attribute_set", "offering"))
    assert result.rows_loaded == moved.events == 3
    assert [{**row, "id": 0, "price_id": 0} for row in after] == [{**row, "id": 0, "price_id": 0} for row in before]
    assert {row["price_id"] for row in after}.isdisjoint(row["price_id"] for row in before)
