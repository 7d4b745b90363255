"""How a view is displayed in a notebook: its static HTML, and after it the widget, which hides the HTML while it lives.

Two outputs, because JupyterLab shows exactly one representation of an output, prefers a widget to HTML, and does not
fall back: where the kernel is gone it says "model not found". A static output beside the widget is shown then, by every
front end: JupyterLab, nbconvert, nbviewer, GitHub. What the HTML contains belongs to the views.

A progress bar is the exception: its widget lasts as long as its call, and is replaced by HTML at the end.

- While the view is alive, the browser's side hides the static output (`hideStatic` in ``web/pieces.js``).
- Where the model is missing, a style rule inside the static output hides JupyterLab's error message, which is the only
  content of a widget's output that has no element in it. GitHub removes the rule, and shows no widgets.
"""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any, Final

logger = logging.getLogger("eachlabs_frames")

VIEW: Final = "application/vnd.jupyter.widget-view+json"
MAX_AGE: Final = 30.0
"""Seconds after which the static output of a view that keeps changing is brought up to date."""

_RULE: Final = (
    ".jp-OutputArea-child:has(.eachlabs-static) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*))"
    "{display:none}"
)
# The output itself has this class only where the model was not found.
_RULE_UNFINISHED: Final = (
    ".jp-OutputArea-child:has(+ .jp-OutputArea-child > .jp-OutputArea-output.jupyter-widgets) .eachlabs-static"
    "{display:block!important}"
)


class NotebookOutput:
    """The outputs of one view, wherever it is displayed.

    Parameters
    ----------
    bundle : callable
        Gives the view's MIME bundle, perhaps with metadata, as ``_repr_mimebundle_`` does. Called by `display`.
    static : callable
        Gives ``text/html`` and ``text/plain`` as the view stands now; from any thread.

    Attributes
    ----------
    key : str
        Names the static output to the browser's side of the view, which has it as its trait ``static_key``.
    """

    def __init__(self, bundle: Callable[[], Any], static: Callable[[], dict[str, str]]) -> None:
        self._bundle = bundle
        self._static = static
        self._display_ids: list[str] = []
        self._displayed_at = 0.0
        self.key: Final = secrets.token_hex(6)

    def display(self) -> None:
        """Publish both outputs.

        Raises
        ------
        NotImplementedError
            This is no Jupyter kernel: IPython shows the MIME bundle then, as of any object.
        """
        if not in_kernel():
            raise NotImplementedError
        bundle = self._bundle() or self._static()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        view = data.get(VIEW)
        display_id = secrets.token_hex(8)
        _publish(self._wrapped({name: data[name] for name in ("text/plain", "text/html")}), {}, display_id)
        self._display_ids.append(display_id)
        self._displayed_at = time.monotonic()
        if view is not None and view.get("model_id"):
            # An empty text is what front ends show that know no widgets: the static output says it all.
            _publish({VIEW: view, "text/html": ""}, metadata)

    def refresh(self, max_age: float = 0.0) -> None:
        """Bring the static outputs up to date, unless that was done within `max_age` seconds. From any thread."""
        if not self._display_ids or time.monotonic() - self._displayed_at < max_age:
            return
        self._displayed_at = time.monotonic()
        self._replace(self._wrapped(self._static()))

    def remove(self) -> None:
        """Empty the static outputs: the view was taken away."""
        self._replace({"text/plain": "", "text/html": ""})
        self._display_ids.clear()

    def _replace(self, data: dict[str, Any]) -> None:
        for display_id in self._display_ids:
            try:
                _publish(data, {}, display_id, update=True)
            except Exception:
                # The kernel is going down, or its sockets are closed: the view itself is not affected.
                logger.debug("a static output could not be brought up to date", exc_info=True)

    def _wrapped(self, data: dict[str, str]) -> dict[str, str]:
        name = f"eachlabs-static eachlabs-static-{self.key}"
        return data | {"text/html": f'<div class="{name}"><style>{_RULE}</style>{data["text/html"]}</div>'}


class BarOutput:
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
        first = {"text/plain": text, "text/html": f"<style>{_RULE}{_RULE_UNFINISHED}</style>{html}"}
        view = {VIEW: bar.container._repr_mimebundle_()[VIEW], "text/html": ""}
        for data, display_id in zip((first, view), self._ids, strict=True):
            _publish(data, {}, display_id)

    def finish(self) -> None:
        """Replace the widget, when the bar is closed."""
        left, right = self._bar.format_meter(**self._bar.format_dict | {"bar_format": "{l_bar}<bar/>{r_bar}"}).split(
            "<bar/>"
        )
        drawn = f'<progress value="{self._bar.n}" max="{self._bar.total}" style="width:16em"></progress>'
        html = f"<div>{escape(left.rstrip('|'))} {drawn} {escape(right.lstrip('|'))}</div>"
        last = {"text/plain": str(self._bar), "text/html": html}
        for data, display_id in zip((last, {"text/plain": "", "text/html": ""}), self._ids, strict=True):
            _publish(data, {}, display_id, update=True)
        for widget in (*self._bar.container.children, self._bar.container):
            widget.close()


def in_kernel() -> bool:
    """Return whether this is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _publish(data: dict[str, Any], metadata: dict[str, Any], display_id: str | None = None, **more: Any) -> None:
    from IPython.display import display  # it is there, as there is a kernel

    display(data, metadata=metadata, raw=True, display_id=display_id, **more)  # type: ignore[no-untyped-call]
