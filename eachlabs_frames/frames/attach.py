"""``attach``: a frame for a bulk operation that was triggered elsewhere."""

from __future__ import annotations

from functools import partial

import pandas as pd


def attach(bulk_id: str, workflow_id: str, *, prefix: str = "") -> pd.DataFrame:
    """Return a frame with the executions of a bulk operation that was triggered elsewhere.

    Parameters
    ----------
    bulk_id : str
        UUID of the bulk operation.
    workflow_id : str
        The workflow that the executions belong to.
    prefix : str, default ""
        Prefix of the result's column names, required if an input has the name of one of them.

    Returns
    -------
    pandas.DataFrame
        One row per execution, oldest first: a column for each key of the inputs, if the API returns them, followed by
        the result columns as in `bulk_trigger`. The frame works with `refresh` and `wait`.

    Raises
    ------
    ConfigurationError
        There is no API key, `bulk_id` is not a UUID, or `workflow_id` is not a valid id.
    ColumnError
        An input has the name of a result column.
    NotFoundError
        The workflow has no executions with this ``bulk_id``.
    APIError
        The API refused a request or did not respond.
    """
    from ..aio.bridge import call, complete
    from ..settings import current
    from . import track

    steps = track.attach(bulk_id, workflow_id, prefix=prefix)
    return complete(steps, call=partial(call, kind=current().bridge))
