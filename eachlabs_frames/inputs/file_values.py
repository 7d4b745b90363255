"""Files in inputs: which values of cells are files, and the text that stands for a file's content in an input.

The reference ``eachlabs-file:sha256-<64 hex digits>`` takes the place of a file while rows are prepared, so that
fingerprints and the journal depend on the content alone, never on a name or a URL. Directly before a request the
references become public URLs. This module never opens a file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from io import BufferedIOBase, RawIOBase
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeGuard

import numpy as np
import orjson

from ..models import Json
from .json_values import RefusedValueError

PREFIX: Final = "eachlabs-file:sha256-"

_REFERENCE: Final = re.compile(re.escape(PREFIX) + "[0-9a-f]{64}")
# A string of JSON as orjson writes it, but no key: a quote inside a string has a backslash before it.
_IN_JSON: Final = re.compile(rb'(?<!\\)"' + re.escape(PREFIX).encode() + rb'([0-9a-f]{64})"(?!:)')
_MARK: Final = PREFIX.encode()
_BINARY: Final = (bytes, bytearray, memoryview, Path, RawIOBase, BufferedIOBase)


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


def is_file_value(value: object) -> bool:
    """Return whether a value is a file: a path, bytes, a PIL image, an image array or an open binary file.

    An image array is a NumPy array of uint8, height x width x 3 (RGB) or 4 (RGBA). PIL is not imported.
    """
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] in (3, 4)
    return isinstance(value, _BINARY) or is_pil_image(value) or _is_binary_wrapper(value)


def is_pil_image(value: object) -> bool:
    """Return whether a value is a PIL image, without importing PIL."""
    return any((base.__module__, base.__name__) == ("PIL.Image", "Image") for base in type(value).__mro__)


def _is_binary_wrapper(value: object) -> bool:
    """Return whether a value is a temporary file opened in binary mode: `tempfile` wraps the open file."""
    is_wrapper = any(base.__module__ == "tempfile" for base in type(value).__mro__)
    return is_wrapper and "b" in str(getattr(value, "mode", ""))


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
    return _replaced(value, by_url) if by_url else value


def _replaced(value: Any, by_url: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        return by_url.get(value, value)
    if isinstance(value, list):
        return [_replaced(item, by_url) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, by_url) for key, item in value.items()}
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
