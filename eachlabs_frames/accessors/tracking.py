"""Accessor methods that read the state of executions: `refresh` and `wait` (sync and async), and `summary`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..frames.table import Frame
from .method_group import AccessorBase

if TYPE_CHECKING:
    from ..aio.bridge import Call
    from ..models import Observer
    from ..webhooks.receiver import WebhookReceiver


class TrackMethods(AccessorBase):
    """Methods that poll executions and count their states."""

    def refresh(self, *, workflow_id: str | None = None, prefix: str | None = None) -> Frame:
        """Poll every row that is not settled, once.

        Parameters
        ----------
        workflow_id : str, optional
            Required only if the frame's attrs were lost (a merge, a CSV file) and the journal does not have its rows.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.

        Returns
        -------
        pandas.DataFrame
            A new frame with the current ``status``, ``error``, times, ``output`` and ``cost`` of each row.

        Raises
        ------
        ColumnError
            The frame holds no result; or its attrs were lost, and its rows are of several workflows or unknown to the
            journal.
        APIError
            The API refused the request or did not respond.
        """
        return self._run(self._refresh(workflow_id=workflow_id, prefix=prefix))

    async def refresh_async(self, *, workflow_id: str | None = None, prefix: str | None = None) -> Frame:
        """Async variant of `refresh`; it does not block the running event loop."""
        return await self._run_async(self._refresh(workflow_id=workflow_id, prefix=prefix))

    def wait(
        self,
        timeout: float | None = None,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        webhook: WebhookReceiver | None = None,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Poll every 1 to 15 s until every row is settled; with ``webhook=`` wait for its deliveries instead.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which the frame so far is returned, with an `UnsettledWarning`; no limit by default.
        workflow_id, prefix
            As for `refresh`.
        webhook : WebhookReceiver, optional
            The receiver that the rows were triggered with: after a first poll, its deliveries are awaited, and the API
            is polled only every ``webhook.sweep`` seconds.
        progress : bool or callable, optional
            As for `bulk_trigger`.

        Returns
        -------
        pandas.DataFrame
            A new frame, as from `refresh`. Rows that are ``pending`` or ``unknown`` are not waited for.

        Raises
        ------
        ColumnError
            The frame holds no result; or its attrs were lost, and its rows are of several workflows or unknown to the
            journal.
        APIError
            401, 403, 404. Server and network errors are retried.
        """
        return self._run(
            self._wait(timeout=timeout, workflow_id=workflow_id, prefix=prefix, webhook=webhook, progress=progress)
        )

    async def wait_async(
        self,
        timeout: float | None = None,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        webhook: WebhookReceiver | None = None,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Async variant of `wait`; it does not block the running event loop."""
        return await self._run_async(
            self._wait(timeout=timeout, workflow_id=workflow_id, prefix=prefix, webhook=webhook, progress=progress)
        )

    def summary(self, *, prefix: str | None = None) -> Frame:
        """Count rows per bulk operation and status, and sum the costs, without a request to the API.

        Parameters
        ----------
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.

        Returns
        -------
        pandas.DataFrame
            One row per ``bulk_id`` (string; missing for rows without one) in order of first appearance: ``total`` and a
            count (int64) per status, ``superseded`` (int64) and ``cost`` (float64, USD, as far as known). If rows were
            triggered again, a last row without a ``bulk_id`` and with ``total`` 0 has the number and cost of their
            earlier executions, so the sum of ``cost`` is the total that was paid. The display omits counts that are 0
            in every row, and names them.

        Raises
        ------
        ColumnError
            The frame holds no result.
        """
        from ..frames import track

        return track.summary(self._frame, prefix=prefix)

    def bill(self, *, steps: bool = False, prefix: str | None = None, progress: bool | Observer | None = None) -> Frame:
        """Return what the executions have cost, by status. The sum of ``cost`` is what was paid.

        It is the bill of the whole run, also of rows that this frame has no longer, if the journal has the run; else
        that of this frame's rows. ``attrs["eachlabs_bill"]`` says which.

        Parameters
        ----------
        steps : bool, default False
            Split the costs by model. This reads the details of every execution from the API; what they do not state
            of a step is a row without a model.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.
        progress : bool or callable, optional
            With `steps`, as for `bulk_trigger`.

        Returns
        -------
        pandas.DataFrame
            One row per ``status`` (string), and with `steps` per ``model`` (string; missing for what is not stated by
            step): ``executions`` (int64), ``cost`` (float64, USD, as far as known), ``share`` of the total (float64,
            0 to 1; NaN if nothing was paid) and ``unknown`` (int64: executions whose cost is not known, lost ones
            included). Rows without an execution are not in it. Executions of rows that were triggered again have the
            status ``superseded``. With `steps`, an execution counts once for each of its models.

        Raises
        ------
        ColumnError
            The frame holds no result.
        APIError
            With `steps`: 401, 403, or no response.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start(queue_seconds=0, run_seconds=(0, 0)):
        ...     out = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
        >>> out.eachlabs.bill().to_dict("records")
        [{'status': 'completed', 'executions': 2, 'cost': 0.02, 'share': 1.0, 'unknown': 0}]
        """
        from ..aio.bridge import ReadCall
        from ..frames.costs import bill

        function = partial(bill.bill, self._frame, steps=steps, prefix=prefix, progress=progress)
        return self._run(lambda: ReadCall(function))

    def _refresh(self, **options: Any) -> Callable[[], Call[Frame]]:
        from ..aio.bridge import ReadCall
        from ..frames import track

        return lambda: ReadCall(partial(track.refresh, self._frame, **options))

    def _wait(self, **options: Any) -> Callable[[], Call[Frame]]:
        from ..frames import track

        return lambda: track.WaitCall(self._frame, **options)
