"""What a Dask frame's run does with each partition, and what is checked of each worker before.

A `PartitionCall` is part of the tasks: neither the API key nor a journal's URL is ever part of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ..aio.bridge import GRACE
from ..aio.interrupts import InterruptHandler
from ..errors import ConfigurationError, EachlabsError, JournalError
from ..frames import source_file
from ..frames.columns import ResultMeta, write_meta
from ..frames.partition import interrupt_handler, partition_results, result_schema, trigger_partition
from ..frames.runs import open_current_journal
from ..frames.table import Frame
from ..journal.base import CapHint
from ..postgres_url import PostgresUrl
from ..settings import NO_KEY, current

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_KEYWORDS: Final = ("run", "key", "version_id", "schema", "na", "validate", "prefix", "json_output")
NO_COUNTS: Final = pd.DataFrame(
    {
        name: pd.Series([], dtype=dtype)
        for name, dtype in {"status": "object", "is_accepted": "bool", "rows": "int64", "error": "object"}.items()
    }
)
"""What `count_rows` returns of no rows."""
WORKERS_NOTICE: Final = 5.0
"""Seconds after which a warning says that a cluster has no workers."""
WORKERS_TIMEOUT: Final = 300.0
"""Seconds that a call waits for the first worker; clusters in a cloud start them within a few minutes."""
_POLL: Final = 0.1

logger = logging.getLogger("eachlabs_frames")


class PartitionCall:
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
                wait_for_workers(self._client, is_cancelled=lambda: self.id in _cancelled)
                # Other errors are of workers that end meanwhile; each task checks its worker too.
                for error in self._client.run(_check_worker, self, on_error="return").values():
                    if isinstance(error, EachlabsError):
                        raise error
            counts = frame.map_partitions(_send, self, meta=NO_COUNTS).compute(scheduler=scheduler)
        others = counts[~counts["is_accepted"].astype(bool)]
        if len(others):
            errors = others["error"].dropna()
            reason = f": {errors.iloc[0]}" if len(errors) else ""
            logger.warning("%d of %d rows have no execution%s", others["rows"].sum(), counts["rows"].sum(), reason)
        return {str(status): int(rows) for status, rows in counts.groupby("status")["rows"].sum().items()}

    def results(self, frame: Any) -> Any:
        """Return a Dask frame that reads the results of `frame` from the journal."""
        prefix = self.keywords.get("prefix", "")
        meta = result_schema(empty_frame(frame), prefix=prefix, json_output=self.keywords["json_output"])
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
        """Send no partition that has not begun, and stop those at work: their responses in flight are kept."""
        _interrupt(self.id)
        if self._client is not None:
            self._client.run(_stop, self.id, on_error="ignore")

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


def empty_frame(frame: Any) -> Frame:
    """Return the frame without rows by which Dask knows the columns of `frame`."""
    meta: Frame = frame._meta  # noqa: SLF001 - documented for those who extend Dask
    empty: Frame = meta.iloc[:0]
    return empty


def wait_for_workers(
    client: Any,
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    notice: float = WORKERS_NOTICE,
    timeout: float = WORKERS_TIMEOUT,
) -> None:
    """Wait until a cluster has a worker.

    Raises
    ------
    ConfigurationError
        It has none after `timeout` seconds.
    concurrent.futures.CancelledError
        `is_cancelled` has returned true.
    """
    if client.nthreads():
        return
    task = client.submit(_do_nothing, pure=False)  # a cluster that adapts to its load starts no worker without one
    began, is_noticed = time.monotonic(), False
    try:
        while not client.nthreads():
            waited = time.monotonic() - began
            if is_cancelled():
                raise CancelledError
            if waited >= timeout:
                msg = (
                    f"the Dask cluster has had no workers for {timeout:g} s, and nothing was sent: start workers, then "
                    "call again"
                )
                raise ConfigurationError(msg)
            if waited >= notice and not is_noticed:
                is_noticed = True
                logger.warning("the Dask cluster has no workers; waiting up to %g s for the first one", timeout)
            time.sleep(_POLL)
    finally:
        task.release()


# -- in the workers ---------------------------------------------------------------------------------------------------

_checked: Final[set[str]] = set()
_cancelled: Final[set[str]] = set()
"""The calls of this process whose partitions are not sent any more."""
_at_work: Final[defaultdict[str, set[InterruptHandler]]] = defaultdict(set)
"""What interrupts the partitions that this process sends now, by call."""
_lock: Final = threading.Lock()


def _send(partition: Frame, call: PartitionCall) -> Frame:
    """Trigger a partition, and return its counts."""
    _check_worker(call)
    options = dict(call.keywords)
    if options.get("webhook_url") is not None:
        options["webhook_secret"] = os.environ.get("EACHLABS_WEBHOOK_SECRET")
    try:
        with _stoppable(call.id):
            out = trigger_partition(partition, call.workflow_id, call.inputs, **options)
    except BaseException as exc:
        vars(exc).pop("frame", None)  # the journal has its rows, and the driver need not
        file = source_file.of(partition)
        if file is not None and isinstance(exc, EachlabsError):
            exc.args = (f"{file.name}: {exc}", *exc.args[1:])
        raise
    return count_rows(out, options.get("prefix", ""))


def count_rows(result: Frame, prefix: str) -> Frame:
    """Return the numbers of rows by status and by whether they have an execution, each with one of their errors."""
    rows = pd.DataFrame(
        {
            "status": result[f"{prefix}status"].astype(object),
            "is_accepted": result[f"{prefix}execution_id"].notna(),
            "error": result[f"{prefix}error"].astype(object),
        }
    )
    counts = rows.groupby(["status", "is_accepted"], sort=False)["error"].agg(rows="size", error="first").reset_index()
    out: Frame = counts.astype(NO_COUNTS.dtypes.to_dict())
    return out


@contextmanager
def _stoppable(call_id: str) -> Iterator[None]:
    """Let `_interrupt` stop what this thread triggers meanwhile: it raises CancelledError."""
    handler = InterruptHandler()
    with _lock:
        if call_id in _cancelled:
            raise CancelledError
        _at_work[call_id].add(handler)
    token = interrupt_handler.set(handler)
    try:
        yield
    except KeyboardInterrupt:  # which would end the worker
        if handler.count:
            raise CancelledError from None
        raise
    finally:
        interrupt_handler.reset(token)
        with _lock:
            _at_work[call_id].discard(handler)


def _interrupt(call_id: str) -> None:
    """Send no further partition of a call in this process, and interrupt those at work."""
    with _lock:
        _cancelled.add(call_id)
        at_work = list(_at_work[call_id])
    for handler in at_work:
        handler.interrupt()


async def _stop(call_id: str) -> None:
    """Interrupt what this worker sends, and wait until it has stopped, or is cancelled."""
    _interrupt(call_id)
    end = time.monotonic() + 2 * GRACE
    while _at_work[call_id] and time.monotonic() < end:
        await asyncio.sleep(_POLL)


def _do_nothing() -> None:
    return None


def _results(partition: Frame, call: PartitionCall) -> Frame:
    """Return the results of a partition from the journal."""
    keywords = {name: value for name, value in call.keywords.items() if name in _READ_KEYWORDS}
    out: Frame = partition_results(partition, call.workflow_id, call.inputs, **keywords)
    return out


def _check_worker(call: PartitionCall) -> None:
    """Check this process once for each call; workers may join while it runs."""
    if call.id not in _checked:
        call.check()
        with _lock:
            _checked.add(call.id)


def _machine() -> str:
    """Return what identifies the machine that this process runs on, until it is started again."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()
