"""The examples of the package's docstrings: each is run as a user would run it, and shows what it says."""

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
    """Return every module of the package, but for the program and for the plugin, which needs mypy."""
    found = pkgutil.walk_packages(ef.__path__, f"{ef.__name__}.")
    return [ef.__name__, *(one.name for one in found if not one.name.endswith((".__main__", ".mypy_plugin")))]


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = map(importlib.import_module, _modules())
    return [test for module in modules for test in finder.find(module, module.__name__) if test.examples]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name.removeprefix("eachlabs_frames."))
def test_an_example_shows_what_it_says(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder, with a journal of its own, and with nothing but what it imports itself."""
    monkeypatch.chdir(tmp_path)
    example.globs = {"__name__": "__main__"}
    told: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(example, out=told.append)
    assert outcome.attempted
    assert not outcome.failed, "".join(told)


def test_what_people_call_has_an_example() -> None:
    """Each public function and each of the accessor's methods that makes something."""
    shown = {example.name.rpartition(".")[2] for example in _examples()}
    functions = {"configure", "sweep", "load_run", "runs", "lit", "template", "compare", "WebhookReceiver"}
    methods = {"preview", "bulk_trigger", "start", "outputs", "download", "dashboard", "gallery", "matrix", "rate"}
    assert shown >= functions | methods


def test_the_first_example_of_files_sends_its_rows(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands in docs/files.md, with the files that it names."""
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("fox.jpg", "heron.jpg"):
        Path("photos", name).write_bytes(b"\xff\xd8\xff" + name.encode())
    names: dict[str, Any] = {"ef": ef, "pd": pd}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["out"]["status"].tolist() == ["queued", "queued"]
    assert (sandbox.accepted_count(), sandbox.puts) == (2, 2)
