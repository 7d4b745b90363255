"""Tells the accounts of a server apart. Never shows the key."""

from __future__ import annotations

import hashlib

from ..errors import ConfigurationError
from ..settings import Settings


def account_id(settings: Settings) -> str:
    """Return what tells the accounts of a journal apart: the server, and a short digest of the key.

    Another key of the same account counts as another account.

    Raises
    ------
    ConfigurationError
        No key is set.
    """
    digest = hashlib.sha256(f"eachlabs-frames account {settings.key().reveal()}".encode()).hexdigest()
    return f"{settings.base_url} {digest[:16]}"


def account_of(settings: Settings) -> str:
    """Return the account whose files they are; with another key of it, they are uploaded once more.

    Raises
    ------
    ConfigurationError
        No key is set, or the dialect has no uploads.
    """
    check_dialect(settings)
    return account_id(settings)


def check_dialect(settings: Settings) -> None:
    """Raise if the dialect has no uploads.

    Raises
    ------
    ConfigurationError
    """
    if settings.dialect == "legacy":
        msg = "the legacy dialect has no uploads, so cells cannot be files: use dialect='current', or pass URLs"
        raise ConfigurationError(msg)
