"""The package as a whole: its names, what importing it costs, and that its papers agree with each other."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jedi
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.accessors.dataframe import EachlabsAccessor

ROOT = Path(__file__).resolve().parents[1]

HEAVY = (
    "aiohttp",
    "anywidget",
    "asyncio",
    "dask",
    "IPython",
    "ipywidgets",
    "jsonschema_rs",
    "matplotlib",
    "nest_asyncio2",
    "sqlite3",
    "tqdm",
)


def run_python(code: str) -> str:
    """Run a piece of code in an interpreter of its own, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_importing_brings_in_nothing_heavy() -> None:
    """What costs time is imported when it is first needed: everything that pandas itself does not bring."""
    code = f"""
import sys, pandas
before = set(sys.modules)
import eachlabs_frames
print(sorted(set({HEAVY}) & (set(sys.modules) - before)))
"""
    assert run_python(code).strip() == "[]"


def test_importing_registers_the_accessor() -> None:
    """And a second import changes nothing and warns of nothing."""
    code = """
import pandas, importlib, eachlabs_frames
print(hasattr(pandas.DataFrame(), "eachlabs"))
"""
    assert run_python(code).strip() == "True"


def test_the_public_names_are_sorted_and_there() -> None:
    """`__all__` is what a user may rely on: constants first, as the linter sorts them."""
    assert ef.__all__ == sorted(ef.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(ef, name) for name in ef.__all__)


def test_an_editor_is_shown_the_public_names_alone() -> None:
    """Those too that are imported when they are first needed, and looking at the list imports none of them."""
    code = """
import eachlabs_frames as ef, sys
print(dir(ef) == sorted(ef.__all__), {"Run", "WebhookReceiver"} <= set(dir(ef)))
print("eachlabs_frames.accessors.run" in sys.modules)
"""
    assert run_python(code).split() == ["True", "True", "False"]


def test_a_live_frame_completes_its_accessor() -> None:
    """Jedi, which IPython and Jupyter complete with, knows the methods of `df.eachlabs` and runs no code for it."""

    class Frame:
        """Has what importing this package adds to a DataFrame; jedi would read pandas for half a minute."""

        eachlabs = vars(pd.DataFrame)["eachlabs"]

    names = {name.name for name in jedi.Interpreter("df.eachlabs.", [{"df": Frame()}]).complete()}
    assert names >= {"preview", "bulk_trigger", "start", "gallery", "matrix", "download"}
    assert pd.DataFrame.eachlabs is EachlabsAccessor
    assert type(pd.DataFrame().eachlabs) is type(ef.accessor(pd.DataFrame())) is EachlabsAccessor


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("preview", ["workflow_id", "inputs", "version_id", "na", "prefix", "full"]),
        (
            "bulk_trigger",
            [
                "workflow_id",
                "inputs",
                "version_id",
                "run",
                "key",
                "webhook_url",
                "webhook_secret",
                "webhook",
                "na",
                "validate",
                "max_concurrency",
                "max_cost",
                "ask",
                "expires_in",
                "retrigger",
                "on_unknown",
                "prefix",
                "inplace",
                "wait",
                "progress",
            ],
        ),
        (
            "start",
            [
                "workflow_id",
                "inputs",
                "version_id",
                "run",
                "key",
                "webhook_url",
                "webhook_secret",
                "webhook",
                "na",
                "validate",
                "max_concurrency",
                "max_cost",
                "ask",
                "expires_in",
                "retrigger",
                "on_unknown",
                "prefix",
                "track",
                "progress",
            ],
        ),
        ("dashboard", ["label", "workflow_id", "prefix", "auto_refresh", "interval"]),
        ("gallery", ["label", "columns", "size", "page", "prefix"]),
        ("rate", ["column", "label", "scale", "only_unrated", "prefix"]),
        ("matrix", ["rows", "columns", "value", "by", "compare", "size", "prefix"]),
        ("refresh", ["workflow_id", "prefix"]),
        ("wait", ["timeout", "workflow_id", "prefix", "webhook", "progress"]),
        ("summary", ["prefix"]),
        ("outputs", ["expand", "steps", "prefix", "progress"]),
        (
            "download",
            [
                "folder",
                "name",
                "column",
                "overwrite",
                "allow_private",
                "max_concurrency",
                "max_size",
                "prefix",
                "progress",
            ],
        ),
        (
            "retry_failed",
            [
                *("inputs", "webhook_url", "webhook_secret", "webhook", "max_concurrency", "max_cost", "ask"),
                *("inplace", "wait", "progress"),
            ],
        ),
    ],
)
def test_a_method_has_the_parameters_that_do_something(method: str, parameters: list[str]) -> None:
    """And its async dress, where it has one, the very same."""
    accessor = pd.DataFrame().eachlabs
    assert list(inspect.signature(getattr(accessor, method)).parameters) == parameters
    dressed = getattr(accessor, f"{method}_async", None)
    if dressed is not None:
        assert list(inspect.signature(dressed).parameters) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sweep", ["axes", "sample", "random_state", "repeats", "where", "allow_large", "more_axes"])],
)
def test_a_function_has_the_parameters_that_do_something(name: str, parameters: list[str]) -> None:
    """Of those that stand beside the accessor."""
    assert list(inspect.signature(getattr(ef, name)).parameters) == parameters


def test_every_file_states_the_same_version() -> None:
    """The package, pyproject.toml, the changelog and, with the date of the release, CITATION.cff."""
    stated = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert stated is not None
    assert stated.group(1) == ef.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.search(r'^version: (.+)\ndate-released: "(.+)"$', citation, re.MULTILINE)
    assert cited is not None
    assert cited.group(1) == ef.__version__
    assert f"## [{ef.__version__}] - {cited.group(2)}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("folder", [".", "docs", "benchmarks", ".github"])
def test_links_between_pages_lead_to_a_file_and_a_heading(folder: str) -> None:
    """Links and pictures alike. CI checks that those of README.md also work on PyPI: see .ci/description.py."""
    pages = list((ROOT / folder).glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
            path, _, anchor = "".join(link).partition("#")
            if re.match("[a-z]+:", path):
                continue
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), f"{page.name} links to {path}, which does not exist"
            assert not anchor or anchor in headings(target), f"{page.name} links to {path}#{anchor}: no such heading"


def test_the_repository_has_one_address() -> None:
    """pyproject.toml has it under [project.urls], and where it makes the links of README.md absolute."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    repository = re.search(r'^Repository = "(.+)"$', settings, re.MULTILINE)
    assert repository is not None
    addresses = re.findall(r"https://github\.com/[^/\s]+/[^/\s\"']+", settings)
    assert set(addresses) == {repository.group(1)}


def test_the_readme_is_short_and_its_first_example_is_true() -> None:
    """At most 150 lines; the python blocks that it shows can be compiled."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec", flags=0x2000)  # top-level await is allowed, as in a notebook


def test_the_readmes_tour_can_be_followed_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks up to the run in the background, one after the other: the rerun guard stops none of them."""
    monkeypatch.chdir(tmp_path)
    tour = (ROOT / "README.md").read_text().partition("## A tour")[2]
    blocks = re.findall(r"```python\n(.*?)```", tour, re.DOTALL)[:3]
    source = "".join(blocks)
    assert ".start(" in source
    source = source.replace("sandbox.start()", "sandbox.start(queue_seconds=0.01, run_seconds=(0.01, 0.02))")
    source = re.sub(r"await (out\.eachlabs\.wait_async\(\))", r"asyncio.run(\1)", source)
    names: dict[str, Any] = {"asyncio": asyncio}
    exec(compile(source, "README.md", "exec"), names)
    assert list(names["out"]["status"]) == ["completed", "completed", "invalid"]


def test_every_exception_of_the_tree_is_public() -> None:
    """What can be raised can be caught by its name."""
    from eachlabs_frames import errors

    classes = {name for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, BaseException)}
    assert classes <= set(ef.__all__)
    tree = errors.__doc__ or ""
    assert all(name in tree for name in classes)


def test_the_wheel_is_typed() -> None:
    """`py.typed` stands where type checkers look for it."""
    assert (Path(ef.__file__).parent / "py.typed").exists()
