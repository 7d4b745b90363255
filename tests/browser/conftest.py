"""Fixtures of the browser tests, which need the `[browser]` extra and Chromium; run them with `pytest tests/browser`.

Plain `pytest` skips this folder (`norecursedirs` in pyproject.toml), so that the other tests need neither; CI runs it
by name, on ipykernel 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .lab import AXE, Lab, chromium
from .notebook import Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser


# Scoped to a module: only one Playwright can run at a time, and a module may start its own browser.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium; each test opens its own contexts."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start one JupyterLab for the tests of a module."""
    with Lab(tmp_path_factory.mktemp("lab"), browser) as running:
        yield running


@pytest.fixture
def axe() -> Path:
    """Return the path of axe-core's script; see `Notebook.violations`."""
    if AXE is None:
        pytest.skip("EACHLABS_AXE names no axe.min.js: `npm pack axe-core` brings one")
    return Path(AXE)


@pytest.fixture
def opened() -> Iterator[list[Notebook]]:
    """Close the notebooks in this list after the test, and assert that their pages logged no error."""
    notebooks: list[Notebook] = []
    yield notebooks
    for notebook in notebooks:
        notebook.close()
    assert [problem for notebook in notebooks for problem in notebook.problems] == []


@pytest.fixture
def open_notebook(lab: Lab, opened: list[Notebook]) -> Callable[..., Notebook]:
    """Return `Lab.open`, with its notebooks registered in `opened`."""

    def open_and_register(*args: Any, **options: Any) -> Notebook:
        opened.append(lab.open(*args, **options))
        return opened[-1]

    return open_and_register


@pytest.fixture
def open_file(lab: Lab, opened: list[Notebook]) -> Callable[..., Notebook]:
    """Return `Lab.open_file`, with its notebooks registered in `opened`."""

    def open_and_register(*args: Any, **options: Any) -> Notebook:
        opened.append(lab.open_file(*args, **options))
        return opened[-1]

    return open_and_register
