"""What a dashboard shows, kept as outcomes come in: lines, error groups, counts, and what of it was not told yet.

It owns what is told and in which order, never when: no thread, no clock, no widget. One thread at a time may use it.
What comes from outside is cut to size here, so that no message can outgrow its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any, Final, NamedTuple, cast

from ...frames.run_status import RunStatus
from ...media import cut, read
from ...models import PENDING, STATUSES, Outcome
from ..common.card import seconds
from ..common.messages import DashboardSnapshot, DashboardUpdate, ErrorGroup, MediaMessage, OpenedLine, RowMessage
from .row_groups import MAX_ID_LENGTH, NOWHERE, BulkLine, ErrorGroups, ErrorRows, fit, size

USUAL: Final = 2_400
MAX_MESSAGE_BYTES: Final = 5_200
"""Bytes of an update as compact JSON, usually and at most; Jupyter's envelope of about 560 comes to them."""

MAX_STATUSES: Final = 20
OTHER: Final = "other"
"""The word for all words beyond `MAX_STATUSES`: the API has eight, and each is named in every head."""

MAX_ERROR_LENGTH: Final = 2_000
MAX_SENTENCE_LENGTH: Final = 300
MAX_NAME_LENGTH: Final = 100
MAX_LABEL_LENGTH: Final = 60
MAX_STATUS_LENGTH: Final = 24
MIN_TITLE_LENGTH: Final = 12
"""Characters of a title below which a label stands alone."""

_NAMES: Final = frozenset({"workflow", "version", "run"})
_LIST_KEYS: Final = len('"added":[],"lines":[],"errors":[],')
_UNSEEN: Final = Outcome(-1, PENDING)
_NANO: Final = 1_000_000_000


class DashboardModel:
    """The rows of one frame or run, all pending at first.

    Parameters
    ----------
    labels : sequence of str
        Each row's label in the frame's index; it is kept, not copied.
    titles : callable, optional
        Returns what each of some rows (positions) is called beside that; "" for one without a title. It is called for
        rows that are shown, and for no others.

    Attributes
    ----------
    seq : int
        The number of the last message that was told.
    total, accepted : int
        Rows, and those that have an execution.
    """

    def __init__(self, labels: Sequence[str], titles: Callable[[Sequence[int]], Sequence[str]] | None = None) -> None:
        self.seq = 0
        self.total: Final = len(labels)
        self.accepted = 0
        self._labels = labels
        self._titles = titles or _untitled
        self._outcomes = [_UNSEEN] * self.total
        self._words = list(STATUSES)
        self._codes = {word: code for code, word in enumerate(STATUSES)}
        self._tally = [0] * MAX_STATUSES
        self._tally[0] = self.total
        self._known_costs = 0
        self._cost = 0  # in 1e-9 USD: a sum of floats would depend on the order of the rows
        self._lines: list[BulkLine] = []
        # It gets its place when somebody looks: the rows of a frame that is loaded leave it before that.
        self._bare = BulkLine(None, range(self.total))
        self._by_bulk: dict[str | None, BulkLine] = {None: self._bare}
        self._line_of = [self._bare] * self.total
        self._dirty: dict[int, None] = {}  # lines as they are, groups as -1 - place; the first to change comes first
        self._groups = ErrorGroups(self._dirty)
        self._told = _SentState({}, 0, len(self._words), 0)

    def take(self, outcomes: Iterable[Outcome], *, now: float | None) -> None:
        """Take in how rows stand; one that stands as before changes nothing.

        Parameters
        ----------
        outcomes : iterable of Outcome
        now : float or None
            What a line that appears was created at, in epoch seconds. None for a frame that is loaded: such a line
            is as old as the first of its rows that has started.
        """
        seen = len(self._lines)
        for outcome in outcomes:
            row = outcome.position
            before = self._outcomes[row]
            self._outcomes[row] = outcome
            if not _equal(before, outcome):
                self._change(row, before, outcome)
        for line in islice(self._lines, seen, None):
            line.created_at = self._first_start(line) if now is None else round(now, 3)

    # -- what it holds ----------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many lines there are."""
        self._place_bare()
        return len(self._lines)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status word; those that none has are left out."""
        return {word: rows for word, rows in zip(self._words, self._tally, strict=False) if rows}

    @property
    def cost_usd(self) -> float | None:
        """What the rows' executions cost whose cost is known; None where none is."""
        return self._cost / _NANO if self._known_costs else None

    @property
    def mean_cost_usd(self) -> float | None:
        """What one execution costs on average, of those whose cost is known."""
        return self._cost / _NANO / self._known_costs if self._known_costs else None

    @property
    def behind(self) -> bool:
        """Whether lines, error groups or words wait to be told."""
        return bool(self._dirty) or self._told.words < len(self._words) or self._told.more_errors != self._groups.more

    def rows_of(self, status: str) -> list[int]:
        """Return the rows that have this status, in the frame's order."""
        return [row for row, outcome in enumerate(self._outcomes) if outcome.status == status]

    def rows_with(self, status: str) -> int:
        """Return how many rows have this status."""
        return self.counts.get(status, 0)

    def errors(self) -> list[ErrorGroup]:
        """Return every error message with its rows, the most frequent first."""
        groups = sorted(self._groups.filled(), key=lambda group: -len(group.rows))
        return [self._error_group(group) for group in groups]

    def version(self, line: int) -> int:
        """Return a number that grows whenever a row of this line changes in any way."""
        return self._lines[line].version

    def rows(self, line: int, offset: int = 0, limit: int = 50) -> OpenedLine:
        """Return rows of a line as they stand, in the frame's order; none of a line that does not exist."""
        self._place_bare()
        rows = self._lines[line].in_order() if 0 <= line < len(self._lines) else []
        offset = max(0, min(offset, len(rows)))
        shown = rows[offset : offset + max(0, limit)]
        titles = self._titles(shown)
        return {
            "offset": offset,
            "total": len(rows),
            "rows": [self._row(row, title) for row, title in zip(shown, titles, strict=True)],
        }

    def find(self, text: str, inputs: Sequence[str] | None = None) -> list[int]:
        """Return the lines with a row that holds each word of `text`, in any order, in its label, error and input.

        An id (``bulk_id`` or ``execution_id``) is found by a part of it, and only where that is all of the text: most
        numbers of two digits stand in some id. Upper and lower case are alike; the empty text is everywhere.

        Parameters
        ----------
        text : str
        inputs : sequence of str, optional
            The texts of each row's input.
        """
        self._place_bare()
        phrase = text.strip().casefold()
        words = phrase.split()
        return [place for place, line in enumerate(self._lines) if self._holds(line, phrase, words, inputs)]

    # -- what is told -----------------------------------------------------------------------------------------------

    def head(self, extra: Mapping[str, object]) -> RunStatus:
        """Return what stands above the lines: what this board knows, and what its caller says beside it."""
        head = {key: _presentable(key, value) for key, value in extra.items()}
        cost = self.cost_usd
        superseded = extra.get("superseded_cost_usd")
        if isinstance(superseded, float) and superseded:
            cost = (cost or 0.0) + superseded
        head |= {"total": self.total, "accepted": self.accepted, "counts": self.counts, "cost_usd": cost}
        return cast("RunStatus", head)

    def snapshot(self, extra: Mapping[str, object], now: float, *, sent: bool = False) -> DashboardSnapshot:
        """Return everything, with no line opened.

        Parameters
        ----------
        extra : mapping
            See `head`.
        now : float
            Epoch seconds.
        sent : bool
            Whether it goes to the browser that gets the updates: what it holds is then told, and is a step of its own
            where something of it is new. Without it nothing changes, as for a picture that is only saved.
        """
        self._place_bare()
        head = self.head(extra)
        if sent:
            if self.behind or _difference(self._told.head, head):
                self.seq += 1
            self._dirty.clear()
            self._groups.tell_all()
            self._told = _SentState(head, len(self._lines), len(self._words), self._groups.more)
        return {
            "seq": self.seq,
            "now": round(now, 3),
            "head": head,
            "words": self._words[:],
            "lines": [line.whole() for line in self._lines],
            "errors": [self._error_group(group) for group in self._groups.shown],
            "more_errors": self._groups.more,
            "rows": {},
        }

    def update(self, extra: Mapping[str, object], now: float, *, budget: int = USUAL) -> DashboardUpdate | None:
        """Return what changed since the last message, the oldest change first; None where nothing did.

        Parameters
        ----------
        extra : mapping
            See `head`.
        now : float
            Epoch seconds; it alone is no change.
        budget : int
            Bytes of the message as compact JSON. Where more changes would be left than it took it is
            `MAX_MESSAGE_BYTES` instead: the longest head and the longest change fit into that together. What does not
            fit waits (`behind`).
        """
        self._place_bare()
        head = self.head(extra)
        difference = _difference(self._told.head, head)
        if not difference and not self.behind:
            return None
        self.seq += 1
        message: DashboardUpdate = {"kind": "update", "seq": self.seq, "now": round(now, 3)}
        if difference:
            message["head"] = cast("RunStatus", difference)
        if self._told.words < len(self._words):
            message["words"] = self._words[:]
        if self._told.more_errors != self._groups.more:
            message["more_errors"] = self._groups.more
        self._told = _SentState(head, self._told.lines, len(self._words), self._groups.more)
        self._fill(message, budget)
        return message

    def _fill(self, message: DashboardUpdate, budget: int) -> None:
        """Write changes into `message` until its budget is spent."""
        spent = size(message) + _LIST_KEYS
        written = 0
        for key in self._dirty:
            kind, change = self._change_of(key)
            spent += size(change) + 1
            if spent > budget:
                budget = MAX_MESSAGE_BYTES if len(self._dirty) > 2 * written else budget
                if spent > budget:
                    break
            cast("dict[str, Any]", message).setdefault(kind, []).append(change)
            written += 1
            if kind == "added":
                self._told = self._told._replace(lines=key + 1)
            elif kind == "errors":
                self._groups.tell(-1 - key)
        for key in list(islice(self._dirty, written)):
            del self._dirty[key]

    def _change_of(self, key: int) -> tuple[str, Any]:
        """Return one thing that is to be told, and the list it goes into."""
        if key >= self._told.lines:  # lines become dirty as they appear, so they are added in their order
            return "added", self._lines[key].whole()
        if key >= 0:
            return "lines", [key, *self._lines[key].pairs()]
        place = -1 - key
        group = self._groups.shown[place]
        rows = len(group.rows)
        return "errors", (place, rows) if self._groups.is_told(place) else (place, *self._error_group(group))

    # -- what changes it --------------------------------------------------------------------------------------------

    def _change(self, row: int, before: Outcome, outcome: Outcome) -> None:
        left, line = self._line_of[row], self._line(outcome.bulk_id)
        old, new = self._code(before.status), self._code(outcome.status)
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
        """Return the line of this bulk operation, a new one behind the others where there is none."""
        bulk_id = bulk_id or None
        line = self._by_bulk.get(bulk_id)
        if line is None:
            line = self._by_bulk[bulk_id] = BulkLine(bulk_id)
            self._place(line)
        return line

    def _place_bare(self) -> None:
        if self._bare.place == NOWHERE and self._bare.rows:
            self._place(self._bare)

    def _place(self, line: BulkLine) -> None:
        line.place = len(self._lines)
        self._lines.append(line)
        self._mark(line)

    def _mark(self, line: BulkLine) -> None:
        if line.place != NOWHERE:
            self._dirty[line.place] = None

    def _code(self, status: str) -> int:
        code = self._codes.get(status)
        if code is None:
            word = fit(status, MAX_STATUS_LENGTH)
            if word not in self._words:
                word = word if len(self._words) < MAX_STATUSES - 1 else OTHER
            if word not in self._words:
                self._words.append(word)
            code = self._codes[status] = self._words.index(word)
        return code

    # -- what one thing looks like ----------------------------------------------------------------------------------

    def _first_start(self, line: BulkLine) -> float | None:
        starts = [start for row in line.rows if (start := self._outcomes[row].started_at) is not None]
        return round(min(starts) / _NANO, 3) if starts else None

    def _error_group(self, group: ErrorRows) -> ErrorGroup:
        rows = group.first()
        labels = [_called(self._labels[row], title) for row, title in zip(rows, self._titles(rows), strict=True)]
        return len(group.rows), group.message, labels

    def _row(self, row: int, title: str) -> RowMessage:
        outcome = self._outcomes[row]
        _, status, _, execution_id, error, started_at, completed_at, output, cost = outcome
        return {
            "label": cut(self._labels[row], MAX_ID_LENGTH),
            "title": cut(title, MAX_ID_LENGTH),
            "execution_id": None if execution_id is None else cut(execution_id, MAX_ID_LENGTH),
            "status": self._words[self._code(status)],
            "error": cut(error, MAX_ERROR_LENGTH) if error else None,
            "output": _media(output),
            "cost_usd": cost if cost is not None and isfinite(cost) else None,
            "seconds": seconds(started_at, completed_at),
        }

    def _holds(self, line: BulkLine, phrase: str, words: Sequence[str], inputs: Sequence[str] | None) -> bool:
        if phrase in (line.bulk_id or "").casefold():
            return True
        for row in line.rows:
            outcome = self._outcomes[row]
            if phrase in (outcome.execution_id or "").casefold():
                return True
            texts = (self._labels[row], outcome.error or "", "" if inputs is None else inputs[row])
            held = "\n".join(texts).casefold()
            if all(word in held for word in words):
                return True
        return False


class _SentState(NamedTuple):
    """How far the browser has been told."""

    head: RunStatus
    lines: int
    words: int
    more_errors: int


def _untitled(rows: Sequence[int]) -> Sequence[str]:
    return [""] * len(rows)


def _called(label: str, title: str) -> str:
    """Return a row's label with its title, as in `7 “a fox in the snow”`, where there is room for it."""
    room = MAX_LABEL_LENGTH - len(label) - 3
    if not title or room < MIN_TITLE_LENGTH:
        return fit(label, MAX_LABEL_LENGTH)
    return f"{label} “{fit(title, room)}”"


def _equal(before: Outcome, outcome: Outcome) -> bool:
    """Say whether two outcomes of one row say the same; the position of `_UNSEEN` is nobody's."""
    try:
        return before is outcome or before[1:] == outcome[1:]
    except Exception:  # noqa: BLE001  # an output may be nested too deep, or hold what refuses to be compared
        return False


def _difference(old: RunStatus, new: RunStatus) -> dict[str, Any]:
    before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
    return {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}


def _presentable(key: str, value: object) -> object:
    """Return one value of a head as it can be sent."""
    if isinstance(value, str):
        return fit(value, MAX_NAME_LENGTH if key in _NAMES else MAX_SENTENCE_LENGTH)
    if isinstance(value, float):
        return round(value, 4) if isfinite(value) else None
    return value


def _media(output: object) -> MediaMessage | None:
    media = read(output)
    if media is None:
        return None
    shown: MediaMessage = {"kind": media.kind, "text": media.text}
    if media.url is not None:
        shown["url"] = media.url
    return shown
