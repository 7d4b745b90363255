"""Lists the files of a frame's outputs, and writes their paths and errors into two columns. It never opens a file.

Nothing is aligned: row i's files are written to row i, and a missing file leaves its cell empty.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from .. import media
from ..downloads import decisions, naming
from ..downloads.decisions import Fetched, RequestedFile
from ..downloads.naming import FileKey, NameTemplate
from ..errors import ColumnError, ConfigurationError, MappingError
from ..inputs.mapping import Fields, labels_of
from ..models import COLUMNS
from ..results import NO_TIME, Results
from . import attrs, columns
from .columns import label

EDITED: Final = "the row was edited after this execution was sent: the file belongs to the earlier input"
MISNAMED: Final = (
    "not downloaded: the row was edited after this execution was sent, and name= would name the file of the old "
    "input after the new one; trigger the row again, or pass name='{index}-{n}'"
)
NAMED: Final = 5


class DownloadPlan:
    """The files of a frame's rows, each once, even if several rows have it.

    Parameters
    ----------
    frame : pandas.DataFrame
    results : Results
        The frame's results.
    name : str
        The template, as the user passed it.
    edited : sequence of int
        Rows whose input was edited since they were sent. They have no file if its name depended on that input.
    fields : Fields, optional
        How the inputs were built.

    Attributes
    ----------
    files : list of RequestedFile
    bases : list of str
        The name of each before it was made unique.
    links : dict of int to list of str
        All URLs of each row's output.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        results: Results,
        name: object,
        *,
        edited: Sequence[int] = (),
        fields: Fields | None = None,
    ) -> None:
        self._frame = frame
        self._size = results.size
        self.files: list[RequestedFile] = []
        self.bases: list[str] = []
        self._rows: dict[int, list[int]] = {}
        template = naming.read(name, list(dict.fromkeys(map(str, frame.columns))))
        self._outputs = results.output
        self.links = links = _links(results)
        is_misnamed = not template.fields.isdisjoint(map(str, labels_of(fields or {})))
        self._edited = dict.fromkeys(edited, MISNAMED if is_misnamed else EDITED)
        for row in edited if is_misnamed else ():
            links.pop(row, None)
        stems = self._stems(template, links, results)
        keys = {(row, n): FileKey(results.execution_id[row] or "", n, naming.mark(links[row][n])) for row, n in stems}
        by_key: dict[FileKey, list[str]] = {}
        for place, stem in stems.items():
            by_key.setdefault(keys[place], []).append(stem)
        names = naming.distinct(by_key)
        positions: dict[tuple[FileKey, str], int] = {}
        for (row, n), stem in stems.items():
            key = keys[row, n]
            if (key, stem) not in positions:
                positions[key, stem] = len(self.files)
                self.files.append(RequestedFile(key, links[row][n], names[key, stem], _ended_at(results, row)))
                self.bases.append(stem)
            self._rows.setdefault(row, []).append(positions[key, stem])

    def _stems(
        self, template: NameTemplate, links: Mapping[int, Sequence[str]], results: Results
    ) -> dict[tuple[int, int], str]:
        """Return the name of each row's n-th file by the template."""
        cells = {field: self._cells(field) for field in template.fields if field not in naming.OWN}
        labels = self._frame.index.tolist()
        stems = {}
        for row, urls in links.items():
            values = {field: _present(column[row]) for field, column in cells.items()}
            values |= {"index": _present(labels[row]), "row": row, "execution_id": results.execution_id[row]}
            for n in range(len(urls)):
                stems[row, n] = template.stem(values, n=n, several=len(urls) > 1)
        return stems

    def _cells(self, field: str) -> list[Any]:
        places = [place for place, label in enumerate(self._frame.columns) if str(label) == field]
        if len(places) > 1:
            msg = f"name= uses {{{field}}}, but the frame has {len(places)} columns of that name: rename one"
            raise MappingError(msg)
        cells: list[Any] = self._frame.iloc[:, places[0]].tolist()
        return cells

    def rows_of(self, positions: Sequence[int]) -> list[int]:
        """Return the rows that have one of these files."""
        chosen = set(positions)
        return [row for row, files in self._rows.items() if not chosen.isdisjoint(files)]

    def row_of(self, file: RequestedFile) -> int:
        """Return the first row that has this file."""
        return self.rows_of([self.files.index(file)])[0]

    def named(self, rows: Sequence[int]) -> str:
        """Return the labels of the first rows, for a message."""
        shown = ", ".join(repr(label) for label in self._frame.index[list(rows[:NAMED])].tolist())
        return f"{shown}, ..." if len(rows) > NAMED else shown

    def written(
        self, source: pd.DataFrame, column: str, folder: str, fetched: Sequence[Fetched], *, prefix: str
    ) -> pd.DataFrame:
        """Return `source` with the columns of paths and errors; attrs record which result they belong to."""
        paths: list[str | list[str | None] | None] = [None] * self._size
        errors: list[str | None] = [None] * self._size
        # Lists in all rows if a row has several files: Parquet cannot store a column with lists and texts.
        several = any(len(files) > 1 for files in self._rows.values())
        for row, files in self._rows.items():
            of_row = [_path(folder, fetched[position].file) for position in files]
            paths[row] = of_row if several else of_row[0]
            errors[row] = decisions.joined([fetched[position].error for position in files])
        for row, reason in self._edited.items():
            errors[row] = f"{errors[row]}; {reason}" if errors[row] else reason
        out = columns.snapshot(source)
        columns.put(out, column, pd.Series(paths, index=out.index, dtype=object))
        columns.put(out, column + attrs.ERROR_SUFFIX, pd.array(errors, dtype="string"))
        self._renew_links(out, fetched, prefix)
        earlier = {
            name: owner
            for name, owner in attrs.path_columns(source).items()
            if name != column and columns.places(source, name)
        }
        entry = {"column": column, "prefix": prefix, "earlier": earlier}
        out.attrs[attrs.DOWNLOAD] = {name: value for name, value in entry.items() if value}
        return out

    def _renew_links(self, out: pd.DataFrame, fetched: Sequence[Fetched], prefix: str) -> None:
        """Write the new links into the outputs that had the old ones."""
        renewed = {position: file.url for position, file in enumerate(fetched) if file.url is not None}
        if not renewed:
            return
        outputs = list(self._outputs)
        for row in self.rows_of(list(renewed)):
            positions = [position for position in self._rows[row] if position in renewed]
            links = {self.files[position].url: renewed[position] for position in positions}
            outputs[row] = media.with_links(outputs[row], links)
        columns.put(out, prefix + "output", pd.Series(outputs, index=out.index, dtype=object))


def check_column(frame: pd.DataFrame, column: object) -> str:
    """Check that the paths can be written into `column` of this frame, and return it.

    Raises
    ------
    ConfigurationError
        It is no valid column name.
    ColumnError
        A column of the user has this name.
    """
    if not isinstance(column, str) or not column or column in COLUMNS:
        msg = f"column must be a name for the column of paths, and not that of a result column; got {column!r}"
        raise ConfigurationError(msg)
    counts = {name: len(columns.places(frame, name)) for name in (column, column + attrs.ERROR_SUFFIX)}
    is_ours = all(counts.values()) or column in attrs.path_columns(frame)
    if any(counts.values()) and (not is_ours or max(counts.values()) > 1):
        names = ", ".join(repr(name) for name, count in counts.items() if count)
        msg = f"the frame already has a column named {names}: rename it, or pass another column="
        raise ColumnError(msg)
    return column


def require_outputs(frame: pd.DataFrame, prefix: str) -> None:
    """Raise `ColumnError` if the outputs were dropped: the frame would seem to have no files."""
    if label(frame, "output", prefix) not in frame.columns:
        msg = (
            f"the frame has no column {prefix + 'output'!r}, which holds the URLs: use the frame that wait() "
            f"returned, or load_run()"
        )
        raise ColumnError(msg)


def _links(results: Results) -> dict[int, list[str]]:
    """Return the URLs of each row that has an output, of any length: long ones may be images too."""
    outputs = ((row, output) for row, output in enumerate(results.output) if output is not None)
    return {row: [url for _, url in media.urls(output, None, any_length=True)] for row, output in outputs}


def _ended_at(results: Results, row: int) -> float | None:
    ended_at = results.completed_at[row]
    return None if ended_at == NO_TIME else ended_at / 1e9


def _present(cell: Any) -> Any:
    missing = cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)
    return None if missing else cell


def _path(folder: str, file: str | None) -> str | None:
    return None if file is None else os.path.join(folder, *file.split("/"))  # noqa: PTH118 - paths are stored as text
