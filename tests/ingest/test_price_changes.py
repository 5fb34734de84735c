"""Changes of prices: what they would move, who agrees, and that they can be taken back."""

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction

from attribution.models import PeriodBook, RulesetVersion
from costobs import repricing
from costobs.audit.models import AuditEntry
from ingest import price, price_book, price_changes, price_diff, price_lines
from ingest.models import Offering, PriceChange, Touched, UnitPrice, UsageEvent
from ingest.price_lines import Line
from tests.ingest.test_price import Usage

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(
    transaction=True, available_apps=["costobs.audit", "ingest", "attribution", "alerts", "costobs.access"]
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ADA, BEN = "ada@example.com", "ben@example.com"
SONNET = ("anthropic", "claude-sonnet-4-5")


def _line(
    model: str = "claude-sonnet-4-5", *, provider: str = "anthropic", start: date = date(2026, 10, 1), **prices: str
) -> Line:
    amounts = {kind: Decimal(text) for kind, text in (prices or {"input": "1"}).items()}
    return Line(provider, model, "standard", start, "USD", {0: amounts})


def _propose(*lines: Line, by: str = ADA, **options: object) -> int:
    return price_changes.propose(kind="price", lines=lines or [_line()], by=by, now=NOW, **options)  # type: ignore[arg-type]


def _close(month: date) -> None:
    ruleset = RulesetVersion.objects.create(created_at=NOW, created_by=ADA, is_current=True)
    PeriodBook.objects.create(month=month, state="closed", ruleset=ruleset, closed_at=NOW, closed_by=ADA)


def _sonnet(october: int = 1_000_000, november: int = 1_000_000) -> Usage:
    """Calls of two months at 3 USD for 1M input tokens."""
    usage = Usage(*SONNET)
    for day, tokens in ((date(2026, 10, 31), october), (date(2026, 11, 1), november)):
        while tokens > 0:
            usage.add(datetime(day.year, day.month, day.day, 5, tzinfo=UTC), input_uncached=min(tokens, 100_000))
            tokens -= 100_000
    return usage


def test_it_says_what_a_price_would_move_and_moves_nothing() -> None:
    usage = _sonnet()
    before = usage.cost()

    found = repricing.preview(change_id=_propose())

    assert [(one.month, one.old_cost, one.new_cost, one.calls) for one in found.effect.lines] == [
        (date(2026, 10, 1), Decimal(3), Decimal(1), 10),
        (date(2026, 11, 1), Decimal(3), Decimal(1), 10),
    ]
    assert found.effect.change() == {"USD": Decimal(-4)}
    assert sum(one.change for one in found.teams) == Decimal(-4)
    assert usage.cost() == before
    assert not UnitPrice.objects.filter(provenance="operator").exists()


def test_it_moves_exactly_what_it_said() -> None:
    usage = _sonnet()
    change = _propose()
    said = repricing.preview(change_id=change).effect
    before = usage.cost()
    repricing.approve(change_id=change, by=BEN, now=NOW)

    moved = repricing.apply(change_id=change, by=ADA, now=NOW)

    assert usage.cost() - before == said.change()["USD"]
    assert (moved.events, moved.hours, len(moved.days)) == (said.calls, said.hours, said.days)
    assert price_changes.listing()[0].state == "applied"


def test_it_keeps_the_prices_of_closed_months_and_says_what_they_would_have_been() -> None:
    usage = _sonnet()
    prices = dict(UsageEvent.objects.filter(occurred_at__lt="2026-11-01T00:00Z").values_list("event_id", "price_id"))
    _close(date(2026, 10, 1))
    change = _propose()

    found = repricing.preview(change_id=change)
    repricing.approve(change_id=change, by=BEN, now=NOW)
    repricing.apply(change_id=change, by=BEN, now=NOW)

    assert [(one.month, one.change) for one in found.effect.closed] == [(date(2026, 10, 1), Decimal(-2))]
    assert found.effect.change() == {"USD": Decimal(-2)}
    assert usage.cost() == Decimal(4)
    after = dict(UsageEvent.objects.filter(occurred_at__lt="2026-11-01T00:00Z").values_list("event_id", "price_id"))
    assert after == prices
    assert not Touched.objects.filter(day__lt=date(2026, 11, 1)).exists()


def test_it_keeps_closed_months_when_a_late_load_meets_a_price_that_has_just_moved() -> None:
    usage = _sonnet()
    (old,) = set(UsageEvent.objects.values_list("price_id", flat=True))
    _close(date(2026, 10, 1))
    change = _propose()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    repricing.apply(change_id=change, by=BEN, now=NOW)
    cost = usage.cost()

    price.settle(price_ids=[old], since=date(2026, 10, 30))

    assert usage.cost() == cost


def test_it_needs_another_person_where_much_would_move() -> None:
    _sonnet()
    change = _propose()

    with pytest.raises(price_changes.NotNow, match="another person has to approve"):
        repricing.apply(change_id=change, by=ADA, now=NOW)
    with pytest.raises(price_changes.NotNow, match="you proposed this change"):
        repricing.approve(change_id=change, by=ADA, now=NOW)

    assert PriceChange.objects.get().state == "proposed"


@pytest.mark.parametrize("herself", ["Ada@Example.com", " ada@example.com ", "\uff41da@example.com"])
def test_it_takes_no_other_spelling_for_another_person(herself: str) -> None:
    _sonnet()
    change = _propose()

    with pytest.raises(price_changes.NotNow, match="you proposed this change"):
        repricing.approve(change_id=change, by=herself, now=NOW)


def test_it_needs_another_person_where_one_model_gains_what_another_loses() -> None:
    usage = _sonnet(october=0, november=100_000_000)
    names = {"model": "claude-haiku-4-5", "request_model": "claude-haiku-4-5", "response_model": "claude-haiku-4-5"}
    usage.offering = Offering.objects.create(provider="anthropic", service_tier="standard", **names)
    for number in range(100):
        usage.add(datetime(2026, 11, 1, 5, number % 60, number // 60, tzinfo=UTC), input_uncached=100_000)
    change = _propose(_line(input="2"), _line("claude-haiku-4-5", input="11"))

    found = repricing.preview(change_id=change)

    assert sorted(one.change for one in found.effect.lines) == [-100, 100]
    assert found.effect.change()["USD"] == 0
    assert found.needs_approval


def test_it_refuses_an_approval_of_what_has_moved_since_it_was_looked_at() -> None:
    usage = _sonnet()
    change = _propose()
    seen = repricing.preview(change_id=change).effect.change()
    usage.add(datetime(2026, 11, 2, 5, tzinfo=UTC), input_uncached=5_000_000)

    with pytest.raises(price_changes.NotNow, match=r"USD was shown, and now .*; look at it again"):
        repricing.approve(change_id=change, by=BEN, now=NOW, seen=seen)
    repricing.approve(change_id=change, by=BEN, now=NOW, seen=repricing.preview(change_id=change).effect.change())

    assert PriceChange.objects.get().state == "approved"


def test_it_lets_the_proposer_apply_what_moves_little(settings: Any) -> None:
    settings.COSTOBS_PRICE_APPROVAL_SHARE = Decimal(1000)
    _sonnet()
    _spent(date(2026, 10, 5), "1")
    _spent(date(2026, 11, 5), "1")
    change = _propose()

    repricing.apply(change_id=change, by=ADA, now=NOW)

    assert PriceChange.objects.get().state == "applied"


def test_it_needs_nobody_for_the_first_price_of_a_model() -> None:
    usage = Usage("self_hosted", "house-blend-7b")
    usage.add(datetime(2026, 11, 10, 5, tzinfo=UTC), input_uncached=1_000_000_000)
    change = _propose(_line("house-blend-7b", provider="self_hosted", input="0.4", output="1.2"))

    repricing.apply(change_id=change, by=ADA, now=NOW)

    assert usage.cost() == Decimal(400)
    assert price.unpriced(days=price.Days(date(2026, 11, 1), date(2026, 12, 1))) == []


def test_it_asks_again_when_usage_arrived_that_moves_much_more() -> None:
    usage = _sonnet()
    change = _propose()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    usage.add(datetime(2026, 11, 2, 5, tzinfo=UTC), input_uncached=190_000)
    usage.add(datetime(2026, 11, 2, 6, tzinfo=UTC), input_uncached=190_000)

    with pytest.raises(price_changes.NotNow, match="has to be approved again"):
        repricing.apply(change_id=change, by=BEN, now=LATER)

    found = PriceChange.objects.get()
    assert (found.state, found.approved_by) == ("proposed", "")
    assert AuditEntry.objects.filter(act="price_change.approval_void").count() == 1
    assert not UnitPrice.objects.filter(provenance="operator").exists()


def test_it_takes_along_usage_that_arrived_while_it_waited() -> None:
    usage = _sonnet()
    change = _propose()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    usage.add(datetime(2026, 11, 2, 5, tzinfo=UTC), input_uncached=100_000)

    repricing.apply(change_id=change, by=BEN, now=LATER)

    assert usage.cost() == Decimal("2.1")


def test_it_restores_what_was_believed_when_it_is_undone() -> None:
    usage = _sonnet()
    price.set_override(
        provider="anthropic",
        model="claude-sonnet-4-5",
        valid_from=date(2026, 11, 1),
        prices={"input": Decimal(2)},
        set_by=BEN,
        now=NOW - timedelta(days=1),
    )
    before = usage.cost()
    change = _propose()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    repricing.apply(change_id=change, by=BEN, now=NOW)

    repricing.undo(change_id=change, by=BEN, now=LATER, reason="a wrong contract")

    assert usage.cost() == before == Decimal(5)
    believed = price_book.current(provider="anthropic")
    assert [(row.valid_from.date(), row.set_by) for row in believed if row.provenance == "operator"] == [
        (date(2026, 11, 1), BEN)
    ]
    assert PriceChange.objects.get().state == "undone"
    then = price_book.believed(at=NOW, model="claude-sonnet-4-5")
    assert [(row.valid_from.date(), row.set_by) for row in then if row.set_by] == [
        (date(2026, 10, 1), ADA),
        (date(2026, 11, 1), BEN),
    ]


def test_it_keeps_closed_months_when_it_is_undone() -> None:
    usage = _sonnet()
    change = _propose()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    repricing.apply(change_id=change, by=BEN, now=NOW)
    _close(date(2026, 10, 1))

    repricing.undo(change_id=change, by=BEN, now=LATER)

    assert usage.cost() == Decimal(1) + Decimal(3)


def test_it_is_not_undone_under_a_later_price() -> None:
    _sonnet()
    first, second = _propose(), _propose(_line(start=date(2026, 11, 1), input="2"))
    for at, change in ((NOW, first), (LATER, second)):
        repricing.approve(change_id=change, by=BEN, now=at)
        repricing.apply(change_id=change, by=BEN, now=at)

    with pytest.raises(price_changes.NotNow, match=f"undo change {second} first"):
        repricing.undo(change_id=first, by=BEN, now=LATER)
    repricing.undo(change_id=second, by=BEN, now=LATER + timedelta(hours=1))
    repricing.undo(change_id=first, by=BEN, now=LATER + timedelta(hours=2))

    assert {row.provenance.split()[0] for row in price_book.current()} == {"genai-prices"}


@pytest.mark.parametrize("state", ["declined", "withdrawn"])
def test_it_never_applies_what_was_turned_down(state: str) -> None:
    change = _propose()
    price_changes.end(change_id=change, state=state, by=BEN, now=NOW, reason="no such contract")

    with pytest.raises(price_changes.NotNow, match=f"this change is {state}"):
        repricing.apply(change_id=change, by=ADA, now=NOW)

    assert AuditEntry.objects.get(act=f"price_change.{state}").reason == "no such contract"


def test_it_ends_each_line_where_the_next_price_begins() -> None:
    usage = _sonnet()
    change = _propose(_line(input="1"), _line(start=date(2026, 11, 1), input="2"))
    said = repricing.preview(change_id=change).effect.change()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    repricing.apply(change_id=change, by=BEN, now=NOW)

    assert usage.cost() == Decimal(3)
    assert said == {"USD": Decimal(-3)}


def test_it_takes_a_discount_off_the_list_and_not_off_a_discount() -> None:
    usage = Usage(*SONNET)
    usage.add(datetime(2026, 11, 10, 1, tzinfo=UTC), input_uncached=150_000)
    usage.add(datetime(2026, 11, 10, 1, tzinfo=UTC), input_uncached=250_000)
    listed = usage.cost()
    for at in (NOW, LATER):
        lines = price_lines.discounted(
            provider="anthropic", model="", percent=Decimal("12.5"), valid_from=date(2026, 11, 1)
        )
        change = price_changes.propose(kind="discount", lines=lines, by=ADA, now=at, percent=Decimal("12.5"))
        repricing.approve(change_id=change, by=BEN, now=at)
        said = repricing.preview(change_id=change).effect.change().get("USD", Decimal(0))
        before = usage.cost()
        repricing.apply(change_id=change, by=BEN, now=at)
        assert usage.cost() - before == said

    assert usage.cost() == listed * Decimal("0.875")
    assert PriceChange.objects.first().title == "12.5 % off the list for anthropic/claude-sonnet-4-5 from 2026-11-01"  # type: ignore[union-attr]


def test_it_shows_a_price_in_another_currency_as_money_that_leaves_one_and_enters_the_other() -> None:
    _sonnet(october=0)
    line = Line(*SONNET, "standard", date(2026, 11, 1), "EUR", {0: {"input": Decimal(2)}})

    found = repricing.preview(change_id=_propose(line))

    assert found.effect.change() == {"EUR": Decimal(2), "USD": Decimal(-3)}
    assert any("more than" in reason for reason in found.reasons)


def test_it_counts_usage_told_twice_once() -> None:
    usage = _sonnet(october=0)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO ingest_usageday (day, source_id, attribute_set_id, offering_id, price_id, requests, errors,
                   refused, unknown_usage, latency_ms, input_uncached, cache_read, cache_write_5m, cache_write_1h, output,
                   reasoning, audio_input, audio_output, image_input, is_current)
               SELECT (hour AT TIME ZONE 'UTC')::date, source_id, attribute_set_id, offering_id, price_id, requests, errors,
                   refused, unknown_usage, latency_ms, input_uncached, cache_read, cache_write_5m, cache_write_1h, output,
                   reasoning, audio_input, audio_output, image_input, FALSE FROM ingest_usagehour"""
        )

    found = repricing.preview(change_id=_propose())

    assert usage.cost() == Decimal(3)
    assert found.effect.change() == {"USD": Decimal(0)}
    assert found.effect.calls == 10


def test_it_proposes_an_update_of_the_list_once_and_prices_nothing_by_itself() -> None:
    usage = _sonnet()
    UnitPrice.objects.update(input_uncached_price=Decimal("0.000001"), provenance="genai-prices 0.0.1 anthropic/old")
    at_old_prices = usage.cost()

    found = [price_changes.propose_list(now=NOW) for _ in range(2)]

    assert found[0] is not None and found[1] is None
    said = repricing.preview(change_id=found[0])
    assert usage.cost() == at_old_prices
    assert said.effect.change() == {"USD": Decimal(4)}
    repricing.approve(change_id=found[0], by=BEN, now=NOW)
    repricing.apply(change_id=found[0], by=BEN, now=NOW)
    assert usage.cost() == Decimal(6)
    repricing.undo(change_id=found[0], by=BEN, now=LATER)
    assert usage.cost() == at_old_prices
    assert price_changes.propose_list(now=LATER) is None


def test_it_proposes_no_update_while_the_list_says_the_same() -> None:
    _sonnet()

    assert price_changes.propose_list(now=NOW) is None


def test_it_reads_a_table_and_names_each_row_it_leaves_out() -> None:
    table = (
        "provider;model;tier;prompt_from;valid_from;currency;input;output\n"
        "openai;gpt-4o;;;2026-11-01;USD;2.5;10\n"
        "anthropic;claude-sonnet-4-5;;0;2026-11-01;;3;15\n"
        "anthropic;claude-sonnet-4-5;;200001;2026-11-01;;6;22.5\n"
        "openai;gpt-4o;;;2026-11-31;USD;2.5;10\n"
        "openai;gpt-4o-mini;;;2026-11-01;USD;cheap;10\n"
        "openai;gpt-4o;;;2026-11-01;USD;3;10\n"
        ";gpt-4o;;;2026-11-01;USD;3;10\n"
        "openai;o3;warp;;2026-11-01;USD;3;10\n"
        "openai;o4;;100;2026-11-01;USD;3;10\n"
    )

    lines, problems = price_lines.read(table, file="prices.csv")

    assert [(one.model, sorted(one.steps)) for one in lines] == [("gpt-4o", [0]), ("claude-sonnet-4-5", [0, 200_001])]
    assert [problem.partition(": ")[0] for problem in problems] == [
        *(f"prices.csv, row {number}" for number in (5, 6, 7, 8, 9)),
        "prices.csv, openai/o4 from 2026-11-01",
    ]
    assert "valid_from: expected a day as YYYY-MM-DD, found '2026-11-31'" in problems[0]
    assert "input: expected a decimal number, found 'cheap'" in problems[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "without provider"),
        ("provider,model,valid_from\n", "without input"),
        ("provider,model,valid_from,input,colour\n", "found colour"),
        ('provider,model,valid_from,input\n"open', "cannot be read as a table"),
    ],
)
def test_it_says_what_a_table_of_prices_is(text: str, words: str) -> None:
    with pytest.raises(price.BadPrice, match=words):
        price_lines.read(text, file="prices.csv")


@pytest.mark.parametrize(
    "line",
    [
        _line(""),
        _line(provider=" "),
        _line(start=date(1, 1, 1)),
        _line(input="-1"),
        _line(input="NaN"),
        _line(output="1"),
        _line(input="1e12"),
        _line(input="1e-999"),
        Line(*SONNET, "standard", date(2026, 11, 1), "dollars", {0: {"input": Decimal(1)}}),
        Line(*SONNET, "warp", date(2026, 11, 1), "USD", {0: {"input": Decimal(1)}}),
        Line(*SONNET, "standard", date(2026, 11, 1), "USD", {9: {"input": Decimal(1)}}),
    ],
)
def test_it_refuses_a_proposal_that_cannot_be(line: Line) -> None:
    with pytest.raises(price.BadPrice):
        _propose(line)

    assert not PriceChange.objects.exists()


def test_it_refuses_two_prices_of_one_model_and_day() -> None:
    with pytest.raises(price.BadPrice, match="there twice"):
        _propose(_line(), _line(input="2"))


def test_it_tells_every_belief_about_a_price() -> None:
    price.resolve([price.Wanted(*SONNET, "standard", date(2026, 11, 10))])
    key = price_book.PriceKey(*SONNET, "standard")
    before = len(price_book.history(key=key))
    change = _propose(_line(start=date(2026, 11, 1)))

    repricing.apply(change_id=change, by=ADA, now=NOW)

    rows = price_book.history(key=key)
    assert len(rows) > before
    assert rows[0].known_from == NOW
    assert {row.change_id for row in rows if row.known_from == NOW} == {change}
    assert [row.set_by for row in price_book.changed(since=NOW - timedelta(days=1)) if row.set_by] == [ADA]
    assert price_book.believed(at=NOW - timedelta(seconds=1), model="claude-sonnet-4-5")[0].provenance != "operator"


@committed
def test_it_is_applied_once_by_two_at_once() -> None:
    _sonnet(october=0)
    change = _propose()
    repricing.approve(change_id=change, by=BEN, now=NOW)
    results: list[str] = []

    def apply() -> None:
        try:
            results.append(f"moved {repricing.apply(change_id=change, by=BEN, now=NOW).events}")
        except price_changes.NotNow as problem:
            results.append(str(problem))
        finally:
            connections.close_all()

    workers = [threading.Thread(target=apply) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert sorted(result.split(";")[0] for result in results) == ["moved 10", "this change is applied"]
    assert UnitPrice.objects.filter(provenance="operator", known_to=None).count() == 1


def test_it_leaves_no_effect_behind() -> None:
    _sonnet(october=0)
    with transaction.atomic():
        price_changes.stage(price_changes.locked(_propose()))
        first = price_diff.read(open_from=None)
        price_changes.stage(price_changes.locked(_propose(_line("gpt-4o", provider="openai"))))
        second = price_diff.read(open_from=None)

    assert (first.calls, second.calls) == (10, 0)


def _spent(day: date, cost: str) -> None:
    """A billed row of the books."""
    from tests.attribution import world

    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO attribution_dailycost (day, source_id, basis, is_current, currency, provider_name, sub_account,
                   service_name, region, invoice_issuer_name, charge_category, attribute_set_id, model, deployment, token_kind,
                   share_kind, method, billed_cost, effective_cost, list_cost, contracted_cost)
               VALUES (%s, %s, 'billed', TRUE, 'USD', 'OpenAI', '', '', '', '', 'Usage', %s, '', '', '', 'direct', 'charge',
                   %s, %s, %s, %s)""",
            [day, world.source().pk, world.attribute_set(world.source()), *[Decimal(cost)] * 4],
        )
