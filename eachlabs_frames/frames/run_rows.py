"""Maps a frame's rows to rows of a journaled run and reads their recorded state.

Owns which run a call belongs to and whether the call fits that run. It never sends anything.
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pandas as pd

from ..aio.clock import SystemClock
from ..errors import InputError, MappingError, RunError
from ..inputs.fingerprints import fingerprint, fingerprints
from ..inputs.json_values import MISSING, RefusedValueError, clean_local
from ..inputs.mapping import Fields, as_pinned, from_spec, resolve
from ..journal import open_journal
from ..journal.base import RowChunk, RunSpec
from ..journal.run_names import readable
from ..models import INVALID, Json, Outcome
from ..settings import Settings
from ..suggestions import hint
from . import source_file
from .columns import ResultMeta
from .options import TriggerOptions
from .rows import labels_to_json

if TYPE_CHECKING:
    from .plan import Digests, Plan

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()
NOT_IN_RUN: Final = -1
MAX_KEY_DIGITS: Final = 18
"""An integer of so many digits has 64 bits."""

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")

RowHints: TypeAlias = "np.ndarray[Any, np.dtype[np.int8]]"


class RunBinding:
    """Binds the frame of one call to a run of the journal.

    Parameters
    ----------
    settings : Settings
    options : TriggerOptions
    workflow_id : str
    before : ResultMeta or None
        What the frame's attrs record.

    Raises
    ------
    JournalError
        The journal cannot be used.
    RunError
        The run is another workflow's, version's or server's.
    """

    def __init__(
        self, settings: Settings, options: TriggerOptions, workflow_id: str, *, before: ResultMeta | None
    ) -> None:
        self._settings = settings
        self._options = options
        self._workflow_id = workflow_id
        self.named = options.run is not None
        remembered = before.run if before is not None else None
        # Nobody has asked for a run by its name: whatever name it gets, it is a new one.
        self._fresh = options.run is None and remembered is None
        self.entry = open_journal(settings.journal).open(options.run or remembered or new_name())
        # A frame of this very run brings its own mapping: that of `load_run` is the inputs' own keys.
        self.brought = before.inputs if before is not None and remembered == self.entry.name else None
        try:
            self.pinned = self._known(remembered)
            if self.pinned is not None:
                self.entry.enter(self.pinned)
        except BaseException:
            self.leave()
            raise

    def executions(self) -> dict[str, int]:
        """Return the executions that the run has, and each one's row in it."""
        return self.entry.state.executions()

    def _known(self, before: str | None) -> RunSpec | None:
        """Return what the run is pinned to. Where it was not asked for by name and does not fit, begin another."""
        pin = None if self._fresh else self.entry.spec()
        if pin is None:
            return None
        differs = self._differs(pin)
        if not differs:
            return pin
        if self.named:
            raise RunError(_differing(self.entry.name, differs))
        logger.info("run %s is not continued: %s", before, differs)
        self._begin_anew()
        return None

    def _begin_anew(self) -> None:
        self.leave()
        self.entry, self._fresh = open_journal(self._settings.journal).open(new_name()), True

    def _differs(self, pin: RunSpec) -> str:
        """Say what of this call is not as the run was pinned, of what is known before anything is asked."""
        options = self._options
        key = None if options.key is None else str(options.key)
        pairs = [
            ("workflow", pin.workflow_id, self._workflow_id),
            ("base_url", pin.base_url, self._settings.base_url),
            ("version_id", pin.version_id, options.version_id or pin.version_id),
            ("key", pin.key, pin.key if key is None else key),
            ("na", pin.na, options.na),
        ]
        return _worded(pairs)

    def is_fresh(self) -> bool:
        """Return whether no row of the run has a recorded state."""
        return self.entry.state.is_untouched()

    def leave(self) -> None:
        """Write pending records and close the run; a run without rows is deleted."""
        if not self.entry.state.results.size:
            self.entry.withdraw()
        failure = self.entry.close()
        if failure is not None:
            logger.error("the frame has results that the journal does not have, so keep the frame: %s", failure)

    def paid(self) -> tuple[float, int]:
        """Return what executions of this run are known to have cost, in USD, and how many have no known cost.

        A row whose answer was lost counts: it may be billed.
        """
        return self.entry.state.paid()

    @property
    def version_id(self) -> str | None:
        """The version that the run is pinned to, or the one that was asked for."""
        return self.pinned.version_id if self.pinned is not None else self._options.version_id

    def fields(self, frame: pd.DataFrame) -> Fields | None:
        """Return the mapping that the run is pinned to, where it can be read."""
        spec = self.brought if self.brought is not None or self.pinned is None else self.pinned.inputs
        if self.pinned is None or spec is None:
            return None
        resolve(fields := from_spec(spec), list(frame.columns), None, ours=frozenset())
        return fields

    def check_mapping(self, pin: RunSpec) -> None:
        """Begin another run if this one has another mapping than `pin`.

        Raises
        ------
        RunError
            The run was asked for by its name.
        """
        known_by = self.pinned.inputs if self.pinned is not None else None
        if self.pinned is None or pin.inputs in (known_by, as_pinned(self.brought)):
            return
        if self.named:
            raise RunError(_differing(self.entry.name, _worded([("inputs", known_by, pin.inputs)])))
        self._begin_anew()
        self.pinned = None

    def enter(
        self, plan: Plan, pin: RunSpec, *, held: Sequence[str | None], hints: RowHints, add: bool, retries: bool
    ) -> Sequence[int]:
        """Check every row, give each its number in the run, and return the numbers of the frame's rows by position.

        Parameters
        ----------
        plan : Plan
            What is read; it knows afterwards what the schema refuses.
        pin : Pin
            What `pin` gave for it, after `check_mapping`.
        held : sequence of str or None
            The execution that each row of the frame has already.
        hints : numpy.ndarray of int8
            What the frame itself says of each of its rows (`RowHint`).
        add : bool
            Whether rows that the run has not seen become rows of it.
        retries : bool
            Whether these are failed rows, of which those that were triggered again since are not sent.

        Raises
        ------
        InputError
            A row's values cannot be an input, its key is missing or there twice, or its input has changed.
        """
        if self.pinned is None:
            names = [_text(name) for name in plan.frame.index.names]
            self.entry.enter(pin, index_names=names, rename=new_name if self._fresh else None)
        numbers = self._held(plan, held, keyed=pin.key is not None, retries=retries)
        keys: list[Json] | None = None
        digests: Digests | None = None
        if pin.key is not None:
            found_by, keys = _keys(plan.frame, self._options.key if self._options.key is not None else pin.key)
            digests = partial(_at, found_by)
        sheets = plan.sheets(_labels(plan.frame, keys), digests, lambda rows: hints[rows].tolist())
        found = self.entry.register(
            self._with_numbers(sheets, numbers, plan),
            assigned=[number for number in numbers if number >= 0],
            keyed=pin.key is not None,
            on_changed=self._changed(plan),
            add=add,
        )
        for position, number in zip(plan.positions.tolist(), found, strict=True):
            numbers[position] = number
        if add:
            self._note_refused(plan, numbers)
        return numbers

    def _held(self, plan: Plan, held: Sequence[str | None], *, keyed: bool, retries: bool) -> array[int]:
        """Return the numbers of the rows that the frame holds the executions of, where their input is the same still.

        A row whose input has changed is another row, and leaves its place to whoever has that input now.
        """
        numbers = array("q", [NOT_IN_RUN]) * len(plan.frame)
        replaced = self.entry.state.replaced_executions  # an old frame has them, whose rows were triggered again since
        known = replaced | self.executions()
        if not known:
            return numbers
        for position, execution_id in enumerate(held):
            if execution_id is not None:
                numbers[position] = known.get(execution_id, NOT_IN_RUN)
        if not any(numbers[position] >= 0 for position in plan.compact()):
            return numbers
        given: set[int] = set()
        for positions, inputs, payloads in plan.checked():
            for position, content in zip(positions, fingerprints(inputs, payloads), strict=True):
                number = numbers[position]
                is_old = held[position] in replaced
                # A retry takes over what became of an old execution's row; any other call sends each row of the frame.
                again = self._options.retrigger and number in given and not (is_old and retries)
                if keyed or again or (number >= 0 and self.entry.content(number) != content):
                    numbers[position] = NOT_IN_RUN
                if not (is_old and retries):
                    given.add(number)
        return numbers

    def _with_numbers(self, sheets: Iterator[RowChunk], numbers: array[int], plan: Plan) -> Iterator[RowChunk]:
        """Say on each sheet which rows the frame knows the numbers of, by their executions."""
        start = 0
        for sheet in sheets:
            positions = plan.positions[start : start + len(sheet.contents)].tolist()
            start += len(positions)
            known = [numbers[position] for position in positions]
            yield RowChunk(sheet.digests, sheet.contents, sheet.labels, sheet.payloads, sheet.hints, known)

    def pin(self, plan: Plan, version_id: str) -> RunSpec:
        """Return what a run of this call's rows is pinned to."""
        pinned = self.pinned
        key = self._options.key if self._options.key is not None or pinned is None else pinned.key
        return RunSpec(
            self._workflow_id,
            version_id,
            self._settings.base_url,
            plan.pinned_spec(),
            self._options.na,
            None if key is None else str(key),
        )

    def _changed(self, plan: Plan) -> Callable[[int], None]:
        """Return what is called with a row whose key was sent with another input."""

        def refuse(place: int) -> None:
            if self._options.retrigger:
                return
            where = source_file.place(plan.frame, int(plan.positions[place]))
            msg = (
                f"{where}: its key was sent in run {self.entry.name!r} with another input; to pay for the new "
                "input too, pass the changed rows alone with retrigger=True"
            )
            raise InputError(msg)

        return refuse

    def _note_refused(self, plan: Plan, numbers: Sequence[int]) -> None:
        if plan.refused:
            refused = [Outcome(numbers[row], INVALID, error=reason) for row, reason in plan.refused.items()]
            self.entry.settle(refused)


def new_name() -> str:
    """Return a readable name for a run that was given none."""
    day = datetime.now(timezone.utc).date().isoformat()
    return readable(day, CLOCK.draw(), CLOCK.draw())


def check_key(frame: pd.DataFrame, key: Any) -> int:
    """Return the place of the column of keys.

    Raises
    ------
    MappingError
        No such column, or two.
    """
    places = [place for place, label in enumerate(frame.columns) if label == key or str(label) == key]
    if len(places) != 1:
        near = "" if places else hint(key, frame.columns)
        msg = f"key={key!r}: the frame has {len(places) or 'no'} columns of this name{near}, but must have exactly one"
        raise MappingError(msg)
    return places[0]


def _keys(frame: pd.DataFrame, key: Any) -> tuple[list[bytes], list[Json]]:
    """Return what each row is known by, and its key.

    Raises
    ------
    InputError
        A key is missing, is there twice, or cannot be written as JSON.
    """
    place = check_key(frame, key)
    digests: list[bytes] = []
    values: list[Json] = []
    seen: dict[bytes, int] = {}
    for position, cell in enumerate(frame.iloc[:, place].tolist()):
        try:
            value = clean_local(cell)
        except RefusedValueError as exc:
            msg = f"{source_file.place(frame, position)}, key column {key!r}: {exc}"
            raise InputError(msg) from exc
        if value is MISSING:
            msg = f"{source_file.place(frame, position)} has no key in column {key!r}: each row needs one"
            raise InputError(msg)
        digest = fingerprint({"key": _as_number(value)})
        if digest in seen:
            first, second = (source_file.place(frame, row) for row in (seen[digest], position))
            msg = f"{first} and {second} have the same key {cell!r} in column {key!r}"
            raise InputError(msg)
        seen[digest] = position
        digests.append(digest)
        values.append(value)
    return digests, values


def _as_number(key: Json) -> Json:
    """Return a key's text as the integer that it writes, so that "12" of a file is 12 of a frame; "012" stays text."""
    is_number = isinstance(key, str) and len(key) <= MAX_KEY_DIGITS and _INTEGER.fullmatch(key)
    return int(key) if is_number else key


def _labels(frame: pd.DataFrame, keys: Sequence[Json] | None) -> Callable[[Sequence[int]], Sequence[Any]]:
    """Return what gives rows' index labels as JSON; where rows have keys, each with its key."""

    def written(positions: Sequence[int]) -> Sequence[Any]:
        found = labels_to_json(frame.index.take(positions).tolist())
        if keys is None:
            return found
        return [[label, keys[position]] for label, position in zip(found, positions, strict=True)]

    return written


def _at(digests: Sequence[bytes], positions: Sequence[int]) -> Sequence[bytes]:
    return [digests[position] for position in positions]


def _text(name: object) -> str | None:
    return None if name is None else str(name)


def _worded(pairs: Sequence[tuple[str, Any, Any]]) -> str:
    return "; ".join(f"{name} is {ours!r}, and was {theirs!r}" for name, theirs, ours in pairs if theirs != ours)


def _differing(run: str, differs: str) -> str:
    return f"run {run!r} was made differently: {differs}. Choose another run=, or delete_run({run!r})"
