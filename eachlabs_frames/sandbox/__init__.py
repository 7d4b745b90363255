"""A local server that stands in for the each::labs API, for tests and demos. It can inject faults.

Owns the sandbox's public names. It never imports the rest of the package, except in `start`, which changes the
settings; and it imports nothing heavy before a sandbox is started.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .faults import Fault
from .options import API_KEY, Clock, CostShape, Dialect, Options, WebhookFault

if TYPE_CHECKING:
    from .foreground import serve
    from .server import Sandbox
    from .workflows import Step, Version, Workflow

__all__ = ["API_KEY", "Dialect", "Fault", "Options", "Sandbox", "Step", "Version", "Workflow", "serve", "start"]

_LAZY = {
    "Sandbox": "server",
    "serve": "foreground",
    "Step": "workflows",
    "Version": "workflows",
    "Workflow": "workflows",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# The journals of this process's sandboxes, in one temporary folder. The key is the process: after a fork, the child
# inherits the entry of its parent, and must not delete that folder.
_journal_folders: dict[int, Path] = {}
_journal_numbers = itertools.count(1)
_journal_lock = threading.Lock()


def _temporary_journal(name: str) -> Path:
    """Return the path of a new journal; no two calls return the same one."""
    import tempfile  # takes time to import, and is needed only where a sandbox is started

    with _journal_lock:
        process = os.getpid()
        if process not in _journal_folders:
            _journal_folders[process] = Path(tempfile.mkdtemp(prefix="eachlabs-sandbox-"))
        return _journal_folders[process] / f"journal-{name}-{next(_journal_numbers)}.sqlite"


# Registered on import, before the engine's: handlers run in reverse order, so calls at work are stopped first.
@atexit.register
def _delete_journals() -> None:
    folder = _journal_folders.pop(os.getpid(), None)
    if folder is not None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def start(
    *,
    port: int = 0,
    configure: bool = True,
    dialect: Dialect = "current",
    api_key: str = API_KEY,
    seed: int = 0,
    faults: Iterable[Fault] = (),
    latency: float = 0.0,
    queue_seconds: float = 0.2,
    run_seconds: tuple[float, float] = (0.5, 2.0),
    failure_rate: float = 0.0,
    fail_when: Callable[[Mapping[str, Any]], bool] | None = None,
    account_cap: int | None = None,
    cap_retry_after: float | None = None,
    trigger_rate: int | None = None,
    balance_usd: float | None = None,
    cost_usd: float = 0.01,
    estimate_usd: float | None = None,
    cost_shape: CostShape = "number",
    listing_lag: float = 0.0,
    listing_inputs: bool = True,
    hold: bool = False,
    timestamp_digits: int = 0,
    clock_skew: float = 0.0,
    timestamp_skew: float = 0.0,
    presign_seconds: float = 900.0,
    processing_seconds: float = 0.0,
    webhook_pause: float = 1.0,
    webhook_loss: float = 0.0,
    webhook_repeats: int = 0,
    webhook_shuffle: bool = False,
    webhook_burst: int = 1,
    webhook_faults: tuple[WebhookFault, ...] = (),
    media_bytes: int = 0,
    clock: Clock = time.monotonic,
) -> Sandbox:
    """Start a local server that stands in for the each::labs API, and configure this process to use it.

    The server listens on 127.0.0.1 and runs on a background thread until `Sandbox.stop` is called, its ``with`` block
    ends or the process exits. Nothing is billed: balances and costs are simulated.

    While the sandbox's URL is configured, runs are recorded in a temporary journal, which is deleted when the process
    exits. A sandbox keeps its executions in memory only, so its runs cannot be resumed later, and they do not appear
    among real runs. A journal set with ``configure(journal=...)`` is used instead; the environment variable
    ``EACHLABS_JOURNAL`` is not.

    The settings stay after the sandbox is stopped. ``configure(api_key=None, base_url=None)`` restores the key, the URL
    and the journal from the environment.

    Parameters
    ----------
    port : int, default 0
        Port on 127.0.0.1; 0 selects a free port.
    configure : bool, default True
        Call `eachlabs_frames.configure` with the sandbox's API key and base URL; the dialect then follows from the URL.
    dialect : {"current", "legacy"}, default "current"
        The API dialect of `Sandbox.base_url`. Both dialects are always served.
    api_key : str, default "sandbox-key"
        The API key that requests must have.
    faults : iterable of Fault, optional
        The faults to inject; none by default. See `Fault`.
    seed, latency, queue_seconds, run_seconds, hold
        Timing of executions (in seconds) and the random seed; see `Options`.
    failure_rate, fail_when
        Which executions fail; see `Options`. An input with a top-level string that contains ``[fail]`` always fails.
    account_cap, cap_retry_after, trigger_rate
        The account's limits, beyond which requests get a 429; see `Options`.
    balance_usd, cost_usd, estimate_usd, cost_shape
        Balance and costs, in USD; see `Options`.
    listing_lag, listing_inputs, timestamp_digits, clock_skew, timestamp_skew, media_bytes
        Listings, timestamps and output files; see `Options`.
    presign_seconds, processing_seconds
        Uploaded files; see `Options`.
    webhook_pause, webhook_loss, webhook_repeats, webhook_shuffle, webhook_burst, webhook_faults
        Webhook deliveries; see `Options`.
    clock : callable, default time.monotonic
        Returns the time in seconds. It must never go backwards.

    Returns
    -------
    Sandbox
        The running sandbox. As a context manager, it stops at the end of the ``with`` block.

    Raises
    ------
    OSError
        The port is in use.
    ValueError
        An option is out of range, or the dialect is unknown.
    ConfigurationError
        The settings cannot be changed, for example because `api_key` is not a valid key.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> with ef.sandbox.start(configure=False) as sandbox:
    ...     sandbox.accepted_count()
    0
    """
    arguments = locals()
    from .server import Sandbox

    # Every option is a parameter of the same name.
    options = Options(**{field.name: arguments[field.name] for field in fields(Options)})
    sandbox = Sandbox(port=port, dialect=dialect, api_key=api_key, faults=faults, options=options, clock=clock)
    try:
        from eachlabs_frames import settings

        urls = sandbox.current_base_url, sandbox.legacy_base_url
        settings.use_journal_for(urls, _temporary_journal(f"{sandbox.port}-{seed}"))
        if configure:
            # dialect=None: read from the base URL, so that no choice outlives this sandbox.
            settings.configure(api_key=api_key, base_url=sandbox.base_url, dialect=None)
    except BaseException:
        sandbox.stop()
        raise
    return sandbox
