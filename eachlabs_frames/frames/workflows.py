"""Names the workflow that a misspelt id probably means, of those that the journal knows. It asks no API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import JournalError, NotFoundError
from ..journal import open_journal
from ..settings import Settings
from ..suggestions import did_you_mean


@contextmanager
def naming_the_nearest(workflow_id: str, settings: Settings) -> Iterator[None]:
    """Add the nearest id of an earlier run to the error of a workflow that does not exist."""
    try:
        yield
    except NotFoundError as exc:
        known = _known(settings)
        near = "" if workflow_id in known else did_you_mean(workflow_id, known)  # else a version is what is missing
        if not near:
            raise
        msg = f"{exc}{near}"
        raise NotFoundError(msg, status=exc.status, details=exc.details) from None


def _known(settings: Settings) -> list[str]:
    try:
        return open_journal(settings.journal).workflow_ids(settings.base_url)
    except JournalError:
        return []  # the error about the workflow is the one to show
