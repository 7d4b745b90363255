"""The API's endpoints, in both dialects: a request in, a response out.

Owns authentication and the response of each route. It never touches a socket, and never injects faults.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import media
from .account import Account
from .executions import Execution, View, details, summary
from .messages import RefusalError, Request, Response, json_response
from .options import Dialect
from .parsing import parse_page, parse_presign, parse_query, parse_trigger, parse_uuid
from .storage import Storage
from .workflows import Workflow

# Routes without a key: outputs, and the storage, which has its own host in the real API.
_PUBLIC = frozenset({"media", "put", "file"})
_MEDIA_NAME = re.compile(r"([0-9a-f-]{36})-([0-9])\.(svg|png)", re.ASCII)


class Api:
    """Every route of the API over one account and its workflows, which are found by id and by slug."""

    def __init__(
        self,
        account: Account,
        *,
        workflows: Mapping[str, Workflow],
        storage: Storage,
        api_key: str,
        media_url: Callable[[], str],
        on_accepted: Callable[[Execution], None],
    ) -> None:
        self._account = account
        self._workflows = workflows
        self._storage = storage
        self._api_key = api_key.encode()
        self._media_url = media_url
        self._on_accepted = on_accepted
        self._handlers: Mapping[str, Callable[[Request], Response]] = {
            "trigger": self._trigger,
            "create": self._create,
            "list": self._list,
            "details": self._details,
            "workflow": self._workflow,
            "balance": self._balance,
            "model": self._model,
            "media": self._media,
            "presign": self._presign,
            "put": storage.upload,
            "file": storage.read,
            "delete": self._delete,
        }

    def respond(self, request: Request) -> Response:
        """Process a request and return its response, which may be a rejection."""
        try:
            if request.route not in _PUBLIC:
                self._authenticate(request)
            return self._handlers[request.route](request)
        except RefusalError as exc:
            return exc.response

    def view(self, dialect: Dialect) -> View:
        """Return a view of executions at the current time."""
        account = self._account
        return View(account.now(), dialect, account.options, account.epoch, self._media_url())

    def _authenticate(self, request: Request) -> None:
        if request.dialect == "legacy":
            key = request.headers.get("X-API-Key", "")
        else:
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            key = key if scheme.lower() == "bearer" else ""
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._api_key):
            raise RefusalError(401, "invalid or missing API key")

    def _find_workflow(self, request: Request) -> Workflow:
        workflow = self._workflows.get(request.names["workflow"])
        if workflow is None:
            raise RefusalError(404, "workflow not found")
        if workflow.forbidden:
            raise RefusalError(403, "forbidden", details="this key may not use this workflow")
        return workflow

    def _trigger(self, request: Request) -> Response:
        workflow = self._find_workflow(request)
        version_id = request.names.get("version")
        if version_id is not None:
            workflow.version(version_id)
        body = parse_trigger(request)
        version = workflow.version(body.get("version_id", version_id))
        webhook = body.get("webhook_url"), body.get("webhook_secret")
        bulk_id, outcomes = self._account.trigger(workflow, version, body["inputs"], webhook, self._storage.unreadable)
        view = self.view(request.dialect)
        entries = []
        for outcome in outcomes:
            if isinstance(outcome, str):
                entries.append({"status": "failed", "message": outcome})
                continue
            self._on_accepted(outcome)
            entry = {"execution_id": outcome.execution_id, "status": "queued"}
            if request.dialect == "legacy":
                entry["started_at"] = view.timestamp(outcome.created)
            entries.append(entry)
        return json_response({"bulk_id": bulk_id, "executions": entries}, status=202)

    @staticmethod
    def _create(_request: Request) -> Response:
        raise RefusalError(403, "forbidden", details="this key may not create workflows")

    def _list(self, request: Request) -> Response:
        workflow = self._find_workflow(request)
        bulk_id, offset, limit = parse_page(request.query)
        executions, total = self._account.page(workflow.workflow_id, bulk_id, offset, limit)
        view = self.view(request.dialect)
        document: dict[str, Any] = {"executions": [summary(e, view) for e in executions]}
        next_offset = offset + len(executions)
        if request.dialect == "current":
            document["limit"] = limit
        elif next_offset < total:
            document["offset"] = next_offset
        elif bulk_id is None:
            document["offset"] = None
        document["total_count"] = total
        return json_response(document)

    def _details(self, request: Request) -> Response:
        parse_query(request.query)
        execution = self._account.find(request.names["execution"])
        return json_response(details(execution, self.view(request.dialect)))

    def _workflow(self, request: Request) -> Response:
        parse_query(request.query)
        workflow = self._find_workflow(request)
        counts = self._account.version_counts(workflow.workflow_id)
        return json_response(workflow.shown(request.dialect, counts=counts))

    def _balance(self, request: Request) -> Response:
        parse_query(request.query)
        return json_response({"balance_usd": self._account.read_balance()})

    def _model(self, request: Request) -> Response:
        parse_query(request.query)
        model = self._account.prices.find(request.names["slug"])
        if model is None:
            raise RefusalError(404, "Failed to fetch model: model not found")
        return json_response(model.shown())

    def _presign(self, request: Request) -> Response:
        body = parse_presign(request)
        return self._storage.presign(body["content_type"], body.get("expires_in_seconds"))

    def _delete(self, request: Request) -> Response:
        parse_query(request.query)
        return self._storage.delete(parse_uuid(request.names["file"], name="id"))

    def _media(self, request: Request) -> Response:
        match = _MEDIA_NAME.fullmatch(request.names["name"])
        if match is None:
            raise RefusalError(404, "no such picture")
        execution_id, index, suffix = match[1], int(match[2]), match[3]
        execution = self._account.find(execution_id)
        if index >= execution.media_count() or execution.status(self._account.now()) != "completed":
            raise RefusalError(404, "no such picture")
        # An output's name never changes its picture: the name itself is the tag.
        tag = f'"{execution_id}-{index}-{suffix}"'
        if suffix == "svg":
            body, content_type = media.svg(execution.inputs, index=index), "image/svg+xml"
        else:
            body = media.png(execution.inputs, index=index, at_least=self._account.options.media_bytes)
            content_type = "image/png"
        headers = {
            "ETag": tag,
            "Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:",
            "Cache-Control": "max-age=86400",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        }
        if tag in request.headers.get("If-None-Match", ""):
            return Response(304, headers=headers)
        return Response(200, body, content_type=content_type, headers=headers)
