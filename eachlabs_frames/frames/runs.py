"""``runs``, ``load_run``, ``delete_run``: read and delete the runs in the journal. No request is sent to the API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigurationError
from ..journal import open_journal
from ..journal.base import Journal
from ..models import STATUSES
from ..settings import current_journal
from . import columns, sent_inputs
from .columns import ResultMeta
from .display import CountsFrame
from .options import SAME_INPUT_ONCE, check_name
from .rows import index_from_json
from .stored_inputs import StoredInputs, column_of


def runs() -> pd.DataFrame:
    """Return the runs in the journal, newest first.

    Returns
    -------
    pandas.DataFrame
        One row per run: ``run`` (string), ``created_at`` (datetime64[ns, UTC]), ``rows`` (int64), ``workers`` (int64,
        the calls that are running in it now), ``cost`` (float64, USD, the sum of all known costs), a count (int64) per
        status, ``workflow_id`` (string), ``executions`` (int64), ``version_id`` and ``base_url`` (string). ``cost`` and
        ``executions`` include earlier executions of rows that were triggered again. A row that was sent without a
        recorded response counts as ``unknown``, as does every row of a run whose records are damaged. The display shows
        times to the second. It omits counts that are 0 in every row, and the last columns if there is not enough space,
        and names the omitted columns.

    Raises
    ------
    JournalError
        The journal cannot be read.
    ConfigurationError
        The journal is turned off.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.runs().columns[:3].tolist()
    ['run', 'created_at', 'rows']
    """
    summaries = open_current_journal().summaries()
    out: pd.DataFrame = pd.DataFrame({"run": pd.array([run.name for run in summaries], dtype="string")})
    out["created_at"] = pd.to_datetime([run.created_at for run in summaries], utc=True, unit="ns").astype(
        "datetime64[ns, UTC]"
    )
    out["rows"] = pd.array([sum(run.counts.values()) for run in summaries], dtype="int64")
    out["workers"] = pd.array([run.workers for run in summaries], dtype="int64")
    out["cost"] = pd.array([run.cost_usd for run in summaries], dtype="float64")
    more = sorted({status for run in summaries for status in run.counts}.difference(STATUSES))
    for status in (*STATUSES, *more):
        out[status] = pd.array([run.counts.get(status, 0) for run in summaries], dtype="int64")
    out["workflow_id"] = pd.array([run.spec.workflow_id for run in summaries], dtype="string")
    out["executions"] = pd.array([run.executions for run in summaries], dtype="int64")
    for name in ("version_id", "base_url"):
        out[name] = pd.array([getattr(run.spec, name) for run in summaries], dtype="string")
    shown: pd.DataFrame = CountsFrame(out)
    return shown


def load_run(run: str, *, prefix: str = "") -> pd.DataFrame:
    """Return the rows of a run from the journal, for example after the kernel that ran it was restarted.

    Parameters
    ----------
    run : str
        Name of the run; `runs` lists them.
    prefix : str, default ""
        Prefix of the result's column names, required if an input has the name of one of them.

    Returns
    -------
    pandas.DataFrame
        One row per row of the run, with its index label, in the order in which the rows were added: a column for each
        key of the inputs, as they were sent, then the result columns as in `bulk_trigger`. If the run has a ``key=``
        column that is not among the inputs, it is the first column. Rows that were sent without a recorded response are
        ``unknown``: `reconcile`, or the same call with the same ``run=``, searches for their executions. The frame can
        be refreshed, waited for and triggered like any other.

        If a later call added another input with the index label of an earlier row, for example after an edit, a column
        ``superseded`` (bool) is True for the earlier row, and ``out[~out["superseded"]]`` selects the others.
        Superseded rows are included because their executions were paid for, and because the label may have been reused
        for an unrelated row. For a run with ``key=``, only the latest row of each key is returned, without this column.

    Raises
    ------
    RunError
        There is no run of this name.
    ColumnError
        An input has the name of a result column.
    JournalError
        The journal cannot be read.
    ConfigurationError
        The journal is turned off, or `run` is not a valid name.

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
    stored = StoredInputs()
    loaded = open_current_journal().load(check_name(run), stored.add)
    has_all_keys, inputs = stored.has_all_keys, stored.columns()
    # There is a column for each key of the inputs: the mapping for continuing with this frame.
    spec: dict[str, Any] | None = {key: {"column": key} for key in inputs}
    if loaded.keys is not None and loaded.spec.key not in (*inputs, str(SAME_INPUT_ONCE)):
        inputs = {str(loaded.spec.key): column_of(loaded.keys)} | inputs
    frame = pd.DataFrame(inputs, index=range(len(loaded.labels)))
    frame.index = index_from_json(loaded.labels, loaded.index_names)
    columns.check_columns(frame, prefix)
    out = columns.write(frame, loaded.state.results, prefix)
    run_spec = loaded.spec
    if run_spec.na == "null" and not has_all_keys:
        spec = None  # a column cannot express that a row had no such key
    meta = ResultMeta(run_spec.workflow_id, run_spec.version_id, prefix, inputs=spec, na=run_spec.na, run=loaded.name)
    meta = replace(
        meta,
        superseded=loaded.superseded,
        superseded_cost=loaded.superseded_cost,
        superseded_unknown=loaded.superseded_unknown,
    )
    columns.write_meta(out, meta)
    rows = np.arange(len(out), dtype=np.int64)
    sent_inputs.record(out, pd.DataFrame(index=out.index), prefix, rows, stored.checksums)
    if any(loaded.is_superseded):
        name = f"{prefix}superseded"
        while name in out.columns:
            name += "_"
        out[name] = np.array(loaded.is_superseded, dtype=bool)
    return out


def delete_run(run: str) -> int:
    """Delete a run from the journal. Runs are never deleted automatically.

    Only the local record is deleted: executions are not cancelled, and are paid for. Afterwards the same call with the
    same ``run=`` sends, and pays for, every row again.

    Parameters
    ----------
    run : str
        Name of the run; `runs` lists them.

    Returns
    -------
    int
        The number of rows that the run had.

    Raises
    ------
    RunError
        There is no run of this name, or it is in progress.
    JournalError
        The journal cannot be written.
    ConfigurationError
        The journal is turned off, or `run` is not a valid name.
    """
    return open_current_journal().delete(check_name(run))


def accept_journal_loss() -> dict[str, int]:
    """Accept that the journal has lost records. Until then, every other call that needs the journal is refused.

    Afterwards, rows without an execution are treated as possibly sent: the next call of their run searches the
    workflow's listing for their executions, and sends none of them again without ``on_unknown="resend"``. If the
    journal was replaced by an older copy, runs that started after that copy are missing, and their rows are new to it:
    check the executions in your account first. If no records are missing, nothing is changed.

    Returns
    -------
    dict of str to int
        For each affected run, the number of rows that are now treated as possibly sent.

    Raises
    ------
    JournalError
        The journal cannot be written, or is in use by a process.
    ConfigurationError
        The journal is turned off.
    """
    return open_current_journal().accept_loss()


def open_current_journal() -> Journal:
    """Return the journal of the settings.

    Raises
    ------
    ConfigurationError
        It is turned off.
    """
    journal = current_journal()
    if journal is None:
        msg = "the journal is off: configure(journal=True) turns it on"
        raise ConfigurationError(msg)
    return open_journal(journal)
