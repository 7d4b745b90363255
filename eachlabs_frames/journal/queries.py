"""What a journal holds: its runs, a run's rows, records and executions. It reads, and deletes a run when told to.

What cannot be read stays with its run: only a call of that very run is refused.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from ..errors import JournalError, RunError
from ..inputs.fingerprints import SIZE
from ..models import PENDING, UNKNOWN, Json, RunSpec
from ..suggestions import MAX_COMPARED, hint
from . import sessions
from .records import ANSWER, CLAIM, SENT, UNANSWERED, Record, RunState, unpack_outcomes, unpack_rows
from .sqlite_errors import damaged, translated
from .sqlite_file import connect, reading
from .supersession import first_calls, relabelled
from .transactions import transaction

logger = logging.getLogger("eachlabs_frames")

UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading a record raises that is damaged."""

_NO_PIN: Final = RunSpec("", "", "")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run: what it is pinned to, when it was made (epoch nanoseconds), and its rows per status.

    ``executions`` and ``cost_usd`` are of all that was paid: also of rows that were triggered again, or whose key has
    another input now. All rows of a run that cannot be read count as unknown.
    """

    name: str
    pin: RunSpec
    created_at: int
    counts: Mapping[str, int]
    executions: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class RunContents:
    """All of one run, row by row in the order in which the run first saw them.

    ``superseded`` and ``superseded_cost`` are of executions that no row here has any more. ``is_superseded`` says of
    each row whether a later call has entered another input under the row's label.
    """

    name: str
    pin: RunSpec
    index_names: list[str | None]
    labels: list[Json]
    inputs: list[Mapping[str, Json]]
    book: RunState
    keys: list[Json] | None = None
    superseded: int = 0
    superseded_cost: float = 0.0
    is_superseded: Sequence[bool] = ()


def pin_of(connection: sqlite3.Connection, path: Path, name: str) -> RunSpec | None:
    """Return what a run is pinned to, or None where there is no such run, or one without a row."""
    query = "SELECT pin FROM runs WHERE name = ? AND EXISTS (SELECT 1 FROM sheets WHERE run = runs.id)"
    found = connection.execute(query, (name,)).fetchone()
    return None if found is None else read_pin(path, name, found[0])


def pin_of_run(path: Path, name: str) -> RunSpec | None:
    """Return what a run is pinned to, or None where the journal has none of this name, or one without a row."""
    with reading(path) as connection:
        return pin_of(connection, path, name)


def digests_of(connection: sqlite3.Connection, path: Path, run: int, *, first: int = 0) -> tuple[bytearray, bytearray]:
    """Return what the rows of a run are known by, and the fingerprints of their inputs, `SIZE` bytes each.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : pathlib.Path
    run : int
    first : int
        The row to begin with; it must be the first of a sheet.

    Raises
    ------
    JournalError
        They cannot be right. A row that is not known again would be paid for again, so this looks twice.
    """
    digests, contents = bytearray(), bytearray()
    query = "SELECT first, size, digests, contents FROM sheets WHERE run = ? AND first >= ? ORDER BY first"
    for start, size, known_by, of_input in connection.execute(query, (run, first)):
        of_input = known_by if of_input is None else of_input
        whole = len(digests) == (start - first) * SIZE and len(known_by) == len(of_input) == size * SIZE
        # Pages that were lost are read as zeros.
        if not whole or _NOTHING in known_by or _NOTHING in of_input:
            raise damaged(path, f"the rows from {start} on of its run {run} cannot be read")
        digests += known_by
        contents += of_input
    return digests, contents


_NOTHING: Final = bytes(SIZE)


def records_of(connection: sqlite3.Connection, run: int, *, after: int = 0) -> Iterator[Record]:
    """Yield the records of a run, in the order in which they were written."""
    query = "SELECT id, session, kind, at, rows, body FROM records WHERE run = ? AND id > ? ORDER BY id"
    for found in connection.execute(query, (run, after)):
        yield Record(*found)


def add_records(book: RunState, records: Iterable[Record], path: Path) -> int:
    """Take records into a book, and return the number of the last.

    Raises
    ------
    JournalError
        One cannot be read.
    """
    last = 0
    for record in records:
        last = record.number
        try:
            book.add(record)
        except UNREADABLE as exc:
            raise damaged(path, f"its record {record.number} cannot be read: {exc}") from exc
    return last


CLOCK_STEP: Final = 300 * 10**9
"""Nanoseconds by which a machine's clock may have been set back between two records."""


def executions_since(connection: sqlite3.Connection, moment: int) -> set[str]:
    """Return the executions that rows of any run have got since `moment` (epoch nanoseconds), and some from before."""
    found: set[str] = set()
    query = "SELECT id, kind, at, rows, body FROM records ORDER BY id DESC"
    for number, kind, at, packed, body in connection.execute(query):
        if at < moment - CLOCK_STEP:
            break
        if kind != ANSWER:
            continue
        try:
            outcomes = list(unpack_outcomes(unpack_rows(packed), body))
        except UNREADABLE as exc:
            logger.warning("record %d of the journal cannot be read, and is left out: %s", number, exc)
            continue
        found.update(known.execution_id for known in outcomes if known.execution_id)
    return found


def rivals_since(
    connection: sqlite3.Connection, path: Path, moment: int, *, at_work: Callable[[int], bool]
) -> dict[bytes, float]:
    """Return the fingerprints of inputs whose answer a call that is `at_work` waits for, and since when (epoch s)."""
    waiting: dict[tuple[int, int], tuple[int, int]] = {}
    query = "SELECT run, session, kind, at, rows FROM records ORDER BY id DESC"
    answered: set[tuple[int, int]] = set()
    for run, session, kind, at, packed in connection.execute(query):
        if at < moment:
            break
        for row in _rows_of(packed) if kind in (CLAIM, ANSWER) else ():
            if kind == ANSWER:
                answered.add((run, row))
            elif (run, row) not in answered:
                waiting.setdefault((run, row), (session, at))
    alive = {session: at_work(session) for session in {session for session, _ in waiting.values()}}
    rivals = {place: at for place, (session, at) in waiting.items() if alive[session]}
    contents: dict[int, bytearray] = {}
    for run in {run for run, _ in rivals}:
        with suppress(JournalError):
            contents[run] = digests_of(connection, path, run)[1]
    found: dict[bytes, float] = {}
    for (run, row), at in rivals.items():
        content = bytes(contents.get(run, b"")[row * SIZE : (row + 1) * SIZE])
        found[content] = min(at / 1e9, found.get(content, math.inf))
    return found


def _rows_of(packed: bytes) -> Sequence[int]:
    try:
        return unpack_rows(packed)
    except UNREADABLE:
        return ()


def summaries(path: Path) -> list[RunSummary]:
    """Return every run of the journal, the newest first."""
    with reading(path) as connection, snapshot(connection):
        query = "SELECT id, name, pin, created_at FROM runs ORDER BY created_at DESC, id DESC"
        runs = connection.execute(query).fetchall()
        return [_summary(connection, path, *run) for run in runs]


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the journal, whatever others write meanwhile."""
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


def _summary(connection: sqlite3.Connection, path: Path, run: int, name: str, pin: str, created_at: int) -> RunSummary:
    pinned = _NO_PIN
    try:
        pinned = read_pin(path, name, pin)
        digests, book = book_of(connection, path, run)
    except JournalError as exc:
        logger.warning("the rows of run %r count as unknown, and it cannot be resumed: %s", name, exc)
        query = "SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?"
        rows: int = connection.execute(query, (run,)).fetchone()[0]
        return RunSummary(name, pinned, created_at, {UNKNOWN: rows}, 0, 0.0)
    results = book.results
    counts = Counter(UNKNOWN if book.words[row] == SENT else results.status[row] for row in _latest(digests, pinned))
    cost = book.replaced_cost + sum(known for known in results.cost if known == known)
    return RunSummary(name, pinned, created_at, counts, results.accepted + book.replaced, cost)


def read_pin(path: Path, name: str, written: str) -> RunSpec:
    """Read what a run is pinned to.

    Raises
    ------
    JournalError
        It cannot be read.
    """
    try:
        return RunSpec(**json.loads(written))
    except (ValueError, TypeError) as exc:
        raise damaged(path, f"the settings of its run {name!r} cannot be read: {exc}") from exc


def book_of(connection: sqlite3.Connection, path: Path, run: int) -> tuple[bytearray, RunState]:
    """Return what the rows of a run are known by, and what its records add up to."""
    digests, _ = digests_of(connection, path, run)
    book = RunState(len(digests) // SIZE)
    add_records(book, records_of(connection, run), path)
    return digests, book


def _latest(digests: bytearray, pin: RunSpec) -> list[int]:
    """Return the rows that count: where rows have keys, the latest of each key."""
    size = len(digests) // SIZE
    if pin.key is None:
        return list(range(size))
    last = {bytes(digests[row * SIZE : (row + 1) * SIZE]): row for row in range(size)}
    return sorted(last.values())


def load(path: Path, name: str) -> RunContents:
    """Return all of one run.

    Raises
    ------
    RunError
        There is no such run.
    """
    with reading(path) as connection, snapshot(connection):
        run, pin, names, note = _found(connection, path, name)
        digests, book = book_of(connection, path, run)
        query = "SELECT session, rows FROM records WHERE run = ? ORDER BY id"
        calls = first_calls(connection.execute(query, (run,)), book.results.size)
        labels: list[Json] = []
        inputs: list[Mapping[str, Json]] = []
        query = "SELECT labels, inputs FROM sheets WHERE run = ? ORDER BY first"
        for packed_labels, packed_inputs in connection.execute(query, (run,)):
            try:
                labels += read_labels(packed_labels)
                inputs += orjson.loads(packed_inputs)
            except ValueError as exc:
                raise damaged(path, f"inputs of run {name!r} cannot be read: {exc}") from exc
    keys = None
    if pin.key is not None:
        # A label is never a list by itself: one that is has its row's key beside it.
        pairs = [label if isinstance(label, list) else [label, None] for label in labels]
        labels, keys = [label for label, _ in pairs], [key for _, key in pairs]
    # With keys, the rows that are left out below are those.
    stale = relabelled(labels, calls) if pin.key is None else [False] * len(labels)
    loaded = RunContents(name, pin, names, labels, inputs, book, keys, is_superseded=stale)
    return _chosen(loaded, _latest(digests, pin), note)


def write_labels(labels: Sequence[Json]) -> bytes:
    """Write index labels down: by `json`, for they may be NaN, beyond 64 bits or no whole characters."""
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_labels(packed: bytes) -> list[Json]:
    """Read what `write_labels` has written."""
    labels: list[Json] = json.loads(packed.decode("utf-8", "surrogatepass"))
    return labels


def _chosen(loaded: RunContents, rows: list[int], note: str | None) -> RunContents:
    """Keep `rows`, and say of each row without an outcome why it has none."""
    whole = loaded.book
    for row in rows:
        if whole.words[row] == SENT:
            whole.results.note(row, status=UNKNOWN, error=UNANSWERED)
        elif note is not None and whole.results.status[row] == PENDING:
            whole.results.note(row, error=f"not sent: {note}")
    loaded = replace(loaded, superseded=whole.replaced, superseded_cost=whole.replaced_cost)
    if len(rows) == whole.results.size:
        return loaded
    book = RunState(len(rows))
    for place, row in enumerate(rows):
        book.results.replace(whole.results.outcome(row)._replace(position=place))
    return replace(
        loaded,
        labels=[loaded.labels[row] for row in rows],
        is_superseded=[loaded.is_superseded[row] for row in rows],
        inputs=[loaded.inputs[row] for row in rows],
        book=book,
        keys=None if loaded.keys is None else [loaded.keys[row] for row in rows],
        superseded=loaded.superseded + whole.results.accepted - book.results.accepted,
        superseded_cost=loaded.superseded_cost + whole.results.paid()[0] - book.results.paid()[0],
    )


def _found(connection: sqlite3.Connection, path: Path, name: str) -> tuple[int, RunSpec, list[str | None], str | None]:
    query = "SELECT id, pin, index_names, note FROM runs WHERE name = ?"
    found: tuple[int, str, str, str | None] | None = connection.execute(query, (name,)).fetchone()
    if found is None:
        latest = connection.execute("SELECT name FROM runs ORDER BY created_at DESC LIMIT ?", (MAX_COMPARED,))
        near = hint(name, [known for (known,) in latest], listing="the latest are") or " (it holds none)"
        msg = f"there is no run {name!r} in the journal {path}{near}"
        raise RunError(msg)
    run, pin, names, note = found
    return run, read_pin(path, name, pin), json.loads(names), note


def delete(path: Path, name: str) -> int:
    """Delete a run, and return how many rows it had.

    Raises
    ------
    RunError
        There is no such run, or a call is at work in it.
    """
    connection = connect(path)
    try:
        # What is deleted is overwritten with zeros.
        connection.execute("PRAGMA secure_delete = ON")
        with transaction(connection, path), translated(path):
            # Also a run that cannot be read can be deleted.
            found = connection.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()
            run: int = _found(connection, path, name)[0] if found is None else found[0]
            query = "SELECT id, process FROM sessions WHERE run = ? AND ended_at IS NULL"
            for session, process in connection.execute(query, (run,)).fetchall():
                if sessions.at_work(connection, path.resolve(), session):
                    msg = f"run {name!r} is in progress (in process {process}): stop it first"
                    raise RunError(msg)
            counted = connection.execute("SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?", (run,))
            rows: int = counted.fetchone()[0]
            # Numbers of records are never given twice.
            connection.execute("UPDATE journal SET floor = max(floor, coalesce((SELECT max(id) FROM records), 0))")
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        _shrink(connection, path)
    finally:
        connection.close()
    return rows


def _shrink(connection: sqlite3.Connection, path: Path) -> None:
    """Give free pages back to the system, and leave nothing of what was deleted in the log.

    A file that others write to is not made smaller, for that would make them wait: its free pages are used again.
    """
    with suppress(JournalError), translated(path):
        if not sessions.others_at_work(connection, path.resolve(), but=0):
            connection.execute("VACUUM")
    busy = 1
    with suppress(JournalError), translated(path):
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        logger.warning(
            "part of the deleted data stays in %s-wal until every process that uses the journal has closed it", path
        )
