"""The API's endpoints, in both dialects: a call in, a response out.

Owns authentication and the response of each route. It never touches a socket, and never injects faults.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import media
from .account import Account
from .answers import Answer, RefusalError, as_json
from .bodies import check_query, read_page, read_trigger, read_trigger_query
from .executions import Execution, View, details, pictures, summary
from .options import Dialect
from .workflows import Catalog

_MEDIA_NAME = re.compile(r"([0-9a-f-]{36})-([0-9])\.(svg|png)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """A complete request."""

    route: str
    dialect: Dialect
    names: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes = b""


class Api:
    """Every route of the API over one account and one catalog."""

    def __init__(
        self,
        account: Account,
        *,
        catalog: Catalog,
        api_key: str,
        media_url: Callable[[], str],
        accepted: Callable[[Execution], None],
    ) -> None:
        self._account = account
        self._catalog = catalog
        self._api_key = api_key.encode()
        self._media_url = media_url
        self._accepted = accepted
        self._table: Mapping[str, Callable[[Call], Answer]] = {
            "trigger": self._trigger,
            "create": self._create,
            "list": self._list,
            "details": self._details,
            "workflow": self._workflow,
            "balance": self._balance,
            "media": self._media,
        }

    def answer(self, call: Call) -> Answer:
        """Process a call and return its response, which may be a rejection."""
        try:
            if call.route != "media":
                self._authenticate(call)
            return self._table[call.route](call)
        except RefusalError as refused:
            return refused.answer

    def view(self, dialect: Dialect) -> View:
        """Return a view of executions at the current time."""
        account = self._account
        return View(account.now(), dialect, account.options, account.stamps, self._media_url())

    def _authenticate(self, call: Call) -> None:
        if call.dialect == "legacy":
            key = call.headers.get("X-API-Key", "")
        else:
            scheme, _, key = call.headers.get("Authorization", "").partition(" ")
            key = key if scheme.lower() == "bearer" else ""
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._api_key):
            raise RefusalError(401, "invalid or missing API key")

    def _trigger(self, call: Call) -> Answer:
        workflow = self._catalog.find(call.names["workflow"])
        url = read_trigger_query(call.query, call.dialect)
        named = call.names.get("version")
        if named is not None:
            workflow.version(named)
        body = read_trigger(call.body, call.headers.get("Content-Type", ""), call.dialect)
        body = replace(body, webhook_url=body.webhook_url or url)
        version = workflow.version(named if named is not None else body.version_id)
        bulk = self._account.start(workflow, version, body)
        view = self.view(call.dialect)
        entries = []
        for outcome in bulk.outcomes:
            if isinstance(outcome, str):
                entries.append({"status": "failed", "message": outcome})
                continue
            self._accepted(outcome)
            entry = {"execution_id": outcome.execution_id, "status": "queued"}
            if call.dialect == "legacy":
                entry["started_at"] = view.stamp(outcome.created)
            entries.append(entry)
        return as_json({"bulk_id": bulk.bulk_id, "executions": entries}, status=202)

    def _list(self, call: Call) -> Answer:
        workflow = self._catalog.find(call.names["workflow"])
        page = read_page(call.query)
        executions, total = self._account.page(workflow, page)
        view = self.view(call.dialect)
        document: dict[str, Any] = {"executions": [summary(e, view) for e in executions]}
        after = page.offset + len(executions)
        if call.dialect == "current":
            document["limit"] = page.limit
        elif after < total:
            document["offset"] = after
        elif page.bulk_id is None:
            document["offset"] = None
        document["total_count"] = total
        return as_json(document)

    def _details(self, call: Call) -> Answer:
        check_query(call.query)
        execution = self._account.find(call.names["execution"])
        return as_json(details(execution, self.view(call.dialect)))

    def _workflow(self, call: Call) -> Answer:
        check_query(call.query)
        workflow = self._catalog.find(call.names["workflow"])
        return as_json(workflow.shown(call.dialect, counts=self._account.version_counts(workflow)))

    def _create(self, call: Call) -> Answer:  # noqa: ARG002  # every request is rejected
        raise RefusalError(403, "forbidden", details="this key may not create workflows")

    def _balance(self, call: Call) -> Answer:
        check_query(call.query)
        return as_json({"balance_usd": self._account.balance()})

    def _media(self, call: Call) -> Answer:
        match = _MEDIA_NAME.fullmatch(call.names["name"])
        if match is None:
            raise RefusalError(404, "no such picture")
        execution = self._account.find(match[1])
        number, kind = int(match[2]), match[3]
        now = self._account.now()
        if number >= pictures(execution) or execution.status(now) != "completed":
            raise RefusalError(404, "no such picture")
        if kind == "svg":
            body = media.svg(execution.inputs, index=number)
        else:
            body = media.png(execution.inputs, index=number, at_least=self._account.options.media_bytes)
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        # An output's name never changes its picture: the name itself is the tag.
        tag = f'"{match[1]}-{number}-{kind}"'
        headers = {
            "ETag": tag,
            "Repr-Digest": f"sha-256=:{digest}:",
            "Cache-Control": "max-age=86400",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        }
        if tag in call.headers.get("If-None-Match", ""):
            return Answer(304, headers=headers)
        content_type = "image/svg+xml" if kind == "svg" else "image/png"
        return Answer(200, body, content_type=content_type, headers=headers)


def ledger_document(account: Account, *, requests: Mapping[str, int], peak: int) -> dict[str, Any]:
    """Return the record of executions as JSON, for other processes."""
    accepted = [
        {
            "execution_id": record.execution_id,
            "bulk_id": record.bulk_id,
            "workflow_id": record.workflow_id,
            "version_id": record.version_id,
            "inputs": record.inputs,
            "status": record.status,
            "at": record.created_at,
            "ended_at": record.ended_at,
        }
        for record in account.records()
    ]
    return {
        "accepted_count": len(accepted),
        "duplicates": account.duplicates(),
        "in_flight": account.in_flight,
        "balance_usd": account.balance_usd,
        "peak_in_flight": peak,
        "requests": dict(requests),
        "accepted": accepted,
    }
