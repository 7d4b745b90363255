"""Files in inputs: which values of cells are files, and the text that stands for a file's content in an input.

The reference ``eachlabs-file:sha256-<64 hex digits>`` takes the place of a file while rows are prepared, so that
fingerprints and the journal depend on the content alone, never on a name or a URL. Directly before a request the
references become public URLs. This module never opens a file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedIOBase, RawIOBase, TextIOBase
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeGuard

import numpy as np
import orjson

from ..models import Json
from .json_values import RefusedValueError

SCHEME: Final = "eachlabs-file:"
PREFIX: Final = f"{SCHEME}sha256-"
UNUSABLE: Final = f"{SCHEME}unusable: "
"""Begins the text that takes the place of a file that cannot be used; the reason follows."""
PLACEHOLDER: Final = "https://files.example/"
"""Begins the URL that a schema is checked with where the file has none yet."""

_REFERENCE: Final = re.compile(re.escape(PREFIX) + "[0-9a-f]{64}")
# A string of JSON as orjson writes it, but no key: a quote inside a string has a backslash before it.
_IN_JSON: Final = re.compile(rb'(?<!\\)"' + re.escape(PREFIX).encode() + rb'([0-9a-f]{64})"(?!:)')
_MARK: Final = PREFIX.encode()
_SCHEME: Final = SCHEME.encode()
_BINARY: Final = (bytes, bytearray, memoryview, Path, RawIOBase, BufferedIOBase)
_PIL_IMAGE: Final = ("PIL.Image", "Image")
_WRAPPERS: Final = (("tempfile", "_TemporaryFileWrapper"), ("tempfile", "SpooledTemporaryFile"))


class UnusableFileError(RefusedValueError):
    """A file that cannot be sent: its row is invalid, and the other rows are sent."""


FileReader: TypeAlias = Callable[[object], str]
"""Returns the reference of a file value; raises `UnusableFileError` with the reason why the file cannot be used."""


@dataclass(frozen=True, slots=True)
class RootedPath:
    """The path of a file as text, relative to a folder that it must not leave."""

    root: Path
    text: str


def reference(digest: str) -> str:
    """Return the reference of the content with this SHA-256, in hexadecimal."""
    return PREFIX + digest


def is_reference(text: object) -> TypeGuard[str]:
    """Return whether a value is a reference."""
    return isinstance(text, str) and _REFERENCE.fullmatch(text) is not None


def digest_of(reference: str) -> str:
    """Return the SHA-256 in a reference, in hexadecimal."""
    return reference.removeprefix(PREFIX)


def with_placeholders(value: Json) -> Json:
    """Return a JSON value with a URL for each reference, as it is sent, though not the URL that the file will have."""
    return map_texts(value, lambda text: PLACEHOLDER + digest_of(text) if is_reference(text) else text)


def is_file_value(value: object) -> bool:
    """Return whether a value is a file: a path, bytes, a PIL image, an image array or an open binary file.

    An image array is a NumPy array of uint8, height x width x 3 (RGB) or 4 (RGBA). PIL is not imported.
    """
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] in (3, 4)
    kind: Any = type(value)
    return is_file_type(kind) and "b" in _mode(value)


@lru_cache(maxsize=1024)
def is_file_type(kind: type) -> bool:
    """Return whether values of a type are files, apart from arrays, and from temporary files opened as text."""
    is_binary = issubclass(kind, _BINARY) and not issubclass(kind, TextIOBase)
    return is_binary or not _names(kind).isdisjoint((_PIL_IMAGE, *_WRAPPERS))


def is_pil_image(value: object) -> bool:
    """Return whether a value is a PIL image, without importing PIL."""
    return _PIL_IMAGE in _names(type(value))


def _names(kind: type) -> set[tuple[str, str]]:
    return {(base.__module__, base.__name__) for base in kind.__mro__}


def _mode(value: object) -> str:
    """Return the mode of a temporary file, which `tempfile` wraps; of other values, a mode that is binary."""
    is_wrapper = type(value).__module__ == "tempfile"
    return str(getattr(value, "mode", "b")) if is_wrapper else "b"


def has_files(payload: bytes) -> bool:
    """Return whether an input's JSON may have references, or reasons why files cannot be used."""
    return _SCHEME in payload


def references(payload: bytes) -> list[str]:
    """Return the SHA-256 of each file in an input's JSON, in order, without repeats."""
    if _MARK not in payload:
        return []
    return list(dict.fromkeys(digest.decode() for digest in _IN_JSON.findall(payload)))


def references_of(payloads: Iterable[bytes]) -> list[str]:
    """Return the SHA-256 of each file in these inputs, in order, without repeats."""
    return list(dict.fromkeys(digest for payload in payloads for digest in references(payload)))


def with_urls(payload: bytes, urls: Mapping[str, str]) -> bytes:
    """Return an input's JSON with the URL of each file for its reference.

    Parameters
    ----------
    payload : bytes
    urls : mapping of str to str
        The public URL of each file, by SHA-256.

    Raises
    ------
    KeyError
        There is no URL for a file: the input must not be sent.
    """
    if _MARK not in payload:
        return payload
    return _IN_JSON.sub(lambda match: orjson.dumps(urls[match[1].decode()]), payload)


def with_references(value: Json, by_url: Mapping[str, str]) -> Json:
    """Return a JSON value with the reference of each file for its public URL.

    Parameters
    ----------
    value : JSON
        Such as the inputs of an execution, as the API returns them.
    by_url : mapping of str to str
        The reference of each file, by public URL.
    """
    return map_texts(value, lambda text: by_url.get(text, text)) if by_url else value


def map_texts(value: Any, convert: Callable[[str], str]) -> Json:
    """Return a JSON value with each text replaced by what `convert` returns for it."""
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, list):
        return [map_texts(item, convert) for item in value]
    if isinstance(value, dict):
        return {key: map_texts(item, convert) for key, item in value.items()}
    return value


def content_key(value: Any) -> Hashable:
    """Return a key that is equal for file values in memory with the same content; of a path, that of the path."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return hashlib.sha256(value).digest()
    if isinstance(value, np.ndarray):
        return value.shape, hashlib.sha256(value.tobytes()).digest()
    if not hasattr(value, "tobytes"):
        return id(value)  # an open file
    try:
        return value.mode, value.size, hashlib.sha256(value.tobytes()).digest()
    except (OSError, ValueError):  # an image that is truncated, or whose file is closed
        return id(value)


def unusable_reasons(value: Any) -> Iterator[str]:
    """Yield why files in a JSON value cannot be used."""
    if isinstance(value, str):
        if value.startswith(UNUSABLE):
            yield value.removeprefix(UNUSABLE)
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from unusable_reasons(item)
