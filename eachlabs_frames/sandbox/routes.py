"""HTTP of the sandbox: reads requests, injects faults, sends and records responses.

Owns every use of aiohttp's request handlers, and the record of requests, which never holds a key, a header or a query.
It never decides on the content of a response (`api`) or which requests a fault affects (`faults`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import threading
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from email.utils import formatdate
from typing import Any

from aiohttp import hdrs, web

from .account import Account
from .faults import BEFORE, REDIRECT_PATH, Fault, Schedule, altered_response, early_response
from .messages import ReceivedBody, RefusalError, Request, Response, error_response, json_response
from .options import Dialect
from .parsing import count_inputs, parse_json
from .storage import PUBLIC_PATH, UPLOAD_PATH, Storage

MAX_BODY_BYTES = 12 * 1024 * 1024
_REQUEST_ID = "X-Request-Id"
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,200}")

_PATHS: tuple[tuple[Dialect, str, str, str], ...] = (
    ("current", "POST", "/v1/workflows/bulk-trigger/{workflow}/{version}", "trigger"),
    ("current", "POST", "/v1/workflows", "create"),
    ("current", "GET", "/v1/workflows/executions/{execution}", "details"),
    ("current", "GET", "/v1/workflows/{workflow}/executions", "list"),
    ("current", "GET", "/v1/workflows/{workflow}", "workflow"),
    ("current", "GET", "/v1/billing/balance", "balance"),
    ("current", "GET", "/v1/models/{slug}", "model"),
    ("legacy", "POST", "/api/v1/{workflow}/bulk-trigger", "trigger"),
    ("legacy", "GET", "/api/v1/executions/{execution}", "details"),
    ("legacy", "GET", "/api/v1/workflows/{workflow}/executions", "list"),
    ("legacy", "GET", "/api/v1/workflows/{workflow}", "workflow"),
    ("current", "GET", "/media/{name}", "media"),
    ("current", "POST", "/v1/upload/presign", "presign"),
    ("current", "DELETE", "/v1/files/{file}", "delete"),
    ("current", "PUT", f"{UPLOAD_PATH}/{{name}}", "put"),
    ("current", "GET", f"{PUBLIC_PATH}/{{name}}", "file"),
    ("current", "HEAD", f"{PUBLIC_PATH}/{{name}}", "file"),
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request. `status` is None if no complete response was sent.

    `inputs` is the number of a trigger's inputs, accepted or not; `with_key` is whether the request had a credential.
    """

    route: str
    method: str
    path: str
    status: int | None
    inputs: int
    with_key: bool
    faults: tuple[str, ...]


async def _add_request_id(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Return the caller's `X-Request-Id`, or a new ID if the request has none or an invalid one."""
    request_id = request.headers.get(_REQUEST_ID, "")
    response.headers[_REQUEST_ID] = request_id if _PRINTABLE.fullmatch(request_id) else str(uuid.uuid4())


class Routes:
    """The HTTP side of a sandbox. Handlers run in the server's loop; the public methods are thread-safe."""

    def __init__(
        self,
        respond: Callable[[Request], Response],
        *,
        account: Account,
        storage: Storage,
        on_release: Callable[[], None],
    ) -> None:
        self._respond = respond
        self._account = account
        self._storage = storage
        self._on_release = on_release
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._latest: dict[str, Response] = {}
        self._lock = threading.Lock()
        self._requests: list[RequestRecord] = []
        self._triggers = 0
        self._peak = 0
        self.set_faults(())

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace the faults and count requests from 1 again."""
        self._schedule = Schedule(faults, random.Random(self._account.options.seed))  # noqa: S311 - repeats a run; no secret

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All completed requests, in order of completion."""
        with self._lock:
            return tuple(self._requests)

    @property
    def peak(self) -> int:
        """The maximum number of concurrent triggers."""
        with self._lock:
            return self._peak

    def reset(self) -> None:
        """Delete the record of completed requests; those in progress still count."""
        with self._lock:
            self._requests.clear()
            self._peak = self._triggers

    def stop(self) -> None:
        """End all delays, so that the server can stop at once. Called in the server's loop."""
        self._stopped.set_result(None)

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._errors_as_json], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(_add_request_id)
        for dialect, method, path, route in _PATHS:
            app.router.add_route(method, path, self._handler(route, dialect))
        app.router.add_route("GET", "/_sandbox/ledger", self._get_ledger)
        app.router.add_route("POST", "/_sandbox/faults", self._post_faults)
        app.router.add_route("POST", "/_sandbox/release", self._post_release)
        app.router.add_route("*", REDIRECT_PATH, self._redirected)
        return app

    # The API's routes

    def _handler(self, route: str, dialect: Dialect) -> Handler:
        async def handle(http: web.Request) -> web.StreamResponse:
            request = Request(route, dialect, http.match_info, list(http.query.items()), http.headers)
            faults: tuple[Fault, ...] = ()
            status = None
            if route == "trigger":
                with self._lock:
                    self._triggers += 1
                    self._peak = max(self._peak, self._triggers)
            try:
                if route == "put":
                    faults = self._schedule.next(route)
                    await self._receive(http, request, faults)
                else:
                    # Read to the end first, so that the connection can be reused after a rejection.
                    request.body = await http.read()
                    faults = self._schedule.next(route, request.names.get("execution"))
                response, is_complete = await self._send(http, request, faults)
                status = response.status if is_complete else None
            except ConnectionError:
                # The client closed the connection while it sent the body: there is no response, and nothing to log.
                return self._cut(http)[0]
            except (web.HTTPException, RefusalError) as exc:
                status = exc.response.status if isinstance(exc, RefusalError) else exc.status
                raise
            else:
                return response
            finally:
                if request.received is not None:
                    request.received.path.unlink(missing_ok=True)
                inputs = count_inputs(request.body) if route == "trigger" else 0
                self._record(http, route, status, inputs, faults)

        return handle

    async def _receive(self, http: web.Request, request: Request, faults: Iterable[Fault]) -> None:
        """Write the body of an upload to a file, or half of it if the connection is to be dropped.

        A PUT whose head is wrong is refused before its body is read.
        """
        self._storage.check_upload(request)
        request.received = body = ReceivedBody(self._storage.new_path())
        share = 2 if any(fault.kind == "dropped" for fault in faults) else 1
        expected = int(request.headers[hdrs.CONTENT_LENGTH]) // share
        digest = hashlib.sha256()
        with body.path.open("xb") as file:
            while body.size < expected and (chunk := await http.content.readany()):
                file.write(chunk)
                digest.update(chunk)
                body.size += len(chunk)
        body.sha256 = digest.hexdigest()

    def _record(
        self, http: web.Request, route: str, status: int | None, inputs: int = 0, faults: Iterable[Fault] = ()
    ) -> None:
        with_key = hdrs.AUTHORIZATION in http.headers or "X-API-Key" in http.headers
        kinds = tuple(fault.kind for fault in faults)
        record = RequestRecord(route, http.method, http.path, status, inputs, with_key, kinds)
        with self._lock:
            self._requests.append(record)
            if route == "trigger":
                self._triggers -= 1

    async def _send(
        self, http: web.Request, request: Request, faults: tuple[Fault, ...]
    ) -> tuple[web.StreamResponse, bool]:
        """Return what was sent for a request, and whether it is complete."""
        latency = sum(fault.seconds for fault in faults if fault.kind == "latency")
        await self._sleep(self._account.options.latency + latency)
        fault = next((fault for fault in faults if fault.kind != "latency"), None)
        if fault is not None and fault.kind in BEFORE:
            early = early_response(fault)
            return self._cut(http) if early is None else (self._as_http(early), True)
        response = self._respond(request)
        previous = self._latest.get(request.route, response)
        if response.status < 300:
            self._latest[request.route] = response
        if fault is None:
            return self._as_http(response), True
        if fault.kind == "replayed":
            return self._as_http(previous), True
        if fault.kind == "lost_answer":
            return self._cut(http)
        if fault.kind == "silence":
            await self._sleep(fault.seconds or None)
        if fault.kind in ("cut_short", "stalled"):
            return await self._send_in_halves(http, response, fault)
        return self._as_http(altered_response(fault, response)), True

    async def _sleep(self, seconds: float | None) -> None:
        """Wait for `seconds` (None for ever), or until the server stops."""
        if seconds != 0:
            await asyncio.wait([self._stopped], timeout=seconds)

    def _headers(self, response: Response) -> dict[str, str]:
        account = self._account
        date = {"Date": formatdate(account.epoch(account.now()), usegmt=True)} if account.options.clock_skew else {}
        return {**response.headers, **date}

    def _as_http(self, response: Response) -> web.Response:
        return web.Response(
            status=response.status,
            body=response.body,
            content_type=response.content_type,
            headers=self._headers(response),
        )

    @staticmethod
    def _cut(http: web.Request) -> tuple[web.StreamResponse, bool]:
        if http.transport is not None:
            http.transport.abort()
        # It is never sent, but aiohttp requires a response.
        return web.Response(status=500), False

    async def _send_in_halves(
        self, http: web.Request, response: Response, fault: Fault
    ) -> tuple[web.StreamResponse, bool]:
        """Send half of the body, and the other half later or never."""
        headers = {**self._headers(response), "Content-Length": str(len(response.body))}
        stream = web.StreamResponse(status=response.status, headers=headers)
        stream.content_type = response.content_type
        await stream.prepare(http)
        half = len(response.body) // 2
        await stream.write(response.body[:half])
        if fault.kind == "stalled":
            await self._sleep(fault.seconds or None)
            if fault.seconds and not self._stopped.done():
                await stream.write(response.body[half:])
                await stream.write_eof()
                return stream, True
        if http.transport is not None:
            http.transport.close()
        return stream, False

    @web.middleware
    async def _errors_as_json(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusalError as exc:
            return self._as_http(exc.response)
        except web.HTTPException as exc:
            response = self._as_http(error_response(exc.status, exc.reason.lower()))
            if "Allow" in exc.headers:
                response.headers["Allow"] = exc.headers["Allow"]
            if exc.status in (404, 405):
                self._record(request, "other", exc.status)
            if exc.status == 413:
                response.force_close()
            return response

    async def _redirected(self, http: web.Request) -> web.StreamResponse:
        self._record(http, "elsewhere", 404)
        return self._as_http(error_response(404, "a redirect was followed to nowhere"))

    # The sandbox's own routes, for other processes

    async def _get_ledger(self, _http: web.Request) -> web.StreamResponse:
        account = self._account
        accepted = [asdict(record) for record in account.records()]
        for document in accepted:
            document["at"] = document.pop("created_at")
        ledger = {
            "accepted_count": len(accepted),
            "duplicates": account.duplicates(),
            "in_flight": account.in_flight,
            "balance_usd": account.balance_usd,
            "peak_in_flight": self.peak,
            "requests": Counter(record.route for record in self.requests),
            "billed_usd": account.billed_usd,
            "files": [asdict(record) for record in self._storage.records()],
            "accepted": accepted,
        }
        return self._as_http(json_response(ledger))

    async def _post_faults(self, http: web.Request) -> web.StreamResponse:
        document = await self._json_object(http)
        try:
            faults = [Fault.from_dict(item) for item in document.get("faults", [])]
        except (TypeError, ValueError) as exc:
            raise RefusalError(400, "invalid faults", details=str(exc)) from exc
        self.set_faults(faults)
        return self._as_http(json_response({"faults": len(faults)}))

    async def _post_release(self, http: web.Request) -> web.StreamResponse:
        count = (await self._json_object(http)).get("n")
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
            raise RefusalError(400, "n must be a whole number")
        released = self._account.release(count)
        self._on_release()
        return self._as_http(json_response({"released": released}))

    @staticmethod
    async def _json_object(http: web.Request) -> Mapping[str, Any]:
        body = await http.read()
        document = parse_json(body) if body else {}
        if not isinstance(document, dict):
            raise RefusalError(400, "the body must be a JSON object")
        return document
