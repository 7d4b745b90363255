from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.journal.records import (
    ANSWER,
    CLAIM,
    UPDATE,
    Record,
    RunState,
    ids_of,
    pack_outcomes,
    pack_rows,
    unpack_outcomes,
    unpack_rows,
)
from eachlabs_frames.models import Outcome

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
    | st.just("👩‍🎨 ü\x00\u2028"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
TEXT = st.none() | st.text(max_size=40)
TIME = st.none() | st.integers(-(2**62), 2**62)
STATUS = st.sampled_from(["queued", "running", "completed", "failed", "unknown", "pending", "a new word"])


def _claim(number: int, session: int, *rows: int) -> Record:
    return number, session, CLAIM, pack_rows(rows), None


def _said(number: int, session: int, *outcomes: Outcome, kind: int = ANSWER) -> Record:
    return number, session, kind, pack_rows(one.position for one in outcomes), pack_outcomes(outcomes)


def _book(*records: Record, size: int = 3) -> RunState:
    book = RunState(size)
    for record in records:
        book.add(*record)
    return book


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1)))
def test_row_numbers_come_back(rows: list[int]) -> None:
    """Four bytes a row, whatever the number."""
    assert list(unpack_rows(pack_rows(rows))) == rows
    assert len(pack_rows(rows)) == 4 * len(rows)


@pytest.mark.slow
@settings(deadline=None)
@given(
    TEXT,
    st.lists(
        st.tuples(STATUS, TEXT, TEXT, TIME, TIME, JSON, st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        max_size=12,
    ),
)
def test_outcomes_come_back_as_they_were(bulk_id: str | None, said: list[tuple[Any, ...]]) -> None:
    """Whatever the API gave, long or short, an outcome is read as it was written."""
    outcomes = [
        Outcome(row, status, bulk_id, execution_id, error, started, completed, output, cost)
        for row, (status, execution_id, error, started, completed, output, cost) in enumerate(said)
    ]
    body = pack_outcomes(outcomes)
    assert list(unpack_outcomes(range(len(outcomes)), body)) == outcomes
    assert ids_of(body) == {bulk_id, *(one.execution_id for one in outcomes)} - {None}


@pytest.mark.parametrize("output", ["\ud83d", {"n": 2**70}, object()])
def test_what_is_no_json_never_costs_an_execution(output: Any) -> None:
    """Half a surrogate pair, a huge integer or an object in an output is no reason to forget the rest."""
    body = pack_outcomes([Outcome(0, "completed", "b", "e", output=output)])
    (known,) = unpack_outcomes([0], body)
    assert (known.status, known.bulk_id, known.execution_id) == ("completed", "b", "e")


def test_a_long_body_is_compressed_and_a_bare_answer_is_not() -> None:
    """Ten outputs with addresses take less than half of their JSON."""
    long = [Outcome(row, "completed", "b", f"e{row}", output="https://cdn.example/" + "x" * 80) for row in range(10)]
    assert len(pack_outcomes(long)) < 500
    assert pack_outcomes([Outcome(0, "queued", "b", "e")]) == b'["b",[["queued","e"]]]'


@pytest.mark.parametrize("body", [b"", b"[", b"\x00" * 50, b"\x78\x01nonsense", b'["b",[]]', b'["b",[[]]]'])
def test_a_body_that_was_cut_short_raises_what_the_journal_expects(body: bytes) -> None:
    """Zeros and halves are noticed, not read as something else."""
    with pytest.raises((ValueError, LookupError)):
        _book((1, 1, ANSWER, pack_rows([0]), body))


def test_a_release_undoes_the_claim_of_its_own_call_alone() -> None:
    """Who gave a claim back that was never granted must not open a row that another call has in flight."""
    assert _book(_claim(1, 1, 0), _said(2, 1, Outcome(0, "pending"))).row_state(0).state == "new"
    assert _book(_claim(1, 1, 0), _said(2, 2, Outcome(0, "pending"))).row_state(0).state == "sent"


def test_a_release_gives_back_what_was_known_before_the_claim() -> None:
    """A retry that was refused leaves the failed execution where it was."""
    failed = Outcome(0, "failed", "b", "e1", "why")
    book = _book(_claim(1, 1, 0), _said(2, 1, failed), _claim(3, 2, 0), _said(4, 2, Outcome(0, "pending")))
    assert book.row_state(0).outcome == failed


def test_a_refused_input_never_hides_an_execution_or_a_request() -> None:
    """`invalid` says something of a row that was not sent, and nothing of one that was."""
    invalid = Outcome(0, "invalid", error="too long")
    assert _book(_said(1, 1, invalid)).row_state(0) == ("new", invalid, False)
    assert _book(_claim(1, 1, 0), _said(2, 2, invalid)).row_state(0).state == "sent"
    done = _book(_claim(1, 1, 0), _said(2, 1, Outcome(0, "queued", "b", "e1")), _said(3, 2, invalid))
    assert done.results.execution_id[0] == "e1"


def test_a_look_speaks_only_of_the_execution_that_it_saw() -> None:
    """A look at an execution that the row has no more is dropped; a later one fills the row in."""
    start = (_claim(1, 1, 0), _said(2, 1, Outcome(0, "queued", "b", "e1")))
    whole = Outcome(0, "completed", "b", "e1", None, 5, 6, {"url": "u"}, 0.5)
    assert _book(*start, _said(3, 2, whole, kind=UPDATE)).row_state(0).outcome == whole
    partial = Outcome(0, "completed", "b", "e1", completed_at=6)
    assert _book(*start, _said(3, 2, partial, kind=UPDATE)).row_state(0).outcome == partial
    other = whole._replace(execution_id="e0")
    assert _book(*start, _said(3, 2, other, kind=UPDATE)).results.status[0] == "queued"
    later = Outcome(0, "running", "b", "e1")
    assert _book(*start, _said(3, 2, whole, later, kind=UPDATE)).results.status[0] == "completed"


STEP = st.tuples(
    st.integers(0, 2),
    st.integers(1, 2),
    st.sampled_from(["claim", "execution", "refused", "unknown", "release", "invalid", "look"]),
)


@settings(deadline=None)
@given(st.lists(STEP, max_size=25))
def test_an_accepted_execution_is_only_replaced_after_a_newer_claim(steps: list[tuple[int, int, str]]) -> None:
    """Whatever two calls write in whatever order, what was accepted stays, until the row is claimed once more.

    A claim that is given back leaves what was accepted before it.
    """
    book, held, before = RunState(3), dict[int, str](), dict[int, str]()
    for number, (row, session, step) in enumerate(steps, start=1):
        said = {
            "execution": Outcome(row, "queued", f"b{session}", f"e{number}"),
            "refused": Outcome(row, "failed", error="refused"),
            "unknown": Outcome(row, "unknown", error="lost"),
            "release": Outcome(row, "pending"),
            "invalid": Outcome(row, "invalid", error="no"),
            "look": Outcome(row, "completed", execution_id=held.get(row, "e0"), output=number),
        }
        if step == "claim":
            book.add(*_claim(number, session, row))
            if row in held:
                before[row] = held.pop(row)
        elif step == "execution" and row in held and book.sessions[row] == session:
            continue  # nobody answers one claim twice
        else:
            is_sent, is_own = book.row_state(row).state == "sent", book.sessions[row] == session
            book.add(*_said(number, session, said[step], kind=UPDATE if step == "look" else ANSWER))
            if step == "release" and is_sent and is_own and row in before:
                held[row] = before.pop(row)  # the claim created nothing
            elif is_sent and step in ("execution", "refused", "unknown"):
                before.pop(row, None)
            if step == "execution":
                held.setdefault(row, f"e{number}")
        for known, execution_id in held.items():
            assert book.row_state(known).outcome is not None
            assert book.results.execution_id[known] == execution_id
    tally = book.results.tally()
    assert sum(tally.values()) == 3
    assert all(tally[word] == book.results.status.count(word) for word in tally)


def test_rows_of_other_calls_are_taken_in_without_counting_all_rows_again() -> None:
    """A call reads each record of another one, and its run may have a million rows."""
    book = _book(_said(1, 1, Outcome(0, "queued", "b", "e0")))
    book.grow(5)
    assert not book._counted
    assert book.results.tally() == {"queued": 1, "pending": 4}
    assert book.results.accepted == 1
