"""The journals of this process's sandboxes: files in one temporary folder.

Owns the folder and deletes it when the process ends. It never opens a journal.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from pathlib import Path

_lock = threading.Lock()
_numbers = itertools.count(1)
_folders: dict[int, Path] = {}
"""By process: a forked process inherits the entry of its parent, and must not delete that folder."""


def temporary_journal(name: str) -> Path:
    """Return the path of a new journal; no two calls return the same one."""
    import tempfile  # takes time to import, and is needed only where a sandbox is started

    with _lock:
        process = os.getpid()
        if process not in _folders:
            _folders[process] = Path(tempfile.mkdtemp(prefix="eachlabs-sandbox-"))
        return _folders[process] / f"journal-{name}-{next(_numbers)}.sqlite"


# Registered on import, before the engine's: handlers run in reverse order, so calls at work are stopped first.
@atexit.register
def _delete() -> None:
    folder = _folders.pop(os.getpid(), None)
    if folder is not None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
