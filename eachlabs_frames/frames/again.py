"""What is done once more with a result: its failed rows triggered again, its lost answers looked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pandas as pd

from ..engine.loop import Steps
from ..errors import ColumnError
from ..models import FAILED, UNKNOWN, Observer
from . import results as columns
from .options import Options
from .trigger import Trigger


def retry_failed(
    frame: pd.DataFrame,
    inputs: object,
    options: Options,
    *,
    prefix: str | None = None,
    among: Collection[int] | None = None,
) -> Trigger:
    """Return the call that triggers the failed rows again, in the version and with the mapping of before.

    Parameters
    ----------
    frame, inputs, options
        As for a trigger.
    prefix : str, optional
        Which result, where the frame holds several; the latest by default.
    among : collection of int, optional
        Positions: other rows are left alone, though they have failed.
    """
    before = columns.origin(frame, prefix)
    if before is None:
        msg = (
            "the frame's attrs were lost, so its workflow is not known: name it with "
            "out = out.eachlabs.refresh(workflow_id=...), and pass inputs= to retry_failed"
        )
        raise ColumnError(msg)
    columns.require_result(frame, before.prefix)
    held = columns.read(frame, before.prefix)
    failed = [row for row, status in enumerate(held.status) if status == FAILED and (among is None or row in among)]
    rows = np.array(failed, dtype=np.int64)
    known = [held.execution_id[row] for row in rows if held.execution_id[row] is not None]
    if len(set(known)) < len(known):
        msg = "some failed rows are copies of each other (one execution_id), and each would be paid: drop the copies"
        raise ColumnError(msg)
    again = replace(
        options,
        version_id=before.version_id,
        prefix=before.prefix,
        na=before.na,
        validate=before.validate,
        retrigger=True,
    )
    return Trigger(frame, before.workflow_id, inputs, again, only=rows)


def reconcile(
    frame: pd.DataFrame, inputs: object, *, prefix: str | None, progress: bool | Observer | None
) -> Steps[pd.DataFrame]:
    """Look for the answers that were lost, and send nothing."""
    before = columns.origin(frame, prefix)
    known = prefix or "" if before is None else before.prefix
    columns.require_result(frame, known)
    if before is None or before.run is None:
        msg = (
            "the frame does not say of which run it is (its attrs were lost, or the journal was off), so nobody knows "
            "when its rows were sent: load_run() gives a run back, runs() lists them"
        )
        raise ColumnError(msg)
    held = columns.read(frame, known)
    rows = np.array([row for row, status in enumerate(held.status) if status == UNKNOWN], dtype=np.int64)
    options = Options(
        version_id=before.version_id, run=before.run, na=before.na, validate=False, prefix=known, progress=progress
    )
    return (yield from Trigger(frame, before.workflow_id, inputs, options, only=rows, sends=False).steps())
