"""Whether this process is a Jupyter kernel, and how MIME data is published to its front end. Imports IPython lazily."""

from __future__ import annotations

import sys
from typing import Any, Final

WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"

HIDE_MISSING_WIDGET: Final = (
    ".jp-OutputArea-child:has(.eachlabs-static) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*))"
    "{display:none}"
)
"""A style rule beside a static output: hides the error that JupyterLab shows after it where a widget has no model."""


def in_kernel() -> bool:
    """Return whether this is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def publish(data: dict[str, Any], metadata: dict[str, Any], display_id: str | None = None, **more: Any) -> None:
    """Publish MIME data as an output of the running cell, or as the update of the output with this id."""
    from IPython.display import display  # always installed in a kernel

    display(data, metadata=metadata, raw=True, display_id=display_id, **more)
