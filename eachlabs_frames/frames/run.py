"""``Run``: a call in the background, as its user sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..tracebacks import short
from .calls import Calls
from .course import Course
from .desk import Desk, shown, still

if TYPE_CHECKING:
    from ..views.dashboard import Dashboard
    from ..views.gallery import Gallery


class Run:
    """A call at work in the background; `start` makes it.

    It goes on whatever the notebook does, and a Ctrl-C that interrupts a wait for it does not end it: `cancel` does.
    When the process ends, what is still at work is stopped as by `cancel`: in a script, ask for the `result`.

    Failed rows that are retried in one of its dashboards are part of it: `frame` and `status` show the new executions,
    `done` is False until they have ended, and `result` and ``await`` wait for them.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     run = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.start("wf_abc123")
    ...     out = run.result()
    >>> run.done, run.status
    (True, {'completed': 2})
    """

    def __init__(self, course: Course) -> None:
        self._calls = Calls(course)

    @property
    def frame(self) -> pd.DataFrame:
        """The result so far, as `bulk_trigger` returns it: the rows in their order, ``pending`` where not sent yet."""
        return self._calls.frame

    @property
    def status(self) -> Mapping[str, int]:
        """How many rows have each status; those that none has are left out."""
        return self._calls.status

    @property
    def done(self) -> bool:
        """Whether it has ended: all is settled (with ``track=False``, sent), or it was cancelled, or it failed."""
        return self._calls.done

    @property
    def name(self) -> str | None:
        """The run's name in the journal, once it is known: `load_run` takes it."""
        return self._calls.origin.run

    @property
    def interval(self) -> float:
        """Seconds between two looks at the executions, at least. May be changed at any time."""
        return self._calls.interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._calls.interval = seconds

    def cancel(self) -> None:
        """Stop it, as an interrupt would: nothing new is sent, and the answers in flight are kept.

        Returns at once; `result` waits for the end, at most 10 s, or no longer where this is called a second time.
        Executions that the API has accepted go on there, and are paid.
        """
        self._calls.cancel()

    def result(self, timeout: float | None = None) -> pd.DataFrame:
        """Wait for the end, and return the frame as `bulk_trigger` would.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None: for as long as it takes.

        Returns
        -------
        pandas.DataFrame
            With every row. After `cancel`, those that were not sent are ``pending``.

        Raises
        ------
        TimeoutError
            It is still at work, and goes on.
        BridgeError
            From inside a progress callback.
        EachlabsError
            What ended it, as `bulk_trigger` would raise it. A retry that failed before it could send raises nothing:
            the rows are as they were, and the dashboard shows the error.
        """
        with short():
            return self._result(timeout)

    def _result(self, timeout: float | None) -> pd.DataFrame:
        try:
            is_done = self._calls.wait(timeout)
        except KeyboardInterrupt as exc:
            exc.args = exc.args or (self._left(),)
            raise
        if not is_done:
            msg = f"the run is not done after {timeout:g} s, and continues: {self!r}"
            raise TimeoutError(msg)
        return self._calls.result()

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        """Wait as `result` does, without holding up the running event loop."""
        return self._awaited().__await__()

    def dashboard(
        self,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        auto_refresh: bool | None = None,
        interval: float | None = None,
    ) -> Dashboard:
        """Show how it goes, per ``bulk_id``, as `df.eachlabs.dashboard` does; with buttons to cancel and to retry.

        Parameters
        ----------
        label : label or list of labels, optional
            As for `df.eachlabs.dashboard`.
        auto_refresh : bool, optional
            Look on in the background where the run has ended and executions are open; by default in a notebook.
        interval : float, optional
            Seconds between two looks, at least; as the run has it by default.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `interval` is no positive number.
        """
        interval = self.interval if interval is None else interval
        return shown(Desk(self._calls, label=label), auto_refresh=auto_refresh, interval=interval)

    def gallery(
        self,
        label: Hashable | Sequence[Hashable] | None = None,
        *,
        columns: int = 4,
        size: float = 220,
        page: int = 100,
    ) -> Gallery:
        """Show a card for each row, which fills in as its execution completes, as `df.eachlabs.gallery` does.

        It shows what the run hears, and looks at nothing by itself.

        Parameters
        ----------
        label, columns, size, page
            As for `df.eachlabs.gallery`.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `columns`, `size` or `page` is no number that can be used.
        """
        from .sheets import gallery

        return gallery(self._calls, label=label, columns=columns, size=size, page=page)

    def __repr__(self) -> str:
        from ..views.summary import sentence

        return f"<{sentence(self._calls.summary())}>"

    def _repr_html_(self) -> str:
        from ..views.summary import html

        return html(still(self._calls))

    async def _awaited(self) -> pd.DataFrame:
        with short():
            try:
                await self._calls.ended()
            except asyncio.CancelledError as exc:
                exc.args = (self._left(),)
                raise
            return self._calls.result()

    def _left(self) -> str:
        return f"no longer waiting; the run continues: {self!r}; cancel() stops it"
