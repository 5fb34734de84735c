"""A statement of a closed month made later is the one that was made when it closed, byte for byte and in every form."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest

from attribution import close, issue, own, queries, terms, verify
from attribution.exports import KINDS
from attribution.models import ExchangeRate, Team
from attribution.own import RuleDraft
from attribution.queries import as_of
from costobs.kernel import money
from costobs.kernel.period import add_months
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope
from ingest.models import Source
from tests.attribution import world

pytestmark = pytest.mark.django_db

MONTH = world.DAY.replace(day=1)
NEXT = add_months(MONTH, 1)
NOW = world.at(12, day=NEXT + timedelta(days=3))

SPLIT = RuleDraft(
    "proportional", "Support by direct cost", {"select": {"service_name": ["Support"]}, "basis": "direct_cost"}
)


def scope(currency: str = "USD", month: date = MONTH, **more: object) -> SpendScope:
    return SpendScope(month_of(month), (), "effective", currency, **{"teams": None, **more})  # type: ignore[arg-type]


@pytest.fixture
def bill(monkeypatch: pytest.MonkeyPatch) -> Source:
    """March with direct, shared and foreign spend of two teams, reviewed and about to close."""
    monkeypatch.setattr(world, "NOW", NOW - timedelta(minutes=2))
    own.reattribute(drafts=[SPLIT, *own.DEFAULT_RULES], now=NOW, by="ada")
    found = world.source()
    put(found, complete_through=world.at(day=NEXT))
    world.settle()
    Source.objects.filter(pk=found.pk).update(complete_through=world.at(day=NEXT))
    Team.objects.filter(name="a").update(cost_centre="4410", title="Team A")
    Team.objects.filter(name="b").update(cost_centre="4420", title="Team B")
    ExchangeRate.objects.create(
        base="EUR", currency="USD", day=world.DAY, rate=Decimal("1.1"), publisher="ECB", known_from=NOW, set_by="ada"
    )
    terms.set_company(company="Quillfern", by="ada", now=NOW)
    terms.add_markup(cost_centre="4410", percent="5", label="Platform fee", first_month=MONTH, by="ada", now=NOW)
    return found


def put(bill: Source, *, factor: int = 1, **columns: object) -> None:
    for team, cost in (("a", "30.005"), ("b", "10.3333")):
        world.charge(bill, Decimal(cost) * factor, attributes={"team": team}, **columns)
    world.charge(bill, Decimal("7.77") * factor, service_name="Support", **columns)
    world.charge(bill, Decimal("20.5") * factor, attributes={"team": "a"}, billing_currency="EUR", **columns)


def close_it(month: date = MONTH) -> close.Book:
    close.review(month=month, by="ada", now=NOW)
    waive = {line.key: "known" for line in close.status(month=month, now=NOW).open_lines if line.may_be_waived}
    return close.close(month=month, by="ada", now=NOW, waive=waive)


def after(bill: Source) -> None:
    """Everything that may happen after a close, within the same hour."""
    world.NOW = NOW + timedelta(minutes=7)  # the fixture puts it back
    world.charge(bill, "4", attributes={"team": "b"}, complete_through=world.at(1, day=NEXT))
    world.charge(bill, "9", service_name="Support", complete_through=world.at(1, day=NEXT))
    drafts = [RuleDraft("even_split", "Support", {"select": {"service_name": ["Support"]}, "teams": ["b", "c"]})]
    moved = RuleDraft("match", "All to c", {"when": {"team": ["a"]}, "set": {"team": "c"}})
    own.reattribute(drafts=[moved, *drafts, *own.DEFAULT_RULES], now=NOW, by="ada")
    Team.objects.update(cost_centre="9999", title="Renamed")
    ExchangeRate.objects.update(rate=Decimal("2"))
    terms.set_company(company="Another name", by="ada", now=NOW)
    terms.set_journal(layout={"columns": [["Account", "account"], ["Amount", "amount"]]}, by="ada", now=NOW)
    world.settle()


def files(kinds: list[str], currency: str = "USD") -> list[tuple[str, bytes]]:
    made = [
        issue.files(scope=scope(currency), cost_centre=centre, kinds=kinds) for centre in (None, "4410", "4420", "")
    ]
    return [(file.name, file.content) for some in made for file in some]


def test_it_makes_the_same_files_of_a_closed_month_whatever_came_since(bill: Source) -> None:
    close_it()
    kinds = sorted(KINDS.names())
    before = files(kinds), files(["json", "csv"], "EUR")
    rules = queries.rules_in_force(month=MONTH)

    after(bill)

    assert (files(kinds), files(["json", "csv"], "EUR")) == before
    assert b"Another name" not in b"".join(content for _, content in before[0])
    assert queries.rules_in_force(month=MONTH) == rules
    assert queries.rules_in_force(month=NEXT) == queries.rules_in_force() != rules
    assert queries.terms().company == "Another name"
    assert verify.run().failures == ()


def test_it_lets_go_of_what_it_kept_when_it_opens_again(bill: Source) -> None:
    close_it()
    after(bill)

    close.ask_reopen(month=MONTH, reason="wrong", by="ada", now=NOW)
    close.agree_reopen(month=MONTH, by="eve", now=NOW)
    world.settle()

    assert queries.terms(month=MONTH).company == "Another name"
    assert queries.rules_in_force(month=MONTH) == queries.rules_in_force()
    assert verify.run().failures == ()


@pytest.mark.parametrize("month", [MONTH, NEXT])
@pytest.mark.parametrize("act", ["nothing", "close", "close and late"])
def test_it_has_one_total_for_one_scope_on_every_face(bill: Source, month: date, act: str) -> None:
    world.charge(bill, "3.21", attributes={"team": "b"}, starts=world.at(day=NEXT + timedelta(days=1)))
    world.settle()
    acts: dict[str, Callable[[], object]] = {"nothing": list, "close": close_it}
    acts["close and late"] = lambda: (close_it(), after(bill))
    acts[act]()

    for currency in ("USD", "EUR"):
        whole = queries.total(scope=scope(currency, month)).cost
        grouped = queries.spend(scope=scope(currency, month), group_by=["team", "cost_centre", "share_kind"])
        statement = queries.statement(scope=scope(currency, month))
        found = {
            "by group": money.total(row.cost for row in grouped),
            "by day": money.total(row.cost for row in queries.spend_by_day(scope=scope(currency, month))),
            "statement": statement.total_cost,
            "detail": money.total(row.total_cost for row in queries.statement_detail(scope=scope(currency, month))),
            "FOCUS": money.total(row.effective_cost for row in queries.focus_rows(scope=scope(currency, month))),
            "known": money.total(
                row.then
                for row in as_of.then_and_now(
                    scope=scope(currency, month), known_at=NOW + timedelta(days=1), group_by="team"
                )
            ),
        }
        assert found == dict.fromkeys(found, whole)


def test_it_knows_exactly_what_was_known_when_a_month_closed(bill: Source) -> None:
    expected = {row.keys: row.cost for row in queries.spend(scope=scope(), group_by=["team"]) if row.cost}
    book = close_it()

    after(bill)

    assert book.closed_at is not None
    then = queries.spend_as_of(scope=scope(), known_at=book.closed_at, group_by=["team"])
    assert {row.keys: row.cost for row in then} == expected
    (late,) = {
        one.change for one in queries.then_and_now(scope=scope(month=NEXT), known_at=book.closed_at, group_by="day")
    }
    assert late == sum((one.change for one in queries.restatement(scope=scope())), Decimal(0)) == Decimal(13)


def test_it_leaves_the_statement_of_an_empty_month_empty_once_a_later_one_has_closed(bill: Source) -> None:
    close_it()
    empty = add_months(MONTH, -1)
    before = [one.content for one in issue.files(scope=scope(month=empty), cost_centre=None, kinds=["json", "focus"])]

    late = world.at(day=empty + timedelta(days=3))
    world.charge(bill, "4", attributes={"team": "b"}, starts=late, complete_through=world.at(1, day=NEXT))
    world.settle()

    after_all = [
        one.content for one in issue.files(scope=scope(month=empty), cost_centre=None, kinds=["json", "focus"])
    ]
    assert after_all == before
    assert queries.statement(scope=scope(month=empty)).reconciliation == ()
    assert queries.adjusted_by_day(scope=scope(month=NEXT)) == {NEXT: Decimal(4)}
    assert verify.run().failures == ()
