"""The notebooks: each runs from its first cell to its last with no account, and is fit to be read as it is stored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
LARGEST = 200_000

# What the last cell of each comes to.
LAST_WORDS = {
    "crash_and_resume.ipynb": "'120 rows, 120 executions, 0 paid twice'",
    "dashboard.ipynb": "'216 rows, 216 executions shown, 16 paid again'",
    "image_inputs.ipynb": "'5 of 6 rows completed, 4 uploads, $0.28'",
    "pipeline.ipynb": "'14 products, 14 executions, 0 paid twice'",
    "prompt_sweep.ipynb": "'18 cells, 17 pictures, 17 pairs, 36 executions'",
    "quickstart.ipynb": "'8 of 8 rows completed, in 9 executions'",
}


class OwnKernel(AsyncKernelManager):
    """No folder of kernelspecs: what is left is "python3" as this interpreter's ipykernel defines it."""

    @default("kernel_spec_manager")
    def _own(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


def result(cell: Any) -> str:
    """Return the value that a cell ends in, as text."""
    return "".join(output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result")


def test_there_are_notebooks() -> None:
    """Each one that is found has its last words known, and none is missing."""
    assert {path.name for path in NOTEBOOKS} == set(LAST_WORDS)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder and this environment's own kernel: no cell raises, and the last one says what it should."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / ".jupyter"))
    import nbformat  # costs seconds where jsonschema can check IRIs, and each worker collects this module
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=240, kernel_manager_class=OwnKernel, resources=where).execute()
    assert result(notebook.cells[-1]) == LAST_WORDS[path.name]
    assert {entry.name for entry in tmp_path.iterdir()} <= {".jupyter"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_its_outputs_and_with_nothing_of_a_machine(path: Path) -> None:
    """It reads well where nothing runs: outputs of one whole run, no key, no path, no widget that is not there."""
    text = path.read_text(encoding="utf-8")
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert result(cells[-1]) == LAST_WORDS[path.name]
    assert len(text.encode()) < LARGEST
    for private in (os.sep + "home" + os.sep, "/root/", "/tmp/", "site-packages", "sandbox-key", "Traceback", "widget"):
        assert private not in text
