"""A running sandbox: one daemon thread, one event loop, one server on loopback.

Owns the life of that thread and the door to what it knows. It never decides what is answered, and imports
nothing of the product.
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
from .answers import as_json
from .api import Api
from .executions import Execution, details
from .faults import Fault
from .ledger import Accepted, ExecutionRecord, Ledger, RequestRecord
from .options import API_KEY, PREFIXES, Clock, Dialect, Options
from .routes import Routes
from .webhooks import Delivery, Webhooks
from .workflows import Catalog, Output, Reject, Step, Version, Workflow, default_workflows

_HOST = "127.0.0.1"


class Sandbox:
    """A local each::labs on loopback, running from its construction until `stop`.

    Parameters
    ----------
    port
        The port to listen on; 0 takes a free one.
    dialect
        The dialect of `base_url`; both dialects are always served.
    api_key
        The key that callers must send.
    faults
        What goes wrong, and when.
    options
        How it behaves; `Options()` by default.
    clock
        Seconds that never go back; tests may bring their own.

    Raises
    ------
    OSError
        Where the port is taken.
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
        self._clock = clock
        self._account = Account(options or Options(), clock)
        self._ledger = Ledger()
        self._catalog = Catalog(default_workflows())
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

    # The life of the thread

    def _run(self, port: int, faults: tuple[Fault, ...]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(port, faults))
        except Exception as problem:  # noqa: BLE001  # carried to the thread that asked for the start
            if not self._ready.done():
                self._ready.set_exception(problem)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _serve(self, port: int, faults: tuple[Fault, ...]) -> None:
        self._stopping = asyncio.Event()
        self._webhooks = Webhooks(
            self._clock,
            wall=lambda: self._account.stamps.wall(self._account.now(), self._account.options),
            payload=self._webhook_payload,
            options=lambda: self._account.options,
        )
        api = Api(
            self._account,
            catalog=self._catalog,
            api_key=self.api_key,
            media_url=lambda: f"{self.url}/media",
            accepted=self._webhooks.expect,
        )
        self._api = api
        self._routes = Routes(api, account=self._account, ledger=self._ledger, wake=self._webhooks.wake)
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
            self._routes.end()
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender
            await runner.cleanup()
            # One turn of the loop for transports that are closing.
            await asyncio.sleep(0)

    def _webhook_payload(self, execution: Execution) -> bytes:
        return as_json(details(execution, self._api.view(self.dialect))).body

    def stop(self) -> None:
        """Stop the server and join its thread; a second call does nothing."""
        with self._stop_lock:
            if self._thread.is_alive():
                self._in_loop(lambda: self._stopping.set())
                self._thread.join()
            atexit.unregister(self.stop)

    def _in_loop(self, act: Callable[[], None]) -> None:
        # The loop may close at any moment: what it would have done is then moot.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)

    # Where it is

    @property
    def url(self) -> str:
        """The address without a dialect's prefix."""
        return f"http://{_HOST}:{self._ready.result()}"

    @property
    def base_url(self) -> str:
        """The base URL of the sandbox's own dialect."""
        return self.url + PREFIXES[self.dialect]

    @property
    def current_base_url(self) -> str:
        """The base URL of the current dialect."""
        return self.url + PREFIXES["current"]

    @property
    def legacy_base_url(self) -> str:
        """The base URL of the legacy dialect."""
        return self.url + PREFIXES["legacy"]

    # What it does next

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
        """Serve one more workflow: with `versions`, or with one version `v1` of `input_schema`.

        Parameters
        ----------
        output
            `image`, `images`, `object`, `text`, or a callable from an execution's inputs to its output.
        reject
            What inputs meet that the schema refuses: their own entry is `failed` ("entry"), the request is
            refused whole with 400 ("request") or with 422 ("unprocessable").
        steps
            What its executions go through, one after the other; the last one's output is the execution's.
        """
        made = tuple(versions) if versions is not None else (Version("v1", input_schema=input_schema),)
        names = (workflow_id, slug or workflow_id, name or workflow_id)
        workflow = Workflow(*names, made, output, reject, forbidden, tuple(steps))
        self._catalog.add(workflow)
        return workflow

    def faults(self, *faults: Fault) -> None:
        """Replace the faults; ordinals start again at 1. Without any, nothing goes wrong."""
        self._routes.set_faults(faults)

    def change(self, **changes: Any) -> None:
        """Replace some options, by the names of `Options`."""
        self._account.change(**changes)

    def release(self, count: int | None = None) -> int:
        """End the oldest `count` held executions now, or all of them; give how many there were."""
        released = self._account.release(count)
        self._in_loop(self._webhooks.wake)
        return released

    def set_status(self, execution_id: str, status: str) -> None:
        """Put an execution into any status, `cancelled` or a word that the API does not know."""
        self._account.set_status(execution_id, status)
        self._in_loop(self._webhooks.wake)

    def expire(self, *execution_ids: str) -> None:
        """Remove executions as an organization's retention does: 404 in the details, absent from the listing.

        They stay in `accepted` and `executions`, for they were billed.

        Raises
        ------
        KeyError
            An execution that was never accepted.
        """
        self._account.expire(execution_ids)

    def top_up(self, usd: float) -> None:
        """Add to the account's balance."""
        self._account.top_up(usd)

    def reset(self) -> None:
        """Forget executions and records, and restore the balance; workflows and faults stay."""
        self._account.reset()
        self._ledger.reset()
        self._webhooks.forget()

    # What happened

    @property
    def accepted(self) -> tuple[Accepted, ...]:
        """Every accepted execution, in order: what was billed."""
        return self._account.accepted()

    @property
    def executions(self) -> tuple[ExecutionRecord, ...]:
        """Every accepted execution and its status now, in order."""
        return self._account.records()

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request that is over, in order."""
        return self._ledger.requests

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """Every attempt at a webhook."""
        return self._webhooks.deliveries

    @property
    def peak_in_flight(self) -> int:
        """The most bulk triggers handled at the same time."""
        return self._ledger.peak

    @property
    def in_flight(self) -> int:
        """How many executions are not over."""
        return self._account.in_flight

    @property
    def balance_usd(self) -> float:
        """What is left of the balance."""
        return self._account.balance_usd

    def accepted_count(self, inputs: Mapping[str, Any] | None = None) -> int:
        """Count the accepted executions, or those of exactly these inputs."""
        return self._account.accepted_count(inputs)

    def duplicates(self) -> dict[str, int]:
        """Count the inputs, as canonical JSON, that were accepted more than once."""
        return self._account.duplicates()
