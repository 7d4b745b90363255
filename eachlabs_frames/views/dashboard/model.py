"""The state of a dashboard: its lines, error groups and counts, and which changes were not sent yet.

Owns what is sent and in which order, never when: no thread, no clock, no widget. One thread at a time may use it.
Text from outside is cut to size here, so that no message exceeds its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any, Final, cast

from ...frames.run_status import RunStatus
from ...media import cut, read
from ...models import PENDING, Json, Outcome
from ..common.card import seconds
from ..common.outcomes import MAX_STATUSES, StatusCodes, fit, is_same, json_size
from .messages import DashboardSnapshot, DashboardUpdate, ErrorGroup, OpenedLine, RowMessage
from .row_groups import MAX_ID_LENGTH, NOWHERE, BulkLine, ErrorGroups, ErrorRows

USUAL_MESSAGE_BYTES: Final = 2_400
MAX_MESSAGE_BYTES: Final = 5_200
"""Bytes of an update as compact JSON, usually and at most; Jupyter's envelope of about 560 is added to them."""

MAX_ERROR_LENGTH: Final = 2_000
MAX_SENTENCE_LENGTH: Final = 300
MAX_NAME_LENGTH: Final = 100
MAX_LABEL_LENGTH: Final = 60
MIN_TITLE_LENGTH: Final = 12
"""A label is shown without a title if less than this is left for the title."""

_NAMES: Final = frozenset({"workflow", "version", "run"})
_LIST_KEYS: Final = len('"added":[],"lines":[],"errors":[],')
_INITIAL: Final = Outcome(-1, PENDING)
_NANO: Final = 1_000_000_000


class DashboardModel:
    """The rows of one frame or run, all pending at first.

    Parameters
    ----------
    labels : sequence of str
        Each row's label in the frame's index; kept, not copied.
    titles : callable, optional
        Returns the titles of some rows (positions), which are shown beside their labels; "" for a row without one. It
        is called only for rows that are shown.
    workers : mapping of str to str, optional
        Which worker has sent each bulk operation, where there were several.

    Attributes
    ----------
    seq : int
        Number of the latest message.
    total, accepted : int
        Number of rows, and of those that have an execution.
    """

    def __init__(
        self,
        labels: Sequence[str],
        titles: Callable[[Sequence[int]], Sequence[str]] | None = None,
        *,
        workers: Mapping[str, str] | None = None,
    ) -> None:
        self.seq = 0
        self.total: Final = len(labels)
        self.accepted = 0
        self._labels = labels
        self._titles = titles or (lambda rows: [""] * len(rows))
        self._workers = workers or {}
        self._outcomes = [_INITIAL] * self.total
        self._statuses = StatusCodes()
        self._tally = [0] * MAX_STATUSES
        self._tally[0] = self.total
        self._known_costs = 0
        self._cost = 0  # in 1e-9 USD: a sum of floats would depend on the order of the rows
        self._lines: list[BulkLine] = []
        # It is placed when a message is made: the rows of a frame that is loaded leave it before that.
        self._without_bulk = BulkLine(None, range(self.total))
        self._by_bulk: dict[str | None, BulkLine] = {None: self._without_bulk}
        self._line_of = [self._without_bulk] * self.total
        self._dirty: dict[int, None] = {}  # places of lines, and -1 - place of groups; the first to change comes first
        self._groups = ErrorGroups(self._dirty)
        self._sent_head: RunStatus = {}
        self._sent_lines = self._sent_more_errors = 0
        self._sent_statuses = len(self._statuses.names)

    def take(self, outcomes: Iterable[Outcome], *, now: float | None) -> None:
        """Take in outcomes; one that is equal to the row's current outcome changes nothing.

        Parameters
        ----------
        outcomes : iterable of Outcome
        now : float or None
            Creation time of new lines, in epoch seconds. None for a frame that is loaded: a new line is as old as the
            first of its rows that has started.
        """
        size = len(self._lines)
        for outcome in outcomes:
            row = outcome.position
            before = self._outcomes[row]
            self._outcomes[row] = outcome
            if not is_same(before, outcome):
                self._change(row, before, outcome)
        for line in islice(self._lines, size, None):
            line.created_at = self._first_start(line) if now is None else round(now, 3)

    # -- contents ---------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of lines."""
        self._place_rows_without_bulk()
        return len(self._lines)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by status, without zeros."""
        return {status: rows for status, rows in zip(self._statuses.names, self._tally, strict=False) if rows}

    @property
    def cost_usd(self) -> float | None:
        """Cost of the executions whose cost is known; None if none is."""
        return self._cost / _NANO if self._known_costs else None

    @property
    def mean_cost_usd(self) -> float | None:
        """Mean cost of an execution, of those whose cost is known."""
        return self._cost / _NANO / self._known_costs if self._known_costs else None

    @property
    def behind(self) -> bool:
        """Whether lines, error groups or statuses wait to be sent."""
        has_statuses = self._sent_statuses < len(self._statuses.names)
        return bool(self._dirty) or has_statuses or self._sent_more_errors != self._groups.more

    def rows_of(self, status: str) -> list[int]:
        """Return the rows that have this status, in the frame's order."""
        return [row for row, outcome in enumerate(self._outcomes) if outcome.status == status]

    def rows_with(self, status: str) -> int:
        """Return the number of rows that have this status."""
        return self.counts.get(status, 0)

    def version(self, line: int) -> int:
        """Return a number that grows whenever a row of this line changes in any way."""
        return self._lines[line].version

    def rows(self, line: int, offset: int = 0, limit: int = 50) -> OpenedLine:
        """Return rows of a line in the frame's order; none of a line that does not exist."""
        self._place_rows_without_bulk()
        rows = self._lines[line].in_order() if 0 <= line < len(self._lines) else []
        offset = max(0, min(offset, len(rows)))
        shown = rows[offset : offset + max(0, limit)]
        messages = [self._row(row, title) for row, title in zip(shown, self._titles(shown), strict=True)]
        return {"offset": offset, "total": len(rows), "rows": messages}

    def find(self, text: str, inputs: Sequence[str] | None = None) -> list[int]:
        """Return the lines with a row that contains each word of `text`, in any order, in its label, error and input.

        An id (``bulk_id`` or ``execution_id``) matches if it contains the whole text: most numbers of two digits are
        part of some id. Case is ignored; the empty text is everywhere.

        Parameters
        ----------
        text : str
        inputs : sequence of str, optional
            The texts of each row's input.
        """
        self._place_rows_without_bulk()
        phrase = text.strip().casefold()
        words = phrase.split()
        return [place for place, line in enumerate(self._lines) if self._matches(line, phrase, words, inputs)]

    # -- messages ---------------------------------------------------------------------------------------------------

    def head(self, status: Mapping[str, object]) -> RunStatus:
        """Return the status of the run with the counts and the cost of the rows."""
        head = {key: _presentable(key, value) for key, value in status.items()}
        cost = self.cost_usd
        superseded = status.get("superseded_cost_usd")
        if isinstance(superseded, float) and superseded:
            cost = (cost or 0.0) + superseded
        head |= {"total": self.total, "accepted": self.accepted, "counts": self.counts, "cost_usd": cost}
        return cast("RunStatus", head)

    def snapshot(self, status: Mapping[str, object], now: float, *, sent: bool = False) -> DashboardSnapshot:
        """Return everything, with no line opened.

        Parameters
        ----------
        status : mapping
            See `head`.
        now : float
            Epoch seconds.
        sent : bool
            Whether it goes to the browser that gets the updates: its contents then count as sent, and it has a number
            of its own if any of them is new. Otherwise nothing changes, as for HTML that is only saved.
        """
        self._place_rows_without_bulk()
        head = self.head(status)
        if sent:
            if self.behind or _difference(self._sent_head, head):
                self.seq += 1
            self._dirty.clear()
            self._groups.mark_all_sent()
            self._sent_lines = len(self._lines)
            self._mark_sent(head)
        return {
            "seq": self.seq,
            "now": round(now, 3),
            "head": head,
            "statuses": self._statuses.names[:],
            "lines": [line.whole() for line in self._lines],
            "errors": [self._error_group(group) for group in self._groups.shown],
            "more_errors": self._groups.more,
            "rows": {},
        }

    def update(
        self, status: Mapping[str, object], now: float, *, budget: int = USUAL_MESSAGE_BYTES
    ) -> DashboardUpdate | None:
        """Return what has changed since the last message, the oldest change first; None if nothing has.

        Parameters
        ----------
        status : mapping
            See `head`.
        now : float
            Epoch seconds; it alone is no change.
        budget : int
            Bytes of the message as compact JSON. If that would leave more changes than it includes, the budget is
            `MAX_MESSAGE_BYTES` instead: the longest head and the longest change fit into that together. Other changes
            wait (`behind`).
        """
        self._place_rows_without_bulk()
        head = self.head(status)
        difference = _difference(self._sent_head, head)
        if not difference and not self.behind:
            return None
        self.seq += 1
        message: DashboardUpdate = {"kind": "update", "seq": self.seq, "now": round(now, 3)}
        if difference:
            message["head"] = cast("RunStatus", difference)
        if self._sent_statuses < len(self._statuses.names):
            message["statuses"] = self._statuses.names[:]
        if self._sent_more_errors != self._groups.more:
            message["more_errors"] = self._groups.more
        self._mark_sent(head)
        self._fill(message, budget)
        return message

    def _mark_sent(self, head: RunStatus) -> None:
        self._sent_head, self._sent_more_errors = head, self._groups.more
        self._sent_statuses = len(self._statuses.names)

    def _fill(self, message: DashboardUpdate, budget: int) -> None:
        """Write changes into `message` until its budget is used up."""
        spent = json_size(message) + _LIST_KEYS
        written = 0
        for key in self._dirty:
            kind, change = self._change_of(key)
            spent += json_size(change) + 1
            if spent > budget:
                budget = MAX_MESSAGE_BYTES if len(self._dirty) > 2 * written else budget
                if spent > budget:
                    break
            cast("dict[str, Any]", message).setdefault(kind, []).append(change)
            written += 1
            if kind == "added":
                self._sent_lines = key + 1
            elif kind == "errors":
                self._groups.mark_sent(-1 - key)
        for key in list(islice(self._dirty, written)):
            del self._dirty[key]

    def _change_of(self, key: int) -> tuple[str, Any]:
        """Return one change, and the list of the message that it belongs to."""
        if key >= self._sent_lines:  # lines become dirty as they appear, so they are added in their order
            return "added", self._lines[key].whole()
        if key >= 0:
            return "lines", [key, *self._lines[key].pairs()]
        place = -1 - key
        group = self._groups.shown[place]
        rows = len(group.rows)
        return "errors", (place, rows) if self._groups.is_sent(place) else (place, *self._error_group(group))

    # -- changes ----------------------------------------------------------------------------------------------------

    def _change(self, row: int, before: Outcome, outcome: Outcome) -> None:
        left, line = self._line_of[row], self._line(outcome.bulk_id)
        old, new = self._statuses.code(before.status), self._statuses.code(outcome.status)
        if left is not line or old != new:
            left.leave(row, old)
            line.join(row, new)
            self._tally[old] -= 1
            self._tally[new] += 1
            self._line_of[row] = line
            self._mark(left)
            self._mark(line)
        left.version += 1
        line.version += 1
        if before.error != outcome.error:
            self._groups.move(row, outcome.error)
        self.accepted += (outcome.execution_id is not None) - (before.execution_id is not None)
        if before.cost != outcome.cost:
            for cost, sign in ((before.cost, -1), (outcome.cost, 1)):
                if cost is not None and isfinite(cost):
                    self._known_costs += sign
                    self._cost += sign * round(cost * _NANO)

    def _line(self, bulk_id: str | None) -> BulkLine:
        """Return the line of this bulk operation; a new one comes after the others."""
        bulk_id = bulk_id or None
        line = self._by_bulk.get(bulk_id)
        if line is None:
            line = self._by_bulk[bulk_id] = BulkLine(bulk_id, worker=self._workers.get(bulk_id or "", ""))
            self._place(line)
        return line

    def _place_rows_without_bulk(self) -> None:
        if self._without_bulk.place == NOWHERE and self._without_bulk.rows:
            self._place(self._without_bulk)

    def _place(self, line: BulkLine) -> None:
        line.place = len(self._lines)
        self._lines.append(line)
        self._mark(line)

    def _mark(self, line: BulkLine) -> None:
        if line.place != NOWHERE:
            self._dirty[line.place] = None

    # -- parts of messages ------------------------------------------------------------------------------------------

    def _first_start(self, line: BulkLine) -> float | None:
        starts = [start for row in line.rows if (start := self._outcomes[row].started_at) is not None]
        return round(min(starts) / _NANO, 3) if starts else None

    def _error_group(self, group: ErrorRows) -> ErrorGroup:
        rows = group.first()
        labels = [_with_title(self._labels[row], title) for row, title in zip(rows, self._titles(rows), strict=True)]
        return len(group.rows), group.message, labels

    def _row(self, row: int, title: str) -> RowMessage:
        outcome = self._outcomes[row]
        cost, execution_id = outcome.cost, outcome.execution_id
        return {
            "label": cut(self._labels[row], MAX_ID_LENGTH),
            "title": cut(title, MAX_ID_LENGTH),
            "execution_id": None if execution_id is None else cut(execution_id, MAX_ID_LENGTH),
            "status": self._statuses.names[self._statuses.code(outcome.status)],
            "error": cut(outcome.error, MAX_ERROR_LENGTH) if outcome.error else None,
            "output": _media(outcome.output),
            "cost_usd": cost if cost is not None and isfinite(cost) else None,
            "seconds": seconds(outcome.started_at, outcome.completed_at),
        }

    def _matches(self, line: BulkLine, phrase: str, words: Sequence[str], inputs: Sequence[str] | None) -> bool:
        if phrase in (line.bulk_id or "").casefold():
            return True
        for row in line.rows:
            outcome = self._outcomes[row]
            if phrase in (outcome.execution_id or "").casefold():
                return True
            texts = (self._labels[row], outcome.error or "", "" if inputs is None else inputs[row])
            searched = "\n".join(texts).casefold()
            if all(word in searched for word in words):
                return True
        return False


def _with_title(label: str, title: str) -> str:
    """Return a row's label with its title, as in `7 “a fox in the snow”`, if there is enough space."""
    space = MAX_LABEL_LENGTH - len(label) - 3
    if not title or space < MIN_TITLE_LENGTH:
        return fit(label, MAX_LABEL_LENGTH)
    return f"{label} “{fit(title, space)}”"


def _difference(old: RunStatus, new: RunStatus) -> dict[str, Any]:
    before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
    return {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}


def _presentable(key: str, value: object) -> object:
    """Return one value of a run's status as it can be sent."""
    if isinstance(value, str):
        return fit(value, MAX_NAME_LENGTH if key in _NAMES else MAX_SENTENCE_LENGTH)
    if isinstance(value, float):
        return round(value, 4) if isfinite(value) else None
    return value


def _media(output: Json) -> dict[str, Json] | None:
    media = read(output)
    return None if media is None else {key: value for key, value in media._asdict().items() if value is not None}
