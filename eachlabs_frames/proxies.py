"""The proxy that the environment names for a host, and what it is given to log in. It connects to nothing.

The user and the password are taken off the proxy's URL: aiohttp puts that URL into its errors and warnings.
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

HEADER: Final = "Proxy-Authorization"

_SOCKS: Final = re.compile(r"(socks\w*)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes
    ----------
    url : str
        Without a user and a password.
    authorization : Secret or None
        The value of the header ``Proxy-Authorization``.
    secrets : tuple of Secret
        What no reply, error or log may show.
    """

    url: str
    authorization: Secret | None = None
    secrets: tuple[Secret, ...] = ()


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """Return the proxy that the environment names for a host; None for loopback addresses.

    ``HTTPS_PROXY`` and ``HTTP_PROXY`` come before ``ALL_PROXY``, and ``NO_PROXY`` before them all, as for curl.

    Raises
    ------
    ConfigurationError
        It is a SOCKS proxy, of which aiohttp has no client.
    """
    name = next((name for name in (scheme, "all") if name in getproxies()), None)
    if name is None or is_loopback(host) or proxy_bypass(host):
        return None
    written = Secret(getproxies()[name])
    kind = _socks(written)
    if kind is not None:
        msg = (
            f"{name.upper()}_PROXY names a SOCKS proxy ({kind}://), which is not supported: set {scheme.upper()}_PROXY "
            f"to an HTTP proxy, as in http://host:port, or NO_PROXY={host} to connect without one"
        )
        raise ConfigurationError(msg)
    return _read(written)


def _socks(written: Secret) -> str | None:
    """Return the scheme of a SOCKS proxy's URL; None of any other."""
    found = _SOCKS.match(written.reveal())
    return None if found is None else found.group(1)


def _read(written: Secret) -> Proxy:
    # No part of the URL goes into a local variable before the password is off it: a traceback may show those.
    address = written.reveal().rpartition("@")[2].rpartition("//")[2]
    scheme = written.reveal().partition("://")[0] if "://" in written.reveal() else "http"
    if "@" not in written.reveal():
        return Proxy(f"{scheme}://{address}")
    login = Secret(written.reveal().rpartition("@")[0].rpartition("://")[2])
    token = Secret(b64encode(_plain(login).reveal().encode()).decode())
    password = Secret(login.reveal().partition(":")[2])
    secrets = (login, _plain(login), password, _plain(password), token)
    return Proxy(f"{scheme}://{address}", Secret(f"Basic {token.reveal()}"), secrets)


def _plain(quoted: Secret) -> Secret:
    return Secret(unquote(quoted.reveal()))
