"""Reads and writes tables in files and streams. A file is written completely or not at all.

Owns paths, streams and their errors; `formats` encodes and decodes. It never uses the network.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from ..errors import UsageError
from . import formats
from .formats import NO_PARQUET, check_suffix, suffix_of

if TYPE_CHECKING:
    from ..frames.table import Frame

STDIN: Final = "standard input"
STDOUT: Final = "standard output"

_CANNOT_HOLD: Final = (ValueError, TypeError, KeyError, NotImplementedError, OverflowError)
"""Exceptions of pandas, pyarrow and `formats` for a table that a format cannot hold."""

# Reading


def read(source: Path | BinaryIO, *, suffix: str | None = None) -> Frame:
    """Read a table.

    Parameters
    ----------
    source : pathlib.Path or binary stream
        Cells of CSV (RFC 4180) and TSV (no quotes) are read as text; empty cells are missing values. Each line of JSON
        lines is a row with its JSON values.
    suffix : str, optional
        The format of a stream. The format of a path is its suffix.

    Returns
    -------
    pandas.DataFrame
        With a RangeIndex; the index of a Parquet file becomes columns.

    Raises
    ------
    UsageError
        There is no such file, or it is not a table of this format; the message has the line.
    """
    name = STDIN
    if isinstance(source, Path):
        check_suffix(source)
        name, suffix = str(source), suffix_of(source)
    assert suffix is not None
    with errors_of(name, suffix):
        if isinstance(source, Path) and not source.is_file():
            folder = "a folder, not a file; --dask local triggers the rows of a folder of Parquet files"
            msg = f"{source}: {folder if source.is_dir() else 'no such file'}"
            raise UsageError(msg)
        data = source.read_bytes() if isinstance(source, Path) else source.read()
        return formats.decode(data, suffix, name)


@contextlib.contextmanager
def errors_of(name: str, suffix: str) -> Iterator[None]:
    """Raise `UsageError` for what goes wrong while the file or stream `name` is read."""
    try:
        yield
    except ImportError as exc:
        msg = f"{name}: {NO_PARQUET} ({_first_line(exc)})"
        raise UsageError(msg) from exc
    except (ValueError, OSError) as exc:
        msg = f"{name}: cannot be read as {suffix[1:]}: {_first_line(exc)}"
        raise UsageError(msg) from exc


def _first_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300] or type(exc).__name__


# Writing


def check_writable(frame: Frame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Check that `frame` can be written to `path`, by writing a temporary file in the same folder.

    Raises
    ------
    UsageError
        The folder is not writable, or the format cannot hold this table.
    """
    with _write_errors(path), _temporary_file(frame, path, packed):
        pass


def save(frame: Frame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Write a table as `write` does, but raise `UsageError`.

    Raises
    ------
    UsageError
        As for `check_writable`.
    """
    with _write_errors(path):
        write(frame, path, packed=packed)


def check_free(path: Path, *, force: bool, source: Path | None = None) -> None:
    """Check that `path` does not exist, unless `force` is set.

    Raises
    ------
    UsageError
        The file exists. The message says if it is `source`.
    """
    if os.path.lexists(path) and not force and not path.is_dir():
        which = "already exists"
        with contextlib.suppress(OSError):
            which = "is also the input" if source is not None and path.samefile(source) else which
        msg = f"{path}: the file {which}: choose another --out, or pass --force to replace it"
        raise UsageError(msg)


@contextlib.contextmanager
def _encodable(name: str, suffix: str) -> Iterator[None]:
    """Raise `UsageError` if the format cannot hold the table that is written to `name`, or needs pyarrow."""
    try:
        yield
    except ImportError as exc:
        msg = f"{name}: {NO_PARQUET} ({_first_line(exc)})"
        raise UsageError(msg) from exc
    except _CANNOT_HOLD as exc:
        msg = f"{name}: {suffix[1:]} cannot hold this table, .jsonl can: {_first_line(exc)}"
        raise UsageError(msg) from exc


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Check the path of an output, and raise `UsageError` for errors while it is written."""
    check_suffix(path)
    try:
        # A name that is too long raises an OSError here.
        if path.is_dir():
            msg = f"{path}: a folder, not a file"
            raise UsageError(msg)
        if not path.parent.is_dir():
            msg = f"{path}: the folder {path.parent} does not exist; create it first"
            raise UsageError(msg)
        with _encodable(str(path), suffix_of(path)):
            yield
    except OSError as exc:
        msg = f"{path}: cannot be written: {exc.strerror or _first_line(exc)}"
        raise UsageError(msg) from exc


def write(frame: Frame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Write a table atomically and durably.

    Parameters
    ----------
    frame : pandas.DataFrame
        Its index is not written.
    path : pathlib.Path
        Its suffix sets the format. A symbolic link is followed. Unchanged cells keep the text of the source file, if it
        had the same format.
    packed : collection of str
        As for `formats.encode`.
    """
    real = Path(os.path.realpath(path))
    with _temporary_file(frame, real, packed) as part:
        if real.exists():
            shutil.copymode(real, part)
        part.replace(real)
    # Windows cannot open folders; the file itself has been synced.
    with contextlib.suppress(OSError):
        _sync(real.parent)


def dump(frame: Frame, stream: BinaryIO, suffix: str, *, packed: Collection[str] = ()) -> None:
    """Write a table to a stream, such as standard output.

    Raises
    ------
    UsageError
        The format cannot hold this table; nothing was written.
    OSError
        The stream cannot be written.
    """
    with _encodable(STDOUT, suffix):
        pieces = list(formats.encode(frame, suffix, packed=packed))
    stream.writelines(pieces)
    stream.flush()


def rescue(frame: Frame, path: Path) -> Path:
    """Write a table as JSON lines to the folder of `path`, or else to the temporary folder, and return the file.

    Raises
    ------
    OSError
        Neither could be written.
    """
    name = f"{path.stem}.rescued-{secrets.token_hex(4)}.jsonl"
    beside, elsewhere = path.parent / name, Path(tempfile.gettempdir()) / name
    try:
        write(frame, beside)
    except OSError:
        write(frame, elsewhere)
        return elsewhere
    return beside


@contextlib.contextmanager
def _temporary_file(frame: Frame, path: Path, packed: Collection[str]) -> Iterator[Path]:
    """Write a temporary file in the folder of `path`, and delete it at the end if it still exists."""
    part = path.with_name(f".eachlabs-{secrets.token_hex(8)}.part")
    try:
        with part.open("wb") as file:
            file.writelines(formats.encode(frame, suffix_of(path), packed=packed))
        _sync(part)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
