"""A running sandbox: one daemon thread, one event loop, one server on loopback.

Owns that thread and the public methods of a sandbox. It never decides what a response is, never prints, and imports
nothing from the rest of the package.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from aiohttp import web

from .account import Account
from .api import Api
from .executions import Accepted, Bill, Execution, ExecutionRecord, details
from .faults import Fault
from .messages import json_response
from .options import API_KEY, PREFIXES, Clock, Dialect, Options
from .prices import Model
from .routes import RequestRecord, Routes
from .storage import FileRecord, Storage
from .webhooks import Delivery, Webhooks
from .workflows import Output, Reject, Step, Version, Workflow, default_workflows

_HOST = "127.0.0.1"


class Sandbox:
    """A local server that stands in for the each::labs API. It runs from its construction until `stop`.

    ``ef.sandbox.start`` creates a sandbox and configures this process to use it.

    Parameters
    ----------
    port : int, default 0
        Port on 127.0.0.1; 0 selects a free port.
    dialect : {"current", "legacy"}, default "current"
        The API dialect of `base_url`. Both dialects are always served.
    api_key : str, default "sandbox-key"
        The API key that requests must have.
    faults : iterable of Fault, optional
        The faults to inject; none by default.
    options : Options, optional
        The sandbox's behaviour; ``Options()`` by default.
    clock : callable, default time.monotonic
        Returns the time in seconds. It must never go backwards.

    Attributes
    ----------
    port : int
        The port that the server listens on.
    dialect : {"current", "legacy"}
    api_key : str

    Raises
    ------
    OSError
        The port is in use.
    ValueError
        The dialect is unknown.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        dialect: Dialect = "current",
        api_key: str = API_KEY,
        faults: Iterable[Fault] = (),
        options: Options | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        if dialect not in PREFIXES:
            msg = f"dialect={dialect!r}: must be 'current' or 'legacy'"
            raise ValueError(msg)
        self.dialect: Dialect = dialect
        self.api_key = api_key
        self._account = Account(options or Options(), clock)
        self._storage = Storage(self._account, url=lambda: self.url)
        self._workflows: dict[str, Workflow] = {}
        for workflow in default_workflows():
            self._add(workflow)
        self._ready: Future[int] = Future()
        self._stop_lock = threading.Lock()
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(
            target=self._run, args=(port, tuple(faults)), name="eachlabs-sandbox", daemon=True
        )
        self._thread.start()
        try:
            self.port = self._ready.result()
        except BaseException:
            self._thread.join()
            raise
        atexit.register(self.stop)

    def __repr__(self) -> str:
        state = "running" if self._thread.is_alive() else "stopped"
        return f"<Sandbox {self.base_url} {state}, {self.accepted_count()} executions>"

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Thread

    def _run(self, port: int, faults: tuple[Fault, ...]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(port, faults))
        except Exception as exc:  # noqa: BLE001  # raised in the thread that started the sandbox
            if not self._ready.done():
                self._ready.set_exception(exc)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _serve(self, port: int, faults: tuple[Fault, ...]) -> None:
        self._stopping = asyncio.Event()
        self._webhooks = Webhooks(self._account, payload=self._webhook_payload)
        self._api = Api(
            self._account,
            workflows=self._workflows,
            storage=self._storage,
            api_key=self.api_key,
            media_url=lambda: f"{self.url}/media",
            on_accepted=self._webhooks.expect,
        )
        self._routes = Routes(
            self._api.respond, account=self._account, storage=self._storage, on_release=self._webhooks.wake
        )
        self._routes.set_faults(faults)
        runner = web.AppRunner(self._routes.application(), access_log=None, handle_signals=False, shutdown_timeout=2.0)
        await runner.setup()
        sender = asyncio.get_running_loop().create_task(self._webhooks.run())
        try:
            site = web.TCPSite(runner, _HOST, port, backlog=1024)
            await site.start()
            self._ready.set_result(int(runner.addresses[0][1]))
            await self._stopping.wait()
        finally:
            self._routes.stop()
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender
            await runner.cleanup()
            self._storage.close()
            # One iteration of the loop for transports that are closing.
            await asyncio.sleep(0)

    def _webhook_payload(self, execution: Execution) -> bytes:
        return json_response(details(execution, self._api.view(self.dialect))).body

    def stop(self) -> None:
        """Stop the server and join its thread. No effect if it is already stopped."""
        with self._stop_lock:
            if self._thread.is_alive():
                self._in_loop(self._stopping.set)
                self._thread.join()
            atexit.unregister(self.stop)

    def _in_loop(self, callback: Callable[[], None]) -> None:
        # The loop may have closed meanwhile; the call has no purpose then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    # URLs

    @property
    def url(self) -> str:
        """The server's URL without a path, such as ``http://127.0.0.1:8088``."""
        return f"http://{_HOST}:{self._ready.result()}"

    @property
    def base_url(self) -> str:
        """The base URL of the sandbox's dialect, for ``configure(base_url=...)``."""
        return self.url + PREFIXES[self.dialect]

    @property
    def current_base_url(self) -> str:
        """The base URL of the current dialect."""
        return self.url + PREFIXES["current"]

    @property
    def legacy_base_url(self) -> str:
        """The base URL of the legacy dialect."""
        return self.url + PREFIXES["legacy"]

    # Control

    def add_workflow(
        self,
        workflow_id: str,
        *,
        slug: str | None = None,
        name: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        versions: Sequence[Version] | None = None,
        output: Output = "image",
        reject: Reject = "entry",
        forbidden: bool = False,
        steps: Sequence[Step] = (Step(),),
    ) -> Workflow:
        """Add a workflow, or replace the one with this id or slug.

        Parameters
        ----------
        workflow_id : str
            The workflow's id.
        slug, name : str, optional
            The slug and the display name; `workflow_id` by default.
        input_schema : dict, optional
            JSON Schema of the inputs, for the single version ``v1``. Without it, any input is valid. Not used if
            `versions` is given.
        versions : sequence of Version, optional
            The workflow's versions.
        output : {"image", "images", "object", "text"} or callable, default "image"
            The output of a completed execution. A callable is called with the execution's inputs and returns the
            output.
        reject : {"entry", "request", "unprocessable"}, default "entry"
            How inputs that do not match the schema are rejected: "entry" returns an entry with status ``failed`` for
            each of them, "request" rejects the whole request with status 400, "unprocessable" with 422.
        forbidden : bool, default False
            Respond with 403 to all requests for this workflow.
        steps : sequence of Step, default (Step(),)
            The steps of an execution, in order. The output of the last one is the execution's output.

        Returns
        -------
        Workflow
            The workflow that was added.

        Raises
        ------
        ValueError
            There are no steps, two steps have the same id, the last step has branches, or the schema has a keyword
            that the sandbox does not support.
        """
        if versions is None:
            versions = [Version("v1", input_schema=input_schema)]
        names = (workflow_id, slug or workflow_id, name or workflow_id)
        return self._add(Workflow(*names, tuple(versions), output, reject, forbidden, tuple(steps)))

    def add_model(
        self,
        slug: str,
        *,
        cost: Mapping[str, Any] | None = None,
        request_schema: Mapping[str, Any] | None = None,
        billed_usd: tuple[float, float] | None = None,
    ) -> None:
        """Add a model with its price, or replace the one with this slug. See `Model` for the arguments.

        Executions of workflows with a step of this model are billed by the prices of their steps, instead of by
        ``cost_usd``.

        Raises
        ------
        ValueError
            `cost` has an unknown field, or an amount is negative.
        """
        self._account.prices.add(Model(slug, cost, request_schema or {}, billed_usd))

    def _add(self, workflow: Workflow) -> Workflow:
        self._workflows[workflow.workflow_id] = self._workflows[workflow.slug] = workflow
        return workflow

    def faults(self, *faults: Fault) -> None:
        """Replace the faults and count requests from 1 again. Without arguments, no faults are injected."""
        self._routes.set_faults(faults)

    def change(self, **changes: Any) -> None:
        """Replace options while the sandbox runs.

        Parameters
        ----------
        **changes
            Fields of `Options` and their new values. A new ``balance_usd`` replaces the current balance.

        Raises
        ------
        TypeError
            There is no such option.
        ValueError
            A value is out of range.
        """
        self._account.change(**changes)

    def release(self, count: int | None = None) -> int:
        """End held executions now, the oldest first.

        Executions are held if they were created with ``hold=True``, or by `set_status`.

        Parameters
        ----------
        count : int, optional
            Maximum number of executions to end; all of them by default.

        Returns
        -------
        int
            The number of executions that were ended.
        """
        released = self._account.release(count)
        self._in_loop(self._webhooks.wake)
        return released

    def set_status(self, execution_id: str, status: str) -> None:
        """Set an execution's status, also to one that the API does not document.

        ``completed``, ``failed`` and ``cancelled`` end the execution. With any other status it is held until it is
        released or its status is set again.

        Raises
        ------
        KeyError
            There is no such execution.
        """
        self._account.set_status(execution_id, status)
        self._in_loop(self._webhooks.wake)

    def expire(self, *execution_ids: str) -> None:
        """Remove executions, like the API after its retention period: their details are a 404, and no listing has them.

        They stay in `accepted` and `executions`, because they were billed.

        Raises
        ------
        KeyError
            There is no such execution.
        """
        self._account.expire(execution_ids)

    def expire_files(self, *file_ids: str) -> None:
        """Remove uploaded files, like the API at the end of their retention: their public URLs are a 404.

        Raises
        ------
        KeyError
            There is no such file.
        """
        self._storage.expire(file_ids)

    def top_up(self, usd: float) -> None:
        """Add an amount in USD to the account's balance."""
        self._account.top_up(usd)

    def reset(self) -> None:
        """Delete all executions, files and records, and restore the balance. Workflows, options and faults stay."""
        self._account.reset()
        self._storage.reset()
        self._routes.reset()
        self._webhooks.reset()

    # Records

    @property
    def accepted(self) -> tuple[Accepted, ...]:
        """All accepted executions in order of acceptance. Each of them is billed."""
        return self._account.accepted()

    @property
    def executions(self) -> tuple[ExecutionRecord, ...]:
        """All accepted executions in order of acceptance, with their current status."""
        return self._account.records()

    @property
    def bills(self) -> tuple[Bill, ...]:
        """What each accepted execution reserved and costs, in order of acceptance."""
        return self._account.bills()

    @property
    def billed_usd(self) -> float:
        """What all ended executions cost together, in USD."""
        return self._account.billed_usd

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All completed requests, in order of completion."""
        return self._routes.requests

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """All uploads in the order in which they were presigned, with their current status."""
        return self._storage.records()

    @property
    def presigns(self) -> int:
        """The number of uploads that were presigned."""
        return len(self.files)

    @property
    def puts(self) -> int:
        """The number of files that were uploaded, deleted and expired ones included."""
        return sum(file.size is not None for file in self.files)

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """All attempts to send a webhook delivery."""
        return self._webhooks.deliveries

    @property
    def peak_in_flight(self) -> int:
        """The maximum number of bulk trigger requests that were in progress at the same time."""
        return self._routes.peak

    @property
    def in_flight(self) -> int:
        """The number of executions that have not ended."""
        return self._account.in_flight

    @property
    def balance_usd(self) -> float:
        """The account's balance in USD, which may be negative. Executions are paid when they end."""
        return self._account.balance_usd

    def accepted_count(self, inputs: Mapping[str, Any] | None = None) -> int:
        """Return the number of accepted executions.

        Parameters
        ----------
        inputs : dict, optional
            Count only executions with exactly these inputs.
        """
        return self._account.accepted_count(inputs)

    def duplicates(self) -> dict[str, int]:
        """Return the inputs that were accepted more than once, as canonical JSON, with the number of executions."""
        return self._account.duplicates()
