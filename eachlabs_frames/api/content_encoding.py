"""The decompression of a response's body, in pieces of bounded size and time: of the API's replies and of downloads."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

BUFFER: Final = 256 * 1024
"""Bytes that are read ahead of what is written, at most twice as many."""

MAX_PACKED_OVERHEAD: Final = 4 * BUFFER
"""Packed bytes, beyond twice what they hold, after which a body is given up: empty gzip members may never end."""

SLICE: Final = 4096
"""Packed bytes that are unpacked at once: zlib copies what follows each of many small gzip members."""

TURN_BYTES: Final = 64 * 1024
"""Packed bytes after which the loop gets its turn."""

PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
UNREADABLE: Final = frozenset({"br", "zstd", "compress", "x-compress"})


class BrokenError(Exception):
    """No whole answer came: a connection that failed, silence, or a body cut short."""


async def unpacked(body: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Unpack in pieces of at most `BUFFER` bytes: a little that is packed may be more than memory holds.

    A piece is empty where packed bytes came that hold nothing, so that the consumer can watch the time.

    Raises
    ------
    BrokenError
        It is not packed so, or not whole; or so that it cannot be unpacked, or holds much less than it weighs.
    """
    if encoding in UNREADABLE:
        msg = f"it is encoded as {encoding}, though no encoding was requested"
        raise BrokenError(msg)
    inflater: Any = None
    received = produced = 0
    async for packed in _sliced(body):
        received += len(packed)
        if received > MAX_PACKED_OVERHEAD + 2 * produced:
            msg = f"{received} bytes, encoded as {encoding}, decode to only {produced} bytes"
            raise BrokenError(msg)
        yield b""
        rest, is_full = packed, False
        while rest or is_full:
            if inflater is None:
                inflater = zlib.decompressobj(_window(encoding, rest))
            try:
                piece = inflater.decompress(rest, BUFFER)
            except zlib.error as exc:
                msg = f"it cannot be decoded as {encoding}: {exc}"
                raise BrokenError(msg) from exc
            if piece:
                produced += len(piece)
                yield piece
            is_full = len(piece) == BUFFER and not inflater.eof
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            inflater = None if inflater.eof else inflater
    if inflater is not None:
        msg = "its encoded content is truncated"
        raise BrokenError(msg)


async def _sliced(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield compressed bytes in small slices, so that no single step of the decompression takes long."""
    count = 0
    async for piece in body:
        for begin in range(0, len(piece), SLICE):
            yield piece[begin : begin + SLICE]
            count += SLICE
            if count % TURN_BYTES == 0:
                await asyncio.sleep(0)


def _window(encoding: str, begin: bytes) -> int:
    """Return what zlib calls the packing; some servers call it deflate without the head that belongs to it."""
    if encoding != "deflate":
        return 16 + zlib.MAX_WBITS
    return zlib.MAX_WBITS if begin[0] & 0x0F == 8 else -zlib.MAX_WBITS
