"""Groups encoded inputs into batches of at most 10, lazily and in row order.

Owns the size of a batch and how it is split. It never holds more than one chunk of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..models import MAX_BATCH, Batch
from .encoding import MAX_PAYLOAD


def batched(chunks: Iterable[tuple[Sequence[int], Sequence[bytes]]], *, size: int = MAX_BATCH) -> Iterator[Batch]:
    """Yield batches of up to `size` inputs that are together no larger than one input may be.

    Parameters
    ----------
    chunks : iterable of (positions, payloads)
        Chunks of rows: their positions in the frame, and their encoded inputs.
    size : int, default 10
        Inputs per batch, 1 to 10.

    Raises
    ------
    ValueError
        The size is not 1 to 10.
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
        # Incomplete batches are kept for the next chunk, so that only the last batch may be short.
        yield from _cut_all(positions, payloads, size, at_least=size)
    yield from _cut_all(positions, payloads, size, at_least=1)


def _cut_all(positions: list[int], payloads: list[bytes], size: int, *, at_least: int) -> Iterator[Batch]:
    """Yield batches and remove them from the lists, while there are `at_least` rows."""
    start = 0
    while len(positions) - start >= at_least:
        batch = _cut(positions, payloads, start, size)
        yield batch
        start += len(batch)
    del positions[:start], payloads[:start]


def _cut(positions: list[int], payloads: list[bytes], start: int, size: int) -> Batch:
    """Return the batch that begins at `start`: as many rows as fit in one request, and at least one."""
    fitting = payloads[start : start + size]
    while len(fitting) > 1 and sum(map(len, fitting)) > MAX_PAYLOAD:
        fitting.pop()
    return Batch(tuple(positions[start : start + len(fitting)]), tuple(fitting))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Return the two halves of a batch of at least two rows, in row order."""
    return cut(batch, len(batch) // 2)


def cut(batch: Batch, size: int) -> tuple[Batch, Batch]:
    """Return the first `size` rows of a batch, and the rest."""
    return (
        Batch(batch.positions[:size], batch.payloads[:size]),
        Batch(batch.positions[size:], batch.payloads[size:]),
    )
