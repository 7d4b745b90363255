"""Checks the arguments of `WebhookReceiver`. Error messages never contain the secret."""

from __future__ import annotations

import re
from typing import Final, get_args
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..settings import Secret, is_loopback
from .signatures import SignaturePolicy

PATH: Final = "/eachlabs"
"""Where deliveries arrive, where no public URL says otherwise."""


def check_secret(secret: Secret) -> None:
    """Check a secret.

    Raises
    ------
    ConfigurationError
        It cannot be sent in a header.
    """
    if not isinstance(secret.reveal(), str) or not re.fullmatch(r"[!-~]{1,256}", secret.reveal()):
        msg = "secret must be 1 to 256 printable ASCII characters without spaces: the API sends it in a header"
        raise ConfigurationError(msg)


def checked_signatures(policy: SignaturePolicy) -> SignaturePolicy:
    """Return a policy for deliveries without a signature.

    Raises
    ------
    ConfigurationError
        An unknown policy.
    """
    if policy not in get_args(SignaturePolicy):
        msg = f"signatures must be 'required', or 'optional' to accept X-Webhook-Secret alone; got {policy!r}"
        raise ConfigurationError(msg)
    return policy


def checked_host(host: object) -> str:
    """Return an address to listen on.

    Raises
    ------
    ConfigurationError
        No text.
    """
    if not isinstance(host, str) or not host:
        msg = f"host must be an address of this machine, as in '127.0.0.1'; got {host!r}"
        raise ConfigurationError(msg)
    return host


_URL: Final = r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?"


def checked_public_url(url: object) -> str:
    """Return a public URL, with a path.

    Raises
    ------
    ConfigurationError
        No plain URL, or one that is not encrypted.
    """
    if not isinstance(url, str) or not re.fullmatch(_URL, url):
        msg = (
            "public_url must be a plain URL, as in 'https://hooks.example.org/team': no user, password, query or "
            "fragment, and a path of letters, digits, '.', '_', '~', '-' and '/'"
        )
        raise ConfigurationError(msg)
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        msg = f"public_url {url!r} would send results and the secret unencrypted: use https"
        raise ConfigurationError(msg)
    bare = url.rstrip("/")
    return bare if urlsplit(bare).path else bare + PATH
