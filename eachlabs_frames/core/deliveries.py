"""A webhook's delivery: bytes in, what it says out, and whether it may say that. It reads no socket.

Owns what makes a delivery genuine, readable, and true of an execution that is known. Secrets are compared in constant
time, and are in no value that leaves this room.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from ..models import TERMINAL, Outcome
from .decoding import decode
from .executions import canonical_status, read, says_too_little

HEADER: Final = "X-Webhook-Secret"
"""Brings the secret back, verbatim: no signature (API reference, "Webhooks")."""

LONGEST_ID: Final = 200

_NOWHERE: Final = -1


class Notice(NamedTuple):
    """What one delivery says of one execution; the outcome's position is for whoever knows its row."""

    outcome: Outcome
    workflow_id: str | None = None

    @property
    def execution_id(self) -> str:
        """Whose it is."""
        return str(self.outcome.execution_id)

    @property
    def ended(self) -> bool:
        """Whether it says that the execution is over."""
        return self.outcome.status in TERMINAL

    @property
    def brief(self) -> bool:
        """Whether it says that, and not what came of it: the details do."""
        return says_too_little(self.outcome)


class Known(NamedTuple):
    """What somebody knows of an execution before it is delivered."""

    bulk_id: str | None
    workflow_id: str | None


def path_token(secret: str) -> str:
    """Return what stands in the URL's path where the dialect brings no secret back: made of it, and no way to it."""
    made = hmac.new(secret.encode(), b"eachlabs-frames: the path of a webhook", sha256)
    return urlsafe_b64encode(made.digest()).rstrip(b"=").decode()


def is_genuine(given: Sequence[str], secret: str) -> bool:
    """Say whether exactly the secret was given, once; in a time that tells nothing of where it differs."""
    word = given[0] if len(given) == 1 else ""
    return hmac.compare_digest(word.encode("utf-8", "surrogateescape"), secret.encode())


def read_delivery(body: bytes) -> Notice | None:
    """Return what a delivery says, or None where it has not the shape of an execution's details."""
    try:
        said = decode(body)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    execution_id, bulk_id, workflow_id = (said.get(name) for name in ("execution_id", "bulk_id", "workflow_id"))
    if not isinstance(execution_id, str) or not 0 < len(execution_id) <= LONGEST_ID:
        return None
    if not all(name is None or isinstance(name, str) for name in (bulk_id, workflow_id)):
        return None
    if canonical_status(said.get("status")) is None:
        return None
    return Notice(read(_NOWHERE, said), workflow_id or None)


def agrees(notice: Notice, known: Known) -> bool:
    """Say whether a delivery speaks of the very execution that is known: of its bulk operation and its workflow."""
    if None not in (notice.outcome.bulk_id, known.bulk_id) and not _same(notice.outcome.bulk_id, known.bulk_id):
        return False
    ours, theirs = known.workflow_id, notice.workflow_id
    # A workflow may be known here by its slug, and the API speaks of it by its id: those cannot be compared.
    return ours is None or theirs is None or not _is_id(ours) or _same(ours, theirs)


def _same(one: str | None, other: str | None) -> bool:
    return str(one).lower() == str(other).lower()


def _is_id(workflow_id: str) -> bool:
    if workflow_id.startswith("wf_"):
        return True
    try:
        UUID(workflow_id)
    except ValueError:
        return False
    return True
