"""What ``.eachlabs`` is on things that look like a frame: an error that says what to do instead."""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import FrameTypeError

_HINTS: Final = {
    "pandas Series": "series.to_frame('prompt').eachlabs",
    "pandas DataFrameGroupBy": "trigger the whole frame and group the result",
    "pandas SeriesGroupBy": "trigger the whole frame and group the result",
    "dask DataFrame": "use ddf.compute().eachlabs; a Dask graph may compute a row twice, and so pay for it twice",
}


def refusal(thing: object) -> str:
    """Return why `thing` has no ``.eachlabs``, and what to do."""
    # Dask's frames come from `dask.dataframe` or, in some versions, from `dask_expr`.
    library = re.match("dask|[^.]*", type(thing).__module__)
    kind = f"{library.group() if library else ''} {type(thing).__name__}"
    return f".eachlabs works on a pandas DataFrame; this is a {kind}: {_HINTS.get(kind, 'convert it to a DataFrame')}"


class UnsupportedAccessor:
    """An accessor that cannot be had: it raises when it is asked for."""

    def __init__(self, thing: object) -> None:
        raise FrameTypeError(refusal(thing))


class UnsupportedGroupBy:
    """The same for a GroupBy, whose own ``__getattr__`` would hide an error: it raises when it is used."""

    def __init__(self, thing: object) -> None:
        self._message = refusal(thing)

    def __getattr__(self, name: str) -> Any:
        raise FrameTypeError(self._message)
