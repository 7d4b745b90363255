"""How a view is displayed in a notebook: its static HTML, and after it the widget, which hides the HTML while it lives.

Two outputs, because JupyterLab shows exactly one representation of an output, prefers a widget to HTML, and does not
fall back: where the kernel is gone it says "model not found". A static output beside the widget is shown then, by every
front end: JupyterLab, nbconvert, nbviewer, GitHub. What the HTML contains belongs to the views.

- While the view is alive, the browser's side hides the static output (`hideStatic` in ``web/dom.js``).
- Where the model is missing, a style rule inside the static output hides JupyterLab's error message, which is the only
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
"""Seconds after which the static output of a view that keeps changing is brought up to date."""


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
        view = data.get(WIDGET_VIEW)
        display_id = secrets.token_hex(8)
        publish(self._wrapped({name: data[name] for name in ("text/plain", "text/html")}), {}, display_id)
        self._display_ids.append(display_id)
        self._displayed_at = time.monotonic()
        if view is not None and view.get("model_id"):
            # An empty text is what front ends show that know no widgets: the static output says it all.
            publish({WIDGET_VIEW: view, "text/html": ""}, metadata)

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
                publish(data, {}, display_id, update=True)
            except Exception:
                # The kernel is going down, or its sockets are closed: the view itself is not affected.
                logger.debug("a static output could not be brought up to date", exc_info=True)

    def _wrapped(self, data: dict[str, str]) -> dict[str, str]:
        name = f"eachlabs-static eachlabs-static-{self.key}"
        return data | {
            "text/html": f'<div class="{name}"><style>{HIDE_MISSING_WIDGET}</style>{data["text/html"]}</div>'
        }
