from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.errors import JournalError
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from eachlabs_frames.models import Outcome
from tests.test_journal_contract import PIN, claim, queued, sheet


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


def known(journal: Path) -> dict[int, str | None]:
    """Return the executions that a journal knows."""
    results = open_journal(journal).load("r").state.results
    return {row: results.execution_id[row] for row in range(results.size) if results.execution_id[row]}


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
from tests.test_journal_contract import PIN, claim, queued, sheet
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
from tests.test_journal_contract import PIN, queued, sheet
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
