"""The proxy that the environment names for a host, and what it is given to log in. It connects to nothing.

The user and the password are taken off the proxy's URL: aiohttp puts that URL into its errors and warnings.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from ..models import Secret
from ..settings import is_loopback

HEADER: Final = "Proxy-Authorization"


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
    """Return the proxy that the environment names for a host; None for loopback addresses."""
    if is_loopback(host) or proxy_bypass(host) or scheme not in getproxies():
        return None
    return _read(Secret(getproxies()[scheme]))


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
