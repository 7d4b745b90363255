"""The body of a webhook's delivery: bytes in, the outcome of one execution out.

Owns what makes a delivery readable, and what makes it agree with an execution that is known. It reads no socket, and
does not decide whether a delivery is genuine: see `signatures`.
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
    """What one delivery says about one execution.

    Attributes
    ----------
    outcome : Outcome
        Without a position: the receiver does not know the execution's row.
    workflow_id : str or None
    inputs : bytes or None
        The fingerprint of the inputs that the API repeats; None where it repeats none.
    """

    outcome: Outcome
    workflow_id: str | None = None
    inputs: bytes | None = None

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
        return lacks_details(self.outcome)

    def differs(self, content: bytes | None) -> bool:
        """Return whether the execution has other inputs than a row has sent, by their fingerprints.

        That is no proof that it is another row's execution: the API may add defaults to inputs. Polling decides.
        """
        return None not in (self.inputs, content) and self.inputs != content


class KnownExecution(NamedTuple):
    """What somebody knows of an execution before it is delivered."""

    bulk_id: str | None
    workflow_id: str | None


def read_delivery(body: bytes) -> Delivery | None:
    """Return what a delivery says, or None where it has not the shape of an execution's details."""
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
