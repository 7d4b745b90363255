"""Finds rows of a run whose index label a later call has used for another input, as after an edit.

Owns the rule alone. It never says why: the row may have been edited, or its label given to another row.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence

from ..models import Json
from .records import NO_CLAIM, unpack_rows


def first_calls(records: Iterable[tuple[int, bytes]], size: int) -> Sequence[int]:
    """Return the session that was the first to write something about each row; `NO_CLAIM` where none has.

    Parameters
    ----------
    records : iterable of (int, bytes)
        The session and the packed rows of each record, in their order.
    size : int
        Rows of the run.
    """
    calls = array("q", [NO_CLAIM]) * size
    for session, packed in records:
        for row in unpack_rows(packed):
            if calls[row] == NO_CLAIM:
                calls[row] = session
    return calls


def relabelled(labels: Sequence[Json], calls: Sequence[int]) -> list[bool]:
    """Return which rows have a label that a row of a later call has too. Within one call a label may occur twice."""
    latest: dict[str, int] = {}
    out = [False] * len(labels)
    for row in range(len(labels) - 1, -1, -1):
        if calls[row] != NO_CLAIM:
            label = json.dumps(labels[row])
            out[row] = calls[row] < latest.setdefault(label, calls[row])
    return out
