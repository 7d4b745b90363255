"""Tables in files, by the name's suffix: a file is written whole or not at all, and what is read is never guessed at.

Owns paths, streams and what goes wrong with them; `formats` encodes and decodes. It never sends anything.
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
    import pandas as pd

STDIN: Final = "standard input"
STDOUT: Final = "standard output"

_CANNOT_HOLD: Final = (ValueError, TypeError, KeyError, NotImplementedError, OverflowError)
"""What pandas, pyarrow and `formats` raise for a table that a format cannot hold."""

# Reading


def read(source: Path | BinaryIO, *, suffix: str | None = None) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    source : pathlib.Path or binary stream
        Every cell of CSV (RFC 4180) and TSV (no quotes) is the text that stands there, and a missing value where
        nothing does. A line of JSON lines is a row, and its values stay as they are.
    suffix : str, optional
        The format of a stream; that of a path is its own suffix.

    Returns
    -------
    pandas.DataFrame
        With a RangeIndex: a Parquet file's own index becomes columns.

    Raises
    ------
    UsageError
        No such file, or not a table of that format; the message says on which line.
    """
    name = STDIN
    if isinstance(source, Path):
        check_suffix(source)
        name, suffix = str(source), suffix_of(source)
    assert suffix is not None
    try:
        if isinstance(source, Path) and not source.is_file():
            msg = f"{source}: {'a folder, not a file' if source.is_dir() else 'no such file'}"
            raise UsageError(msg)
        data = source.read_bytes() if isinstance(source, Path) else source.read()
        return formats.decode(data, suffix, name)
    except ImportError as exc:
        msg = f"{name}: {NO_PARQUET} ({_first_line(exc)})"
        raise UsageError(msg) from exc
    except (ValueError, OSError) as exc:
        msg = f"{name}: cannot be read as {suffix[1:]}: {_first_line(exc)}"
        raise UsageError(msg) from exc


def _first_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300] or type(exc).__name__


# Writing


def rehearse(frame: pd.DataFrame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Make sure, by doing it and taking it away again, that `frame` can be written to `path`.

    Raises
    ------
    UsageError
        The folder takes no file, or the format cannot hold this table.
    """
    with _told(path), _part(frame, path, packed):
        pass


def save(frame: pd.DataFrame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Do as `write`, for what can be written again another time.

    Raises
    ------
    UsageError
        As for `rehearse`.
    """
    with _told(path):
        write(frame, path, packed=packed)


def check_free(path: Path, *, force: bool, source: Path | None = None) -> None:
    """Make sure that nothing is written over by mistake.

    Raises
    ------
    UsageError
        There is a file of this name, perhaps `source` itself, and it was not said that it may be replaced.
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
def _told(path: Path) -> Iterator[None]:
    """Check where a table is to be written, and say what goes wrong with it there."""
    check_suffix(path)
    try:
        # A name that is too long raises here, and not in the end.
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


def write(frame: pd.DataFrame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Write a table: the file is there whole and on the disk, or it is as it was before.

    Parameters
    ----------
    frame : pandas.DataFrame
        Its index is not written.
    path : pathlib.Path
        The suffix says the format. A link is followed, not replaced. Cells that are as they were read are written as
        they stood in their file, where that had the same format.
    packed : collection of str
        As for `formats.encode`.
    """
    real = Path(os.path.realpath(path))
    with _part(frame, real, packed) as part:
        if real.exists():
            shutil.copymode(real, part)
        part.replace(real)
    # Windows opens no folders; the file itself is on the disk by then.
    with contextlib.suppress(OSError):
        _sync(real.parent)


def dump(frame: pd.DataFrame, stream: BinaryIO, suffix: str, *, packed: Collection[str] = ()) -> None:
    """Write a table to a stream, such as standard output.

    Raises
    ------
    UsageError
        The format cannot hold this table; nothing was written.
    OSError
        The stream takes no more.
    """
    with _encodable(STDOUT, suffix):
        pieces = list(formats.encode(frame, suffix, packed=packed))
    stream.writelines(pieces)
    stream.flush()


def rescue(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table that could not be written to `path` as JSON lines: beside it, else in the temporary folder.

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
def _part(frame: pd.DataFrame, path: Path, packed: Collection[str]) -> Iterator[Path]:
    """Write a temporary file in the folder of `path`, and take it away where it still is in the end."""
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
