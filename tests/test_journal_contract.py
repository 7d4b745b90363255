"""What every implementation of the journal does: the same tests for each."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eachlabs_frames.errors import RunError
from eachlabs_frames.inputs.file_values import reference
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.base import CapHint, Journal, RowChunk, RunJournal, RunSpec
from eachlabs_frames.journal.records import RowState
from eachlabs_frames.journal.upload_records import UploadJournal, UploadRecord
from eachlabs_frames.models import Outcome
from eachlabs_frames.postgres_url import PostgresUrl

PIN = RunSpec("wf", "v1", "http://localhost", {"prompt": {"column": "prompt"}})

REMEMBERING = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@pytest.fixture(params=["null", *REMEMBERING])
def any_journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    """Return an empty journal of each kind."""
    if request.param == "postgres":
        return open_journal(request.getfixturevalue("postgres_url"))
    return open_journal(None if request.param == "null" else tmp_path / "j.sqlite")


@pytest.fixture(params=REMEMBERING)
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    """Return an empty journal of each kind that remembers."""
    is_file = request.param == "sqlite"
    return open_journal(tmp_path / "j.sqlite" if is_file else request.getfixturevalue("postgres_url"))


@pytest.fixture
def entries(journal: Journal) -> Iterator[Callable[..., RunJournal]]:
    """Make calls' parts in one run, which are closed at the end."""
    made: list[RunJournal] = []

    def make(rows: int = 20) -> RunJournal:
        entry = journal.open("r")
        made.append(entry)
        entry.enter(PIN)
        assert entry.register([sheet(range(rows))]) == list(range(rows))
        return entry

    yield make
    for entry in made:
        entry.close()


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


def claim(entry: RunJournal, *rows: int) -> list[str]:
    """Claim rows, in a loop of its own."""
    return words(asyncio.run(_claim(entry, rows)))


async def _claim(entry: RunJournal, rows: Sequence[int]) -> Sequence[RowState]:
    return await entry.claim(rows)


def known(journal: Journal) -> dict[int, str | None]:
    """Return the executions that a journal knows."""
    results = journal.load("r").state.results
    return {row: results.execution_id[row] for row in range(results.size) if results.execution_id[row]}


# -- every journal ----------------------------------------------------------------------------------------------------


def test_an_empty_journal_answers_every_question(any_journal: Journal) -> None:
    """Nothing is known, and what needs a run says that there is none."""
    assert any_journal.summaries() == []
    assert any_journal.spec_of("r") is None
    assert any_journal.runs_of_ids({"b"}) == {}
    assert any_journal.workflow_ids(PIN.base_url) == []
    assert any_journal.settled(PIN.workflow_id, PIN.version_id, PIN.base_url, inputs=True) == []
    assert any_journal.recent_runs(PIN, 0) == []
    assert any_journal.last_sent("r") is None
    assert any_journal.uploads("a") == []
    assert any_journal.workers("r") == {}
    assert any_journal.cap_hint("a") is None
    assert any_journal.accept_loss() == {}
    for use in (any_journal.load, any_journal.delete):
        with pytest.raises(RunError, match="there is no run 'r'"):
            use("r")


def test_a_question_makes_no_journal(any_journal: Journal) -> None:
    """What is only a help, such as past costs, creates nothing where there is no journal yet."""
    any_journal.settled(PIN.workflow_id, PIN.version_id, PIN.base_url, inputs=True)
    any_journal.recent_runs(PIN, 0)
    any_journal.workflow_ids(PIN.base_url)
    any_journal.spec_of("r")
    any_journal.uploads("a")
    any_journal.workers("r")
    any_journal.cap_hint("a")
    assert not any_journal.exists()


def test_new_rows_are_numbered_and_may_be_sent(any_journal: Journal) -> None:
    """A call goes through a run from its first step to its last."""
    entry = any_journal.open("r")
    with closing(entry):
        assert entry.name == "r"
        assert entry.spec() is None
        entry.enter(PIN)
        assert entry.register([sheet("ab"), sheet("c")], add=False) == [-1, -1, -1]
        assert entry.register([sheet("ab"), sheet("c")]) == [0, 1, 2]
        assert entry.state.is_untouched()
        assert entry.row_state(2) == RowState("new")
        assert entry.lost_requests([0, 1, 2], timeout=60) == []
        assert asyncio.run(_sent(entry)) == [["new", "new"], ["new"]]
        assert entry.close() is None
        assert entry.close() is None


async def _sent(entry: RunJournal) -> list[list[str]]:
    """Take two requests of a call through their lives, and return what their claims said."""
    said = [words(await entry.claim([0, 1])), words(await entry.claim([2]))]
    entry.settle(queued(0, 1))
    entry.update([Outcome(0, "completed", "b", "e0", output="x")])
    entry.correct([Outcome(1, "queued", "b", "e9")])
    entry.note_stop("the balance is used up")
    await entry.flush()
    assert await entry.adopt([Outcome(2, "queued", "c", "e2")], since=0.0)
    assert (await entry.claimed(0.0)).fingerprints == {}
    assert len(await entry.row_states([0, 1, 2])) == 3
    return said


# -- journals that remember -------------------------------------------------------------------------------------------


def test_a_name_that_nobody_chose_is_never_somebody_elses(journal: Journal) -> None:
    """Two calls hit upon the same made-up name: the second gets another one."""
    names = iter(["s", "t"])
    first, second = journal.open("r"), journal.open("r")
    with closing(first), closing(second):
        first.enter(PIN, rename=lambda: next(names))
        second.enter(PIN, rename=lambda: next(names))
        assert (first.name, second.name) == ("r", "s")


def test_a_run_that_another_call_has_made_meanwhile_is_not_taken_for_ones_own(journal: Journal) -> None:
    """Both begin it while it has no row, for different workflows: one of them has it."""
    first, second = journal.open("r"), journal.open("r")
    with closing(first), closing(second):
        first.enter(PIN)
        second.enter(replace(PIN, workflow_id="other"))
        second.register([sheet([1])])
        with pytest.raises(RunError, match="was created by another call in the meantime"):
            first.register([sheet([1])])


# -- claims and answers -----------------------------------------------------------------------------------------------


def test_a_claim_is_in_the_file_when_it_is_granted(journal: Journal, entries: Callable[..., RunJournal]) -> None:
    """Before anything is sent, another process reads of it; the answer follows."""
    entry = entries()
    assert claim(entry, 0, 1) == ["new", "new"]
    assert journal.summaries()[0].counts == {"unknown": 2, "pending": 18}
    entry.settle(queued(0, 1))
    assert entry.close() is None
    assert known(journal) == {0: "e0", 1: "e1"}


def test_a_row_is_granted_to_one_of_two(entries: Callable[..., RunJournal]) -> None:
    """Whoever comes second learns that the row is sent, that its owner is at work, and then what became of it."""
    first, second = entries(), entries()
    assert claim(first, 0, 1) == ["new", "new"]
    states = asyncio.run(_claim(second, [1, 2]))
    assert states == [RowState("sent", is_live=True), RowState("new")]
    first.settle(queued(1))
    first.close()
    assert asyncio.run(_claim(second, [1]))[0].outcome == queued(1)[0]
    assert asyncio.run(second.row_states([0])) == [RowState("sent", is_live=False)]


def test_a_claim_that_was_given_back_is_free_for_others(entries: Callable[..., RunJournal]) -> None:
    """A refused request created nothing."""
    first, second = entries(), entries()
    claim(first, 0)
    first.settle([Outcome(0, "pending")])
    assert claim(first, 5) == ["new"]
    assert claim(second, 0) == ["new"]
    assert claim(first, 0) == ["sent"]


def test_giving_back_what_was_not_granted_frees_nothing(entries: Callable[..., RunJournal]) -> None:
    """A call that is cut off while it claims gives all of it back, and another's request stays in flight."""
    first, second, third = entries(), entries(), entries()
    claim(first, 0)
    assert claim(second, 0) == ["sent"]
    second.settle([Outcome(0, "pending")])
    claim(second, 7)
    assert claim(third, 0) == ["sent"]


def test_giving_up_on_an_old_request_says_nothing_of_a_newer_one(entries: Callable[..., RunJournal]) -> None:
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


def test_a_look_of_another_call_takes_no_row_away(entries: Callable[..., RunJournal]) -> None:
    """Only whoever claims or answers a row since is in the way of a retry."""
    first = entries()
    claim(first, 0)
    first.settle([Outcome(0, "failed", "b", "e0")])
    first.close()
    retry, watcher = entries(), entries()
    watcher.update([Outcome(0, "failed", "b", "e0", completed_at=5)])
    watcher.close()
    assert claim(retry, 0) == ["new"]


def test_one_settlement_is_noted_as_one(journal: Journal, entries: Callable[..., RunJournal]) -> None:
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
    assert journal.summaries()[0].counts == {"queued": 3, "failed": 1, "pending": 15, "unknown": 1}


def test_answers_are_in_order_with_the_claims_of_one_loop(journal: Journal, entries: Callable[..., RunJournal]) -> None:
    """A claim that is cancelled and given back in the same turn of the loop is not left open."""

    async def cut_off(entry: RunJournal) -> None:
        task = asyncio.ensure_future(entry.claim([3]))
        await asyncio.sleep(0)
        task.cancel()
        entry.settle([Outcome(3, "pending")])
        await asyncio.gather(task, return_exceptions=True)

    entry = entries()
    asyncio.run(cut_off(entry))
    entry.close()
    assert journal.summaries()[0].counts == {"pending": 20}


# -- rows -------------------------------------------------------------------------------------------------------------


def test_two_calls_that_register_the_same_rows_mean_the_same_rows(journal: Journal) -> None:
    """Both have entered before either has written: the second reads what the first wrote."""
    first, second = journal.open("r"), journal.open("r")
    first.enter(PIN)
    second.enter(PIN)
    numbers = first.register([sheet("abca")])
    others = second.register([sheet("caab"), sheet("x")])
    assert [len(set(numbers)), len(set(others))] == [4, 5]
    assert claim(first, *numbers[:3]) == ["new"] * 3  # a, b, c
    assert claim(second, *others) == ["sent", "sent", "new", "sent", "new"]
    assert first.register([sheet("xab")])[1:] == numbers[:2]
    first.close()
    second.close()
    assert len(journal.load("r").inputs) == 5


def test_a_sheet_that_cannot_be_read_leaves_nothing_behind(journal: Journal) -> None:
    """All rows of a frame are registered or none, what is raised is raised as it is, and the call can be made again."""
    entry = journal.open("r")
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
    assert journal.load("r").labels == [0, 1]


def _interrupted() -> Iterator[RowChunk]:
    yield sheet("xy")
    raise KeyboardInterrupt


def test_a_key_whose_input_has_changed_is_told_and_is_then_another_row(journal: Journal) -> None:
    """A row that was not sent may change; one that was sent is told, by its place in the frame."""
    pin = RunSpec("wf", "v1", "http://localhost", key="k")
    entry = journal.open("r")
    entry.enter(pin)
    keys = [fingerprint(key) for key in "ab"]

    def rows(*contents: str) -> RowChunk:
        return RowChunk(keys, [fingerprint(one) for one in contents], [0, 1], [b"{}", b"{}"], [True, True])

    assert entry.register([rows("x", "y")], keyed=True) == [0, 1]
    claim(entry, 1)
    entry.close()
    entry, told = journal.open("r"), list[int]()
    entry.enter(pin)
    numbers = entry.register([rows("x2", "y2")], keyed=True, on_changed=told.append)
    assert told == [1]
    assert [entry.content(number) for number in numbers] == [fingerprint("x2"), fingerprint("y2")]
    entry.close()
    assert sorted(journal.load("r").labels) == [0, 1]


@pytest.mark.parametrize("winner", [0, 1])
def test_of_a_key_with_two_inputs_in_two_calls_one_is_sent(journal: Journal, winner: int) -> None:
    """Neither was sent when both were registered; the claims decide, and later calls know the row that was sent."""
    pin, entries, inputs = RunSpec("wf", "v1", "http://localhost", key="k"), [], ["x", "y"]

    def row(content: str) -> RowChunk:
        return RowChunk([fingerprint("a")], [fingerprint(content)], [content], [b"{}"], [True])

    for _ in inputs:
        entries.append(journal.open("r"))
        entries[-1].enter(pin)
    told = list[int]()
    numbers = [
        entry.register([row(content)], keyed=True, on_changed=told.append)
        for entry, content in zip(entries, inputs, strict=True)
    ]
    assert told == []
    loser = 1 - winner
    assert claim(entries[winner], *numbers[winner]) == ["new"]
    (state,) = asyncio.run(_claim(entries[loser], numbers[loser]))
    assert state.state == "settled"
    assert state.outcome is not None
    assert state.outcome.status == "invalid"
    assert "its key was sent with another input" in str(state.outcome.error)
    for entry in entries:
        entry.close()
    for content in inputs:
        entry = journal.open("r")
        entry.enter(pin)
        again = entry.register([row(content)], keyed=True, on_changed=told.append, add=False)
        assert (again == numbers[winner]) == (content == inputs[winner])
        entry.close()
    assert told == [0]
    assert journal.load("r").labels == [inputs[winner]]


def test_a_key_with_two_inputs_is_free_again_when_a_claim_is_given_back(journal: Journal) -> None:
    """Nothing was created, so the other input may be sent; it is the only one then."""
    pin, entries = RunSpec("wf", "v1", "http://localhost", key="k"), []
    numbers: list[int] = []
    for content in "xy":
        entries.append(journal.open("r"))
        entries[-1].enter(pin)
        chunk = RowChunk([fingerprint("a")], [fingerprint(content)], [content], [b"{}"], [True])
        numbers += entries[-1].register([chunk], keyed=True, on_changed=print)
    assert claim(entries[0], numbers[0]) == ["new"]
    assert claim(entries[1], numbers[1]) == ["settled"]
    entries[0].settle([Outcome(numbers[0], "pending")])
    asyncio.run(entries[0].flush())
    assert claim(entries[1], numbers[1]) == ["new"]
    assert claim(entries[0], numbers[0]) == ["settled"]
    for entry in entries:
        entry.close()


@pytest.mark.parametrize("labels", [[float("nan"), 2**80], ["\ud800", "ü👩‍🎨"], [None, {"date": "2026-01-01"}]])
def test_any_label_comes_back(journal: Journal, labels: list[Any]) -> None:
    """Labels are the user's own: NaN, huge numbers and half characters too."""
    entry = journal.open("r")
    entry.enter(PIN, index_names=["a", None])
    digests = [fingerprint(row) for row in range(2)]
    entry.register([RowChunk(digests, digests, labels, [b"{}", b"{}"], [True, True])])
    entry.close()
    loaded = journal.load("r")
    assert repr(loaded.labels) == repr(labels)
    assert loaded.index_names == ["a", None]


def test_a_run_of_another_kind_is_refused(journal: Journal, entries: Callable[..., RunJournal]) -> None:
    """Two calls that make a run of one name at once must mean the same; a tuple and a list do."""
    entries()
    other = journal.open("r")
    with pytest.raises(RunError, match="with other settings"):
        other.enter(RunSpec("wf", "v2", "http://localhost"))
    other.enter(RunSpec("wf", "v1", "http://localhost", {"prompt": {"column": "prompt"}}))
    other.close()


def test_a_run_that_is_at_work_is_not_deleted(journal: Journal, entries: Callable[..., RunJournal]) -> None:
    """Nobody loses a run from under a call; afterwards it goes with all that it holds."""
    entry = entries()
    with pytest.raises(RunError, match="in progress"):
        journal.delete("r")
    entry.close()
    assert journal.delete("r") == 20
    assert journal.summaries() == []


# -- what was lost -----------------------------------------------------------------------------------------------------


def test_a_lost_request_is_told_with_all_its_rows_that_wait(entries: Callable[..., RunJournal]) -> None:
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
    # Two clocks are compared only as exactly as a message takes.
    assert second.lost_requests([0], timeout=1e-9)[0].until - lost[0].since == pytest.approx(0, abs=5)
    assert second.lost_requests([7], timeout=60) == []


def test_a_retry_that_was_lost_is_looked_for(entries: Callable[..., RunJournal]) -> None:
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


def test_what_another_call_waits_for_is_taken(entries: Callable[..., RunJournal]) -> None:
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


# -- several workers --------------------------------------------------------------------------------------------------


def test_a_summary_counts_the_sessions_that_are_running(journal: Journal, entries: Callable[..., RunJournal]) -> None:
    """Each call in progress is a worker; one that has ended is none."""
    first, _ = entries(), entries()
    assert [run.workers for run in journal.summaries()] == [2]
    first.close()
    assert [run.workers for run in journal.summaries()] == [1]


def _send(where: Path | tuple[str, str], row: int) -> str:
    """Send a row as the bulk operation ``b<row>``, in the process that this is called in; return the worker's name."""
    entry = open_journal(where if isinstance(where, Path) else PostgresUrl(*where)).open("r")
    entry.enter(PIN)
    entry.register([sheet(range(20))])
    claim(entry, row)
    entry.settle([Outcome(row, "queued", f"b{row}", f"e{row}")])
    entry.close()
    return f"{socket.gethostname()}:{os.getpid()}"


def test_the_worker_of_each_bulk_operation_is_known_where_there_were_several(journal: Any) -> None:
    """By the process that claimed its rows, not by the one that found its executions; one worker is no news."""
    # A PostgreSQL URL is not pickled.
    where = journal.path if hasattr(journal, "path") else (journal.url.reveal(), journal.url.schema)
    here = _send(where, 0)
    assert journal.workers("r") == {}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(_send, where, 1).result(120)
    assert journal.workers("r") == {"b0": here, "b1": there}
    assert here != there


# -- caps -------------------------------------------------------------------------------------------------------------


def test_a_cap_hint_is_kept_for_its_account(journal: Journal) -> None:
    """The last one counts, with the cap that was stated, if any; None removes it."""
    hints = CapHint(10, 10, 1_700_000_000.25), CapHint(3, None, 1_700_000_001.5)
    for hint in hints:
        journal.record_cap_hint("a", hint)
        assert journal.cap_hint("a") == hint
    assert journal.cap_hint("b") is None
    journal.record_cap_hint("b", hints[0])
    journal.record_cap_hint("a", None)
    assert journal.cap_hint("a") is None
    assert journal.cap_hint("b") == hints[0]


# -- uploads ----------------------------------------------------------------------------------------------------------


def upload(number: int, digest: str = "d") -> UploadRecord:
    """Make the record of an upload that has just been presigned."""
    return UploadRecord(digest, f"f{number}", f"https://x/{number}", "a.png", 12, "image/png", 1_000 + number, 9_000)


async def _begin(account: UploadJournal, *records: UploadRecord) -> None:
    for record in records:
        await account.begin(record)


async def _found(account: UploadJournal, digest: str) -> list[str]:
    return [record.file_id for record in await account.find(digest)]


def test_uploads_are_recorded_from_their_beginning(any_journal: Journal) -> None:
    """Every journal takes them; one that is off forgets them."""
    account = any_journal.open_uploads("a")
    with closing(account):
        asyncio.run(_begin(account, upload(1)))
        account.complete("f1", 2_000)
        account.add_use("f1", "r")
        account.delete("f1", 3_000)
        assert asyncio.run(_found(account, "d")) == []


def test_an_upload_is_known_before_it_is_complete(journal: Journal) -> None:
    """Whoever opens the journal then reads of it, and of its end, and of its deletion."""
    account = journal.open_uploads("a")
    asyncio.run(_begin(account, upload(1), upload(2), upload(3, "other")))
    assert journal.uploads("a") == [upload(1), upload(2), upload(3, "other")]
    assert asyncio.run(_found(account, "d")) == ["f2", "f1"]
    account.complete("f1", 2_000)
    account.delete("f2", 3_000)
    account.close()
    assert journal.uploads("a")[:2] == [replace(upload(1), uploaded_at=2_000), replace(upload(2), deleted_at=3_000)]
    later = journal.open_uploads("a")
    with closing(later):
        assert asyncio.run(_found(later, "d")) == ["f1"]


def test_uploads_that_begin_at_the_same_time_are_recorded_and_found(journal: Journal) -> None:
    """They share commits; whoever stops waiting holds up none of the others."""
    account = journal.open_uploads("a")

    async def run() -> list[list[str]]:
        beginning = [asyncio.ensure_future(account.begin(upload(number, f"d{number}"))) for number in range(20)]
        await asyncio.sleep(0)
        beginning[10].cancel()
        done = await asyncio.wait_for(asyncio.gather(*beginning, return_exceptions=True), 120)
        assert [number for number, each in enumerate(done) if each is not None] == [10]
        return await asyncio.gather(*(_found(account, f"d{number}") for number in range(20)))

    with closing(account):
        assert asyncio.run(run()) == [[f"f{number}"] for number in range(20)]


def test_accounts_do_not_see_each_others_uploads(journal: Journal) -> None:
    """The same file id of another account is another file."""
    first, second = journal.open_uploads("a"), journal.open_uploads("b")
    with closing(first), closing(second):
        asyncio.run(_begin(first, upload(1)))
        asyncio.run(_begin(second, upload(1, "other")))
        assert asyncio.run(_found(second, "d")) == []
        second.complete("f1", 2_000)
    assert journal.uploads("a") == [upload(1)]
    assert journal.uploads("b") == [replace(upload(1, "other"), uploaded_at=2_000)]
    # A URL stands for a content, whoever has uploaded it.
    assert journal.file_references() == {upload(1).public_url: reference("other")}


def test_an_upload_says_which_runs_use_it(journal: Journal, entries: Callable[..., RunJournal]) -> None:
    """Each run once, and none that is deleted or does not exist."""
    entries()
    other = journal.open("s")
    other.enter(PIN)
    other.register([sheet("x")])
    account = journal.open_uploads("a")
    asyncio.run(_begin(account, upload(1)))
    for run in ("r", "s", "r", "none"):
        account.add_use("f1", run)
    account.close()
    assert journal.uploads("a") == [replace(upload(1), runs=("r", "s"))]
    other.close()
    journal.delete("s")
    assert journal.uploads("a") == [replace(upload(1), runs=("r",))]
