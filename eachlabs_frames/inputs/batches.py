"""Groups encoded inputs into batches of at most 10, lazily and in row order.

Owns the size of a batch and how it is split. It never holds more than one chunk of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..models import MAX_BATCH, Batch
from .encoding import MAX_PAYLOAD


def batched(chunks: Iterable[tuple[Sequence[int], Sequence[bytes]]], *, size: int = MAX_BATCH) -> Iterator[Batch]:
    """Yield batches of up to `size` inputs, and of no more bytes than one input may have.

    Parameters
    ----------
    chunks : iterable of (positions, payloads)
        Chunk after chunk of rows: each one's position in the frame, and its encoded input.
    size : int, default 10
        Inputs of one batch, 1 to 10.

    Raises
    ------
    ValueError
        A size that the API does not take.
    """
    if not 1 <= size <= MAX_BATCH:
        msg = f"a batch has 1 to {MAX_BATCH} inputs; got {size}"
        raise ValueError(msg)
    return _batched(chunks, size)


def _batched(chunks: Iterable[tuple[Sequence[int], Sequence[bytes]]], size: int) -> Iterator[Batch]:
    positions: list[int] = []
    payloads: list[bytes] = []
    for more_positions, more_payloads in chunks:
        positions += more_positions
        payloads += more_payloads
        start = 0
        # Keep incomplete batches for the next chunk, so that only the last batch may be short.
        while len(positions) - start >= size:
            batch = _cut(positions, payloads, start, size)
            yield batch
            start += len(batch)
        del positions[:start], payloads[:start]
    start = 0
    while start < len(positions):
        batch = _cut(positions, payloads, start, size)
        yield batch
        start += len(batch)


def _cut(positions: list[int], payloads: list[bytes], start: int, size: int) -> Batch:
    """Return the batch that begins at `start`: as many rows as fit in one request, and at least one."""
    taken = payloads[start : start + size]
    while len(taken) > 1 and sum(map(len, taken)) > MAX_PAYLOAD:
        taken.pop()
    return Batch(tuple(positions[start : start + len(taken)]), tuple(taken))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Return the two halves of a batch of two or more, in row order."""
    return cut(batch, len(batch) // 2)


def cut(batch: Batch, size: int) -> tuple[Batch, Batch]:
    """Return the first `size` rows of a batch, and the others."""
    return (
        Batch(batch.positions[:size], batch.payloads[:size]),
        Batch(batch.positions[size:], batch.payloads[size:]),
    )
