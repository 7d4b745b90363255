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
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from ..inputs.fingerprints import content_of
from ..models import QUEUED, UNKNOWN, Outcome
from ..results import Results

MAX_POLLS: Final = 3
"""Polls of one call for which executions with other inputs are held back, while the API has not shown the inputs of all
open rows. A call that ends earlier releases what cannot be another row's."""

MISPLACED: Final = (
    "the API's response gave this row execution {execution_id}, which has the inputs of another row; no execution "
    "with this row's input was found, although the row was accepted: reconcile() searches for it"
)


Entry: TypeAlias = Mapping[str, Any]
"""An execution as the API returns it."""


class _Withheld(NamedTuple):
    """An execution with other inputs than its row has sent, and its entry in the API's reply."""

    row: int
    bulk_id: str | None
    inputs: bytes
    entry: Entry


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
    references : mapping of str to str
        The reference of each uploaded file by its public URL.
    """

    def __init__(self, results: Results, content: Callable[[int], bytes | None], references: Mapping[str, str]) -> None:
        self._results = results
        self._references = references
        self._content = content
        self._checked: set[str] = set()
        self._withheld: dict[str, _Withheld] = {}
        # Executions that no row has, and rows that lost their execution: they may turn out to fit.
        self._orphans: dict[str, _Withheld] = {}
        self._vacant: dict[int, bytes] = {}
        self._polls = 0

    def accepts(self, rows: Sequence[int], entry: Entry) -> bool:
        """Return whether an execution's entry may be written into its rows; otherwise it is held back."""
        execution_id = entry["execution_id"]
        # An execution in several rows, as after pd.concat([out, out]), is in none of them by an answer's order.
        if execution_id in self._checked or len(rows) != 1:
            return True
        content = None if entry.get("inputs") is None else self._content(rows[0])
        if content is None:
            return True
        inputs = content_of(entry["inputs"], self._references, (content,))
        if inputs is None:
            return True
        if inputs != content:
            bulk_id = self._results.bulk_id[rows[0]]
            self._withheld[execution_id] = _Withheld(rows[0], bulk_id, inputs, entry)
            return False
        self._withheld.pop(execution_id, None)
        self._checked.add(execution_id)
        return True

    def discard(self, execution_ids: Iterable[str]) -> None:
        """Drop the state of executions that have ended."""
        self._checked.difference_update(execution_ids)

    def settle(self, open_rows: Mapping[str, Sequence[int]]) -> tuple[list[Outcome], list[Entry]]:
        """Decide about entries that were held back; called after each poll with the rows of each open execution.

        Returns
        -------
        outcomes : list of Outcome
            Rows that get another execution, or lose theirs.
        entries : list of mapping
            The API's entries of executions that are in their rows now.
        """
        withheld = self._withheld = self._still_withheld(open_rows)
        if not withheld:
            return [], []
        self._polls += 1
        unseen = {
            content
            for execution_id, rows in open_rows.items()
            if execution_id not in self._checked and execution_id not in withheld
            for row in rows
            if (content := self._content(row)) is not None
        }
        if unseen and self._polls < MAX_POLLS:
            return [], []
        self._polls = 0
        self._withheld = {}
        self._checked.update(withheld)
        return self._corrections(withheld, unseen)

    def release(self, open_rows: Mapping[str, Sequence[int]]) -> list[Entry]:
        """Return the entries to release, because no poll follows that could prove a mistake.

        What may be another row's stays held back: an execution with exactly an input that a row has sent, and that of
        the row which has sent it.
        """
        self._withheld = self._still_withheld(open_rows)
        if not self._withheld:
            return []
        sent = {self._content(row) for row in range(self._results.size)}
        returned = {item.inputs for item in (*self._withheld.values(), *self._orphans.values())}
        free = {
            execution_id: item
            for execution_id, item in self._withheld.items()
            if item.inputs not in sent and self._content(item.row) not in returned
        }
        self._withheld = {id_: item for id_, item in self._withheld.items() if id_ not in free}
        self._checked.update(free)
        return [item.entry for item in free.values()]

    def _still_withheld(self, open_rows: Mapping[str, Sequence[int]]) -> dict[str, _Withheld]:
        """Return the executions that are held back and still in a single row."""
        return {id_: item for id_, item in self._withheld.items() if [*open_rows.get(id_, ())] == [item.row]}

    def _corrections(
        self, withheld: Mapping[str, _Withheld], unseen: Collection[bytes]
    ) -> tuple[list[Outcome], list[Entry]]:
        current = self._results.execution_id
        self._vacant = {row: content for row, content in self._vacant.items() if current[row] is None}
        contents = {item.row: self._content(item.row) for item in withheld.values()} | self._vacant
        rows_by_content: defaultdict[bytes | None, list[int]] = defaultdict(list)
        for row in sorted(contents):
            rows_by_content[contents[row]].append(row)
        executions = {**self._orphans, **withheld}
        proven = {item.inputs for item in executions.values()}
        # Rows whose input another execution has exactly, and rows whose execution has the input of a row not seen yet.
        misplaced = {row for row, content in contents.items() if content in proven}
        misplaced.update(item.row for item in withheld.values() if item.inputs in unseen)
        assigned: dict[int, str] = {}
        outcomes: list[Outcome] = []
        entries: list[Entry] = []
        self._orphans = {}
        for execution_id, item in executions.items():
            if rows_by_content.get(item.inputs):
                assigned[rows_by_content[item.inputs].pop(0)] = execution_id
                entries.append(item.entry)
            elif execution_id in withheld and item.row not in misplaced:
                entries.append(item.entry)
            else:
                self._orphans[execution_id] = item
        misplaced.update(withheld[execution_id].row for execution_id in assigned.values() if execution_id in withheld)
        for row in sorted(misplaced):
            if (new := assigned.get(row)) is not None:
                self._vacant.pop(row, None)
                outcomes.append(Outcome(row, QUEUED, executions[new].bulk_id, new))
            elif row not in self._vacant:
                self._vacant[row] = contents[row] or b""
                error = MISPLACED.format(execution_id=current[row])
                outcomes.append(Outcome(row, UNKNOWN, error=error))
        return outcomes, entries
