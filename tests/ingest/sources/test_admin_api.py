"""Admin APIs that page, throttle, fail and lie."""

from collections.abc import Iterator

import pytest

from ingest.sources.base import BadDelivery, SourceUnavailable, Window
from ingest.sources.formats.admin import admin_api, openai_admin
from tests.servers import openai_account as account
from tests.servers.admin import Answer
from tests.servers.openai_account import BILLED, NOW
from tests.servers.openai_admin import OpenAIAdmin

database = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[OpenAIAdmin]:
    with account.opened() as opened:
        yield opened


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("same_page", "twice"),
        ("same_bucket", "gives the bucket 2026-11-01T00:00Z twice"),
        ("other_bucket", "which was not asked for"),
        ("no_token", "names no next_page"),
    ],
)
def test_t137_it_ends_the_reading_of_pages_that_would_count_twice(server: OpenAIAdmin, lie: str, said: str) -> None:
    server.lies = lie

    with pytest.raises(BadDelivery, match=said):
        list(account.costs(server).read({}, Window(account.day(20), NOW)))


@database
def test_it_waits_when_told_to_and_reads_on(server: OpenAIAdmin) -> None:
    server.throttle(3, retry_after="0")

    states = account.sync(account.make("openai_costs", server))

    assert states == {"OpenAI costs 2026-11": "succeeded"}
    assert account.billed() == BILLED


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (429, {"retry_after": "7"}, [7, 7]),
        (429, {"retry_after": "Sat, 28 Nov 2026 15:20:30 GMT"}, [30, 30]),
        (429, {"retry_after": "Sat, 28 Nov 2026 15:00:00 GMT"}, [0, 0]),
        (429, {}, [1, 2]),
        (500, {}, [1, 2]),
        (503, {"retry_after": "soon"}, [1, 2]),
    ],
)
def test_t138_it_waits_as_long_as_the_vendor_asks(
    server: OpenAIAdmin, status: int, headers: dict[str, str], waits: list[int]
) -> None:
    server.throttle(2, status=status, **headers)
    waited: list[int] = []
    api = openai_admin.api(server.base_url, {"admin_key": server.key})
    api.sleep = waited.append

    with api:
        found = api.get("/organization/projects")

    assert [one["name"] for one in found["data"]] == ["Search", "Answers"]
    assert waited == waits


def test_it_gives_up_after_bounded_waits(server: OpenAIAdmin) -> None:
    waited: list[int] = []
    with openai_admin.api(server.base_url, {"admin_key": server.key}) as api:
        api.sleep = waited.append
        server.throttle(20)
        with pytest.raises(SourceUnavailable, match="answered 429: slow down"):
            api.get("/organization/projects")
        server.faults.clear()
        server.throttle(1, retry_after="86400")
        with pytest.raises(SourceUnavailable, match="asks to wait 86400 seconds"):
            api.get("/organization/projects")

    assert waited == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>proxy login</html>", "is no JSON"),
        (b'{"data": [{"start_time": NaN}]}', "NaN is no number"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"has_more": false}', "data: expected a list"),
        (b'{"data": [7]}', "expected a bucket, found '7'"),
        (b'{"data": [{"start_time": "soon", "results": []}]}', "start_time: expected a moment in time, found 'soon'"),
        (b'{"data": [{"start_time": 99999999999999999, "results": []}]}', "start_time"),
        (b'{"data": [{"start_time": 10, "end_time": 5, "results": []}]}', "ends before it begins"),
        (b'{"data": [{"start_time": 10, "end_time": 15}]}', "results: expected a list"),
        (b'{"data": [{"start_time": 10, "end_time": 15, "results": [3]}]}', "expected a result, found '3'"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_t156_it_names_what_is_wrong_with_an_answer(server: OpenAIAdmin, body: bytes, said: str) -> None:
    server.faults.append(Answer(200, body))

    with pytest.raises(BadDelivery, match=f"OpenAI /organization/costs.*{said}"):
        list(account.costs(server).read({}, Window(account.day(20), NOW)))


def test_it_refuses_to_call_the_private_network_unasked(server: OpenAIAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS")

    with pytest.raises(SourceUnavailable, match="COSTOBS_PRIVATE_HOSTS"):
        list(account.costs(server).read({}, Window(account.day(20), NOW)))
    assert server.asked == []


def test_it_bounds_what_one_answer_may_hold(server: OpenAIAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_api, "_MOST_BYTES", 1000)
    server.faults.append(Answer(200, b" " * 5000))

    with pytest.raises(BadDelivery, match="more than 1,000 bytes"):
        list(account.costs(server).read({}, Window(account.day(20), NOW)))


@pytest.mark.parametrize("key", ["sk-admin-…", "sk-admin\nsecond line", "clé"])
def test_it_refuses_a_key_that_was_copied_with_something_else(server: OpenAIAdmin, key: str) -> None:
    with (
        openai_admin.api(server.base_url, {"admin_key": key}) as api,
        pytest.raises(SourceUnavailable, match="copy it again"),
    ):
        api.get("/organization/projects")
    assert server.asked == []


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:999999", "http://[::1", "127.0.0.1", "http://user:word@127.0.0.1"]
)
def test_it_refuses_an_address_that_is_none(address: str) -> None:
    with openai_admin.api(address, {"admin_key": "k"}) as api, pytest.raises(SourceUnavailable):
        api.get("/organization/projects")


def test_it_has_little_patience_in_a_connection_test(server: OpenAIAdmin) -> None:
    waited: list[int] = []
    api = openai_admin.api(server.base_url, {"admin_key": server.key}).hurry()
    api.sleep = waited.append
    server.throttle(2)

    with api, pytest.raises(SourceUnavailable, match="answered 429"):
        api.get("/organization/projects")
    assert waited == [1]


def test_it_follows_no_redirect(server: OpenAIAdmin) -> None:
    server.faults.append(Answer(302, {}, {"Location": "http://169.254.169.254/latest/meta-data"}))

    with (
        openai_admin.api(server.base_url, {"admin_key": server.key}) as api,
        pytest.raises(SourceUnavailable, match="answered 302"),
    ):
        api.get("/organization/projects")
