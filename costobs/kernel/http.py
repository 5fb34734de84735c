"""HTTP to addresses that users typed in: guarded against requests into the machine's own network."""

import ipaddress
import os
import socket
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
# From the question to the last byte of its answer: one that trickles would hold its worker for ever.
LONGEST_ANSWER_SECONDS = 300
MOST_BYTES = 256 * 1024 * 1024

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds tell a machine its own credentials, beside the link-local address: AWS and Google over IPv6, Alibaba, Oracle, Azure.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class BlockedAddress(ValueError):
    """The URL points somewhere this installation must not be made to call."""


class TooLong(ValueError):
    """The answer has more bytes than are worth holding."""


def check(url: str) -> str:
    """`url` if it may be called, else BlockedAddress with the reason.

    Only http and https. Link-local, multicast, unspecified and cloud metadata addresses are never allowed; private and
    loopback ones only when the operator lists the host in COSTOBS_PRIVATE_HOSTS (`*` for all), since Prometheus usually
    lives there.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that no address can have
    except ValueError as problem:
        said = "this" if "@" in url else repr(url)  # a password may stand before it
        raise BlockedAddress(f"{said} is no address: {problem}") from problem
    if parts.username or parts.password:
        raise BlockedAddress("put the user name and password into the credentials, not into the address")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BlockedAddress(f"expected an http or https address, found {url!r}")
    check_host(parts.hostname)
    return url


def check_host(host: str) -> str:
    """`host` if this installation may connect to it, by the rule of `check`; a socket's directory must be listed too."""
    if host.startswith("/"):
        if not _allowed() & {"*", host}:
            raise BlockedAddress(f"{host} is a socket of this machine; add it to COSTOBS_PRIVATE_HOSTS to allow it")
        return host
    addresses(host)
    return host


def addresses(host: str) -> list[str]:
    """The addresses of `host`, all of which may be called. Who connects to one of them, not to the name, goes where was looked."""
    found = _resolve(host)
    for address in found:
        plain = _unwrapped(address)
        is_never = plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain in _METADATA
        if is_never or (plain.is_reserved and not plain.is_loopback):
            raise BlockedAddress(f"{host} resolves to {address}, which is never called")
        # Not "is_private": addresses of carriers (100.64.0.0/10) and old site-local ones lead into a private network too.
        is_outside = plain.is_global and not getattr(plain, "is_site_local", False)
        if not is_outside and not _allowed() & {"*", host}:
            raise BlockedAddress(
                f"{host} resolves to the private address {address}; add {host} to COSTOBS_PRIVATE_HOSTS to allow it"
            )
    return [str(address) for address in found]


def client(**options: object) -> httpx.Client:
    """A client that follows no redirects (a redirect could leave the checked address) and has finite timeouts.

    It checks the address again when it connects, and connects to what it checked: a name that answers otherwise the second
    time gains nothing. Through a proxy of the environment, it is the proxy that resolves names.
    """
    made = httpx.Client(timeout=TIMEOUT, follow_redirects=False, **options)  # type: ignore[arg-type]  # httpx's own
    # httpx has no public way to give its transport a network and keep the proxies of the environment; a test holds this.
    made._transport._pool._network_backend = _Guard()  # type: ignore[attr-defined]
    return made


def fetch(
    client: httpx.Client, method: str, url: str, *, most_bytes: int = MOST_BYTES, **options: Any
) -> tuple[int, httpx.Headers, bytes]:
    """Status, headers and body of an answer, unpacked. Raises TooLong before more than `most_bytes` are held."""
    content = bytearray()
    with client.stream(method, url, **options) as answer:
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > most_bytes:
                raise TooLong(f"answers with more than {most_bytes:,} bytes")
    return answer.status_code, answer.headers, bytes(content)


class _Guard(httpcore.SyncBackend):
    """A network whose names lead to checked addresses only."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = addresses(host)
        except BlockedAddress as problem:
            raise httpcore.ConnectError(str(problem)) from problem
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in found:
            try:
                return _Stream(super().connect_tcp(address, port, timeout, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as problem:
                failed = problem
        raise failed


class _Stream(httpcore.NetworkStream):
    """A connection on which an answer must end within its time, however slowly it comes."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._asked_at = time.monotonic()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._asked_at + LONGEST_ANSWER_SECONDS - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(f"the answer did not end within {LONGEST_ANSWER_SECONDS} seconds")
        return self._inner.read(max_bytes, left if timeout is None else min(timeout, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._asked_at = time.monotonic()
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _allowed() -> set[str]:
    return {each.strip() for each in os.environ.get("COSTOBS_PRIVATE_HOSTS", "").split(",") if each.strip()}


def _unwrapped(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, if it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _resolve(host: str) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        raise BlockedAddress(f"{host} cannot be resolved: {problem}") from problem
    return [ipaddress.ip_address(entry[4][0]) for entry in found]
