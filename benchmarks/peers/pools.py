"""Threads with requests, in a pool and in Dask's scheduler; and bare sockets. The clients are those of `clients`."""

from __future__ import annotations

from contextlib import closing
from itertools import chain

import pandas as pd

from .. import clients
from .arms import Call


def sockets(*, look: bool = False) -> Call:
    def call(port: int, frame: pd.DataFrame, concurrency: int) -> pd.DataFrame:
        ids = clients.sockets(port, frame.to_dict("records"), look=look, concurrency=concurrency)
        return frame.assign(execution_id=ids)

    return call


def looking_sockets() -> Call:
    return sockets(look=True)


def threads() -> Call:
    import requests  # noqa: F401  # a script has it at its top

    def call(port: int, frame: pd.DataFrame, concurrency: int) -> pd.DataFrame:
        ids = clients.threads(port, frame.to_dict("records"), concurrency=concurrency)
        return frame.assign(execution_id=ids)

    return call


def dask() -> Call:
    import dask
    import requests  # noqa: F401  # a script has it at its top

    def call(port: int, frame: pd.DataFrame, concurrency: int) -> pd.DataFrame:
        batches = list(clients.batched(frame.to_dict("records")))
        with closing(clients.Sessions(port)) as sessions:
            # By number: Dask would look for tasks inside a batch that is an argument.
            task = dask.delayed(lambda number: sessions.post(batches[number]), pure=False)
            answers = dask.compute(*map(task, range(len(batches))), scheduler="threads", num_workers=concurrency)
        return frame.assign(execution_id=list(chain.from_iterable(answers)))

    return call
