"""Which address may be fetched: http(s) only, and by default nothing but the public internet. It resolves no name.

An output's URL comes from outside and is fetched from inside: it must reach no service of this machine's or its
network's. A name says nothing; what counts is the address that is connected to, which the caller hands in.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from .. import media

Address: TypeAlias = IPv4Address | IPv6Address

PORTS: Final = {"http": 80, "https": 443}
MAX_REDIRECTS: Final = 5

# Written out, because `is_global` is another one in each Python. Source: IANA's registries of special-purpose
# addresses (RFC 6890); 192.88.99.0/24 once led to 6to4 relays.
NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
PUBLIC_6: Final = IPv6Network("2000::/3")
NOT_PUBLIC_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))

CARRIERS: Final = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
"""IPv6 addresses that lead to an IPv4 one (mapped, NAT64, 6to4), and how many bits stand behind it."""

_LOCAL_NAME: Final = re.compile(r"([^.]+|(.*\.)?(localhost|local|internal|home\.arpa|lan))", re.IGNORECASE)
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """Where a call may fetch from.

    Attributes
    ----------
    home : tuple of str and int
        Host and port of the configured API: these may be anywhere.
    loopback : bool
        Whether that is this very machine.
    allow_private : bool
        Whether every address may be fetched from.
    """

    home: tuple[str, int] | None = None
    loopback: bool = False
    allow_private: bool = False

    def trusts(self, url: str) -> bool:
        """Say whether `url` may be fetched wherever its name leads."""
        return self.allow_private or (self.home is not None and origin(url) == self.home)


class RefusedAddressError(ValueError):
    """A URL that is not fetched; its text says why, without the URL's query."""


def origin(url: str) -> tuple[str, int]:
    """Return host and port."""
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme.lower(), 0)


def check(url: str, bounds: UrlPolicy, *, proxied: bool = False) -> None:
    """Make sure that `url` may be asked for, as far as it says so itself.

    Parameters
    ----------
    url : str
    bounds : Bounds
    proxied : bool
        Whether a proxy will resolve the name, so that nobody here sees the address.

    Raises
    ------
    RefusedAddressError
    """
    if media.kind_of(url, any_length=True) == "text" or url[:5].lower() == "data:":
        msg = "not an http or https URL"
        raise RefusedAddressError(msg)
    if bounds.trusts(url):
        return
    host, _ = origin(url)
    # A browser or a name server would read these as digits and dots.
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".")
    address = literal(plain)
    if "%" in plain or (address is not None and not is_public(address)):
        raise RefusedAddressError(private(host))
    if proxied and address is None and _LOCAL_NAME.fullmatch(plain):
        raise RefusedAddressError(private(host))


def follow(url: str, location: str, bounds: UrlPolicy) -> str:
    """Return where a redirect leads from `url`.

    Raises
    ------
    RefusedAddressError
        It leads nowhere, or from https to http.
    """
    try:
        # Servers write spaces and letters of other scripts as they are.
        target = urljoin(url, quote(location.strip(), safe="!#$%&'()*+,/:;=?@[]~-._"))
        host, _ = origin(target)
    except ValueError as exc:
        msg = "a redirect to an invalid URL"
        raise RefusedAddressError(msg) from exc
    at_home = bounds.loopback and origin(target) == bounds.home
    if url[:6].lower() == "https:" and target[:6].lower() != "https:" and not at_home:
        msg = f"a redirect from https to {urlsplit(target).scheme or 'nothing'} at {host!r}, which is not followed"
        raise RefusedAddressError(msg)
    return target


def private(host: str) -> str:
    """Return why an address of this machine or its network is not fetched."""
    return f"{host!r} is a private address and not the configured host: allow_private=True allows it"


def literal(host: str) -> Address | None:
    """Return the address that `host` is; None where it is a name.

    IPv4 is read as `inet_aton` reads it: one to four numbers, decimal, octal or hexadecimal.
    """
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    parts = host.rstrip(".").split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    numbers = [_number(part) for part in parts]
    last = 256 ** (5 - len(parts))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= last:
        return None
    return IPv4Address(sum(number << (24 - 8 * place) for place, number in enumerate(numbers[:-1])) + numbers[-1])


def _number(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if text[0] == "0" and set(text) <= set("01234567") else int(text)


def is_public(address: Address | str) -> bool:
    """Say whether an address is one of the public internet's."""
    known = ip_address(address.partition("%")[0]) if isinstance(address, str) else address
    if isinstance(known, IPv4Address):
        return not any(known in network for network in NOT_PUBLIC_4)
    for network, behind in CARRIERS:
        if known in network:
            return is_public(IPv4Address(int(known) >> behind & 0xFFFFFFFF))
    return known in PUBLIC_6 and not any(known in network for network in NOT_PUBLIC_6)
