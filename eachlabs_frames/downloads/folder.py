"""The folder that files are downloaded into, and the list of the files in it.

A file gets its final name only when it is complete, and never replaces another file unless the call asks for it. The
list (one line of JSON per file, append-only) says which execution a file belongs to, so that a later call does not
download it again. It never contains a URL or a key.
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
from .decisions import LIFETIME, Accept, GiveUp, RetryLater
from .naming import FileKey
from .partial_file import PART, PartialFile, digest, is_same, move_without_replacing

PRIVATE_FOLDER: Final = ".eachlabs"
"""The sub-folder for the list and partial files; no name of a downloaded file begins with a dot."""

LIST: Final = "downloads.jsonl"
ABANDONED_AFTER: Final = 3600.0
"""Seconds without a write after which a partial file is taken for that of a killed process."""

KEPT: Final = "kept-"
MAX_KEPT_SECONDS: Final = LIFETIME
MIN_KEPT: Final = 1024 * 1024
"""Bytes of a partial file that is kept; a smaller one is downloaded again as quickly."""

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class FileRecord(NamedTuple):
    """A complete file, as the list has it."""

    execution_id: str
    n: int
    source: str
    file: str
    size: int
    sha256: str
    mtime_ns: int

    @property
    def key(self) -> FileKey:
        """The file of an output that it is."""
        return FileKey(self.execution_id, self.n, self.source)


class RejectedFileError(Exception):
    """A received file that is not put into the folder; `verdict` says whether another attempt may succeed."""

    def __init__(self, verdict: RetryLater | GiveUp) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class Folder:
    """A folder on disk and its list.

    Parameters
    ----------
    path : pathlib.Path
    overwrite : bool
        Whether other files of the same name are replaced.
    link : callable
        Creates a hard link, or raises `FileExistsError`; `os.link`.

    Raises
    ------
    ConfigurationError
        It cannot be created, read or written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, link: Callable[[str, str], None] = os.link) -> None:
        self._link = link
        # Absolute, because a notebook may change the working directory later.
        self.path = path.absolute()
        self._overwrite = overwrite
        self._lock = threading.Lock()
        # Of several entries for a file name the last one counts: the file was overwritten.
        self._entries: dict[str, FileRecord] = {}
        self._files: dict[FileKey, list[str]] = {}
        self._created: set[Path] = set()
        private = self.path / PRIVATE_FOLDER
        try:
            private.mkdir(parents=True, exist_ok=True)
            self._root = Path(os.path.realpath(path))
            if Path(os.path.realpath(private)) != self._root / PRIVATE_FOLDER:
                msg = "its .eachlabs is a symbolic link"
                raise NotADirectoryError(msg)
            self._read(private / LIST)
            self._list = (private / LIST).open("ab", buffering=0)
            self._was_empty = all(entry.name == PRIVATE_FOLDER for entry in islice(path.iterdir(), 2))
        except OSError as exc:
            msg = f"the folder {str(path)!r} cannot be written: {exc.strerror or exc}"
            raise ConfigurationError(msg) from exc
        self._private = private
        self._part_prefix = f"{private}{os.sep}{uuid.uuid4().hex}-"
        self._path_prefix = str(self.path).rstrip(os.sep) + os.sep
        self._numbers = itertools.count()
        self._remove_abandoned()

    def close(self) -> None:
        """Close the list."""
        self._list.close()

    def _read(self, path: Path) -> None:
        """Read the list; invalid lines, for example of a process that was killed, are ignored."""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError, RecursionError):
                    entry = FileRecord(**json.loads(line))
                    self._add(FileRecord(*map(_checked, entry, (str, int, str, str, int, str, int))))

    def _add(self, entry: FileRecord) -> None:
        self._entries[entry.file] = entry
        files = self._files.setdefault(entry.key, [])
        if entry.file not in files:
            files.append(entry.file)

    def _remove_abandoned(self) -> None:
        """Remove partial files of killed processes, and kept ones that were not resumed."""
        with contextlib.suppress(OSError):
            for part in self._private.glob(f"*{PART}"):
                max_age = MAX_KEPT_SECONDS if part.name.startswith(KEPT) else ABANDONED_AFTER
                with contextlib.suppress(OSError):
                    if time.time() - part.stat().st_mtime > max_age:
                        part.unlink()

    # -- files in the folder ------------------------------------------------------------------------------------------

    def complete(self, key: FileKey, stems: Iterable[str]) -> FileRecord | None:
        """Return the record of this file under one of these names, if it is complete and unchanged; else None.

        The size is compared and, if the modification time has changed, the checksum.
        """
        stems = tuple(stems)
        for file in reversed(self._files.get(key, ())):
            entry = self._entries[file]
            named = any(content_types.belongs(file, stem) for stem in stems)
            if named and entry.key == key and self._is_unchanged(entry):
                return entry
        return None

    def _is_unchanged(self, entry: FileRecord) -> bool:
        path = self._absolute(entry.file)
        try:
            info = os.lstat(path)
            if not stat.S_ISREG(info.st_mode) or info.st_size != entry.size:
                return False
            if info.st_mtime_ns == entry.mtime_ns:
                return True
            if digest(path, "sha256").hex() != entry.sha256:
                return False
        except OSError:
            return False
        # A copy of the file, for example: record the new time, so that the next call need not read the whole file.
        self._record(entry._replace(mtime_ns=info.st_mtime_ns))
        return True

    def check_free(self, key: FileKey, file: str, size: int | None) -> None:
        """Check before the download that no other file has the name `file`.

        Raises
        ------
        RejectedFileError
            There is a file of that name with another size.
        """
        if self._was_empty:
            return  # a file that was created since is found when this one gets its name
        try:
            info = os.lstat(self._absolute(file))
        except OSError:
            return
        is_same_size = stat.S_ISREG(info.st_mode) and size in (None, info.st_size)
        if not is_same_size and not self._may_replace(key, file):
            raise _name_taken(file)

    def _may_replace(self, key: FileKey, file: str) -> bool:
        """Return whether an existing file may be replaced: with `overwrite`, or an incomplete or edited copy of it."""
        entry = self._entries.get(file)
        return self._overwrite or (entry is not None and entry.key == key)

    # -- partial files, and giving them their names --------------------------------------------------------------------

    def part(self) -> PartialFile:
        """Return a new partial file."""
        return PartialFile(f"{self._part_prefix}{next(self._numbers)}{PART}")

    def resume(self, key: FileKey) -> PartialFile:
        """Return the partial file that an earlier attempt has kept, else a new one.

        It is renamed atomically, so that only one of several processes resumes it.
        """
        with contextlib.suppress(OSError, ValueError):
            for kept in self._private.glob(f"{_kept_prefix(key)}*{PART}"):
                etag = base64.urlsafe_b64decode(kept.name.removesuffix(PART).rpartition(".")[2]).decode()
                part = self.part()
                kept.rename(part.path)
                return PartialFile.reopened(part.path, etag)
        return self.part()

    def keep(self, part: PartialFile, key: FileKey) -> None:
        """Keep a partial file that can be resumed, for at most a day; remove any other that was not renamed."""
        if part.named or part.etag is None or part.size < MIN_KEPT:
            part.discard()
            return
        try:
            part.close()
            name = _kept_prefix(key) + base64.urlsafe_b64encode(part.etag.encode()).decode()
            Path(part.path).replace(self._private / f"{name}{PART}")
        except OSError:
            part.discard()

    def finish(
        self, part: PartialFile, key: FileKey, stem: str, expected: Accept, *, check_content: bool = True
    ) -> FileRecord:
        """Verify a partial file, give it its name, and add it to the list.

        ``check_content`` is off for files that the output itself contains: no server can have sent something else.

        Raises
        ------
        RejectedFileError
            It differs from what the headers state, or another file of that name exists, which is not changed.
        OSError
            The file system raises it.
        """
        mtime_ns = part.close()
        if expected.size is not None and part.size != expected.size:
            raise RejectedFileError(RetryLater(f"{part.size} of {expected.size} bytes were received"))
        if part.size == 0:
            raise RejectedFileError(RetryLater("an empty file was received"))
        if expected.digest is not None and part.digest(expected.digest[0]) != expected.digest[1]:
            raise RejectedFileError(RetryLater(f"the file's {expected.digest[0]} does not match the server's"))
        extension = content_types.by_content(expected.extension, part.head) if check_content else expected.extension
        if extension is None:
            msg = f"its first bytes are not those of a {expected.extension} file: the server sent something else"
            raise RejectedFileError(RetryLater(msg, replaced=True))
        file = stem + extension
        target = self._absolute(file)
        self._create(Path(target).parent)
        if not self._move(part, target, replace=self._may_replace(key, file)):
            mtime_ns = os.lstat(target).st_mtime_ns
        entry = FileRecord(*key, file, part.size, part.sha256.hexdigest(), mtime_ns)
        self._record(entry)
        return entry

    def _create(self, parent: Path) -> None:
        """Create a sub-folder, unless a symbolic link leads out of the folder."""
        if parent in self._created:
            return
        if not Path(os.path.realpath(parent)).is_relative_to(self._root):
            raise RejectedFileError(GiveUp("a symbolic link in the folder points outside of it"))
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as exc:
            raise RejectedFileError(GiveUp("a file has the name of the sub-folder: pass another name=")) from exc
        self._created.add(parent)

    def _absolute(self, file: str) -> str:
        return self._path_prefix + file

    def _move(self, part: PartialFile, target: str, *, replace: bool) -> bool:
        """Rename a partial file; return False if the same file exists already."""
        try:
            if replace:
                Path(part.path).replace(target)
            else:
                move_without_replacing(part.path, target, link=self._link)
        except IsADirectoryError as exc:
            raise _name_taken(target) from exc
        except FileExistsError as exc:
            # It may be the same file: of a concurrent process, or of one that was killed before it wrote the list.
            if not is_same(target, part):
                raise _name_taken(target) from exc
            return False
        part.named = True
        return True

    def _record(self, entry: FileRecord) -> None:
        self._add(entry)
        # Begins with a newline, because the last line may be incomplete.
        line = f"\n{json.dumps(entry._asdict(), separators=(',', ':'))}\n".encode()
        with self._lock, contextlib.suppress(OSError):
            self._list.write(line)


def _kept_prefix(key: FileKey) -> str:
    digest = hashlib.sha256(json.dumps(key).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{KEPT}{digest}."


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _name_taken(path: str) -> RejectedFileError:
    msg = (
        f"another file named {Path(path).name!r} exists and was not overwritten: pass overwrite=True, another name= "
        "or folder"
    )
    return RejectedFileError(GiveUp(msg))
