"""Property tests of killed and resumed runs, of replies in any order, and of malformed replies."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.errors import APIError
from eachlabs_frames.inputs.batches import cut
from eachlabs_frames.models import PENDING, UNKNOWN, Batch, Fault, Reply, Request
from eachlabs_frames.results import Results
from tests.fakes import ManualClock, inputs_of, reply, runner

from .fork_server import ForkServer, Row, accepted_ids, count_of, ids_of, misplaced, trigger

pytestmark = pytest.mark.chaos

COLUMNS = ("bulk_id", "execution_id", "status", "error")


def batches_of(rows: int) -> Iterator[Batch]:
    """Return batches of `rows` different rows."""
    rest = Batch(tuple(range(rows)), tuple(orjson.dumps({"n": number}) for number in range(rows)))
    while len(rest):
        first, rest = cut(rest, min(10, len(rest))) if len(rest) > 10 else (rest, Batch((), ()))
        yield first


def reply_to(request: Request, verdicts: list[str]) -> Reply | Fault:
    """Reply depending only on the request: the same request always gets the same reply."""
    numbers = [values["n"] for values in inputs_of(request)]
    verdict = verdicts[numbers[0] // 10 % len(verdicts)]
    if verdict == "split" and len(numbers) > 1:
        return reply(400, {"error": "bad request"})
    if verdict == "lost":
        return Fault(sent=True, reason="the connection was reset")
    entries: list[dict[str, Any]] = [{"execution_id": f"execution {n}", "status": "queued"} for n in numbers]
    if verdict == "refused":
        entries[0] = {"status": "failed", "message": "no"}
    if verdict == "short":
        entries.pop()
    return reply(202, {"bulk_id": f"bulk {numbers[0]}", "executions": entries})


class AnyOrder:
    """Replies to the requests in flight in a given order."""

    def __init__(self, verdicts: list[str], order: list[int]) -> None:
        self._verdicts = verdicts
        self._order = itertools.cycle(order)
        self._waiting: list[asyncio.Future[None]] = []

    async def send(self, request: Request) -> Reply | Fault:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        asyncio.get_running_loop().call_later(0, self._next, 8)
        await turn
        return reply_to(request, self._verdicts)

    def _next(self, turns: int) -> None:
        if turns:  # so that every worker has sent its request
            asyncio.get_running_loop().call_soon(self._next, turns - 1)
        elif self._waiting:
            self._waiting.pop(next(self._order) % len(self._waiting)).set_result(None)


def columns_of(rows: int, transport: Any, *, workers: int) -> dict[str, list[Any]]:
    """Run `rows` rows, and return the resulting columns."""
    results = Results(rows)
    run = runner(results, transport=transport, clock=ManualClock(), workers=workers)
    asyncio.run(run.run(batches_of(rows), canary=False, stop=asyncio.Event()))
    return {name: list(getattr(results, name)) for name in COLUMNS}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(1, 80),
    st.lists(st.sampled_from(["accepted", "accepted", "split", "lost", "refused", "short"]), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), min_size=1, max_size=16),
    st.integers(2, 8),
)
def test_any_order_of_replies_gives_the_same_columns(
    rows: int, verdicts: list[str], order: list[int], workers: int
) -> None:
    """The columns equal those of requests that are sent one after the other."""
    sequential = columns_of(rows, AnyOrder(verdicts, [0]), workers=1)
    assert columns_of(rows, AnyOrder(verdicts, order), workers=workers) == sequential


texts = st.sampled_from(["", "queued", "failed", "completed", "execution 1", "\x00", "None"])
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
names = st.sampled_from(
    ["execution_id", "status", "message", "error", "started_at", "bulk_id", "executions", "details"]
)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(names, inner, max_size=5), max_leaves=30
)
entries = st.lists(st.dictionaries(names, plain, max_size=4), min_size=8, max_size=11)
bodies = st.one_of(
    st.binary(max_size=40),
    anything.map(lambda value: _dumped(value)),
    st.fixed_dictionaries({"bulk_id": plain, "executions": entries}).map(lambda value: _dumped(value)),
)
garbage = st.one_of(
    st.builds(Fault, sent=st.booleans(), reason=texts),
    st.builds(Reply, status=st.sampled_from([200, 201, 202, 204, 299, 500, 503, 302, 100, 418, 600]), body=bodies),
    st.builds(Reply, status=st.integers(100, 599), body=bodies, headers=st.just({"retry-after": "nonsense"})),
)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"[" * 5000


class MalformedReplies:
    """Sends the drawn replies, and records for each row the replies to its requests."""

    def __init__(self, answers: list[Reply | Fault]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(reply(503)))
        self.sent: defaultdict[int, list[Reply | Fault]] = defaultdict(list)

    async def send(self, request: Request) -> Reply | Fault:
        await asyncio.sleep(0)
        answer = next(self._answers)
        for values in inputs_of(request):
            self.sent[values["n"]].append(answer)
        return answer


def has_no_effect(answer: Reply | Fault) -> bool:
    """Return whether a reply means that nothing was created (API reference, "Bulk trigger")."""
    if isinstance(answer, Fault):
        return not answer.sent
    return answer.status in (400, 401, 402, 403, 404, 413, 422, 429)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(garbage, max_size=12), st.integers(1, 40), st.integers(1, 4))
def test_any_garbage_raises_nothing_and_loses_nothing(answers: list[Any], rows: int, workers: int) -> None:
    """A row that may have started is never sent again, and never called unsent."""
    transport, results = MalformedReplies(answers), Results(rows)
    run = runner(results, transport=transport, clock=ManualClock(), workers=workers, max_wait=30.0)
    try:
        asyncio.run(run.run(batches_of(rows), canary=False, stop=asyncio.Event()))
    except APIError:
        assert all(has_no_effect(answer) for sent in transport.sent.values() for answer in sent)
    for row in range(rows):
        sent = transport.sent[row]
        assert all(has_no_effect(answer) for answer in sent[:-1]), "sent again after it may have started"
        if sent and not has_no_effect(sent[-1]):
            assert results.status[row] != PENDING
            assert results.execution_id[row] is not None or results.error[row]


prompts = st.lists(st.integers(0, 25), min_size=11, max_size=70)


def finish(server: ForkServer, journal: Path, rows: list[str], sandbox: Any, **more: Any) -> list[Row]:
    """Make the call with these options until all executions have ended."""
    calls = (trigger(workflow="wf_echo", **more), ("wait", [], {}))
    worker = server.worker(sandbox, journal, *calls, prompts=rows, timeout=1.0, settle_window=0.3).start()
    result: list[Row] = worker.wait()[-1]["rows"]
    return result


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(prompts, st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=2), st.randoms())
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    server: ForkServer,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[int],
    workers: int,
    kills: list[int],
    random: Any,
) -> None:
    """Holds for any equal rows, any number of kills at any events, and any order of the rows in later calls."""
    rows = [f"row {number}" for number in drawn]
    folder = tmp_path_factory.mktemp("killed")
    results: list[Any] = []
    for is_killed in (False, True):
        with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
            sandbox.add_workflow("wf_echo", output=lambda inputs: inputs["prompt"].upper())
            journal = folder / f"{is_killed}.sqlite"
            prompts_ = list(rows)
            for at in kills if is_killed else ():
                victim = server.worker(
                    sandbox,
                    journal,
                    trigger(workflow="wf_echo"),
                    prompts=prompts_,
                    max_concurrency=workers,
                    stop_at={"on": "answered", "at": at},
                    timeout=1.0,
                    settle_window=0.3,
                ).start()
                victim.wait()
                random.shuffle(prompts_)
            last = finish(server, journal, prompts_, sandbox, on_unknown="resend")
            assert sorted(ids_of(last)) == sorted(accepted_ids(sandbox))
            assert misplaced(last, sandbox) == []
            assert count_of(last) == {"completed": len(rows)}
            assert UNKNOWN not in count_of(last)
            assert Counter(execution.inputs["prompt"] for execution in sandbox.accepted) == Counter(rows)
            assert [row["prompt"] for row in last] == prompts_
            results.append(sorted((row["prompt"], row["status"], row["output"], row["cost"]) for row in last))
    assert results[0] == results[1]
