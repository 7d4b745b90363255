"""What stands in the way of sending rows again: any execution with a row's input that no row owns."""

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
    """Make a listing of executions with these inputs; None: it does not show them."""
    entries = [{"execution_id": f"e{number}", "created_at": TIME, "inputs": one} for number, one in enumerate(shown)]
    return [{**entry, **more} for entry in entries]


def check(
    entries: list[dict[str, Any]],
    *inputs: Any,
    owned: Any = (),
    details: Callable[[str], Reply] | None = None,
    page: Callable[[int], Any] | None = None,
) -> tuple[dict[int, str], FakeTransport]:
    """Return why rows with these inputs are not sent again, and the transport."""

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
    payloads = {row: orjson.dumps(one, option=orjson.OPT_SORT_KEYS) for row, one in enumerate(inputs)}
    return asyncio.run(reading.run(payloads, since=EPOCH)), transport


def contested(rows: dict[int, str]) -> dict[int, str]:
    """Return the reasons for rows whose input these executions have."""
    return {row: CONTESTED.format(execution_id=execution_id) for row, execution_id in rows.items()}


@pytest.mark.parametrize(
    "shown",
    [
        {"seed": 1.0, "prompt": "a"},
        {**A, "steps": 30, "style": None},
        {**A, "steps": {"deep": [1]}},
    ],
)
def test_an_input_that_the_api_shows_in_another_form_is_the_rows(shown: Any) -> None:
    """Defaults for absent keys, without nulls, whole floats as integers: it may be the row's execution."""
    found, _ = check(listing(shown), B, {**A, "note": None})
    assert found == contested({1: "e0"})


@pytest.mark.parametrize("shown", [{"prompt": "a"}, {**A, "seed": 2}, "a", [A], {}])
def test_other_inputs_block_no_row(shown: Any) -> None:
    """Nor do executions that rows own, or of another version."""
    assert check(listing(shown), A)[0] == {}
    assert check(listing(A), A, owned=["e0"])[0] == {}
    assert check(listing(A, version_id="v2"), A)[0] == {}
    assert check(listing(A, version_id="v1"), A)[0] == contested({0: "e0"})


def test_inputs_that_are_not_listed_are_read_from_the_details() -> None:
    """Of executions that no row owns; those that are gone block no row, those that are unreadable block all."""

    def details(known: str) -> Reply:
        said = {"e1": reply(404, {"error": "gone"})}.get(known)
        return said or reply(200, {"execution_id": known, "inputs": A if known == "e2" else B})

    found, transport = check(listing(None, None, None, None), A, owned=["e0"], details=details)
    assert found == contested({0: "e2"})
    assert sum("executions/" in request.path for request in transport.sent) == 3
    found, _ = check(listing(None), A, details=lambda known: reply(403, {"error": "no"}))
    assert found[0].startswith(UNSURE)


def test_the_listing_is_read_to_its_end_or_a_week_back() -> None:
    """Ten pages in any case: a clock may be wrong by more."""
    entries = listing(*[B] * 3_000, A)
    assert check(entries, A)[0] == contested({0: "e3000"})
    for number, entry in enumerate(entries):
        entry.update(created_at=OLD, execution_id=f"x{number}")
    found, transport = check(entries, A)
    assert (found, len(transport.sent)) == ({}, 11)
    entries.insert(999, {"execution_id": "y", "created_at": "1970-01-01T00:00:00Z", "inputs": A})
    assert check(entries, A)[0] == contested({0: "y"})


def test_a_listing_that_goes_on_for_too_long_is_no_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is sent again."""
    monkeypatch.setattr(resend_check, "MAX_PAGES", 5)
    found, transport = check(listing(*[B] * 501), A)
    assert found == {0: UNCERTAIN.format(reason="the workflow has more than 500 executions to search")}
    assert len(transport.sent) == 5


@pytest.mark.parametrize("says", ["limit", "total_count"])
def test_a_page_that_the_api_has_cut_is_not_the_listings_end(says: str) -> None:
    """A listing with smaller pages than requested is read to its end, so that nothing is paid twice."""
    entries = listing(*[B] * 50, A)
    more = {"limit": 20} if says == "limit" else {"limit": 100, "total_count": len(entries)}
    found, transport = check(entries, A, page=lambda start: {"executions": entries[start : start + 20], **more})
    assert found == contested({0: "e50"})
    assert len(transport.sent) == 3


def test_a_listing_that_ignores_the_offset_is_no_certainty() -> None:
    """It shows its first page for ever: what stands behind it is not known."""
    entries = listing(*[B] * 100)
    found, transport = check(entries, A, page=lambda start: {"executions": entries, "total_count": 1_000})
    assert found == {0: UNCERTAIN.format(reason="the listing returns the same executions at every offset")}
    assert len(transport.sent) < 20


def test_a_version_that_is_shown_in_another_form_may_be_the_rows() -> None:
    """Only an execution that is certainly of another version blocks no row."""
    assert check(listing(A, version_id="V1"), A)[0] == contested({0: "e0"})
    assert check(listing(A, version_id=1), A)[0] == contested({0: "e0"})
    assert check(listing(A, version_id="v2"), A)[0] == {}


def test_too_many_executions_without_inputs_are_no_certainty() -> None:
    """They are not requested one by one."""
    found, transport = check(listing(*[None] * 1_001), A)
    assert "1,001 executions that no row owns" in found[0]
    assert len(transport.sent) == 11


@pytest.mark.parametrize("answer", [reply(403, {"error": "no"}), reply(200, {}), reply(200, []), reply(503)])
def test_a_listing_that_cannot_be_read_is_no_certainty(answer: Reply) -> None:
    """Whatever the reason; but an offset beyond the end may be refused."""

    async def owns() -> frozenset[str]:
        return frozenset()

    reading = ResendCheck(
        Target("wf", "v1"), ApiConnection(FakeTransport(lambda _: answer), ManualClock(), "current", 4), owned=owns
    )
    assert asyncio.run(reading.run({0: b"{}"}, since=EPOCH))[0].startswith(UNSURE)
    pages = iter([reply(200, {"executions": listing(*[B] * 100)}), reply(400, {"error": "offset"})])
    reading._connection = ApiConnection(FakeTransport(lambda _: next(pages)), ManualClock(), "current", 4)
    assert asyncio.run(reading.run({0: orjson.dumps(A)}, since=EPOCH)) == {}
