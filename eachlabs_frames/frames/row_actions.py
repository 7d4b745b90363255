"""Decides per row whether a call sends it, from the state in the frame and in the journal. It never sends.

The journal takes precedence, because the frame may be old; later states that the frame has of the same execution stay.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..journal.records import SETTLED, RowHint, RowState, RunState
from ..models import FAILED, INVALID, PENDING, UNKNOWN, Outcome
from ..results import Results
from .rows import Positions
from .source_file import commonest_problem

if TYPE_CHECKING:
    from .plan import Plan
    from .run_binding import RunBinding

logger = logging.getLogger("eachlabs_frames")

NEW_ROW: Final = RowState("new")

_HINTS: Final = {
    PENDING: RowHint.UNSENT,
    INVALID: RowHint.UNSENT,
    UNKNOWN: RowHint.UNKNOWN,
    FAILED: RowHint.REFUSED,
}


@dataclass(slots=True)
class RowActions:
    """The rows of a call, by position, by the action to take.

    Attributes
    ----------
    send : sequence of int
        Rows to send, in the frame's order.
    numbers : sequence of int
        The number in the run of each row of the frame, by position.
    refused : dict of int to str
        Rows that the schema rejects, and why.
    unanswered : list of int
        Rows that a finished call sent without getting a response: their executions are searched for.
    unknown : list of int
        Rows whose executions were searched for and not found.
    elsewhere : list of int
        Rows that another call has sent and is waiting for.
    """

    send: Sequence[int] = ()
    numbers: Sequence[int] = ()
    refused: dict[int, str] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)


def unsent_rows(results: Results) -> Positions:
    """Return the rows of a frame that have no execution, and whose response was not lost."""
    states = zip(results.execution_id, results.status, strict=True)
    unsent = np.flatnonzero([execution_id is None and status != UNKNOWN for execution_id, status in states])
    if len(unsent) < results.size:
        logger.info("%d row(s) were sent before and are not sent again", results.size - len(unsent))
    return unsent.astype(np.int64, copy=False)


def rows_of_run(results: Results, binding: RunBinding, *, resend: bool) -> Positions:
    """Return the rows that the run decides on: in a named run all but those of executions that it does not know.

    There, a row's input says whether it was sent, and so a row may have changed since.
    """
    executions = binding.executions(results.execution_id)
    chosen = [
        (execution_id is None and (binding.named or resend or status != UNKNOWN))
        or (binding.named and execution_id in executions)
        for execution_id, status in zip(results.execution_id, results.status, strict=True)
    ]
    return np.flatnonzero(chosen).astype(np.int64, copy=False)


def row_hints(results: Results, *, has_result: bool) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Return the `RowHint` of each of a frame's rows; `ANY` if the frame has no results."""
    if not has_result:
        return np.zeros(results.size, dtype=np.int8)
    states = zip(results.execution_id, results.status, strict=True)
    hints = [
        RowHint.ANY if execution_id is not None else _HINTS.get(status, RowHint.ANY) for execution_id, status in states
    ]
    return np.array(hints, dtype=np.int8)


def decide_actions(
    plan: Plan, binding: RunBinding, numbers: Sequence[int], results: Results, *, has_result: bool, sends: bool
) -> RowActions:
    """Decide on the rows of a plan, and write the state that the journal has of them into `results`.

    Rows that are not in the run are sent by a call that sends; otherwise they are left as they are.
    """
    if not has_result and binding.is_fresh():
        return RowActions(plan.compact(), numbers)
    send: list[int] = []
    actions = RowActions(send, numbers)
    rows = plan.compact() if sends else [row for row in plan.compact() if numbers[row] >= 0]
    for row in rows if has_result else _take_accepted(rows, binding.run_journal.state, numbers, results):
        state, outcome, is_live = binding.run_journal.row_state(numbers[row]) if numbers[row] >= 0 else NEW_ROW
        if state == "sent":
            (actions.elsewhere if is_live else actions.unanswered).append(row)
        elif state == "settled" and outcome is not None:
            if _is_refused(outcome) and not binding.named:
                send.append(row)  # the API refused it and created nothing
            elif _settle(results, outcome._replace(position=row)):
                actions.unknown.append(row)
        elif _is_unsent(results, row):
            send.append(row)
        else:
            actions.unknown.append(row)
    run = binding.run_journal.name
    unidentified = _unidentified(plan, results, found={*actions.unanswered, *actions.elsewhere})
    missing = len(plan.positions) - len(rows) - sum(numbers[row] < 0 for row in unidentified if not sends)
    if missing:
        logger.warning("%d row(s) are not of run %s, which cannot say when they were sent", missing, run)
    if unidentified:
        message = "%d unknown row(s) were not searched for: %s; load_run(%r).eachlabs.reconcile() finds them without it"
        logger.warning(message, len(unidentified), commonest_problem(unidentified, plan.frame), run)
    return actions


def _take_accepted(rows: Sequence[int], state: RunState, numbers: Sequence[int], results: Results) -> Sequence[int]:
    """Write the executions that rows of a new frame have in the run into `results`, and return the other rows.

    Slice by slice, because a run may have a million rows, and a frame mostly has them in the run's order.
    """
    positions = np.array(rows, dtype=np.int64)
    places = np.array(numbers, dtype=np.int64)[positions]
    is_accepted = np.frombuffer(bytes(state.phases), dtype=np.uint8) == SETTLED
    is_accepted &= np.array([execution_id is not None for execution_id in state.results.execution_id], dtype=bool)
    taken = np.append(is_accepted, False)[places]  # -1, of a row that is not in the run, is the last one
    first, start = positions[taken], places[taken]
    if not len(first):
        return rows
    breaks = np.flatnonzero((np.diff(first) != 1) | (np.diff(start) != 1)) + 1
    begins, ends = [0, *breaks.tolist()], [*breaks.tolist(), len(first)]
    for begin, end in zip(begins, ends, strict=True):
        stored = int(start[begin])
        results.store_rows(int(first[begin]), state.results, stored, stored + end - begin)
    results.load()
    left: list[int] = positions[~taken].tolist()
    return left


def decide_retries(plan: Plan, binding: RunBinding, numbers: Sequence[int], results: Results) -> RowActions:
    """Decide on failed rows that are retried: all but those that the journal has a later execution of.

    The frame is outdated then: a cell was run twice, or another dashboard has retried them.
    """
    send: list[int] = []
    actions = RowActions(send, numbers)
    for row in plan.compact():
        state, outcome, is_live = binding.run_journal.row_state(numbers[row])
        if state == "sent":
            (actions.elsewhere if is_live else actions.unanswered).append(row)
        elif outcome is None or outcome.execution_id == results.execution_id[row] or _is_refused(outcome):
            send.append(row)
        elif _settle(results, outcome._replace(position=row)):
            actions.unknown.append(row)
    if len(send) < len(plan.positions):
        message = "%d row(s) were triggered again before and are not paid for once more: the journal's results are used"
        logger.warning(message, len(plan.positions) - len(send))
    return actions


def _unidentified(plan: Plan, results: Results, *, found: Collection[int]) -> dict[int, str]:
    """Return the rows without a response whose input cannot be read, as a file of it is gone, and why."""
    return {
        row: reason
        for row, reason in plan.refused.items()
        if row not in found and results.execution_id[row] is None and results.status[row] == UNKNOWN
    }


def _is_refused(outcome: Outcome) -> bool:
    return outcome.status == FAILED and outcome.execution_id is None


def _settle(results: Results, outcome: Outcome) -> bool:
    """Write the state that the journal has of a row into `results`; return whether its response was lost."""
    if outcome.execution_id is not None and results.execution_id[outcome.position] == outcome.execution_id:
        results.merge(outcome)
    else:
        results.replace(outcome)
    return outcome.status == UNKNOWN and outcome.execution_id is None


def _is_unsent(results: Results, row: int) -> bool:
    """Return whether a row that is not in the journal was not sent, according to the frame."""
    if results.execution_id[row] is not None:
        results.replace(Outcome(row, PENDING))  # it is of an earlier input of the row
        return True
    return results.status[row] != UNKNOWN
