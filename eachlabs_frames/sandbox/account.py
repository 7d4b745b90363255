"""The account: its executions, concurrency limit and balance.

Decides whether a bulk trigger is accepted. It never touches a socket. All methods are thread-safe.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
import uuid
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from .executions import TERMINAL, Accepted, Bill, Execution, ExecutionRecord, draw, fraction
from .messages import RefusalError, canonical
from .options import Clock, Options
from .prices import PriceList, micros
from .schema import validation_error

if TYPE_CHECKING:
    from .workflows import Step, Version, Workflow

Webhook: TypeAlias = tuple[str | None, str | None]
"""The URL and the secret of a trigger's deliveries."""

# The balance in the API's own example; an unlimited account starts with it.
_START_MICROS = 53_475_000
# An account with $10.00 or less is limited in its executions, so an unlimited one is topped up before.
_LOW_MICROS = 10_000_000

# Texts from the API's documentation, "Errors".
_CAPPED = (
    "accounts with a balance of $10.00 or less are limited to {cap} concurrent executions. "
    "Wait for in-flight executions to finish, or top up."
)
_RESERVED = (
    "the estimated cost ({total}) of this request and of your in-flight executions exceeds your current balance "
    "({balance}). please wait for an active execution to finish or top up"
)


def _dollars(amount: int) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount) / 1_000_000:.2f}"


def _is_allowed(calls: deque[float], limit: int, now: float) -> bool:
    """Count a call at `now` and return True, or return False if the last second has `limit` calls already."""
    while calls and now - calls[0] >= 1.0:
        calls.popleft()
    if len(calls) >= limit:
        return False
    calls.append(now)
    return True


class Account:
    """One organisation's account."""

    def __init__(self, options: Options, clock: Clock, prices: PriceList | None = None) -> None:
        self._lock = threading.RLock()
        self._options = options
        self._clock = clock
        self.prices = prices or PriceList()
        self._epoch = time.time() - clock()
        self._sequence = itertools.count()
        self.reset()

    def reset(self) -> None:
        """Delete all executions and restore the balance."""
        with self._lock:
            self._all: dict[str, Execution] = {}
            self._by_workflow: defaultdict[str, list[Execution]] = defaultdict(list)
            self._by_bulk: defaultdict[str, list[Execution]] = defaultdict(list)
            self._by_inputs: Counter[str] = Counter()
            self._open: dict[str, Execution] = {}
            self._ends: list[tuple[float, int, Execution]] = []
            self._balance_micros = self._initial_micros()
            self._reserved_micros = 0
            self._balance_calls: deque[float] = deque()
            self._trigger_calls: deque[float] = deque()

    def _initial_micros(self) -> int:
        balance = self._options.balance_usd
        return _START_MICROS if balance is None else micros(balance)

    @property
    def options(self) -> Options:
        """The options in force."""
        return self._options

    def now(self) -> float:
        """Return the time of the sandbox's clock."""
        return self._clock()

    def epoch(self, moment: float) -> float:
        """Return a time of the sandbox's clock in seconds since the epoch, with the clock's skew."""
        return self._epoch + moment + self._options.clock_skew

    def change(self, **changes: Any) -> None:
        """Replace some options. A new `balance_usd` replaces the current balance."""
        with self._lock:
            self._settle_ended()
            self._options = replace(self._options, **changes)
            if "balance_usd" in changes:
                self._balance_micros = self._initial_micros()

    # Triggers

    def trigger(
        self,
        workflow: Workflow,
        version: Version,
        inputs: Sequence[dict[str, Any]],
        webhook: Webhook,
        unreadable: Callable[[Mapping[str, Any]], str | None],
    ) -> tuple[str, list[Execution | str]]:
        """Accept a bulk trigger as a whole or in part, or raise `RefusalError`.

        `unreadable` returns the URL of an input's file that cannot be read: its execution fails.
        Returns the bulk ID, and for each input its execution or the reason why it was rejected.
        """
        schema = version.input_schema
        errors = [validation_error(schema, item) if schema is not None else None for item in inputs]
        with self._lock:
            self._check_inputs(workflow, errors)
            self._check_limits(errors.count(None))
            accepted = [item for item, error in zip(inputs, errors, strict=True) if error is None]
            self._check_balance(sum(self._estimate(workflow.steps_of(version), item) for item in accepted))
            bulk_id = str(uuid.uuid4())
            return bulk_id, [
                error or self._create(workflow, version, bulk_id, item, webhook, unreadable(item))
                for error, item in zip(errors, inputs, strict=True)
            ]

    @staticmethod
    def _check_inputs(workflow: Workflow, errors: Sequence[str | None]) -> None:
        if workflow.reject == "entry":
            return
        for position, error in enumerate(errors):
            if error is not None:
                status = 400 if workflow.reject == "request" else 422
                raise RefusalError(status, "invalid inputs", details=f"inputs[{position}]: {error}")

    def _check_limits(self, count: int) -> None:
        options, rate = self._options, self._options.trigger_rate
        if rate is not None and not _is_allowed(self._trigger_calls, rate, self._clock()):
            raise RefusalError(429, "too many requests", details="too many starts at once", retry_after=1)
        self._settle_ended()
        if options.account_cap is not None and len(self._open) + count > options.account_cap:
            raise RefusalError(
                429,
                "Account rate limited",
                details=_CAPPED.format(cap=options.account_cap),
                retry_after=options.cap_retry_after,
            )

    def _check_balance(self, estimate: int) -> None:
        """Raise `RefusalError` if the balance does not cover the estimate and the executions in flight."""
        if self._options.balance_usd is None:
            return
        balance = self._balance_micros
        if estimate > balance:
            text = f"the estimated cost ({_dollars(estimate)}) exceeds your current balance ({_dollars(balance)})"
            raise RefusalError(402, "insufficient balance", details=text)
        total = estimate + self._reserved_micros
        if total > balance:
            text = _RESERVED.format(total=_dollars(total), balance=_dollars(balance))
            raise RefusalError(402, "insufficient balance", details=text)

    def _estimate(self, steps: Sequence[Step], inputs: Mapping[str, Any]) -> int:
        """Return the micro-dollars that an execution reserves."""
        options = self._options
        default = micros(options.cost_usd if options.estimate_usd is None else options.estimate_usd)
        return self.prices.estimate(steps, inputs, default)

    def _create(
        self,
        workflow: Workflow,
        version: Version,
        bulk_id: str,
        inputs: dict[str, Any],
        webhook: Webhook,
        unreadable_url: str | None,
    ) -> Execution:
        options, now = self._options, self._clock()
        fingerprint = canonical(inputs)
        occurrence = self._by_inputs[fingerprint]
        seconds, cause = draw(inputs, options, fingerprint=fingerprint, occurrence=occurrence)
        if unreadable_url is not None:
            cause = f"Step 'generate' failed: the input file cannot be read: {unreadable_url}"
        steps = workflow.steps_of(version)
        charge = self.prices.charge(
            steps,
            inputs,
            micros(options.cost_usd),
            lambda name: fraction(f"{options.seed}:{name}:{occurrence}:{fingerprint}"),
            failed=cause is not None,
        )
        starts = now + options.queue_seconds
        execution = Execution(
            execution_id=str(uuid.uuid4()),
            bulk_id=bulk_id,
            workflow=workflow,
            version_id=version.version_id,
            inputs=inputs,
            fingerprint=fingerprint,
            occurrence=occurrence,
            charge=charge,
            reserved_micros=self._estimate(steps, inputs),
            created=now,
            starts=starts,
            ends=math.inf if options.hold else starts + seconds,
            cause=cause,
            webhook_url=webhook[0],
            webhook_secret=webhook[1],
        )
        self._all[execution.execution_id] = execution
        self._by_inputs[fingerprint] += 1
        self._by_workflow[workflow.workflow_id].append(execution)
        self._by_bulk[bulk_id].append(execution)
        self._open_execution(execution)
        return execution

    # Life of executions

    def _open_execution(self, execution: Execution) -> None:
        if execution.execution_id not in self._open:
            self._open[execution.execution_id] = execution
            self._reserved_micros += execution.reserved_micros
        if execution.ends < math.inf:
            heapq.heappush(self._ends, (execution.ends, next(self._sequence), execution))

    def _end(self, execution: Execution, now: float) -> None:
        execution.forced_status = None
        execution.starts = min(execution.starts, now)
        execution.ends = min(execution.ends, now)
        heapq.heappush(self._ends, (execution.ends, next(self._sequence), execution))

    def _settle_ended(self) -> None:
        """Release the reservations of ended executions, and charge their costs. The balance may become negative."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            execution = heapq.heappop(self._ends)[2]
            if execution.ends <= now and self._open.pop(execution.execution_id, None) is not None:
                self._reserved_micros -= execution.reserved_micros
                self._balance_micros -= execution.charge.micros
                if self._options.balance_usd is None and self._balance_micros <= _LOW_MICROS:
                    self._balance_micros = _START_MICROS

    @property
    def in_flight(self) -> int:
        """The number of executions that have not ended."""
        with self._lock:
            self._settle_ended()
            return len(self._open)

    def release(self, count: int | None = None) -> int:
        """End the oldest `count` held executions (all by default), and return how many were ended."""
        with self._lock:
            now = self._clock()
            held = list(itertools.islice((e for e in self._open.values() if e.ends == math.inf), count))
            for execution in held:
                self._end(execution, now)
            return len(held)

    def set_status(self, execution_id: str, status: str) -> None:
        """Set the status of an execution, also to one that the API does not document."""
        with self._lock:
            execution = self._all[execution_id]
            if status in TERMINAL:
                self._end(execution, self._clock())
            else:
                execution.ends = math.inf
                if status != "queued":
                    execution.starts = min(execution.starts, self._clock())
                self._open_execution(execution)
            execution.forced_status = status

    def expire(self, execution_ids: Collection[str]) -> None:
        """Remove executions from details and listings; they stay in the record of accepted executions."""
        with self._lock:
            for execution in [self._all[execution_id] for execution_id in execution_ids]:
                if not execution.is_expired:
                    execution.is_expired = True
                    self._by_workflow[execution.workflow.workflow_id].remove(execution)
                    self._by_bulk[execution.bulk_id].remove(execution)

    # Reads

    def find(self, execution_id: str) -> Execution:
        """Return an execution, or raise a 404 refusal."""
        with self._lock:
            execution = self._all.get(execution_id)
        if execution is None or execution.is_expired:
            raise RefusalError(404, "execution not found")
        return execution

    def page(self, workflow_id: str, bulk_id: str | None, offset: int, limit: int) -> tuple[list[Execution], int]:
        """Return a page of a workflow's listing, newest first, and the total count."""
        with self._lock:
            if bulk_id is None:
                executions = self._by_workflow.get(workflow_id, [])
            else:
                executions = [e for e in self._by_bulk.get(bulk_id, []) if e.workflow.workflow_id == workflow_id]
            # Executions are stored by creation time, so those older than the lag are a prefix.
            visible_until = self._clock() - self._options.listing_lag
            total = bisect_right(executions, visible_until, key=lambda e: e.created)
            stop = max(0, total - offset)
            return executions[max(0, stop - limit) : stop][::-1], total

    def version_counts(self, workflow_id: str) -> Mapping[str, int]:
        """Return the number of executions of each version of a workflow."""
        with self._lock:
            return Counter(e.version_id for e in self._all.values() if e.workflow.workflow_id == workflow_id)

    def read_balance(self) -> float:
        """Return the balance for the API's endpoint, which allows three requests per second."""
        with self._lock:
            if not _is_allowed(self._balance_calls, 3, self._clock()):
                raise RefusalError(429, "too many requests", details="3 requests per second", retry_after=1)
            return self.balance_usd

    @property
    def balance_usd(self) -> float:
        """The balance in USD without reservations. It may be negative."""
        with self._lock:
            self._settle_ended()
            return self._balance_micros / 1_000_000

    def top_up(self, usd: float) -> None:
        """Add an amount to the balance."""
        with self._lock:
            self._settle_ended()
            self._balance_micros += micros(usd)

    def accepted(self) -> tuple[Accepted, ...]:
        """Return all accepted executions in order of acceptance."""
        return tuple(
            Accepted(r.execution_id, r.bulk_id, r.workflow_id, r.version_id, r.inputs, r.created_at)
            for r in self.records()
        )

    def records(self) -> tuple[ExecutionRecord, ...]:
        """Return all executions and their current status, in order of acceptance."""
        with self._lock:
            now = self._clock()
            return tuple(
                ExecutionRecord(
                    e.execution_id,
                    e.bulk_id,
                    e.workflow.workflow_id,
                    e.version_id,
                    e.inputs,
                    e.status(now),
                    self.epoch(e.created),
                    self.epoch(e.ends) if e.ended(now) else None,
                )
                for e in self._all.values()
            )

    def bills(self) -> tuple[Bill, ...]:
        """Return what every execution reserved and costs, in order of acceptance."""
        with self._lock:
            now = self._clock()
            return tuple(
                Bill(
                    e.execution_id,
                    e.status(now),
                    e.reserved_micros / 1_000_000,
                    e.cost_usd if e.ended(now) else None,
                    tuple((call.step_id, call.model, call.micros / 1_000_000) for call in e.charge.calls),
                )
                for e in self._all.values()
            )

    @property
    def billed_usd(self) -> float:
        """What ended executions cost together, in USD."""
        with self._lock:
            now = self._clock()
            return sum(e.charge.micros for e in self._all.values() if e.ended(now)) / 1_000_000

    def accepted_count(self, inputs: Mapping[str, Any] | None = None) -> int:
        """Return the number of accepted executions, or of those with exactly these inputs."""
        with self._lock:
            return len(self._all) if inputs is None else self._by_inputs[canonical(inputs)]

    def duplicates(self) -> dict[str, int]:
        """Return the inputs that were accepted more than once, as canonical JSON, with their counts."""
        with self._lock:
            return {text: count for text, count in self._by_inputs.items() if count > 1}
