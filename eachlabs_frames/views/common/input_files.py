"""The files in a frame's inputs, as views show them: a text for each, and a small picture of each image.

A picture is made when it is first needed, always by decoding the image and encoding it anew: so it is small, never an
SVG, and without metadata. A browser requests it by a number, never by a path. An image that is missing, or that has
changed since the view was created, has no picture.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from ...inputs.file_values import (
    PREFIX,
    UNUSABLE,
    RootedPath,
    UnusableFileError,
    digest_of,
    is_file_value,
    is_reference,
)
from ...media import HEAD_BYTES, media_type
from ...models import Json
from ...uploads.local_files import LocalFiles
from . import view_files
from .card import Card
from .html_page import PageFile
from .view_files import LocalFile

INPUTS: Final = -1
"""Takes the place of a row in a browser's request for the picture of an input: many rows may have the same image."""

SIDE: Final = 480
"""Pixels of a picture's longer side."""

SMALL_SIDE: Final = 96
"""The same in static HTML."""

MAX_BYTES: Final = 32_000_000
"""Bytes of all pictures that a view keeps, and of those in a saved page."""

MAX_CHECKED_BYTES: Final = 500_000_000
"""Bytes of files of which a view compares the content with what was sent."""

MAX_DEPTH: Final = 8
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file in an input: its text, and the number of its picture, or None if it is no image."""

    text: str
    number: int | None


class InputFiles:
    """The distinct files in the inputs of one view, in the order in which they are first seen."""

    def __init__(self) -> None:
        # A cell that contains the reference of a file is another text: nobody knows this key.
        self._key: Final = secrets.token_hex(24)
        self._lock: Final = threading.Lock()
        self._references: dict[Hashable, str] = {}
        self._files: dict[str, InputFile] = {}
        self._images: list[tuple[object, tuple[int, int] | None]] = []  # the value, and the state of its file
        self._contents: Final = LocalFiles()
        self._checked: set[Hashable] = set()
        self._check_bytes_left = MAX_CHECKED_BYTES
        self._pictures: dict[int, LocalFile | None] = {}  # None for an image that cannot be decoded

    def reference(self, value: object) -> str:
        """Return the text that stands for a file value in an input until `describe` replaces it."""
        key = file_key(value)
        with self._lock:
            reference = self._references.get(key)
            if reference is None:
                reference = f"{PREFIX}{self._key}{len(self._references):016x}"
                self._files[reference] = InputFile(file_text(value), self._add_image(value))
                self._references[key] = reference
        return reference

    def content_reference(self, value: object) -> str:
        """Return the reference of a file's content, to compare it with the one that was sent.

        Raises
        ------
        UnusableFileError
            It cannot be read, is no image, video or sound on disk, or there were enough others: a view waits for it.
        """
        file = _file(value) if isinstance(value, Path | RootedPath) else None
        with self._lock:
            if file is None or file.size > self._check_bytes_left:
                msg = "not compared"
                raise UnusableFileError(msg)
            if file_key(value) not in self._checked:
                self._checked.add(file_key(value))
                self._check_bytes_left -= file.size
            return self._contents.reference(value)

    def image(self, value: object) -> int | None:
        """Return the number of the picture of a cell; None if it is no image."""
        return self._files[self.reference(value)].number if is_file_value(value) else None

    def with_references(self, cell: Any, depth: int = 0) -> Any:
        """Return a cell in which a reference stands for each file, also inside of lists and dicts."""
        if type(cell) in _PLAIN or depth > MAX_DEPTH:
            return cell
        if isinstance(cell, list | tuple):
            return [self.with_references(item, depth + 1) for item in cell]
        if isinstance(cell, dict):
            return {key: self.with_references(item, depth + 1) for key, item in cell.items()}
        return self.reference(cell) if is_file_value(cell) else cell

    def describe(self, value: Json) -> tuple[Json, list[int]]:
        """Return a value of an input with the text of each file for its reference, and the numbers of its pictures."""
        numbers: list[int] = []

        def described(value: Json) -> Json:
            if isinstance(value, str):
                file = self._files.get(value)
                if file is not None and file.number is not None:
                    numbers.append(file.number)
                return without_digest(value.removeprefix(UNUSABLE)) if file is None else file.text
            if isinstance(value, list):
                return list(map(described, value))
            if isinstance(value, dict):
                return {key: described(item) for key, item in value.items()}
            return value

        return described(value), numbers

    # -- pictures ---------------------------------------------------------------------------------------------------

    def picture(self, number: int) -> LocalFile | None:
        """Return the picture with this number; None if there is none."""
        if number in self._pictures and self._is_unchanged(number):
            return self._pictures[number]
        content = self._shrink(number, SIDE)
        picture = None if content is None else LocalFile(Path(), view_files.COPY_TYPE, len(content), content)
        kept = sum(picture.size for picture in self._pictures.values() if picture is not None)
        if picture is None or kept + picture.size <= MAX_BYTES:
            self._pictures[number] = picture
        return picture

    def small_picture(self, number: int) -> bytes | None:
        """Return the picture with this number for static HTML."""
        return self._shrink(number, SMALL_SIDE)

    def _shrink(self, number: int, side: int) -> bytes | None:
        return _shrink(self._images[number][0], side) if self._is_unchanged(number) else None

    def _is_unchanged(self, number: int) -> bool:
        """Return whether there is an image with this number that has not changed; it may be gone."""
        if not 0 <= number < len(self._images):
            return False
        value, state = self._images[number]
        return state is None or _state(value) in (state, None)

    def page_files(self, cards: Iterable[Card], others: Iterable[int] = ()) -> Iterator[PageFile]:
        """Yield the pictures of the inputs of these cards, and those with other numbers, for a saved page."""
        numbers = [number for card in cards for _, number in card["input_images"]]
        bytes_left = MAX_BYTES
        for number in dict.fromkeys([*others, *numbers]):
            picture = self.picture(number)
            content = view_files.read(picture)
            if picture is None or content is None or len(content) > bytes_left:
                continue
            bytes_left -= len(content)
            yield INPUTS, number, picture.media_type, content

    def close(self) -> None:
        """Release the pictures."""
        self._images, self._pictures = [], {}

    def _add_image(self, value: Any) -> int | None:
        if isinstance(value, Path | RootedPath):
            file = _file(value)
            is_image = file is not None and file.media_type in view_files.DECODED
        elif isinstance(value, bytes | bytearray | memoryview):
            is_image = media_type(bytes(value[:HEAD_BYTES])) in view_files.DECODED
        else:
            is_image = not hasattr(value, "read")
        if not is_image:
            return None
        self._images.append((value, _state(value)))
        return len(self._images) - 1


def file_text(value: Any) -> str:
    """Return the text of a file value: its path, else what it is."""
    if isinstance(value, Path | RootedPath):
        return value.text if isinstance(value, RootedPath) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{media_type(bytes(value[:HEAD_BYTES])) or 'bytes'}, {memoryview(value).nbytes / 1_000:,.1f} kB"
    if isinstance(value, np.ndarray):
        return f"image, {value.shape[1]} x {value.shape[0]}"
    if not hasattr(value, "read"):
        return f"image, {value.width} x {value.height}"
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else "open file"


def without_digest(text: str) -> str:
    """Return a text, or if it is the reference of a file, as in the frame of `load_run`, a short text for the file."""
    return f"file {digest_of(text)[:12]}" if is_reference(text) else text


def names_of(cells: Iterable[object]) -> dict[Hashable, str]:
    """Return a name for each file among these cells, by `file_key`; no two files have the same.

    That of a path is the file's name, with as many of its folders as distinguish it from the others.
    """
    files = {file_key(cell): cell for cell in cells if is_file_value(cell)}
    names: dict[Hashable, str] = {}
    groups = [(1, [(key, cell) for key, cell in files.items() if isinstance(cell, PurePath)])]
    while groups:
        count, group = groups.pop()
        by_name: dict[tuple[str, ...], list[tuple[Hashable, PurePath]]] = {}
        for key, path in group:
            by_name.setdefault(path.parts[-count:], []).append((key, path))
        for parts, same in by_name.items():
            if len(same) > 1 and max(len(path.parts) for _, path in same) > count:
                groups.append((count + 1, same))
            else:
                names |= {key: str(PurePath(*parts)) for key, _ in same}
    counts: Counter[str] = Counter()
    for key, cell in files.items():
        if key not in names:
            text = file_text(cell)
            counts[text] += 1
            names[key] = f"{text} ({counts[text]})" if counts[text] > 1 else text
    return names


def as_labels(cells: Sequence[object]) -> list[object]:
    """Return the cells of a column with a name for each file in memory, which no table can show; paths stay."""
    names = names_of(cell for cell in cells if not isinstance(cell, Path))
    return [names[file_key(cell)] if is_file_value(cell) and not isinstance(cell, Path) else cell for cell in cells]


def file_key(value: Any) -> Hashable:
    """Return what distinguishes a file value from others without reading the file."""
    if isinstance(value, Path | RootedPath):
        return value
    return ("bytes", bytes(value)) if isinstance(value, bytes | bytearray | memoryview) else ("value", id(value))


def _file(value: Path | RootedPath) -> LocalFile | None:
    """Return the file at a path; None if it cannot be shown, or if the path leaves its root."""
    try:
        path = value.root.expanduser() / value.text if isinstance(value, RootedPath) else value.expanduser()
        if isinstance(value, RootedPath) and not path.resolve().is_relative_to(value.root.expanduser().resolve()):
            return None
    except (OSError, RuntimeError, ValueError):  # there is no such user, a loop of links, or a null character
        return None
    return view_files.find(str(path))


def _state(value: object) -> tuple[int, int] | None:
    """Return what changes with the content of a file on disk; None if it is not there, or is in memory."""
    file = _file(value) if isinstance(value, Path | RootedPath) else None
    try:
        state = None if file is None else file.path.stat()
    except OSError:
        return None
    return None if state is None else (state.st_size, state.st_mtime_ns)


def _shrink(value: Any, side: int) -> bytes | None:
    if isinstance(value, Path | RootedPath):
        content = view_files.read(_file(value))
    elif isinstance(value, bytes | bytearray | memoryview):
        content = bytes(value)
    else:
        return view_files.shrink_image(value, side)
    return None if content is None else view_files.shrink(content, side)
