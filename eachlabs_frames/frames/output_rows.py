"""Implements `outputs`: a result's outputs one a line, or the steps of its executions. It only ever reads.

Lines are told whose they are by position, never by label: row i's lines are row i's.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ..aio.bridge import Read
from ..aio.clock import SystemClock
from ..aio.tasks import cancel_on
from ..api import reader
from ..api.client import Client
from ..api.responses import Step, read_steps
from ..engine.events import EventEmitter
from ..errors import ConfigurationError
from ..models import Json, Observer
from ..results import NO_TIME, Results
from ..settings import current
from . import attrs, lost_attrs, sent_inputs
from . import progress_bar as bars
from .output_items import OutputItem, Path, leaves, pieces

MAX_COLUMNS: Final = 500
"""Columns that objects are expanded to, at most: an object whose keys are names of things has no end of them."""

NOTHING: Final = OutputItem("", None)
NO_STEP: Final = Step(None)


def outputs(
    frame: pd.DataFrame,
    read: Read,
    *,
    expand: object,
    steps: object,
    prefix: str | None,
    progress: bool | Observer | None,
) -> pd.DataFrame:
    """Make the lines; with `steps`, read the details of every execution first."""
    bars.check(progress)
    for name, value in (("expand", expand), ("steps", steps)):
        if not isinstance(value, bool | np.bool_):
            msg = f"{name} must be True or False; got {value!r}"
            raise ConfigurationError(msg)
    state = lost_attrs.read_state(frame, prefix)
    known, own, results = state.meta, state.prefix, state.results
    sent_inputs.mark(frame, results, own, known)
    made: dict[str, Any]
    if steps:
        said = _details(results, progress, read)
        rows, made = _step_lines(results, said)
    else:
        rows, made = _piece_lines(results, _Files(frame, own))
    taken: dict[Any, Any] = {"row": np.array(rows, dtype=np.int64)} | made
    if expand:
        taken |= _expanded(made["output"], taken)
    # Its index is set last, by position: nothing is aligned by labels, of which several may be the same.
    out: pd.DataFrame = pd.DataFrame({name: _column(values) for name, values in taken.items()}, copy=False)
    out.index = frame.index.take(taken["row"])
    return out


# -- outputs ----------------------------------------------------------------------------------------------------------


class _Files:
    """The paths of what was downloaded, for each URL of a row in turn."""

    def __init__(self, frame: pd.DataFrame, prefix: str) -> None:
        self._column = attrs.paths(frame, prefix)
        self.there = self._column is not None

    def of(self, row: int, found: Sequence[OutputItem]) -> Iterator[str | None]:
        """Yield the path of each piece's URL; nothing is guessed where there are more or fewer of them than URLs."""
        count = sum(piece.url is not None for piece in found)
        paths = attrs.paths_in(self._column.iloc[row]) if self._column is not None and count else []
        left = iter(paths if len(paths) == count else ())
        for piece in found:
            yield None if piece.url is None else next(left, None)


def _piece_lines(results: Results, files: _Files) -> tuple[array[int], dict[str, Any]]:
    rows, numbers = array("q"), array("q")
    found: list[OutputItem] = []
    paths: list[str | None] = []
    for row, output in enumerate(results.output):
        here = pieces(output) or [NOTHING]
        rows.extend([row] * len(here))
        numbers.extend(range(len(here)))
        found += here
        if files.there:
            paths += files.of(row, here)
    made = {
        "n": np.array(numbers, dtype=np.int64),
        "execution_id": _texts([results.execution_id[row] for row in rows]),
        "status": _texts([results.status[row] for row in rows]),
        "kind": _texts([piece.kind or None for piece in found]),
        "output": [piece.value for piece in found],
        "url": _texts([piece.url for piece in found]),
        "key": _texts([piece.key for piece in found]),
        "error": _texts([results.error[row] for row in rows]),
    }
    return rows, made | ({"path": _texts(paths)} if files.there else {})


# -- steps ------------------------------------------------------------------------------------------------------------


def _details(results: Results, progress: bool | Observer | None, read: Read) -> Mapping[str, Mapping[str, Any] | str]:
    rows: dict[str, list[int]] = {}
    for row, execution_id in enumerate(results.execution_id):
        if execution_id is not None:
            rows.setdefault(execution_id, []).append(row)
    if not rows:
        return {}
    settings = current()
    client = Client(settings)
    with bars.observing(progress, total=results.accepted, what="steps") as observer:
        events = EventEmitter(observer, results, total=results.accepted)

        def on_read(execution_id: str) -> None:
            events.answered([results.outcome(row) for row in rows[execution_id]])

        async def job(stop: asyncio.Event) -> Mapping[str, Mapping[str, Any] | str] | None:
            reading = reader.read_details(
                rows,
                transport=client,
                clock=SystemClock(),
                dialect=settings.dialect,
                workers=settings.max_concurrency,
                on_read=on_read,
            )
            with events.stopping(stop):
                return await cancel_on(stop, reading)

        events.started()
        details = read(job)
        events.finished()
    return details or {}


def _step_lines(results: Results, said: Mapping[str, Mapping[str, Any] | str]) -> tuple[array[int], dict[str, Any]]:
    rows, numbers = array("q"), array("q")
    found: list[Step] = []
    for row, execution_id in enumerate(results.execution_id):
        here = _steps_of(results.error[row], said.get(execution_id) if execution_id is not None else None)
        rows.extend([row] * len(here))
        numbers.extend(range(len(here)))
        found += here
    elapsed = [np.nan if step.elapsed is None else step.elapsed for step in found]
    made = {
        "n": np.array(numbers, dtype=np.int64),
        "execution_id": _texts([results.execution_id[row] for row in rows]),
        "status": _texts([results.status[row] for row in rows]),
        "step_id": _texts([step.step_id for step in found]),
        "step_status": _texts([step.status for step in found]),
        "model": _texts([step.model for step in found]),
        "started_at": _times([step.started_at for step in found]),
        "completed_at": _times([step.completed_at for step in found]),
        "elapsed": np.array(elapsed, dtype=np.float64),
        "primary": [step.primary for step in found],
        "output": [step.output for step in found],
        "error": _texts([step.error for step in found]),
    }
    return rows, made


def _steps_of(error: str | None, said: Mapping[str, Any] | str | None) -> list[Step]:
    """Return the steps of one row; where there are none, one line that says why."""
    if isinstance(said, Mapping):
        return read_steps(said) or [NO_STEP._replace(error=error)]
    return [NO_STEP._replace(error=error if said is None else said)]


# -- objects become columns -------------------------------------------------------------------------------------------


def _expanded(values: Sequence[Json], taken: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a column for each key of the objects among `values`, in order of first appearance."""
    found = [leaves(value) for value in values]
    paths: dict[Path, None] = dict.fromkeys(path for one in found for path in one)
    names: dict[str, Path] = {}
    for path in list(paths)[:MAX_COLUMNS]:
        name = ".".join(path)
        while name in taken or name in names:
            name = f"output.{name}"
        names[name] = path
    return {name: _typed([one.get(path) for one in found]) for name, path in names.items()}


def _typed(values: list[Json]) -> Any:
    """Make a column of the dtype that holds these values and no other; what is mixed stays as it is."""
    kinds = set(map(type, values)) - {type(None)}
    whole = all(value is not None for value in values)
    if kinds == {str}:
        return _texts(values)
    if kinds == {bool}:
        return pd.array(values, dtype="bool" if whole else "boolean")
    if kinds == {int} and all(abs(value) < 2**63 for value in values if value is not None):
        return pd.array(values, dtype="int64" if whole else "Int64")
    if kinds in ({float}, {int, float}) and all(abs(value) <= 2**53 for value in values if type(value) is int):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return values


# -- columns ----------------------------------------------------------------------------------------------------------


def _column(values: Any) -> pd.Series[Any]:
    """Make a column of an array, or of objects where it is a list."""
    column: pd.Series[Any] = pd.Series(values, dtype=object if isinstance(values, list) else None)
    return column


def _texts(values: Sequence[str | None]) -> Any:
    return pd.array([None if value is None else _sound(value) for value in values], dtype="string")


def _sound(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _times(moments: Sequence[int | None]) -> Any:
    numbers = np.array([NO_TIME if moment is None else moment for moment in moments], dtype=np.int64)
    return pd.DatetimeIndex(numbers.view("datetime64[ns]")).tz_localize("UTC").array
