"""The account: executions, what may still be started, what was spent.

Owns every execution, the concurrency cap and the balance; decides what is accepted. It never touches a
socket. Every method may be called from any thread.
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

# The API's own example, and what an unlimited account starts with.
_START_MICROS = 53_475_000
# An account with $10.00 or less is limited in its executions, so an unlimited one is topped up before.
_LOW_MICROS = 10_000_000

# The words of the API's documentation, "Errors".
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
    """What came of one trigger: an execution per input, or why there is none."""

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
        """Read the sandbox's clock."""
        return self._clock()

    def change(self, **changes: Any) -> None:
        """Replace some options; a new balance replaces what is left of the old one."""
        with self._lock:
            self._in_flight(self._clock())
            self._options = replace(self._options, **changes)
            if "balance_usd" in changes:
                self._micros = self._initial_micros()

    def reset(self) -> None:
        """Forget every execution, and start again with the whole balance."""
        with self._lock:
            self._forget()

    def start(self, workflow: Workflow, version: Version, body: TriggerBody) -> Bulk:
        """Accept a bulk trigger in whole or in part, or refuse it."""
        with self._lock:
            schema = version.input_schema
            problems = [problem(schema, item) if schema is not None else None for item in body.inputs]
            self._refuse_invalid(workflow, problems)
            self._refuse_too_much(problems.count(None))
            bulk_id = str(uuid.uuid4())
            outcomes = tuple(
                found if found is not None else self._create(workflow, version, bulk_id, body, item)
                for found, item in zip(problems, body.inputs, strict=True)
            )
            return Bulk(bulk_id, outcomes)

    @staticmethod
    def _refuse_invalid(workflow: Workflow, problems: Sequence[str | None]) -> None:
        if workflow.reject == "entry":
            return
        for position, found in enumerate(problems):
            if found is not None:
                status = 400 if workflow.reject == "request" else 422
                raise RefusalError(status, "invalid inputs", details=f"inputs[{position}]: {found}")

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
        """Refuse `count` executions whose estimate the balance does not cover beside what is reserved already."""
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
        """Give back what an execution reserved, and charge what it cost: the balance may become negative."""
        self._reserved_micros -= execution.reserved_micros
        self._micros -= self._as_micros(execution.cost_usd)
        if self._options.balance_usd is None and self._micros <= _LOW_MICROS:
            self._micros = _START_MICROS

    @property
    def in_flight(self) -> int:
        """How many executions are not over."""
        with self._lock:
            return self._in_flight(self._clock())

    def release(self, count: int | None = None) -> int:
        """End the oldest `count` held executions now (all of them by default); say how many."""
        with self._lock:
            chosen = list(itertools.islice(self._held.values(), count))
            now = self._clock()
            for execution in chosen:
                self._end(execution, now)
            return len(chosen)

    def set_status(self, execution_id: str, status: str) -> None:
        """Put an execution into a status, also one that the API does not know."""
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
            execution.word = status

    def expire(self, execution_ids: Collection[str]) -> None:
        """Remove executions from the details and the listings; the record of what was accepted keeps them."""
        with self._lock:
            for execution_id in execution_ids:
                execution = self._all[execution_id]
                if execution_id not in self._expired:
                    self._expired.add(execution_id)
                    self._by_workflow[execution.workflow.workflow_id].remove(execution)
                    self._by_bulk[execution.bulk_id].remove(execution)

    def _end(self, execution: Execution, now: float) -> None:
        self._held.pop(execution.execution_id, None)
        execution.word = None
        execution.starts = min(execution.starts, now)
        execution.ends = min(execution.ends, now)
        heapq.heappush(self._endings, (execution.ends, next(self._number), execution))

    def find(self, execution_id: str) -> Execution:
        """Return one execution, or refuse as the API does."""
        with self._lock:
            execution = None if execution_id in self._expired else self._all.get(execution_id)
        if execution is None:
            raise RefusalError(404, "execution not found")
        return execution

    def page(self, workflow: Workflow, page: Page) -> tuple[list[Execution], int]:
        """Give a page of a workflow's listing, the newest first, and the total count."""
        with self._lock:
            if page.bulk_id is None:
                listed = self._by_workflow.get(workflow.workflow_id, [])
            else:
                bulk = self._by_bulk.get(page.bulk_id, [])
                listed = [e for e in bulk if e.workflow.workflow_id == workflow.workflow_id]
            # Executions are kept in the order of their creation: what is old enough to be seen is a prefix.
            seen_until = self._clock() - self._options.listing_lag
            total = bisect_right(listed, seen_until, key=lambda e: e.created)
            stop = max(0, total - page.offset)
            return listed[max(0, stop - page.limit) : stop][::-1], total

    def version_counts(self, workflow: Workflow) -> Mapping[str, int]:
        """Count the executions per version of a workflow."""
        with self._lock:
            return dict(self._versions.get(workflow.workflow_id, {}))

    def balance(self) -> float:
        """Answer a look at the balance, at most three times a second."""
        with self._lock:
            if not self._balance_calls.allows(3, self._clock()):
                raise RefusalError(429, "too many requests", details="3 requests per second", retry_after=1)
            return self.balance_usd

    @property
    def balance_usd(self) -> float:
        """The balance: what has ended is paid, what runs is reserved and not taken off. It may be negative."""
        with self._lock:
            self._in_flight(self._clock())
            return self._micros / 1_000_000

    def top_up(self, usd: float) -> None:
        """Add to the balance."""
        with self._lock:
            self._in_flight(self._clock())
            self._micros += self._as_micros(usd)

    def accepted(self) -> tuple[Accepted, ...]:
        """Give every accepted execution, in order."""
        return tuple(
            Accepted(r.execution_id, r.bulk_id, r.workflow_id, r.version_id, r.inputs, r.created_at)
            for r in self.records()
        )

    def records(self) -> tuple[ExecutionRecord, ...]:
        """Give every execution and where it stands, in order."""
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
        """Count the accepted executions, or those of exactly these inputs."""
        with self._lock:
            return len(self._all) if inputs is None else self._by_inputs[canonical(inputs)]

    def duplicates(self) -> dict[str, int]:
        """Count the inputs, as canonical JSON, that were accepted more than once."""
        with self._lock:
            return {text: count for text, count in self._by_inputs.items() if count > 1}
