"""Accessor methods that trigger executions: `preview`, `bulk_trigger`, `start`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..frames.table import Frame
from ..models import Secret
from ..suggestions import check_keywords
from .method_group import AccessorBase

if TYPE_CHECKING:
    from ..aio.bridge import Call
    from ..models import Observer
    from ..webhooks.receiver import WebhookReceiver
    from .run import Run


class TriggerMethods(AccessorBase):
    """Methods that trigger executions, and check the input first."""

    def preview(
        self,
        workflow_id: str | None = None,
        inputs: Any = None,
        *,
        version_id: str | None = None,
        na: str = "omit",
        prefix: str = "",
        full: bool = False,
    ) -> Frame:
        """Return the payload of each row and any problem with it. Nothing is triggered.

        Parameters
        ----------
        workflow_id : str, optional
            With it, the workflow's input schema is read (this needs a key) and each row is checked against it.
        inputs : None, list, dict or callable
            How a row becomes an input, as for `bulk_trigger`.
        version_id : str, optional
            The version whose schema is used; the latest by default.
        na : {"omit", "null"}
            Whether a missing value is left out or sent as null.
        prefix : str, default ""
            As for `bulk_trigger`.
        full : bool, default False
            Display whole payloads. By default the display truncates them; the data are always complete.

        Returns
        -------
        pandas.DataFrame
            With this frame's index: ``payload`` (object: a dict, or None for a row with a problem) and ``problem``
            (string; missing where there is none). ``attrs["eachlabs_preview"]`` says how many ``rows`` can be sent, in
            how many ``requests``, what they are expected to cost (``cost_usd``) and the account's balance
            (``balance_usd``); both in USD, None if not known. Where they are known, also the range of the cost
            (``cost_low_usd``, ``cost_high_usd``), where it is from (``cost_from``), the parts that are not in it
            (``cost_unknown``), the ``seconds`` that the executions take, and what that assumes (``time_from``): see
            `docs/costs.md`. If rows have files: how many ``files``, their ``file_bytes``, and how many of them were
            uploaded before (``files_known``); their names stand where the URLs will.
            ``attrs["eachlabs_accepted_before"]`` counts rows that the journal has recorded as accepted lately, if a
            workflow is named and there are any. ``attrs["eachlabs_notes"]`` lists notes, if there are any: columns that
            are not sent, names that are probably misspelt, and the most common problem. In a notebook and on a terminal
            all of this is printed too.

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
        from ..aio.bridge import ReadCall
        from ..frames import preview

        function = partial(
            preview.preview,
            self._frame,
            inputs,
            workflow_id=workflow_id,
            version_id=version_id,
            na=na,
            prefix=prefix,
            full=full,
        )
        return self._run(lambda: ReadCall(function))

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
        ask: bool = False,
        expires_in: int | None = None,
        retrigger: bool = False,
        on_unknown: str = "keep",
        prefix: str = "",
        inplace: bool = False,
        wait: bool = False,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Trigger a paid execution of a workflow for each row, in requests of at most 10 inputs.

        Rows that already have an ``execution_id``, or whose response was lost (``unknown``), are not sent again, unless
        their input was edited: an edited row is a new row. A request is repeated only if the first one certainly
        created nothing. Each request is recorded in the journal before it is sent: if this process ends for any reason,
        the same call with the same ``run=`` resumes the run.

        Without ``run=``, inputs that another run has sent within ``configure(rerun_guard=86400.0)`` seconds, for the
        same workflow, version, server and mapping, are not paid for again by accident: if they are all of the rows, the
        call raises `RunError`; if they are only some, it warns and sends. This needs the journal.

        Parameters
        ----------
        workflow_id : str
            The workflow's id or slug.
        inputs : None, list, dict or callable
            How a row becomes an input object. None: the columns that the workflow's schema names, or every column if it
            has no schema; in a frame with results, the mapping that they were made with. A list: these columns. A dict:
            key to column, `lit`, `template` or `file`. A callable: it is called once per row with a dict (None for
            missing values), and returns the input.
        version_id : str, optional
            The version to run. The latest by default: resolved once, and stored in ``attrs["eachlabs"]``.
        run : str, optional
            The run's name. Another call with this name, in any process, sends only rows that were not sent in that run:
            new, changed and ``pending`` rows. A row is identified by its input and the occurrence of that input.
            By default a readable name is generated, and stored in ``attrs["eachlabs"]["run"]``.
        key : label, optional
            A column of unique keys that identify the rows; another input for a key is an error without ``retrigger``.
            `SAME_INPUT_ONCE`: rows with equal inputs are one execution, and each of them gets its result.
        webhook_url, webhook_secret : str, optional
            The URL to which the API reports the end of each execution, and the secret that it sends along.
        webhook : WebhookReceiver, optional
            A receiver in this process that is notified of the end of each execution instead; ``wait`` then polls the
            API only every ``webhook.sweep`` seconds.
        na : {"omit", "null"}
            Whether a missing value leaves its key out, or is sent as null.
        validate : bool, default True
            Check each row against the workflow's input schema first; rows that do not match become ``invalid``. Text
            that is the path of a local file where a URL is expected is an `InputError`.
        max_concurrency : int, optional
            Maximum number of requests in flight, 1 to 256; by default the configured value (8).
        max_cost : float, optional
            Maximum cost of the run in USD, including its earlier calls. For each row in flight the most that it is
            expected to cost is reserved, and what its execution did not use is given back. If no cost is known, one
            row is sent first to learn it. See `docs/costs.md`.
        ask : bool, default False
            Show what the rows would cost, and send them only if a person answers yes. Not in the async variant.
        expires_in : int, optional
            Seconds for which the API keeps the files that this call uploads, 60 to 31,536,000; by default 180 days.
        retrigger : bool, default False
            Trigger every row, including those that have an execution: each is paid for again.
        on_unknown : {"keep", "resend"}
            What to do with rows whose response was lost and whose execution was not found: leave them ``unknown``, or
            search once more and then send them again, at the risk of paying twice.
        prefix : str, default ""
            Prefix of the result's column names.
        inplace : bool, default False
            Write the results into this frame instead of a new one.
        wait : bool, default False
            Wait until every execution has ended.
        progress : bool or callable, optional
            Whether to show a tqdm progress bar; by default in a notebook and on a terminal. Or is called with `Event`s.

        Returns
        -------
        pandas.DataFrame
            This frame's rows in their order, with the columns ``bulk_id``, ``execution_id``, ``status``, ``error``
            (string), ``started_at``, ``completed_at`` (datetime64[ns, UTC]), ``output`` (object), ``cost`` (float64,
            USD). Rows that could not be sent are ``pending``, with the reason in ``error``.

        Raises
        ------
        UsageError
            Something in the call, the frame or the settings is wrong; or ``ask=True`` where nobody can answer.
        DeclinedError
            The question of ``ask=True`` was not answered with yes. Nothing was sent, nor recorded in the journal.
        RunError
            The named run has another workflow, version, mapping or key; or another run has sent every row recently.
        ColumnError
            The frame holds results of another workflow, version, mapping or ``na``. Nothing was sent.
        JournalError
            The journal cannot be opened or written. Nothing was sent.
        AuthenticationError, PermissionDeniedError, NotFoundError
            401, 403, 404. Nothing was sent.
        APIConnectionError, RateLimitError
            The workflow could not be read. Nothing was sent.
        Interrupted
            On a KeyboardInterrupt. Its ``frame`` is the frame so far, and the message names the run to continue.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start():
        ...     out = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
        >>> out["status"].tolist()
        ['completed', 'completed']
        """
        secret = Secret.wrap(webhook_secret)
        del webhook_secret  # at once: a traceback may show local variables
        return self._run(
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
                ask=ask,
                expires_in=expires_in,
                retrigger=retrigger,
                on_unknown=on_unknown,
                prefix=prefix,
                inplace=inplace,
                wait=wait,
                progress=progress,
            )
        )

    async def bulk_trigger_async(self, workflow_id: str, inputs: Any = None, **options: Any) -> Frame:
        """Async variant of `bulk_trigger`, with the same keywords.

        On cancellation it sends nothing more, waits up to 10 s for responses in flight, and raises
        `asyncio.CancelledError`; with ``inplace=True`` those responses are in the frame.
        """
        options["webhook_secret"] = Secret.wrap(options.get("webhook_secret"))  # at once: see `bulk_trigger`
        check_keywords(self.bulk_trigger_async, options)
        if options.get("ask"):
            msg = "ask=True would block the event loop: call preview() and ask yourself, or use bulk_trigger()"
            raise ConfigurationError(msg)
        return await self._run_async(self._trigger(workflow_id, inputs, **options))

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
        ask: bool = False,
        expires_in: int | None = None,
        retrigger: bool = False,
        on_unknown: str = "keep",
        prefix: str = "",
        track: bool = True,
        progress: bool | Observer | None = False,
    ) -> Run:
        """Start `bulk_trigger` in the background and return immediately.

        This frame is copied and never modified; the returned `Run` holds the result.

        Parameters
        ----------
        workflow_id, inputs, version_id, run, key, webhook_url, webhook_secret, webhook, na, validate
            As for `bulk_trigger`.
        max_concurrency, max_cost, ask, expires_in, retrigger, on_unknown, prefix
            As for `bulk_trigger`. With `ask`, this waits for the answer, and starts then.
        track : bool, default True
            Poll the executions until all have ended. If False, the run is done when all rows are sent.
        progress : bool or callable, optional
            As for `bulk_trigger`, but without a bar by default. A callable is called on another thread.

        Returns
        -------
        Run
            ``run.frame`` is the result so far, ``run.status`` the number of rows per status; ``run.result()`` waits,
            ``run.cancel()`` stops sending, and ``run.dashboard()`` shows a live view.

        Raises
        ------
        UsageError
            Something in the call or the settings is wrong. Nothing was sent. Problems with a row, and errors of the
            API, occur in the background: ``result()`` raises them, and the run's repr shows them.

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
        from ..aio.bridge import ReadCall
        from ..checks import check_flag
        from ..frames import trigger
        from ..frames.background_run import BackgroundRun
        from ..frames.options import TriggerOptions
        from .run import Run

        options = TriggerOptions(
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
            ask=ask,
            expires_in=expires_in,
            retrigger=retrigger,
            on_unknown=on_unknown,
            prefix=prefix,
            wait=check_flag("track", track),
            progress=False if progress is None else progress,
        )
        call = trigger.TriggerCall(self._frame, workflow_id, inputs, options)
        if options.ask:
            # The question needs the caller's thread.
            self._run(lambda: ReadCall(call.prepare_early))
        return Run(BackgroundRun(call, inputs=inputs, options=options))

    def _trigger(self, workflow_id: str, inputs: Any, **options: Any) -> Callable[[], Call[Frame]]:
        from ..frames.options import TriggerOptions
        from ..frames.trigger import TriggerCall

        return lambda: TriggerCall(self._frame, workflow_id, inputs, TriggerOptions(**options))


# Keywords are handed on as they are; what a notebook shows of them is the signature that they have.
TriggerMethods.bulk_trigger_async.__signature__ = inspect.signature(TriggerMethods.bulk_trigger)  # type: ignore[attr-defined]  # functions have it
