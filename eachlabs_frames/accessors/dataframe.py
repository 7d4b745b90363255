"""The accessor ``df.eachlabs`` of a pandas DataFrame, and its registration."""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

from ..frames.unsupported import UnsupportedAccessor, UnsupportedOnUse
from .outputs import OutputMethods
from .retrying import RetryMethods
from .tracking import TrackMethods
from .triggering import TriggerMethods
from .views import ViewMethods


class EachlabsAccessor(TriggerMethods, RetryMethods, TrackMethods, OutputMethods, ViewMethods):
    """Run a workflow of the each::labs API for the rows of a DataFrame.

    Available as ``df.eachlabs`` after ``import eachlabs_frames``.

    Parameters
    ----------
    frame : pandas.DataFrame

    Raises
    ------
    FrameTypeError
        `frame` is not a pandas DataFrame.
    ColumnError
        An entry of ``df.attrs`` cannot be copied, as pandas does for each new frame.
    """


def accessor(frame: pd.DataFrame) -> EachlabsAccessor:
    """Return ``frame.eachlabs``, with a return type that type checkers and editors can resolve.

    Parameters
    ----------
    frame : pandas.DataFrame

    Returns
    -------
    EachlabsAccessor

    Raises
    ------
    FrameTypeError
        `frame` is not a pandas DataFrame.
    ColumnError
        An entry of ``frame.attrs`` cannot be copied, as pandas does for each new frame.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> ef.accessor(pd.DataFrame({"prompt": ["a fox"]})).preview()["payload"].tolist()
    [{'prompt': 'a fox'}]
    """
    return EachlabsAccessor(frame)


class _AccessorProperty(property):
    """``DataFrame.eachlabs``: the accessor of a frame, and on the class itself the accessor's class, as in pandas.

    A property whose getter says what it returns: Jedi, and so IPython, completes ``df.eachlabs.`` of a live frame from
    that annotation, and runs no other kind of descriptor.
    """

    def __get__(self, frame: Any, owner: type | None = None) -> Any:
        return EachlabsAccessor if frame is None else super().__get__(frame, owner)


def register() -> None:
    """Register ``df.eachlabs``, and let objects that are not a DataFrame say why they have none."""
    pd.api.extensions.register_dataframe_accessor("eachlabs")(EachlabsAccessor)
    setattr(pd.DataFrame, "eachlabs", _AccessorProperty(accessor))  # noqa: B010 - its type has no such attribute
    pd.api.extensions.register_series_accessor("eachlabs")(UnsupportedAccessor)
    groups: tuple[Any, ...] = (DataFrameGroupBy, SeriesGroupBy)  # pandas has no accessors for these
    for group in groups:
        group.eachlabs = property(UnsupportedOnUse)
    if "dask.dataframe" in sys.modules:
        from dask.dataframe.extensions import register_dataframe_accessor  # loaded already: its user's choice

        register_dataframe_accessor("eachlabs")(UnsupportedAccessor)
