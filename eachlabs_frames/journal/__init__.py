"""The journal: which rows were sent, and what became of them, whatever happens to the process.

Other packages use `open_journal`, and the modules `base` (the Protocols and values), `records` (the state of a run's
rows), `updates` and `run_names`. `sqlite` and `none` implement the Protocols, and only this package imports them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Journal


def open_journal(path: Path | None) -> Journal:
    """Return the journal in the SQLite file at `path`, or one that remembers nothing if `path` is None.

    The file is created when a run is opened.
    """
    if path is None:
        from .none import NullJournal

        return NullJournal()
    from .sqlite.journal import SqliteJournal

    return SqliteJournal(path)
