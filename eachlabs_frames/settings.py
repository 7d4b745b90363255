"""Settings: the value given to ``configure``, else the environment variable, else the default.

Owns the API key, the base URL, the dialect and the limits. It never sends anything and never shows the key.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from .checks import check_positive, check_whole
from .errors import ConfigurationError
from .models import DialectName
from .models import Secret as Secret
from .postgres_url import PostgresUrl
from .suggestions import closest

BASE_URLS: Final[dict[DialectName, str]] = {
    "current": "https://api.eachlabs.ai/v1",
    "legacy": "https://workflows.eachlabs.run/api/v1",
}
"""Source: the API reference, "Two dialects, one API"."""

BridgeName = Literal["thread", "nest"]

MAX_CONCURRENCY: Final = 256
MAX_UPLOADS: Final = 64

NO_KEY: Final = (
    "no API key: create one in the each::labs dashboard and set EACHLABS_API_KEY, or call "
    "eachlabs_frames.configure(api_key=...). To try it without an account: eachlabs_frames.sandbox.start()"
)

_UNSET: Final[Any] = object()


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated settings of a call, as returned by `configure`. Immutable.

    Attributes
    ----------
    api_key : Secret or None
        The API key. Its repr, str and format hide the value, and it cannot be pickled.
    base_url : str
        The API's base URL, without a trailing slash.
    dialect : {"current", "legacy"}
        Which of the API's two dialects is used.
    max_concurrency : int
        Maximum number of requests in flight per call, 1 to 256.
    timeout : float
        Timeout of a request, in seconds.
    max_wait : float
        Maximum time that a run waits without progress, in seconds.
    bridge : {"thread", "nest"}
        How a synchronous call runs asyncio code.
    settle_window : float
        Seconds in which the executions of a request whose response was lost may appear in the workflow's listing.
    journal : pathlib.Path, PostgresUrl or None
        The journal's SQLite file or PostgreSQL database; the latter's repr and str have no password. None if the
        journal is off.
    rerun_guard : float or None
        Seconds for which inputs that were accepted in another run are not paid for again. None if this is off.
    max_uploads : int
        Maximum number of files that a call uploads at once, 1 to 64.

    See Also
    --------
    configure : Describes each setting in detail.
    """

    api_key: Secret | None
    base_url: str
    dialect: DialectName
    max_concurrency: int = 8
    timeout: float = 60.0
    max_wait: float = 900.0
    bridge: BridgeName = "thread"
    settle_window: float = 30.0
    journal: Path | PostgresUrl | None = None
    rerun_guard: float | None = 86_400.0
    max_uploads: int = 8

    def key(self) -> Secret:
        """Return the API key.

        Raises
        ------
        ConfigurationError
            No key is set.
        """
        if self.api_key is None:
            near = closest("EACHLABS_API_KEY", [name for name in os.environ if name.upper().startswith("EACH")])
            raise ConfigurationError(NO_KEY if near is None else f"{NO_KEY} (the environment has {near}: misspelt?)")
        return self.api_key


_lock = threading.Lock()
_configured: dict[str, Any] = {}
_journals: dict[str, Path] = {}
"""Default journals, by the base URL of their server."""


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def configure(
    *,
    api_key: str | None = _UNSET,
    base_url: str | None = _UNSET,
    dialect: DialectName | None = _UNSET,
    max_concurrency: int | None = _UNSET,
    timeout: float | None = _UNSET,
    max_wait: float | None = _UNSET,
    bridge: BridgeName | None = _UNSET,
    settle_window: float | None = _UNSET,
    journal: str | os.PathLike[str] | bool | None = _UNSET,
    rerun_guard: float | None = _UNSET,
    max_uploads: int | None = _UNSET,
) -> Settings:
    """Set the API key, the base URL and the limits for all later calls in this process.

    A parameter that is not given keeps its value. None resets a parameter to its default, except for ``journal`` and
    ``rerun_guard``, which None turns off. Calls that have already started keep their settings.

    Parameters
    ----------
    api_key : str, optional
        The API key. Default: the environment variable ``EACHLABS_API_KEY``, read at each call.
    base_url : str, optional
        The API's base URL. It must be https, except for loopback addresses. Default: the environment variable
        ``EACHLABS_BASE_URL``, read at each call, else the URL of the dialect.
    dialect : {"current", "legacy"}, optional
        Which of the API's two dialects is used. Default: "legacy" if the path of the base URL ends in ``/api/v1``, else
        "current".
    max_concurrency : int, default 8
        Maximum number of requests in flight per call, 1 to 256.
    timeout : float, default 60.0
        Timeout of a request, in seconds. If a trigger request times out after it was sent, it may have started
        executions, so it is not sent again: its rows become ``unknown`` unless their executions are found; see
        ``settle_window``.
    max_wait : float, default 900.0
        Maximum time in seconds that a run waits without progress, for example because of 429 responses or a lost
        connection. The run then stops sending and leaves the remaining rows ``pending``. It does so at once if the
        API asks for a longer wait with ``Retry-After``. It waits at most 120 s for the server of a journal in
        PostgreSQL.
    bridge : {"thread", "nest"}, default "thread"
        How a synchronous call runs asyncio code: "thread" uses an event loop on a background thread, "nest" uses the
        caller's running loop with nest-asyncio2, if there is a running loop.
    settle_window : float, default 30.0
        Seconds in which the executions of a request whose response was lost may appear in the workflow's listing. Rows
        whose executions are not found by then stay ``unknown``.
    journal : path, URL, bool or None, optional
        The SQLite file in which each request is recorded before it is sent, or the URL of a PostgreSQL database
        (``postgresql://user@host/database``), which several machines can share. Default, also for True: what the
        environment variable ``EACHLABS_JOURNAL`` says, else ``journal.sqlite`` in the user's data directory. While
        ``base_url`` is set to a sandbox that this process started, the default is the sandbox's own temporary file.
        None (or False) turns the journal off, with a `UserWarning`: executions that were sent but not yet returned are
        then lost if the process dies, and a run cannot be resumed.
    rerun_guard : float or None, default 86400.0
        Seconds for which inputs that were accepted in another run, for the same workflow, version, server and mapping,
        are not paid for again by accident. This applies to calls without ``run=``: if all of the call's inputs were
        accepted before, it raises `RunError` and sends nothing; if only some were, it warns and sends. None turns this
        off. It needs the journal.
    max_uploads : int, default 8
        Maximum number of files that a call uploads at once, 1 to 64.

    Returns
    -------
    Settings
        The settings that are now in effect. Their repr hides the key.

    Raises
    ------
    ConfigurationError
        A value is invalid. No setting is changed.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.configure(api_key="sk-secret", max_concurrency=4).max_concurrency
    4
    >>> "sk-secret" in repr(ef.configure())
    False
    """
    if api_key is not None and api_key is not _UNSET:
        api_key = cast("Any", Secret(api_key))  # at once: a traceback may show local variables
    if PostgresUrl.matches(journal):
        journal = cast("Any", PostgresUrl(cast("str", journal).strip()))  # as above
    given = {name: value for name, value in locals().items() if value is not _UNSET}
    if "journal" in given:
        given["journal"] = _checked_journal(given["journal"])
    if "rerun_guard" in given and rerun_guard is None:
        given["rerun_guard"] = False
    with _lock:
        kept = _configured | given
        merged = {name: value for name, value in kept.items() if value is not None}
        settings = _build(merged)
        _configured.clear()
        _configured.update(merged)
    return settings


def _checked_journal(value: object) -> Path | PostgresUrl | bool | None:
    """Return the journal's path or URL, False if it is off, or None for the default."""
    if isinstance(value, PostgresUrl):
        return value
    if value is None or value is False:
        msg = (
            "the journal is off: if this process dies, executions that were sent but not yet returned are lost, and "
            "a run cannot be resumed; configure(journal=True) turns it on again"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
        return False
    if value is True:
        return None
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        msg = (
            "journal must be a path, a URL such as postgresql://user@host/database, True for the default path, or None "
            f"for no journal; got {value!r}"
        )
        raise ConfigurationError(msg)
    # Absolute at once: a notebook changes its folder, and must not change its journal with it.
    return Path(os.fsdecode(os.fspath(value))).expanduser().absolute()


def use_journal_for(base_urls: Iterable[str], path: Path) -> None:
    """Make `path` the default journal while the ``base_url`` that `configure` was given is one of `base_urls`.

    It takes precedence over EACHLABS_JOURNAL, because the runs of a test server do not belong in a real journal. One
    given to ``configure(journal=...)`` takes precedence over both.
    """
    with _lock:
        _journals.update(dict.fromkeys(base_urls, path))


def _journal(configured: dict[str, Any]) -> Path | PostgresUrl | None:
    named: Path | PostgresUrl | bool | None = configured.get("journal")
    if isinstance(named, bool):
        return None
    if named is not None:
        return named
    of_server = _journals.get(_normalized(configured.get("base_url")))
    if of_server is not None:
        return of_server
    from_environment = os.environ.get("EACHLABS_JOURNAL")
    if PostgresUrl.matches(from_environment):
        return PostgresUrl(os.environ["EACHLABS_JOURNAL"].strip())
    if from_environment:
        return Path(from_environment).expanduser().absolute()
    from platformdirs import user_data_path  # needed only where nobody has named a file

    return user_data_path("eachlabs-frames", appauthor=False) / "journal.sqlite"


def _normalized(url: object) -> str:
    return url.strip().rstrip("/") if isinstance(url, str) else ""


def current_journal() -> Path | PostgresUrl | None:
    """Return the journal's path or URL, or None if it is off. The other settings are not validated."""
    with _lock:
        return _journal(_configured)


def current(*, max_concurrency: int | None = None) -> Settings:
    """Return the settings for a call that starts now.

    Parameters
    ----------
    max_concurrency : int, optional
        Overrides the configured value for this call.

    Raises
    ------
    ConfigurationError
        A setting, from `configure` or from the environment, is invalid.
    """
    with _lock:
        named = dict(_configured)
    if max_concurrency is not None:
        named["max_concurrency"] = max_concurrency
    return _build(named)


def _build(named: dict[str, Any]) -> Settings:
    key = named.get("api_key") or (
        Secret(os.environ["EACHLABS_API_KEY"]) if os.environ.get("EACHLABS_API_KEY") else None
    )
    url = named.get("base_url", os.environ.get("EACHLABS_BASE_URL") or None)
    dialect = named.get("dialect")
    if dialect not in (None, *BASE_URLS):
        msg = f"dialect must be one of {', '.join(map(repr, BASE_URLS))}; got {dialect!r}"
        raise ConfigurationError(msg)
    checked = _checked_url(url) if url is not None else BASE_URLS[cast("DialectName", dialect or "current")]
    return Settings(
        api_key=None if key is None else _checked_key(key),
        base_url=checked,
        dialect=cast("DialectName", dialect or _dialect_of(checked)),
        max_concurrency=check_whole("max_concurrency", named.get("max_concurrency", 8), 1, MAX_CONCURRENCY),
        timeout=check_positive("timeout", named.get("timeout", 60.0)),
        max_wait=check_positive("max_wait", named.get("max_wait", 900.0)),
        bridge=_checked_bridge(named.get("bridge", "thread")),
        settle_window=check_positive("settle_window", named.get("settle_window", 30.0)),
        journal=_journal(named),
        rerun_guard=_rerun_guard(named.get("rerun_guard", 86_400.0)),
        max_uploads=check_whole("max_uploads", named.get("max_uploads", 8), 1, MAX_UPLOADS),
    )


def _rerun_guard(named: object) -> float | None:
    return None if named is False else check_positive("rerun_guard", named)


def _dialect_of(url: str) -> DialectName:
    return "legacy" if urlsplit(url).path.endswith("/api/v1") else "current"


def _checked_key(key: Secret) -> Secret:
    """Validate a key. The key never appears in a message or in a local variable."""
    if not isinstance(key.reveal(), str):
        msg = f"api_key must be a string; got {type(key.reveal()).__name__}"
        raise ConfigurationError(msg)
    if re.search(r"\s", key.reveal()):
        msg = "api_key contains a space or a line break (the newline at the end of a file?): strip it"
        raise ConfigurationError(msg)
    if not re.fullmatch(r"[!-~]+", key.reveal()):
        msg = "api_key must be printable ASCII and not empty"
        raise ConfigurationError(msg)
    return key


def _checked_url(url: object) -> str:
    if not isinstance(url, str) or not url.strip():
        msg = f"base_url must be a URL such as {BASE_URLS['current']!r}; got {type(url).__name__}"
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        msg = "base_url is not a URL"
        raise ConfigurationError(msg) from exc
    if re.search(r"[\s?#@\\]", url.strip()):
        msg = "base_url must not contain a user, password, query or fragment"
        raise ConfigurationError(msg)
    if parts.scheme not in ("http", "https") or not host:
        msg = f"base_url must begin with https:// and name a host; got {url!r}"
        raise ConfigurationError(msg)
    if parts.scheme == "http" and not is_loopback(host):
        msg = (
            f"base_url {url!r} would send the key unencrypted: use https (http is allowed for loopback addresses only)"
        )
        raise ConfigurationError(msg)
    return _normalized(url)


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address. Does not use DNS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_bridge(value: Any) -> BridgeName:
    if value not in ("thread", "nest"):
        msg = f"bridge must be 'thread' or 'nest'; got {value!r}"
        raise ConfigurationError(msg)
    bridge: BridgeName = value
    return bridge
