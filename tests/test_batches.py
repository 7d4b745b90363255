"""Batches: size, order, laziness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.core.batches import batched, halves
from eachlabs_frames.core.inputs import MAX_PAYLOAD


@given(st.integers(0, 101), st.integers(1, 10))
def test_every_row_is_in_one_batch_in_order(rows: int, size: int) -> None:
    """Full batches, and one shorter at the end."""
    made = list(batched(((row, b"%d" % row) for row in range(rows)), size=size))
    assert [position for batch in made for position in batch.positions] == list(range(rows))
    assert [payload for batch in made for payload in batch.payloads] == [b"%d" % row for row in range(rows)]
    assert all(len(batch) == size for batch in made[:-1])


@pytest.mark.parametrize("size", [0, 11, -1])
def test_a_size_that_the_api_does_not_take_is_refused(size: int) -> None:
    """1 to 10."""
    with pytest.raises(ValueError, match="1 to 10"):
        batched([], size=size)


def test_a_batch_is_no_heavier_than_one_input_may_be() -> None:
    """Ten rows of 4 MB go in requests of two."""
    heavy = b"x" * (MAX_PAYLOAD * 2 // 5)
    assert [batch.positions for batch in batched((row, heavy) for row in range(5))] == [(0, 1), (2, 3), (4,)]


def test_nothing_is_read_ahead_of_the_batch_that_is_asked_for() -> None:
    """One row more than the batch: the one that shows that it is full."""
    read: list[int] = []

    def items() -> Iterator[tuple[int, bytes]]:
        for row in range(1_000):
            read.append(row)
            yield row, b""

    next(batched(items()))
    assert len(read) == 11


@given(st.integers(2, 10))
def test_halves_keep_order_and_rows(size: int) -> None:
    """Both have rows, and together they are the batch."""
    (batch,) = batched((row, b"%d" % row) for row in range(size))
    first, second = halves(batch)
    assert first.positions + second.positions == batch.positions
    assert first.payloads + second.payloads == batch.payloads
    assert len(first) >= 1
    assert len(second) >= 1
