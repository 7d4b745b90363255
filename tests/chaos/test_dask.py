"""Drivers of Dask that are killed: no row is accepted twice, and every row has an outcome.

EACHLABS_CHAOS_TRIALS is the number of trials; 1 by default.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from multiprocessing import get_context
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

import eachlabs_frames as ef
import eachlabs_frames.dask
from eachlabs_frames.sandbox import Sandbox
from tests.chaos.fork_server import until

pytestmark = pytest.mark.chaos

TRIALS = int(os.environ.get("EACHLABS_CHAOS_TRIALS", "1"))  # read before the tests' settings are cleared
ROWS = 400
SETTINGS: dict[str, Any] = {"timeout": 5.0, "settle_window": 2.0, "max_concurrency": 2}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def served(request: pytest.FixtureRequest, sandbox: Sandbox) -> Sandbox:
    """A sandbox, and a journal of either kind."""
    if request.param == "postgres":
        ef.configure(journal=request.getfixturevalue("postgres_journal").reveal())
    ef.configure(**SETTINGS)
    return sandbox


def _environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        "EACHLABS_API_KEY": sandbox.api_key,
        "EACHLABS_BASE_URL": sandbox.base_url,
        "EACHLABS_JOURNAL": os.environ["EACHLABS_JOURNAL"],
        "EACHLABS_SCHEMA": os.environ.get("EACHLABS_SCHEMA", "eachlabs"),
    }


def _table(trial: int) -> Any:
    prompts = [f"trial {trial} row {row}" for row in range(ROWS)]
    return dd.from_pandas(pd.DataFrame({"id": range(ROWS), "prompt": prompts}), npartitions=20)


def _trigger(trial: int) -> Any:
    return _table(trial).eachlabs.bulk_trigger("wf_abc123", ["prompt"], run=f"trial-{trial}", key="id")


def _accepted(sandbox: Sandbox, trial: int) -> Counter[str]:
    """Return how often each row of a trial was accepted, by the sandbox's books."""
    prompts = (str(execution.inputs["prompt"]) for execution in sandbox.accepted)
    return Counter(prompt for prompt in prompts if prompt.startswith(f"trial {trial} "))


def _judge(sandbox: Sandbox, trial: int) -> tuple[int, int]:
    """Make the same call again; return the number of unknown rows and of rows that were accepted."""
    out = _trigger(trial).compute(scheduler="threads")
    accepted = _accepted(sandbox, trial)
    statuses = Counter(out["status"])
    assert max(accepted.values()) == 1, f"trial {trial}: rows were accepted twice"
    assert len(out) == ROWS
    assert set(statuses) <= {"queued", "running", "completed", "unknown"}, f"trial {trial}: {statuses}"
    known = out["execution_id"].dropna()
    assert known.is_unique
    assert len(known) + statuses["unknown"] == ROWS
    print(f"trial {trial}: {len(accepted)} accepted, {statuses['unknown']} unknown")  # noqa: T201 - the counts are a result, shown by `pytest -s`
    return statuses["unknown"], len(accepted)


def _during(trial: int, sandbox: Sandbox, at: int, act: Any) -> threading.Thread:
    """Call `act` when `at` rows of the trial were accepted."""

    def wait() -> None:
        until(lambda: len(_accepted(sandbox, trial)) >= at)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _delay(chance: random.Random) -> ef.sandbox.Fault:
    """Return a delay of each response."""
    return ef.sandbox.Fault("latency", seconds=chance.uniform(0.01, 0.05))


def _drive(trial: int, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    ef.configure(**SETTINGS)
    with dask.config.set(scheduler="threads", num_workers=3):
        _trigger(trial)


def test_killed_drivers(served: Sandbox) -> None:
    """The same call in another process sends only what was not sent."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for trial in range(200, 200 + TRIALS):
        chance = random.Random(trial)
        served.faults(_delay(chance))
        driver = context.Process(target=_drive, args=(trial, _environment(served)))
        driver.start()
        _during(trial, served, chance.randrange(1, ROWS - 60), driver.kill).join()
        driver.join()
        _judge(served, trial)
