from __future__ import annotations

import asyncio
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
from tests.forks import holds_in_fork
from tests.test_journal_contract import PIN, claim, queued, sheet


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "j.sqlite"


@pytest.fixture
def open_run(journal: Path) -> Iterator[Callable[..., SqliteRunJournal]]:
    """Return a function that opens the journal's run and registers its rows; the run journals are closed at the end."""
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


def execution_ids(journal: Path) -> dict[int, str | None]:
    """Return the execution id of each row that has one in the journal."""
    results = open_journal(journal).load("r").state.results
    return {row: results.execution_id[row] for row in range(results.size) if results.execution_id[row]}


# -- closing ----------------------------------------------------------------------------------------------------------


def test_a_closed_run_journal_can_be_closed_again_but_refuses_claims(
    open_run: Callable[..., SqliteRunJournal], caplog: Any
) -> None:
    """After `close`, a claim raises, a response is logged as not recorded, and the writer thread has ended."""
    entry = open_run()
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


def test_closing_during_claims_keeps_every_settled_row(
    journal: Path, open_run: Callable[..., SqliteRunJournal]
) -> None:
    """Rows settled before `close` are in the file, except at most the last one; later claims raise `JournalError`."""
    entry = open_run(rows=2_000)
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
    missing = set(settled) - set(execution_ids(journal))
    assert missing <= {settled[-1]}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_cannot_use_or_damage_its_parents_run_journal(
    journal: Path, open_run: Callable[..., SqliteRunJournal]
) -> None:
    """In the child a claim raises at once instead of waiting for a thread that does not exist; the parent continues."""
    entry = open_run()
    claim(entry, 0)

    def is_refused() -> bool:
        with pytest.raises(JournalError, match="fork"):
            claim(entry, 1)
        return entry.close() is None

    assert holds_in_fork(is_refused)
    assert claim(entry, 1) == ["new"]
    entry.settle(queued(0, 1))
    assert entry.close() is None
    assert execution_ids(journal) == {0: "e0", 1: "e1"}


def test_claims_stop_when_the_journal_file_is_moved(journal: Path, open_run: Callable[..., SqliteRunJournal]) -> None:
    """Writes to a deleted file are lost, so claims raise. After the file is moved back, the settled row is in it."""
    entry = open_run()
    claim(entry, 0)
    journal.rename(journal.with_name("moved"))
    entry.settle(queued(0))
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        claim(entry, 1)
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        claim(entry, 2)
    journal.with_name("moved").rename(journal)
    assert entry.close() is None
    assert execution_ids(journal) == {0: "e0"}


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
if sys.argv[3] == "has room":
    limit(hard)
print(entry.close())
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["has room", "still full"])
def test_a_full_disk_stops_every_step_and_keeps_settled_rows(journal: Path, then: str) -> None:
    """Opening, entering, registering and claiming raise; settled rows are written on `close` if the disk has room."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", FULL, str(journal), str(root), then]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    *refused, end = completed.stdout.splitlines()
    assert len(refused) == 5
    assert all("disk" in message and "configure(journal=...)" in message for message in refused)
    summary = open_journal(journal).summaries()[0]
    if then == "has room":
        assert end == "None"
        assert summary.counts == {"queued": 2, "pending": 18}
    else:
        assert "disk" in end
        assert summary.counts == {"unknown": 2, "pending": 18}


# -- models and processes ---------------------------------------------------------------------------------------------

STEP = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["claim", "claim", "answer", "release", "unknown", "close", "reopen"]),
    st.integers(0, 3),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_two_run_journals_behave_like_one_dictionary(  # noqa: C901 - the model is clearer in one function
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """For any actions of two calls, claims are granted as a simple model predicts, and no execution is lost."""
    path = tmp_path_factory.mktemp("model") / "j.sqlite"
    run_journals, claimed = [_entered(path), _entered(path)], [set[int](), set[int]()]
    done, seen = [set[int](), set[int]()], [dict[int, Any](), dict[int, Any]()]
    model: dict[int, tuple[str, int]] = {}
    executions: dict[int, str] = {}
    for number, (caller, action, row) in enumerate(steps):
        entry = run_journals[caller]
        if action in ("close", "reopen"):
            if action == "reopen":
                asyncio.run(entry.row_states([0]))  # this read waits until all settled rows are in the file
            entry.close()
            claimed[caller], done[caller] = set(), set()
            run_journals[caller], seen[caller] = _entered(path), dict(model)
        elif action == "claim" and row not in claimed[caller] | done[caller]:
            # The call decides by the states it read when it entered, so only later changes prevent a claim.
            now, before = model.get(row, _UNSENT), seen[caller].get(row, _UNSENT)
            expected = "new" if now == before else now[0]
            assert claim(entry, row) == [expected]
            if expected == "new":
                claimed[caller].add(row)
                model[row] = ("sent", number)
                if before[0] != "settled":
                    executions.pop(row, None)
        elif action not in ("claim", "close", "reopen") and row in claimed[caller]:
            claimed[caller].discard(row)
            outcome = {
                "answer": Outcome(row, "queued", "b", f"e{number}"),
                "release": Outcome(row, "pending"),
                "unknown": Outcome(row, "unknown", error="lost"),
            }[action]
            entry.settle([outcome])
            asyncio.run(entry.row_states([row]))
            is_released = action == "release" and seen[caller].get(row, _UNSENT)[0] != "settled"
            model[row] = _UNSENT if is_released else ("settled", number)
            if action == "release":
                seen[caller][row] = model[row]
            else:
                done[caller].add(row)
                executions.pop(row, None)
            if action == "answer":
                executions[row] = f"e{number}"
    for entry in run_journals:
        entry.close()
    assert executions.items() <= execution_ids(path).items()


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
# Like a call, skip the rows that the other process had sent before this one read the journal.
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
    """Both start together and claim small batches; if one of them dies, the other is not granted its rows."""
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
    outputs = [process.communicate() for process in both]
    assert outputs[1][1] == "None\n"
    granted = [int(row) for out, _ in outputs for row in out.split()]
    assert len(granted) == len(set(granted))
    loaded = open_journal(journal).load("r")
    assert len(loaded.inputs) == 300
    if first == "lives":
        assert outputs[0][1] == "None\n"
        assert sorted(granted) == list(range(300))
        assert set(execution_ids(journal)) == set(range(300))
    else:
        assert both[0].returncode == 9
        settled = set(execution_ids(journal))
        assert set(range(300)) - settled == {row for row in range(300) if loaded.state.results.status[row] == "unknown"}
