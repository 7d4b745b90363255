"""What ``trigger --dask`` does with one file, in a worker: checks it, reads its rows, and writes their results.

An output file is written whole or not at all, and is done when no row of it can change by the same command.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..dask.partition_call import count_rows
from ..errors import UsageError
from ..frames import source_file
from ..frames.arrow import empty_of_parquet
from ..frames.source_file import SourceFile
from ..models import SETTLED
from . import files
from .formats import PARQUET
from .output_folder import Identity, read_mark
from .wording import with_errors_reworded

if TYPE_CHECKING:
    from ..frames.table import Frame


@dataclass(frozen=True)
class PartitionFiles:
    """The files of one command. It is part of the tasks.

    Attributes
    ----------
    source, out : pathlib.Path
        The absolute paths of the input and of the output folder.
    identity : mapping
        What the output folder is marked with.
    columns : tuple of str
        The columns of every input file.
    prefix : str
    waits : bool
        Whether a file is done only when all of its executions have ended.
    """

    source: Path
    out: Path
    identity: Identity
    columns: Sequence[str]
    prefix: str
    waits: bool

    def check(self, name: str) -> str | Frame | None:
        """Check a file before anything is sent.

        Returns
        -------
        str, pandas.DataFrame or None
            What is wrong; what `count_rows` returns, if its output file is done; None if it is to be sent or written.
        """
        path = self.source / name
        try:
            if read_mark(self.out) != self.identity:
                return f"a Dask worker on {platform.node()} does not see the folder {self.out}"
            columns = column_names(path)
        except UsageError as exc:
            return str(exc)
        if columns != list(self.columns):
            return f"{path}: its columns are {columns}, and those of the first file {list(self.columns)}"
        return self._done(path, self.out / name)

    def _done(self, path: Path, target: Path) -> Frame | None:
        import pandas as pd

        try:
            if not target.is_file() or target.stat().st_mtime < path.stat().st_mtime:
                return None
            columns = [f"{self.prefix}{name}" for name in ("status", "execution_id", "error")]
            frame: Frame = pd.read_parquet(target, engine="pyarrow", columns=columns)
        except (OSError, ValueError):
            return None
        is_done = frame[f"{self.prefix}execution_id"].notna()
        if self.waits:
            is_done &= frame[f"{self.prefix}status"].astype(object).isin(SETTLED)
        return count_rows(frame, self.prefix) if is_done.all() else None

    def read(self, name: str) -> Frame:
        """Return the rows of an input file; `source_file` says which it is."""
        frame = files.read(self.source / name)
        frame.attrs[source_file.ATTRS] = SourceFile(name, PARQUET)  # without a second copy of its cells
        return frame

    def save(self, result: Frame) -> Frame:
        """Write the output file of a result, and return its counts."""
        file = source_file.of(result)
        assert file is not None
        target = self.out / file.name
        result = with_errors_reworded(result, self.prefix)
        with suppress(OSError):  # `files.save` says what is wrong with the folder
            target.parent.mkdir(parents=True, exist_ok=True)
        files.save(result, target, packed=(f"{self.prefix}output",))
        return count_rows(result, self.prefix)


def column_names(path: Path) -> list[str]:
    """Return the columns that `files.read` makes of a Parquet file.

    Raises
    ------
    UsageError
        There is no such file, or it is no Parquet file.
    """
    return [str(label) for label in empty_table(path).columns]


def empty_table(path: Path) -> Frame:
    """Return what `files.read` makes of a Parquet file, without its rows, from its footer.

    Raises
    ------
    UsageError
        There is no such file, or it is no Parquet file.
    """
    import pandas as pd

    with files.errors_of(str(path), PARQUET):
        try:
            frame = empty_of_parquet(path)
        except FileNotFoundError as exc:
            msg = f"a Dask worker on {platform.node()} does not see the file {path}"
            raise UsageError(msg) from exc
    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    flat: Frame = frame.reset_index(drop=plain)
    return flat
