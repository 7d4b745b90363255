"""Answers questions about all runs of a journal at once: which run an id belongs to, what executions have cost.

It only reads. A run that cannot be read is left out.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import JournalError
from ..models import COMPLETED, RunSpec
from ..suggestions import MAX_COMPARED
from .queries import UNREADABLE, book_of, read_pin, snapshot
from .records import ANSWER, ids_of
from .sqlite_file import reading

MIN_COSTS: Final = 100
"""Executions whose costs are enough to estimate the next: a page of the API's listing, because prices change."""


def runs_of_ids(path: Path, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
    """Return the run that each of these bulk operations or executions belongs to, of those that the journal knows."""
    found: dict[str, tuple[str, RunSpec]] = {}
    with reading(path) as connection, snapshot(connection):
        query = "SELECT run, body FROM records WHERE kind = ? ORDER BY id DESC"
        for run, body in connection.execute(query, (ANSWER,)):
            here: set[str] = set()
            with suppress(*UNREADABLE):
                here = ids_of(body) & ids
            for known in here - found.keys():
                name, pin = connection.execute("SELECT name, pin FROM runs WHERE id = ?", (run,)).fetchone()
                found[known] = name, read_pin(path, name, pin)
            if len(found) == len(ids):
                break
    return found


def workflow_ids(path: Path, base_url: str) -> list[str]:
    """Return the workflows of the newest runs on that server, each once."""
    found: dict[str, None] = {}
    with reading(path) as connection:
        query = "SELECT name, pin FROM runs ORDER BY id DESC LIMIT ?"
        for name, written in connection.execute(query, (MAX_COMPARED,)):
            with suppress(JournalError):
                pin = read_pin(path, name, written)
                if pin.base_url == base_url:
                    found[pin.workflow_id] = None
    return list(found)


def costs(path: Path, workflow_id: str, base_url: str) -> list[float]:
    """Return what completed executions of a workflow on that server have cost, in USD: those of its newest runs.

    What cost nothing is no measure of what the next one costs: it may have been a credit or a cache.
    """
    found: list[float] = []
    with reading(path) as connection, snapshot(connection):
        query = "SELECT id, name, pin FROM runs ORDER BY id DESC"
        for run, name, written in connection.execute(query).fetchall():
            try:
                pin = read_pin(path, name, written)
                if (pin.workflow_id, pin.base_url) != (workflow_id, base_url):
                    continue
                results = book_of(connection, path, run)[1].results
            except JournalError:
                continue  # other runs tell what an execution costs, too
            known = zip(results.status, results.cost, strict=True)
            found += [cost for status, cost in known if status == COMPLETED and cost > 0]
            if len(found) >= MIN_COSTS:
                break
    return found
