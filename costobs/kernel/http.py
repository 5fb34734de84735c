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
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that no address can have
    except ValueError as problem:
        raise BlockedAddress(f"{url!r} is no address: {problem}") from problem
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BlockedAddress(f"expected an http or https address, found {url!r}")
    if parts.username or parts.password:
        raise BlockedAddress("put the user name and password into the credentials, not into the address")
    check_host(parts.hostname)
    return url


def check_host(host: str) -> str:
    """`host` if this installation may connect to it, by the rule of `check`; a socket's directory must be listed too."""
    allowed = {each.strip() for each in os.environ.get("COSTOBS_PRIVATE_HOSTS", "").split(",") if each.strip()}
    if host.startswith("/"):
        if not allowed & {"*", host}:
            raise BlockedAddress(f"{host} is a socket of this machine; add it to COSTOBS_PRIVATE_HOSTS to allow it")
        return host
    for address in _resolve(host):
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            raise BlockedAddress(f"{host} resolves to {address}, which is never called")
        if (address.is_private or address.is_loopback) and not allowed & {"*", host}:
            raise BlockedAddress(
                f"{host} resolves to the private address {address}; add {host} to COSTOBS_PRIVATE_HOSTS to allow it"
            )
    return host


def client(**options: object) -> httpx.Client:
    """A client that follows no redirects (a redirect could leave the checked address) and has finite timeouts."""
    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, **options)  # type: ignore[arg-type]  # httpx's own


def _resolve(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise BlockedAddress(f"{host} cannot be resolved: {problem}") from problem
    return [ipaddress.ip_address(entry[4][0]) for entry in found]
