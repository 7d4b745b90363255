"""The ``.eachlabs`` accessor of objects similar to a DataFrame: an error that says what to do instead."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from ..errors import FrameTypeError, InputError

_HINTS: Final = {
    "polars LazyFrame": "use lf.collect().eachlabs; a lazy frame would be sent each time that it is collected",
    "polars Series": "series.to_frame('prompt').eachlabs",
    "pandas Series": "series.to_frame('prompt').eachlabs",
    "pandas DataFrameGroupBy": "trigger the whole frame and group the result",
    "pandas SeriesGroupBy": "trigger the whole frame and group the result",
    "dask DataFrame": "import eachlabs_frames.dask, which makes it ddf.eachlabs, or use ddf.compute().eachlabs",
}


def refusal(obj: object) -> str:
    """Return the error message for an object without ``.eachlabs``, with what to do instead."""
    # Dask's frames come from `dask.dataframe` or, in some versions, from `dask_expr`.
    library = re.match("dask|[^.]*", type(obj).__module__)
    kind = f"{library.group() if library else ''} {type(obj).__name__}"
    return f".eachlabs works on a pandas DataFrame; this is a {kind}: {_HINTS.get(kind, 'convert it to a DataFrame')}"


class UnsupportedAccessor:
    """An accessor that raises when it is created."""

    def __init__(self, obj: object) -> None:
        raise FrameTypeError(refusal(obj))


class UnsupportedOnUse:
    """An accessor that raises when it is used, for objects whose ``__getattr__`` would hide an error at creation."""

    def __init__(self, obj: object) -> None:
        self._message = refusal(obj)

    def __getattr__(self, name: str) -> Any:
        raise FrameTypeError(self._message)


_INFERENCES: Final = ("emulate", "_emulate")
_TASKS: Final = ("execute_task", "apply_function", "apply_function_simple")
"""Functions of Dask below which it calls a user's function: to learn its result, and as a task."""


def refuse_in_dask(run: str | None) -> None:
    """Refuse a call that triggers where Dask would pay for rows that nobody has, or for the same rows again.

    Raises
    ------
    InputError
        Dask calls it with made-up rows to learn the columns of its result, or in a task without ``run=``.
    """
    if "dask" not in sys.modules:
        return
    frame = sys._getframe()  # noqa: SLF001 - the documented way to walk the stack
    while (caller := frame.f_back) is not None:
        frame = caller
        name = frame.f_code.co_name
        if name not in (*_INFERENCES, *_TASKS):
            continue
        if re.match(r"(dask|distributed)\b|dask_expr", frame.f_globals.get("__name__", "")) is None:
            continue
        if name in _INFERENCES:
            what = "Dask calls this with made-up rows, to learn the columns of the result"
        elif run is None:
            what = "a Dask task may be computed again, and would pay for its rows again"
        else:
            continue
        msg = (
            f"{what}; nothing was sent. Use ddf.eachlabs.bulk_trigger(...) after import eachlabs_frames.dask, or "
            "ddf.map_partitions(eachlabs_frames.trigger_partition, ..., run=, key=, "
            "meta=eachlabs_frames.result_schema(ddf._meta))"
        )
        raise InputError(msg)
