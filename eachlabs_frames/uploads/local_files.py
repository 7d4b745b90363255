"""Reads the file values of a call: each content once, in pieces. It sends nothing.

Owns what makes a file unusable. A path is read when its row is prepared, and again when it is uploaded, where its
digest is checked: see `FileSource.pieces`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from .. import media
from ..inputs.file_values import RootedPath, UnusableFileError, is_pil_image, reference
from ..settings import Settings
from .account import check_dialect
from .file_source import PIECE, FileSource, open_regular
from .spool import ContentSpool

MAX_FILE: Final = 100_000_000
"""Bytes of a file, at most (API reference, "Uploads": 100 MB)."""

RACY: Final = 2.0
"""Seconds. A file that was changed more recently may change again without a change of its times: FAT counts them."""

MAX_CACHED: Final = 10_000
READER_THREADS: Final = 2
"""Threads that read and hash ahead. More would only wait for the disk."""

BUFFER: Final = 256 * 1024
"""Bytes that are read at once to be hashed."""


class FileIdentity(NamedTuple):
    """What changes if a file's content does."""

    path: str
    size: int
    modified: int
    changed: int
    inode: int


class Content(NamedTuple):
    """What reading a file has shown; `head` is its beginning."""

    digest: str
    head: bytes


_contents: dict[FileIdentity, Content] = {}
"""Files that were read by this process and are not racy, so that a call after its preview reads none of them again."""


class LocalFiles:
    """The files of one call; a context manager, whose end removes temporary files.

    Parameters
    ----------
    settings : Settings, optional
        Those of a call that uploads the files; None if they are only compared.

    Attributes
    ----------
    sources : dict of str to FileSource
        Each distinct content, by digest, in the order of first use.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.sources: dict[str, FileSource] = {}
        self._settings = settings
        self._paths: dict[str, str] = {}
        self._located: dict[Path | RootedPath, _Location] = {}
        self._ahead: dict[str, Future[tuple[int, Content]]] = {}
        self._readers: ThreadPoolExecutor | None = None
        self._spool = ContentSpool()

    def __enter__(self) -> LocalFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove temporary files, and read nothing more ahead."""
        self._spool.close()
        if self._readers is not None:
            self._readers.shutdown(wait=False, cancel_futures=True)

    def read_ahead(self, values: Iterable[Path | RootedPath]) -> None:
        """Begin to read the files of `values`, which are passed to `reference` soon, in other threads.

        What is kept of a file until then is no more than its digest and its first bytes.
        """
        self._located, self._ahead = {}, {}
        for value in values:
            with suppress(UnusableFileError):  # raised by `reference`, where the row is known
                found = self._located[value] = _locate(value)
                path = str(found.path)
                if path not in self._paths and path not in self._ahead:
                    self._readers = self._readers or ThreadPoolExecutor(READER_THREADS, "eachlabs-hash")
                    self._ahead[path] = self._readers.submit(_read, *found)

    def reference(self, value: object) -> str:
        """Return the reference of a file value: see `inputs.file_values`.

        A path is read once by a call, however often it occurs.

        Raises
        ------
        UnusableFileError
            It cannot be sent; the message names the file and the reason.
        ConfigurationError
            The dialect has no uploads.
        """
        if self._settings is not None:
            check_dialect(self._settings)
        if isinstance(value, Path | RootedPath):
            return reference(self._of_path(value))
        if isinstance(value, bytes | bytearray | memoryview):
            view = memoryview(value)
            content = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
            _check_size(content.nbytes, "the content")
            return reference(self._add(content[at : at + PIECE] for at in range(0, content.nbytes, PIECE)))
        if isinstance(value, np.ndarray) or is_pil_image(value):
            return reference(self._of_image(value))
        return reference(self._of_open_file(value))

    # -- paths --------------------------------------------------------------------------------------------------------

    def _of_path(self, value: Path | RootedPath) -> str:
        found = self._located.get(value) or _locate(value)
        path = str(found.path)
        digest = self._paths.get(path)
        if digest is None:
            ahead = self._ahead.pop(path, None)
            size, content = _read(*found) if ahead is None else ahead.result()
            digest = self._paths[path] = content.digest
            if digest not in self.sources:
                kind = media.content_type(content.head, found.path.name)
                self.sources[digest] = FileSource(digest, size, kind, found.path.name, found.path)
        return digest

    # -- contents that are in no file -------------------------------------------------------------------------------

    def _of_image(self, value: Any) -> str:
        from . import pixels  # only for calls with an image: PIL takes 20 ms to import

        image = pixels.plain(pixels.from_array(value) if isinstance(value, np.ndarray) else value)
        digest = pixels.pixel_digest(image)
        if digest not in self.sources:
            start = self._spool.size
            pixels.encode(image, lambda piece: self._append(piece, start, "the image, as PNG,"))
            self._keep(digest, start, "image/png")
        return digest

    def _of_open_file(self, value: Any) -> str:
        """Keep the whole content of an open file, and leave its position as it is, so that it can be read again."""
        name = value.name if isinstance(getattr(value, "name", None), str) else ""
        shown = f"the open file {name!r}" if name else "the open file"
        try:
            if not value.seekable():
                msg = (
                    f"{shown} can be read only once, and a preview reads it too: pass its content (file.read()), or a "
                    "path"
                )
                raise UnusableFileError(msg)
            position = value.tell()
            try:
                _check_size(value.seek(0, os.SEEK_END), shown)
                value.seek(0)
                return self._add(iter(lambda: value.read(PIECE), b""), Path(name).name)
            finally:
                value.seek(position)
        except (OSError, ValueError) as exc:  # a ValueError: it is closed
            if isinstance(exc, UnusableFileError):
                raise
            msg = f"{shown} cannot be read: {exc}"
            raise UnusableFileError(msg) from exc

    def _add(self, pieces: Iterable[bytes | memoryview], name: str = "") -> str:
        """Keep a content unless it is known; return its digest."""
        checksum, head, start = hashlib.sha256(), b"", self._spool.size
        for piece in pieces:
            checksum.update(piece)
            if len(head) < media.HEAD_BYTES:
                head += bytes(piece[: media.HEAD_BYTES - len(head)])
            self._append(piece, start, "the content")
        return self._keep(checksum.hexdigest(), start, media.content_type(head, name), name)

    def _append(self, piece: bytes | memoryview, start: int, what: str) -> None:
        """Append to the content that begins at `start`, which is dropped if it cannot be used."""
        try:
            self._spool.write(piece)
            _check_size(self._spool.size - start, what)
        except OSError as exc:
            self._spool.forget_since(start)
            msg = f"{what} cannot be written to a temporary file: {exc.strerror or exc}"
            raise UnusableFileError(msg) from exc
        except UnusableFileError:
            self._spool.forget_since(start)
            raise

    def _keep(self, digest: str, start: int, content_type: str, name: str = "") -> str:
        size = self._spool.size - start
        if digest in self.sources:
            self._spool.forget_since(start)
        else:
            name = name or digest[:8] + media.TYPES.get(content_type, ("",))[0]
            self.sources[digest] = FileSource(digest, size, content_type, name, None, self._spool, start)
        return digest


def _check_size(size: int, what: str) -> None:
    if not size:
        msg = f"{what} is empty"
        raise UnusableFileError(msg)
    if size > MAX_FILE:
        msg = f"{what} is larger than {MAX_FILE // 1_000_000} MB, which is the most that the API takes"
        raise UnusableFileError(msg)


# -- paths ------------------------------------------------------------------------------------------------------------


class _Location(NamedTuple):
    """The absolute path of a file, and the path that messages show."""

    path: Path
    shown: str


def _locate(value: Path | RootedPath) -> _Location:
    path = _rooted(value) if isinstance(value, RootedPath) else _expanded(value)
    # Absolute: a notebook may change its folder before the file is uploaded.
    return _Location(path.absolute(), str(path))


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user
        return path


def _rooted(value: RootedPath) -> Path:
    """Return a path below its root.

    Raises
    ------
    UnusableFileError
        It leaves the root: by "..", as an absolute path, or by a link.
    """
    root = _expanded(value.root)
    path = root / value.text
    try:
        if path.resolve().is_relative_to(root.resolve()):
            return path
        reason = "is outside of"
    except (OSError, ValueError, RuntimeError) as exc:  # a null character; a loop of links
        reason = f"cannot be resolved ({exc}) in"
    msg = f"the path {value.text!r} {reason} root={str(root)!r}"
    raise UnusableFileError(msg)


def _read(path: Path, shown: str) -> tuple[int, Content]:
    """Return a file's size and content. If it changes meanwhile, it is read once more.

    Raises
    ------
    UnusableFileError
    """
    for _ in range(2):
        identity, content = _read_once(path, shown)
        if content is not None:
            return identity.size, content
    msg = f"the file {shown!r} changes while it is read: it is still being written"
    raise UnusableFileError(msg)


def _read_once(path: Path, shown: str) -> tuple[FileIdentity, Content | None]:
    """Return what the file is, and its content; None if it has changed while it was read."""
    try:
        real = os.path.realpath(path)
        with open_regular(real, shown) as file:
            now, status = time.time(), os.fstat(file.fileno())
            _check_size(status.st_size, f"the file {shown!r}")
            identity = _identity(real, status)
            known = _contents.get(identity)
            if known is not None:
                return identity, known
            content = _hashed(file, identity.size)
            if content is None or _identity(real, os.fstat(file.fileno())) != identity:
                return identity, None
    except (OSError, ValueError) as exc:  # a ValueError: a null character
        if isinstance(exc, UnusableFileError):
            raise
        raise UnusableFileError(_reason(exc, shown)) from exc
    _remember(identity, content, now)
    return identity, content


def _remember(identity: FileIdentity, content: Content, now: float) -> None:
    """Keep what was read at `now`, in epoch seconds, for later calls, unless the file is racy."""
    if now - max(identity.modified, identity.changed) / 1e9 > RACY:
        if len(_contents) >= MAX_CACHED:
            _contents.clear()
        _contents[identity] = content


def _identity(path: str, status: os.stat_result) -> FileIdentity:
    return FileIdentity(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _hashed(file: Any, size: int) -> Content | None:
    """Return what is in an open file, which has `size` bytes; None if it has not."""
    checksum, left, head = hashlib.sha256(), size, b""
    buffer = memoryview(bytearray(BUFFER))  # used again: to allocate each piece takes as long as to read it
    while read := file.readinto(buffer):
        piece = buffer[:read]
        head = head or bytes(piece[: media.HEAD_BYTES])
        left -= read
        if left < 0:
            return None
        checksum.update(piece)
    return None if left else Content(checksum.hexdigest(), head)


def _reason(exc: OSError | ValueError, shown: str) -> str:
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        where = "" if Path(shown).is_absolute() else f" in {str(Path.cwd())!r}"
        return f"there is no file {shown!r}{where}"
    if isinstance(exc, PermissionError):
        return f"the file {shown!r} may not be read: permission denied"
    return f"the file {shown!r} cannot be read: {(exc.strerror if isinstance(exc, OSError) else None) or exc}"
