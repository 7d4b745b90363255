"""HTTP of the sandbox: reads requests, injects faults, sends responses.

Owns every use of aiohttp's server. It never decides on the content of a response (`api`) or which requests a fault
affects (`faults`).
"""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from aiohttp import hdrs, web

from .account import Account
from .answers import Answer, RefusalError, as_json, refusal
from .api import Api, Call, ledger_document
from .bodies import count_inputs, read_json
from .faults import BEFORE, REDIRECT_PATH, Fault, Schedule, instead, spoil
from .ledger import Ledger, RequestRecord
from .options import Dialect

MAX_BODY_BYTES = 12 * 1024 * 1024
_CUT = frozenset({"lost_answer", "dropped"})
_REQUEST_ID = "X-Request-Id"
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,200}")

_PATHS: tuple[tuple[Dialect, str, str, str], ...] = (
    ("current", "POST", "/v1/workflows/bulk-trigger/{workflow}/{version}", "trigger"),
    ("current", "POST", "/v1/workflows", "create"),
    ("current", "GET", "/v1/workflows/executions/{execution}", "details"),
    ("current", "GET", "/v1/workflows/{workflow}/executions", "list"),
    ("current", "GET", "/v1/workflows/{workflow}", "workflow"),
    ("current", "GET", "/v1/billing/balance", "balance"),
    ("legacy", "POST", "/api/v1/{workflow}/bulk-trigger", "trigger"),
    ("legacy", "GET", "/api/v1/executions/{execution}", "details"),
    ("legacy", "GET", "/api/v1/workflows/{workflow}/executions", "list"),
    ("legacy", "GET", "/api/v1/workflows/{workflow}", "workflow"),
    ("current", "GET", "/media/{name}", "media"),
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Visit:
    """A request in progress."""

    request: web.Request
    route: str
    inputs: int = 0
    sent: int | None = None
    faults: tuple[Fault, ...] = ()

    def record(self) -> RequestRecord:
        """Return the record of the request, without its secrets."""
        headers = self.request.headers
        return RequestRecord(
            self.route,
            self.request.method,
            self.request.path,
            self.sent,
            self.inputs,
            hdrs.AUTHORIZATION in headers or "X-API-Key" in headers,
            tuple(fault.kind for fault in self.faults),
        )


async def _add_request_id(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Return the caller's `X-Request-Id`, or a new ID if the request has none or an invalid one."""
    given = request.headers.get(_REQUEST_ID, "")
    response.headers[_REQUEST_ID] = given if _PRINTABLE.fullmatch(given) else str(uuid.uuid4())


class Routes:
    """The HTTP side of a sandbox. It runs in the server's loop."""

    def __init__(self, api: Api, *, account: Account, ledger: Ledger, wake: Callable[[], None]) -> None:
        self._api = api
        self._account = account
        self._ledger = ledger
        self._wake = wake
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._latest: dict[str, Answer] = {}
        self.set_faults(())

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace the faults and count requests from 1 again. Thread-safe."""
        self._schedule = Schedule(faults, random.Random(self._account.options.seed))  # noqa: S311 - repeats a run; no secret

    def end(self) -> None:
        """End all delays, so that the server can stop at once."""
        if not self._over.done():
            self._over.set_result(None)

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._as_json], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(_add_request_id)
        for dialect, method, path, route in _PATHS:
            app.router.add_route(method, path, self._endpoint(route, dialect))
        app.router.add_route("GET", "/_sandbox/ledger", self._show_ledger)
        app.router.add_route("POST", "/_sandbox/faults", self._take_faults)
        app.router.add_route("POST", "/_sandbox/release", self._release)
        app.router.add_route("*", REDIRECT_PATH, self._elsewhere)
        return app

    def _endpoint(self, route: str, dialect: Dialect) -> Handler:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            visit = Visit(request, route)
            self._ledger.begin(route)
            try:
                # Read to the end first, so that the connection can be reused after a rejection.
                body = await request.read()
                call = Call(route, dialect, request.match_info, list(request.query.items()), request.headers, body)
                return await self._handle(visit, call)
            except web.HTTPException as refused:
                visit.sent = refused.status
                raise
            finally:
                self._ledger.end(visit.record())

        return endpoint

    async def _handle(self, visit: Visit, call: Call) -> web.StreamResponse:
        if call.route == "trigger":
            visit.inputs = count_inputs(call.body)
        visit.faults = self._schedule.next(call.route, call.names.get("execution"))
        waits = [fault.seconds for fault in visit.faults if fault.kind == "latency"]
        await self._pause(self._account.options.latency + sum(waits))
        fault = next((fault for fault in visit.faults if fault.kind != "latency"), None)
        if fault is not None and fault.kind in BEFORE:
            answer = instead(fault)
            return self._cut(visit) if answer is None else self._send(visit, answer)
        answer = self._api.answer(call)
        before = self._latest.get(call.route, answer)
        if answer.status < 300:
            self._latest[call.route] = answer
        if fault is None:
            return self._send(visit, answer)
        if fault.kind == "replayed":
            return self._send(visit, before)
        if fault.kind == "lost_answer":
            return self._cut(visit)
        if fault.kind == "silence":
            await self._pause(fault.seconds or None)
        if fault.kind in ("cut_short", "stalled"):
            return await self._send_in_halves(visit, answer, fault)
        return self._send(visit, spoil(fault, answer))

    async def _pause(self, seconds: float | None) -> None:
        """Wait for `seconds` (None for ever), or until the server stops."""
        if seconds != 0:
            await asyncio.wait([self._over], timeout=seconds)

    def _headers(self, answer: Answer) -> dict[str, str]:
        skew = self._account.options.clock_skew
        if not skew:
            return dict(answer.headers)
        moment = self._account.stamps.wall(self._account.now(), self._account.options)
        return {**answer.headers, "Date": formatdate(moment, usegmt=True)}

    def _send(self, visit: Visit, answer: Answer) -> web.Response:
        visit.sent = answer.status
        return web.Response(
            status=answer.status,
            body=answer.body,
            content_type=answer.content_type,
            headers=self._headers(answer),
        )

    def _cut(self, visit: Visit) -> web.Response:
        if visit.request.transport is not None:
            visit.request.transport.abort()
        # It is never sent, but aiohttp requires a response.
        return web.Response(status=500)

    async def _send_in_halves(self, visit: Visit, answer: Answer, fault: Fault) -> web.StreamResponse:
        """Send half of the body, and the other half later or never."""
        headers = {**self._headers(answer), "Content-Length": str(len(answer.body))}
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_type = answer.content_type
        await response.prepare(visit.request)
        half = len(answer.body) // 2
        await response.write(answer.body[:half])
        if fault.kind == "stalled":
            await self._pause(fault.seconds or None)
            if fault.seconds and not self._over.done():
                visit.sent = answer.status
                await response.write(answer.body[half:])
                await response.write_eof()
                return response
        if visit.request.transport is not None:
            visit.request.transport.close()
        return response

    @web.middleware
    async def _as_json(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusalError as refused:
            return self._send(Visit(request, "other"), refused.answer)
        except web.HTTPException as refused:
            visit = Visit(request, "other")
            allow = {"Allow": refused.headers["Allow"]} if "Allow" in refused.headers else {}
            made = refusal(refused.status, refused.reason.lower())
            answer = Answer(made.status, made.body, headers=allow)
            response = self._send(visit, answer)
            if refused.status in (404, 405):
                self._ledger.end(visit.record())
            if refused.status == 413:
                response.force_close()
            return response

    async def _elsewhere(self, request: web.Request) -> web.StreamResponse:
        visit = Visit(request, "elsewhere", sent=404)
        self._ledger.end(visit.record())
        return self._send(visit, refusal(404, "a redirect was followed to nowhere"))

    async def _show_ledger(self, request: web.Request) -> web.StreamResponse:
        document = ledger_document(self._account, requests=self._ledger.counts(), peak=self._ledger.peak)
        return self._own(request, document)

    async def _take_faults(self, request: web.Request) -> web.StreamResponse:
        document = await self._object(request)
        try:
            faults = [Fault.from_dict(item) for item in document.get("faults", [])]
        except (TypeError, ValueError) as problem:
            raise RefusalError(400, "invalid faults", details=str(problem)) from problem
        self.set_faults(faults)
        return self._own(request, {"faults": len(faults)})

    async def _release(self, request: web.Request) -> web.StreamResponse:
        count = (await self._object(request)).get("n")
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
            raise RefusalError(400, "n must be a whole number")
        released = self._account.release(count)
        self._wake()
        return self._own(request, {"released": released})

    async def _object(self, request: web.Request) -> Mapping[str, Any]:
        body = await request.read()
        document = read_json(body) if body else {}
        if not isinstance(document, dict):
            raise RefusalError(400, "the body must be a JSON object")
        return document

    def _own(self, request: web.Request, document: Mapping[str, Any]) -> web.Response:
        return self._send(Visit(request, "sandbox"), as_json(document))
