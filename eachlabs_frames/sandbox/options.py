"""How one sandbox behaves: values only.

Owns the knobs of a sandbox and their limits. It never acts on them, and imports nothing of the product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Dialect: TypeAlias = Literal["current", "legacy"]
CostShape: TypeAlias = Literal["number", "object", "none"]
Clock: TypeAlias = Callable[[], float]
WebhookFault: TypeAlias = Literal["forged", "altered", "aged", "early", "undated", "stripped"]

API_KEY = "sandbox-key"
PREFIXES: Mapping[Dialect, str] = {"current": "/v1", "legacy": "/api/v1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The knobs of a sandbox; `Sandbox.change` replaces some of them while it runs.

    Parameters
    ----------
    seed
        Decides how long each execution runs, which ones fail by `failure_rate`, and the chance of faults.
    latency
        Seconds before any API request is acted on.
    queue_seconds
        Seconds that an execution stays queued.
    run_seconds
        The shortest and the longest run, in seconds.
    failure_rate
        Share of executions that end `failed`, picked by a hash of the inputs and of how often they came.
    fail_when
        Called with an execution's inputs; true means that it ends `failed`.
    account_cap
        Most executions in flight; a request that would exceed it is refused whole with 429.
    cap_retry_after
        The `Retry-After` of such a 429, in seconds; None sends no such header.
    trigger_rate
        Most bulk triggers in one second, else 429.
    balance_usd
        What the account may spend; it may be negative. None is unlimited: the balance starts at 53.475, goes down as
        executions are paid, and is topped up to that again when 10 or less are left.
    cost_usd
        What each execution costs; it is paid when the execution ends.
    estimate_usd
        What each running execution reserves of the balance until it ends; None is as much as it costs.
    cost_shape
        How a listing shows the cost: as a number, an object, or not at all; then the details have none either.
    listing_lag
        Seconds before an execution appears in a listing; `math.inf` means never.
    listing_inputs
        Whether a listing says each execution's inputs.
    hold
        Executions keep running until they are released.
    timestamp_digits
        Decimal places of the seconds in timestamps: 0 as in the API's examples, at most 6.
    clock_skew
        Seconds that the sandbox's clock, and so its timestamps, are ahead of this machine's clock.
    timestamp_skew
        Seconds that timestamps in answers are ahead of the sandbox's own clock, which the header `Date` says.
    webhook_pause
        Seconds between two attempts at one webhook delivery.
    media_bytes
        The least size of a PNG, in bytes.
    webhook_loss
        Share of executions whose end is never announced, picked by a hash of the inputs and of how often they came.
    webhook_repeats
        Times that a notification is sent again after it was delivered.
    webhook_shuffle
        Notifications that are due together go in another order, by the seed.
    webhook_burst
        Notifications that must be due before any is sent; then all of them go at once.
    webhook_faults
        What is wrong with the first, second, ... attempt at each notification; attempts beyond are right. ``forged``:
        by someone who does not know the secret. ``altered``: another body than the one that was signed. ``aged``,
        ``early``: signed six minutes ago, or ahead of time. ``undated``: the timestamp is a date in words.
        ``stripped``: only `X-Webhook-Secret`, as before 2026-09-21.
    """

    seed: int = 0
    latency: float = 0.0
    queue_seconds: float = 0.2
    run_seconds: tuple[float, float] = (0.5, 2.0)
    failure_rate: float = 0.0
    fail_when: Callable[[Mapping[str, Any]], bool] | None = None
    account_cap: int | None = None
    cap_retry_after: float | None = None
    trigger_rate: int | None = None
    balance_usd: float | None = None
    cost_usd: float = 0.01
    estimate_usd: float | None = None
    cost_shape: CostShape = "number"
    listing_lag: float = 0.0
    listing_inputs: bool = True
    hold: bool = False
    timestamp_digits: int = 0
    clock_skew: float = 0.0
    timestamp_skew: float = 0.0
    webhook_pause: float = 1.0
    media_bytes: int = 0
    webhook_loss: float = 0.0
    webhook_repeats: int = 0
    webhook_shuffle: bool = False
    webhook_burst: int = 1
    webhook_faults: tuple[WebhookFault, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.run_seconds
        checks = {
            "latency": 0 <= self.latency < math.inf,
            "queue_seconds": 0 <= self.queue_seconds < math.inf,
            "run_seconds": 0 <= low <= high < math.inf,
            "failure_rate": 0 <= self.failure_rate <= 1,
            "account_cap": self.account_cap is None or self.account_cap >= 1,
            "trigger_rate": self.trigger_rate is None or self.trigger_rate >= 1,
            "balance_usd": self.balance_usd is None or math.isfinite(self.balance_usd),
            "cost_usd": 0 <= self.cost_usd < math.inf,
            "estimate_usd": self.estimate_usd is None or 0 <= self.estimate_usd < math.inf,
            "cost_shape": self.cost_shape in ("number", "object", "none"),
            "listing_lag": self.listing_lag >= 0,
            "timestamp_digits": 0 <= self.timestamp_digits <= 6,
            "webhook_pause": 0 <= self.webhook_pause < math.inf,
            "media_bytes": 0 <= self.media_bytes <= 2**30,
            "webhook_loss": 0 <= self.webhook_loss <= 1,
            "webhook_repeats": self.webhook_repeats >= 0,
            "webhook_burst": self.webhook_burst >= 1,
            "webhook_faults": isinstance(self.webhook_faults, tuple)
            and set(self.webhook_faults) <= set(get_args(WebhookFault)),
        }
        for name, fine in checks.items():
            if not fine:
                msg = f"{name}={getattr(self, name)!r} is out of its range; see sandbox.Options"
                raise ValueError(msg)
