"""The folder that files are downloaded into: what is in it by its own list, and how a file gets there whole.

A file has its final name only when it is complete, and takes nobody's place unless it is meant to. The list says which
file is which execution's, so that a later call need not ask for it: a line of JSON each, only ever added to. It holds
neither a URL nor a key.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import itertools
import json
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import ConfigurationError
from . import content_types
from .decisions import LIFETIME, Expected
from .naming import FileKey
from .partial_file import PART, PartialFile, digest, is_same, move_without_replacing

ROOM: Final = ".eachlabs"
"""A folder inside of the folder; no name that is made for a file begins with a dot."""

LIST: Final = "downloads.jsonl"
ABANDONED: Final = 3600.0
"""Seconds after which a part that nobody has written to is a killed process's."""

KEPT: Final = "kept-"
MAX_KEPT_SECONDS: Final = LIFETIME
MIN_KEPT: Final = 1024 * 1024
"""Bytes of an unfinished file that are worth keeping: less is sent again as quickly."""

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class FileRecord(NamedTuple):
    """A file as it was when it was complete."""

    execution_id: str
    n: int
    source: str
    file: str
    size: int
    sha256: str
    mtime_ns: int

    @property
    def identity(self) -> FileKey:
        """Whose it is."""
        return FileKey(self.execution_id, self.n, self.source)


class TakenError(Exception):
    """There is a file of that name, and it is not known to be this one."""


class SpoiledError(Exception):
    """What came is not what was promised."""


class ReplacedError(SpoiledError):
    """What came is no such file at all, but a message in its place."""


class Folder:
    """A folder on disk, and what its list says.

    Parameters
    ----------
    path : pathlib.Path
    overwrite : bool
        Whether files that are in the way are replaced.
    link : callable
        Gives a file a second name, or raises `FileExistsError`; `os.link`.

    Raises
    ------
    ConfigurationError
        It cannot be made, read or written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, link: Callable[[str, str], None] = os.link) -> None:
        self._link = link
        # Absolute at once: a notebook may change its folder meanwhile.
        self.path = path.absolute()
        self._overwrite = overwrite
        self._lock = threading.Lock()
        # Of several entries for one file the last one counts: it was overwritten.
        self._entries: dict[str, FileRecord] = {}
        self._files: dict[FileKey, list[str]] = {}
        self._made: set[str] = set()
        room = self.path / ROOM
        try:
            room.mkdir(parents=True, exist_ok=True)
            self._root = os.path.realpath(path)
            if os.path.realpath(room) != os.path.join(self._root, ROOM):  # noqa: PTH118 - as realpath writes it
                msg = "its .eachlabs is a symbolic link"
                raise NotADirectoryError(msg)
            self._read(room / LIST)
            self._list = (room / LIST).open("ab", buffering=0)
            self._was_empty = all(one.name == ROOM for one in islice(path.iterdir(), 2))
        except OSError as exc:
            msg = f"the folder {str(path)!r} cannot be written: {exc.strerror or exc}"
            raise ConfigurationError(msg) from exc
        self._room = room
        self._parts = os.path.join(room, f"{uuid.uuid4().hex}-")  # noqa: PTH118 - a text: one is made for each file
        self._numbers = itertools.count()
        self._sweep()

    def close(self) -> None:
        """Let go of the list."""
        self._list.close()

    def _read(self, path: Path) -> None:
        """Take in the list; a line that was torn or that nobody here wrote is as good as none."""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError, RecursionError):
                    entry = FileRecord(**json.loads(line))
                    self._know(FileRecord(*map(_checked, entry, (str, int, str, str, int, str, int))))

    def _know(self, entry: FileRecord) -> None:
        self._entries[entry.file] = entry
        files = self._files.setdefault(entry.identity, [])
        if entry.file not in files:
            files.append(entry.file)

    def _sweep(self) -> None:
        """Remove the parts that killed processes have left, and those that nobody went on with."""
        with contextlib.suppress(OSError):
            for part in self._room.glob(f"*{PART}"):
                oldest = MAX_KEPT_SECONDS if part.name.startswith(KEPT) else ABANDONED
                with contextlib.suppress(OSError):
                    if time.time() - part.stat().st_mtime > oldest:
                        part.unlink()

    # -- what is there ----------------------------------------------------------------------------------------------

    def complete(self, identity: FileKey, stems: Iterable[str]) -> FileRecord | None:
        """Return the file of one of these names that is this one's, whole and unchanged; None where there is none.

        Its size is looked at, and where its time is another one than it was, its checksum.
        """
        stems = tuple(stems)
        for file in reversed(self._files.get(identity, ())):
            entry = self._entries[file]
            named = any(content_types.belongs(file, stem) for stem in stems)
            if named and entry.identity == identity and self._is_unchanged(entry):
                return entry
        return None

    def _is_unchanged(self, entry: FileRecord) -> bool:
        path = self._named(entry.file)
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
                return False
            if found.st_mtime_ns == entry.mtime_ns:
                return True
            if digest(path, "sha256").hex() != entry.sha256:
                return False
        except OSError:
            return False
        # Copied, say: so that it is not read whole at every call.
        self._note(entry._replace(mtime_ns=found.st_mtime_ns))
        return True

    def check_free(self, identity: FileKey, file: str, size: int | None) -> None:
        """Make sure that `file` may become this one's, as far as can be said before it has come.

        Raises
        ------
        TakenError
            There is a file of that name, which has another size.
        """
        if self._was_empty:
            return  # what has come since is seen when the file gets its name
        try:
            found = os.lstat(self._named(file))
        except OSError:
            return
        same = stat.S_ISREG(found.st_mode) and size in (None, found.st_size)
        if not same and not self._is_ours(identity, file):
            raise TakenError(_taken(file))

    def _is_ours(self, identity: FileKey, file: str) -> bool:
        """Say whether what is there may be replaced: it is meant so, or it is this very output, torn or changed."""
        entry = self._entries.get(file)
        return self._overwrite or (entry is not None and entry.identity == identity)

    # -- how it gets there ------------------------------------------------------------------------------------------

    def part(self) -> PartialFile:
        """Return a new file that has no name yet."""
        return PartialFile(f"{self._parts}{next(self._numbers)}{PART}")

    def resume(self, identity: FileKey) -> PartialFile:
        """Return the unfinished part of a file that an earlier attempt has kept, else a new one.

        Its name is taken by one rename: of two processes that want to go on with it, one gets it.
        """
        with contextlib.suppress(OSError, ValueError):
            for kept in self._room.glob(f"{_kept(identity)}*{PART}"):
                etag = base64.urlsafe_b64decode(kept.name.removesuffix(PART).rpartition(".")[2]).decode()
                part = self.part()
                kept.rename(part.path)
                return PartialFile.reopened(part.path, etag)
        return self.part()

    def put_away(self, part: PartialFile, identity: FileKey) -> None:
        """Keep a part that may be gone on with, for a day at most; remove any other that has no name."""
        if part.named or part.etag is None or part.size < MIN_KEPT:
            part.discard()
            return
        try:
            part.close()
            name = _kept(identity) + base64.urlsafe_b64encode(part.etag.encode()).decode()
            Path(part.path).replace(self._room / f"{name}{PART}")
        except OSError:
            part.discard()

    def land(
        self, part: PartialFile, identity: FileKey, stem: str, promise: Expected, *, check_content: bool = True
    ) -> FileRecord:
        """Give a part its name, when it is what was promised, and note it.

        ``check_content`` is off for what the output itself holds: nothing can have been sent in its place.

        Raises
        ------
        SpoiledError
            It is not; `ReplacedError` where its first bytes are not those of such a file.
        TakenError
            There is another file of that name, which is left as it is.
        OSError
            The disk refuses.
        """
        mtime_ns = part.close()
        if promise.size is not None and part.size != promise.size:
            msg = f"{part.size} of {promise.size} bytes were received"
            raise SpoiledError(msg)
        if part.size == 0:
            msg = "an empty file was received"
            raise SpoiledError(msg)
        if promise.digest is not None and part.digest(promise.digest[0]) != promise.digest[1]:
            msg = f"the file's {promise.digest[0]} does not match the server's"
            raise SpoiledError(msg)
        extension = content_types.by_content(promise.extension, part.head) if check_content else promise.extension
        if extension is None:
            msg = f"its first bytes are not those of a {promise.extension} file: the server sent something else"
            raise ReplacedError(msg)
        file = stem + extension
        target = self._named(file)
        self._make(os.path.dirname(target))  # noqa: PTH120 - the target is a str
        if not self._move(part, target, replace=self._is_ours(identity, file)):
            mtime_ns = os.lstat(target).st_mtime_ns
        entry = FileRecord(*identity, file, part.size, part.sha256.hexdigest(), mtime_ns)
        self._note(entry)
        return entry

    def _make(self, parent: str) -> None:
        """Make a sub-folder, and see that no link leads out of the folder."""
        if parent in self._made:
            return
        if not self._is_inside(parent):
            msg = "a symbolic link in the folder points outside of it"
            raise TakenError(msg)
        try:
            Path(parent).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as exc:
            msg = "a file has the name of the sub-folder: pass another name="
            raise TakenError(msg) from exc
        self._made.add(parent)

    def _named(self, file: str) -> str:
        return os.path.join(self.path, file)  # noqa: PTH118 - a text: many are made

    def _is_inside(self, parent: str) -> bool:
        """Say whether a sub-folder is inside of the folder, whatever links are on the way."""
        real = os.path.realpath(parent)
        return real == self._root or real.startswith(os.path.join(self._root, ""))  # noqa: PTH118 - with its slash

    def _move(self, part: PartialFile, target: str, *, replace: bool) -> bool:
        """Give a part its name; False where the very same file is there already."""
        try:
            if replace:
                os.replace(part.path, target)  # noqa: PTH105 - the paths are str
            else:
                move_without_replacing(part.path, target, link=self._link)
        except IsADirectoryError as exc:
            raise TakenError(_taken(target)) from exc
        except FileExistsError as exc:
            # Another process was as quick, or one was killed before it could note it: then it is the same file.
            if not is_same(target, part):
                raise TakenError(_taken(target)) from exc
            return False
        part.named = True
        return True

    def _note(self, entry: FileRecord) -> None:
        self._know(entry)
        # A line end before it too: the line before may have been torn.
        line = f"\n{json.dumps(entry._asdict(), separators=(',', ':'))}\n".encode()
        with self._lock, contextlib.suppress(OSError):
            self._list.write(line)


def _kept(identity: FileKey) -> str:
    digest = hashlib.sha256(json.dumps(identity).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{KEPT}{digest}."


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _taken(path: str) -> str:
    name = os.path.basename(path)  # noqa: PTH119 - a text
    return f"another file named {name!r} exists and was not overwritten: pass overwrite=True, another name= or folder"
