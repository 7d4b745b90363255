"""The folders of ``trigger --dask``: input files, and an output folder that is marked with the call it belongs to."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import UsageError

MARK: Final = "_eachlabs.json"
"""Says which call the folder is of. Readers of Parquet folders skip names that begin with an underscore."""

Identity = Mapping[str, str | None]
"""What a folder is of: the workflow, the run, the key, the prefix and the input folder."""


def input_files(folder: Path) -> list[str]:
    """Return the names of the Parquet files in a folder and its subfolders, relative to it.

    Raises
    ------
    UsageError
        There is no such folder, or it has no such files.
    """
    if not folder.is_dir():
        what = "a file; --dask reads a folder of Parquet files" if folder.exists() else "no such folder"
        msg = f"{folder}: {what}"
        raise UsageError(msg)
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() == ".parquet"]
    found = sorted(name.as_posix() for name in names if not any(part.startswith((".", "_")) for part in name.parts))
    if not found:
        msg = f"{folder}: it has no Parquet files (*.parquet)"
        raise UsageError(msg)
    return found


def check_output(out: Path, source: Path, identity: Identity) -> None:
    """Check that `out` can be the output folder of a call.

    Raises
    ------
    UsageError
        It is another call's, holds something else, overlaps with the input, or cannot be made or written.
    """
    real, other = Path(os.path.realpath(out)), Path(os.path.realpath(source))
    if real == other or real in other.parents or other in real.parents:
        msg = f"{out}: --out must be neither the input folder, nor inside of it, nor around it"
        raise UsageError(msg)
    if not real.parent.is_dir():
        msg = f"{out}: the folder {real.parent} does not exist; create it first"
        raise UsageError(msg)
    if not real.exists() and os.access(real.parent, os.W_OK):
        return
    if not real.is_dir() or not os.access(real, os.W_OK):
        msg = f"{out}: {'a file' if real.is_file() else 'cannot be written'}; --out must be a folder for --dask"
        raise UsageError(msg)
    found = read_mark(real)
    if found is None and any(real.iterdir()):
        msg = f"{out}: the folder is not empty, and was not made by this command: choose another --out"
        raise UsageError(msg)
    for name, value in identity.items():
        if found is not None and found.get(name) != value:
            msg = (
                f"{out}: the folder was made by a command with {name} {found.get(name)!r}, and this one has {value!r}: "
                "choose another --out"
            )
            raise UsageError(msg)


def create(out: Path, identity: Identity) -> None:
    """Make the folder, and the file that marks it.

    Raises
    ------
    UsageError
        It cannot be made.
    """
    part = out / f".eachlabs-{secrets.token_hex(8)}.part"
    try:
        out.mkdir(exist_ok=True)
        part.write_text(json.dumps(identity), encoding="utf-8")
        part.replace(out / MARK)
    except OSError as exc:
        msg = f"{out}: cannot be written: {exc.strerror or exc}"
        raise UsageError(msg) from exc


def discard(out: Path) -> None:
    """Remove the mark, and the folder, if nothing else is in it."""
    with contextlib.suppress(OSError):
        if [path.name for path in out.iterdir()] == [MARK]:
            (out / MARK).unlink()
            out.rmdir()


def read_mark(folder: Path) -> Identity | None:
    """Return what a folder is of; None if it was not made by this command."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None
