"""Reads and writes the result columns of a frame, which `models.COLUMNS` lists.

Owns their position, their dtypes, and the result's ``attrs``.

The user's own columns, their dtypes and the index are never changed, and nothing is aligned: row i is row i.
"""

from __future__ import annotations

import copy
import logging
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from ..errors import ColumnError
from ..media import MAX_DEPTH
from ..models import COLUMNS, PENDING, ColumnKind, Json
from ..results import NO_TIME, Results
from ..suggestions import hint

logger = logging.getLogger("eachlabs_frames")

ATTRS: Final = "eachlabs"
IDENTIFYING: Final = ("bulk_id", "execution_id", "status")
"""A frame with these three columns is a result, even if others were dropped."""

STRING_CHUNK: Final = 5_000

_NUMBERS: Final = ("integer", "floating", "mixed-integer-float")
"""Kinds (`pandas.api.types.infer_dtype`) of an object column that holds only numbers and missing values."""

_WIDE: Final = 90
_COPY_ON_WRITE: Final = int(pd.__version__.partition(".")[0]) >= 3


@dataclass(frozen=True, slots=True)
class ResultMeta:
    """What a frame needs to be refreshed and retried: it travels in ``df.attrs["eachlabs"]``, as JSON.

    ``superseded`` and ``superseded_cost`` (USD) are of executions that rows had before they were triggered again; the
    cost of ``superseded_unknown`` of them is not known.
    """

    workflow_id: str
    version_id: str | None = None
    prefix: str = ""
    inputs: Mapping[str, Json] | None = None
    na: str = "omit"
    validate: bool = True
    run: str | None = None
    superseded: int = 0
    superseded_cost: float = 0.0
    superseded_unknown: int = 0


@dataclass(frozen=True, slots=True)
class FrameState:
    """What a frame has of one result: read once per call, and passed on.

    Attributes
    ----------
    prefix : str
    is_result : bool
        Whether the frame has the result's columns.
    meta : ResultMeta or None
        What its attrs record of the result.
    results : Results
        All pending if the frame has no result.
    """

    prefix: str
    is_result: bool
    meta: ResultMeta | None
    results: Results


def read_meta(frame: pd.DataFrame, prefix: str | None = None) -> ResultMeta | None:
    """Return what attrs record of the result with `prefix`, or of the latest result; None if there is no record."""
    entry = _entry(frame)
    if prefix is not None and entry.get("prefix", "") != prefix:
        entry = _mapping(_earlier(frame).get(prefix))
    if not isinstance(entry.get("workflow_id"), str):
        return None
    return ResultMeta(**{name: entry[name] for name in ResultMeta.__slots__ if name in entry})


def _entry(frame: pd.DataFrame) -> Mapping[str, Any]:
    """Return the entry of this package in attrs. Any code may write attrs, so its type is checked."""
    return _mapping(frame.attrs.get(ATTRS))


def _earlier(frame: pd.DataFrame) -> Mapping[str, Any]:
    return _mapping(_entry(frame).get("earlier"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def write_meta(frame: pd.DataFrame, new: ResultMeta) -> None:
    """Write `new` into the frame's attrs, and keep the records of results with other prefixes."""
    earlier = dict(_earlier(frame))
    latest = read_meta(frame)
    if latest is not None:
        earlier[latest.prefix] = asdict(latest)
    earlier.pop(new.prefix, None)
    frame.attrs[ATTRS] = asdict(new) | ({"earlier": earlier} if earlier else {})


def label(frame: pd.DataFrame, name: str, prefix: str) -> Hashable:
    """Return a result column's label: a tuple padded with "" if the columns are a MultiIndex."""
    full = prefix + name
    return full if frame.columns.nlevels == 1 else (full, *[""] * (frame.columns.nlevels - 1))


def labels(frame: pd.DataFrame, prefix: str) -> frozenset[Hashable]:
    """Return the labels of all result columns, with this prefix and with those in the frame's attrs."""
    recorded = {str(_entry(frame).get("prefix", "")), *map(str, _earlier(frame))}
    present = {prefix, *(other for other in recorded if is_result(frame, other))}
    return frozenset(label(frame, name, each) for each in present for name in COLUMNS)


def is_result(frame: pd.DataFrame, prefix: str) -> bool:
    """Return whether the frame has a result with this prefix."""
    return all(label(frame, name, prefix) in frame.columns for name in IDENTIFYING)


def check_columns(frame: pd.DataFrame, prefix: str) -> None:
    """Check, before anything is sent, that the result columns can be written into this frame.

    Raises
    ------
    ColumnError
        A user's column has the name of a result column, a result column exists twice, or no column can be added.
    """
    present = [name for name in COLUMNS if label(frame, name, prefix) in frame.columns]
    if present and not is_result(frame, prefix):
        names = ", ".join(repr(prefix + name) for name in present)
        offer = "another prefix=" if prefix else "prefix='eachlabs_'"
        msg = f"the frame already has a column named {names}: rename it, or pass {offer}"
        raise ColumnError(msg)
    check_no_duplicates(frame, prefix)
    try:
        write(frame.iloc[:0].copy(), Results(0), prefix)
    except (TypeError, ValueError) as exc:
        kind = type(frame.columns).__name__
        msg = f"the frame's columns (a {kind}) take no new column ({exc}): set df.columns = list(df.columns)"
        raise ColumnError(msg) from exc


def check_no_duplicates(frame: pd.DataFrame, prefix: str) -> None:
    """Raise `ColumnError` if a result column exists twice, because it is unknown which one is meant."""
    if not is_result(frame, prefix):
        return
    twice = next((name for name in COLUMNS if len(places(frame, prefix + name)) > 1), None)
    if twice is not None:
        msg = f"the frame has two columns named {prefix + twice!r}: drop one"
        raise ColumnError(msg)


def prefixes(frame: pd.DataFrame) -> list[str]:
    """Return the prefixes of the results in the frame."""
    names = [label[0] if isinstance(label, tuple) else label for label in frame.columns]
    suffix = "execution_id"
    candidates = [name.removesuffix(suffix) for name in names if isinstance(name, str) and name.endswith(suffix)]
    return [prefix for prefix in dict.fromkeys(candidates) if is_result(frame, prefix)]


def require_result(frame: pd.DataFrame, prefix: str) -> None:
    """Raise `ColumnError` if the frame has no result with this prefix."""
    if not is_result(frame, prefix):
        missing = [prefix + name for name in IDENTIFYING if label(frame, name, prefix) not in frame.columns]
        existing = prefixes(frame)
        if existing:
            msg = f"the frame has no result with prefix={prefix!r}{hint(prefix, existing)}: pass prefix={existing[0]!r}"
            raise ColumnError(msg)
        names = ", ".join(map(repr, missing))
        msg = f"nothing was triggered from this frame: it has no column {names}; call bulk_trigger first"
        raise ColumnError(msg)


def snapshot(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy that later changes of the original do not affect; lazy if pandas copies on write.

    A wide frame is always copied: that consolidates its blocks, and pandas warns when a column is added to a frame with
    more than 100 blocks.
    """
    copied: pd.DataFrame = frame.copy(deep=not _COPY_ON_WRITE or frame.shape[1] > _WIDE)
    return copied


def check_attrs(frame: pd.DataFrame) -> None:
    """Raise `ColumnError` if an entry of ``df.attrs`` cannot be copied, as pandas does for each new frame."""
    for name, value in frame.attrs.items():
        try:
            copy.deepcopy(value)
        except Exception as exc:
            msg = (
                f"df.attrs[{name!r}] (a {type(value).__name__}) cannot be copied, as pandas does for each new frame "
                f"({exc}): remove it, as in del df.attrs[{name!r}]"
            )
            raise ColumnError(msg) from exc


def tally(frame: pd.DataFrame, prefix: str) -> dict[str, int]:
    """Return the number of rows per status."""
    return dict(Counter(read(frame, prefix).status))


def read(frame: pd.DataFrame, prefix: str) -> Results:
    """Return the results in the frame: all pending if it has none.

    Values that were changed by a file format are converted back: text to times and numbers, arrays to lists.

    Raises
    ------
    ColumnError
        A result column exists twice, for example because two results were concatenated.
    """
    results = Results(len(frame))
    if not is_result(frame, prefix):
        return results
    check_no_duplicates(frame, prefix)
    present = {name: _column(frame, name, prefix) for name in COLUMNS if places(frame, prefix + name)}
    columns = {name: _READERS[COLUMNS[name]](column) for name, column in present.items()}
    results.load(**columns | {"status": [status or PENDING for status in columns["status"]]})
    return results


def read_state(frame: pd.DataFrame, prefix: str) -> FrameState:
    """Return what the frame has of its result with this prefix.

    Raises
    ------
    ColumnError
        A result column exists twice.
    """
    has_result = is_result(frame, prefix)
    return FrameState(prefix, has_result, read_meta(frame, prefix) if has_result else None, read(frame, prefix))


def executions(frame: pd.DataFrame, prefix: str) -> list[str | None]:
    """Return each row's execution, of a frame that has a result."""
    return _texts(_column(frame, "execution_id", prefix))


def statuses(frame: pd.DataFrame, prefix: str) -> list[str | None]:
    """Return each row's status, of a frame that has a result."""
    return _texts(_column(frame, "status", prefix))


def stale(frame: pd.DataFrame, before: pd.DataFrame, prefix: str) -> list[int]:
    """Return the rows whose execution in `before` was replaced or removed."""
    if not is_result(before, prefix):
        return []
    pairs = zip(executions(before, prefix), executions(frame, prefix), strict=True)
    return [row for row, (old, new) in enumerate(pairs) if old not in (None, new)]


def arrays(results: Results, index: pd.Index[Any], *, made: dict[str, Any]) -> dict[str, Any]:
    """Convert each result column into a pandas array and free the original. After an interrupt, call it again.

    Parameters
    ----------
    results : Results
        Emptied.
    index : pandas.Index
        The frame's index.
    made : dict of str to array
        The columns converted so far; filled.
    """
    for name in COLUMNS:
        if name not in made:
            try:
                made[name] = _array(name, results.column(name), index)
            except Exception:
                # A result that was paid for is worth more than its dtype.
                logger.exception("column %s could not be created with its own dtype, and has dtype object", name)
                made[name] = pd.Series(list(results.column(name)), index=index, dtype=object)
        results.drop(name)
    return made


def empty(index: pd.Index[Any]) -> pd.DataFrame:
    """Return a frame with this index and no columns."""
    frame: pd.DataFrame = pd.DataFrame(index=index)
    return frame


def attach(frame: pd.DataFrame, made: Mapping[str, Any], prefix: str) -> pd.DataFrame:
    """Write every result column into `frame` by position, and return it. Idempotent."""
    with warnings.catch_warnings():
        # A filter that turns warnings into errors must not prevent a paid result from being written.
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        for name in COLUMNS:
            put(frame, prefix + name, made[name])
    return frame


def write(frame: pd.DataFrame, results: Results, prefix: str) -> pd.DataFrame:
    """Write every result column into `frame` and return it. `results` is emptied."""
    return attach(frame, arrays(results, frame.index, made={}), prefix)


def _column(frame: pd.DataFrame, name: str, prefix: str) -> Any:
    column: Any = frame.iloc[:, places(frame, prefix + name)[0]]
    return column


def _array(name: str, column: Any, index: pd.Index[Any]) -> Any:
    kind = COLUMNS[name]
    if kind == "time":
        moments = np.array(column, dtype="int64").view("datetime64[ns]")
        return pd.DatetimeIndex(moments).tz_localize("UTC").array
    if kind == "number":
        return np.array(column, dtype="float64")
    if kind == "json":
        # A Series with the frame's index: an array that contains only strings would become a string column.
        return pd.Series(column, index=index, dtype=object)
    return _strings(column)


def _strings(column: list[str | None]) -> Any:
    """Build a string column in chunks, because Arrow needs twice the memory of what it builds."""
    starts = range(0, len(column), STRING_CHUNK)
    chunks = [pd.Series(column[start : start + STRING_CHUNK], dtype="string") for start in starts]
    return pd.concat(chunks, ignore_index=True).array if chunks else pd.array([], dtype="string")


def _texts(column: Any) -> list[str | None]:
    missing = column.isna().tolist()
    return [None if is_na else str(value) or None for value, is_na in zip(column.tolist(), missing, strict=True)]


def _nanoseconds(column: Any) -> array[int]:
    try:
        moments = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce").astype("datetime64[ns, UTC]")
    except pd.errors.OutOfBoundsDatetime:
        return array("q", [NO_TIME] * len(column))  # not written by this package: such years cannot be in nanoseconds
    naive = moments.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]").view("int64")
    return array("q", naive.tolist())


def _numbers(column: Any) -> array[float]:
    return array("d", pd.to_numeric(column, errors="coerce").to_numpy(dtype="float64", na_value=np.nan).tolist())


def _objects(column: Any) -> list[Json]:
    values = column.astype(object).tolist()
    missing = [value is pd.NA or (isinstance(value, float) and np.isnan(value)) for value in values]
    return [None if is_na else _plain(value) for value, is_na in zip(values, missing, strict=True)]


def _plain(value: Any, level: int = 1) -> Json:
    """Return an output as lists and dicts. Parquet returns arrays, also inside dicts."""
    if level > MAX_DEPTH or not isinstance(value, np.ndarray | dict):
        return value
    if isinstance(value, dict):
        return {name: _plain(item, level + 1) for name, item in value.items()}
    return [_plain(item, level + 1) for item in value.tolist()]


_READERS: Final[Mapping[ColumnKind, Callable[[Any], Any]]] = {
    "text": _texts,
    "time": _nanoseconds,
    "number": _numbers,
    "json": _objects,
}


def place(frame: pd.DataFrame, label: Hashable) -> int | None:
    """Return the position of the first column with this label, or None."""
    return next((place for place, other in enumerate(frame.columns) if other == label), None)


def places(frame: pd.DataFrame, name: str) -> list[int]:
    """Return the positions of the columns with this name; if the columns are a MultiIndex, with its `label`."""
    full = label(frame, name, "")
    return [place for place, other in enumerate(frame.columns) if other == full]


def put(frame: pd.DataFrame, name: str, values: Any) -> None:
    """Write a column by position: replace the first with this name, or append it."""
    existing = places(frame, name)
    if existing:
        frame.isetitem(existing[0], values)
    else:
        frame.insert(frame.shape[1], label(frame, name, ""), values)


def nullable(column: pd.Series[Any]) -> Any:
    """Return a column's numbers as a nullable array: Int64, or Float64 if a number is not whole.

    Raises
    ------
    ColumnError
        It contains a value that is not a number.
    """
    if str(column.dtype) == "Int64":
        return column.array
    if column.isna().all():
        return pd.array([pd.NA] * len(column), dtype="Int64")
    kind = column.dtype.kind
    if kind not in "iuf" and not (kind == "O" and pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS):
        first: Sequence[Any] = column[column.notna()].head(1).tolist()
        msg = f"column {column.name!r} holds {first[0]!r}, which is not a score: name a numeric column, or a new one"
        raise ColumnError(msg)
    numbers = column.astype(object).where(column.notna(), np.nan).astype("float64").to_numpy()
    present = numbers[~np.isnan(numbers)]
    is_whole = bool((np.isfinite(present) & (present == np.floor(present))).all())
    floating = pd.array(numbers, dtype="Float64")
    return floating.astype("Int64") if is_whole else floating
