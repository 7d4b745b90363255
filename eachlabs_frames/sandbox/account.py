"""The account: its executions, concurrency limit and balance.

Decides whether a bulk trigger is accepted. It never touches a socket. All methods are thread-safe.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .answers import RefusalError, canonical
from .bodies import Page, TriggerBody
from .checker import problem
from .executions import TERMINAL, Execution, Stamps, fate
from .ledger import Accepted, ExecutionRecord
from .options import Clock, Options
from .window import Window
from .workflows import Version, Workflow

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


def _dollars(micros: int) -> str:
    return f"{'-' if micros < 0 else ''}${abs(micros) / 1_000_000:.2f}"


@dataclass(frozen=True, slots=True)
class Bulk:
    """The result of a bulk trigger: for each input an execution, or the reason why it was rejected."""

    bulk_id: str
    outcomes: tuple[Execution | str, ...]


class Account:
    """One organisation's account."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._lock = threading.RLock()
        self._options = options
        self._clock = clock
        self._number = itertools.count()
        self.stamps = Stamps(clock)
        self._forget()

    def _forget(self) -> None:
        self._all: dict[str, Execution] = {}
        self._by_workflow: defaultdict[str, list[Execution]] = defaultdict(list)
        self._by_bulk: defaultdict[str, list[Execution]] = defaultdict(list)
        self._by_inputs: Counter[str] = Counter()
        self._versions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._expired: set[str] = set()
        self._held: dict[str, Execution] = {}
        self._open: dict[str, Execution] = {}
        self._endings: list[tuple[float, int, Execution]] = []
        self._micros = self._initial_micros()
        self._reserved_micros = 0
        self._balance_calls, self._trigger_calls = Window(), Window()

    @staticmethod
    def _as_micros(usd: float) -> int:
        # Whole micro-dollars: ten times 0.01 must be 0.1.
        return round(usd * 1_000_000)

    def _initial_micros(self) -> int:
        balance = self._options.balance_usd
        return _START_MICROS if balance is None else self._as_micros(balance)

    @property
    def options(self) -> Options:
        """The options in force."""
        with self._lock:
            return self._options

    def now(self) -> float:
        """Return the time of the sandbox's clock."""
        return self._clock()

    def change(self, **changes: Any) -> None:
        """Replace some options. A new `balance_usd` replaces the current balance."""
        with self._lock:
            self._in_flight(self._clock())
            self._options = replace(self._options, **changes)
            if "balance_usd" in changes:
                self._micros = self._initial_micros()

    def reset(self) -> None:
        """Delete all executions and restore the balance."""
        with self._lock:
            self._forget()

    def start(self, workflow: Workflow, version: Version, body: TriggerBody) -> Bulk:
        """Accept a bulk trigger as a whole or in part, or raise `RefusalError`."""
        with self._lock:
            schema = version.input_schema
            problems = [problem(schema, item) if schema is not None else None for item in body.inputs]
            self._refuse_invalid(workflow, problems)
            self._refuse_too_much(problems.count(None))
            bulk_id = str(uuid.uuid4())
            outcomes = tuple(
                reason if reason is not None else self._create(workflow, version, bulk_id, body, item)
                for reason, item in zip(problems, body.inputs, strict=True)
            )
            return Bulk(bulk_id, outcomes)

    @staticmethod
    def _refuse_invalid(workflow: Workflow, problems: Sequence[str | None]) -> None:
        if workflow.reject == "entry":
            return
        for position, reason in enumerate(problems):
            if reason is not None:
                status = 400 if workflow.reject == "request" else 422
                raise RefusalError(status, "invalid inputs", details=f"inputs[{position}]: {reason}")

    def _refuse_too_much(self, count: int) -> None:
        options, now = self._options, self._clock()
        if options.trigger_rate is not None and not self._trigger_calls.allows(options.trigger_rate, now):
            raise RefusalError(429, "too many requests", details="too many starts at once", retry_after=1)
        running = self._in_flight(now)
        if options.account_cap is not None and running + count > options.account_cap:
            raise RefusalError(
                429,
                "Account rate limited",
                details=_CAPPED.format(cap=options.account_cap),
                retry_after=options.cap_retry_after,
            )
        self._refuse_unpaid(count)

    def _refuse_unpaid(self, count: int) -> None:
        """Raise `RefusalError` if the balance does not cover `count` more executions and those in flight."""
        if self._options.balance_usd is None:
            return
        estimate = count * self._estimate_micros()
        if estimate > self._micros:
            text = f"the estimated cost ({_dollars(estimate)}) exceeds your current balance ({_dollars(self._micros)})"
            raise RefusalError(402, "insufficient balance", details=text)
        total = estimate + self._reserved_micros
        if total > self._micros:
            text = _RESERVED.format(total=_dollars(total), balance=_dollars(self._micros))
            raise RefusalError(402, "insufficient balance", details=text)

    def _estimate_micros(self) -> int:
        options = self._options
        return self._as_micros(options.cost_usd if options.estimate_usd is None else options.estimate_usd)

    def _create(
        self, workflow: Workflow, version: Version, bulk_id: str, body: TriggerBody, inputs: dict[str, Any]
    ) -> Execution:
        options, now = self._options, self._clock()
        fingerprint = canonical(inputs)
        occurrence = self._by_inputs[fingerprint]
        self._by_inputs[fingerprint] = occurrence + 1
        lot = fate(inputs, options, fingerprint=fingerprint, occurrence=occurrence)
        starts = now + options.queue_seconds
        execution = Execution(
            execution_id=str(uuid.uuid4()),
            bulk_id=bulk_id,
            workflow=workflow,
            version_id=version.version_id,
            inputs=inputs,
            fingerprint=fingerprint,
            cost_usd=options.cost_usd,
            reserved_micros=self._estimate_micros(),
            created=now,
            starts=starts,
            ends=math.inf if options.hold else starts + lot.run_seconds,
            cause=lot.cause,
            occurrence=occurrence,
            webhook_url=body.webhook_url,
            webhook_secret=body.webhook_secret,
        )
        self._all[execution.execution_id] = self._open[execution.execution_id] = execution
        self._reserved_micros += execution.reserved_micros
        self._by_workflow[workflow.workflow_id].append(execution)
        self._by_bulk[bulk_id].append(execution)
        self._versions[workflow.workflow_id][version.version_id] += 1
        if options.hold:
            self._held[execution.execution_id] = execution
        else:
            heapq.heappush(self._endings, (execution.ends, next(self._number), execution))
        return execution

    def _in_flight(self, now: float) -> int:
        while self._endings and self._endings[0][0] <= now:
            execution = heapq.heappop(self._endings)[2]
            if execution.ends <= now and self._open.pop(execution.execution_id, None) is not None:
                self._settle(execution)
        return len(self._open)

    def _settle(self, execution: Execution) -> None:
        """Release an execution's reservation and charge its cost. The balance may become negative."""
        self._reserved_micros -= execution.reserved_micros
        self._micros -= self._as_micros(execution.cost_usd)
        if self._options.balance_usd is None and self._micros <= _LOW_MICROS:
            self._micros = _START_MICROS

    @property
    def in_flight(self) -> int:
        """The number of executions that have not ended."""
        with self._lock:
            return self._in_flight(self._clock())

    def release(self, count: int | None = None) -> int:
        """End the oldest `count` held executions (all by default), and return how many were ended."""
        with self._lock:
            chosen = list(itertools.islice(self._held.values(), count))
            now = self._clock()
            for execution in chosen:
                self._end(execution, now)
            return len(chosen)

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
                if execution_id not in self._open:
                    self._reserved_micros += execution.reserved_micros
                self._open[execution_id] = self._held[execution_id] = execution
            execution.forced_status = status

    def expire(self, execution_ids: Collection[str]) -> None:
        """Remove executions from details and listings; they stay in the record of accepted executions."""
        with self._lock:
            for execution_id in execution_ids:
                execution = self._all[execution_id]
                if execution_id not in self._expired:
                    self._expired.add(execution_id)
                    self._by_workflow[execution.workflow.workflow_id].remove(execution)
                    self._by_bulk[execution.bulk_id].remove(execution)

    def _end(self, execution: Execution, now: float) -> None:
        self._held.pop(execution.execution_id, None)
        execution.forced_status = None
        execution.starts = min(execution.starts, now)
        execution.ends = min(execution.ends, now)
        heapq.heappush(self._endings, (execution.ends, next(self._number), execution))

    def find(self, execution_id: str) -> Execution:
        """Return an execution, or raise a 404 refusal."""
        with self._lock:
            execution = None if execution_id in self._expired else self._all.get(execution_id)
        if execution is None:
            raise RefusalError(404, "execution not found")
        return execution

    def page(self, workflow: Workflow, page: Page) -> tuple[list[Execution], int]:
        """Return a page of a workflow's listing, newest first, and the total count."""
        with self._lock:
            if page.bulk_id is None:
                listed = self._by_workflow.get(workflow.workflow_id, [])
            else:
                bulk = self._by_bulk.get(page.bulk_id, [])
                listed = [e for e in bulk if e.workflow.workflow_id == workflow.workflow_id]
            # Executions are stored by creation time, so those older than the lag are a prefix.
            seen_until = self._clock() - self._options.listing_lag
            total = bisect_right(listed, seen_until, key=lambda e: e.created)
            stop = max(0, total - page.offset)
            return listed[max(0, stop - page.limit) : stop][::-1], total

    def version_counts(self, workflow: Workflow) -> Mapping[str, int]:
        """Return the number of executions of each version of a workflow."""
        with self._lock:
            return dict(self._versions.get(workflow.workflow_id, {}))

    def balance(self) -> float:
        """Return the balance for the API's endpoint, which allows three requests per second."""
        with self._lock:
            if not self._balance_calls.allows(3, self._clock()):
                raise RefusalError(429, "too many requests", details="3 requests per second", retry_after=1)
            return self.balance_usd

    @property
    def balance_usd(self) -> float:
        """The balance in USD without reservations. It may be negative."""
        with self._lock:
            self._in_flight(self._clock())
            return self._micros / 1_000_000

    def top_up(self, usd: float) -> None:
        """Add an amount to the balance."""
        with self._lock:
            self._in_flight(self._clock())
            self._micros += self._as_micros(usd)

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
            return tuple(self._record(execution, now) for execution in self._all.values())

    def _record(self, execution: Execution, now: float) -> ExecutionRecord:
        ended = execution.ends if execution.ended(now) else None
        return ExecutionRecord(
            execution.execution_id,
            execution.bulk_id,
            execution.workflow.workflow_id,
            execution.version_id,
            execution.inputs,
            execution.status(now),
            self.stamps.wall(execution.created, self._options),
            None if ended is None else self.stamps.wall(ended, self._options),
        )

    def accepted_count(self, inputs: Mapping[str, Any] | None = None) -> int:
        """Return the number of accepted executions, or of those with exactly these inputs."""
        with self._lock:
            return len(self._all) if inputs is None else self._by_inputs[canonical(inputs)]

    def duplicates(self) -> dict[str, int]:
        """Return the inputs that were accepted more than once, as canonical JSON, with their counts."""
        with self._lock:
            return {text: count for text, count in self._by_inputs.items() if count > 1}
