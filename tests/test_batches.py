"""Batches: size, order, laziness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.inputs.batches import batched, halves
from eachlabs_frames.inputs.encoding import MAX_PAYLOAD


def chunks(rows: int, length: int, payload: bytes | None = None) -> Iterator[tuple[list[int], list[bytes]]]:
    """Cut `rows` rows into chunks of `length`, each row's payload its own number unless one is given."""
    for start in range(0, rows, length):
        positions = list(range(start, min(start + length, rows)))
        yield positions, [payload or b"%d" % row for row in positions]


@given(st.integers(0, 101), st.integers(1, 10), st.integers(1, 40))
def test_every_row_is_in_one_batch_in_order(rows: int, size: int, length: int) -> None:
    """Full batches, and one shorter at the end, however the chunks are cut."""
    made = list(batched(chunks(rows, length), size=size))
    assert [position for batch in made for position in batch.positions] == list(range(rows))
    assert [payload for batch in made for payload in batch.payloads] == [b"%d" % row for row in range(rows)]
    assert all(len(batch) == size for batch in made[:-1])


@pytest.mark.parametrize("size", [0, 11, -1])
def test_a_size_that_the_api_does_not_take_is_refused(size: int) -> None:
    """1 to 10."""
    with pytest.raises(ValueError, match="1 to 10"):
        batched([], size=size)


def test_a_batch_is_no_heavier_than_one_input_may_be() -> None:
    """Five rows of 4 MB go in requests of two."""
    heavy = b"x" * (MAX_PAYLOAD * 2 // 5)
    assert [batch.positions for batch in batched(chunks(5, 5, heavy))] == [(0, 1), (2, 3), (4,)]
    assert [batch.positions for batch in batched(chunks(3, 1, b"x" * MAX_PAYLOAD))] == [(0,), (1,), (2,)]


def test_no_chunk_is_read_ahead_of_the_batch_that_is_asked_for() -> None:
    """The first batch costs one chunk, and the chunk's last batch no second one."""
    read: list[int] = []

    def items() -> Iterator[tuple[list[int], list[bytes]]]:
        for number, chunk in enumerate(chunks(1_000, 100)):
            read.append(number)
            yield chunk

    made = batched(items())
    for _ in range(10):
        next(made)
    assert read == [0]


@given(st.integers(2, 10))
def test_halves_keep_order_and_rows(size: int) -> None:
    """Both have rows, and together they are the batch."""
    (batch,) = batched(chunks(size, 3))
    first, second = halves(batch)
    assert first.positions + second.positions == batch.positions
    assert first.payloads + second.payloads == batch.payloads
    assert len(first) >= 1
    assert len(second) >= 1
