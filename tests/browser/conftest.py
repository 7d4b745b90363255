"""The browser suite: `pytest tests/browser`, where the `[browser]` extra and Chromium are installed.

Plain `pytest` passes this folder by (`norecursedirs` in pyproject.toml), so that the other tests need neither; CI
runs it by name, on ipykernel 6 and 7.
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


# Of a module, not of the session: Playwright can run once at a time, and a module may bring a browser of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; each test opens contexts of its own in it."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for the tests of a module."""
    with Lab(tmp_path_factory.mktemp("lab"), browser) as running:
        yield running


@pytest.fixture
def axe() -> Path:
    """Where axe-core's script is; see `Notebook.violations`."""
    if AXE is None:
        pytest.skip("EACHLABS_AXE names no axe.min.js: `npm pack axe-core` brings one")
    return Path(AXE)


@pytest.fixture
def opened() -> Iterator[list[Notebook]]:
    """Notebooks that are closed at the end; their pages must have logged no error."""
    notebooks: list[Notebook] = []
    yield notebooks
    for notebook in notebooks:
        notebook.close()
    assert [problem for notebook in notebooks for problem in notebook.problems] == []


@pytest.fixture
def open_notebook(lab: Lab, opened: list[Notebook]) -> Callable[..., Notebook]:
    """Open notebooks as `Lab.open` does; see `opened`."""

    def open_one(*args: Any, **options: Any) -> Notebook:
        opened.append(lab.open(*args, **options))
        return opened[-1]

    return open_one


@pytest.fixture
def open_file(lab: Lab, opened: list[Notebook]) -> Callable[..., Notebook]:
    """Open notebooks as `Lab.open_file` does; see `opened`."""

    def open_one(*args: Any, **options: Any) -> Notebook:
        opened.append(lab.open_file(*args, **options))
        return opened[-1]

    return open_one
