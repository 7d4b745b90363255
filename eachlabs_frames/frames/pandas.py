"""``df.eachlabs``: the accessor of a pandas DataFrame, and how it is registered."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .doors.fetching import Fetching
from .doors.looking import Looking
from .doors.sending import Sending
from .doors.tracking import Tracking


class EachlabsAccessor(Sending, Tracking, Fetching, Looking):
    """The each::labs workflow API for the rows of a DataFrame.

    Raises
    ------
    FrameTypeError
        Not a pandas DataFrame.
    """


def accessor(frame: pd.DataFrame) -> EachlabsAccessor:
    """Return ``frame.eachlabs``, with a type that every type checker and editor knows.

    Parameters
    ----------
    frame : pandas.DataFrame

    Raises
    ------
    FrameTypeError
        Not a pandas DataFrame.

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
    """Register ``df.eachlabs``."""
    pd.api.extensions.register_dataframe_accessor("eachlabs")(EachlabsAccessor)
    setattr(pd.DataFrame, "eachlabs", _AccessorProperty(accessor))  # noqa: B010 - its type has no such attribute
