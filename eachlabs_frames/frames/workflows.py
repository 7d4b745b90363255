"""Names the workflow that a misspelt id probably means, of those that the journal knows. It asks no API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import JournalError, NotFoundError
from ..journal import open_journal
from ..settings import Settings
from ..suggestions import did_you_mean


@contextmanager
def suggesting_workflow_ids(workflow_id: str, settings: Settings) -> Iterator[None]:
    """Add to the error of a workflow that does not exist the nearest id of an earlier run, or what to check."""
    try:
        yield
    except NotFoundError as exc:
        journaled = _journaled_ids(settings)
        if workflow_id in journaled:
            raise  # a version is missing, not the workflow
        near = did_you_mean(workflow_id, journaled)
        advice = near or "; check the id, and that the API key belongs to the account that has the workflow"
        msg = f"{exc}{advice}"
        raise NotFoundError(msg, status=exc.status, details=exc.details) from None


def _journaled_ids(settings: Settings) -> list[str]:
    try:
        return open_journal(settings.journal).workflow_ids(settings.base_url)
    except JournalError:
        return []  # the error about the workflow is the one to show
