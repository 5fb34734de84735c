"""Addresses that users typed in: what is never called, what must be listed, and where a client really connects."""

import gzip
import http.server as servers
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from costobs.kernel import http


class _Told(servers.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Host"])
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
            return
        body = gzip.compress(b"0" * 5_000_000)
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    made = servers.ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (_Told,), {"asked": asked}))
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{made.server_port}", asked
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def _names(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """A name server of the attacker's: each question is answered by the next address, the last one for ever."""
    real, left = socket.getaddrinfo, list(answers)

    def answer(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "metrics.example":
            return real(host, port, *args, **options)
        return real(left.pop(0) if len(left) > 1 else left[0], port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_it_never_calls_what_tells_a_machine_its_credentials(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "*")

    with pytest.raises(http.BlockedAddress, match="never called"):
        http.check(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "127.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "10.0.0.1",
        "100.64.0.1",
        "[fec0::1]",
        "[fd00::1]",
    ],
)
def test_it_calls_private_addresses_only_when_they_are_listed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS", raising=False)
    with pytest.raises(http.BlockedAddress, match=r"add .* to COSTOBS_PRIVATE_HOSTS"):
        http.check(f"http://{host}/")

    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", host.strip("[]"))

    assert http.check(f"http://{host}/") == f"http://{host}/"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://a", "http://", "http://a:99999/", "http://" + "a" * 70 + "..example/"]
)
def test_it_refuses_by_name_what_is_no_address(url: str) -> None:
    with pytest.raises(http.BlockedAddress):
        http.check(url)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@example.com/", "ftp://me:hunter2@example.com/", "http://me:hunter2@example.com:99999/"]
)
def test_it_refuses_a_password_in_an_address_and_does_not_repeat_it(url: str) -> None:
    with pytest.raises(http.BlockedAddress) as caught:
        http.check(url)

    assert "hunter2" not in str(caught.value)


def test_it_gives_nothing_to_a_name_that_answers_otherwise_the_second_time(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, asked = server
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS", raising=False)
    _names(monkeypatch, "93.184.216.34", "127.0.0.1")
    url = f"http://metrics.example:{place.rpartition(':')[2]}/"

    assert http.check(url) == url
    with http.client() as client, pytest.raises(httpx.ConnectError, match="private address"):
        client.get(url)

    assert asked == []


def test_it_calls_a_listed_name_by_its_name(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    place, asked = server
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "metrics.example")
    _names(monkeypatch, "127.0.0.1")
    port = place.rpartition(":")[2]

    with http.client() as client:
        status, _headers, content = http.fetch(client, "GET", http.check(f"http://metrics.example:{port}/"))

    assert (status, len(content), asked) == (200, 5_000_000, [f"metrics.example:{port}"])


def test_it_follows_no_redirect(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")

    with http.client() as client:
        status, _headers, _content = http.fetch(client, "GET", f"http://{server[0]}/away")

    assert (status, len(server[1])) == (302, 1)


def test_it_leaves_an_answer_that_unpacks_to_too_much(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")

    with http.client() as client, pytest.raises(http.TooLong, match="more than 1,000,000 bytes"):
        http.fetch(client, "GET", f"http://{server[0]}/", most_bytes=1_000_000)


def test_it_ends_an_answer_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    monkeypatch.setattr(http, "LONGEST_ANSWER_SECONDS", 1)
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle() -> None:
            with listening.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not is_over.wait(0.05):
                    connection.sendall(b".")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        try:
            with http.client() as client, pytest.raises(httpx.ReadTimeout):
                http.fetch(client, "GET", f"http://127.0.0.1:{listening.getsockname()[1]}/")
        finally:
            is_over.set()
            thread.join(5)
