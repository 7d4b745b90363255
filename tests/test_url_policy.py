"""Which URLs are fetched: http(s) only, and no address of this machine or its network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.downloads.url_policy import (
    RefusedAddressError,
    UrlPolicy,
    check,
    follow,
    is_public,
    literal,
    origin,
)

ANYWHERE = UrlPolicy()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.5",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:192.168.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:c0a8:0101::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_outside_the_public_internet_is_private(address: str) -> None:
    """Loopback, private, cloud and carrier networks, documentation, and IPv6 addresses that contain any of them."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:0101:0101::",
    ],
)
def test_a_public_address_may_be_fetched(address: str) -> None:
    """Up to the boundaries of the private networks, and through NAT64."""
    assert is_public(address)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_is_public_that_python_calls_private(address: IPv4Address | IPv6Address) -> None:
    """Except for IPv6 addresses that contain an IPv4 address: they are as public as that."""
    if is_public(address) and not str(address).startswith(("64:ff9b:", "2002:", "::ffff:")):
        kinds = (address.is_private, address.is_loopback, address.is_link_local, address.is_multicast)
        assert not any(kinds)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.0.0.0x1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("::1%lo", "::1"),
        ("example.com", None),
        ("1.2.3.4.5", None),
        ("256.1.1.1", None),
        ("1.2.3.256", None),
        ("4294967296", None),
        ("a.1", None),
        ("", None),
    ],
)
def test_a_numeric_host_is_parsed_as_by_a_resolver(host: str, address: str | None) -> None:
    """Decimal, octal, hexadecimal, with fewer than four parts; a name is no address."""
    assert literal(host) == (None if address is None else ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://127.1:8080/a.png",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/a.png",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://%31%32%37.0.0.1/",
    ],
)
def test_a_url_with_a_private_address_is_refused(url: str) -> None:
    """In every notation, unless private addresses are allowed."""
    with pytest.raises(RefusedAddressError, match="allow_private=True"):
        check(url, ANYWHERE)
    check(url, UrlPolicy(allow_private=True))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://user:word@example.com/a.png",
        "https:///a.png",
        "http://example.com:99999/",
        "data:image/png;base64,aa",
        "//example.com/a.png",
        "",
    ],
)
def test_only_http_is_requested(url: str) -> None:
    """Even if every address is allowed."""
    with pytest.raises(RefusedAddressError, match="not an http or https URL"):
        check(url, UrlPolicy(allow_private=True))


@pytest.mark.parametrize("host", ["localhost", "db", "printer.local", "metadata.google.internal", "a.localhost"])
def test_a_proxy_gets_no_local_host_names(host: str) -> None:
    """A proxy would resolve them unchecked; addresses that this machine resolves are checked when it connects."""
    with pytest.raises(RefusedAddressError):
        check(f"https://{host}/a.png", ANYWHERE, proxied=True)
    check(f"https://{host}/a.png", ANYWHERE)
    check("https://cdn.example.com/a.png", ANYWHERE, proxied=True)


def test_the_configured_host_may_be_private_at_its_own_port_only() -> None:
    """Other services may listen on other ports of the same machine."""
    home = UrlPolicy(home=origin("http://127.0.0.1:8123/v1"), loopback=True)
    check("http://127.0.0.1:8123/media/a.png", home)
    for url in ("http://127.0.0.1:8888/", "http://127.0.0.1/", "http://127.0.0.2:8123/"):
        with pytest.raises(RefusedAddressError):
            check(url, home)


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://a.example/x/y.png", "z.png", "https://a.example/x/z.png"),
        ("https://a.example/x", "//b.example/z", "https://b.example/z"),
        ("http://a.example/x", "https://b.example/z?sig=a%2Fb", "https://b.example/z?sig=a%2Fb"),
        ("http://a.example/x", "http://b.example/a b.png", "http://b.example/a%20b.png"),
        ("https://a.example/x", "/füchse.png", "https://a.example/f%C3%BCchse.png"),
    ],
)
def test_a_redirect_has_a_target(url: str, location: str, target: str) -> None:
    """Relative or absolute; a signature in the query is not changed."""
    assert follow(url, location, ANYWHERE) == target


@pytest.mark.parametrize("location", ["http://b.example/z", "HTTP://b.example/z", "ftp://b.example", "javascript:x"])
def test_a_redirect_from_https_to_another_scheme_is_refused(location: str) -> None:
    """Except for a configured loopback address."""
    with pytest.raises(RefusedAddressError, match="from https to"):
        follow("https://a.example/x", location, ANYWHERE)
    home = UrlPolicy(home=("127.0.0.1", 8123), loopback=True)
    assert follow("https://a.example/x", "http://127.0.0.1:8123/z", home) == "http://127.0.0.1:8123/z"
    with pytest.raises(RefusedAddressError):
        follow("https://a.example/x", "http://b.example/z", home)


def test_a_redirect_to_no_url_is_refused() -> None:
    """The target cannot be parsed."""
    with pytest.raises(RefusedAddressError, match="an invalid URL"):
        follow("https://a.example/x", "https://[/", ANYWHERE)
