from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.errors import JournalError, RunError
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.base import RowChunk, RunSpec
from eachlabs_frames.journal.records import RowState
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from eachlabs_frames.models import Outcome

PIN = RunSpec("wf", "v1", "http://localhost", {"prompt": {"column": "prompt"}})


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where a journal is to be."""
    return tmp_path / "j.sqlite"


@pytest.fixture
def entries(journal: Path) -> Iterator[Callable[..., SqliteRunJournal]]:
    """Make entries of the run, which are closed at the end."""
    made: list[SqliteRunJournal] = []

    def make(rows: int = 20, **options: Any) -> SqliteRunJournal:
        entry = SqliteRunJournal(journal, "r", **options)
        made.append(entry)
        entry.enter(PIN)
        assert entry.register([sheet(range(rows))]) == list(range(rows))
        return entry

    yield make
    for entry in made:
        entry.close()


def test_a_name_that_nobody_chose_is_never_somebody_elses(journal: Path) -> None:
    """Two calls hit upon the same made-up name: the second gets another one."""
    names = iter(["s", "t"])
    first, second = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    with closing(first), closing(second):
        first.enter(PIN, rename=lambda: next(names))
        second.enter(PIN, rename=lambda: next(names))
        assert (first.name, second.name) == ("r", "s")


def test_a_run_that_another_call_has_made_meanwhile_is_not_taken_for_ones_own(journal: Path) -> None:
    """Both begin it while it has no row, for different workflows: one of them has it."""
    first, second = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    with closing(first), closing(second):
        first.enter(PIN)
        second.enter(replace(PIN, workflow_id="other"))
        second.register([sheet([1])])
        with pytest.raises(RunError, match="was created by another call in the meantime"):
            first.register([sheet([1])])


def sheet(values: Sequence[Any], **more: Any) -> RowChunk:
    """Make a sheet of rows that are known by their values."""
    digests = [fingerprint(value) for value in values]
    payloads = [b'{"prompt":"%s"}' % str(value).encode() for value in values]
    return RowChunk(digests, digests, list(range(len(values))), payloads, [True] * len(values), **more)


def queued(*rows: int, by: str = "e") -> list[Outcome]:
    """Make the outcomes of accepted rows."""
    return [Outcome(row, "queued", "b", f"{by}{row}") for row in rows]


def words(states: Sequence[RowState]) -> list[str]:
    """Return how rows stand, in a word each."""
    return [row_state.state for row_state in states]


def claim(entry: SqliteRunJournal, *rows: int) -> list[str]:
    """Claim rows, in a loop of its own."""
    return words(asyncio.run(_claim(entry, rows)))


async def _claim(entry: SqliteRunJournal, rows: Sequence[int]) -> Sequence[RowState]:
    return await entry.claim(rows)


def known(journal: Path) -> dict[int, str | None]:
    """Return the executions that a journal knows."""
    results = open_journal(journal).load("r").state.results
    return {row: results.execution_id[row] for row in range(results.size) if results.execution_id[row]}


# -- claims and answers -----------------------------------------------------------------------------------------------


def test_a_claim_is_in_the_file_when_it_is_granted(journal: Path, entries: Callable[..., SqliteRunJournal]) -> None:
    """Before anything is sent, another process reads of it; the answer follows."""
    entry = entries()
    assert claim(entry, 0, 1) == ["new", "new"]
    assert open_journal(journal).summaries()[0].counts == {"unknown": 2, "pending": 18}
    entry.settle(queued(0, 1))
    assert entry.close() is None
    assert known(journal) == {0: "e0", 1: "e1"}


def test_a_row_is_granted_to_one_of_two(entries: Callable[..., SqliteRunJournal]) -> None:
    """Whoever comes second learns that the row is sent, that its owner is at work, and then what became of it."""
    first, second = entries(), entries()
    assert claim(first, 0, 1) == ["new", "new"]
    states = asyncio.run(_claim(second, [1, 2]))
    assert states == [RowState("sent", is_live=True), RowState("new")]
    first.settle(queued(1))
    first.close()
    assert asyncio.run(_claim(second, [1]))[0].outcome == queued(1)[0]
    assert asyncio.run(second.row_states([0])) == [RowState("sent", is_live=False)]


def test_a_claim_that_was_given_back_is_free_for_others(entries: Callable[..., SqliteRunJournal]) -> None:
    """A refused request created nothing."""
    first, second = entries(), entries()
    claim(first, 0)
    first.settle([Outcome(0, "pending")])
    assert claim(first, 5) == ["new"]
    assert claim(second, 0) == ["new"]
    assert claim(first, 0) == ["sent"]


def test_giving_back_what_was_not_granted_frees_nothing(entries: Callable[..., SqliteRunJournal]) -> None:
    """A call that is cut off while it claims gives all of it back, and another's request stays in flight."""
    first, second, third = entries(), entries(), entries()
    claim(first, 0)
    assert claim(second, 0) == ["sent"]
    second.settle([Outcome(0, "pending")])
    claim(second, 7)
    assert claim(third, 0) == ["sent"]


def test_giving_up_on_an_old_request_says_nothing_of_a_newer_one(entries: Callable[..., SqliteRunJournal]) -> None:
    """A search that ends without a find leaves alone what another call has sent meanwhile."""
    first = entries()
    claim(first, 0)
    first.close()
    second, third = entries(), entries()
    assert second.row_state(0) == RowState("sent", is_live=False)
    second.settle([Outcome(0, "unknown", error="lost")])
    claim(second, 1)
    fourth = entries()
    assert claim(fourth, 0) == ["new"]
    third.settle([Outcome(0, "unknown", error="lost")])
    claim(third, 2)
    assert entries().row_state(0) == RowState("sent", is_live=True)


def test_a_look_of_another_call_takes_no_row_away(entries: Callable[..., SqliteRunJournal]) -> None:
    """Only whoever claims or answers a row since is in the way of a retry."""
    first = entries()
    claim(first, 0)
    first.settle([Outcome(0, "failed", "b", "e0")])
    first.close()
    retry, watcher = entries(), entries()
    watcher.update([Outcome(0, "failed", "b", "e0", completed_at=5)])
    watcher.close()
    assert claim(retry, 0) == ["new"]


def test_one_settlement_is_noted_as_one(journal: Path, entries: Callable[..., SqliteRunJournal]) -> None:
    """Rows that were accepted, refused and given back together are written together, whatever their bulk."""
    entry = entries()
    claim(entry, *range(6))
    outcomes = [
        *queued(0, 1),
        Outcome(2, "failed", error="no"),
        *queued(3),
        Outcome(4, "pending"),
        Outcome(5, "unknown"),
    ]
    entry.settle(outcomes)
    entry.close()
    assert known(journal) == {0: "e0", 1: "e1", 3: "e3"}
    assert open_journal(journal).summaries()[0].counts == {"queued": 3, "failed": 1, "pending": 15, "unknown": 1}


def test_answers_are_in_order_with_the_claims_of_one_loop(
    journal: Path, entries: Callable[..., SqliteRunJournal]
) -> None:
    """A claim that is cancelled and given back in the same turn of the loop is not left open."""

    async def cut_off(entry: SqliteRunJournal) -> None:
        task = asyncio.ensure_future(entry.claim([3]))
        await asyncio.sleep(0)
        task.cancel()
        entry.settle([Outcome(3, "pending")])
        await asyncio.gather(task, return_exceptions=True)

    entry = entries()
    asyncio.run(cut_off(entry))
    entry.close()
    assert open_journal(journal).summaries()[0].counts == {"pending": 20}


# -- rows -------------------------------------------------------------------------------------------------------------


def test_two_calls_that_register_the_same_rows_give_them_the_same_numbers(journal: Path) -> None:
    """Both have entered before either has written: the second reads what the first wrote."""
    first, second = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    first.enter(PIN)
    second.enter(PIN)
    assert first.register([sheet("abca")]) == [0, 1, 2, 3]
    assert second.register([sheet("caab"), sheet("x")]) == [2, 0, 3, 1, 4]
    assert first.register([sheet("xab")]) == [4, 0, 1]
    first.close()
    second.close()
    assert len(open_journal(journal).load("r").inputs) == 5


def test_a_sheet_that_cannot_be_read_leaves_nothing_behind(journal: Path) -> None:
    """All rows of a frame are registered or none, what is raised is raised as it is, and the call can be made again."""
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)

    def sheets() -> Iterator[RowChunk]:
        yield sheet("ab")
        msg = "the picture is not there"
        raise FileNotFoundError(msg)

    with pytest.raises(FileNotFoundError, match="the picture"):
        entry.register(sheets())
    with pytest.raises(KeyboardInterrupt):
        entry.register(_interrupted())
    assert entry.register([sheet("bc")]) == [0, 1]
    assert entry.register([sheet("dc")], add=False) == [-1, 1]
    entry.close()
    assert open_journal(journal).load("r").labels == [0, 1]


def _interrupted() -> Iterator[RowChunk]:
    yield sheet("xy")
    raise KeyboardInterrupt


def test_a_key_whose_input_has_changed_is_told_and_is_then_another_row(journal: Path) -> None:
    """A row that was not sent may change; one that was sent is told, by its place in the frame."""
    pin = RunSpec("wf", "v1", "http://localhost", key="k")
    entry = SqliteRunJournal(journal, "r")
    entry.enter(pin)
    keys = [fingerprint(key) for key in "ab"]

    def rows(*contents: str) -> RowChunk:
        return RowChunk(keys, [fingerprint(one) for one in contents], [0, 1], [b"{}", b"{}"], [True, True])

    assert entry.register([rows("x", "y")], keyed=True) == [0, 1]
    claim(entry, 1)
    entry.close()
    entry, told = SqliteRunJournal(journal, "r"), list[int]()
    entry.enter(pin)
    assert entry.register([rows("x2", "y2")], keyed=True, on_changed=told.append) == [2, 3]
    assert told == [1]
    assert entry.content(3) == fingerprint("y2")
    entry.close()
    assert open_journal(journal).load("r").labels == [0, 1]


@pytest.mark.parametrize("labels", [[float("nan"), 2**80], ["\ud800", "ü👩‍🎨"], [None, {"date": "2026-01-01"}]])
def test_any_label_comes_back(journal: Path, labels: list[Any]) -> None:
    """Labels are the user's own: NaN, huge numbers and half characters too."""
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN, index_names=["a", None])
    digests = [fingerprint(row) for row in range(2)]
    entry.register([RowChunk(digests, digests, labels, [b"{}", b"{}"], [True, True])])
    entry.close()
    loaded = open_journal(journal).load("r")
    assert repr(loaded.labels) == repr(labels)
    assert loaded.index_names == ["a", None]


def test_a_run_of_another_kind_is_refused(journal: Path, entries: Callable[..., SqliteRunJournal]) -> None:
    """Two calls that make a run of one name at once must mean the same; a tuple and a list do."""
    entries()
    other = SqliteRunJournal(journal, "r")
    with pytest.raises(RunError, match="with other settings"):
        other.enter(RunSpec("wf", "v2", "http://localhost"))
    other.enter(RunSpec("wf", "v1", "http://localhost", {"prompt": {"column": "prompt"}}))
    other.close()


def test_a_run_that_is_at_work_is_not_deleted(journal: Path, entries: Callable[..., SqliteRunJournal]) -> None:
    """Nobody loses a run from under a call; afterwards it goes with all that it holds."""
    entry = entries()
    with pytest.raises(RunError, match="in progress"):
        open_journal(journal).delete("r")
    entry.close()
    assert open_journal(journal).delete("r") == 20
    assert open_journal(journal).summaries() == []


# -- what was lost -----------------------------------------------------------------------------------------------------


def test_a_lost_request_is_told_with_all_its_rows_that_wait(entries: Callable[..., SqliteRunJournal]) -> None:
    """Rows of one request went together: one that has its answer names the bulk, and is not looked for."""
    first = entries()
    claim(first, 0, 1, 2)
    first.settle([*queued(1), Outcome(2, "unknown", error="lost")])
    claim(first, 5)
    first.close()
    second = entries()
    lost = second.lost_requests([0, 5], timeout=60)
    assert [one.rows for one in lost] == [(0, 2), (5,)]
    assert [one.bulk_id for one in lost] == ["b", None]
    assert lost[0].fingerprints == (fingerprint(0), fingerprint(2))
    assert 0 < lost[0].until - lost[0].since < 60  # nobody waits for it now, so it was over at the latest then
    assert second.lost_requests([0], timeout=1e-9)[0].until - lost[0].since == pytest.approx(0, abs=1e-6)
    assert second.lost_requests([7], timeout=60) == []


def test_a_retry_that_was_lost_is_looked_for(entries: Callable[..., SqliteRunJournal]) -> None:
    """The failed execution that a row had before it was sent once more is no answer to that request."""
    first = entries()
    claim(first, 0)
    first.settle([Outcome(0, "failed", "old", "e0")])
    first.close()
    second = entries()
    claim(second, 0)
    second.close()
    (lost,) = entries().lost_requests([0], timeout=60)
    assert (lost.rows, lost.bulk_id) == ((0,), None)


def test_what_another_call_waits_for_is_taken(entries: Callable[..., SqliteRunJournal]) -> None:
    """Executions that have a row, and inputs whose request is under way: also those that were sent a little before."""
    first, second = entries(), entries()
    claim(first, 0, 1)
    first.settle(queued(1))
    claim(first, 2)
    since = time.time()
    taken = asyncio.run(second.claimed(since))
    assert set(taken.fingerprints) == {fingerprint(0), fingerprint(2)}
    assert taken.executions == {"e1"}
    assert asyncio.run(first.claimed(since)).fingerprints == {}
    first.close()
    assert asyncio.run(second.claimed(since)).fingerprints == {}


# -- the end ----------------------------------------------------------------------------------------------------------


def test_closing_twice_and_using_it_afterwards_is_safe(entries: Callable[..., SqliteRunJournal], caplog: Any) -> None:
    """After the end a claim is refused, an answer is warned of, and no thread is left."""
    entry = entries()
    claim(entry, 0)
    before = {thread.name for thread in threading.enumerate()}
    assert entry.close() is None
    assert entry.close() is None
    assert "eachlabs-frames-journal" in before
    assert "eachlabs-frames-journal" not in {thread.name for thread in threading.enumerate()}
    entry.settle(queued(0))
    assert "a response is not recorded" in caplog.text
    with pytest.raises(JournalError, match="already closed the journal"):
        claim(entry, 1)
    with pytest.raises(JournalError):
        entry.enter(PIN)


def test_closing_while_a_loop_is_still_at_it_loses_no_answer(
    journal: Path, entries: Callable[..., SqliteRunJournal]
) -> None:
    """Whatever was granted before the end and settled before it is in the file; the rest hears that it is over."""
    entry = entries(rows=2_000)
    settled: list[int] = []
    going = threading.Event()

    async def go() -> None:
        for row in range(2_000):
            await entry.claim([row])
            entry.settle(queued(row))
            settled.append(row)
            if row == 20:
                going.set()

    def work() -> None:
        with pytest.raises(JournalError, match="already closed the journal"):
            asyncio.run(go())

    thread = threading.Thread(target=work)
    thread.start()
    going.wait()
    assert entry.close() is None
    thread.join()
    missing = set(settled) - set(known(journal))
    assert missing <= {settled[-1]}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_cannot_use_its_parents_entry_nor_harm_it(
    journal: Path, entries: Callable[..., SqliteRunJournal]
) -> None:
    """In the child a claim is an error at once, not a wait for a thread that is not there; the parent goes on."""
    entry = entries()
    claim(entry, 0)
    child = os.fork()
    if not child:
        code = 1
        try:
            claim(entry, 1)
        except JournalError as exc:
            code = 0 if "fork" in str(exc) and entry.close() is None else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert claim(entry, 1) == ["new"]
    entry.settle(queued(0, 1))
    assert entry.close() is None
    assert known(journal) == {0: "e0", 1: "e1"}


def test_a_file_that_is_replaced_in_the_middle_stops_the_claims(
    journal: Path, entries: Callable[..., SqliteRunJournal]
) -> None:
    """What is written to a deleted file nobody reads, so nothing more is granted; put back, nothing is missing."""
    entry = entries()
    claim(entry, 0)
    journal.rename(journal.with_name("moved"))
    entry.settle(queued(0))
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        claim(entry, 1)
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        claim(entry, 2)
    journal.with_name("moved").rename(journal)
    assert entry.close() is None
    assert known(journal) == {0: "e0"}


FULL = """
import asyncio, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from eachlabs_frames.errors import JournalError
from tests.test_journal import PIN, claim, queued, sheet
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

def attempt(what, *arguments):
    try:
        what(*arguments)
        print("no error")
    except JournalError as exc:
        print(exc)

path = Path(sys.argv[1])
limit(0)
attempt(SqliteRunJournal, path, "r")
limit(hard)
entry = SqliteRunJournal(path, "r")
limit(0)
attempt(entry.enter, PIN)
limit(hard)
entry.enter(PIN)
limit(0)
attempt(entry.register, [sheet(range(20))])
limit(hard)
assert entry.register([sheet(range(20))]) == list(range(20))
assert claim(entry, 0, 1) == ["new", "new"]
limit(0)
entry.settle(queued(0))
attempt(claim, entry, 2)
entry.settle(queued(1))
attempt(claim, entry, 3)
if sys.argv[3] == "room again":
    limit(hard)
print(entry.close())
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["room again", "still full"])
def test_a_disk_that_is_full_stops_every_step_and_keeps_the_answers(journal: Path, then: str) -> None:
    """Opening, entering, registering and claiming say so; what was settled is written at the end, if there is room."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", FULL, str(journal), str(root), then]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    *refused, end = said.stdout.splitlines()
    assert len(refused) == 5
    assert all("disk" in one and "configure(journal=...)" in one for one in refused)
    summary = open_journal(journal).summaries()[0]
    if then == "room again":
        assert end == "None"
        assert summary.counts == {"queued": 2, "pending": 18}
    else:
        assert "disk" in end
        assert summary.counts == {"unknown": 2, "pending": 18}


# -- models and processes ---------------------------------------------------------------------------------------------

STEP = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["claim", "claim", "answer", "release", "unknown", "close", "leave"]),
    st.integers(0, 3),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_two_entries_are_as_one_dictionary(  # noqa: C901 - the model is a whole
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """Whatever two calls do in turn, a row is granted where a simple model says so, and what it was given is kept."""
    path = tmp_path_factory.mktemp("model") / "j.sqlite"
    all_, here = [_entered(path), _entered(path)], [set[int](), set[int]()]
    done, seen = [set[int](), set[int]()], [dict[int, Any](), dict[int, Any]()]
    model: dict[int, tuple[str, int]] = {}
    held: dict[int, str] = {}
    for number, (who, what, row) in enumerate(steps):
        entry = all_[who]
        if what in ("close", "leave"):
            if what == "leave":
                asyncio.run(entry.row_states([0]))  # whatever was settled is in the file by then
            entry.close()
            here[who], done[who] = set(), set()
            all_[who], seen[who] = _entered(path), dict(model)
        elif what == "claim" and row not in here[who] | done[who]:
            # A call has decided on what it saw when it entered, so only what has changed since is in its way.
            stands, before = model.get(row, _UNSENT), seen[who].get(row, _UNSENT)
            expected = "new" if stands == before else stands[0]
            assert claim(entry, row) == [expected]
            if expected == "new":
                here[who].add(row)
                model[row] = ("sent", number)
                if before[0] != "settled":
                    held.pop(row, None)
        elif what not in ("claim", "close", "leave") and row in here[who]:
            here[who].discard(row)
            outcome = {
                "answer": Outcome(row, "queued", "b", f"e{number}"),
                "release": Outcome(row, "pending"),
                "unknown": Outcome(row, "unknown", error="lost"),
            }[what]
            entry.settle([outcome])
            asyncio.run(entry.row_states([row]))
            back = what == "release" and seen[who].get(row, _UNSENT)[0] != "settled"
            model[row] = _UNSENT if back else ("settled", number)
            if what == "release":
                seen[who][row] = model[row]
            else:
                done[who].add(row)
                held.pop(row, None)
            if what == "answer":
                held[row] = f"e{number}"
    for entry in all_:
        entry.close()
    assert held.items() <= known(path).items()


_UNSENT = ("new", -1)


def _entered(path: Path) -> SqliteRunJournal:
    entry = SqliteRunJournal(path, "r")
    entry.enter(PIN)
    entry.register([sheet(range(4))])
    return entry


CONTENDER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from tests.test_journal import PIN, queued, sheet
entry = SqliteRunJournal(Path(sys.argv[1]), "r")
entry.enter(PIN)
print("ready", flush=True)
sys.stdin.readline()
entry.register([sheet(range(300))])
# As a call does: what the other had sent before this one read the journal is its own, and is not asked for.
free = {row for row in range(300) if entry.row_state(row).state == "new"}

async def go():
    batches = iter(range(0, 300, 3))
    async def work():
        for first in batches:
            rows = [row for row in (first, first + 1, first + 2) if row in free]
            if not rows:
                continue
            states = await entry.claim(rows)
            granted = [row for row, row_state in zip(rows, states) if row_state.state == "new"]
            print(*granted, flush=True)
            if sys.argv[3] == "dies" and first > 100:
                os._exit(9)
            entry.settle(queued(*granted, by=str(os.getpid()) + "-"))
    await asyncio.gather(*(work() for _ in range(8)))

asyncio.run(go())
print(entry.close(), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["lives", "dies"])
def test_two_processes_that_send_the_same_rows_are_granted_each_row_once(journal: Path, first: str) -> None:
    """Started together, in small batches; also where one of them dies, no row of its is given to the other."""
    root = str(Path(__file__).parent.parent)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(journal), root, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for how in (first, "lives")
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate() for process in both]
    assert said[1][1] == "None\n"
    granted = [int(row) for out, _ in said for row in out.split()]
    assert len(granted) == len(set(granted))
    loaded = open_journal(journal).load("r")
    assert len(loaded.inputs) == 300
    if first == "lives":
        assert said[0][1] == "None\n"
        assert sorted(granted) == list(range(300))
        assert set(known(journal)) == set(range(300))
    else:
        assert both[0].returncode == 9
        answered = set(known(journal))
        assert set(range(300)) - answered == {
            row for row in range(300) if loaded.state.results.status[row] == "unknown"
        }
