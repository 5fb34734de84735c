"""Exchange rates: read from files as banks publish them, corrected without forgetting, used with the rate of the day."""

import io
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from attribution import rate_files, rates
from attribution.models import ExchangeRate, RateFeed
from costobs.audit.models import AuditEntry
from costobs.kernel import http
from tests.attribution import world

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 27, 16, tzinfo=UTC)
ADA = "ada@example.com"
# As the European Central Bank writes them: a column for each currency, N/A where none was fixed, a comma at the end.
WIDE = "Date,USD,JPY,BGN,\n2026-11-27,1.25,160.5,N/A,\n2026-11-26,1.2,160,1.9558,\n"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01"
    xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref"><gesmes:subject>Reference rates</gesmes:subject>
<Cube><Cube time="2026-11-27"><Cube currency="USD" rate="1.25"/><Cube currency="JPY" rate="160.5"/></Cube>
<Cube time="2026-11-26"><Cube currency="USD" rate="1.2"/></Cube></Cube></gesmes:Envelope>"""
LONG = "date,currency,rate,base\n2026-11-27,USD,1.25,\n27 November 2026,GBP,0.85,EUR\n2026-11-27,EUR,1,\n"


def _load(text: str | bytes, *, name: str = "rates.csv", base: str = "EUR", now: datetime = NOW) -> rates.Loaded:
    content = text.encode() if isinstance(text, str) else text
    return rates.load(content=content, name=name, base=base, publisher="ECB", by=ADA, now=now)


def _zipped(text: str, *names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("eurofxref-hist.csv",):
            archive.writestr(name, text)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "added"), [(WIDE, 5), (XML, 3), (_zipped(WIDE), 5), (_zipped(XML, "eurofxref-hist.xml"), 3), (LONG, 2)]
)
def test_it_reads_every_form_a_bank_publishes(content: str | bytes, added: int) -> None:
    found = _load(content)

    assert (found.added, found.corrected, found.left_out) == (added, 0, 0)
    assert rates.rate(currency="EUR", into="USD", day=date(2026, 11, 27)).value == Decimal("1.25")


def test_it_changes_nothing_when_a_file_comes_twice() -> None:
    _load(WIDE)
    found = _load(WIDE, now=NOW + timedelta(days=1))

    assert (found.added, found.corrected, found.known) == (0, 0, 5)
    assert ExchangeRate.objects.count() == 5
    assert AuditEntry.objects.filter(act="rates.loaded").count() == 1


def test_it_keeps_what_was_believed_before_a_correction() -> None:
    _load(WIDE)
    later = NOW + timedelta(days=1)
    found = _load("date,currency,rate\n2026-11-27,USD,1.3\n", now=later)

    assert (found.added, found.corrected) == (0, 1)
    day = date(2026, 11, 27)
    assert rates.rate(currency="EUR", into="USD", day=day).value == Decimal("1.3")
    assert rates.rate(currency="EUR", into="USD", day=day, known_at=NOW).value == Decimal("1.25")
    ((old, new),) = rates.corrections()
    assert (old.rate, old.known_to, new and new.rate) == (Decimal("1.25"), later, Decimal("1.3"))


@pytest.mark.parametrize(
    ("currency", "into", "value"),
    [
        ("EUR", "USD", "1.250000000000"),
        ("USD", "EUR", "0.800000000000"),
        ("JPY", "USD", "0.007788161994"),
        ("USD", "JPY", "128.400000000000"),
        ("USD", "USD", "1"),
    ],
)
def test_it_crosses_by_the_base_and_rounds_once(currency: str, into: str, value: str) -> None:
    _load(WIDE)

    assert rates.rate(currency=currency, into=into, day=date(2026, 11, 27)).value == Decimal(value)


def test_it_converts_exactly_and_leaves_an_own_currency_alone() -> None:
    _load(WIDE)
    amount = Decimal("10.123456789012345678901")

    assert rates.convert(amount, currency="USD", into="USD", day=date(2026, 11, 27)) == amount
    assert rates.convert(amount, currency="USD", into="EUR", day=date(2026, 11, 27)) == Decimal("8.098765431210")


@pytest.mark.parametrize(
    ("day", "value"), [(date(2026, 11, 28), "1.25"), (date(2026, 12, 4), "1.25"), (date(2026, 12, 5), None)]
)
def test_it_looks_back_a_week_and_no_further(day: date, value: str | None) -> None:
    _load(WIDE)

    if value is None:
        with pytest.raises(rates.MissingRate, match="EUR into USD for 2026-12-05 or one of the 7 days before"):
            rates.rate(currency="EUR", into="USD", day=day)
        return
    found = rates.rate(currency="EUR", into="USD", day=day)
    assert (found.value, found.day, found.publisher) == (Decimal(value), date(2026, 11, 27), "ECB")


def test_it_crosses_only_rates_of_one_day() -> None:
    _load("Date,USD,BGN\n2026-11-27,1.25,\n2026-11-26,1.2,2\n")

    found = rates.rate(currency="BGN", into="USD", day=date(2026, 11, 27))

    assert (found.value, found.day) == (Decimal("0.6"), date(2026, 11, 26))


def test_it_names_the_rate_that_is_missing() -> None:
    with pytest.raises(rates.MissingRate, match="BRL into USD for 2026-11-27"):
        rates.convert(Decimal(1), currency="BRL", into="USD", day=date(2026, 11, 27))

    assert rates.daily(currencies=["BRL"], into="USD", days=[date(2026, 11, 27)]) == {"BRL": {}}


def test_it_names_each_bad_row_and_loses_no_other() -> None:
    found = _load(
        "date,currency,rate\n2026-11-27,USD,1.25\n2026-11-27,dollar,1\n2026-11-31,USD,1\n2026-11-26,USD,0\n"
        "2026-11-25,USD,1e999999999\n2026-11-24,USD,NaN\n2026-11-27,USD,1.26\n2026-11-23,USD\n2026-11-22,EUR,2\n"
        f"2026-11-21,USD,1.{'0' * 40}1\n2026-11-20,USD,1.1\n"
    )

    assert (found.added, found.left_out) == (2, 9)
    assert [one.partition(", ")[2].partition(":")[0] for one in found.problems] == [
        "row 3, currency",
        "row 4, date",
        "row 5, rate",
        "row 6, rate",
        "row 7, rate",
        "row 8, rate",
        "row 9, rate",
        "row 10, rate",
        "row 11, rate",
    ]
    assert "row 2 says 1.25 for USD on 2026-11-27, found '1.26'" in found.problems[5]
    assert all(one.startswith("rates.csv, ") for one in found.problems)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected the columns|found an empty file"),
        (b"hello", "expected the columns"),
        (b"\xff\xfe", "UTF-8"),
        (b"Date,USD\n", "found none"),
        (b"PK\x03\x04 no zip", "zip"),
        (_zipped("x", "a.txt"), "one CSV or XML file, found 0"),
        (_zipped(WIDE, "a.csv", "b.csv"), "found 2"),
        (b"<Cube>", "cannot be read as XML"),
        (b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><Cube/>", "document type"),
        (b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><Cube>&b;</Cube>", "document type"),
    ],
)
def test_it_refuses_what_is_no_file_of_rates(content: bytes, words: str) -> None:
    with pytest.raises(rates.BadFile, match=words):
        _load(content)

    assert not ExchangeRate.objects.exists()


def test_it_refuses_a_zip_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribution.rate_files.MOST_BYTES", 1_000)

    with pytest.raises(rates.BadFile, match="expected at most 1,000 bytes inside"):
        _load(_zipped("0" * 100_000))


def test_it_says_which_currencies_of_the_books_have_no_rate() -> None:
    bill = world.source()
    for currency in ("USD", "EUR", "BRL"):
        world.charge(bill, "1", billing_currency=currency, starts=world.at(day=date(2026, 11, 27)))
    world.charge(bill, "1", billing_currency="EUR", starts=world.at(day=date(2026, 10, 1)))
    world.settle()
    _load(WIDE)

    found = rates.coverage(into="USD")

    assert [(one.currency, one.days, one.missing, one.first_missing) for one in found] == [
        ("BRL", 1, 1, date(2026, 11, 27)),
        ("EUR", 2, 1, date(2026, 10, 1)),
    ]


class _Bank(BaseHTTPRequestHandler):
    answer = (200, XML.encode())
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bank on this machine, which may be called for once."""
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    _Bank.answer, _Bank.asked = (200, XML.encode()), 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bank)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hist.xml"
    server.shutdown()
    server.server_close()


def test_it_fetches_nothing_before_somebody_switches_it_on(bank: str) -> None:
    assert rates.fetch_due(now=NOW) is None
    rates.set_feed(url=bank, base="EUR", is_active=False, by=ADA, now=NOW)
    assert rates.fetch_due(now=NOW) is None

    assert _Bank.asked == 0


def test_it_fetches_once_a_day(bank: str) -> None:
    rates.set_feed(url=bank, base="EUR", is_active=True, by=ADA, now=NOW)

    found = [rates.fetch_due(now=NOW + timedelta(hours=hours)) for hours in (0, 1, 19, 21)]

    assert [one and (one.added, one.known) for one in found] == [(3, 0), None, None, (0, 3)]
    assert _Bank.asked == 2
    assert rates.lines(now=NOW)[1].publisher == "127.0.0.1"


def test_it_says_what_failed_and_tries_again_within_the_hour(bank: str) -> None:
    rates.set_feed(url=bank, base="EUR", is_active=True, by=ADA, now=NOW)
    _Bank.answer = (503, b"")

    assert rates.fetch_due(now=NOW) is None
    held = RateFeed.objects.get()
    assert (held.failures, held.fetched_at) == (1, None)
    assert "answers with 503" in held.error
    assert rates.fetch_due(now=NOW + timedelta(minutes=10)) is None
    _Bank.answer = (200, XML.encode())
    found = rates.fetch_due(now=NOW + timedelta(hours=1))

    assert found is not None and found.added == 3
    held = RateFeed.objects.get()
    assert (held.error, held.failures, held.fetched_at) == ("", 0, NOW + timedelta(hours=1))


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://169.254.169.254/latest", "file:///etc/passwd"])
def test_it_never_calls_into_the_own_network(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS", raising=False)

    with pytest.raises(http.BlockedAddress):
        rates.set_feed(url=url, base="EUR", is_active=True, by=ADA, now=NOW)
    RateFeed.objects.create(url=url, is_active=True)

    assert rates.fetch_due(now=NOW) is None
    assert RateFeed.objects.get().failures == 1


def _packed(method: int) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        archive.writestr("rates.csv", "date,currency,rate\n" + "2026-11-02,USD,1.1\n" * 50)
    return held.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_it_refuses_a_damaged_archive_in_words_wherever_it_is_damaged(method: int) -> None:
    content = _packed(method)
    said = set()

    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        try:
            rate_files.read(bytes(damaged), name="rates.zip", base="EUR")
        except rate_files.BadFile as problem:
            said.add(str(problem))

    assert said
    assert all(one.startswith("rates.zip") for one in said)


@pytest.mark.parametrize("encoding", ["utf-16", "big5", "utf-7", "rot13", "nonsense"])
def test_it_reads_xml_whatever_encoding_it_says_it_has(encoding: str) -> None:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><Cube time="2026-11-02"><Cube currency="USD" rate="1.1"/></Cube>'
    )

    found = rate_files.read(text.encode(), name="rates.xml", base="EUR")

    assert [(row.currency, row.rate) for row in found.rows] == [("USD", Decimal("1.1"))]


def test_it_refuses_more_rates_than_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_files, "_MOST_ROWS", 2)
    rows = "".join(f"2026-11-0{day},USD,1.1\n" for day in (2, 3, 4))

    with pytest.raises(rate_files.BadFile, match="at most 2 rates"):
        rate_files.read(f"date,currency,rate\n{rows}".encode(), name="rates.csv", base="EUR")
