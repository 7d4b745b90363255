"""Runs the examples of the package's docstrings and of docs/files.md."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox


def _modules() -> list[str]:
    """Return the names of all modules except `__main__` and the plugin, which requires mypy."""
    modules = pkgutil.walk_packages(ef.__path__, f"{ef.__name__}.")
    names = [module.name for module in modules]
    return [ef.__name__, *(name for name in names if not name.endswith((".__main__", ".mypy_plugin")))]


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = map(importlib.import_module, _modules())
    return [test for module in modules for test in finder.find(module, module.__name__) if test.examples]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name.removeprefix("eachlabs_frames."))
def test_docstring_example_passes(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example runs in an empty folder with a new journal and only its own imports."""
    monkeypatch.chdir(tmp_path)
    example.globs = {"__name__": "__main__"}
    report: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(example, out=report.append)
    assert outcome.attempted
    assert not outcome.failed, "".join(report)


def test_public_functions_and_methods_have_examples() -> None:
    """The public functions and the main methods of the accessor have an example in their docstrings."""
    documented = {example.name.rpartition(".")[2] for example in _examples()}
    functions = {"configure", "sweep", "load_run", "runs", "lit", "template", "compare", "WebhookReceiver"}
    methods = {"preview", "bulk_trigger", "start", "outputs", "download", "dashboard", "gallery", "matrix", "rate"}
    assert documented >= functions | methods


def test_first_example_of_the_files_guide_sends_its_rows(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first code block of docs/files.md runs unchanged with the files it names."""
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("fox.jpg", "heron.jpg"):
        Path("photos", name).write_bytes(b"\xff\xd8\xff" + name.encode())
    names: dict[str, Any] = {"ef": ef, "pd": pd}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["out"]["status"].tolist() == ["queued", "queued"]
    assert (sandbox.accepted_count(), sandbox.puts) == (2, 2)
