"""Checksums of the inputs that a result's executions were sent with, kept in the frame's attrs.

They show which rows were edited since, without the journal and after Parquet or a copy. Rows without a checksum (attrs
were lost, or frames were concatenated) never count as edited.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ..errors import EachlabsError
from ..inputs.encoding import Problem, Row, encode_all, file_problem
from ..inputs.file_cells import FileCells
from ..inputs.file_values import FileReader
from ..inputs.fingerprints import checksum, checksums
from ..inputs.mapping import Fields, RowFunction, resolve
from ..inputs.mapping_spec import from_spec
from ..models import UNKNOWN
from ..results import Results
from ..uploads.local_files import LocalFiles
from . import columns
from .columns import ResultMeta
from .rows import FrameInputs, Positions
from .table import Frame

ATTRS: Final = "eachlabs_inputs"
"""``{prefix: base64}``: for each row, a hash of its execution (8 bytes) and a checksum of its input (4 bytes)."""

CHUNK: Final = 10_000

EDITED: Final = "the row was edited after this execution was sent: the output belongs to the earlier input"

_ENTRY: Final = np.dtype([("execution", "<u8"), ("content", "<u4")])
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Checksums = np.ndarray[Any, np.dtype[np.uint32]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def of(frame: Frame, prefix: str) -> SentInputs:
    """Return what a frame records of the inputs of its result with this prefix."""
    stored = frame.attrs.get(ATTRS)
    text = stored.get(prefix) if isinstance(stored, Mapping) else None
    try:
        entries = np.frombuffer(b64decode(text), dtype=_ENTRY) if isinstance(text, str) else _none()
    except ValueError:
        entries = _none()  # users may write anything into attrs
    return SentInputs(entries)


class SentInputs:
    """The recorded inputs of a result's executions."""

    def __init__(self, entries: np.ndarray[Any, Any]) -> None:
        self.entries: Final = entries
        self._sorted: tuple[Hashes, Hashes] | None = None

    def __bool__(self) -> bool:
        return bool(len(self.entries))

    def differ(self, executions: Sequence[str | None], inputs: Checksums) -> Bools:
        """Return which of these executions were sent with another input than this one; False if it is not recorded."""
        if not self:
            return np.zeros(len(executions), dtype=bool)
        if self._sorted is None:  # sorted once: a gallery compares one page at a time
            recorded = self.entries["execution"]
            self._sorted = np.unique(recorded), np.unique(_paired(recorded, self.entries["content"]))
        hashes = _hashes(executions)
        recorded, pairs = self._sorted
        return _is_in(hashes, recorded) & ~_is_in(_paired(hashes, inputs), pairs)


def fields_of(frame: Frame, meta: ResultMeta | None) -> Fields | None:
    """Return the mapping of a result; None if it is not known, or one of its columns was dropped."""
    if meta is None or not isinstance(meta.inputs, Mapping):
        return None
    try:
        fields = from_spec(meta.inputs)
        resolve(fields, list(frame.columns), None, ours=frozenset())
    except (EachlabsError, KeyError, TypeError, AttributeError):
        return None  # users may write anything into attrs
    return fields


def edited_of(frame: Frame, results: Results, prefix: str, meta: ResultMeta | None) -> Positions:
    """Return the rows of a result that were edited, according to the mapping in the frame's attrs."""
    fields = fields_of(frame, meta)
    if meta is None or fields is None:
        return np.array([], dtype=np.int64)
    return edited(frame, results, prefix, fields, omit=meta.na != "null")


def mark(frame: Frame, results: Results, prefix: str, meta: ResultMeta | None) -> None:
    """Note in `results`, for each edited row, that its output is of another input."""
    for row in edited_of(frame, results, prefix, meta).tolist():
        results.note(row, error=noted(results.error[row]))


def noted(error: str | None) -> str:
    """Return a row's error with the note that the row was edited, once."""
    return f"{error}; {EDITED}" if error and not error.endswith(EDITED) else error or EDITED


def is_noted(error: str | None) -> bool:
    """Return whether a row's error has the note that the row was edited."""
    return error is not None and error.endswith(EDITED)


def edited(frame: Frame, results: Results, prefix: str, fields: Fields | RowFunction, *, omit: bool) -> Positions:
    """Return the rows of a result whose input differs from the one that was sent.

    Parameters
    ----------
    frame : pandas.DataFrame
    results : Results
        The frame's results.
    prefix : str
    fields : Fields or callable
        How the inputs were built. The frame must have all of its columns.
    omit : bool
        Whether a missing value leaves its key out.
    """
    sent = of(frame, prefix)
    rows = np.flatnonzero([is_sent(results, row) for row in range(results.size)]) if sent else np.array([])
    rows = rows.astype(np.int64, copy=False)
    if not len(rows):
        return rows
    executions = [results.execution_id[row] for row in rows.tolist()]
    with LocalFiles() as files:
        changed: Positions = rows[changes(frame, rows, fields, executions, sent, omit=omit, read_file=files.reference)]
    return changed


def changes(
    frame: Frame,
    rows: Positions,
    fields: Fields | RowFunction,
    executions: Sequence[str | None],
    sent: SentInputs,
    *,
    omit: bool,
    read_file: FileReader,
) -> Bools:
    """Return which of these rows, in ascending order, have another input than their executions were sent with.

    A row with a file that cannot be read is taken for unchanged: the file may be gone, and the result is still its own.
    """
    has_images = False

    def read(value: object) -> str:
        nonlocal has_images
        has_images |= isinstance(value, np.ndarray)
        return read_file(value)

    def differs(*, images_are_arrays: bool) -> Bools:
        # Integers have the same checksum as equal floats, so the schema is not needed: nor to know a file, of what was
        # sent, but for an image array, which it may have asked for as an array.
        files = FileCells(read, any_key=True, images_are_arrays=images_are_arrays)
        source = FrameInputs(frame, rows, fields, omit=omit, integers=frozenset(), files=files)
        chunks = [inputs for _, inputs in source.rows()]
        readable = [isinstance(row, Problem) or file_problem(row) is None for inputs in chunks for row in inputs]
        changed: Bools = sent.differ(executions, np.concatenate([*map(checksums_of, chunks)]))
        changed &= np.array(readable, dtype=bool)
        return changed

    changed = differs(images_are_arrays=False)
    if has_images and changed.any():
        changed &= differs(images_are_arrays=True)
    return changed


def is_sent(results: Results, row: int) -> bool:
    """Return whether a row has an execution, or may have one."""
    return results.execution_id[row] is not None or results.status[row] == UNKNOWN


def checksums_of(inputs: Sequence[Row | Problem]) -> Checksums:
    """Return each input's checksum; for a row without a valid input that of null, which no input has."""
    valid = [
        (index, row, payload)
        for index, (row, payload) in enumerate(zip(inputs, encode_all(inputs), strict=True))
        if not isinstance(row, Problem) and not isinstance(payload, Problem)
    ]
    out = np.full(len(inputs), checksum(None), dtype="<u4")
    out[[index for index, _, _ in valid]] = checksums([row for _, row, _ in valid], [payload for *_, payload in valid])
    return out


def record(frame: Frame, before: Frame, prefix: str, rows: Positions, sent: Checksums) -> None:
    """Record in `frame` which inputs its rows were sent with, in addition to the records of `before`.

    Parameters
    ----------
    frame : pandas.DataFrame
        A result.
    before : pandas.DataFrame
        The frame that the call was given: a row with the same execution was not sent by the call.
    prefix : str
    rows : numpy.ndarray of int64
        The rows of the call.
    sent : numpy.ndarray of uint32
        The checksum of each row's input.
    """
    now, was_unknown = _execution_hashes(frame, prefix), _unknown(frame, prefix)
    is_new = (now != 0) | was_unknown
    if columns.is_result(before, prefix):
        same = _execution_hashes(before, prefix) == now
        is_new &= ~(same & (_unknown(before, prefix) | (now != 0)))
    chosen = is_new[rows]
    added = np.empty(int(chosen.sum()), dtype=_ENTRY)
    added["execution"], added["content"] = now[rows[chosen]], sent[chosen]
    kept = of(before, prefix).entries
    kept = kept[np.isin(kept["execution"], now)]  # drop replaced executions
    stored = frame.attrs.get(ATTRS)
    text = b64encode(np.concatenate([kept, added]).tobytes()).decode("ascii")
    frame.attrs[ATTRS] = (dict(stored) if isinstance(stored, Mapping) else {}) | {prefix: text}


def _unknown(frame: Frame, prefix: str) -> Bools:
    """Return which rows have no execution because their response was lost."""
    unknown = np.array([status == UNKNOWN for status in columns.statuses(frame, prefix)], dtype=bool)
    if unknown.any():
        unknown &= np.array([execution is None for execution in columns.executions(frame, prefix)], dtype=bool)
    return unknown


def _none() -> np.ndarray[Any, Any]:
    return np.empty(0, dtype=_ENTRY)


def _execution_hashes(frame: Frame, prefix: str) -> Hashes:
    """Return the hash of each row's execution; by chunks, as Python's strings take many times what the column takes."""
    chunks = [frame.iloc[start : start + CHUNK] for start in range(0, len(frame), CHUNK)]
    hashes: Hashes = np.concatenate(
        [np.empty(0, dtype=np.uint64), *(_hashes(columns.executions(chunk, prefix)) for chunk in chunks)]
    )
    return hashes


def _hashes(executions: Sequence[str | None]) -> Hashes:
    """Return a hash of each execution's id, the same in every process; None and "" have the same hash."""
    try:
        ids = np.array([id_ or "" for id_ in executions], dtype="S")
    except UnicodeEncodeError:
        ids = np.array([(id_ or "").encode("utf-8", "backslashreplace") for id_ in executions], dtype="S")
    words = -(-ids.dtype.itemsize // 8)
    bits = ids.astype(f"S{8 * words}").view("<u8").reshape(len(ids), words)
    hashes = np.zeros(len(ids), dtype=np.uint64)
    for word in range(words - 1, -1, -1):
        hashes = (hashes ^ bits[:, word]) * _FACTOR
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _is_in(hashes: Hashes, ordered: Hashes) -> Bools:
    """Return what `np.isin` does, without sorting the recorded hashes again."""
    nearest = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    matches: Bools = ordered[nearest] == hashes
    return matches


def _paired(hashes: Hashes, inputs: Checksums) -> Hashes:
    paired: Hashes = hashes ^ (inputs.astype(np.uint64) * _FACTOR)
    return paired
