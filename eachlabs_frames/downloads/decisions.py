"""Decides what a response to a download means, and reads what its headers state about the file. It requests nothing."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from . import content_types
from .naming import FileKey

LIFETIME: Final = 24 * 3600.0
"""Seconds for which an output's URL works (API reference, "Executions")."""

GONE: Final = frozenset({401, 403, 404, 410})
DIGESTS: Final = ("sha256", "sha512", "md5")
"""The checksums that are verified; of several, the first."""

_NAMES: Final = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
_PLAIN: Final = {"x-amz-checksum-sha256": "sha-256", "content-md5": "md5"}
_SIZES: Final = {"sha256": 32, "sha512": 64, "md5": 16}
_PAIR: Final = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*:?([A-Za-z0-9+/=_-]+):?\s*")


@dataclass(frozen=True, slots=True)
class RequestedFile:
    """A file to be downloaded.

    Attributes
    ----------
    key : FileKey
    url : str
    stem : str
        Its name in the folder, without the extension.
    ended_at : float or None
        When the execution ended, in epoch seconds.
    """

    key: FileKey
    url: str
    stem: str
    ended_at: float | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the URL itself contains the file."""
        return self.url[:5].lower() == "data:"


class Fetched(NamedTuple):
    """The result of a download: the path in the folder, or an error; `url` is the new link if there is one."""

    file: str | None = None
    size: int = 0
    error: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Accept:
    """The body is the file, or the part of it that begins at `offset`.

    Attributes
    ----------
    extension : str
    size : int or None
        Bytes of the whole file, if the headers state it.
    digest : tuple of str and bytes, or None
        A checksum of the whole file: its name in hashlib, and its value.
    offset : int
    etag : str or None
        A strong validator of the file.
    """

    extension: str
    size: int | None = None
    digest: tuple[str, bytes] | None = None
    offset: int = 0
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """The file is at another URL."""

    location: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Another attempt may succeed, after that many seconds. ``replaced``: the body was not the file."""

    reason: str
    after: float | None = None
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt helps. ``expired``: a new link to the same output might."""

    reason: str
    status: int | None = None
    expired: bool = False


Verdict: TypeAlias = Accept | Redirect | RetryLater | GiveUp


def judge(
    status: int,
    headers: Mapping[str, str],
    url: str,
    *,
    after: float | None = None,
    offset: int = 0,
    etag: str | None = None,
) -> Verdict:
    """Return what a response means.

    Parameters
    ----------
    status : int
    headers : mapping of str to str
        By lower-case names.
    url : str
        The requested URL.
    after : float or None
        Its ``Retry-After``, in seconds from now.
    offset : int
        Size of the part that exists already; only the rest was requested.
    etag : str or None
        The entity tag of the file that this part belongs to.
    """
    if status in (301, 302, 303, 307, 308):
        location = headers.get("location", "")
        return Redirect(location) if location else GiveUp(f"HTTP {status}, a redirect without a location")
    if status in (408, 425, 429) or status >= 500:
        return RetryLater(f"HTTP {status}", after)
    if offset and status == 206:
        return _judge_range(headers, url, offset, etag)
    if offset and status == 416:
        return RetryLater("the requested range is not in the file")
    if status != 200:
        return GiveUp(f"HTTP {status}", status, expired=status in GONE)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_types.names_media(url) and not content_types.may_be_media(kind, url):
        return RetryLater(f"{kind} was sent instead of the file", replaced=True)
    return Accept(content_types.extension(kind, url), *_size_and_digest(headers), etag=_etag(headers))


def _judge_range(headers: Mapping[str, str], url: str, offset: int, etag: str | None) -> Accept | RetryLater:
    """Judge a 206. Its headers describe the whole file, except for length and content digest (RFC 9110, 15.3.7)."""
    match = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None or int(match[1]) != offset:
        return RetryLater("the server sent a different range of the file than requested")
    # A 206 has the ETag (RFC 9110, 15.3.7). Some servers ignore If-Range, and send the rest of a new file.
    if _etag(headers) != etag:
        return RetryLater("the file has changed since its first part was downloaded")
    _, checksum = _size_and_digest({name: value for name, value in headers.items() if name not in _OF_THE_PART})
    size = int(match[3]) if match[3] != "*" else None
    extension = content_types.extension(headers.get("content-type", ""), url)
    return Accept(extension, size, checksum, offset, etag)


def _etag(headers: Mapping[str, str]) -> str | None:
    """Return the strong entity tag with which the rest of this file can be requested later (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "").strip()
    ranges = headers.get("accept-ranges", "bytes").strip().lower()
    return etag if re.fullmatch('"[!#-~]{1,100}"', etag) and ranges != "none" and not _is_encoded(headers) else None


def _is_encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


_RANGE: Final = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")
_OF_THE_PART: Final = frozenset({"content-length", "content-digest", "content-md5"})


def _size_and_digest(headers: Mapping[str, str]) -> tuple[int | None, tuple[str, bytes] | None]:
    if _is_encoded(headers):
        return None, None  # the headers describe the encoded body
    length = headers.get("content-length", "").strip()
    return int(length) if re.fullmatch("[0-9]{1,15}", length) else None, digest(headers)


def digest(headers: Mapping[str, str]) -> tuple[str, bytes] | None:
    """Return the best checksum in the headers: its name in hashlib, and the bytes. A malformed one is ignored.

    The headers are ``Repr-Digest`` and ``Content-Digest`` (RFC 9530), ``Digest`` (RFC 3230),
    ``x-amz-checksum-sha256``, ``x-goog-hash`` and ``Content-MD5``.
    """
    pairs = [pair for name in ("repr-digest", "content-digest", "digest") for pair in _pairs(headers.get(name, ""))]
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        pairs += _pairs(headers.get("x-goog-hash", ""))
    pairs += [(algorithm, headers[name]) for name, algorithm in _PLAIN.items() if name in headers]
    digests: dict[str, bytes] = {}
    for algorithm, value in pairs:
        name = _NAMES.get(algorithm.lower())
        decoded = _decoded(value)
        if name is not None and len(decoded) == _SIZES[name]:
            digests.setdefault(name, decoded)
    return next(((name, digests[name]) for name in DIGESTS if name in digests), None)


def _pairs(header: str) -> list[tuple[str, str]]:
    matches = map(_PAIR.fullmatch, header.split(","))
    return [(match[1], match[2]) for match in matches if match is not None]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_old(ended_at: float | None, now: float) -> bool:
    """Return whether an output's URL may have expired."""
    return ended_at is not None and now - ended_at > LIFETIME


def explained(refused: GiveUp, *, ended_at: float | None, now: float) -> str:
    """Return the reason of a refusal, with the probable cause if the execution ended long ago."""
    if refused.status not in GONE or ended_at is None or not is_old(ended_at, now):
        return refused.reason
    hours = (now - ended_at) / 3600
    age = f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
    return f"{refused.reason}: the execution ended {age} ago, and output URLs live about 24 hours"


def embedded(url: str, *, max_size: int | None) -> tuple[str, bytes]:
    """Return the extension and the bytes of a ``data:`` URL.

    Raises
    ------
    ValueError
        It cannot be decoded, or is too large.
    """
    head, _, body = url.partition(",")
    kind, *parameters = head[5:].split(";")
    data = unquote_to_bytes(body)
    if any(parameter.strip().lower() == "base64" for parameter in parameters):
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error as exc:
            msg = f"a data: URL that cannot be decoded: {exc}"
            raise ValueError(msg) from exc
    if max_size is not None and len(data) > max_size:
        raise ValueError(too_large(max_size))
    return content_types.extension(kind, ""), data


def too_large(max_size: int) -> str:
    """Return the error message for a file of more than `max_size` bytes."""
    return f"larger than max_size={max_size} bytes"


def joined(errors: Sequence[str | None]) -> str | None:
    """Return one message for all files of a row; if there are several, each error has its file's number."""
    if len(errors) == 1:
        return errors[0]
    return "; ".join(f"{n}: {error}" for n, error in enumerate(errors) if error is not None) or None
