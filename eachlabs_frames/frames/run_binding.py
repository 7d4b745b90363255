"""Binds a call to a run of the journal: which run, whether the call fits it, and which of its rows are the frame's.

It reads what the run has recorded of these rows, and never sends anything.
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from ..aio.clock import SystemClock
from ..errors import InputError, MappingError, RunError
from ..inputs.encoding import has_unusable_file
from ..inputs.fingerprints import fingerprint, fingerprints
from ..inputs.json_values import MISSING, RefusedValueError, clean_local
from ..inputs.mapping import Fields, resolve
from ..inputs.mapping_spec import as_pinned, from_spec
from ..journal import open_journal, readable_name
from ..journal.base import RowChunk, RunJournal, RunSpec
from ..models import INVALID, Json, Outcome
from ..settings import Settings
from ..suggestions import hint
from . import source_file
from .columns import ResultMeta
from .options import SAME_INPUT_ONCE, TriggerOptions
from .rows import labels_to_json
from .table import Frame

if TYPE_CHECKING:
    from .plan import Digests, Plan

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()
NOT_IN_RUN: Final = -1
MAX_KEY_DIGITS: Final = 18
"""An integer of this many digits fits in 64 bits."""

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
        The record in the frame's attrs.

    Raises
    ------
    JournalError
        The journal cannot be used.
    RunError
        The run is of another workflow, version or server.
    """

    def __init__(
        self, settings: Settings, options: TriggerOptions, workflow_id: str, *, before: ResultMeta | None
    ) -> None:
        self._settings = settings
        self._options = options
        self._workflow_id = workflow_id
        self.named = options.run is not None
        recorded = before.run if before is not None else None
        # The caller named no run, so it is a new one whatever its name is.
        self._fresh = options.run is None and recorded is None
        self.run_journal = self._open(options.run or recorded or new_name())
        # A frame of the same run has its own mapping: `load_run` returns a frame with a column for each key.
        self._frame_inputs = before.inputs if before is not None and recorded == self.run_journal.name else None
        try:
            self.spec = self._continued_spec(recorded)
            if self.spec is not None:
                self.run_journal.enter(self.spec)
        except BaseException:
            self.leave()
            raise

    @property
    def same_input_once(self) -> bool:
        """Whether rows with equal inputs are one row of the run."""
        key = self._options.key if self._options.key is not None or self.spec is None else self.spec.key
        return key is not None and str(key) == str(SAME_INPUT_ONCE)

    def _open(self, name: str) -> RunJournal:
        return open_journal(self._settings.journal, max_wait=self._settings.max_wait).open(name)

    def executions(self, of: Iterable[str | None]) -> dict[str, int]:
        """Return the executions that the run has, and each one's row in it; none if there is none in `of`."""
        if not any(of):
            return {}  # a run may be large
        self.run_journal.read_all()
        return self.run_journal.state.executions()

    def known_executions(self) -> Iterable[str]:
        """Return the executions of the rows that were read so far."""
        return self.run_journal.state.executions()

    def _continued_spec(self, recorded: str | None) -> RunSpec | None:
        """Return the run's spec. If the call differs from it and did not name the run, begin another run."""
        spec = None if self._fresh else self.run_journal.spec()
        if spec is None:
            return None
        differs = self._differs(spec)
        if not differs:
            return spec
        if self.named:
            raise RunError(_differing(self.run_journal.name, differs))
        logger.info("run %s is not continued: %s", recorded, differs)
        self._begin_anew()
        return None

    def _begin_anew(self) -> None:
        self.leave()
        self.run_journal, self._fresh = self._open(new_name()), True

    def _differs(self, spec: RunSpec) -> str:
        """Return how this call differs from the run's spec, as far as is known before the first request."""
        options = self._options
        key = None if options.key is None else str(options.key)
        pairs = [
            ("workflow", spec.workflow_id, self._workflow_id),
            ("base_url", spec.base_url, self._settings.base_url),
            ("version_id", spec.version_id, options.version_id or spec.version_id),
            ("key", spec.key, spec.key if key is None else key),
            ("na", spec.na, options.na),
        ]
        return _differences(pairs)

    def is_fresh(self) -> bool:
        """Return whether no row of the run has a recorded state."""
        return self.run_journal.state.is_untouched()

    def leave(self) -> None:
        """Write pending records and close the run; a run without rows is deleted."""
        if not self.run_journal.state.results.size:
            self.run_journal.withdraw()
        failure = self.run_journal.close()
        if failure is not None:
            logger.error("the frame has results that the journal does not have, so keep the frame: %s", failure)

    def paid(self) -> tuple[float, list[int]]:
        """Return the sum of the known costs of this run's executions, in USD, and the numbers of those without one.

        A row whose response was lost counts: it may be billed. -1 is an execution that no row has any more.
        """
        self.run_journal.read_all()
        return self.run_journal.state.paid()

    @property
    def version_id(self) -> str | None:
        """The version in the run's spec, or else the one that the caller passed."""
        return self.spec.version_id if self.spec is not None else self._options.version_id

    def fields(self, frame: Frame) -> Fields | None:
        """Return the mapping of the run, if it has one that can be stored."""
        spec = self._frame_inputs if self._frame_inputs is not None or self.spec is None else self.spec.inputs
        if self.spec is None or spec is None:
            return None
        resolve(fields := from_spec(spec), list(frame.columns), None, ours=frozenset())
        return fields

    def check_mapping(self, spec: RunSpec) -> None:
        """Begin another run if this one has another mapping than `spec`.

        Raises
        ------
        RunError
            The caller named the run.
        """
        if self.spec is None or spec.inputs in (self.spec.inputs, as_pinned(self._frame_inputs)):
            return
        if self.named:
            raise RunError(_differing(self.run_journal.name, _differences([("inputs", self.spec.inputs, spec.inputs)])))
        self._begin_anew()
        self.spec = None

    def enter(
        self, plan: Plan, spec: RunSpec, *, executions: Sequence[str | None], hints: RowHints, add: bool, retries: bool
    ) -> Sequence[int]:
        """Check every row, assign its number in the run, and return the numbers of the frame's rows by position.

        Parameters
        ----------
        plan : Plan
            Its `refused` has the rows that the schema rejects afterwards.
        spec : RunSpec
            The result of `new_spec`, after `check_mapping`.
        executions : sequence of str or None
            The current execution of each row of the frame.
        hints : numpy.ndarray of int8
            The `RowHint` of each row of the frame.
        add : bool
            Whether new rows are added to the run.
        retries : bool
            Whether these are failed rows to retry; those that were retried before are not sent again.

        Raises
        ------
        InputError
            A row has no valid input, its key is missing or not unique, or its input has changed.
        """
        if self.spec is None:
            names = [_text(name) for name in plan.frame.index.names]
            self.run_journal.enter(spec, index_names=names, rename=new_name if self._fresh else None)
        numbers = self._existing_numbers(plan, executions, keyed=spec.key is not None, retries=retries)
        keys: list[Json] | None = None
        digests: Digests | None = None
        if spec.key is not None and not self.same_input_once:
            key_digests, keys = read_keys(plan.frame, self._options.key if self._options.key is not None else spec.key)
            digests = partial(_at, key_digests)
        chunks = plan.chunks(_labels(plan.frame, keys), digests, lambda rows: hints[rows].tolist())
        registered = self.run_journal.register(
            self._with_numbers(chunks, numbers, plan),
            assigned=[number for number in numbers if number >= 0],
            keyed=spec.key is not None,
            on_changed=self._changed(plan),
            add=add,
        )
        for position, number in zip(plan.compact(), registered, strict=True):
            numbers[position] = number
        for position in plan.repeats:
            numbers[position] = NOT_IN_RUN
        if add:
            self._note_refused(plan, numbers)
        return numbers

    def _existing_numbers(
        self, plan: Plan, executions: Sequence[str | None], *, keyed: bool, retries: bool
    ) -> array[int]:
        """Return the numbers of the rows whose executions the frame has and whose input has not changed.

        A row whose input has changed is another row; its number goes to the row that has that input now.
        """
        numbers = array("q", [NOT_IN_RUN]) * len(plan.frame)
        existing = self.executions(executions)
        replaced = self.run_journal.state.replaced_executions  # in outdated frames, whose rows were retried since
        by_execution = replaced | existing
        if not by_execution:
            return numbers
        for position, execution_id in enumerate(executions):
            if execution_id is not None:
                numbers[position] = by_execution.get(execution_id, NOT_IN_RUN)
        if not any(numbers[position] >= 0 for position in plan.compact()):
            return numbers
        assigned: set[int] = set()
        for positions, inputs, payloads in plan.checked():
            for position, content, payload in zip(positions, fingerprints(inputs, payloads), payloads, strict=True):
                number = numbers[position]
                # A row whose file is gone keeps its execution: nothing says that the content was another.
                is_same = has_unusable_file(payload) or self.run_journal.content(number) == content
                is_old = executions[position] in replaced
                # A retry uses the later execution of such a row; any other call sends each row of the frame.
                again = self._options.retrigger and number in assigned and not (is_old and retries)
                if keyed or again or (number >= 0 and not is_same):
                    numbers[position] = NOT_IN_RUN
                if not (is_old and retries):
                    assigned.add(number)
        return numbers

    def _with_numbers(self, chunks: Iterator[RowChunk], numbers: array[int], plan: Plan) -> Iterator[RowChunk]:
        """Add to each chunk the numbers that are known by the executions in the frame."""
        start = 0
        for chunk in chunks:
            positions = plan.positions[start : start + len(chunk.contents)].tolist()
            start += len(positions)
            assigned = [numbers[position] for position in positions]
            yield replace(chunk, contents=self._contents(chunk, assigned), numbers=assigned)

    def _contents(self, chunk: RowChunk, assigned: Sequence[int]) -> Sequence[bytes]:
        """Return what the rows of a chunk are compared by: for a row whose file is gone, what was sent."""
        if not any(map(has_unusable_file, chunk.payloads)):
            return chunk.contents
        rows = zip(chunk.contents, chunk.payloads, assigned, strict=True)
        return [
            (self.run_journal.content(number) or content) if number >= 0 and has_unusable_file(payload) else content
            for content, payload, number in rows
        ]

    def new_spec(self, plan: Plan, version_id: str) -> RunSpec:
        """Return the spec of a run of this call's rows."""
        key = self._options.key if self._options.key is not None or self.spec is None else self.spec.key
        return RunSpec(
            self._workflow_id,
            version_id,
            self._settings.base_url,
            plan.pinned_spec(),
            self._options.na,
            None if key is None else str(key),
        )

    def _changed(self, plan: Plan) -> Callable[[int], None]:
        """Return the callback for a row whose key was sent with another input."""

        def refuse(index: int) -> None:
            if self._options.retrigger:
                return
            position = int(plan.positions[index])
            where = source_file.place(plan.frame, position)
            if position in plan.refused:
                msg = (
                    f"{where}: its key was sent in run {self.run_journal.name!r}, and its input cannot be compared: "
                    f"{plan.refused[position]}; load_run({self.run_journal.name!r}) returns its result"
                )
                raise InputError(msg)
            msg = (
                f"{where}: its key was sent in run {self.run_journal.name!r} with another input; to pay for the new "
                "input too, pass the changed rows alone to bulk_trigger() with retrigger=True"
            )
            raise InputError(msg)

        return refuse

    def _note_refused(self, plan: Plan, numbers: Sequence[int]) -> None:
        if plan.refused:
            refused = [Outcome(numbers[row], INVALID, error=reason) for row, reason in plan.refused.items()]
            self.run_journal.settle(refused)


def new_name() -> str:
    """Return a readable name for a run without a name."""
    day = datetime.now(timezone.utc).date().isoformat()
    return readable_name(day, CLOCK.draw(), CLOCK.draw())


def check_key(frame: Frame, key: Any) -> int:
    """Return the position of the column of keys.

    Raises
    ------
    MappingError
        There is no such column, or more than one.
    """
    places = [place for place, label in enumerate(frame.columns) if label == key or str(label) == key]
    if len(places) != 1:
        near = "" if places else hint(key, frame.columns)
        msg = f"key={key!r}: the frame has {len(places) or 'no'} columns of this name{near}, but must have exactly one"
        raise MappingError(msg)
    return places[0]


def read_keys(frame: Frame, key: Any) -> tuple[list[bytes], list[Json]]:
    """Return the digest that identifies each row, and its key.

    Raises
    ------
    InputError
        A key is missing, not unique, or cannot be written as JSON.
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
            msg = (
                f"{first} and {second} have the same key {cell!r} in column {key!r}: drop one of them, or choose a "
                "column whose values are unique"
            )
            raise InputError(msg)
        seen[digest] = position
        digests.append(digest)
        values.append(value)
    return digests, values


def _as_number(key: Json) -> Json:
    """Convert a key's text to an integer, so that "12" in a file equals 12 in a frame; "012" stays text."""
    is_number = isinstance(key, str) and len(key) <= MAX_KEY_DIGITS and _INTEGER.fullmatch(key)
    return int(key) if is_number else key


def _labels(frame: Frame, keys: Sequence[Json] | None) -> Callable[[Sequence[int]], Sequence[Any]]:
    """Return a function that returns rows' index labels as JSON; if rows have keys, each with its key."""

    def written(positions: Sequence[int]) -> Sequence[Any]:
        labels = labels_to_json(frame.index.take(positions).tolist())
        if keys is None:
            return labels
        return [[label, keys[position]] for label, position in zip(labels, positions, strict=True)]

    return written


def _at(digests: Sequence[bytes], positions: Sequence[int]) -> Sequence[bytes]:
    return [digests[position] for position in positions]


def _text(name: object) -> str | None:
    return None if name is None else str(name)


def _differences(pairs: Sequence[tuple[str, Any, Any]]) -> str:
    return "; ".join(f"{name} is {new!r}, and was {old!r}" for name, old, new in pairs if old != new)


def _differing(run: str, differs: str) -> str:
    return f"run {run!r} was made differently: {differs}. Choose another run=, or delete_run({run!r})"
