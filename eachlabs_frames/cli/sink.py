"""Where a result goes. These rows are paid for: they get to the disk, whatever is in the way."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import files
from .messages import say

if TYPE_CHECKING:
    import pandas as pd


class Sink:
    """Where the result goes: to ``--out``, and where that fails, anywhere that it is safe.

    Parameters
    ----------
    path : pathlib.Path
        ``--out``.
    prefix : str
        The prefix of the result's columns.
    force : bool
        Whether a file that is there may be replaced.
    """

    def __init__(self, path: Path, *, prefix: str, force: bool) -> None:
        self.saved = path
        self.rescued = False
        self.prefix = prefix
        self.execution_id = f"{prefix}execution_id"
        self.packed = (f"{prefix}output",)
        self._ours = force

    def save(self, frame: pd.DataFrame) -> None:
        """Write `frame`; it never raises, because these rows are paid for."""
        try:
            if not self._ours and os.path.lexists(self.saved):
                msg = "a file of this name has appeared meanwhile"
                raise FileExistsError(msg)  # noqa: TRY301 - one way for all that goes wrong here
            files.write(frame, self.saved, packed=self.packed)
            self._ours = True
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rows must get to the disk
            self._rescue(frame, exc)

    def _rescue(self, frame: pd.DataFrame, exc: Exception) -> None:
        wanted, self.rescued = self.saved, True
        try:
            self.saved, self._ours = files.rescue(frame, wanted), True
        except OSError:
            run = run_of(frame)
            back = "" if run is None else f" (eachlabs-frames runs {shlex.quote(run)} --out FILE gives them back)"
            say(f"{wanted} could not be written ({exc}), and nothing else; these are the executions{back}:")
            ids = frame.loc[frame[self.execution_id].notna(), [f"{self.prefix}bulk_id", self.execution_id]]
            ids.to_csv(sys.stderr, index_label="row")
        else:
            say(f"{wanted} could not be written ({exc}): the result is in {self.saved}")


def run_of(frame: pd.DataFrame) -> str | None:
    """Return the run that a result belongs to, where it says so."""
    said = frame.attrs.get("eachlabs")
    run = said.get("run") if isinstance(said, Mapping) else None
    return run if isinstance(run, str) else None
