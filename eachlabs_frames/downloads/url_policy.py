"""Decides which URLs and addresses may be fetched: http(s), and by default only the public internet. Resolves no name.

Outputs contain URLs of any origin: they must not reach services of this machine or its network. A host name proves
nothing; the caller checks the address that it connects to.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from .. import media

Address: TypeAlias = IPv4Address | IPv6Address

PORTS: Final = {"http": 80, "https": 443}
MAX_REDIRECTS: Final = 5

# Of these, `is_global` differs between versions of Python, or says that they are public. Source: IANA's registries of
# special-purpose addresses (RFC 6890); 192.88.99.0/24 once led to 6to4 relays.
NOT_PUBLIC: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")))
PUBLIC_6: Final = IPv6Network("2000::/3")
NAT64: Final = IPv6Network("64:ff9b::/96")

_LOCAL_NAME: Final = re.compile(r"([^.]+|(.*\.)?(localhost|local|internal|home\.arpa|lan))", re.IGNORECASE)
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """Where a call may fetch from, beside the public internet.

    Attributes
    ----------
    home : tuple of str and int
        Host and port of the configured API, which may have any address.
    loopback : bool
        Whether `home` is this machine.
    allow_private : bool
        Whether every address may be fetched from.
    """

    home: tuple[str, int] | None = None
    loopback: bool = False
    allow_private: bool = False

    def trusts(self, url: str) -> bool:
        """Return whether `url` may be fetched whatever address its host has."""
        return self.allow_private or (self.home is not None and origin(url) == self.home)


class RefusedAddressError(ValueError):
    """A URL that must not be fetched; the message does not contain the URL's query."""


def origin(url: str) -> tuple[str, int]:
    """Return host and port."""
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme.lower(), 0)


def check(url: str, policy: UrlPolicy, *, proxied: bool = False) -> None:
    """Check that `url` may be requested, as far as the URL itself tells.

    Parameters
    ----------
    url : str
    policy : UrlPolicy
    proxied : bool
        Whether a proxy resolves the host name, so that the address cannot be checked.

    Raises
    ------
    RefusedAddressError
    """
    if media.kind_of(url, any_length=True) == "text" or url[:5].lower() == "data:":
        msg = "not an http or https URL"
        raise RefusedAddressError(msg)
    if policy.trusts(url):
        return
    host, _ = origin(url)
    # Resolvers read these characters as digits and dots.
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".")
    address = literal(plain)
    if "%" in plain or (address is not None and not is_public(address)):
        raise RefusedAddressError(private(host))
    if proxied and address is None and _LOCAL_NAME.fullmatch(plain):
        raise RefusedAddressError(private(host))


def follow(url: str, location: str, policy: UrlPolicy) -> str:
    """Return the target of a redirect from `url`.

    Raises
    ------
    RefusedAddressError
        It has no valid target, or leads from https to http.
    """
    try:
        # Some servers do not percent-encode spaces and non-ASCII letters.
        target = urljoin(url, quote(location.strip(), safe="!#$%&'()*+,/:;=?@[]~-._"))
        host, _ = origin(target)
    except ValueError as exc:
        msg = "a redirect to an invalid URL"
        raise RefusedAddressError(msg) from exc
    is_home = policy.loopback and origin(target) == policy.home
    if url[:6].lower() == "https:" and target[:6].lower() != "https:" and not is_home:
        msg = f"a redirect from https to {urlsplit(target).scheme or 'nothing'} at {host!r}, which is not followed"
        raise RefusedAddressError(msg)
    return target


def private(host: str) -> str:
    """Return the error message for a host with a private address."""
    return f"{host!r} is a private address and not the configured host: allow_private=True allows it"


def literal(host: str) -> Address | None:
    """Return the address that `host` is written as; None if it is a name.

    IPv4 is parsed as by `inet_aton`: one to four numbers, decimal, octal or hexadecimal.
    """
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    parts = host.rstrip(".").split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    numbers = [_number(part) for part in parts]
    limit = 256 ** (5 - len(parts))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= limit:
        return None
    return IPv4Address(sum(number << (24 - 8 * position) for position, number in enumerate(numbers[:-1])) + numbers[-1])


def _number(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if text[0] == "0" and set(text) <= set("01234567") else int(text)


def is_public(address: Address | str) -> bool:
    """Return whether an address belongs to the public internet; an IPv6 address that contains an IPv4 one as that."""
    if isinstance(address, str):
        address = ip_address(address.partition("%")[0])
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address not in PUBLIC_6:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)
