"""What shows results to people, in a notebook or a file: `dashboard`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .door import Door

if TYPE_CHECKING:
    from ...views.dashboard import Dashboard


class Looking(Door):
    """Results become something to look at."""

    def dashboard(
        self,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        auto_refresh: bool | None = None,
        interval: float = 2.0,
    ) -> Dashboard:
        """Show a widget with a line per ``bulk_id``, which follows the executions until all have ended.

        This frame is taken as it is now, and never written; the widget's ``frame`` is the result as it shows it.

        Parameters
        ----------
        workflow_id, prefix
            As for `refresh`.
        auto_refresh : bool, optional
            Look at the executions in the background until all have ended; by default in a notebook.
        interval : float, default 2.0
            Seconds between two looks, at least.

        Returns
        -------
        Dashboard
            An ipywidgets container. Where there are no widgets it shows a table of the same, as HTML or text.

        Raises
        ------
        ConfigurationError
            `interval` is no positive number.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames
        >>> print(pd.DataFrame({"prompt": ["a fox"]}).eachlabs.dashboard())
        No row of this frame was triggered yet (1 row)
        """
        from ..desk import Desk, shown

        desk = Desk(self._frame, workflow_id=workflow_id, prefix=prefix)
        return shown(desk, auto_refresh=auto_refresh, interval=interval)
