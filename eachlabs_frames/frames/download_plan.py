"""Lists the files of a frame's outputs, and writes their paths and errors into two columns. It never opens a file.

Nothing is aligned: row i's files are written to row i, and a missing file leaves its cell empty.
"""

from __future__ import annotations

import os
from collections import Counter
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
    """The files of a frame's rows, each once, whatever number of rows it stands in.

    Parameters
    ----------
    frame : pandas.DataFrame
    results : Results
        What the frame says of its rows.
    name : str
        The template, as the user wrote it.
    edited : sequence of int
        Rows whose input was edited since they were sent. They have no file where its name would be made of that input.
    fields : Fields, optional
        How inputs were made.

    Attributes
    ----------
    wanted : list of RequestedFile
    bases : list of str
        The name of each before it was told apart from another of the same name.
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
        self.wanted: list[RequestedFile] = []
        self.bases: list[str] = []
        self._rows: dict[int, list[int]] = {}
        places = Counter(str(one) for one in frame.columns)
        template = naming.read(name, list(places))
        self._outputs = results.output
        self.links = links = _links(results)
        misnamed = not template.fields.isdisjoint(map(str, labels_of(fields or {})))
        self._edited = dict.fromkeys(edited, MISNAMED if misnamed else EDITED)
        for row in edited if misnamed else ():
            links.pop(row, None)
        stems = self._stems(template, links, results)
        asked: dict[FileKey, list[str]] = {}
        for (row, n), stem in stems.items():
            asked.setdefault(_identity(results, row, n, links[row][n]), []).append(stem)
        names = naming.distinct(asked)
        known: dict[tuple[FileKey, str], int] = {}
        for (row, n), stem in stems.items():
            url = links[row][n]
            claim = (_identity(results, row, n, url), stem)
            if claim not in known:
                known[claim] = len(self.wanted)
                self.wanted.append(RequestedFile(claim[0], url, names[claim], _ended_at(results, row)))
                self.bases.append(stem)
            self._rows.setdefault(row, []).append(known[claim])

    def _stems(
        self, template: NameTemplate, links: Mapping[int, Sequence[str]], results: Results
    ) -> dict[tuple[int, int], str]:
        """Return the name of each row's n-th file, as the template has it."""
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
        places = [place for place, known in enumerate(self._frame.columns) if str(known) == field]
        if len(places) > 1:
            msg = f"name= uses {{{field}}}, but the frame has {len(places)} columns of that name: rename one"
            raise MappingError(msg)
        cells: list[Any] = self._frame.iloc[:, places[0]].tolist()
        return cells

    def rows_of(self, places: Sequence[int]) -> list[int]:
        """Return the rows that have one of these files."""
        chosen = set(places)
        return [row for row, files in self._rows.items() if not chosen.isdisjoint(files)]

    def row_of(self, wanted: RequestedFile) -> int:
        """Return the first row that has this file."""
        return self.rows_of([self.wanted.index(wanted)])[0]

    def named(self, rows: Sequence[int]) -> str:
        """Return the first few rows by their labels."""
        shown = ", ".join(repr(one) for one in self._frame.index[list(rows[:NAMED])].tolist())
        return f"{shown}, ..." if len(rows) > NAMED else shown

    def written(
        self, source: pd.DataFrame, column: str, folder: str, fetched: Sequence[Fetched], *, prefix: str
    ) -> pd.DataFrame:
        """Return a new frame of `source` with the paths and the errors; it says of which result they are."""
        paths: list[str | list[str | None] | None] = [None] * self._size
        errors: list[str | None] = [None] * self._size
        # All lists as soon as one row has several: a column of both cannot be written to Parquet.
        several = any(len(files) > 1 for files in self._rows.values())
        for row, files in self._rows.items():
            found = [_path(folder, fetched[place].file) for place in files]
            paths[row] = found if several else found[0]
            errors[row] = decisions.joined([fetched[place].error for place in files])
        for row, reason in self._edited.items():
            errors[row] = f"{errors[row]}; {reason}" if errors[row] else reason
        out = columns.snapshot(source)
        columns.put(out, column, pd.Series(paths, index=out.index, dtype=object))
        columns.put(out, column + attrs.ERROR_SUFFIX, pd.array(errors, dtype="string"))
        self._renew_links(out, fetched, prefix)
        earlier = {
            name: of
            for name, of in attrs.path_columns(source).items()
            if name != column and columns.places(source, name)
        }
        said = {"column": column, "prefix": prefix, "earlier": earlier}
        out.attrs[attrs.DOWNLOAD] = {name: value for name, value in said.items() if value}
        return out

    def _renew_links(self, out: pd.DataFrame, fetched: Sequence[Fetched], prefix: str) -> None:
        """Write the new links into the outputs that had the old ones."""
        renewed = {place: file.url for place, file in enumerate(fetched) if file.url is not None}
        if not renewed:
            return
        outputs = list(self._outputs)
        for row in self.rows_of(list(renewed)):
            links = {self.wanted[place].url: renewed[place] for place in self._rows[row] if place in renewed}
            outputs[row] = media.with_links(outputs[row], links)
        columns.put(out, prefix + "output", pd.Series(outputs, index=out.index, dtype=object))


def check_column(frame: pd.DataFrame, column: object) -> str:
    """Make sure that the paths may stand in `column` of this frame, and return it.

    Raises
    ------
    ConfigurationError
        No name for a column.
    ColumnError
        A column of the user's own is in the way.
    """
    if not isinstance(column, str) or not column or column in COLUMNS:
        msg = f"column must be a name for the column of paths, and not that of a result column; got {column!r}"
        raise ConfigurationError(msg)
    counted = {name: len(columns.places(frame, name)) for name in (column, column + attrs.ERROR_SUFFIX)}
    ours = all(counted.values()) or column in attrs.path_columns(frame)
    if any(counted.values()) and (not ours or max(counted.values()) > 1):
        names = ", ".join(repr(name) for name, count in counted.items() if count)
        msg = f"the frame already has a column named {names}: rename it, or pass another column="
        raise ColumnError(msg)
    return column


def require_outputs(frame: pd.DataFrame, prefix: str) -> None:
    """Raise `ColumnError` where the outputs were dropped: without them, no file would look as if there were none."""
    if label(frame, "output", prefix) not in frame.columns:
        msg = (
            f"the frame has no column {prefix + 'output'!r}, which holds the URLs: use the frame that wait() "
            f"returned, or load_run()"
        )
        raise ColumnError(msg)


def _links(results: Results) -> dict[int, list[str]]:
    """Return the URLs of each row that has an output, however long they are: none is a picture less."""
    outputs = ((row, output) for row, output in enumerate(results.output) if output is not None)
    return {row: [url for _, url in media.urls(output, None, any_length=True)] for row, output in outputs}


def _identity(results: Results, row: int, n: int, url: str) -> FileKey:
    return FileKey(results.execution_id[row] or "", n, naming.mark(url))


def _ended_at(results: Results, row: int) -> float | None:
    ended_at = results.completed_at[row]
    return None if ended_at == NO_TIME else ended_at / 1e9


def _present(cell: Any) -> Any:
    missing = cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)
    return None if missing else cell


def _path(folder: str, file: str | None) -> str | None:
    return None if file is None else os.path.join(folder, *file.split("/"))  # noqa: PTH118 - a column of texts
