"""Every fault at every request of a run, with a listing that shows executions at once, late, and never.

Each cell is a run of 100 rows, and then the same call again: whatever went wrong, no row is accepted twice, none is
misplaced, and every accepted execution stands in its row where the listing shows it. The cells of a test are played
side by side, each in a process of its own that holds its own sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eachlabs_frames.sandbox.faults import AFTER, BEFORE, KINDS

from .stage import Theatre

pytestmark = pytest.mark.chaos

POSITIONS = range(1, 11)
LISTINGS = {"at once": 0.0, "late": 1.0, "never": math.inf}
WINDOWS = {"at once": 0.7, "late": 2.2, "never": 0.7}
"""Seconds that are looked for a lost answer; well over what the listing lags, where it is to be found."""

STOPPED = {"payment", "unauthorized", "forbidden", "not_found"}
UNHEARD = {"error_before", "dropped", "redirect"}
"""Without effect, which nobody can know."""


def played(theatre: Theatre, folder: Path, cells: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Play the cells side by side; give each with what came of it."""
    actors = [theatre.cell(folder / f"{number}.sqlite", cell).go() for number, cell in enumerate(cells)]
    for cell, actor in zip(cells, actors, strict=True):
        said = actor.hears("over")
        actor.ended()
        yield cell, said["found"]


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


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_fault_of_any_trigger(theatre: Theatre, tmp_path: Path, kind: str, listing: str) -> None:
    """It meets each of the run's ten requests in turn."""
    assert kind in BEFORE | AFTER | {"latency"}
    fault = {"kind": kind, "on": "trigger", "seconds": 0.05 if kind == "latency" else 0.0}
    cells = [cell({**fault, "at": [position]}, listing) for position in POSITIONS]
    for made, said in played(theatre, tmp_path, cells):
        check(f"{kind} at request {made['faults'][0]['at']}, listing {listing}", said, kind=kind, listing=listing)


LOOKS = sorted(KINDS - {"too_few", "too_many", "no_ids"})
HOPELESS = {"payment", "unauthorized", "forbidden", "not_found", "bad_request", "unprocessable", "redirect"}
"""Answers to a look that say that no other look will do better."""


@pytest.mark.parametrize("route", ["list", "details", "workflow"])
@pytest.mark.parametrize("kind", LOOKS)
def test_a_fault_of_any_look(theatre: Theatre, tmp_path: Path, kind: str, route: str) -> None:
    """It meets the first, second and third look, beside an answer that was lost: later all accepted rows are known."""
    fault = {"kind": kind, "on": route, "seconds": 0.05 if kind == "latency" else 0.0}
    lost = {"kind": "lost_answer", "on": "trigger", "at": [4]}
    options = {"listing_inputs": route != "details", "listing_lag": 0.0}
    settings = {"settle_window": 2.0, "timeout": 1.5 if kind == "silence" else 30.0}
    cells = [
        {"faults": [lost, {**fault, "at": [at]}], "settings": settings, "options": options, "reconcile": True}
        for at in (1, 2, 3)
    ]
    for made, said in played(theatre, tmp_path, cells):
        which = f"{kind} at look {made['faults'][1]['at']} of {route}"
        assert said["problems"] == [], f"{which}: {said}"
        assert said["last"]["known"] == said["last"]["accepted"] == 100, f"{which}: {said}"


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("kind", sorted(AFTER | UNHEARD))
def test_a_lost_answer_that_is_sent_again(theatre: Theatre, tmp_path: Path, kind: str, listing: str) -> None:
    """With on_unknown="resend", only what the listing never showed may be accepted twice; all rows are known then."""
    fault = {"kind": kind, "on": "trigger", "seconds": 0.0}
    cells = [
        cell({**fault, "at": [position]}, listing, call={"on_unknown": "resend"}, unique=listing != "never")
        for position in (1, 5, 10)
    ]
    for made, said in played(theatre, tmp_path, cells):
        which = f"{kind} at request {made['faults'][0]['at']}, listing {listing}"
        assert said["problems"] == [], f"{which}: {said}"
        assert said["last"]["known"] == 100, f"{which}: {said}"
        assert said["last"]["accepted"] <= (100 if listing != "never" else 120), f"{which}: {said}"
