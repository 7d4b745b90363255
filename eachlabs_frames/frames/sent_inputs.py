"""Checksums of the inputs that a result's executions were sent with, kept in the frame's attrs.

So a frame knows by itself, without the journal and after Parquet or a copy, which of its rows were edited since. Rows
that it has no checksum of (attrs were lost, or frames were put together) are never called edited.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ..errors import EachlabsError
from ..inputs.encoding import Problem, Row, encode_all
from ..inputs.fingerprints import checksum, checksums
from ..inputs.mapping import Fields, RowFunction, from_spec, resolve
from ..models import UNKNOWN
from ..results import Results
from . import columns
from .columns import ResultMeta
from .rows import FrameInputs, Positions

ATTRS: Final = "eachlabs_inputs"
"""``{prefix: base64}``: a hash of 8 bytes of each row's execution, and a checksum of 4 of its input."""

EDITED: Final = "the row was edited after this execution was sent: the output belongs to the earlier input"

_ENTRY: Final = np.dtype([("execution", "<u8"), ("content", "<u4")])
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Checksums = np.ndarray[Any, np.dtype[np.uint32]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def of(frame: pd.DataFrame, prefix: str) -> SentInputs:
    """Return what a frame knows of the inputs of its result with this prefix."""
    stored = frame.attrs.get(ATTRS)
    text = stored.get(prefix) if isinstance(stored, Mapping) else None
    try:
        entries = np.frombuffer(b64decode(text), dtype=_ENTRY) if isinstance(text, str) else _none()
    except ValueError:
        entries = _none()  # attrs are anybody's to write
    return SentInputs(entries)


class SentInputs:
    """What is known of the inputs of some executions."""

    def __init__(self, entries: np.ndarray[Any, Any]) -> None:
        self.entries: Final = entries
        self._known: tuple[Hashes, Hashes] | None = None

    def __bool__(self) -> bool:
        return bool(len(self.entries))

    def differ(self, executions: Sequence[str | None], inputs: Checksums) -> Bools:
        """Return which of these executions were sent with another input than this one; False where nobody knows."""
        if not self:
            return np.zeros(len(executions), dtype=bool)
        if self._known is None:  # sorted once: a gallery asks for a page at a time
            known = self.entries["execution"]
            self._known = np.unique(known), np.unique(_paired(known, self.entries["content"]))
        hashes = _hashes(executions)
        executions_, pairs = self._known
        return _among(hashes, executions_) & ~_among(_paired(hashes, inputs), pairs)


def fields_of(frame: pd.DataFrame, origin: ResultMeta | None) -> Fields | None:
    """Return the mapping that a result was made with; None where it is not known, or a column of it is gone."""
    if origin is None or not isinstance(origin.inputs, Mapping):
        return None
    try:
        fields = from_spec(origin.inputs)
        resolve(fields, list(frame.columns), None, ours=frozenset())
    except (EachlabsError, KeyError, TypeError, AttributeError):
        return None  # attrs are anybody's to write
    return fields


def edited_of(frame: pd.DataFrame, results: Results, prefix: str, origin: ResultMeta | None) -> Positions:
    """Return the rows of a result that were edited, by what the frame itself knows of its mapping."""
    fields = fields_of(frame, origin)
    if origin is None or fields is None:
        return np.array([], dtype=np.int64)
    return edited(frame, results, prefix, fields, omit=origin.na != "null")


def mark(frame: pd.DataFrame, results: Results, prefix: str, origin: ResultMeta | None) -> None:
    """Say of each row that was edited, in `results`, that its output is of another input."""
    for row in edited_of(frame, results, prefix, origin).tolist():
        results.note(row, error=noted(results.error[row]))


def noted(error: str | None) -> str:
    """Return a row's error with the note that the row was edited, once."""
    return f"{error}; {EDITED}" if error and not error.endswith(EDITED) else error or EDITED


def edited(
    frame: pd.DataFrame, results: Results, prefix: str, fields: Fields | RowFunction, *, omit: bool
) -> Positions:
    """Return the rows of a result whose input is no longer what was sent.

    Parameters
    ----------
    frame : pandas.DataFrame
    results : Results
        As the frame has them.
    prefix : str
    fields : Fields or callable
        How the inputs were made. Only where `frame` has every column of it.
    omit : bool
        Whether a missing value leaves its key out.
    """
    sent = of(frame, prefix)
    rows = np.flatnonzero([is_sent(results, row) for row in range(results.size)]) if sent else np.array([])
    rows = rows.astype(np.int64, copy=False)
    if not len(rows):
        return rows
    # What the schema makes an integer has the same checksum as a float.
    source = FrameInputs(frame, rows, fields, omit=omit, integers=frozenset())
    now = np.concatenate([checksums_of(inputs) for _, inputs in source.rows()])
    found: Positions = rows[sent.differ([results.execution_id[row] for row in rows.tolist()], now)]
    return found


def is_sent(results: Results, row: int) -> bool:
    """Say whether a row has an execution, or may have one."""
    return results.execution_id[row] is not None or results.status[row] == UNKNOWN


def checksums_of(inputs: Sequence[Row | Problem]) -> Checksums:
    """Return each input's checksum; of what cannot be an input, that of null, which no input has."""
    fit = [
        (place, row, payload)
        for place, (row, payload) in enumerate(zip(inputs, encode_all(inputs), strict=True))
        if not isinstance(row, Problem) and not isinstance(payload, Problem)
    ]
    out = np.full(len(inputs), checksum(None), dtype="<u4")
    out[[place for place, _, _ in fit]] = checksums([row for _, row, _ in fit], [payload for _, _, payload in fit])
    return out


def record(frame: pd.DataFrame, before: pd.DataFrame, prefix: str, rows: Positions, sent: Checksums) -> None:
    """Write into `frame` what its rows were sent with, beside what `before` knows of them.

    Parameters
    ----------
    frame : pandas.DataFrame
        A result.
    before : pandas.DataFrame
        The frame that the call was given: a row that has the same execution still was not sent by it.
    prefix : str
    rows : numpy.ndarray of int64
        The rows that the call was about.
    sent : numpy.ndarray of uint32
        The checksum of each one's input.
    """
    now, was_unknown = _hashes(columns.executions(frame, prefix)), _unknown(frame, prefix)
    fresh = (now != 0) | was_unknown
    if columns.is_result(before, prefix):
        same = _hashes(columns.executions(before, prefix)) == now
        fresh &= ~(same & (_unknown(before, prefix) | (now != 0)))
    chosen = fresh[rows]
    added = np.empty(int(chosen.sum()), dtype=_ENTRY)
    added["execution"], added["content"] = now[rows[chosen]], sent[chosen]
    kept = of(before, prefix).entries
    kept = kept[np.isin(kept["execution"], now)]  # of other executions nobody asks any more
    stored = frame.attrs.get(ATTRS)
    text = b64encode(np.concatenate([kept, added]).tobytes()).decode("ascii")
    frame.attrs[ATTRS] = (dict(stored) if isinstance(stored, Mapping) else {}) | {prefix: text}


def _unknown(frame: pd.DataFrame, prefix: str) -> Bools:
    """Return which rows have no execution because their answer was lost."""
    unknown = np.array([status == UNKNOWN for status in columns.statuses(frame, prefix)], dtype=bool)
    if unknown.any():
        unknown &= np.array([execution is None for execution in columns.executions(frame, prefix)], dtype=bool)
    return unknown


def _none() -> np.ndarray[Any, Any]:
    return np.empty(0, dtype=_ENTRY)


def _hashes(executions: Sequence[str | None]) -> Hashes:
    """Return a hash of each execution's id, the same in every process; of none, and of "", the same one."""
    try:
        ids = np.array([one or "" for one in executions], dtype="S")
    except UnicodeEncodeError:
        ids = np.array([(one or "").encode("utf-8", "backslashreplace") for one in executions], dtype="S")
    words = -(-ids.dtype.itemsize // 8)
    bits = ids.astype(f"S{8 * words}").view("<u8").reshape(len(ids), words)
    hashes = np.zeros(len(ids), dtype=np.uint64)
    for word in range(words - 1, -1, -1):
        hashes = (hashes ^ bits[:, word]) * _FACTOR
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _among(hashes: Hashes, known: Hashes) -> Bools:
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found: Bools = known[places] == hashes
    return found


def _paired(hashes: Hashes, inputs: Checksums) -> Hashes:
    paired: Hashes = hashes ^ (inputs.astype(np.uint64) * _FACTOR)
    return paired
