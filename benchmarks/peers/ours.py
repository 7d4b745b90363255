"""This package, as a user calls it: the workflow is read and each row checked; a journal if the arm has one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from pathlib import Path

import pandas as pd

import eachlabs_frames as ef

from .arms import Call


def plain() -> Call:
    _configure(None)
    return _triggered


def with_journal() -> Call:
    folder = tempfile.mkdtemp(prefix="eachlabs-peers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _configure(Path(folder, "journal.sqlite"))
    return _triggered


def _configure(journal: Path | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a call without a journal can pay twice
        ef.configure(journal=journal, rerun_guard=None)  # each call sends the same rows


def _triggered(port: int, frame: pd.DataFrame, concurrency: int) -> pd.DataFrame:
    ef.configure(api_key="benchmark", base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=concurrency)
    out: pd.DataFrame = frame.eachlabs.bulk_trigger("wf_bench", progress=False)
    from eachlabs_frames.aio import loop_thread

    loop_thread.close()  # and its connections, as the other arms do
    return out
