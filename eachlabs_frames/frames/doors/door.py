"""What every room of ``df.eachlabs`` stands on: the frame, and the way from synchronous code to the engine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from ...errors import FrameTypeError
from ..refusals import refusal
from ..results import check_attrs

if TYPE_CHECKING:
    from ...engine.loop import Steps

T = TypeVar("T")


class Door:
    """A frame that something is asked of.

    Raises
    ------
    FrameTypeError
        Not a pandas DataFrame.
    ColumnError
        An entry of ``df.attrs`` cannot be copied, and so no new frame be made of this one.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise FrameTypeError(refusal(frame))
        check_attrs(frame)
        self._frame = frame

    def _complete(self, steps: Steps[T]) -> T:
        from ...engine.loop import call, complete
        from ...settings import current

        return complete(steps, call=partial(call, kind=current().bridge))
