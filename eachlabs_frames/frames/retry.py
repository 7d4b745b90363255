"""Implements `retry_failed` and `reconcile`: calls on a result that trigger its failed rows, or search lost answers.

A result whose attrs were lost is only sent again where the journal knows its rows. Nothing else is decided here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ..errors import ColumnError
from ..inputs.file_cells import FileCells
from ..journal import open_journal
from ..models import FAILED, UNKNOWN, Observer
from ..results import Results
from ..settings import current
from ..uploads.local_files import LocalFiles
from . import columns, lost_attrs, sent_inputs
from .columns import ResultMeta
from .options import SAME_INPUT_ONCE, TriggerOptions
from .rows import FrameInputs
from .table import Frame
from .trigger import TriggerCall


def retry_failed(
    frame: Frame,
    inputs: object,
    options: TriggerOptions,
    *,
    prefix: str | None = None,
    among: Collection[int] | None = None,
) -> TriggerCall:
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
    before, held = lost_attrs.find(frame, prefix=prefix, one_run=True)
    failed = [row for row, status in enumerate(held.status) if status == FAILED and (among is None or row in among)]
    rows = np.array(failed, dtype=np.int64)
    if columns.read_meta(frame, before.prefix) != before:
        frame = _restored(frame, before, held, failed, inputs, inplace=options.inplace)
    known = [held.execution_id[row] for row in rows if held.execution_id[row] is not None]
    if len(set(known)) < len(known) and not _has_shared_executions(before):
        msg = "some failed rows have the same execution_id, and each would be paid for: drop the duplicates"
        raise ColumnError(msg)
    again = replace(
        options,
        version_id=before.version_id,
        prefix=before.prefix,
        na=before.na,
        validate=before.validate,
        retrigger=True,
    )
    return TriggerCall(frame, before.workflow_id, inputs, again, only=rows)


def reconcile(frame: Frame, inputs: object, *, prefix: str | None, progress: bool | Observer | None) -> TriggerCall:
    """Return the call that searches for lost responses and sends nothing."""
    before, held = lost_attrs.find(frame, prefix=prefix, one_run=True)
    if before.run is None:
        msg = (
            "the frame does not name its run (the journal was off), so it is not known when its rows were sent: "
            "load_run() loads a run, runs() lists them"
        )
        raise ColumnError(msg)
    rows = np.array([row for row, status in enumerate(held.status) if status == UNKNOWN], dtype=np.int64)
    options = TriggerOptions(
        version_id=before.version_id,
        run=before.run,
        na=before.na,
        validate=False,
        prefix=before.prefix,
        progress=progress,
    )
    if columns.read_meta(frame, before.prefix) != before:
        frame = _described(frame, before)
    return TriggerCall(frame, before.workflow_id, inputs, options, only=rows, sends=False)


def _restored(
    frame: Frame, before: ResultMeta, held: Results, failed: list[int], inputs: object, *, inplace: bool
) -> Frame:
    """Return a frame that says again what it was triggered with, where it can be sent in the same way.

    Raises
    ------
    ColumnError
        A failed row has no execution by which the journal knows it; or the mapping gives no row what was sent of it, so
        that the columns are not those of before.
    """
    strangers = [row for row in failed if held.execution_id[row] is None]
    if strangers:
        label = frame.index[strangers[0]]
        msg = (
            f"row {label!r} failed without an execution, and the frame's attrs were lost, so it is not known which "
            f"run it belongs to: load_run({before.run!r}).eachlabs.retry_failed() retries the run's own rows"
        )
        raise ColumnError(msg)
    out = _described(frame, before, inplace=inplace)
    if failed and inputs is None and not _fits(out, before, held):
        msg = (
            f"no row produces the input that was sent for it in run {before.run!r}: the frame's attrs were lost, and "
            f"its "
            f"columns are not those that it was triggered with; pass inputs=, or use load_run({before.run!r})"
        )
        raise ColumnError(msg)
    return out


def _described(frame: Frame, before: ResultMeta, *, inplace: bool = False) -> Frame:
    out = frame if inplace else columns.snapshot(frame)
    columns.write_meta(out, before)
    return out


def _fits(frame: Frame, before: ResultMeta, held: Results) -> bool:
    """Say whether the mapping gives any row the input that its execution was sent with, by the journal."""
    fields = sent_inputs.fields_of(frame, before)
    path = current().journal
    if fields is None or path is None or before.run is None:
        return True  # which is an error of its own, where the inputs are read
    checksums: list[int] = []
    loaded = open_journal(path).load(before.run, lambda rows: checksums.extend(sent_inputs.checksums_of(rows).tolist()))
    sent = dict(zip(loaded.state.results.execution_id, checksums, strict=True))
    rows = [row for row, execution_id in enumerate(held.execution_id) if execution_id and execution_id in sent]
    if not rows:
        return True  # all of them were triggered again since: the journal's results are taken over, nothing is sent
    where = np.array(rows, dtype=np.int64)
    with LocalFiles() as files:
        cells = FileCells(files.reference, any_key=True)
        source = FrameInputs(frame, where, fields, omit=before.na != "null", integers=frozenset(), files=cells)
        now = np.concatenate([sent_inputs.checksums_of(chunk) for _, chunk in source.rows()]).tolist()
    return any(sent[held.execution_id[row]] == checksum for row, checksum in zip(rows, now, strict=True))


def _has_shared_executions(meta: ResultMeta) -> bool:
    """Return whether rows with equal inputs are one row of the run, so that each input is triggered once."""
    spec = None if meta.run is None else open_journal(current().journal).spec_of(meta.run)
    return spec is not None and spec.key == str(SAME_INPUT_ONCE)
