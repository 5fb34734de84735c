"""HTTP to addresses that users typed in: guarded against requests into the machine's own network."""

import ipaddress
import os
import socket
from urllib.parse import urlsplit

import httpx

TIMEOUT = httpx.Timeout(20.0, connect=5.0)


class BlockedAddress(ValueError):
    """The URL points somewhere this installation must not be made to call."""


def check(url: str) -> str:
    """`url` if it may be called, else BlockedAddress with the reason.

    Only http and https. Link-local, multicast, unspecified and cloud metadata addresses are never allowed; private and
    loopback ones only when the operator lists the host in COSTOBS_PRIVATE_HOSTS (`*` for all), since Prometheus usually
    lives there.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BlockedAddress(f"expected an http or https address, found {url!r}")
    if parts.username or parts.password:
        raise BlockedAddress("put the user name and password into the credentials, not into the address")
    allowed = {host.strip() for host in os.environ.get("COSTOBS_PRIVATE_HOSTS", "").split(",") if host.strip()}
    for address in _resolve(parts.hostname):
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            raise BlockedAddress(f"{parts.hostname} resolves to {address}, which is never called")
        if (address.is_private or address.is_loopback) and not allowed & {"*", parts.hostname}:
            raise BlockedAddress(
                f"{parts.hostname} resolves to the private address {address}; "
                f"add {parts.hostname} to COSTOBS_PRIVATE_HOSTS to allow it"
            )
    return url


def client(**options: object) -> httpx.Client:
    """A client that follows no redirects (a redirect could leave the checked address) and has finite timeouts."""
    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, **options)  # type: ignore[arg-type]  # httpx's own


def _resolve(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise BlockedAddress(f"{host} cannot be resolved: {problem}") from problem
    return [ipaddress.ip_address(entry[4][0]) for entry in found]
