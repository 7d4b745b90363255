"""The base class of the accessor's method groups: it holds the frame and runs calls on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import FrameTypeError
from ..frames.columns import check_attrs
from ..frames.table import Frame
from ..frames.unsupported import refusal

if TYPE_CHECKING:
    from ..aio.bridge import Call

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

    def __init__(self, frame: Frame) -> None:
        if not isinstance(frame, Frame):
            raise FrameTypeError(refusal(frame))
        check_attrs(frame)
        self._frame = frame

    def _run(self, make: Callable[[], Call[T]]) -> T:
        from ..aio.bridge import run
        from ..settings import current

        return run(make, kind=current().bridge)

    async def _run_async(self, make: Callable[[], Call[T]]) -> T:
        from ..aio.bridge import run_async

        return await run_async(make)
