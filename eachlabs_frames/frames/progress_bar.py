"""One tqdm bar for a whole call. Shown in a notebook and on a terminal; nowhere else, unless asked for."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Final, Literal

from ..errors import ConfigurationError
from ..models import COMPLETED, FAILED, INVALID, UNKNOWN, Event, Observer
from ..money import format_usd
from ..notebook import HIDE_MISSING_WIDGET, WIDGET_VIEW, in_kernel, publish

logger = logging.getLogger("eachlabs_frames")

FILES: Final = ("downloaded", "complete", "failed")
SHOWN: Final = (COMPLETED, FAILED, INVALID, UNKNOWN)
MAX_NOTE_LENGTH: Final = 100
REDRAWN: Final = ("waiting", "resumed", "uploading", "stopped")
"""Events that change the note, and perhaps not the number of rows that are done."""

# The output itself has this class only where the model was not found.
_SHOW_UNFINISHED: Final = (
    ".jp-OutputArea-child:has(+ .jp-OutputArea-child > .jp-OutputArea-output.jupyter-widgets) .eachlabs-static"
    "{display:block!important}"
)


def check(progress: object) -> None:
    """Refuse a ``progress=`` that is neither None, a bool nor a callable."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        msg = f"progress must be None, True, False or a callable; got {progress!r}"
        raise ConfigurationError(msg)


@contextmanager
def observing(
    progress: bool | Observer | None, *, total: int, what: str, unit: Literal["row", "file"] = "row"
) -> Iterator[Observer | None]:
    """Give the observer that ``progress=`` asks for, and close its bar in the end.

    Parameters
    ----------
    progress : bool, callable or None
        None shows a bar where somebody may be looking.
    total : int
        Rows that the call is about, or files.
    what : str
        What stands before the bar.
    unit : {"row", "file"}
        What is counted.
    """
    if callable(progress):
        yield progress
        return
    if progress is False or total == 0 or (progress is None and not somebody_looks()):
        yield None
        return
    from tqdm import notebook
    from tqdm.auto import tqdm  # chooses between a widget and text, and takes 10 ms to import

    in_notebook = in_kernel() and issubclass(tqdm, notebook.tqdm_notebook)
    options: dict[str, Any] = {"display": False} if in_notebook else {}
    bar = tqdm(total=total, desc=what, unit=unit, dynamic_ncols=True, **options)
    output = _BarOutput(bar) if in_notebook else None
    try:
        yield Bar(bar, describe if unit == "row" else describe_files)
    finally:
        try:
            bar.close()
            if output is not None:
                output.finish()
        except Exception:
            # The terminal or the notebook is gone: no reason for a call that has paid for rows to fail.
            logger.exception("the progress bar could not be closed")


class Bar:
    """An observer that moves a tqdm bar."""

    def __init__(self, bar: Any, describe: Callable[[Event], str]) -> None:
        self._bar = bar
        self._describe = describe

    def __call__(self, event: Event) -> None:
        """Show one event; tqdm itself decides how often it draws."""
        self._bar.set_postfix_str(self._describe(event), refresh=event.kind in REDRAWN)
        self._bar.update(event.done - self._bar.n)


class _BarOutput:
    """The outputs of a tqdm bar of a notebook: its widget while the call goes on, then its last state as HTML.

    Parameters
    ----------
    bar : tqdm.notebook.tqdm_notebook
        One that was not displayed.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._ids: Final = (secrets.token_hex(8), secrets.token_hex(8))
        text = f"{bar.desc}: running when this notebook was saved"
        # Not seen beside the bar: only where the notebook was saved, and the kernel ended, before the call did.
        html = f'<div class="eachlabs-static" style="display:none">{escape(text)}</div>'
        first = {"text/plain": text, "text/html": f"<style>{HIDE_MISSING_WIDGET}{_SHOW_UNFINISHED}</style>{html}"}
        view = {WIDGET_VIEW: bar.container._repr_mimebundle_()[WIDGET_VIEW], "text/html": ""}
        for data, display_id in zip((first, view), self._ids, strict=True):
            publish(data, {}, display_id)

    def finish(self) -> None:
        """Replace the widget, when the bar is closed."""
        left, right = self._bar.format_meter(**self._bar.format_dict | {"bar_format": "{l_bar}<bar/>{r_bar}"}).split(
            "<bar/>"
        )
        drawn = f'<progress value="{self._bar.n}" max="{self._bar.total}" style="width:16em"></progress>'
        html = f"<div>{escape(left.rstrip('|'))} {drawn} {escape(right.lstrip('|'))}</div>"
        last = {"text/plain": str(self._bar), "text/html": html}
        for data, display_id in zip((last, {"text/plain": "", "text/html": ""}), self._ids, strict=True):
            publish(data, {}, display_id, update=True)
        for widget in (*self._bar.container.children, self._bar.container):
            widget.close()


def describe(event: Event) -> str:
    """Return the counts that stand behind the bar, and what is waited for."""
    parts = [f"accepted={event.accepted}"]
    parts += [f"{status}={event.tally[status]}" for status in SHOWN if event.tally.get(status)]
    if event.balance_usd is not None:
        parts.append(f"balance {format_usd(event.balance_usd)}")
    if event.waiting_for:
        parts.append(event.waiting_for[:MAX_NOTE_LENGTH])
    return ", ".join(parts)


def describe_files(event: Event) -> str:
    """Return the counts that stand behind the bar of a download."""
    return ", ".join(f"{word}={event.tally[word]}" for word in FILES if event.tally.get(word))


def somebody_looks() -> bool:
    """Say whether what is shown may be seen: in a notebook or on a terminal."""
    return in_kernel() or (sys.stdout is not None and sys.stdout.isatty())
