"""``attach``: the door for a bulk operation that no frame of ours triggered."""

from __future__ import annotations

from functools import partial

import pandas as pd


def attach(bulk_id: str, workflow_id: str, *, prefix: str = "") -> pd.DataFrame:
    """Return a frame of a bulk operation that someone else triggered.

    Parameters
    ----------
    bulk_id : str
        The UUID of the bulk operation.
    workflow_id : str
        The workflow that it belongs to.
    prefix : str, default ""
        Put before each of the result's column names, where an input has one of them.

    Returns
    -------
    pandas.DataFrame
        A row per execution, oldest first: its inputs as columns where the API lists them, then the result's columns.
        It can be refreshed and waited for like any other.

    Raises
    ------
    ConfigurationError
        No key, or a ``bulk_id`` that is no UUID.
    NotFoundError
        The workflow has no such bulk operation.
    """
    from ..engine.loop import call, complete
    from ..settings import current
    from . import track

    steps = track.attach(bulk_id, workflow_id, prefix=prefix)
    return complete(steps, call=partial(call, kind=current().bridge))
