"""Implements `outputs`: one row per item of a result's outputs, or per step of its executions. It only reads.

Owns how an output is split into items and an object into columns; nothing is lost. Outputs are untrusted JSON of any
depth. New rows belong to rows of the frame by position, never by label.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

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
from ..media import MAX_DEPTH, kind_of
from ..models import Json, Observer
from ..results import NO_TIME, Results
from ..settings import current
from . import attrs, lost_attrs, sent_inputs
from . import progress_bar as bars

MAX_COLUMNS: Final = 500
"""Columns that objects are expanded to, at most: objects with data as keys may have any number of them."""

JSON: Final = "json"
NO_STEP: Final = Step(None)

Path: TypeAlias = tuple[str, ...]
Details: TypeAlias = Mapping[str, Any] | str
"""The details of an execution, or why there are none."""


class OutputItem(NamedTuple):
    """One result of an output.

    Attributes
    ----------
    kind : str
        How a URL may be displayed ("image", "video", "audio", "link"); else "text", "number", "boolean", "json".
    value : JSON value
        The item itself: a URL, a text, a number, an object.
    url : str or None
        The URL that the item is, or that its object contains.
    key : str or None
        The path of the item or its URL in the output, as in ``images.0.url``; None if it is the whole output.
    """

    kind: str
    value: Json
    url: str | None = None
    key: str | None = None


NO_ITEM: Final = OutputItem("", None)


def outputs(
    frame: pd.DataFrame,
    read: Read,
    *,
    expand: object,
    steps: object,
    prefix: str | None,
    progress: bool | Observer | None,
) -> pd.DataFrame:
    """Return the new frame; with `steps`, read the details of every execution first."""
    bars.check(progress)
    for name, value in (("expand", expand), ("steps", steps)):
        if not isinstance(value, bool | np.bool_):
            msg = f"{name} must be True or False; got {value!r}"
            raise ConfigurationError(msg)
    state = lost_attrs.read_state(frame, prefix)
    results = state.results
    sent_inputs.mark(frame, results, state.prefix, state.meta)
    if steps:
        rows, columns = _step_columns(results, details_of_rows(results, progress, read))
    else:
        rows, columns = _item_columns(results, attrs.paths(frame, state.prefix))
    columns = {"row": np.array(rows, dtype=np.int64)} | columns
    if expand:
        columns |= _expanded(columns["output"], columns)
    # The index is set last, by position: nothing is aligned by labels, which may not be unique.
    out: pd.DataFrame = pd.DataFrame({name: _column(values) for name, values in columns.items()}, copy=False)
    out.index = frame.index.take(columns["row"])
    return out


# -- outputs ----------------------------------------------------------------------------------------------------------


def output_items(output: Json) -> list[OutputItem]:
    """Return the items of an output, in order.

    A list gives the items of each of its values, unless it contains only numbers: that is one value, a vector or a box.
    An object is an item for each URL in it, each with the whole object, or one item if it contains no URL. The URLs are
    those of `media.urls`, each once, in the same order.
    """
    return [] if output is None else list(_split(output, (), 1))


def _split(value: Json, path: Path, level: int) -> Iterator[OutputItem]:
    if level <= MAX_DEPTH and isinstance(value, list | tuple) and not _is_vector(value):
        for number, item in enumerate(value):
            yield from _split(item, (*path, str(number)), level + 1)
    elif level <= MAX_DEPTH and isinstance(value, dict):
        has_url = False
        for kind, url, key in _urls(value, path, level):
            has_url = True
            yield OutputItem(kind, value, url, key)
        if not has_url:
            yield OutputItem(JSON, value, None, _key(path))
    else:
        yield _single(value, path)


def _is_vector(values: Sequence[Json]) -> bool:
    return not any(isinstance(value, str | dict | list | tuple) for value in values)


def _single(value: Json, path: Path) -> OutputItem:
    if isinstance(value, str):
        kind = kind_of(value, any_length=True)
        return OutputItem(kind, value, None if kind == "text" else value, _key(path))
    json_type = "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else JSON
    return OutputItem(json_type, value, None, _key(path))


def _urls(value: Json, path: Path, level: int) -> Iterator[tuple[str, str, str | None]]:
    """Yield each URL inside `value`, with its kind and its path."""
    if isinstance(value, str):
        kind = kind_of(value, any_length=True)
        if kind != "text":
            yield kind, value, _key(path)
    elif isinstance(value, dict | list | tuple) and level <= MAX_DEPTH:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _urls(item, (*path, str(name)), level + 1)


def _key(path: Path) -> str | None:
    return ".".join(path) if path else None


def _item_columns(results: Results, path_column: Any) -> tuple[array[int], dict[str, Any]]:
    rows, numbers = array("q"), array("q")
    items: list[OutputItem] = []
    paths: list[str | None] = []
    for row, output in enumerate(results.output):
        of_row = output_items(output) or [NO_ITEM]
        rows.extend([row] * len(of_row))
        numbers.extend(range(len(of_row)))
        items += of_row
        if path_column is not None:
            paths += _paths(path_column.iloc[row], of_row)
    columns = {
        "n": np.array(numbers, dtype=np.int64),
        "execution_id": _texts([results.execution_id[row] for row in rows]),
        "status": _texts([results.status[row] for row in rows]),
        "kind": _texts([item.kind or None for item in items]),
        "output": [item.value for item in items],
        "url": _texts([item.url for item in items]),
        "key": _texts([item.key for item in items]),
        "error": _texts([results.error[row] for row in rows]),
    }
    return rows, columns | ({"path": _texts(paths)} if path_column is not None else {})


def _paths(cell: object, items: Sequence[OutputItem]) -> Iterator[str | None]:
    """Yield the path of each item's file; None for all if the numbers of paths and URLs differ."""
    count = sum(item.url is not None for item in items)
    paths = attrs.paths_in(cell) if count else []
    rest = iter(paths if len(paths) == count else ())
    for item in items:
        yield None if item.url is None else next(rest, None)


# -- steps ------------------------------------------------------------------------------------------------------------


def details_of_rows(results: Results, progress: bool | Observer | None, read: Read) -> Mapping[str, Details]:
    """Return the details of each execution by its id, or why there are none."""
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

        async def job(stop: asyncio.Event) -> Mapping[str, Details] | None:
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


def _step_columns(results: Results, details: Mapping[str, Details]) -> tuple[array[int], dict[str, Any]]:
    rows, numbers = array("q"), array("q")
    steps: list[Step] = []
    for row, execution_id in enumerate(results.execution_id):
        of_row = _steps_of(results.error[row], details.get(execution_id) if execution_id is not None else None)
        rows.extend([row] * len(of_row))
        numbers.extend(range(len(of_row)))
        steps += of_row
    elapsed = [np.nan if step.elapsed is None else step.elapsed for step in steps]
    columns = {
        "n": np.array(numbers, dtype=np.int64),
        "execution_id": _texts([results.execution_id[row] for row in rows]),
        "status": _texts([results.status[row] for row in rows]),
        "step_id": _texts([step.step_id for step in steps]),
        "step_status": _texts([step.status for step in steps]),
        "model": _texts([step.model for step in steps]),
        "started_at": _times([step.started_at for step in steps]),
        "completed_at": _times([step.completed_at for step in steps]),
        "elapsed": np.array(elapsed, dtype=np.float64),
        "primary": [step.primary for step in steps],
        "output": [step.output for step in steps],
        "error": _texts([step.error for step in steps]),
    }
    return rows, columns


def _steps_of(error: str | None, details: Details | None) -> list[Step]:
    """Return the steps of one row; if there are none, one row with the reason."""
    if isinstance(details, Mapping):
        return read_steps(details) or [NO_STEP._replace(error=error)]
    return [NO_STEP._replace(error=error if details is None else details)]


# -- objects to columns -----------------------------------------------------------------------------------------------


def _expanded(values: Sequence[Json], existing: Mapping[str, Any]) -> dict[str, Any]:
    """Return a column for each key of the objects among `values`, in order of first appearance."""
    objects = [leaves(value) for value in values]
    paths: dict[Path, None] = dict.fromkeys(path for leaves_ in objects for path in leaves_)
    names: dict[str, Path] = {}
    for path in list(paths)[:MAX_COLUMNS]:
        name = ".".join(path)
        while name in existing or name in names:
            name = f"output.{name}"
        names[name] = path
    return {name: _typed([leaves_.get(path) for leaves_ in objects]) for name, path in names.items()}


def leaves(value: Any) -> dict[Path, Json]:
    """Return the values of an object by the path of their keys; objects inside it are expanded, lists are not."""
    return dict(_leaves(value, (), 1)) if isinstance(value, dict) else {}


def _leaves(value: dict[Any, Json], path: Path, level: int) -> Iterator[tuple[Path, Json]]:
    for name, item in value.items():
        inner = (*path, str(name))
        if isinstance(item, dict) and item and level < MAX_DEPTH:
            yield from _leaves(item, inner, level + 1)
        else:
            yield inner, item


def _typed(values: list[Json]) -> Any:
    """Return a column of the dtype of these values; mixed values are not converted."""
    types = set(map(type, values)) - {type(None)}
    is_complete = all(value is not None for value in values)
    if types == {str}:
        return _texts(values)
    if types == {bool}:
        return pd.array(values, dtype="bool" if is_complete else "boolean")
    if types == {int} and all(abs(value) < 2**63 for value in values if value is not None):
        return pd.array(values, dtype="int64" if is_complete else "Int64")
    if types in ({float}, {int, float}) and all(abs(value) <= 2**53 for value in values if type(value) is int):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return values


# -- columns ----------------------------------------------------------------------------------------------------------


def _column(values: Any) -> pd.Series[Any]:
    """Return a Series of an array, or of objects if `values` is a list."""
    column: pd.Series[Any] = pd.Series(values, dtype=object if isinstance(values, list) else None)
    return column


def _texts(values: Sequence[str | None]) -> Any:
    return pd.array([None if value is None else _valid_utf8(value) for value in values], dtype="string")


def _valid_utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _times(times: Sequence[int | None]) -> Any:
    numbers = np.array([NO_TIME if time is None else time for time in times], dtype=np.int64)
    return pd.DatetimeIndex(numbers.view("datetime64[ns]")).tz_localize("UTC").array
