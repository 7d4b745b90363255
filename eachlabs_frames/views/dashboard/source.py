"""What a dashboard reads of a result: the texts of its rows, a snapshot without a widget, and the frame as CSV.

In the CSV, text that a spreadsheet would run as a formula is escaped: prompts and outputs come from outside, and some
begin with "=". Files that programs read are not written here.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ...errors import JournalError
from ...frames import columns
from ...frames.runs import open_current_journal
from ...settings import current
from ..common.source import RowTexts
from .model import DashboardModel

if TYPE_CHECKING:
    from ...frames.calls import Calls
    from .messages import DashboardSnapshot

logger = logging.getLogger("eachlabs_frames")

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of cells that spreadsheets run (OWASP, "CSV Injection"), also as full-width characters."""


def row_texts(calls: Calls, label: Hashable | Sequence[Hashable] | None = None) -> RowTexts:
    """Return the texts of a result's rows; see `RowTexts` for `label`."""
    return RowTexts(calls.source, label, prefix=calls.origin.prefix, origin=lambda: calls.origin)


def workers(calls: Calls) -> dict[str, str]:
    """Return which worker has sent each bulk operation of a result, if its run is in the journal and had several.

    Read once: of what other workers send while a view is open, it shows no worker.
    """
    run = calls.head().get("run")
    if run is None or current().journal is None:
        return {}
    try:
        return open_current_journal().workers(run)
    except JournalError as exc:
        logger.debug("who has sent the rows cannot be read: %s", exc)
        return {}


def snapshot(calls: Calls) -> DashboardSnapshot:
    """Return a snapshot of a result as it is now."""
    texts = row_texts(calls)
    model = DashboardModel(texts.labels, texts.titles, workers=workers(calls))
    results = columns.read(calls.frame, calls.origin.prefix)
    model.take([results.outcome(row) for row in range(results.size)], now=None)
    return model.snapshot(calls.head(), time.time())


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return `frame` as UTF-8 CSV in which no text is a formula; the frame is changed."""
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            cells: Any = frame.iloc[:, place].astype(object).map(without_formula)
            frame.isetitem(place, cells)
    frame.index, frame.columns = _escaped(frame.index), _escaped(frame.columns)
    # Quoted, so that a spreadsheet with another separator does not begin a cell in the middle of a text.
    text: str = frame.to_csv(quoting=csv.QUOTE_NONNUMERIC)
    return text.encode("utf-8", "replace")


def without_formula(cell: Any) -> Any:
    """Return a text that a spreadsheet would run with an apostrophe before it; anything else as it is."""
    if isinstance(cell, tuple):
        return tuple(map(without_formula, cell))
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _escaped(index: pd.Index[Any]) -> pd.Index[Any]:
    if not len(index):
        return index
    labels = [without_formula(label) for label in index.tolist()]
    names = [without_formula(name) for name in index.names]
    escaped: pd.Index[Any]
    if index.nlevels > 1:
        escaped = pd.MultiIndex.from_tuples(labels, names=names)
    else:
        escaped = pd.Index(labels, name=names[0], tupleize_cols=False)
    return escaped
