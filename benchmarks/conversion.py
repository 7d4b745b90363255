"""Rows -> payloads: the pass that is made while a run sends, against what is written by hand.

The package goes all the way to the JSON of each row; the other side only to clean dicts, and is not charged for
encoding them. The JSON is dropped as soon as it is made, as a run does when it is sent.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pandas as pd

from eachlabs_frames.frames.rows import FrameInputs
from eachlabs_frames.inputs.mapping import Column

from .measure import CPU, Result, in_turn, mixed

ROWS = 100_000


def conversion() -> Result:
    frame = mixed(ROWS)
    _check_same(frame.head(100))
    pair = in_turn(lambda: deque(payloads(frame), maxlen=0), lambda: by_hand(frame), CPU, rounds=5)
    note = f"{pair.first:.2f} s, by hand {pair.second:.2f} s"
    return Result("conversion of 9 columns / by hand", pair.ratio, 0.6, note=note)


def payloads(frame: pd.DataFrame) -> Any:
    """Yield each row's JSON as a run does when it sends."""
    fields = {str(label): Column(label) for label in frame.columns}
    positions = np.arange(len(frame), dtype=np.int64)
    source = FrameInputs(frame, positions, fields, omit=True, integers=frozenset())
    return (payload for _, chunk in source.payloads(without=()) for payload in chunk)


def by_hand(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Go through `to_dict("records")` cell by cell."""
    return [_cleaned(record) for record in frame.to_dict("records")]


def _cleaned(record: dict[Any, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, cell in record.items():
        if cell is None or cell is pd.NaT or (isinstance(cell, float) and np.isnan(cell)):
            continue
        if isinstance(cell, np.generic):
            out[key] = cell.item()
        elif isinstance(cell, pd.Timestamp):
            out[key] = cell.isoformat()
        elif isinstance(cell, np.ndarray):
            out[key] = cell.tolist()
        else:
            out[key] = cell
    return out


def _check_same(frame: pd.DataFrame) -> None:
    import orjson

    assert [orjson.loads(payload) for payload in payloads(frame)] == by_hand(frame)
