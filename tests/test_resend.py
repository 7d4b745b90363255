"""Tests of the check before rows are sent again: an execution with a row's input that no row owns prevents it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from eachlabs_frames.engine.recovery import resend_check
from eachlabs_frames.engine.recovery.resend_check import CONTESTED, UNCERTAIN, ResendCheck
from eachlabs_frames.models import ApiConnection, Reply, Request, Target
from tests.fakes import EPOCH, FakeTransport, ManualClock, reply

TIME = "2026-09-21T13:33:20Z"
OLD = "2026-08-21T13:33:20Z"
UNSURE = UNCERTAIN.partition("{")[0]
A, B = {"prompt": "a", "seed": 1}, {"prompt": "b"}


def listing(*shown: Any, **more: Any) -> list[dict[str, Any]]:
    """Return a listing of executions with these inputs; None leaves the inputs out."""
    entries = [
        {"execution_id": f"e{number}", "created_at": TIME, "inputs": inputs} for number, inputs in enumerate(shown)
    ]
    return [{**entry, **more} for entry in entries]


def check(
    entries: list[dict[str, Any]],
    *inputs: Any,
    owned: Any = (),
    details: Callable[[str], Reply] | None = None,
    page: Callable[[int], Any] | None = None,
) -> tuple[dict[int, str], FakeTransport]:
    """Return the reasons why rows with these inputs are not sent again, and the transport."""

    def answer(request: Request) -> Reply:
        if "executions/" in request.path:
            assert details is not None
            return details(request.path.rpartition("/")[2])
        start = int(dict(request.query).get("offset", 0))
        return reply(200, page(start) if page is not None else {"executions": entries[start : start + 100]})

    async def owns() -> frozenset[str]:
        return frozenset(owned)

    transport = FakeTransport(answer)
    reading = ResendCheck(Target("wf", "v1"), ApiConnection(transport, ManualClock(), "current", 4), owned=owns)
    payloads = {row: orjson.dumps(values, option=orjson.OPT_SORT_KEYS) for row, values in enumerate(inputs)}
    return asyncio.run(reading.run(payloads, since=EPOCH)), transport


def contested(rows: dict[int, str]) -> dict[int, str]:
    """Return the reasons for rows with the same input as these executions."""
    return {row: CONTESTED.format(execution_id=execution_id) for row, execution_id in rows.items()}


@pytest.mark.parametrize(
    "shown",
    [
        {"seed": 1.0, "prompt": "a"},
        {**A, "steps": 30, "style": None},
        {**A, "steps": {"deep": [1]}},
    ],
)
def test_an_input_that_the_api_normalized_matches_its_row(shown: Any) -> None:
    """The API may add defaults, omit nulls and return whole floats as integers."""
    reasons, _ = check(listing(shown), B, {**A, "note": None})
    assert reasons == contested({1: "e0"})


@pytest.mark.parametrize("shown", [{"prompt": "a"}, {**A, "seed": 2}, "a", [A], {}])
def test_executions_with_other_inputs_block_no_row(shown: Any) -> None:
    """Executions that a row owns, or of another version, block no row either."""
    assert check(listing(shown), A)[0] == {}
    assert check(listing(A), A, owned=["e0"])[0] == {}
    assert check(listing(A, version_id="v2"), A)[0] == {}
    assert check(listing(A, version_id="v1"), A)[0] == contested({0: "e0"})


def test_inputs_that_are_not_listed_are_read_from_the_details() -> None:
    """Only of executions that no row owns. Deleted executions block no row, unreadable ones block all."""

    def details(execution_id: str) -> Reply:
        if execution_id == "e1":
            return reply(404, {"error": "gone"})
        return reply(200, {"execution_id": execution_id, "inputs": A if execution_id == "e2" else B})

    reasons, transport = check(listing(None, None, None, None), A, owned=["e0"], details=details)
    assert reasons == contested({0: "e2"})
    assert sum("executions/" in request.path for request in transport.sent) == 3
    reasons, _ = check(listing(None), A, details=lambda execution_id: reply(403, {"error": "no"}))
    assert reasons[0].startswith(UNSURE)


def test_the_listing_is_read_to_its_end_or_a_week_back() -> None:
    """At least ten pages are read, because the time of an entry may be wrong."""
    entries = listing(*[B] * 3_000, A)
    assert check(entries, A)[0] == contested({0: "e3000"})
    for number, entry in enumerate(entries):
        entry.update(created_at=OLD, execution_id=f"x{number}")
    reasons, transport = check(entries, A)
    assert (reasons, len(transport.sent)) == ({}, 11)
    entries.insert(999, {"execution_id": "y", "created_at": "1970-01-01T00:00:00Z", "inputs": A})
    assert check(entries, A)[0] == contested({0: "y"})


def test_a_listing_over_the_page_limit_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is sent again then."""
    monkeypatch.setattr(resend_check, "MAX_PAGES", 5)
    reasons, transport = check(listing(*[B] * 501), A)
    assert reasons == {0: UNCERTAIN.format(reason="the workflow has more than 500 executions to search")}
    assert len(transport.sent) == 5


@pytest.mark.parametrize("field", ["limit", "total_count"])
def test_pages_smaller_than_requested_are_not_the_end_of_the_listing(field: str) -> None:
    """Such a listing is read to its end, so that nothing is paid twice."""
    entries = listing(*[B] * 50, A)
    more = {"limit": 20} if field == "limit" else {"limit": 100, "total_count": len(entries)}
    reasons, transport = check(entries, A, page=lambda start: {"executions": entries[start : start + 20], **more})
    assert reasons == contested({0: "e50"})
    assert len(transport.sent) == 3


def test_a_listing_that_ignores_the_offset_is_uncertain() -> None:
    """It returns its first page forever, so later executions are unknown."""
    entries = listing(*[B] * 100)
    reasons, transport = check(entries, A, page=lambda start: {"executions": entries, "total_count": 1_000})
    assert reasons == {0: UNCERTAIN.format(reason="the listing returns the same executions at every offset")}
    assert len(transport.sent) < 20


def test_a_version_in_another_form_may_be_the_same_version() -> None:
    """An execution is ignored only if it is certainly of another version."""
    assert check(listing(A, version_id="V1"), A)[0] == contested({0: "e0"})
    assert check(listing(A, version_id=1), A)[0] == contested({0: "e0"})
    assert check(listing(A, version_id="v2"), A)[0] == {}


def test_too_many_executions_without_inputs_are_uncertain() -> None:
    """Their details are not requested one by one."""
    reasons, transport = check(listing(*[None] * 1_001), A)
    assert "1,001 executions that no row owns" in reasons[0]
    assert len(transport.sent) == 11


@pytest.mark.parametrize("answer", [reply(403, {"error": "no"}), reply(200, {}), reply(200, []), reply(503)])
def test_an_unreadable_listing_is_uncertain(answer: Reply) -> None:
    """Any error counts, except that an offset beyond the end may be refused."""

    async def owns() -> frozenset[str]:
        return frozenset()

    reading = ResendCheck(
        Target("wf", "v1"), ApiConnection(FakeTransport(lambda _: answer), ManualClock(), "current", 4), owned=owns
    )
    assert asyncio.run(reading.run({0: b"{}"}, since=EPOCH))[0].startswith(UNSURE)
    pages = iter([reply(200, {"executions": listing(*[B] * 100)}), reply(400, {"error": "offset"})])
    reading._connection = ApiConnection(FakeTransport(lambda _: next(pages)), ManualClock(), "current", 4)
    assert asyncio.run(reading.run({0: orjson.dumps(A)}, since=EPOCH)) == {}
