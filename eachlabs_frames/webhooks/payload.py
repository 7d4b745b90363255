"""Parses the body of a webhook delivery into the outcome of one execution.

Owns which bodies are valid, and when a delivery matches a known execution. It reads no socket, and does not decide
whether a delivery is genuine: see `signatures`.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from ..api.responses import canonical_status, lacks_details, read_outcome
from ..decoding import decode
from ..inputs.fingerprints import try_fingerprint
from ..models import TERMINAL, Outcome

MAX_ID_LENGTH: Final = 200

_NOWHERE: Final = -1


class Delivery(NamedTuple):
    """The delivery of one execution's state.

    Attributes
    ----------
    outcome : Outcome
        Without a position: the receiver does not know the execution's row.
    workflow_id : str or None
    inputs : bytes or None
        The fingerprint of the inputs in the delivery; None if there are none.
    """

    outcome: Outcome
    workflow_id: str | None = None
    inputs: bytes | None = None

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        return str(self.outcome.execution_id)

    @property
    def ended(self) -> bool:
        """Whether the execution has ended."""
        return self.outcome.status in TERMINAL

    @property
    def brief(self) -> bool:
        """Whether it has no result or error, so that the details have to be read."""
        return lacks_details(self.outcome)

    def differs(self, content: bytes | None) -> bool:
        """Return whether the execution's inputs differ from those of a row, by their fingerprints.

        That does not prove that it is another row's execution: the API may add defaults to inputs. Polling decides.
        """
        return None not in (self.inputs, content) and self.inputs != content


class KnownExecution(NamedTuple):
    """What a call or the journal knows of an execution before its delivery."""

    bulk_id: str | None
    workflow_id: str | None


def read_delivery(body: bytes) -> Delivery | None:
    """Return the delivery in a body, or None if the body does not have the shape of an execution's details."""
    try:
        said = decode(body)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    execution_id, bulk_id, workflow_id = (said.get(name) for name in ("execution_id", "bulk_id", "workflow_id"))
    if not isinstance(execution_id, str) or not 0 < len(execution_id) <= MAX_ID_LENGTH:
        return None
    if not all(name is None or isinstance(name, str) for name in (bulk_id, workflow_id)):
        return None
    if canonical_status(said.get("status")) is None:
        return None
    return Delivery(read_outcome(_NOWHERE, said), workflow_id or None, try_fingerprint(said.get("inputs")))


def agrees(notice: Delivery, known: KnownExecution) -> bool:
    """Return whether a delivery has the bulk operation and the workflow of the known execution."""
    if None not in (notice.outcome.bulk_id, known.bulk_id) and not _same(notice.outcome.bulk_id, known.bulk_id):
        return False
    ours, theirs = known.workflow_id, notice.workflow_id
    # The call may have named the workflow by its slug while the API returns its id: those cannot be compared.
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
