"""Encoded inputs -> batches of at most 10, in row order, one at a time.

Owns a batch's size and how it is halved. Never holds more than the batch that it is filling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ..models import Batch
from .inputs import MAX_PAYLOAD

MAX_BATCH: Final = 10
"""Inputs of one bulk trigger (API reference, "Bulk trigger": 1..10)."""


def batched(items: Iterable[tuple[int, bytes]], *, size: int = MAX_BATCH) -> Iterator[Batch]:
    """Yield batches of up to `size` inputs, and of no more bytes than one input may have.

    Parameters
    ----------
    items : iterable of (position, JSON)
        Each row's position in the frame, and its encoded input.
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
    return _batched(items, size)


def _batched(items: Iterable[tuple[int, bytes]], size: int) -> Iterator[Batch]:
    positions: list[int] = []
    payloads: list[bytes] = []
    weight = 0
    for position, payload in items:
        if positions and (len(positions) == size or weight + len(payload) > MAX_PAYLOAD):
            yield Batch(tuple(positions), tuple(payloads))
            positions, payloads, weight = [], [], 0
        positions.append(position)
        payloads.append(payload)
        weight += len(payload)
    if positions:
        yield Batch(tuple(positions), tuple(payloads))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Return the two halves of a batch of two or more, in row order."""
    middle = len(batch) // 2
    return (
        Batch(batch.positions[:middle], batch.payloads[:middle]),
        Batch(batch.positions[middle:], batch.payloads[middle:]),
    )
