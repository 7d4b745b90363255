"""What triggers, and what is asked before and after it: `preview`, `bulk_trigger`, `start`, `retry_failed`."""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...models import Secret
from ...suggestions import check_keywords
from .door import Door

if TYPE_CHECKING:
    from ...engine.loop import Steps
    from ...models import Observer
    from ..run import Run
    from ..webhook import WebhookReceiver


class Sending(Door):
    """Rows become executions."""

    def preview(
        self,
        workflow_id: str | None = None,
        inputs: Any = None,
        *,
        version_id: str | None = None,
        na: str = "omit",
        prefix: str = "",
        full: bool = False,
    ) -> pd.DataFrame:
        """Show what each row would send, and what is wrong with it. Nothing is triggered.

        Parameters
        ----------
        workflow_id : str, optional
            With it, the workflow's input schema is read (this needs a key) and each row is checked against it.
        inputs : None, list, dict or callable
            How a row becomes an input, as for `bulk_trigger`.
        version_id : str, optional
            The version whose schema counts; the latest by default.
        na : {"omit", "null"}
            What becomes of a missing value.
        prefix : str, default ""
            As for `bulk_trigger`.
        full : bool, default False
            Display payloads whole. By default they are cut; the data always are whole.

        Returns
        -------
        pandas.DataFrame
            With this frame's index: ``payload`` (object: a dict, or None where there can be none) and ``problem``
            (string, missing where there is none). ``attrs["eachlabs_preview"]`` says how many ``rows`` can be sent, in
            how many ``requests``, what they would cost (``cost_usd``, by the mean of the workflow's latest executions)
            and what the account has left (``balance_usd``): USD, None where that is not known. Where the API says no
            cost, or no workflow is named, the journal may know it of this workflow, or of the one that this frame went
            to, and ``cost_from`` says so. ``attrs["eachlabs_accepted_before"]`` counts rows that the journal knows
            as accepted lately, where a workflow is named and there are any. ``attrs["eachlabs_notes"]`` lists notes, if
            there are any: columns that are not sent, names that are probably misspelt, and the commonest problem. In a
            notebook and on a terminal all of this is printed too.

        Raises
        ------
        MappingError
            ``inputs=`` cannot be read from this frame.
        APIError
            The workflow could not be read.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames
        >>> df = pd.DataFrame({"prompt": ["a fox", None], "seed": [1, 2]})
        >>> df.eachlabs.preview()["payload"].tolist()
        [{'prompt': 'a fox', 'seed': 1}, {'seed': 2}]
        """
        from .. import preview

        return self._complete(
            preview.preview(
                self._frame, inputs, workflow_id=workflow_id, version_id=version_id, na=na, prefix=prefix, full=full
            )
        )

    def bulk_trigger(
        self,
        workflow_id: str,
        inputs: Any = None,
        *,
        version_id: str | None = None,
        run: str | None = None,
        key: Hashable = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        webhook: WebhookReceiver | None = None,
        na: str = "omit",
        validate: bool = True,
        max_concurrency: int | None = None,
        max_cost: float | None = None,
        retrigger: bool = False,
        on_unknown: str = "keep",
        prefix: str = "",
        inplace: bool = False,
        wait: bool = False,
        progress: bool | Observer | None = None,
    ) -> pd.DataFrame:
        """Trigger an execution of a workflow for each row: paid, in bulk triggers of at most 10.

        Rows that have an ``execution_id`` already, or whose answer was lost (``unknown``), are left alone, unless
        their input was edited since: an edited row is a new row. A request is sent a second time only where the first
        certainly created nothing. Each request is noted in the journal before it is sent: whatever ends this process,
        the same call with the same ``run=`` goes on.

        Without ``run=``, inputs that another run has sent within ``configure(rerun_guard=86400.0)`` seconds, for the
        same workflow, version, server and mapping, are not paid again unasked: where they are all of the rows, the
        call is refused; where they are some, it warns and sends. Two calls that begin at the same moment may both
        pass. This needs the journal.

        Parameters
        ----------
        workflow_id : str
            The workflow's id or slug.
        inputs : None, list, dict or callable
            How a row becomes an input object. None: the columns that the workflow's schema names, or every column
            where it publishes none; in a frame that holds results already, the mapping that they were made with.
            A list: these columns. A dict: key to column, `lit` or `template`. A callable:
            it is given a row as a dict (None for what is missing), once, and returns the input.
        version_id : str, optional
            The version to run. The latest by default: resolved once, and written into ``attrs["eachlabs"]``.
        run : str, optional
            The run's name: called again with it, in this process or in another, only rows are sent that were not sent
            in that run, which are new rows, changed rows and ``pending`` rows. A row is known by its input, and by
            which occurrence of that input it is. By default a readable name is made, and kept in
            ``attrs["eachlabs"]["run"]``.
        key : label, optional
            A column of unique keys, by which rows are known instead. A key that was sent with another input is an
            error, but for ``retrigger=True``.
        webhook_url, webhook_secret : str, optional
            Where the API announces each execution's end, and the word it repeats there (not in the legacy dialect).
        webhook : WebhookReceiver, optional
            Have each execution's end announced to this process instead: the frame, the run, its dashboard and the
            journal follow that, and while executions are waited for, the API is asked only every ``webhook.sweep``
            seconds.
        na : {"omit", "null"}
            Whether a missing value leaves its key out, or is sent as null.
        validate : bool, default True
            Check each row against the workflow's input schema first; rows that do not fit become ``invalid``. A local
            file's path where a URL is wanted (a URI by the schema, or a name that ends in ``_url``) is an `InputError`.
        max_concurrency : int, optional
            Requests in flight at once, 1 to 256; as configured (8) by default.
        max_cost : float, optional
            USD that the run may cost, with what its earlier calls have cost: it stops before a batch that would pass
            that, by the mean cost of the workflow's latest executions that have ended. Where none is known, one batch
            goes first to learn it.
        retrigger : bool, default False
            Trigger every row, also those that have an execution: each is paid again.
        on_unknown : {"keep", "resend"}
            What becomes of rows whose answer was lost and was not found in the workflow's listing: left ``unknown``,
            or looked for once more and then sent again, and perhaps paid twice.
        prefix : str, default ""
            Put before each of the result's column names.
        inplace : bool, default False
            Write into this frame rather than into a new one.
        wait : bool, default False
            Wait until every execution has ended.
        progress : bool or callable, optional
            A tqdm bar or none; by default one in a notebook and on a terminal. A callable is given each `Event`.

        Returns
        -------
        pandas.DataFrame
            This frame's rows in their order, with the columns ``bulk_id``, ``execution_id``, ``status``, ``error``
            (string), ``started_at``, ``completed_at`` (datetime64[ns, UTC]), ``output`` (object), ``cost`` (float64,
            USD). Rows that could not be sent are ``pending``, with the reason in ``error``.

        Raises
        ------
        UsageError
            Something in the call, the frame or the settings is wrong. Nothing was sent.
        RunError
            The named run has another workflow, version, mapping or key; or every row was accepted lately in another
            run, which the message names. Nothing was sent.
        ColumnError
            The frame holds results of another workflow, version, mapping or ``na``. Nothing was sent.
        JournalError
            The journal cannot be opened or written. Nothing was sent.
        AuthenticationError, PermissionDeniedError, NotFoundError
            401, 403, 404. Nothing was sent.
        APIConnectionError, RateLimitError
            The workflow could not be read. Nothing was sent.
        Interrupted
            A KeyboardInterrupt; the frame as it stood is its ``frame``, and the message names the run to go on with.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start():
        ...     df = pd.DataFrame({"prompt": ["a fox", "a heron"]})
        ...     out = df.eachlabs.bulk_trigger("wf_abc123", wait=True)
        >>> out["status"].tolist()
        ['completed', 'completed']
        """
        secret = Secret.wrap(webhook_secret)
        del webhook_secret  # at once: a traceback may show local variables
        return self._complete(
            self._trigger(
                workflow_id,
                inputs,
                version_id=version_id,
                run=run,
                key=key,
                webhook_url=webhook_url,
                webhook_secret=secret,
                webhook=webhook,
                na=na,
                validate=validate,
                max_concurrency=max_concurrency,
                max_cost=max_cost,
                retrigger=retrigger,
                on_unknown=on_unknown,
                prefix=prefix,
                inplace=inplace,
                wait=wait,
                progress=progress,
            )
        )

    async def bulk_trigger_async(self, workflow_id: str, inputs: Any = None, **options: Any) -> pd.DataFrame:
        """Do as `bulk_trigger`, with the same keywords, without holding up the running event loop.

        Cancelled, it sends nothing new, waits up to 10 s for the answers in flight, and raises
        `asyncio.CancelledError`; with ``inplace=True`` they are in the frame then.
        """
        options["webhook_secret"] = Secret.wrap(options.get("webhook_secret"))  # at once: see `bulk_trigger`
        check_keywords(self.bulk_trigger_async, options)
        from ...engine.loop import complete_async

        return await complete_async(self._trigger(workflow_id, inputs, **options))

    def start(
        self,
        workflow_id: str,
        inputs: Any = None,
        *,
        version_id: str | None = None,
        run: str | None = None,
        key: Hashable = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        webhook: WebhookReceiver | None = None,
        na: str = "omit",
        validate: bool = True,
        max_concurrency: int | None = None,
        max_cost: float | None = None,
        retrigger: bool = False,
        on_unknown: str = "keep",
        prefix: str = "",
        track: bool = True,
        progress: bool | Observer | None = False,
    ) -> Run:
        """Do as `bulk_trigger`, in the background, and return at once.

        This frame is taken as it is now, and never written; the result is the `Run`'s.

        Parameters
        ----------
        workflow_id, inputs, version_id, run, key, webhook_url, webhook_secret, webhook, na, validate
            As for `bulk_trigger`.
        max_concurrency, max_cost, retrigger, on_unknown, prefix
            As for `bulk_trigger`.
        track : bool, default True
            Look at the executions, already while others are sent, until every one has ended. False: the run has ended
            when all is sent; `wait` looks later.
        progress : bool or callable, optional
            As for `bulk_trigger`, but for no bar by default. A callable is called on another thread.

        Returns
        -------
        Run
            ``run.frame`` is the result so far, ``run.status`` a count per status, ``run.result()`` waits,
            ``run.cancel()`` stops, ``run.dashboard()`` shows.

        Raises
        ------
        UsageError
            Something in the call or the settings is wrong. Nothing was sent. What is wrong with a row, and what the
            API says, is found in the background: ``result()`` raises it, and the run's repr shows it.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start():
        ...     run = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.start("wf_abc123")
        ...     out = run.result()
        >>> out["status"].tolist()
        ['completed', 'completed']
        """
        secret = Secret.wrap(webhook_secret)
        del webhook_secret  # at once: a traceback may show local variables
        from .. import trigger
        from ..course import Course
        from ..options import Options, check_flag
        from ..run import Run

        options = Options(
            version_id=version_id,
            run=run,
            key=key,
            webhook_url=webhook_url,
            webhook_secret=secret,
            webhook=webhook,
            na=na,
            validate=validate,
            max_concurrency=max_concurrency,
            max_cost=max_cost,
            retrigger=retrigger,
            on_unknown=on_unknown,
            prefix=prefix,
            wait=check_flag("track", track),
            progress=False if progress is None else progress,
        )
        call = trigger.Trigger(self._frame, workflow_id, inputs, options)
        return Run(Course(call, inputs=inputs, options=options))

    def retry_failed(
        self,
        inputs: Any = None,
        *,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        webhook: WebhookReceiver | None = None,
        max_concurrency: int | None = None,
        max_cost: float | None = None,
        inplace: bool = False,
        wait: bool = False,
        progress: bool | Observer | None = None,
    ) -> pd.DataFrame:
        """Trigger the rows that are ``failed`` again: a new paid execution each. All others are left as they are.

        The workflow, its version and the mapping are those that the frame was triggered with. The input is the row's
        own as it is now: a failed row that was edited since is sent with its new input. A frame whose attrs were lost
        (CSV, merge, concat) is found in the journal by its ids.

        Parameters
        ----------
        inputs : None, list, dict or callable
            Another mapping; needed where the first was a callable, which a frame does not remember.
        webhook_url, webhook_secret, webhook, max_concurrency, max_cost, inplace, wait, progress
            As for `bulk_trigger`: `max_cost` counts all that the run has paid, superseded executions too.

        Returns
        -------
        pandas.DataFrame
            With the new executions in place of the failed ones; a row that could not be sent keeps the old one.

        Raises
        ------
        ColumnError, MappingError
            The frame holds no result, or does not say how its inputs were made; or its attrs were lost, and its rows
            are of several runs, or unknown to the journal.
        """
        secret = Secret.wrap(webhook_secret)
        del webhook_secret  # at once: a traceback may show local variables
        from .. import again
        from ..options import Options

        options = Options(
            webhook_url=webhook_url,
            webhook_secret=secret,
            webhook=webhook,
            max_concurrency=max_concurrency,
            max_cost=max_cost,
            inplace=inplace,
            wait=wait,
            progress=progress,
        )
        return self._complete(again.retry_failed(self._frame, inputs, options).steps())

    def reconcile(
        self, inputs: Any = None, *, prefix: str | None = None, progress: bool | Observer | None = None
    ) -> pd.DataFrame:
        """Look once more for the rows that are ``unknown``: nothing is sent.

        The workflow's listing is read around the moment of each lost request, and executions that no row owns are
        matched by their inputs.

        Parameters
        ----------
        inputs : None, list, dict or callable
            Needed only where the frame was triggered with a callable, which it does not remember.
        prefix : str, optional
            Which result, where the frame holds several; the latest by default.
        progress : bool or callable, optional
            As for `bulk_trigger`.

        Returns
        -------
        pandas.DataFrame
            A new frame, in which the rows that were found have their executions.

        Raises
        ------
        ColumnError
            The frame holds no result; or its attrs were lost, and its rows are of several runs, or unknown to the
            journal.
        JournalError, RunError
            The journal cannot be read, or does not know the run.
        """
        from .. import again

        return self._complete(again.reconcile(self._frame, inputs, prefix=prefix, progress=progress))

    def _trigger(self, workflow_id: str, inputs: Any, **options: Any) -> Steps[pd.DataFrame]:
        from .. import trigger
        from ..options import Options

        return trigger.bulk_trigger(self._frame, workflow_id, inputs, Options(**options))


# Keywords are handed on as they are; what a notebook shows of them is the signature that they have.
Sending.bulk_trigger_async.__signature__ = inspect.signature(Sending.bulk_trigger)  # type: ignore[attr-defined]  # functions have it
