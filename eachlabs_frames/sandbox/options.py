"""The options of a sandbox: values and their valid ranges.

Owns the definition of every option. It never acts on one, and imports nothing from the rest of the package.
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
    """The options of a sandbox. `Sandbox.change` replaces some of them while it runs.

    Parameters
    ----------
    seed
        Seed of run times, of failures by `failure_rate`, and of faults with a `chance`.
    latency
        Seconds to wait before an API request is processed.
    queue_seconds
        Seconds that an execution is queued.
    run_seconds
        Shortest and longest run time of an execution, in seconds.
    failure_rate
        Fraction of executions that fail, 0 to 1. A hash of the seed, the inputs and the number of earlier executions
        with the same inputs selects them.
    fail_when
        Called with the inputs of an execution; if it returns a true value, the execution fails.
    account_cap
        Maximum number of concurrent executions. A request that would exceed it is rejected as a whole with 429.
    cap_retry_after
        Seconds in the `Retry-After` header of that 429; without the header if None.
    trigger_rate
        Maximum number of bulk triggers per second; requests beyond it get 429.
    balance_usd
        Balance of the account, which may be negative. If None, it is unlimited: it starts at 53.475 USD, and is reset
        to that amount when 10 USD or less are left.
    cost_usd
        Cost of an execution, charged when it ends.
    estimate_usd
        Amount that an execution reserves from the balance until it ends; `cost_usd` if None.
    cost_shape
        Format of the cost in listings: a number, an object, or none. With "none", details have no cost either.
    listing_lag
        Seconds until an execution appears in listings; `math.inf` for never.
    listing_inputs
        Whether listings contain the inputs of executions.
    hold
        Whether executions run until they are released with `Sandbox.release`.
    timestamp_digits
        Decimal places of the seconds in timestamps, 0 to 6. The examples in the API's documentation have none.
    clock_skew
        Seconds by which the sandbox's clock, and so its timestamps, are ahead of this machine's clock.
    timestamp_skew
        Seconds by which timestamps in responses are ahead of the sandbox's clock, which the `Date` header shows.
    presign_seconds
        Seconds that a presigned URL accepts an upload.
    processing_seconds
        Seconds after an upload in which the file cannot be deleted (409).
    webhook_pause
        Seconds between two attempts to send a webhook delivery.
    media_bytes
        Minimum size of a PNG file, in bytes.
    webhook_loss
        Fraction of executions without a webhook delivery, selected like `failure_rate`.
    webhook_repeats
        Number of times that a delivery is sent again after it succeeded.
    webhook_shuffle
        Whether deliveries that are due at the same time are sent in random order, by the seed.
    webhook_burst
        Number of deliveries that must be due before any is sent; all of them are then sent at once.
    webhook_faults
        Faults of the first, second, ... attempt at each delivery; later attempts have none. ``forged``: signed with
        another secret. ``altered``: the body is not the signed one. ``aged``, ``early``: the timestamp is six minutes
        in the past, or in the future. ``undated``: the timestamp is an HTTP date instead of a number. ``stripped``:
        only the header `X-Webhook-Secret`, as before 2026-09-21.
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
    presign_seconds: float = 900.0
    processing_seconds: float = 0.0
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
            "presign_seconds": 0 <= self.presign_seconds < math.inf,
            "processing_seconds": 0 <= self.processing_seconds < math.inf,
            "webhook_pause": 0 <= self.webhook_pause < math.inf,
            "media_bytes": 0 <= self.media_bytes <= 2**30,
            "webhook_loss": 0 <= self.webhook_loss <= 1,
            "webhook_repeats": self.webhook_repeats >= 0,
            "webhook_burst": self.webhook_burst >= 1,
            "webhook_faults": isinstance(self.webhook_faults, tuple)
            and set(self.webhook_faults) <= set(get_args(WebhookFault)),
        }
        for name, is_valid in checks.items():
            if not is_valid:
                msg = f"{name}={getattr(self, name)!r} is out of its range; see sandbox.Options"
                raise ValueError(msg)
