"""The ``.eachlabs`` accessor of objects similar to a DataFrame: an error that says what to do instead."""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import FrameTypeError

_HINTS: Final = {
    "polars LazyFrame": "use lf.collect().eachlabs; a lazy frame would be sent each time that it is collected",
    "polars Series": "series.to_frame('prompt').eachlabs",
    "pandas Series": "series.to_frame('prompt').eachlabs",
    "pandas DataFrameGroupBy": "trigger the whole frame and group the result",
    "pandas SeriesGroupBy": "trigger the whole frame and group the result",
    "dask DataFrame": "use ddf.compute().eachlabs; a Dask graph may compute a row twice, and so pay for it twice",
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
