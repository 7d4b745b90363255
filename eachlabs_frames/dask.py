"""The accessor ``ddf.eachlabs`` of a Dask DataFrame: ``import eachlabs_frames.dask`` registers it.

`bulk_trigger` sends every partition once, in tasks that return counts. The frame that it returns reads the journal and
sends nothing, however often Dask computes it. Neither the API key nor a journal's URL is ever part of a task.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dask.dataframe as dd
import pandas as pd
from dask.base import get_scheduler
from dask.dataframe.extensions import register_dataframe_accessor

from .accessors.dataframe import accessor
from .errors import ColumnError, ConfigurationError, EachlabsError, JournalError, RunError
from .frames.columns import ResultMeta, read_meta, write_meta
from .frames.options import check_name
from .frames.partition import partition_results, pin_version, result_schema, trigger_partition
from .frames.runs import load_run, open_current_journal
from .frames.table import Frame
from .journal.base import CapHint
from .postgres_url import PostgresUrl
from .settings import NO_KEY, current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .models import Observer
    from .views.dashboard.widget import Dashboard

_PREFIX: Final = "eachlabs_result_"
"""Prefix of the result columns of a run that is loaded, so that they conflict with no input."""
_READ_KEYWORDS: Final = ("run", "key", "version_id", "schema", "na", "validate", "prefix", "json_output")
_COUNTS: Final = pd.DataFrame({"status": pd.Series([], dtype="object"), "rows": pd.Series([], dtype="int64")})
_cancelled: Final[set[str]] = set()
"""The calls of this process whose partitions are not sent any more."""


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
        meta = read_meta(_empty(self._frame))
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
    ) -> _PartitionCall:
        """Return the checked call: an empty partition is triggered here, which asks the API for nothing."""
        if options.pop("webhook_secret", None) is not None:
            msg = (
                "webhook_secret= would become part of the tasks: set EACHLABS_WEBHOOK_SECRET in the environment of "
                "each worker"
            )
            raise ConfigurationError(msg)
        keywords = {"run": run, "key": key, "json_output": json_output, **options}
        pinned = {} if run is None or key is None else pin_version(workflow_id, version_id, run=run)
        trigger_partition(_empty(self._frame), workflow_id, inputs, **keywords, **pinned)
        return _PartitionCall(workflow_id, inputs, keywords | pinned)


class _PartitionCall:
    """What is done with each partition. It is part of the tasks, and holds no secret.

    Parameters
    ----------
    workflow_id : str
    inputs : None, list, dict or callable
    keywords : mapping
        Those of `trigger_partition`.
    """

    def __init__(self, workflow_id: str, inputs: Any, keywords: Mapping[str, Any]) -> None:
        self.workflow_id: Final = workflow_id
        self.inputs: Final = inputs
        self.keywords: Final = dict(keywords)
        self.id: Final = uuid.uuid4().hex
        self._machine = _machine()
        self._base_url = current().base_url
        self._client: Any = None

    def __dask_tokenize__(self) -> str:
        return self.id

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_client": None}

    @property
    def run(self) -> str:
        """The name of the run."""
        return str(self.keywords["run"])

    def send(self, frame: Any, scheduler: Callable[..., Any] | None) -> dict[str, int]:
        """Send all partitions, and return how many rows have each status."""
        self._client = getattr(scheduler, "__self__", None)  # of a distributed client; other schedulers are functions
        with self._known_journal():
            if self._client is not None:
                # Other errors are of workers that end meanwhile; each task checks its worker too.
                for error in self._client.run(_check_worker, self, on_error="return").values():
                    if isinstance(error, EachlabsError):
                        raise error
            counts = frame.map_partitions(_send, self, meta=_COUNTS).compute(scheduler=scheduler)
        return {str(status): int(rows) for status, rows in counts.groupby("status")["rows"].sum().items()}

    def results(self, frame: Any) -> Any:
        """Return a Dask frame that reads the results of `frame` from the journal."""
        prefix = self.keywords.get("prefix", "")
        meta = result_schema(_empty(frame), prefix=prefix, json_output=self.keywords["json_output"])
        # What refresh, wait and the others read of a Dask frame; Dask keeps the attrs of its empty frames.
        write_meta(meta, ResultMeta(self.workflow_id, self.keywords["version_id"], prefix, run=self.run))
        return frame.map_partitions(_results, self, meta=meta)

    def check(self) -> None:
        """Check, in the process of a worker, that it can send what this call asks for.

        Raises
        ------
        ConfigurationError
            It has no API key, or another base URL.
        JournalError
            It does not see the journal of the driver.
        """
        settings = current()
        if settings.api_key is None:
            msg = f"{NO_KEY}. A Dask worker has none: set EACHLABS_API_KEY in the environment of each worker"
            raise ConfigurationError(msg)
        if settings.base_url != self._base_url:
            msg = (
                f"a Dask worker uses the server {settings.base_url}, and the driver {self._base_url}: set "
                "EACHLABS_BASE_URL in the environment of each worker"
            )
            raise ConfigurationError(msg)
        is_file = not isinstance(settings.journal, PostgresUrl)
        if (is_file and _machine() != self._machine) or open_current_journal().cap_hint(self._account) is None:
            msg = (
                f"a Dask worker on {platform.node()} does not use the driver's journal, by which rows are recognized "
                "that were sent: set EACHLABS_JOURNAL in the environment of each worker. An SQLite file serves the "
                "processes of one machine; workers on other machines need EACHLABS_JOURNAL=postgresql://user@host/db"
            )
            raise JournalError(msg)

    def cancel(self) -> None:
        """Send no partition that has not begun."""
        _cancelled.add(self.id)
        if self._client is not None:
            self._client.run(_cancelled_add, self.id, on_error="ignore")

    @property
    def _account(self) -> str:
        return f"dask-{self.id}"

    @contextmanager
    def _known_journal(self) -> Iterator[None]:
        """Leave a record in the journal by which workers know it."""
        journal = open_current_journal()
        if isinstance(path := current().journal, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
        journal.record_cap_hint(self._account, CapHint(1, None, time.time()))
        try:
            yield
        finally:
            with suppress(JournalError):
                journal.record_cap_hint(self._account, None)


class DaskRun:
    """A run in the background: what `DaskAccessor.start` returns.

    Parameters
    ----------
    call : _PartitionCall
    frame : dask.dataframe.DataFrame
    wait : bool
        Whether it goes on until every execution has ended.
    """

    def __init__(self, call: _PartitionCall, frame: Any, *, wait: bool) -> None:
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
        """Send no partition that has not begun; executions continue. The same call resumes the run."""
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


# -- in the workers ---------------------------------------------------------------------------------------------------

_checked: Final[set[str]] = set()
_lock: Final = threading.Lock()


def _send(partition: Frame, call: _PartitionCall) -> Frame:
    """Trigger a partition, and return how many of its rows have each status."""
    _check_worker(call)
    if call.id in _cancelled:
        raise CancelledError
    options = dict(call.keywords)
    if options.get("webhook_url") is not None:
        options["webhook_secret"] = os.environ.get("EACHLABS_WEBHOOK_SECRET")
    try:
        out = trigger_partition(partition, call.workflow_id, call.inputs, **options)
    except BaseException as exc:
        vars(exc).pop("frame", None)  # the journal has its rows, and the driver need not
        raise
    counts = out[f"{options.get('prefix', '')}status"].astype(object).value_counts()
    summary: Frame = pd.DataFrame({"status": counts.index.astype(object), "rows": counts.to_numpy(dtype="int64")})
    return summary


def _results(partition: Frame, call: _PartitionCall) -> Frame:
    """Return the results of a partition from the journal."""
    keywords = {name: value for name, value in call.keywords.items() if name in _READ_KEYWORDS}
    out: Frame = partition_results(partition, call.workflow_id, call.inputs, **keywords)
    return out


def _check_worker(call: _PartitionCall) -> None:
    """Check this process once for each call; workers may join while it runs."""
    if call.id not in _checked:
        call.check()
        with _lock:
            _checked.add(call.id)


def _cancelled_add(call_id: str) -> None:
    _cancelled.add(call_id)


def _machine() -> str:
    """Return what identifies the machine that this process runs on, until it is started again."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


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


def _empty(frame: Any) -> Frame:
    """Return the frame without rows by which Dask knows the columns of `frame`."""
    meta: Frame = frame._meta  # noqa: SLF001 - documented for those who extend Dask
    empty: Frame = meta.iloc[:0]
    return empty


def _scheduler(frame: Any) -> Any:
    """Return what computes `frame`: a method of the distributed client, or a function that uses this process."""
    return get_scheduler(collections=[frame])  # type: ignore[no-untyped-call]  # Dask has no types


def _register() -> None:
    if "eachlabs" in vars(dd.DataFrame):  # the accessor that explains how to get this one
        delattr(dd.DataFrame, "eachlabs")
    register_dataframe_accessor("eachlabs")(DaskAccessor)  # type: ignore[no-untyped-call]  # Dask has no types


_register()
