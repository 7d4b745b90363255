"""The accessor ``ddf.eachlabs`` of a Dask DataFrame: ``import eachlabs_frames.dask`` registers it.

`bulk_trigger` sends every partition once, in tasks that return counts. The frame that it returns reads the journal and
sends nothing, however often Dask computes it. Neither the API key nor a journal's URL is ever part of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import dask.dataframe as dd
import pandas as pd
from dask.base import get_scheduler
from dask.dataframe.extensions import register_dataframe_accessor

from ..accessors.dataframe import accessor
from ..errors import ColumnError, ConfigurationError, RunError
from ..frames.columns import read_meta
from ..frames.options import check_name
from ..frames.partition import pin_version, trigger_partition
from ..frames.runs import load_run, open_current_journal
from ..frames.table import Frame
from .partition_call import PartitionCall, empty_frame

if TYPE_CHECKING:
    from ..models import Observer
    from ..views.dashboard.widget import Dashboard

_PREFIX: Final = "eachlabs_result_"
"""Prefix of the result columns of a run that is loaded, so that they conflict with no input."""


class DaskAccessor:
    """Run a workflow of the each::labs API for the rows of a Dask DataFrame.

    Available as ``ddf.eachlabs`` after ``import eachlabs_frames.dask``. Every worker needs the package, the key in
    ``EACHLABS_API_KEY`` and the same journal: an SQLite file serves the processes of one machine, and
    ``EACHLABS_JOURNAL=postgresql://...`` those of several.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def bulk_trigger(
        self,
        workflow_id: str,
        inputs: Any = None,
        *,
        run: str | None = None,
        key: Hashable = None,
        version_id: str | None = None,
        wait: bool = False,
        json_output: bool = True,
        **options: Any,
    ) -> Any:
        """Trigger a paid execution of a workflow for each row, now, and return a Dask frame of the results.

        The partitions are sent in tasks of the current distributed client, or of Dask's scheduler in this process. The
        frame that is returned reads the journal when it is computed, and sends nothing.

        Parameters
        ----------
        workflow_id, inputs
            As for the pandas accessor.
        run, key : str and label
            Required, as for `trigger_partition`: by them a row is recognized that was sent.
        version_id : str, optional
            The version to run; by default that of the run, else the latest. It is read once, for all partitions.
        wait : bool, default False
            Wait until every execution of the run has ended.
        json_output : bool, default True
            Write outputs that are not text as JSON text: Parquet files and shuffles need columns of one type.
        **options
            ``na``, ``validate``, ``max_concurrency`` (of each partition), ``expires_in``, ``on_unknown``,
            ``webhook_url`` and ``prefix``, as for `trigger_partition`. A webhook's secret is read from
            ``EACHLABS_WEBHOOK_SECRET`` of each worker.

        Returns
        -------
        dask.dataframe.DataFrame
            This frame with the columns of `bulk_trigger`; its index and divisions are kept.

        Raises
        ------
        InputError
            A key is missing or twice, or was sent with another input. Other partitions may have been sent; the same
            call goes on with the run.
        ConfigurationError, JournalError
            A worker has no API key, or does not see this journal. Nothing was sent.
        UsageError, APIError
            As for the pandas accessor.
        """
        call = self._call(workflow_id, inputs, run, key, version_id, json_output=json_output, **options)
        call.send(self._frame, _scheduler(self._frame))
        out = call.results(self._frame)
        return DaskAccessor(out).wait() if wait else out

    def start(
        self, workflow_id: str, inputs: Any = None, *, run: str | None = None, key: Hashable = None, **options: Any
    ) -> DaskRun:
        """Do the same as `bulk_trigger` in the background.

        Parameters
        ----------
        workflow_id, inputs, run, key, **options
            As for `bulk_trigger`.

        Returns
        -------
        DaskRun
        """
        wait = options.pop("wait", False)
        call = self._call(workflow_id, inputs, run, key, **options)
        return DaskRun(call, self._frame, wait=wait)

    def refresh(self, *, run: str | None = None) -> Any:
        """Read the states of the run's executions from the API once, on this machine, and record them in the journal.

        Parameters
        ----------
        run : str, optional
            The name of the run, for a frame that does not know it any more.

        Returns
        -------
        dask.dataframe.DataFrame
            This frame: when it is computed, it shows the new states. One that was persisted shows what it has read.
        """
        accessor(self._loaded(run)).refresh()
        return self._frame

    def wait(
        self, timeout: float | None = None, *, run: str | None = None, progress: bool | Observer | None = None
    ) -> Any:
        """Wait until every execution of the run has ended, and record the results in the journal.

        Parameters
        ----------
        timeout, progress
            As for the pandas accessor.
        run : str, optional
            As for `refresh`.

        Returns
        -------
        dask.dataframe.DataFrame
            This frame: when it is computed, it shows the results.
        """
        accessor(self._loaded(run)).wait(timeout=timeout, progress=progress)
        return self._frame

    def summary(self, *, run: str | None = None) -> pd.Series[Any]:
        """Return the numbers of the run, from the journal.

        Parameters
        ----------
        run : str, optional
            As for `refresh`.

        Returns
        -------
        pandas.Series
            ``rows`` of this frame, ``keys`` of the run (fewer where rows share a key), ``executions``, ``cost`` in
            USD, and how many keys have each status.
        """
        return _summary(self._run_name(run), len(self._frame))

    def dashboard(self, *, run: str | None = None, **options: Any) -> Dashboard:
        """Show the live dashboard of the run.

        Parameters
        ----------
        run : str, optional
            As for `refresh`.
        **options
            ``label``, ``auto_refresh`` and ``interval``, as for the pandas accessor.
        """
        return accessor(self._loaded(run)).dashboard(**options)

    def _loaded(self, run: str | None) -> Frame:
        return load_run(self._run_name(run), prefix=_PREFIX)

    def _run_name(self, run: str | None) -> str:
        if run is not None:
            return check_name(run)
        meta = read_meta(empty_frame(self._frame))
        if meta is None or meta.run is None:
            msg = "this Dask frame does not know its run: call ddf.eachlabs.bulk_trigger first, or pass run="
            raise ColumnError(msg)
        return meta.run

    def _call(
        self,
        workflow_id: str,
        inputs: Any,
        run: str | None,
        key: Hashable,
        version_id: str | None = None,
        *,
        json_output: bool = True,
        **options: Any,
    ) -> PartitionCall:
        """Return the checked call: an empty partition is triggered here, which asks the API for nothing."""
        if options.pop("webhook_secret", None) is not None:
            msg = (
                "webhook_secret= would become part of the tasks: set EACHLABS_WEBHOOK_SECRET in the environment of "
                "each worker"
            )
            raise ConfigurationError(msg)
        keywords = {"run": run, "key": key, "json_output": json_output, **options}
        pinned = {} if run is None or key is None else pin_version(workflow_id, version_id, run=run)
        trigger_partition(empty_frame(self._frame), workflow_id, inputs, **keywords, **pinned)
        return PartitionCall(workflow_id, inputs, keywords | pinned)


class DaskRun:
    """A run in the background: what `DaskAccessor.start` returns.

    Parameters
    ----------
    call : PartitionCall
    frame : dask.dataframe.DataFrame
    wait : bool
        Whether it goes on until every execution has ended.
    """

    def __init__(self, call: PartitionCall, frame: Any, *, wait: bool) -> None:
        self._call = call
        self._frame = frame
        self._wait = wait
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="eachlabs-frames-dask")
        # The client of this thread, not that of the one in the background.
        self._future = self._pool.submit(self._run, _scheduler(frame))
        self._pool.shutdown(wait=False)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self._call.run

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    @property
    def status(self) -> dict[str, int]:
        """How many keys of the run have each status, from the journal."""
        try:
            summary = _summary(self.name, 0)
        except RunError:
            return {}
        return {name: int(summary[name]) for name in summary.index[4:]}

    def cancel(self) -> None:
        """Stop sending, and keep the responses in flight; executions continue. The same call resumes the run.

        It returns when the partitions at work have stopped, within about 10 s.
        """
        self._call.cancel()

    def result(self, timeout: float | None = None) -> Any:
        """Wait until it has ended, and return the Dask frame of the results.

        Raises
        ------
        concurrent.futures.CancelledError
            It was cancelled before every partition was sent.
        TimeoutError
            It has not ended after `timeout` seconds.
        """
        return self._future.result(timeout)

    def dashboard(self, **options: Any) -> Dashboard:
        """Show the live dashboard of what was sent so far."""
        return DaskAccessor(self._frame).dashboard(run=self.name, **options)

    def _run(self, scheduler: Callable[..., Any] | None) -> Any:
        self._call.send(self._frame, scheduler)
        out = self._call.results(self._frame)
        return DaskAccessor(out).wait(progress=False) if self._wait else out


def _summary(run: str, rows: int) -> pd.Series[Any]:
    """Return the numbers of a run.

    Raises
    ------
    RunError
        There is no such run.
    """
    for summary in open_current_journal().summaries():
        if summary.name == run:
            counts = {status: count for status, count in summary.counts.items() if count}
            keys = sum(counts.values())
            numbers = {"rows": rows, "keys": keys, "executions": summary.executions, "cost": summary.cost_usd}
            out: pd.Series[Any] = pd.Series(numbers | counts, dtype=object, name=run)
            return out
    msg = f"there is no run {run!r} in the journal"
    raise RunError(msg)


def _scheduler(frame: Any) -> Any:
    """Return what computes `frame`: a method of the distributed client, or a function that uses this process."""
    return get_scheduler(collections=[frame])


def _register() -> None:
    if "eachlabs" in vars(dd.DataFrame):  # the accessor that explains how to get this one
        delattr(dd.DataFrame, "eachlabs")
    register_dataframe_accessor("eachlabs")(DaskAccessor)


_register()
