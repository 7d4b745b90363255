"""Implements what an engine (Dask, Spark, Ray) calls for one partition of a table: `trigger_partition`.

An engine computes a partition again whenever it likes. So every call names a run, whose journal all workers share, and
a key, which says which rows of the whole table are the same: a row that was sent is not sent again, wherever and
however often its partition is computed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import closing
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from ..aio.bridge import Read, ReadCall
from ..aio.bridge import run as run_call
from ..aio.interrupts import InterruptHandler
from ..api.client import Client
from ..api.requests import checked_id
from ..errors import ConfigurationError
from ..journal import open_journal
from ..models import Json, Secret, Workflow
from ..settings import NO_KEY, current
from ..suggestions import check_keywords
from . import arrow
from .options import SAME_INPUT_ONCE, TriggerOptions, check_name
from .run_binding import read_keys
from .table import Frame
from .trigger import TriggerCall
from .workflows import read_workflow

interrupt_handler: Final[ContextVar[InterruptHandler | None]] = ContextVar("interrupt_handler", default=None)
"""What interrupts the `trigger_partition` calls of this thread, where a front end can stop partitions at work."""

_WHY: Final = (
    "an engine computes a partition again after a failure, and for each action: the journal recognizes rows that were "
    "sent by the name of the run and by their key"
)
_REFUSED: Final = {
    "inplace": "an engine may hold this partition elsewhere: the result is a new frame",
    "retrigger": "an engine may compute this partition again, and would pay again each time: choose another run=",
    "max_cost": "each partition would have a budget of its own: compare the cost of the table with the balance first, "
    "by preview() on some of its rows",
    "ask": "nobody is there to answer in a worker: ask before the engine begins",
    "progress": "a worker shows nothing: follow the run with load_run(run).eachlabs.dashboard()",
    "webhook": "a receiver belongs to one process: pass its URL as webhook_url=",
}


def trigger_partition(
    frame: Any,
    workflow_id: str,
    inputs: Any = None,
    *,
    run: str | None = None,
    key: Hashable = None,
    version_id: str | None = None,
    schema: Mapping[str, Json] | None = None,
    na: str = "omit",
    validate: bool = True,
    max_concurrency: int | None = None,
    expires_in: int | None = None,
    on_unknown: str = "keep",
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    prefix: str = "",
    json_output: bool = False,
    wait: bool = False,
    **others: Any,
) -> Any:
    """Trigger the rows of one partition of a table. Computed again, anywhere, it sends only what was not sent.

    It may be called from any thread of any process, several times at once, and in a running event loop. All processes
    must use the same journal. It shows nothing.

    Parameters
    ----------
    frame : pandas.DataFrame, pyarrow.Table, pyarrow.RecordBatch or polars.DataFrame
        The partition.
    workflow_id, inputs
        As for `bulk_trigger`.
    run : str
        The name of the run: the same for all partitions, and for every time that they are computed.
    key : label or SAME_INPUT_ONCE
        A column whose values are unique in the whole table and stay the same: not a row number that the engine
        assigns. A key in two partitions is one execution if the inputs are equal, and an error otherwise.
        `SAME_INPUT_ONCE`: rows with equal inputs are one execution, and each of them gets its result.
    version_id, schema : str and mapping, optional
        The version and its input schema, as `pin_version` returns them; a partition then asks nothing of the API before
        it sends. By default each call reads them.
    na, validate, max_concurrency, expires_in, on_unknown, webhook_url, webhook_secret, prefix
        As for `bulk_trigger`. `max_concurrency` is that of this call: several may run at once.
    json_output : bool, default False
        Write outputs that are not text as JSON text, for engines whose columns have one type. PyArrow and Polars frames
        always have such outputs.
    wait : bool, default False
        Wait until every execution has ended. Rather wait once, for the whole run.
    **others
        ``inplace``, ``retrigger``, ``max_cost``, ``ask``, ``progress`` and ``webhook`` are refused with the reason.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table, pyarrow.RecordBatch or polars.DataFrame
        A new frame of the same kind, with the columns of `bulk_trigger`.

    Raises
    ------
    InputError
        A key is missing, or twice in this partition, or was sent with another input. This partition has sent nothing.
    UsageError, APIError
        As for `bulk_trigger`.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     df = pd.DataFrame({"id": [1, 2], "prompt": ["a fox", "a heron"]})
    ...     pinned = ef.pin_version("wf_abc123", run="sweep-7")
    ...     once = ef.trigger_partition(df, "wf_abc123", ["prompt"], run="sweep-7", key="id", **pinned)
    ...     again = ef.trigger_partition(df, "wf_abc123", ["prompt"], run="sweep-7", key="id", **pinned)
    >>> once["execution_id"].equals(again["execution_id"])
    True
    """
    secret = Secret.wrap(webhook_secret)
    del webhook_secret  # at once: a traceback may show local variables
    _check_others(others)
    options = TriggerOptions(
        version_id=version_id,
        run=run,
        key=key,
        webhook_url=webhook_url,
        webhook_secret=secret,
        na=na,
        validate=validate,
        max_concurrency=max_concurrency,
        expires_in=expires_in,
        on_unknown=on_unknown,
        prefix=prefix,
        wait=wait,
        progress=False,
    )

    def trigger(partition: Frame) -> Frame:
        return run_call(lambda: _call(partition, workflow_id, inputs, options, schema), handler=interrupt_handler.get())

    return arrow.call_like(frame, trigger, json_output=json_output)


def partition_results(
    frame: Any,
    workflow_id: str,
    inputs: Any = None,
    *,
    run: str | None = None,
    key: Hashable = None,
    version_id: str | None = None,
    schema: Mapping[str, Json] | None = None,
    na: str = "omit",
    validate: bool = True,
    prefix: str = "",
    json_output: bool = False,
) -> Any:
    """Return what `trigger_partition` returns, from the journal alone: nothing is sent, nothing is recorded.

    Rows that are not in the run are ``pending``, and rows whose response is not recorded ``unknown``. It asks the API
    for the workflow only, and for nothing if `version_id` and `schema` are given.

    Parameters
    ----------
    frame, workflow_id, inputs, run, key, version_id, schema, na, validate, prefix, json_output
        As for `trigger_partition`.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table, pyarrow.RecordBatch or polars.DataFrame

    Raises
    ------
    UsageError
        As for `trigger_partition`.
    """
    options = TriggerOptions(
        version_id=version_id, run=run, key=key, na=na, validate=validate, prefix=prefix, progress=False
    )

    def read_journal(partition: Frame, read: Read) -> Frame:
        with closing(_call(partition, workflow_id, inputs, options, schema)) as call:
            actions = call.rehearse(read)
            call.result.mark_unanswered((*actions.unanswered, *actions.elsewhere))
            return call.result.written()

    def results(partition: Frame) -> Frame:
        return run_call(lambda: ReadCall(partial(read_journal, partition)))

    return arrow.call_like(frame, results, json_output=json_output)


def pin_version(workflow_id: str, version_id: str | None = None, *, run: str | None = None) -> dict[str, Any]:
    """Return the keywords that fix a workflow's version for all partitions: ``version_id`` and ``schema``.

    To be called once, where the engine is driven; the result can be pickled.

    Parameters
    ----------
    workflow_id : str
    version_id : str, optional
        The version to use. By default that of the run, if the journal has it, else the latest.
    run : str, optional
        The name of the run.

    Returns
    -------
    dict
        ``{"version_id": str, "schema": dict}``; the schema is empty if the workflow publishes none.

    Raises
    ------
    APIError
        The workflow could not be read.
    JournalError
        The journal cannot be read.
    """

    def read_pinned(read: Read) -> dict[str, Any]:
        settings = current()
        _check_api_key()
        wanted = version_id
        if wanted is None and run is not None:
            spec = open_journal(settings.journal).spec_of(check_name(run))
            wanted = None if spec is None or spec.workflow_id != workflow_id else spec.version_id
        checked_id("workflow_id", workflow_id)
        workflow = read_workflow(workflow_id, wanted, read, settings, client=Client(settings))
        return {"version_id": workflow.version_id, "schema": dict(workflow.input_schema or {})}

    return run_call(lambda: ReadCall(read_pinned))


def result_schema(frame: Any, kind: str = "pandas", *, prefix: str = "", json_output: bool = False) -> Any:
    """Return what an engine wants to know of the result beforehand. It asks nothing of the API.

    Parameters
    ----------
    frame : frame or schema
        A partition, an empty one, or its schema: see `kind`.
    kind : {"pandas", "arrow", "spark"}
        What to return. "pandas": of a pandas frame, an empty one. "arrow": of any frame or a `pyarrow.Schema`, a
        `pyarrow.Schema`; the result of a Polars frame has these types too. "spark": of a StructType (``sdf.schema``) a
        StructType, of a DDL string a DDL string, for ``mapInPandas`` with ``json_output=True``.
    prefix, json_output
        As for `trigger_partition`.

    Returns
    -------
    pandas.DataFrame, pyarrow.Schema, pyspark.sql.types.StructType or str

    Raises
    ------
    ColumnError
        A user's column has the name of a result column.
    FrameTypeError
        `frame` has no schema of this kind.
    ConfigurationError
        There is no such kind, or pyarrow is not installed.
    """
    if kind == "pandas":
        return arrow.pandas_schema(frame, prefix, json_output=json_output)
    if kind == "arrow":
        return arrow.arrow_schema(frame, prefix)
    if kind == "spark":
        return arrow.spark_schema(frame, prefix)
    msg = f"kind must be 'pandas', 'arrow' or 'spark'; got {kind!r}"
    raise ConfigurationError(msg)


def _call(
    frame: Frame, workflow_id: str, inputs: Any, options: TriggerOptions, schema: Mapping[str, Json] | None
) -> TriggerCall:
    """Return the call on a partition; keys are checked before anything is asked of the API."""
    for name in ("run", "key"):
        if getattr(options, name) is None:
            msg = f"trigger_partition needs {name}=: {_WHY}"
            raise ConfigurationError(msg)
    if schema is not None and options.version_id is None:
        msg = "schema= is the input schema of one version: pass its version_id= too, as pin_version() returns both"
        raise ConfigurationError(msg)
    _check_api_key()
    version_id = options.version_id
    workflow = None if schema is None or version_id is None else Workflow(workflow_id, version_id, schema or None)
    call = TriggerCall(frame, workflow_id, inputs, options, workflow=workflow)
    try:
        if options.key is not SAME_INPUT_ONCE:
            read_keys(frame, options.key)
    except BaseException:
        call.close()
        raise
    return call


def _check_api_key() -> None:
    if current().api_key is None:
        msg = (
            f"{NO_KEY}. A key that another process, such as the engine's driver, has given to configure() does not "
            "reach this one: set EACHLABS_API_KEY in the environment of each worker"
        )
        raise ConfigurationError(msg)


def _check_others(others: Mapping[str, Any]) -> None:
    """Refuse keywords of `bulk_trigger` that mean nothing, or harm, where a partition may be computed again."""
    for name, value in others.items():
        if name not in _REFUSED:
            check_keywords(trigger_partition, [name])
        elif value is not None and value is not False:
            msg = f"trigger_partition takes no {name}=: {_REFUSED[name]}"
            raise ConfigurationError(msg)
