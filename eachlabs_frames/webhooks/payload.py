"""Parses the body of a webhook delivery into the outcome of one execution.

Owns which bodies are valid, and when a delivery matches a known execution. It reads no socket, and does not decide
whether a delivery is genuine: see `signatures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from ..api.responses import canonical_status, lacks_details, read_outcome
from ..decoding import decode
from ..inputs.fingerprints import content_of
from ..models import TERMINAL, Json, Outcome

MAX_ID_LENGTH: Final = 200

_NO_POSITION: Final = -1


class Delivery(NamedTuple):
    """The delivery of one execution's state.

    Attributes
    ----------
    outcome : Outcome
        Without a position: the receiver does not know the execution's row.
    workflow_id : str or None
    inputs : JSON
        The execution's inputs; None if the delivery does not have them.
    """

    outcome: Outcome
    workflow_id: str | None = None
    inputs: Json = None

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        return str(self.outcome.execution_id)

    @property
    def ended(self) -> bool:
        """Whether the execution has ended."""
        return self.outcome.status in TERMINAL

    def needs_poll(
        self, contents: Iterable[bytes | None], references: Mapping[str, str] = MappingProxyType({})
    ) -> bool:
        """Return whether polling decides, and not this delivery: it has no details, or inputs of none of these rows.

        Other inputs do not prove that it is another row's execution: the API may add defaults to inputs.

        Parameters
        ----------
        contents : iterable of bytes or None
            The fingerprints of the inputs of the rows that have the execution; None for one that is not known.
        references : mapping of str to str
            The reference of each uploaded file by its public URL.
        """
        if lacks_details(self.outcome) or not self.ended:
            return lacks_details(self.outcome)
        known = [*contents]
        sent = content_of(self.inputs, references, [content for content in known if content is not None])
        return sent is not None and all(content not in (None, sent) for content in known)


class KnownExecution(NamedTuple):
    """What a call or the journal knows of an execution before its delivery."""

    bulk_id: str | None
    workflow_id: str | None


def read_delivery(body: bytes) -> Delivery | None:
    """Return the delivery in a body, or None if the body does not have the shape of an execution's details."""
    try:
        data = decode(body)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    execution_id, bulk_id, workflow_id = (data.get(name) for name in ("execution_id", "bulk_id", "workflow_id"))
    if not isinstance(execution_id, str) or not 0 < len(execution_id) <= MAX_ID_LENGTH:
        return None
    if not all(name is None or isinstance(name, str) for name in (bulk_id, workflow_id)):
        return None
    if canonical_status(data.get("status")) is None:
        return None
    return Delivery(read_outcome(_NO_POSITION, data), workflow_id or None, data.get("inputs"))


def agrees(delivery: Delivery, known: KnownExecution) -> bool:
    """Return whether a delivery has the bulk operation and the workflow of the known execution."""
    if None not in (delivery.outcome.bulk_id, known.bulk_id) and not _same_id(delivery.outcome.bulk_id, known.bulk_id):
        return False
    ours, theirs = known.workflow_id, delivery.workflow_id
    # The call may have named the workflow by its slug while the API returns its id: those cannot be compared.
    return ours is None or theirs is None or not _is_id(ours) or _same_id(ours, theirs)


def _same_id(left: str | None, right: str | None) -> bool:
    return str(left).lower() == str(right).lower()


def _is_id(workflow_id: str) -> bool:
    if workflow_id.startswith("wf_"):
        return True
    try:
        UUID(workflow_id)
    except ValueError:
        return False
    return True
