"""Tests of every fault at every request of a run, with a listing that shows executions at once, late or never.

Each cell is a run of 100 rows, followed by the same call again: no row is accepted twice, no execution is in a wrong
row, and every accepted execution is in its row if the listing shows it. The cells of a test run concurrently, each in
a process with its own sandbox.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eachlabs_frames.sandbox.faults import AFTER, BEFORE, ENTRIES, KINDS

from .fork_server import ForkServer, Worker

pytestmark = pytest.mark.chaos

POSITIONS = range(1, 11)
LISTINGS = {"at once": 0.0, "late": 1.0, "never": math.inf}
WINDOWS = {"at once": 0.7, "late": 2.2, "never": 0.7}
"""Settle windows in seconds, much longer than the lag of a listing that shows the executions."""

AHEAD = 3
"""Tests whose cells run at the same time, because a cell mostly waits."""

STOPPED = {"payment", "unauthorized", "forbidden", "not_found"}
WITHOUT_EFFECT = {"error_before", "dropped", "redirect", "gone"}
"""Faults of requests that have no effect, which the caller cannot know."""


def cell(fault: dict[str, Any], listing: str, **more: Any) -> dict[str, Any]:
    """Return the definition of a cell."""
    return {
        "faults": [fault],
        "settings": {"settle_window": WINDOWS[listing], "timeout": 2.5 if fault["kind"] == "silence" else 30.0},
        "options": {"listing_lag": None if listing == "never" else LISTINGS[listing]},
        **more,
    }


def check(label: str, result: dict[str, Any], *, kind: str, listing: str) -> None:
    """Check what was known after the first call of a cell and after the second."""
    assert result["problems"] == [], f"{label}: {result}"
    first, last = result["first"], result["last"]
    is_listed = listing != "never"
    if kind in STOPPED:
        assert first["known"] == first["accepted"], f"{label}: {result}"
        assert last["tally"].get("unknown") is None, f"{label}: {result}"
        assert (last["known"], last["accepted"]) == (100, 100), f"{label}: {result}"
        return
    lost = 10 if kind in AFTER | WITHOUT_EFFECT else 0
    accepted = 100 - (lost if kind in WITHOUT_EFFECT else 0)
    if kind == "silence":  # on a slow machine more requests may exceed the short timeout
        assert last["accepted"] >= 100 - last["tally"].get("unknown", 0), f"{label}: {result}"
        assert not is_listed or last["known"] == last["accepted"], f"{label}: {result}"
        return
    for state in (first, last):
        assert state["accepted"] == accepted, f"{label}: {result}"
        assert state["known"] == (accepted if is_listed else 100 - lost), f"{label}: {result}"
        assert state["tally"].get("unknown", 0) == 100 - state["known"], f"{label}: {result}"


def trigger_cells(kind: str, listing: str) -> list[dict[str, Any]]:
    """Return the cells with a fault at each of the run's ten trigger requests."""
    fault = {"kind": kind, "on": "trigger", "seconds": 0.05 if kind == "latency" else 0.0}
    return [cell({**fault, "at": [position]}, listing) for position in POSITIONS]


def read_cells(kind: str) -> list[dict[str, Any]]:
    """Return the cells with a fault at a request that reads, in addition to a lost trigger reply."""
    lost = {"kind": "lost_answer", "on": "trigger", "at": [4]}
    settings = {"settle_window": 2.0, "timeout": 1.5 if kind == "silence" else 30.0}
    return [
        {
            "faults": [lost, {"kind": kind, "on": route, "at": [at], "seconds": 0.05 if kind == "latency" else 0.0}],
            "settings": settings,
            "options": {"listing_inputs": route != "details", "listing_lag": 0.0},
            "reconcile": True,
        }
        for route in ("list", "details", "workflow")
        for at in ((1, 2, 3) if route != "workflow" else (1, 2))
    ]


def resend_cells(kind: str, listing: str) -> list[dict[str, Any]]:
    """Return the cells in which rows that were not found are sent again."""
    fault = {"kind": kind, "on": "trigger", "seconds": 0.0}
    more = {"call": {"on_unknown": "resend"}, "unique": listing != "never"}
    return [cell({**fault, "at": [position]}, listing, **more) for position in (1, 5, 10)]


class CellRunner:
    """Runs the cells of all selected tests; the next ones run while a test waits for its own."""

    def __init__(self, server: ForkServer, folder: Path, plan: dict[str, list[dict[str, Any]]]) -> None:
        self._server = server
        self._folder = folder
        self._plan = plan
        self._numbers = itertools.count()
        self._begun: dict[str, list[Worker]] = {}

    def results_of(self, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return the cells of a test with their results."""
        names = list(self._plan)
        position = names.index(name)
        for later in names[position : position + AHEAD]:
            if later not in self._begun:
                self._begun[later] = [self._worker(definition).start() for definition in self._plan[later]]
        results = []
        for definition, worker in zip(self._plan[name], self._begun[name], strict=True):
            result = worker.wait_for("over")["found"]
            worker.wait()
            results.append((definition, result))
        return results

    def _worker(self, definition: dict[str, Any]) -> Worker:
        return self._server.cell(self._folder / f"{next(self._numbers)}.sqlite", definition)


@pytest.fixture(scope="module")
def cell_runner(
    request: pytest.FixtureRequest, shared_server: ForkServer, tmp_path_factory: Any
) -> Iterator[CellRunner]:
    """Runs the cells of the selected tests of this module."""
    chosen = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    plan = {item.name: CELLS[item.originalname](**item.callspec.params) for item in chosen}
    yield CellRunner(shared_server, tmp_path_factory.mktemp("matrix"), plan)
    shared_server.kill_workers()


@pytest.fixture
def cells(request: pytest.FixtureRequest, cell_runner: CellRunner) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The cells of this test with their results."""
    return cell_runner.results_of(request.node.name)


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_fault_at_any_trigger_request(cells: Any, kind: str, listing: str) -> None:
    """The fault occurs at each of the run's ten requests in turn."""
    assert kind in BEFORE | AFTER | {"latency"}
    for definition, result in cells:
        check(
            f"{kind} at request {definition['faults'][0]['at']}, listing {listing}", result, kind=kind, listing=listing
        )


@pytest.mark.parametrize("kind", sorted(KINDS - ENTRIES))
def test_a_fault_at_any_read(cells: Any, kind: str) -> None:
    """The fault occurs at the first requests of each route, with a lost trigger reply: all rows are found later."""
    for definition, result in cells:
        label = f"{kind} at read {definition['faults'][1]['at']} of {definition['faults'][1]['on']}"
        assert result["problems"] == [], f"{label}: {result}"
        assert result["last"]["known"] == result["last"]["accepted"] == 100, f"{label}: {result}"


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("kind", sorted(AFTER | WITHOUT_EFFECT))
def test_a_lost_request_that_is_sent_again(cells: Any, kind: str, listing: str) -> None:
    """With on_unknown="resend" only rows that the listing never showed may be accepted twice; all rows are known."""
    for definition, result in cells:
        label = f"{kind} at request {definition['faults'][0]['at']}, listing {listing}"
        assert result["problems"] == [], f"{label}: {result}"
        assert result["last"]["known"] == 100, f"{label}: {result}"
        resent = 10 if listing == "never" and kind in AFTER and kind != "silence" else 0
        assert kind == "silence" or result["last"]["accepted"] == 100 + resent, f"{label}: {result}"


CELLS = {
    "test_a_fault_at_any_trigger_request": trigger_cells,
    "test_a_fault_at_any_read": read_cells,
    "test_a_lost_request_that_is_sent_again": resend_cells,
}
