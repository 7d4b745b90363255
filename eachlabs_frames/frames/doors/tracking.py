"""What asks how the executions stand: `refresh` and `wait`, in both dresses, and `summary`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from .door import Door

if TYPE_CHECKING:
    from ...engine.loop import Steps
    from ...models import Observer
    from ..webhook import WebhookReceiver


class Tracking(Door):
    """Executions become results."""

    def refresh(self, *, workflow_id: str | None = None, prefix: str | None = None) -> pd.DataFrame:
        """Look once at every row that is not settled.

        Parameters
        ----------
        workflow_id : str, optional
            Needed only where the frame's attrs were lost, in a merge or a CSV file, and the journal does not know its
            rows either.
        prefix : str, optional
            Which result, where the frame holds several; the latest by default.

        Returns
        -------
        pandas.DataFrame
            A new frame, with ``status``, ``error``, times, ``output`` and ``cost`` as the API gives them now.

        Raises
        ------
        ColumnError
            The frame holds no result; or its attrs were lost, and its rows are of several workflows or unknown to the
            journal.
        APIError
            Refused, or no answer at all.
        """
        from .. import track

        return self._complete(track.refresh(self._frame, workflow_id=workflow_id, prefix=prefix))

    async def refresh_async(self, *, workflow_id: str | None = None, prefix: str | None = None) -> pd.DataFrame:
        """Do as `refresh`, without holding up the running event loop."""
        from ...engine.loop import complete_async
        from .. import track

        return await complete_async(track.refresh(self._frame, workflow_id=workflow_id, prefix=prefix))

    def wait(
        self,
        timeout: float | None = None,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        webhook: WebhookReceiver | None = None,
        progress: bool | Observer | None = None,
    ) -> pd.DataFrame:
        """Look again and again, every 1 to 15 s, until every row is settled; with ``webhook=`` hear of it instead.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which the frame is returned as it stands, with an `UnsettledWarning`; None: never.
        workflow_id, prefix
            As for `refresh`.
        webhook : WebhookReceiver, optional
            The one that the rows were triggered with: after a first look, what is delivered to it is waited for, and
            the API asked only every ``webhook.sweep`` seconds.
        progress : bool or callable, optional
            As for `bulk_trigger`.

        Returns
        -------
        pandas.DataFrame
            A new frame, as from `refresh`. Rows that are pending or unknown are not waited for.

        Raises
        ------
        ColumnError
            The frame holds no result; or its attrs were lost, and its rows are of several workflows or unknown to the
            journal.
        APIError
            401, 403, 404. Failing servers and networks are waited out.
        """
        return self._complete(self._wait(timeout, workflow_id, prefix, webhook, progress))

    async def wait_async(
        self,
        timeout: float | None = None,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        webhook: WebhookReceiver | None = None,
        progress: bool | Observer | None = None,
    ) -> pd.DataFrame:
        """Do as `wait`, without holding up the running event loop."""
        from ...engine.loop import complete_async

        return await complete_async(self._wait(timeout, workflow_id, prefix, webhook, progress))

    def summary(self, *, prefix: str | None = None) -> pd.DataFrame:
        """Count rows per bulk operation and status, and sum up what was paid, without asking the API.

        Returns
        -------
        pandas.DataFrame
            One line per ``bulk_id`` (string; missing for rows that went with none) in order of first appearance:
            ``total`` and a count (int64) per status, ``superseded`` (int64) and ``cost`` (float64, USD, as far as it
            is known). Where rows were triggered again, a last line without a ``bulk_id`` and with ``total`` 0 has the
            number and the cost of the executions that they had before: the sum of ``cost`` is all that was paid. Its
            display leaves out counts that are 0 in every line, and names them.

        Raises
        ------
        ColumnError
            The frame holds no result.
        """
        from .. import track

        return track.summary(self._frame, prefix=prefix)

    def _wait(self, timeout: Any, workflow_id: Any, prefix: Any, webhook: Any, progress: Any) -> Steps[pd.DataFrame]:
        from .. import track

        return track.wait(
            self._frame,
            timeout=timeout,
            workflow_id=workflow_id,
            prefix=prefix,
            webhook=webhook,
            progress=progress,
        )
