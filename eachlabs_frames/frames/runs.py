"""``runs``, ``load_run`` and ``delete_run``: what the journal holds, as frames. Nothing is asked of the API here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigurationError
from ..models import STATUSES
from ..settings import journal_path
from . import labels, sent_inputs
from . import results as columns
from .display import CountsFrame
from .options import check_name
from .results import Origin


def runs() -> pd.DataFrame:
    """Return the runs that the journal holds, the newest first.

    Returns
    -------
    pandas.DataFrame
        One line per run: ``run`` (string), ``created_at`` (datetime64[ns, UTC]), ``rows`` (int64), ``cost`` (float64,
        USD: of all executions, as far as it is known), a count (int64) per status, ``workflow_id`` (string),
        ``executions`` (int64: all that were accepted, also of rows that were triggered again since), ``version_id`` and
        ``base_url`` (string). A row that was sent and has no answer counts as ``unknown``. The display shows times to
        the second, and names the columns that it leaves out: counts that are 0 everywhere, and the last columns where
        there is no room.

    Raises
    ------
    JournalError
        The journal cannot be read.
    ConfigurationError
        The journal is off.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.runs().columns[:3].tolist()
    ['run', 'created_at', 'rows']
    """
    from ..engine.journal import archive

    found = archive.summaries(_path())
    out: pd.DataFrame = pd.DataFrame({"run": pd.array([run.name for run in found], dtype="string")})
    out["created_at"] = pd.to_datetime([run.created_at for run in found], utc=True, unit="ns").astype(
        "datetime64[ns, UTC]"
    )
    out["rows"] = pd.array([sum(run.counts.values()) for run in found], dtype="int64")
    out["cost"] = pd.array([run.cost_usd for run in found], dtype="float64")
    more = sorted({status for run in found for status in run.counts}.difference(STATUSES))
    for status in (*STATUSES, *more):
        out[status] = pd.array([run.counts.get(status, 0) for run in found], dtype="int64")
    out["workflow_id"] = pd.array([run.pin.workflow_id for run in found], dtype="string")
    out["executions"] = pd.array([run.executions for run in found], dtype="int64")
    for name in ("version_id", "base_url"):
        out[name] = pd.array([getattr(run.pin, name) for run in found], dtype="string")
    shown: pd.DataFrame = CountsFrame(out)
    return shown


def load_run(run: str, *, prefix: str = "") -> pd.DataFrame:
    """Return a run as the journal knows it, after whatever has happened to the frame and its process.

    Parameters
    ----------
    run : str
        The run's name; `runs` lists them.
    prefix : str, default ""
        Put before each of the result's column names, where an input has one of them.

    Returns
    -------
    pandas.DataFrame
        A row for each of the run's rows, in the order in which it first saw them, with their index labels: a column
        for each key of their inputs (as they were sent), and one for the keys that they are known by where that is
        none of these, then the result's columns. Rows that were sent and have no
        answer are ``unknown``: ``reconcile()``, or the same call with the same ``run=``, looks for them. It can be
        refreshed, waited for and triggered like any other frame.

        Where a later call of the run has entered another input under a row's index label, as after an edit, there is a
        column ``superseded`` (bool), which is true for the earlier rows: ``out[~out["superseded"]]`` are the others.
        They were paid all the same, and a label may have been used again for another row, so none is left out. Of a run
        with ``key=``, the latest row of each key is returned, and there is no such column.

    Raises
    ------
    RunError
        There is no such run.
    JournalError
        The journal cannot be read.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     df = pd.DataFrame({"prompt": ["a fox", "a heron"]}, index=["x", "y"])
    ...     out = df.eachlabs.bulk_trigger("wf_abc123", run="readme")
    >>> ef.load_run("readme")["prompt"].to_dict()
    {'x': 'a fox', 'y': 'a heron'}
    >>> ef.delete_run("readme")
    2
    """
    from ..engine.journal import archive

    loaded = archive.load(_path(), check_name(run))
    keys: dict[str, None] = dict.fromkeys(key for row in loaded.inputs for key in row)
    inputs = {key: _column([row.get(key) for row in loaded.inputs]) for key in keys}
    if loaded.keys is not None and loaded.pin.key not in keys:
        inputs = {str(loaded.pin.key): _column(loaded.keys)} | inputs
    frame = pd.DataFrame(inputs, index=range(len(loaded.labels)))
    frame.index = labels.index(loaded.labels, loaded.index_names)
    columns.check_columns(frame, prefix)
    out = columns.write(frame, loaded.book.results, prefix)
    pin = loaded.pin
    # The columns are the inputs' own keys, so that is the mapping with which this frame can be gone on with.
    spec: dict[str, Any] | None = {key: {"column": key} for key in keys}
    if pin.na == "null" and any(len(row) < len(keys) for row in loaded.inputs):
        spec = None  # a column cannot say of a row that it had no such key at all
    meta = Origin(pin.workflow_id, pin.version_id, prefix, inputs=spec, na=pin.na, run=loaded.name)
    columns.describe(out, replace(meta, superseded=loaded.superseded, superseded_cost=loaded.superseded_cost))
    rows = np.arange(len(out), dtype=np.int64)
    sent = sent_inputs.checksums_of(list(map(dict, loaded.inputs)))
    sent_inputs.record(out, pd.DataFrame(index=out.index), prefix, rows, sent)
    if any(loaded.is_superseded):
        name = f"{prefix}superseded"
        while name in out.columns:
            name += "_"
        out[name] = np.array(loaded.is_superseded, dtype=bool)
    return out


def _column(values: list[Any]) -> pd.Series[Any]:
    """Make a column of inputs as they were sent: pandas would make floats of integers that stand beside others."""
    kinds = set(map(type, values)) - {type(None)}
    dtype: Any = None if len(kinds) == 1 and not kinds & {list, dict, int} else object
    if kinds == {int}:
        dtype = "Int64" if None in values else "int64"
        if max(abs(value) for value in values if value is not None) >= 2**63:
            dtype = object
    column: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return column


def delete_run(run: str) -> int:
    """Delete a run from the journal, and return how many rows it had. Runs are never deleted by themselves.

    Its executions go on, and are paid; what is deleted is this machine's memory of them, so that the same call with
    the same ``run=`` would send, and pay for, every row again.

    Raises
    ------
    RunError
        There is no such run, or a call is at work in it.
    JournalError
        The journal cannot be written.
    """
    from ..engine.journal import archive

    return archive.delete(_path(), check_name(run))


def accept_journal_loss() -> dict[str, int]:
    """Go on with a journal that has lost records, which every other use of it refuses.

    Rows without an execution then count as perhaps sent: the next call of their run looks for them in the workflow's
    listing, adopts what it finds, and sends nothing again without ``on_unknown="resend"``. Where an older copy of the
    journal was put in place, runs that began after that copy are not in it, and their rows are new: look at the account
    first. A journal that has lost nothing is left as it is.

    Returns
    -------
    dict of str to int
        The rows that count as perhaps sent, for each run that has any.

    Raises
    ------
    JournalError
        The journal cannot be written, or a call is at work in it.
    ConfigurationError
        The journal is off.
    """
    from ..engine.journal import loss

    return loss.accept(_path())


def _path() -> Path:
    path = journal_path()
    if path is None:
        msg = "the journal is off: configure(journal=True) turns it on"
        raise ConfigurationError(msg)
    return path
