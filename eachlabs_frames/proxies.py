"""Which proxy the environment names for a host, and the headers that log in to it. It connects to nothing.

User and password are removed from the proxy's URL, because aiohttp puts that URL into its errors and warnings.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from .errors import ConfigurationError
from .models import Secret
from .settings import is_loopback

_HEADER: Final = "Proxy-Authorization"

_SOCKS: Final = re.compile(r"(socks\w*)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes
    ----------
    url : str
        Without user and password.
    authorization : Secret or None
        The value of the header ``Proxy-Authorization``.
    secrets : tuple of Secret
        Texts that no reply, error or log may show.
    """

    url: str
    authorization: Secret | None = None
    secrets: tuple[Secret, ...] = ()


def proxy_headers(proxy: Proxy | None, scheme: str) -> tuple[dict[str, str], dict[str, str] | None]:
    """Return the headers that log in to a proxy: for the request itself, and for the CONNECT request of a tunnel.

    A request for an http URL is sent to the proxy itself, a request for an https URL through a tunnel.
    """
    if proxy is None or proxy.authorization is None:
        return {}, None
    headers = {_HEADER: proxy.authorization.reveal()}
    return (headers, None) if scheme == "http" else ({}, headers)


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """Return the proxy that the environment names for a host; None for loopback addresses.

    ``HTTPS_PROXY`` and ``HTTP_PROXY`` take precedence over ``ALL_PROXY``, and ``NO_PROXY`` over all of them, as in
    curl.

    Raises
    ------
    ConfigurationError
        It is a SOCKS proxy, which aiohttp does not support.
    """
    name = next((name for name in (scheme, "all") if name in getproxies()), None)
    if name is None or is_loopback(host) or proxy_bypass(host):
        return None
    proxy_url = Secret(getproxies()[name])
    kind = _socks(proxy_url)
    if kind is not None:
        msg = (
            f"{name.upper()}_PROXY names a SOCKS proxy ({kind}://), which is not supported: set {scheme.upper()}_PROXY "
            f"to an HTTP proxy, as in http://host:port, or NO_PROXY={host} to connect without one"
        )
        raise ConfigurationError(msg)
    return _read(proxy_url)


def _socks(proxy_url: Secret) -> str | None:
    """Return the scheme of a SOCKS proxy's URL; None for any other proxy."""
    match = _SOCKS.match(proxy_url.reveal())
    return None if match is None else match.group(1)


def _read(proxy_url: Secret) -> Proxy:
    # No local variable contains the password: a traceback may show local variables.
    address = proxy_url.reveal().rpartition("@")[2].rpartition("//")[2]
    scheme = proxy_url.reveal().partition("://")[0] if "://" in proxy_url.reveal() else "http"
    if "@" not in proxy_url.reveal():
        return Proxy(f"{scheme}://{address}")
    login = Secret(proxy_url.reveal().rpartition("@")[0].rpartition("://")[2])
    token = Secret(b64encode(_plain(login).reveal().encode()).decode())
    password = Secret(login.reveal().partition(":")[2])
    secrets = (login, _plain(login), password, _plain(password), token)
    return Proxy(f"{scheme}://{address}", Secret(f"Basic {token.reveal()}"), secrets)


def _plain(quoted: Secret) -> Secret:
    return Secret(unquote(quoted.reveal()))
