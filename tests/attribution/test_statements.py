"""Statements: what is charged, in which state, under which name, and what every line is made of."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from attribution import issue, own, printing, queries, terms
from attribution.models import DailyCost, ExchangeRate, Markup, PeriodBook, RulesetVersion, Team
from attribution.queries.statements import Statement, StatementLine
from costobs.audit.models import AuditEntry
from costobs.kernel.period import month
from costobs.kernel.scope import SpendScope
from ingest.models import Delivery
from tests.attribution import world

MONTH = world.DAY.replace(day=1)
BY, NOW = "ada@example.com", world.NOW
ZERO = Decimal(0)

pytestmark = pytest.mark.django_db


def scope(teams: tuple[str, ...] | None = None, currency: str = "USD") -> SpendScope:
    return SpendScope(month(world.DAY), (), "effective", currency, teams)


def teams() -> None:
    Team.objects.create(name="search", title="Search", cost_centre="4410")
    Team.objects.create(name="growth", title="Growth", cost_centre="4420")


def statement(teams: tuple[str, ...] | None = None) -> queries.Statement:
    return queries.statement(scope=scope(teams))


def by_team(found: queries.Statement) -> dict[str, StatementLine]:
    return {line.team: line for line in found.lines}


def close(*, version: int = 1, rates: dict[str, dict[str, str]] | None = None) -> None:
    PeriodBook.objects.update_or_create(
        month=MONTH,
        defaults={
            "state": "closed",
            "version": version,
            "ruleset": RulesetVersion.objects.get(is_current=True),
            "closed_by": BY,
            "closed_at": datetime(2026, 4, 3, 9, tzinfo=UTC),
            "exchange_rates": rates or {},
        },
    )


def rate(currency: str, value: str, day: date = MONTH, *, base: str = "EUR", ended: bool = False) -> None:
    ExchangeRate.objects.create(
        base=base,
        currency=currency,
        day=day,
        rate=Decimal(value),
        publisher="ECB",
        known_from=NOW,
        known_to=NOW if ended else None,
        set_by=BY,
    )


def markup(percent: str = "5", centre: str = "", first: date = MONTH) -> int:
    return terms.add_markup(
        cost_centre=centre, percent=percent, label="Platform fee", first_month=first, by=BY, now=NOW
    )


@pytest.fixture
def books(db: None) -> None:
    """Two teams, tax, a credit, and spend of nobody."""
    teams()
    bill = world.source()
    world.charge(bill, "100.333333333333", attributes={"team": "search"})
    world.charge(bill, "20", attributes={"team": "search"}, charge_category="Tax")
    world.charge(bill, "-3.005", attributes={"team": "growth"}, charge_category="Credit")
    world.charge(bill, "50.111", attributes={"team": "growth"})
    world.charge(bill, "7")
    world.settle()


def test_it_has_tax_in_a_column_of_its_own_and_adds_to_the_books(books: None) -> None:
    found = statement()

    line = by_team(found)["search"]
    assert (line.direct_cost, line.tax_cost, line.total_cost) == (
        Decimal("100.333333333333"),
        Decimal(20),
        Decimal("120.333333333333"),
    )
    for one in found.lines:
        assert sum(printing.exact_parts(one).values()) == one.total_cost
    assert found.total_cost == queries.total(scope=scope()).cost


def test_it_counts_taxes_that_correct_something_as_adjustments(books: None) -> None:
    world.charge(world.source(), "1", attributes={"team": "search"}, charge_category="Tax", charge_class="Correction")
    world.settle()

    line = by_team(statement())["search"]

    assert (line.tax_cost, line.adjustment_cost) == (20, 1)


def test_it_puts_a_markup_beside_the_costs_and_never_into_them(books: None) -> None:
    before = statement()
    markup("7.25")
    after = statement()

    line = by_team(after)["search"]
    assert line.markup_cost == Decimal("100.333333333333") * Decimal("0.0725")
    assert after.total_cost == before.total_cost
    assert line.charged_cost == line.total_cost + line.markup_cost
    assert by_team(after)[""].markup is None


def test_it_prefers_the_markup_of_the_cost_centre(books: None) -> None:
    markup("5")
    markup("10", "4420")

    found = by_team(statement())

    assert found["search"].markup is not None and found["search"].markup.percent == 5
    assert found["growth"].markup is not None and found["growth"].markup.percent == 10


def test_it_keeps_the_history_of_markups_and_ends_the_one_it_follows(books: None) -> None:
    markup("5", first=date(2026, 1, 1))
    markup("6", first=date(2026, 3, 1))

    assert [(one.percent, one.end_month) for one in terms.markups()] == [(6, None), (5, date(2026, 3, 1))]
    line = by_team(statement())["search"]
    assert line.markup is not None and line.markup.percent == 6
    assert [entry.act for entry in AuditEntry.objects.order_by("pk")] == ["chargeback.markup_set"] * 2


def test_it_ends_a_markup_and_takes_one_back_that_never_held(books: None) -> None:
    number = markup("5", first=date(2026, 5, 1))

    assert terms.end_markup(markup_id=number, end_month=date(2026, 4, 1), by=BY, now=NOW)
    (one,) = terms.markups()
    assert one.never_held
    assert not terms.end_markup(markup_id=number, end_month=date(2026, 6, 1), by=BY, now=NOW)


@pytest.mark.parametrize("percent", ["", "five", "NaN", "0", "101", "1.1234567", "1E-9"])
def test_it_refuses_a_markup_that_is_none(percent: str, books: None) -> None:
    with pytest.raises(terms.Invalid) as problem:
        markup(percent)

    assert "percent" in problem.value.errors
    assert not Markup.objects.exists()


def test_it_leaves_closed_months_their_terms(books: None) -> None:
    number = markup("5")
    close()

    with pytest.raises(terms.Invalid, match="closed"):
        markup("6")
    with pytest.raises(terms.Invalid, match="closed"):
        terms.end_markup(markup_id=number, end_month=MONTH, by=BY, now=NOW)
    assert terms.end_markup(markup_id=number, end_month=date(2026, 4, 1), by=BY, now=NOW)
    line = by_team(statement())["search"]
    assert line.markup is not None and line.markup.percent == 5


def test_it_holds_one_markup_a_month_in_the_database(books: None) -> None:
    markup("5")

    with pytest.raises(IntegrityError), transaction.atomic():
        Markup.objects.create(cost_centre="", percent=6, label="x", first_month=date(2026, 7, 1), set_by=BY, set_at=NOW)


def test_it_is_showback_until_the_month_is_closed(books: None) -> None:
    open_ = issue.document(scope=scope())
    PeriodBook.objects.create(month=MONTH, state="reviewed")
    reviewed = issue.document(scope=scope())
    close(version=2)
    closed = issue.document(scope=scope())

    assert (open_.kind, open_.id) == ("showback", "2026-03/USD/effective/showback")
    assert (reviewed.kind, reviewed.statement.state) == ("showback", "reviewed")
    assert (closed.kind, closed.id) == ("chargeback", "2026-03/USD/effective/v2")
    assert "a report only" in reviewed.meaning
    assert "closed on 3 Apr 2026" in closed.meaning
    assert len({open_.sha256, reviewed.sha256, closed.sha256}) == 3


@pytest.fixture
def euros(books: None) -> None:
    bill = world.source(name="euros")
    columns = {"service_provider_name": "OVHcloud", "service_name": "Instances"}
    world.charge(bill, "10", attributes={"team": "search"}, billing_currency="EUR", **columns)
    world.charge(bill, "2", attributes={"team": "search"}, billing_currency="EUR", charge_category="Tax", **columns)
    world.charge(bill, "300", attributes={"team": "sales"}, billing_currency="JPY", **columns)
    world.settle()


def test_it_lists_what_has_no_rate_and_counts_it_nowhere(euros: None) -> None:
    found = statement()

    assert {(one.currency, one.cost, one.converted_cost) for one in found.conversions} == {
        ("EUR", Decimal(12), None),
        ("JPY", Decimal(300), None),
    }
    assert found.charged_cost == found.total_cost == queries.total(scope=scope()).cost


def test_it_converts_at_the_last_rate_before_the_day(euros: None) -> None:
    rate("USD", "1.10", date(2026, 3, 6))
    rate("USD", "1.25", date(2026, 3, 9))
    rate("USD", "9", date(2026, 3, 11))
    markup("10")

    found = statement()

    line = by_team(found)["search"]
    assert line.converted_cost == Decimal("15.00")
    assert line.markup_cost == (Decimal("100.333333333333") + Decimal("12.5")) / 10
    (one,) = [one for one in found.conversions if one.currency == "EUR"]
    assert (one.rates, one.lowest_rate, one.highest_rate) == ("ECB, 9 Mar 2026", Decimal("1.25"), Decimal("1.25"))


def test_it_crosses_two_currencies_through_the_base_rounded_once(euros: None) -> None:
    rate("USD", "1.10", date(2026, 3, 9))
    rate("JPY", "163.7", date(2026, 3, 9))

    (one,) = [one for one in statement().conversions if one.currency == "JPY"]

    assert one.highest_rate == (Decimal("1.10") / Decimal("163.7")).quantize(Decimal("1E-12"))
    assert one.converted_cost == 300 * one.highest_rate
    assert by_team(statement())["sales"].total_cost == 0


def test_it_believes_no_rate_that_was_taken_back_or_is_long_gone(euros: None) -> None:
    rate("USD", "1.10", date(2026, 3, 9), ended=True)
    rate("USD", "1.10", date(2026, 1, 9))

    assert all(one.converted_cost is None for one in statement().conversions)


def test_it_takes_the_rates_a_month_was_closed_with(euros: None) -> None:
    rate("USD", "9", date(2026, 3, 9))
    close(rates={"EUR": {"2026-03-10": "1.5"}})

    line = by_team(statement())["search"]

    assert line.converted_cost == 18
    assert [one.converted_cost for one in statement().conversions if one.currency == "JPY"] == [None]


def test_it_prints_what_is_charged_to_the_cent_along_rows_and_columns(euros: None) -> None:
    rate("USD", "1.0987654321", date(2026, 3, 9))
    markup("3.333333")

    found = statement()
    sheet = printing.printed(found)

    assert sheet.total.charged == found.charged_cost.quantize(Decimal("0.01"))
    for name in ("total", "converted", "markup", "charged"):
        assert sum(getattr(row, name) for row in sheet.rows) == getattr(sheet.total, name)
    for line, row in zip(found.lines, sheet.rows, strict=True):
        assert sum(row.parts.values()) == sum(row.ties.values()) == row.total
        assert abs(row.markup - line.markup_cost) < Decimal("0.01")


def test_it_prints_a_cost_centre_as_its_rows_in_the_whole_statement() -> None:
    thirds = tuple(
        StatementLine(f"{at}", "t", Decimal("0.335"), ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, Decimal("0.335"), ZERO, ZERO)
        for at in range(5)
    )
    found = Statement(MONTH, "USD", "effective", True, thirds, ())
    sheet = printing.printed(found)

    own = [printing.cut(found, sheet, cost_centre=f"{at}")[1].total.charged for at in range(5)]

    assert sum(own) == sheet.total.charged == Decimal("1.68")


@pytest.mark.parametrize("name", ["4410", "", "-", "R&D / Labs", "..", "Zürich", "@all", "a,b", "~41", "v1", "日本"])
def test_it_writes_any_name_as_one_piece_of_an_address(name: str) -> None:
    text = printing.slug(name)

    assert printing.unslug(text) == name
    assert "/" not in text and text.isascii() and text not in {"", ".", ".."}


def test_it_finds_a_statement_by_its_id_and_says_what_is_in_force(books: None) -> None:
    close()

    shown, _ = issue.by_id(issue.parse("2026-03/USD/effective/4410/v1"), teams=None)

    assert [line.team for line in shown.statement.lines] == ["search"]
    assert shown.id == "2026-03/USD/effective/4410/v1"
    for wrong in ("2026-03/USD/effective/4410/v2", "2026-03/USD/effective/showback", "2026-03/USD/effective/9/v1"):
        with pytest.raises(issue.NoStatement):
            issue.by_id(issue.parse(wrong), teams=None)


@pytest.mark.parametrize(
    "text", ["", "2026-13/USD/effective/v1", "2026-03/USD/list/v1", "2026-03/USD/effective/v0", "a/b/c/d/e/f/g"]
)
def test_it_says_what_an_id_looks_like(text: str) -> None:
    with pytest.raises(issue.NoStatement, match="2026-10/USD"):
        issue.parse(text)


def test_it_shows_a_lead_the_own_lines_of_any_statement(books: None) -> None:
    ben = issue.document(scope=scope(("search",)))
    other, _ = issue.by_id(issue.parse("2026-03/USD/effective/@growth,search/showback"), teams=("search",))

    assert {line.team for line in ben.statement.lines} == {"search"}
    assert ben.statement.reconciliation == ()
    assert ben.id == other.id == "2026-03/USD/effective/@search/showback"
    with pytest.raises(issue.NoStatement):
        issue.by_id(issue.parse("2026-03/USD/effective/@growth/showback"), teams=("search",))
    with pytest.raises(issue.NoStatement):
        issue.by_id(issue.parse("2026-03/USD/effective/showback"), teams=())


def detail(cost_centre: str, teams_: tuple[str, ...] | None = None) -> SpendScope:
    return scope(teams_).where("cost_centre", cost_centre)


def test_it_shows_the_rows_behind_every_line(books: None) -> None:
    log = world.source("usage_log", "calls")
    world.usage(log, attributes={"team": "search"}, input_uncached=7)
    world.settle()

    for centre in ("4410", "4420", ""):
        asked = detail(centre)
        lines = queries.statement_detail(scope=asked)
        whole = sum((line.total_cost for line in lines), ZERO)
        kinds = [queries.counted(scope=asked, kind=kind) for kind in ("charges", "parts", "books")]
        assert whole == sum((one.effective_cost for one in kinds), ZERO) != 0
        for line in lines:
            assert sum(printing.exact_parts(line).values()) == line.total_cost  # type: ignore[arg-type]  # has the same parts
            narrowed = asked
            for name in ("team", "feature", "model", "service_name"):
                narrowed = narrowed.where(name, getattr(line, name))
            behind = [queries.counted(scope=narrowed, kind=kind) for kind in ("charges", "parts", "books")]
            assert sum((one.effective_cost for one in behind), ZERO) == line.total_cost


def test_it_names_the_file_row_period_and_resource_of_a_charge(books: None) -> None:
    world.charge(world.source(), "4", attributes={"team": "search"}, resource_id="i-42", charge_description="m7i hours")
    world.settle()

    found = queries.statement_rows(scope=detail("4410"), kind="charges", limit=10)

    (one,) = [row for row in found if row.resource_id == "i-42"]  # type: ignore[union-attr]  # charges have one
    assert (one.source, one.charge_description, one.team, one.effective_cost) == ("bill", "m7i hours", "search", 4)  # type: ignore[union-attr]
    assert one.row_number > 0 and one.charge_period_start == world.at()  # type: ignore[union-attr]


def test_it_turns_pages_without_losing_a_row(books: None) -> None:
    for number in range(7):
        world.charge(world.source(), str(number + 1), attributes={"team": "growth"})
    world.settle()
    asked = detail("4420")

    pieces = [queries.statement_rows(scope=asked, kind="charges", limit=3, offset=at) for at in (0, 3, 6, 9)]

    assert [row for piece in pieces for row in piece] == list(queries.every_row(scope=asked, kind="charges"))
    assert queries.counted(scope=asked, kind="charges").rows == 9


def test_it_shows_nobody_rows_of_others(books: None) -> None:
    for kind in ("charges", "parts", "books"):
        assert queries.counted(scope=detail("4420", ("search",)), kind=kind).rows == 0
        assert queries.counted(scope=detail("4410", ()), kind=kind).rows == 0


@pytest.fixture
def split(db: None) -> None:
    """A charge that a rule splits over two teams."""
    teams()
    draft = own.RuleDraft(
        "fixed_split",
        "Network by contract",
        {"select": {"service_name": ["Network"]}, "shares": {"search": "75", "growth": "25"}},
    )
    own.reattribute(drafts=[draft, *own.DEFAULT_RULES], now=NOW, by=BY)
    world.charge(world.source(), "40", service_name="Network")
    world.charge(world.source(), "1", attributes={"team": "search"})
    world.settle()


def test_it_names_pool_method_rule_and_weight_of_a_part(split: None) -> None:
    (one,) = queries.statement_rows(scope=detail("4410"), kind="parts", limit=10)

    assert isinstance(one, queries.PartRow)
    assert (one.method, one.rule, one.team, one.weight) == ("fixed_split", "Network by contract", "search", 75)
    assert (one.effective_cost, one.pool_effective_cost, one.pool_charges) == (30, 40, 1)
    assert one.ruleset_version == RulesetVersion.objects.get(is_current=True).pk
    assert queries.counted(scope=detail("4410"), kind="charges").effective_cost == 1


def test_it_shows_a_lead_the_own_part_of_a_shared_pool_and_not_the_pool(split: None) -> None:
    (one,) = queries.statement_rows(scope=detail("4420", ("growth",)), kind="parts", limit=10)

    assert isinstance(one, queries.PartRow)
    assert (one.effective_cost, one.pool_effective_cost, one.pool_charges) == (10, None, None)
    assert queries.counted(scope=detail("4410", ("growth",)), kind="parts").rows == 0


def test_it_books_what_changes_after_a_close_as_adjustments(books: None) -> None:
    row = DailyCost.objects.filter(charge_category="Usage", is_current=True).order_by("-effective_cost").first()
    assert row is not None
    DailyCost.objects.filter(pk=row.pk).update(origin_day=date(2026, 2, 3), method="adjustment")

    line = by_team(statement())["search"]

    assert (line.direct_cost, line.adjustment_cost) == (0, Decimal("100.333333333333"))
    (one,) = queries.statement_rows(scope=detail("4410"), kind="books", limit=10)
    assert isinstance(one, queries.BookRow)
    assert one.origin_day == date(2026, 2, 3)


def test_it_holds_a_closed_month_against_the_deliveries_it_was_closed_with(books: None) -> None:
    before = issue.document(scope=scope())
    close()
    PeriodBook.objects.update(deliveries=list(Delivery.objects.values_list("pk", flat=True)))
    closed = issue.document(scope=scope())
    rows = queries.counted(scope=detail("4410"), kind="charges").rows

    Delivery.objects.update(state="replaced")

    assert issue.document(scope=scope()).sha256 == closed.sha256
    assert closed.statement.reconciliation == before.statement.reconciliation != ()
    assert queries.counted(scope=detail("4410"), kind="charges").rows == rows > 0
