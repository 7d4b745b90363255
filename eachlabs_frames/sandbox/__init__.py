"""A local each::labs on loopback: strict, faithful, and able to go wrong on demand.

Owns the sandbox's public names. It never imports the product, except in `start`, which points the settings at the
sandbox; and it imports nothing heavy before a sandbox is started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .faults import Fault
from .journals import temporary_journal
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
    webhook_pause: float = 1.0,
    webhook_loss: float = 0.0,
    webhook_repeats: int = 0,
    webhook_shuffle: bool = False,
    webhook_burst: int = 1,
    webhook_faults: tuple[WebhookFault, ...] = (),
    media_bytes: int = 0,
    clock: Clock = time.monotonic,
) -> Sandbox:
    """Start a local each::labs, and point the settings at it.

    Calls to it are noted in a temporary journal of its own, which is deleted when the process ends: a sandbox forgets
    its executions when it stops, so that no run can be resumed later, and its runs do not appear among real ones. A
    journal that was chosen with `eachlabs_frames.configure` is used instead. The environment's ``EACHLABS_JOURNAL``
    is not: like its key and URL, it applies again after ``configure(api_key=None, base_url=None)``.

    Parameters
    ----------
    port
        The port on 127.0.0.1; 0 takes a free one.
    configure
        Whether to call `eachlabs_frames.configure` with the sandbox's key and base URL.
    dialect
        Which of the API's dialects `base_url` speaks; both are served.
    api_key
        The key that callers must send.
    faults
        What goes wrong, and when.
    clock
        Seconds that never go back; tests may bring their own.
    seed, latency, queue_seconds, run_seconds, failure_rate, fail_when, account_cap, cap_retry_after, \
trigger_rate, balance_usd, cost_usd, estimate_usd, cost_shape, listing_lag, listing_inputs, hold, timestamp_digits, \
clock_skew, timestamp_skew, webhook_pause, webhook_loss, webhook_repeats, webhook_shuffle, webhook_burst, \
webhook_faults, media_bytes
        See `Options`.

    Returns
    -------
    Sandbox
        Running; a context manager that stops it.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> with ef.sandbox.start(configure=False) as sandbox:
    ...     sandbox.accepted_count()
    0
    """
    from .server import Sandbox

    options = Options(
        seed=seed,
        latency=latency,
        queue_seconds=queue_seconds,
        run_seconds=run_seconds,
        failure_rate=failure_rate,
        fail_when=fail_when,
        account_cap=account_cap,
        cap_retry_after=cap_retry_after,
        trigger_rate=trigger_rate,
        balance_usd=balance_usd,
        cost_usd=cost_usd,
        estimate_usd=estimate_usd,
        cost_shape=cost_shape,
        listing_lag=listing_lag,
        listing_inputs=listing_inputs,
        hold=hold,
        timestamp_digits=timestamp_digits,
        clock_skew=clock_skew,
        timestamp_skew=timestamp_skew,
        webhook_pause=webhook_pause,
        webhook_loss=webhook_loss,
        webhook_repeats=webhook_repeats,
        webhook_shuffle=webhook_shuffle,
        webhook_burst=webhook_burst,
        webhook_faults=webhook_faults,
        media_bytes=media_bytes,
    )
    sandbox = Sandbox(port=port, dialect=dialect, api_key=api_key, faults=faults, options=options, clock=clock)
    try:
        from eachlabs_frames import settings

        urls = sandbox.current_base_url, sandbox.legacy_base_url
        settings.use_journal_for(urls, temporary_journal(f"{sandbox.port}-{seed}"))
        if configure:
            # dialect=None: read from the base URL, so that no choice outlives this sandbox.
            settings.configure(api_key=api_key, base_url=sandbox.base_url, dialect=None)
    except BaseException:
        sandbox.stop()
        raise
    return sandbox
