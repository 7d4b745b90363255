"""What IPython shows of an exception: the user's frames and its message, without the frames of this package.

Owns which frames and causes are left out. It never changes an exception: a debugger sees all of it.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Final

MAX_LINES: Final = 15
"""Maximum number of lines shown for an interrupt."""

_OWN: Final = str(Path(__file__).parent) + os.sep
_LIBRARIES: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")} - {None}
)
_MIN_PARTS: Final = 3
"""The heading, a frame and the message: IPython's formatter returns a string for each."""
_INTERRUPTS: Final = (KeyboardInterrupt, CancelledError)


@contextmanager
def short() -> Iterator[None]:
    """Have IPython show exceptions of any class that leave this block without the frames of this package.

    Unexpected exceptions from inside of this package are not changed: they are bugs of ours.
    """
    try:
        yield
    except BaseException as exc:
        is_short = isinstance(exc, _INTERRUPTS) or _is_users(exc.__traceback__)
        if is_short and not hasattr(exc, "_render_traceback_"):
            exc._render_traceback_ = _renderer(exc)  # type: ignore[attr-defined]  # IPython's protocol
        raise


def render(exc: BaseException) -> list[str]:
    """Return what IPython shows of `exc`, whose method ``_render_traceback_`` calls this."""
    chain = [exc]
    while (cause := _explanation(chain[-1])) is not None and cause not in chain:
        chain.append(cause)
    with _replaced(chain):
        lines = _rendered(exc)
    return _bounded(lines) if isinstance(exc, _INTERRUPTS) else lines


def _bounded(parts: list[str]) -> list[str]:
    """Cut the innermost frames, and what is still too long: the call in the cell and the message are enough."""
    while len(parts) > _MIN_PARTS and "\n".join(parts).count("\n") >= MAX_LINES:
        del parts[-2]
    lines = "\n".join(parts).splitlines()
    return lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 2], "...", lines[-1]]


def _rendered(exc: BaseException) -> list[str]:
    """Return the lines of IPython's own formatter, in the mode and the colours that the user has chosen."""
    try:
        from IPython.core.getipython import get_ipython

        shell: Any = get_ipython()
        return list(shell.InteractiveTB.structured_traceback(type(exc), exc, exc.__traceback__))
    except Exception:  # noqa: BLE001  # an exception must be shown, whatever this IPython is like
        return "".join(traceback.format_exception(exc)).splitlines()


def _renderer(exc: BaseException) -> Callable[[], list[str]]:
    return lambda: render(exc)


@contextmanager
def _replaced(chain: list[BaseException]) -> Iterator[None]:
    """Replace the frames and causes of these exceptions by those that are shown, inside this block."""
    before = [(exc, exc.__traceback__, exc.__cause__, exc.__context__, exc.__suppress_context__) for exc in chain]
    try:
        for exc, cause in zip(chain, [*chain[1:], None], strict=True):
            exc.__traceback__ = _shown(exc.__traceback__)
            exc.__context__ = None
            exc.__cause__ = cause
        yield
    finally:
        for exc, frames, cause, context, suppress in before:
            exc.__cause__, exc.__context__, exc.__traceback__ = cause, context, frames
            exc.__suppress_context__ = suppress


def _shown(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without this package's frames and those of libraries that it has called.

    A function of the user's that this package has called is shown, with all that it called itself.
    """
    kept: list[TracebackType] = []
    inside = False
    while frames is not None:
        code = frames.tb_frame.f_code
        inside = _is_own(code) or (inside and _is_library(code))
        if not inside:
            kept.append(frames)
        frames = frames.tb_next
    shown: TracebackType | None = None
    for entry in reversed(kept):
        shown = TracebackType(shown, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return shown


def is_bare(exc: BaseException) -> bool:
    """Return whether `exc` is an interrupt without a message or cause."""
    return isinstance(exc, _INTERRUPTS) and not exc.args and exc.__cause__ is None


def _explanation(exc: BaseException) -> BaseException | None:
    """Return the nearest cause that was raised in a function of the user's: it says more than `exc`."""
    cause = _cause(exc)
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:
        if not is_bare(cause) and _has_users(cause.__traceback__):
            return cause
        seen.append(cause)
        cause = _cause(cause)
    return None


def _cause(exc: BaseException) -> BaseException | None:
    return exc.__cause__ if exc.__cause__ is not None or exc.__suppress_context__ else exc.__context__


def _has_users(frames: TracebackType | None) -> bool:
    return any(not _is_own(code) and not _is_library(code) for code in _codes(frames))


def _is_users(frames: TracebackType | None) -> bool:
    """Return whether this package had called the user's code when the exception was raised."""
    own = users = -1
    for depth, code in enumerate(_codes(frames)):
        if _is_own(code):
            own = depth
        elif not _is_library(code):
            users = depth
    return users > own


def _codes(frames: TracebackType | None) -> Iterator[CodeType]:
    while frames is not None:
        yield frames.tb_frame.f_code
        frames = frames.tb_next


def _is_own(code: CodeType) -> bool:
    return code.co_filename.startswith(_OWN)


def _is_library(code: CodeType) -> bool:
    name = code.co_filename
    return name.startswith((*_LIBRARIES, "<frozen")) or name.endswith((".pyx", ".pxi"))
