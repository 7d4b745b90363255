"""Which rows of a request without a response are searched for. Reads no journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..models import UNKNOWN
from .base import LostRequest
from .records import SENT, SETTLED, RunState


def lost_request(
    state: RunState, content: Callable[[int], bytes], claim: int, sent: Sequence[int], since: float, until: float
) -> LostRequest:
    """Return the request of a claim, which has sent the rows `sent`, with all its rows that have no response."""
    results, phases = state.results, state.phases
    together = [row for row in sent if state.claims[row] == claim]
    # What a row had before it was sent again is no response to this request.
    unknown = {row for row in together if results.status[row] == UNKNOWN and results.execution_id[row] is None}
    waiting = tuple(row for row in together if phases[row] == SENT or row in unknown)
    # If some of them were found before, the others are in the same bulk operation or nowhere.
    bulk_ids = (results.bulk_id[row] for row in together if phases[row] == SETTLED)
    bulk_id = next((bulk_id for bulk_id in bulk_ids if bulk_id is not None), None)
    return LostRequest(waiting, tuple(map(content, waiting)), since, until, bulk_id)
