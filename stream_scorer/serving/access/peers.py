"""Addresses: which are proxies, which are on this machine; and what browsers' pages send."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from stream_scorer.serving.settings.access import UNIX_PEER

_CACHED: Final = 1_024
_ADDRESS_CHARACTERS: Final = 128
_IPV4: Final = 4
_UNKNOWN: Final = "unknown"
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST_CHARACTERS: Final = 64
_PORT_DIGITS: Final = 5


class Proxies:
    """The peers whose certificate headers are accepted.

    Args:
        peers: ``unix`` and networks.
    """

    def __init__(self, peers: Sequence[str]) -> None:
        self._unix = UNIX_PEER in peers
        self._networks = [ipaddress.ip_network(each) for each in peers if each != UNIX_PEER]
        self.has = lru_cache(_CACHED)(self._has)

    def _has(self, peer: str) -> bool:
        """Return whether a peer is one of them."""
        if peer == UNIX_PEER:
            return self._unix
        address = _address(peer)
        return address is not None and any(address in each for each in self._networks)


@lru_cache(_CACHED)
def is_loopback(peer: str) -> bool:
    """Return whether a peer is on this machine: a loopback address, or a Unix socket."""
    if peer == UNIX_PEER:
        return True
    address = _address(peer)
    return address is not None and address.is_loopback


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(_CACHED)
def neighbourhood(peer: str) -> str:
    """Return what an address is counted by: an IPv6 address by its network of 64 bits.

    A single machine usually has all addresses of such a network.

    >>> neighbourhood("10.0.0.7"), neighbourhood("2001:db8::7"), neighbourhood("unix")
    ('10.0.0.7', '2001:db8::/64', 'unix')
    """
    address = _address(peer)
    if address is None:
        return UNIX_PEER if peer == UNIX_PEER else _UNKNOWN
    if address.version == _IPV4:
        return str(address)
    return str(ipaddress.ip_network((address.packed, 64), strict=False))


@lru_cache(_CACHED)
def grpc_address(peer: str) -> str:
    """Return the address of a peer as gRPC writes it.

    >>> grpc_address("ipv4:10.0.0.7:50312"), grpc_address("ipv6:%5B::1%5D:50312")
    ('10.0.0.7', '::1')
    >>> grpc_address("unix:"), grpc_address("unix:/run/s.sock"), grpc_address("x")
    ('unix', 'unix', 'unknown')
    """
    kind, _, rest = peer.partition(":")
    if kind in {"unix", "unix-abstract"}:
        return UNIX_PEER
    if kind not in {"ipv4", "ipv6"} or len(rest) > _ADDRESS_CHARACTERS:
        return _UNKNOWN
    host = unquote(rest).rpartition(":")[0].removeprefix("[").removesuffix("]")
    address = _address(host)
    return _UNKNOWN if address is None else str(address)


def from_page(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sent a request for a page, and not because a person typed its URL.

    A browser sends ``Origin`` with each request of a page that is not a plain GET, and
    ``Sec-Fetch-Site`` with all requests. Other programs send neither.
    """
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"


def names_loopback(host: str) -> bool:
    """Return whether a ``Host`` header names this machine.

    A page of another site can be served under a name that its owner then lets resolve to 127.0.0.1.
    The browser sends that name here.

    >>> [names_loopback(each) for each in ("localhost:8080", "[::1]", "127.0.0.1", "LOCALHOST")]
    [True, True, True, True]
    >>> [names_loopback(each) for each in ("", "evil.example", "127.0.0.1.evil.example")]
    [False, False, False]
    """
    if len(host) > _HOST_CHARACTERS:
        return False
    if host.lower() in _HOSTS:
        return True
    name, _, port = host.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS
    return digits and name.lower() in _HOSTS
