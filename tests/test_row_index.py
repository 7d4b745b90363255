from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.inputs.fingerprints import SIZE, fingerprint
from eachlabs_frames.journal.row_index import UNSEEN, RowIndex

LETTERS = st.lists(st.sampled_from("abcd"), max_size=12)


def _digests(letters: list[str]) -> list[bytes]:
    return [fingerprint(letter) for letter in letters]


def _found(run: list[str], frame: list[str], **options: object) -> list[int]:
    roll = RowIndex(b"".join(_digests(run)), **options)  # type: ignore[arg-type]
    return [roll.find(digest) for digest in _digests(frame)]


@settings(deadline=None)
@given(LETTERS, LETTERS)
def test_a_frame_gets_each_number_once_and_as_many_as_the_run_has(run: list[str], frame: list[str]) -> None:
    """However a frame was sorted, filtered, doubled or appended to, a digest's k-th row is its k-th row in the run."""
    found = _found(run, frame)
    for place, (letter, number) in enumerate(zip(frame, found, strict=True)):
        occurrences = [at for at, known in enumerate(run) if known == letter]
        before = frame[:place].count(letter)
        assert number == (occurrences[before] if before < len(occurrences) else UNSEEN)
    given_ = [number for number in found if number != UNSEEN]
    assert len(set(given_)) == len(given_)


@settings(deadline=None)
@given(LETTERS, LETTERS, st.integers(1, 4), st.sets(st.integers(0, 11), max_size=1))
def test_rows_in_the_runs_order_get_the_same_numbers_without_an_index(
    run: list[str], more: list[str], size: int, taken: set[int]
) -> None:
    """Chunk by chunk, until one is not the next rows of the run; so in a frame that begins as the run does."""
    frame = run[: len(more)] + more
    index = RowIndex(b"".join(_digests(run)), taken=taken)
    found: list[int] = []
    for start in range(0, len(frame), size):
        chunk = _digests(frame[start : start + size])
        found += index.find_in_order(chunk) or [index.find(digest) for digest in chunk]
    assert found == _found(run, frame, taken=taken)


@settings(deadline=None)
@given(LETTERS, st.permutations(range(12)))
def test_sorting_a_frame_finds_the_same_rows(run: list[str], order: list[int]) -> None:
    """The rows of a run are the same set, in whatever order the frame is."""
    frame = [run[place] for place in order if place < len(run)]
    assert sorted(_found(run, frame)) == list(range(len(run)))


@settings(deadline=None)
@given(LETTERS, LETTERS, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_rows_that_are_taken_are_never_given_and_preferred_ones_come_first(
    run: list[str], frame: list[str], taken: set[int], open_: set[int]
) -> None:
    """What the frame holds by its executions is left out, and what may still be sent is found before what was."""
    roll = RowIndex(b"".join(_digests(run)), taken=taken)
    left = [at for at in range(len(run)) if at not in taken]
    for letter in frame:
        candidates = [at for at in left if run[at] == letter]
        preferred = [at for at in candidates if at in open_]
        best = (preferred or candidates)[:1]
        assert roll.find(fingerprint(letter), open_.__contains__) == (best[0] if best else UNSEEN)
        left = [at for at in left if at not in best]


def test_a_key_stands_for_its_latest_row() -> None:
    """With keys, a row whose input was changed is another row, and the older one is never found again."""
    assert _found(["a", "b", "a"], ["a", "b", "a"], latest=True) == [2, 1, UNSEEN]
    assert _found(["a", "b", "a"], ["a"], latest=True, taken=[2]) == [UNSEEN]


def test_a_key_stands_for_the_row_that_was_sent() -> None:
    """Its latest row may have been registered by a call that did not get to send it."""
    assert _found(["a", "a", "b", "a"], ["a", "b"], latest=True, is_sent={1}.__contains__) == [1, 2]
    index = RowIndex(fingerprint("a"), latest=True, is_sent={0, 2}.__contains__)
    index.extend(1, fingerprint("a"))
    assert index.rows_of_key(fingerprint("a")) == [0, 1]
    index.extend(2, fingerprint("a"))
    assert index.find(fingerprint("a")) == 2


def test_a_hundred_thousand_equal_rows_ask_of_each_number_once() -> None:
    """Where all inputs are equal, finding a row does not mean going through all the others."""
    asked: list[int] = []
    roll = RowIndex(fingerprint("same") * 100_000)

    def sent(number: int) -> bool:
        asked.append(number)
        return False

    assert [roll.find(fingerprint("same"), sent) for _ in range(100_000)] == list(range(100_000))
    assert len(asked) == 100_000


def test_an_empty_roll_knows_nobody() -> None:
    """A new run has no rows, and says so."""
    assert not RowIndex(b"")
    assert RowIndex(bytes(SIZE))
    assert RowIndex(b"").find(fingerprint("a")) == UNSEEN


@settings(deadline=None)
@given(LETTERS, LETTERS, LETTERS, LETTERS)
def test_rows_that_another_call_adds_meanwhile_are_found_as_if_they_had_been_there(
    run: list[str], more: list[str], before: list[str], after: list[str]
) -> None:
    """A digest's k-th row is its k-th row in the run, where the run has it by the time it is asked for."""
    roll = RowIndex(b"".join(_digests(run)))
    whole = [*run, *more]
    found = [roll.find(digest) for digest in _digests(before)]
    roll.extend(len(run), b"".join(_digests(more)))
    found += [roll.find(digest) for digest in _digests(after)]
    given_: list[int] = []
    for place, (letter, number) in enumerate(zip([*before, *after], found, strict=True)):
        known = whole if place >= len(before) else run
        left = [at for at, other in enumerate(known) if other == letter and at not in given_]
        assert number == (left[0] if left else UNSEEN)
        given_.append(number)
