"""Properties: a killed run that is gone on with, answers in any order, and answers that are garbage."""

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

from .stage import Row, Theatre, accepted, known, misplaced, tally, trigger

pytestmark = pytest.mark.chaos

COLUMNS = ("bulk_id", "execution_id", "status", "error")


def batches_of(rows: int) -> Iterator[Batch]:
    """Cut so many different rows into batches."""
    left = Batch(tuple(range(rows)), tuple(orjson.dumps({"n": number}) for number in range(rows)))
    while len(left):
        first, left = cut(left, min(10, len(left))) if len(left) > 10 else (left, Batch((), ()))
        yield first


def answered(request: Request, verdicts: list[str]) -> Reply | Fault:
    """Answer by what is asked alone: the same request has the same answer, whenever it comes."""
    numbers = [one["n"] for one in inputs_of(request)]
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
    """Answers in an order of its own: whoever of those in flight is drawn next."""

    def __init__(self, verdicts: list[str], order: list[int]) -> None:
        self._verdicts = verdicts
        self._order = itertools.cycle(order)
        self._waiting: list[asyncio.Future[None]] = []

    async def send(self, request: Request) -> Reply | Fault:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        asyncio.get_running_loop().call_later(0, self._next, 8)
        await turn
        return answered(request, self._verdicts)

    def _next(self, turns: int) -> None:
        if turns:  # so that everybody has sent who can
            asyncio.get_running_loop().call_soon(self._next, turns - 1)
        elif self._waiting:
            self._waiting.pop(next(self._order) % len(self._waiting)).set_result(None)


def columns_of(rows: int, transport: Any, *, workers: int) -> dict[str, list[Any]]:
    """Run so many rows, and return what they hold."""
    results = Results(rows)
    run = runner(results, transport=transport, clock=ManualClock(), workers=workers)
    asyncio.run(run.run(batches_of(rows), canary=False, stop=asyncio.Event()))
    return {name: list(getattr(results, name)) for name in COLUMNS}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(1, 80),
    st.lists(st.sampled_from(["fine", "fine", "split", "lost", "refused", "short"]), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), min_size=1, max_size=16),
    st.integers(2, 8),
)
def test_any_interleaving_of_answers_gives_the_same_columns(
    rows: int, verdicts: list[str], order: list[int], workers: int
) -> None:
    """As one request after the other does."""
    straight = columns_of(rows, AnyOrder(verdicts, [0]), workers=1)
    assert columns_of(rows, AnyOrder(verdicts, order), workers=workers) == straight


texts = st.sampled_from(["", "queued", "failed", "completed", "execution 1", "\x00", "None"])
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
names = st.sampled_from(
    ["execution_id", "status", "message", "error", "started_at", "bulk_id", "executions", "details"]
)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(names, inner, max_size=5), max_leaves=30
)
entries = st.lists(st.dictionaries(names, plain, max_size=4), min_size=8, max_size=11)
said = st.one_of(
    st.binary(max_size=40),
    anything.map(lambda value: _dumped(value)),
    st.fixed_dictionaries({"bulk_id": plain, "executions": entries}).map(lambda value: _dumped(value)),
)
garbage = st.one_of(
    st.builds(Fault, sent=st.booleans(), reason=texts),
    st.builds(Reply, status=st.sampled_from([200, 201, 202, 204, 299, 500, 503, 302, 100, 418, 600]), body=said),
    st.builds(Reply, status=st.integers(100, 599), body=said, headers=st.just({"retry-after": "nonsense"})),
)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"[" * 5000


class Garbage:
    """Answers what was drawn; keeps for each row how often it was sent, and to what answers."""

    def __init__(self, answers: list[Reply | Fault]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(reply(503)))
        self.sent: defaultdict[int, list[Reply | Fault]] = defaultdict(list)

    async def send(self, request: Request) -> Reply | Fault:
        await asyncio.sleep(0)
        answer = next(self._answers)
        for one in inputs_of(request):
            self.sent[one["n"]].append(answer)
        return answer


def certainly_nothing(answer: Reply | Fault) -> bool:
    """Say whether an answer means that nothing was created (API reference, "Bulk trigger")."""
    if isinstance(answer, Fault):
        return not answer.sent
    return answer.status in (400, 401, 402, 403, 404, 413, 422, 429)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(garbage, max_size=12), st.integers(1, 40), st.integers(1, 4))
def test_any_garbage_raises_nothing_and_loses_nothing(answers: list[Any], rows: int, workers: int) -> None:
    """A row that may have started is never sent again, and never called unsent."""
    transport, results = Garbage(answers), Results(rows)
    run = runner(results, transport=transport, clock=ManualClock(), workers=workers, max_wait=30.0)
    try:
        asyncio.run(run.run(batches_of(rows), canary=False, stop=asyncio.Event()))
    except APIError:
        assert all(certainly_nothing(answer) for sent in transport.sent.values() for answer in sent)
    for row in range(rows):
        sent = transport.sent[row]
        assert all(certainly_nothing(answer) for answer in sent[:-1]), "sent again after it may have started"
        if sent and not certainly_nothing(sent[-1]):
            assert results.status[row] != PENDING
            assert results.execution_id[row] is not None or results.error[row]


prompts = st.lists(st.integers(0, 25), min_size=11, max_size=70)


def finished(theatre: Theatre, journal: Path, rows: list[str], sandbox: Any, **more: Any) -> list[Row]:
    """Make the call to its end, and have sent what was never accepted."""
    calls = (trigger(workflow="wf_echo", **more), ("wait", [], {}))
    actor = theatre.actor(sandbox, journal, *calls, prompts=rows, timeout=1.0, settle_window=0.3).go()
    found: list[Row] = actor.ended()[-1]["rows"]
    return found


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(prompts, st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=2), st.randoms())
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    theatre: Theatre,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[int],
    workers: int,
    kills: list[int],
    dice: Any,
) -> None:
    """Whatever rows are equal, wherever it is killed and how often, and in whatever order the rows come back."""
    rows = [f"row {number}" for number in drawn]
    folder = tmp_path_factory.mktemp("killed")
    shown: list[Any] = []
    for struck in (False, True):
        with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
            sandbox.add_workflow("wf_echo", output=lambda inputs: inputs["prompt"].upper())
            journal = folder / f"{struck}.sqlite"
            asked = list(rows)
            for at in kills if struck else ():
                victim = theatre.actor(
                    sandbox,
                    journal,
                    trigger(workflow="wf_echo"),
                    prompts=asked,
                    max_concurrency=workers,
                    strike={"on": "answered", "at": at},
                    timeout=1.0,
                    settle_window=0.3,
                ).go()
                victim.ended()
                dice.shuffle(asked)
            last = finished(theatre, journal, asked, sandbox, on_unknown="resend")
            assert sorted(known(last)) == sorted(accepted(sandbox))
            assert misplaced(last, sandbox) == []
            assert tally(last) == {"completed": len(rows)}
            assert UNKNOWN not in tally(last)
            assert Counter(one.inputs["prompt"] for one in sandbox.accepted) == Counter(rows)
            assert [row["prompt"] for row in last] == asked
            shown.append(sorted((row["prompt"], row["status"], row["output"], row["cost"]) for row in last))
    assert shown[0] == shown[1]
