"""``Run``: the public handle of a run in the background. It owns no state; `Calls` does."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..frames.background_run import BackgroundRun
from ..frames.calls import Calls
from ..frames.table import Frame
from ..tracebacks import short

if TYPE_CHECKING:
    from ..views.dashboard.widget import Dashboard
    from ..views.gallery.widget import Gallery


class Run:
    """A run in the background, returned by ``df.eachlabs.start``.

    The run continues while other cells are executed. Ctrl-C during `result` stops the waiting, not the run; `cancel`
    stops the run. When the process exits, a run that is not done is stopped as by `cancel`, so a script has to call
    `result`. ``await run`` is the async variant of `result`.

    Failed rows that are retried in a dashboard of this run belong to the run: `frame` and `status` show the new
    executions, `done` is False until the retry has ended, and `result` and ``await`` wait for it.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     run = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.start("wf_abc123")
    ...     out = run.result()
    >>> run.done, run.status
    (True, {'completed': 2})
    """

    def __init__(self, course: BackgroundRun) -> None:
        self._calls = Calls(course)

    @property
    def frame(self) -> Frame:
        """A new DataFrame with the result so far, as `bulk_trigger` returns it; rows not sent yet are ``pending``."""
        return self._calls.frame

    @property
    def status(self) -> Mapping[str, int]:
        """The number of rows per status. A status without rows is left out."""
        return self._calls.status

    @property
    def done(self) -> bool:
        """Whether the run has ended: all rows are settled (sent, if ``track=False``), or it was cancelled or failed."""
        return self._calls.done

    @property
    def name(self) -> str | None:
        """The run's name in the journal, for `load_run`. None before the run is recorded, or without a journal."""
        return self._calls.origin.run

    @property
    def interval(self) -> float:
        """Minimum number of seconds between two polls. It can be set at any time; the smallest value is 0.2.

        Raises
        ------
        ConfigurationError
            It is set to a value that is not a positive number.
        """
        return self._calls.interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._calls.interval = seconds

    def cancel(self) -> None:
        """Stop sending and polling. Responses to requests in flight are still recorded.

        This returns immediately. The run ends when these responses have arrived, after about 10 s at most; `result`
        waits for that. A second call ends the run without them. Executions that the API has accepted continue there and
        are billed.
        """
        self._calls.cancel()

    def result(self, timeout: float | None = None) -> Frame:
        """Wait until the run has ended and return the frame, as `bulk_trigger` does.

        Parameters
        ----------
        timeout : float, optional
            Maximum time to wait, in seconds. By default there is no limit.

        Returns
        -------
        pandas.DataFrame
            A new frame with all rows in their order. After `cancel`, rows that were not sent are ``pending``.

        Raises
        ------
        TimeoutError
            The run has not ended within `timeout` seconds. It continues.
        KeyboardInterrupt
            On Ctrl-C. The run continues.
        BridgeError
            Called from a progress callback, or in a process forked from the one that started the run.
        EachlabsError
            The run failed; the error is the one that `bulk_trigger` would raise. A retry that failed before it sent
            anything raises nothing: the rows are unchanged, and the dashboard shows the error.
        """
        with short():
            return self._result(timeout)

    def _result(self, timeout: float | None) -> Frame:
        try:
            is_done = self._calls.wait(timeout)
        except KeyboardInterrupt as exc:
            exc.args = exc.args or (self._left(),)
            raise
        if not is_done:
            msg = f"the run is not done after {timeout:g} s, and continues: {self!r}"
            raise TimeoutError(msg)
        return self._calls.result()

    def __await__(self) -> Generator[Any, None, Frame]:
        """Async variant of `result`; it does not block the running event loop. Cancelling it does not stop the run."""
        return self._awaited().__await__()

    def dashboard(
        self,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        auto_refresh: bool | None = None,
        interval: float | None = None,
    ) -> Dashboard:
        """Show a live widget with one line per ``bulk_id``, and buttons to cancel the run and to retry failed rows.

        Parameters
        ----------
        label : label or list of labels, optional
            As for `df.eachlabs.dashboard`.
        auto_refresh : bool, optional
            If the run has ended and executions are still in progress, poll them in the background until they have
            ended; by default in a notebook.
        interval : float, optional
            Sets the run's `interval`, in seconds; unchanged by default.

        Returns
        -------
        Dashboard
            An ipywidgets container. Without widget support it shows the same as a table, as HTML or text.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `interval` is not a positive number.
        """
        interval = self.interval if interval is None else interval
        from ..views.dashboard.widget import dashboard

        return dashboard(self._calls, label=label, auto_refresh=auto_refresh, interval=interval)

    def gallery(
        self,
        label: Hashable | Sequence[Hashable] | None = None,
        *,
        columns: int = 4,
        size: float = 220,
        page: int = 100,
    ) -> Gallery:
        """Show a contact sheet with a card for each row; a card is updated when its execution completes.

        The gallery shows the run's results as they arrive. It does not poll by itself.

        Parameters
        ----------
        label, columns, size, page
            As for `df.eachlabs.gallery`.

        Returns
        -------
        Gallery
            An ipywidgets container; ``save("sheet.html")`` writes it to a file. Without widget support it shows the
            first 60 cards as HTML, or the rows as text.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `columns`, `size` or `page` is not a valid number.
        """
        from ..views.gallery.widget import gallery

        return gallery(self._calls, label=label, columns=columns, size=size, page=page)

    def __repr__(self) -> str:
        from ..views.common.status_text import sentence

        return f"<{sentence(self._calls.summary())}>"

    def _repr_html_(self) -> str:
        from ..views.dashboard.source import snapshot
        from ..views.dashboard.static import html

        return html(snapshot(self._calls))

    async def _awaited(self) -> Frame:
        with short():
            try:
                await self._calls.ended()
            except asyncio.CancelledError as exc:
                exc.args = (self._left(),)
                raise
            return self._calls.result()

    def _left(self) -> str:
        return f"no longer waiting; the run continues: {self!r}; cancel() stops it"
