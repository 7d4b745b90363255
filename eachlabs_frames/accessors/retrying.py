"""Accessor methods that recover from failures: `retry_failed`, `reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..frames.table import Frame
from ..models import Secret
from .method_group import AccessorBase

if TYPE_CHECKING:
    from ..models import Observer
    from ..webhooks.receiver import WebhookReceiver


class RetryMethods(AccessorBase):
    """Methods that trigger failed rows again, and search for lost executions."""

    def retry_failed(
        self,
        inputs: Any = None,
        *,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        webhook: WebhookReceiver | None = None,
        max_concurrency: int | None = None,
        max_cost: float | None = None,
        ask: bool = False,
        inplace: bool = False,
        wait: bool = False,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Trigger the ``failed`` rows again, as new paid executions. All other rows stay as they are.

        The workflow, its version and the mapping are those that the frame was triggered with. The input is the row's
        current input: a failed row that was edited is sent with its new input. A frame whose attrs were lost (CSV,
        merge, concat) is found in the journal by its ids.

        Parameters
        ----------
        inputs : None, list, dict or callable
            Another mapping; required if the first was a callable, which a frame does not store.
        webhook_url, webhook_secret, webhook, max_concurrency, max_cost, ask, inplace, wait, progress
            As for `bulk_trigger`: `max_cost` counts all that the run has paid, superseded executions too.

        Returns
        -------
        pandas.DataFrame
            The frame with new executions in place of the failed ones; a row that could not be sent keeps its old one.

        Raises
        ------
        ColumnError, MappingError
            The frame holds no result, or does not record how its inputs were made; or its attrs were lost, and its rows
            are of several runs, or unknown to the journal.
        """
        secret = Secret.wrap(webhook_secret)
        del webhook_secret  # at once: a traceback may show local variables
        from ..frames import retry
        from ..frames.options import TriggerOptions

        options = TriggerOptions(
            webhook_url=webhook_url,
            webhook_secret=secret,
            webhook=webhook,
            max_concurrency=max_concurrency,
            max_cost=max_cost,
            ask=ask,
            inplace=inplace,
            wait=wait,
            progress=progress,
        )
        return self._run(lambda: retry.retry_failed(self._frame, inputs, options))

    def reconcile(
        self, inputs: Any = None, *, prefix: str | None = None, progress: bool | Observer | None = None
    ) -> Frame:
        """Search once more for the executions of ``unknown`` rows. Nothing is sent.

        The workflow's listing is read around the time of each lost request, and executions that belong to no row are
        matched by their inputs.

        Parameters
        ----------
        inputs : None, list, dict or callable
            Required only if the frame was triggered with a callable, which it does not store.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.
        progress : bool or callable, optional
            As for `bulk_trigger`.

        Returns
        -------
        pandas.DataFrame
            A new frame in which the rows that were found have their executions.

        Raises
        ------
        ColumnError
            The frame holds no result; or its attrs were lost, and its rows are of several runs, or unknown to the
            journal.
        JournalError, RunError
            The journal cannot be read, or does not have the run.
        """
        from ..frames import retry

        return self._run(lambda: retry.reconcile(self._frame, inputs, prefix=prefix, progress=progress))
