"""Claims a batch directly before its request: an old claim is given back and made anew.

A process that is frozen between its claim and its request (a suspended machine, SIGSTOP) looks dead to other calls of
the run. They may search for its rows, not find them and, with ``on_unknown="resend"``, send them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import JournalError
from ..models import Batch, Clock, Request
from .recorder import Recorder

MAX_CLAIM_AGE: Final = 10.0
"""Seconds between the beginning of a claim and its request; others take a call for dead after more than that."""

MAX_CLAIMS: Final = 5
"""Claims of one batch that may take longer."""


async def claim_request(
    recorder: Recorder, clock: Clock, batch: Batch, build: Callable[[Batch], Request]
) -> tuple[Batch, Request] | None:
    """Claim a batch and build its request, to be sent at once.

    Returns
    -------
    tuple of Batch and Request, or None
        The part that may be sent; None if other calls have sent all of it.

    Raises
    ------
    JournalError
        The claim could not be written, or takes too long each time: nothing may be sent.
    """
    for _ in range(MAX_CLAIMS):
        began = clock.since_boot()
        claimed = await recorder.claim(batch)
        if claimed is None:
            return None
        request = build(claimed)
        if clock.since_boot() - began <= MAX_CLAIM_AGE:
            return claimed, request
        recorder.release(claimed)
        batch = claimed
    msg = f"the journal takes more than {MAX_CLAIM_AGE:g} s to record a claim: is its disk or its server overloaded?"
    raise JournalError(msg)
