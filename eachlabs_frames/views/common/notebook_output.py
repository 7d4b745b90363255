"""Displays a view in a notebook: its static HTML, and then the widget, which hides the HTML while it is alive.

Two outputs, because JupyterLab shows exactly one representation of an output, prefers a widget to HTML, and does not
fall back: without a kernel it shows "model not found". A separate static output is then shown by every front end:
JupyterLab, nbconvert, nbviewer, GitHub. The views provide the HTML.

- While the view is alive, the browser's side hides the static output (`hideStatic` in ``web/dom.js``).
- If the model is missing, a style rule inside the static output hides JupyterLab's error message, which is the only
  content of a widget's output that has no element in it. GitHub removes the rule, and shows no widgets.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from ...notebook import HIDE_MISSING_WIDGET, WIDGET_VIEW, in_kernel, publish

logger = logging.getLogger("eachlabs_frames")

MAX_AGE: Final = 30.0
"""Seconds after which the static output of a view that keeps changing is updated."""


class NotebookOutput:
    """The outputs of one view, wherever it is displayed.

    Parameters
    ----------
    bundle : callable
        Returns the view's MIME bundle, perhaps with metadata, as ``_repr_mimebundle_`` does. Called by `display`.
    static : callable
        Returns the current ``text/html`` and ``text/plain``, from any thread.

    Attributes
    ----------
    key : str
        Identifies the static output to the browser's side of the view, whose trait ``static_key`` it is.
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
            This is no Jupyter kernel: IPython then displays the MIME bundle, as it does for any object.
        """
        if not in_kernel():
            raise NotImplementedError
        bundle = self._bundle() or self._static()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        view = data.get(WIDGET_VIEW)
        display_id = secrets.token_hex(8)
        publish(self._wrapped({name: data[name] for name in ("text/plain", "text/html")}), {}, display_id)
        self._display_ids.append(display_id)
        self._displayed_at = time.monotonic()
        if view is not None and view.get("model_id"):
            # Front ends without widgets show the empty text: the static output is enough.
            publish({WIDGET_VIEW: view, "text/html": ""}, metadata)

    def refresh(self, max_age: float = 0.0) -> None:
        """Update the static outputs, unless that was done within `max_age` seconds. From any thread."""
        if not self._display_ids or time.monotonic() - self._displayed_at < max_age:
            return
        self._displayed_at = time.monotonic()
        self._replace(self._wrapped(self._static()))

    def remove(self) -> None:
        """Empty the static outputs, because the view was removed."""
        self._replace({"text/plain": "", "text/html": ""})
        self._display_ids.clear()

    def _replace(self, data: dict[str, Any]) -> None:
        for display_id in self._display_ids:
            try:
                publish(data, {}, display_id, update=True)
            except Exception:
                # The kernel is going down, or its sockets are closed: the view itself is not affected.
                logger.debug("a static output could not be updated", exc_info=True)

    def _wrapped(self, data: dict[str, str]) -> dict[str, str]:
        name = f"eachlabs-static eachlabs-static-{self.key}"
        return data | {
            "text/html": f'<div class="{name}"><style>{HIDE_MISSING_WIDGET}</style>{data["text/html"]}</div>'
        }
