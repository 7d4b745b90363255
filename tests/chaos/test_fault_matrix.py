"""Every fault at every request of a run, with a listing that shows executions at once, late, and never.

Each cell is a run of 100 rows, and then the same call again: whatever went wrong, no row is accepted twice, none is
misplaced, and every accepted execution stands in its row where the listing shows it. The cells of a test are played
side by side, each in a process of its own that holds its own sandbox.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eachlabs_frames.sandbox.faults import AFTER, BEFORE, ENTRIES, KINDS

from .stage import Actor, Theatre

pytestmark = pytest.mark.chaos

POSITIONS = range(1, 11)
LISTINGS = {"at once": 0.0, "late": 1.0, "never": math.inf}
WINDOWS = {"at once": 0.7, "late": 2.2, "never": 0.7}
"""Seconds that are looked for a lost answer; well over what the listing lags, where it is to be found."""

AHEAD = 3
"""Tests whose cells are played at once: most of a cell's time is waiting."""

STOPPED = {"payment", "unauthorized", "forbidden", "not_found"}
UNHEARD = {"error_before", "dropped", "redirect", "gone"}
"""Without effect, which nobody can know."""


def cell(fault: dict[str, Any], listing: str, **more: Any) -> dict[str, Any]:
    """Return what one cell is made of."""
    return {
        "faults": [fault],
        "settings": {"settle_window": WINDOWS[listing], "timeout": 2.5 if fault["kind"] == "silence" else 30.0},
        "options": {"listing_lag": None if listing == "never" else LISTINGS[listing]},
        **more,
    }


def check(which: str, said: dict[str, Any], *, kind: str, listing: str) -> None:
    """See what came of a cell: what was known after the first call, and after the second."""
    assert said["problems"] == [], f"{which}: {said}"
    first, last = said["first"], said["last"]
    shown = listing != "never"
    if kind in STOPPED:
        assert first["known"] == first["accepted"], f"{which}: {said}"
        assert last["tally"].get("unknown") is None, f"{which}: {said}"
        assert (last["known"], last["accepted"]) == (100, 100), f"{which}: {said}"
        return
    lost = 10 if kind in AFTER | UNHEARD else 0
    accepted = 100 - (lost if kind in UNHEARD else 0)
    if kind == "silence":  # a slow machine may lose more by its short timeout
        assert last["accepted"] >= 100 - last["tally"].get("unknown", 0), f"{which}: {said}"
        assert not shown or last["known"] == last["accepted"], f"{which}: {said}"
        return
    for state in (first, last):
        assert state["accepted"] == accepted, f"{which}: {said}"
        assert state["known"] == (accepted if shown else 100 - lost), f"{which}: {said}"
        assert state["tally"].get("unknown", 0) == 100 - state["known"], f"{which}: {said}"


def of_triggers(kind: str, listing: str) -> list[dict[str, Any]]:
    """Return the cells in which a fault meets each of the run's ten requests in turn."""
    fault = {"kind": kind, "on": "trigger", "seconds": 0.05 if kind == "latency" else 0.0}
    return [cell({**fault, "at": [position]}, listing) for position in POSITIONS]


def of_looks(kind: str) -> list[dict[str, Any]]:
    """Return the cells in which a fault meets a look, beside an answer that was lost."""
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


def of_resent(kind: str, listing: str) -> list[dict[str, Any]]:
    """Return the cells in which what was not found is sent again."""
    fault = {"kind": kind, "on": "trigger", "seconds": 0.0}
    more = {"call": {"on_unknown": "resend"}, "unique": listing != "never"}
    return [cell({**fault, "at": [position]}, listing, **more) for position in (1, 5, 10)]


class Rehearsal:
    """The cells of all tests to come, of which the next ones are played while a test waits for its own."""

    def __init__(self, theatre: Theatre, folder: Path, plan: dict[str, list[dict[str, Any]]]) -> None:
        self._theatre = theatre
        self._folder = folder
        self._plan = plan
        self._numbers = itertools.count()
        self._begun: dict[str, list[Actor]] = {}

    def of(self, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return the cells of a test, each with what came of it."""
        names = list(self._plan)
        place = names.index(name)
        for later in names[place : place + AHEAD]:
            if later not in self._begun:
                self._begun[later] = [self._actor(made).go() for made in self._plan[later]]
        found = []
        for made, actor in zip(self._plan[name], self._begun[name], strict=True):
            said = actor.hears("over")["found"]
            actor.ended()
            found.append((made, said))
        return found

    def _actor(self, made: dict[str, Any]) -> Actor:
        return self._theatre.cell(self._folder / f"{next(self._numbers)}.sqlite", made)


@pytest.fixture(scope="module")
def rehearsal(request: pytest.FixtureRequest, house: Theatre, tmp_path_factory: Any) -> Iterator[Rehearsal]:
    """All that is to be played for the chosen tests of this module."""
    chosen = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    plan = {item.name: CELLS[item.originalname](**item.callspec.params) for item in chosen}
    yield Rehearsal(house, tmp_path_factory.mktemp("matrix"), plan)
    house.dismiss()


@pytest.fixture
def played(request: pytest.FixtureRequest, rehearsal: Rehearsal) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The cells of this test, each with what came of it."""
    return rehearsal.of(request.node.name)


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_fault_of_any_trigger(played: Any, kind: str, listing: str) -> None:
    """It meets each of the run's ten requests in turn."""
    assert kind in BEFORE | AFTER | {"latency"}
    for made, said in played:
        check(f"{kind} at request {made['faults'][0]['at']}, listing {listing}", said, kind=kind, listing=listing)


@pytest.mark.parametrize("kind", sorted(KINDS - ENTRIES))
def test_a_fault_of_any_look(played: Any, kind: str) -> None:
    """It meets the first looks of each route, beside an answer that was lost: later all accepted rows are known."""
    for made, said in played:
        which = f"{kind} at look {made['faults'][1]['at']} of {made['faults'][1]['on']}"
        assert said["problems"] == [], f"{which}: {said}"
        assert said["last"]["known"] == said["last"]["accepted"] == 100, f"{which}: {said}"


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("kind", sorted(AFTER | UNHEARD))
def test_a_lost_answer_that_is_sent_again(played: Any, kind: str, listing: str) -> None:
    """With on_unknown="resend", only what the listing never showed may be accepted twice; all rows are known then."""
    for made, said in played:
        which = f"{kind} at request {made['faults'][0]['at']}, listing {listing}"
        assert said["problems"] == [], f"{which}: {said}"
        assert said["last"]["known"] == 100, f"{which}: {said}"
        again = 10 if listing == "never" and kind in AFTER and kind != "silence" else 0
        assert kind == "silence" or said["last"]["accepted"] == 100 + again, f"{which}: {said}"


CELLS = {
    "test_a_fault_of_any_trigger": of_triggers,
    "test_a_fault_of_any_look": of_looks,
    "test_a_lost_answer_that_is_sent_again": of_resent,
}
