"""Checks that each execution is in the row whose input it was given, by the inputs that the API repeats.

Owns the proof that an execution belongs to another row, and which row gets it. It never calls the API and never writes
a result: the tracker does.

The rule. The API may repeat an input in another form: with defaults for absent keys, without nulls. So inputs that
differ from the row's are no proof by themselves. But such a form is final: an input that has it already is repeated as
it was sent. Where the inputs of an execution are exactly what *another* row has sent, and the inputs of that row's own
execution are not, both executions are in the wrong rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from ..inputs.fingerprints import try_fingerprint
from ..models import QUEUED, UNKNOWN, Outcome
from ..results import Results

MAX_POLLS: Final = 3
"""Polls of one call for which executions with other inputs are held back, while the API has not shown the inputs of all
open rows. A call that ends earlier releases what cannot be another row's."""

MISPLACED: Final = (
    "the API's response gave this row execution {execution_id}, which has the inputs of another row; no execution "
    "with this row's input was found, although the row was accepted: reconcile() searches for it"
)


class _Held(NamedTuple):
    """An execution with other inputs than its row has sent, and its entry in the API's reply."""

    row: int
    bulk_id: str | None
    inputs: bytes
    entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Corrections:
    """What follows from one poll.

    Attributes
    ----------
    outcomes : list of Outcome
        Rows that get another execution, or lose theirs.
    entries : list of mapping
        The API's entries of executions that are in their rows now.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    entries: list[Mapping[str, Any]] = field(default_factory=list)


class TrackedRows(Protocol):
    """What is recorded of the rows of a call. A row is a position in the frame."""

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Record how executions have ended."""
        ...

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Record that rows have another execution, or none."""
        ...

    def content(self, row: int) -> bytes | None:
        """Return the fingerprint of a row's input, or None where it is not known."""
        ...

    def sent_at(self, row: int) -> float | None:
        """Return the epoch seconds before which a row was sent, or None where that is not known."""
        ...


class Assignments:
    """The executions of one tracker, each checked once.

    Parameters
    ----------
    results : Results
    content : callable
        Returns the fingerprint of a row's input, or None where it is not known.
    """

    def __init__(self, results: Results, content: Callable[[int], bytes | None]) -> None:
        self._results = results
        self._content = content
        self._checked: set[str] = set()
        self._held: dict[str, _Held] = {}
        # Rows that lost their execution, and executions that no row has: they may turn out to fit.
        self._orphans: dict[str, _Held] = {}
        self._without: dict[int, bytes] = {}
        self._polls = 0

    def accepts(self, rows: Sequence[int], entry: Mapping[str, Any]) -> bool:
        """Return whether an execution's entry may be written into its rows; otherwise it is held back."""
        execution_id = entry["execution_id"]
        # An execution in several rows, as after pd.concat([out, out]), is in none of them by an answer's order.
        if execution_id in self._checked or len(rows) != 1:
            return True
        inputs = try_fingerprint(entry.get("inputs"))
        content = None if inputs is None else self._content(rows[0])
        if inputs is None or content is None:
            return True
        if inputs != content:
            self._held[execution_id] = _Held(rows[0], self._results.bulk_id[rows[0]], inputs, entry)
            return False
        self._held.pop(execution_id, None)
        self._checked.add(execution_id)
        return True

    def forget(self, execution_ids: Iterable[str]) -> None:
        """Drop the state of executions that have ended."""
        self._checked.difference_update(execution_ids)

    def settle(self, open_rows: Mapping[str, Sequence[int]]) -> Corrections:
        """Decide about entries that were held back; called after each poll with the rows of each open execution."""
        self._held = self._still_held(open_rows)
        if not self._held:
            return Corrections()
        self._polls += 1
        unseen = {
            content
            for execution_id, rows in open_rows.items()
            if execution_id not in self._checked and execution_id not in self._held
            for row in rows
            if (content := self._content(row)) is not None
        }
        if unseen and self._polls < MAX_POLLS:
            return Corrections()
        self._polls = 0
        known = self._results.execution_id
        self._without = {row: content for row, content in self._without.items() if known[row] is None}
        held, self._held = self._held, {}
        self._checked.update(held)
        return self._corrected(held, unseen)

    def release(self, open_rows: Mapping[str, Sequence[int]]) -> list[Mapping[str, Any]]:
        """Return the entries to release, because no poll follows that could prove a mistake.

        What may be another row's stays held back: an execution with exactly an input that a row has sent, and that of
        the row which has sent it.
        """
        self._held = self._still_held(open_rows)
        if not self._held:
            return []
        sent = {self._content(row) for row in range(self._results.size)}
        shown = {one.inputs for one in (*self._held.values(), *self._orphans.values())}
        free = {
            known: held
            for known, held in self._held.items()
            if held.inputs not in sent and self._content(held.row) not in shown
        }
        self._held = {known: held for known, held in self._held.items() if known not in free}
        self._checked.update(free)
        return [held.entry for held in free.values()]

    def _still_held(self, open_rows: Mapping[str, Sequence[int]]) -> dict[str, _Held]:
        """Return the executions that are held back and still in a single row."""
        return {known: held for known, held in self._held.items() if [*open_rows.get(known, ())] == [held.row]}

    def _corrected(self, held: Mapping[str, _Held], unseen: Collection[bytes]) -> Corrections:
        contents = {one.row: self._content(one.row) for one in held.values()} | self._without
        wanting: defaultdict[bytes | None, list[int]] = defaultdict(list)
        for row in sorted(contents):
            wanting[contents[row]].append(row)
        executions = {**self._orphans, **held}
        proven = {one.inputs for one in executions.values()}
        # Rows whose input another execution has exactly, and rows whose execution has the input of a row not seen yet.
        misplaced = {row for row, content in contents.items() if content in proven}
        misplaced.update(one.row for one in held.values() if one.inputs in unseen)
        given: dict[int, str] = {}
        done = Corrections()
        self._orphans = {}
        for execution_id, one in executions.items():
            if wanting.get(one.inputs):
                given[wanting[one.inputs].pop(0)] = execution_id
                done.entries.append(one.entry)
            elif execution_id in held and one.row not in misplaced:
                done.entries.append(one.entry)
            else:
                self._orphans[execution_id] = one
        misplaced.update(held[execution_id].row for execution_id in given.values() if execution_id in held)
        for row in sorted(misplaced):
            if (new := given.get(row)) is not None:
                self._without.pop(row, None)
                done.outcomes.append(Outcome(row, QUEUED, executions[new].bulk_id, new))
            elif row not in self._without:
                self._without[row] = contents[row] or b""
                error = MISPLACED.format(execution_id=self._results.execution_id[row])
                done.outcomes.append(Outcome(row, UNKNOWN, error=error))
        return done
