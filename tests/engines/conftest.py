from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox

SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"
ROWS = 40


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that all processes of an engine find in their environment, with one journal."""
    folder = tmp_path_factory.mktemp("engine")
    with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as running:
        own = {
            "EACHLABS_API_KEY": running.api_key,
            "EACHLABS_BASE_URL": running.base_url,
            "EACHLABS_JOURNAL": str(folder / "journal.sqlite"),
            "PYSPARK_PYTHON": sys.executable,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        with pytest.MonkeyPatch.context() as patched:
            for name, value in own.items():
                patched.setenv(name, value)
            yield running


@pytest.fixture
def sandbox(account: Sandbox, worker_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The engine's sandbox, empty; this process finds it as the workers do."""
    for name, value in worker_environment.items():
        monkeypatch.setenv(name, value)
    account.reset()
    return account


@pytest.fixture(scope="module")
def worker_environment(account: Sandbox) -> dict[str, str]:
    """What the engine's processes have in their environment."""
    return {name: value for name, value in os.environ.items() if name.startswith("EACHLABS_")}


@pytest.fixture
def table() -> pd.DataFrame:
    """Rows with a key of their own."""
    return pd.DataFrame({"id": range(ROWS), "prompt": [f"prompt {n}" for n in range(ROWS)]})


@pytest.fixture
def recipe() -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Run the recipe of docs/scaling.md under a heading, with these names, as a run of the test's own.

    It returns what the recipe has defined.
    """
    run_name = f"run-{uuid.uuid4().hex}"

    def run(heading: str, names: dict[str, Any]) -> dict[str, Any]:
        section = SCALING.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
        code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
        assert code is not None
        assert code.group(1).count('"sweep-7"') == 1
        exec(compile(code.group(1).replace("sweep-7", run_name), str(SCALING), "exec"), names)
        return names

    return run
