"""The base class of the accessor's method groups: it holds the frame and runs engine code synchronously."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from ..errors import FrameTypeError
from ..frames.columns import check_attrs
from ..frames.unsupported import refusal

if TYPE_CHECKING:
    from ..aio.bridge import Steps

T = TypeVar("T")


class AccessorBase:
    """Base class of the accessor's method groups.

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

    def __init__(self, frame: pd.DataFrame) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise FrameTypeError(refusal(frame))
        check_attrs(frame)
        self._frame = frame

    def _complete(self, steps: Steps[T]) -> T:
        from ..aio.bridge import call, complete
        from ..settings import current

        return complete(steps, call=partial(call, kind=current().bridge))
