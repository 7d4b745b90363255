"""Reads the workflow of a call. For an id that does not exist it names the one that is probably meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..aio.bridge import Read, cancellable
from ..aio.clock import SystemClock
from ..api import reader
from ..errors import JournalError, NotFoundError
from ..journal import open_journal
from ..models import Transport, Workflow
from ..settings import Settings
from ..suggestions import did_you_mean


def read_workflow(
    workflow_id: str, version_id: str | None, read: Read, settings: Settings, *, client: Transport
) -> Workflow:
    """Read a version of a workflow from the API, or the latest if `version_id` is None.

    Raises
    ------
    APIError
        It could not be read; if it does not exist, the message names the nearest id of an earlier run.
    """
    with _suggesting_workflow_ids(workflow_id, settings):
        return read(
            cancellable(
                lambda: reader.read_workflow(workflow_id, version_id=version_id, transport=client, clock=SystemClock())
            )
        )


@contextmanager
def _suggesting_workflow_ids(workflow_id: str, settings: Settings) -> Iterator[None]:
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
