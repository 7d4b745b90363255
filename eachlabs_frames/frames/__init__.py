"""The doors: a frame in, a frame out. What happens in between is the engine's."""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

from . import pandas as dataframes
from .attach import attach
from .compare import compare
from .pandas import accessor
from .refusals import LateRefusal, Refusal
from .runs import accept_journal_loss, delete_run, load_run, runs
from .sweep import sweep

__all__ = [
    "accept_journal_loss",
    "accessor",
    "attach",
    "compare",
    "delete_run",
    "load_run",
    "register",
    "runs",
    "sweep",
]


def register() -> None:
    """Register ``df.eachlabs``, and let what only looks like a frame say why it has none."""
    dataframes.register()
    pd.api.extensions.register_series_accessor("eachlabs")(Refusal)
    groups: tuple[Any, ...] = (DataFrameGroupBy, SeriesGroupBy)  # pandas has no accessors for these
    for group in groups:
        group.eachlabs = property(LateRefusal)
    if "dask.dataframe" in sys.modules:
        from dask.dataframe.extensions import register_dataframe_accessor  # loaded already: its user's choice

        register_dataframe_accessor("eachlabs")(Refusal)  # type: ignore[no-untyped-call]  # Dask has no types
