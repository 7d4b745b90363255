"""What a download's response means, and what its headers state about the file: values in, a verdict out."""

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
"""Seconds for which an output's URL is sure to work (API reference, "Executions")."""

GONE: Final = frozenset({401, 403, 404, 410})
DIGESTS: Final = ("sha256", "sha512", "md5")
"""By which a file is compared with what its server says of it, the first that is given."""

_NAMES: Final = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
_PLAIN: Final = {"x-amz-checksum-sha256": "sha-256", "content-md5": "md5"}
_SIZES: Final = {"sha256": 32, "sha512": 64, "md5": 16}
_PAIR: Final = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*:?([A-Za-z0-9+/=_-]+):?\s*")


@dataclass(frozen=True, slots=True)
class RequestedFile:
    """One file that is to be fetched.

    Attributes
    ----------
    identity : Identity
    url : str
    stem : str
        Its name in the folder, without the extension.
    ended_at : float or None
        When the execution ended, in epoch seconds.
    """

    identity: FileKey
    url: str
    stem: str
    ended_at: float | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the URL itself holds the file."""
        return self.url[:5].lower() == "data:"


class Fetched(NamedTuple):
    """What became of a file: where it is in the folder, or why it is not there; `url` where it has a new link."""

    file: str | None = None
    size: int = 0
    error: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What headers say of a body: its size and digest where they do, and what it is called."""

    extension: str
    size: int | None = None
    digest: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Accept:
    """The body is the file, or what follows its first `offset` bytes; `etag` is a strong validator of it."""

    promise: Expected
    offset: int = 0
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """It is elsewhere."""

    location: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """It may come at another try, after that many seconds. ``replaced``: something else was sent in its place."""

    reason: str
    after: float | None = None
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further try would help. ``expired``: a new link to the same output might."""

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
    """Say what an answer means.

    Parameters
    ----------
    status : int
    headers : mapping of str to str
        By lower-case names.
    url : str
        Where it came from.
    after : float or None
        Its ``Retry-After``, in seconds from now.
    offset : int
        Bytes of the file that are there already, so that the rest alone was asked for.
    etag : str or None
        The entity tag of the file that those bytes are of.
    """
    if status in (301, 302, 303, 307, 308):
        location = headers.get("location", "")
        return Redirect(location) if location else GiveUp(f"HTTP {status}, a redirect without a location")
    if status in (408, 425, 429) or status >= 500:
        return RetryLater(f"HTTP {status}", after)
    if offset and status in (206, 416):
        return (
            _rest(headers, url, offset, etag) if status == 206 else RetryLater("the requested range is not in the file")
        )
    if status != 200:
        return GiveUp(f"HTTP {status}", status, expired=status in GONE)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_types.promises_media(url) and not content_types.may_be_media(kind, url):
        return RetryLater(f"{kind} was sent instead of the file", replaced=True)
    return Accept(_promise(headers, content_types.extension(kind, url)), etag=_etag(headers))


def _rest(headers: Mapping[str, str], url: str, offset: int, etag: str | None) -> Accept | RetryLater:
    """Read a 206: its headers speak of the whole file, but for its length and its own checksum (RFC 9110, 15.3.7)."""
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None or int(found[1]) != offset:
        return RetryLater("the server sent a different range of the file than requested")
    # A 206 has the ETag (RFC 9110, 15.3.7). Some servers ignore If-Range, and send the rest of a new file.
    if _etag(headers) != etag:
        return RetryLater("the file has changed since its first part was downloaded")
    whole = {name: value for name, value in headers.items() if name not in _OF_THE_PART}
    promise = _promise(whole, content_types.extension(headers.get("content-type", ""), url))
    size = int(found[3]) if found[3] != "*" else None
    return Accept(Expected(promise.extension, size, promise.digest), offset, _etag(headers))


def _etag(headers: Mapping[str, str]) -> str | None:
    """Return the strong entity tag by which the rest of this very file may be asked for later (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "").strip()
    ranges = headers.get("accept-ranges", "bytes").strip().lower()
    packed = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    return etag if re.fullmatch('"[!#-~]{1,100}"', etag) and ranges != "none" and not packed else None


_RANGE: Final = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")
_OF_THE_PART: Final = frozenset({"content-length", "content-digest", "content-md5"})


def _promise(headers: Mapping[str, str], extension: str) -> Expected:
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return Expected(extension)  # what is said is said of the packed body
    length = headers.get("content-length", "").strip()
    return Expected(extension, int(length) if re.fullmatch("[0-9]{1,15}", length) else None, digest(headers))


def digest(headers: Mapping[str, str]) -> tuple[str, bytes] | None:
    """Return the best checksum that headers give: its name, as hashlib has it, and the bytes.

    Read are ``Repr-Digest`` and ``Content-Digest`` (RFC 9530), ``Digest`` (RFC 3230), ``x-amz-checksum-sha256``,
    ``x-goog-hash`` and ``Content-MD5``. What is no digest of its size is as good as none.
    """
    said = [_pairs(headers[name]) for name in ("repr-digest", "content-digest", "digest") if name in headers]
    if "x-goog-hash" in headers and headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        said.append(_pairs(headers["x-goog-hash"]))
    said.append([(word, headers[name]) for name, word in _PLAIN.items() if name in headers])
    found: dict[str, bytes] = {}
    for name, value in (pair for pairs in said for pair in pairs):
        known = _NAMES.get(name.lower())
        decoded = _decoded(value)
        if known is not None and len(decoded) == _SIZES[known]:
            found.setdefault(known, decoded)
    return next(((name, found[name]) for name in DIGESTS if name in found), None)


def _pairs(header: str) -> list[tuple[str, str]]:
    matches = map(_PAIR.fullmatch, header.split(","))
    return [(match[1], match[2]) for match in matches if match is not None]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_old(ended_at: float | None, now: float) -> bool:
    """Say whether an output's URL may have ceased to work."""
    return ended_at is not None and now - ended_at > LIFETIME


def explained(refused: GiveUp, *, ended_at: float | None, now: float) -> str:
    """Return the reason of a refusal, and what it probably means where the execution ended long ago."""
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
    if any(one.strip().lower() == "base64" for one in parameters):
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error as exc:
            msg = f"a data: URL that cannot be decoded: {exc}"
            raise ValueError(msg) from exc
    if max_size is not None and len(data) > max_size:
        raise ValueError(too_large(max_size))
    return content_types.extension(kind, ""), data


def too_large(max_size: int) -> str:
    """Return why a file is not fetched that is larger than `max_size` bytes."""
    return f"larger than max_size={max_size} bytes"


def joined(errors: Sequence[str | None]) -> str | None:
    """Return one sentence for all of a row's files: where there are several, each with its number."""
    told = [(n, error) for n, error in enumerate(errors) if error is not None]
    if len(errors) == 1 and told:
        return told[0][1]
    return "; ".join(f"{n}: {error}" for n, error in told) or None
