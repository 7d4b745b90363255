"""The file formats of tables: encodes and decodes CSV, TSV, JSON lines and Parquet. It opens no file.

Cells of CSV and TSV are read as text, those of JSON lines as JSON values, without any conversion. An unchanged cell is
written exactly as it was in the file that it came from.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import UsageError
from ..frames import source_file
from ..frames.source_file import RowText, SourceFile
from . import delimited, jsonlines

if TYPE_CHECKING:
    import pandas as pd

NO_PARQUET: Final = 'Parquet needs pyarrow: pip install "eachlabs-frames[parquet]"'

SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
LINES: Final = (".jsonl", ".ndjson")
PARQUET: Final = ".parquet"
SUFFIXES: Final = (*SEPARATORS, *LINES, PARQUET)

_MARK: Final = b"\xef\xbb\xbf"


def check_suffix(path: Path) -> None:
    """Check that the file's format is supported by this installation.

    Raises
    ------
    UsageError
        Unknown suffix, or Parquet without pyarrow.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        msg = f"{path}: the suffix sets the format and must be one of {', '.join(SUFFIXES)}"
        raise UsageError(msg)
    if suffix == PARQUET and importlib.util.find_spec("pyarrow") is None:
        msg = f"{path}: {NO_PARQUET}"
        raise UsageError(msg)


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name in lower case, which sets the format."""
    return path.suffix.lower()


# Reading


def decode(data: bytes, suffix: str, name: str) -> pd.DataFrame:
    """Return the table in a file. Its attrs hold the file's text (`source_file.of`).

    Parameters
    ----------
    data : bytes
        The whole file.
    suffix : str
        Its format.
    name : str
        Its name in messages.

    Raises
    ------
    ValueError
        The file is not a table of this format; the message says where.
    ImportError
        Parquet without pyarrow.
    """
    if suffix == PARQUET:
        frame = _from_parquet(data)
        file = SourceFile(name, suffix, values={label: frame[label].tolist() for label in frame.columns})
    elif suffix in SEPARATORS:
        frame, file = _from_separated(_text(data), suffix, name, marked=data.startswith(_MARK))
    else:
        frame, file = _from_lines(_text(data), suffix, name)
    frame.attrs[source_file.ATTRS] = file
    return frame


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        start = data.count(b"\n", 0, exc.start + len(_MARK) * data.startswith(_MARK)) + 1
        msg = f"line {start} is not UTF-8: save the file as UTF-8"
        raise ValueError(msg) from exc


def _from_separated(text: str, suffix: str, name: str, *, marked: bool) -> tuple[pd.DataFrame, SourceFile]:
    header, *rows = delimited.records(text, SEPARATORS[suffix])
    names = list(header.cells)
    _check_unique(names)
    width = len(names)
    cells = list(zip(*(row.cells for row in rows), strict=True)) or [()] * width
    written = list(zip(*(row.written for row in rows), strict=True)) or [()] * width
    values = {label: [cell or None for cell in column] for label, column in zip(names, cells, strict=True)}
    file = SourceFile(
        name,
        suffix,
        lines=[row.line for row in rows],
        values=values,
        written=dict(zip(names, written, strict=True)),
        header=dict(zip(names, header.written, strict=True)),
        newline="\r\n" if text[: text.rfind("\n") + 1].endswith("\r\n") else "\n",
        marked=marked,
    )
    return _frame(values, len(rows)), file


def _check_unique(names: Sequence[str]) -> None:
    twice = next((label for label in names if names.count(label) > 1), None)
    if twice is not None:
        msg = f"it has two columns named {twice!r}: rename one"
        raise ValueError(msg)


def _from_lines(text: str, suffix: str, name: str) -> tuple[pd.DataFrame, SourceFile]:
    rows = list(jsonlines.lines(text))
    names = dict.fromkeys(label for row in rows for label in row.members)
    values: dict[str, list[Any]] = {label: [] for label in names}
    written: dict[str, list[str | None]] = {label: [] for label in names}
    for row in rows:
        for label in names:
            member = row.members.get(label)
            values[label].append(None if member is None else member.value)
            written[label].append(None if member is None else member.written)
    texts = [RowText(row.text, [(label, member.end) for label, member in row.members.items()]) for row in rows]
    file = SourceFile(name, suffix, [row.number for row in rows], values, written, rows=texts)
    return _frame(values, len(rows)), file


def _frame(values: Mapping[str, Sequence[Any]], size: int) -> pd.DataFrame:
    """Return a frame of dtype object: pandas' dtype inference changes numbers in mixed or incomplete columns."""
    import pandas as pd

    columns = {label: pd.Series(column, dtype=object) for label, column in values.items()}
    frame: pd.DataFrame = pd.DataFrame(columns, index=pd.RangeIndex(size))
    return frame


def _from_parquet(data: bytes) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.read_parquet(io.BytesIO(data), engine="pyarrow")
    if frame.columns.nlevels > 1:
        msg = f"its columns have {frame.columns.nlevels} levels: flatten them first"
        raise ValueError(msg)
    _check_unique(frame.columns.tolist())
    _restore_integers(frame, data)
    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    flat: pd.DataFrame = frame.reset_index(drop=plain)
    return flat


def _restore_integers(frame: pd.DataFrame, data: bytes) -> None:
    """Read integer columns with missing values again: pandas converts them to float64, which loses digits."""
    import pandas as pd

    floats = [label for label in frame.columns if frame[label].dtype.kind == "f" and frame[label].hasnans]
    if floats:
        exact = pd.read_parquet(io.BytesIO(data), engine="pyarrow", columns=floats, dtype_backend="numpy_nullable")
        for label in floats:
            if exact[label].dtype.kind in "iu":
                frame[label] = exact[label].array


# Writing


def encode(frame: pd.DataFrame, suffix: str, *, packed: Collection[str] = ()) -> Iterator[bytes]:
    """Yield the bytes of a file of this format in chunks. The frame's index is not written.

    Parameters
    ----------
    frame : pandas.DataFrame
    suffix : str
        The format.
    packed : collection of str
        Columns whose values are written as JSON text, except in JSON lines; strings are written as they are. A string
        in these columns, or one that was not in the source file, is written as JSON text if TSV cannot hold it.

    Raises
    ------
    ValueError, TypeError, NotImplementedError, OverflowError
        The format cannot hold this table.
    ImportError
        Parquet without pyarrow.
    """
    return _ENCODERS[suffix](frame, packed)


def _to_separated(frame: pd.DataFrame, packed: Collection[str], *, suffix: str) -> Iterator[bytes]:
    separator = SEPARATORS[suffix]
    file = source_file.of(frame)
    same = file if file is not None and file.suffix == suffix else None
    newline = "\n" if same is None else same.newline
    names = [str(label) for label in frame.columns]
    header = [
        same.header[name] if same and name in same.header else delimited.written(name, separator) for name in names
    ]
    columns = [_written(frame, place, packed, separator=separator, file=file) for place in range(len(names))]
    if same is not None and same.marked:
        yield _MARK
    yield delimited.joined(header, separator, newline).encode()
    for row in zip(*columns, strict=True):
        yield delimited.joined(row, separator, newline).encode()


def _written(
    frame: pd.DataFrame, place: int, packed: Collection[str], *, separator: str, file: SourceFile | None
) -> Iterator[str]:
    """Yield the text of each cell of a column. An unchanged cell has its original text."""
    name = str(frame.columns[place])
    is_same = file is not None and SEPARATORS.get(file.suffix) == separator
    for row, cell in enumerate(_cells(frame, place)):
        is_held = file is not None and file.holds(name, row, cell)
        before = file.written[name][row] if file is not None and is_held and name in file.written else None
        if before is not None and is_same:
            yield before
            continue
        # Numbers and lists from JSON lines keep their original text.
        text = before if before is not None and not isinstance(cell, str | None) else _as_text(cell, name in packed)
        is_result = name in packed or (file is not None and not is_held)
        if separator == delimited.TAB and is_result and delimited.breaks_tsv(text):
            text = jsonlines.dumped(text)  # a paid result must not fail the write
        try:
            yield delimited.written(text, separator)
        except ValueError as exc:
            msg = f"{source_file.place(frame, row)}, column {name!r}: {exc}"
            raise ValueError(msg) from exc


def _cells(frame: pd.DataFrame, place: int) -> list[Any]:
    """Return the cells of a column as Python objects; missing values are None."""
    import pandas as pd

    def is_missing(cell: Any) -> bool:
        return cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)

    return [None if is_missing(cell) else cell for cell in frame.iloc[:, place].astype(object).tolist()]


def _as_text(cell: object, packed: bool) -> str:
    if isinstance(cell, str):
        return cell
    plain = jsonlines.plain(cell)
    if plain is None:
        return ""
    return jsonlines.dumped(cell) if packed or isinstance(plain, list | dict) else str(cell)


def _to_lines(frame: pd.DataFrame, _packed: Collection[str]) -> Iterator[bytes]:
    names = [str(label) for label in frame.columns]
    file = source_file.of(frame)
    same = file if file is not None and file.suffix in LINES else None
    columns = [_cells(frame, place) for place in range(len(names))]
    for row, cells in enumerate(zip(*columns, strict=True)):
        line = _line(dict(zip(names, cells, strict=True)), row, same)
        # A lone surrogate cannot be encoded as UTF-8; JSON escapes it as \uXXXX.
        yield f"{line}\n".encode(errors="backslashreplace")


def _line(cells: dict[str, Any], row: int, file: SourceFile | None) -> str:
    """Return a row as a line. It keeps its original text up to the first changed cell."""
    if file is None or row >= len(file.rows):
        return jsonlines.extended("{", {name: jsonlines.dumped(cell) for name, cell in cells.items()})
    text, head = file.rows[row].text, "{"
    kept = {name for name, cell in cells.items() if file.holds(name, row, cell)}
    done: set[str] = set()
    for name, end in file.rows[row].ends:
        if name not in kept:
            break
        head = text[:end]
        done.add(name)
    more: dict[str, str] = {}
    for name, cell in cells.items():
        written = file.written[name][row] if name in kept else jsonlines.dumped(cell)
        if name not in done and written is not None:
            more[name] = written
    return jsonlines.extended(head, more)


def _to_parquet(frame: pd.DataFrame, packed: Collection[str]) -> Iterator[bytes]:
    import pandas as pd

    table: pd.DataFrame = frame.copy(deep=False)
    # pandas writes attrs as JSON; the source file's text is not JSON.
    table.attrs = {name: value for name, value in frame.attrs.items() if name != source_file.ATTRS}
    for place, label in enumerate(frame.columns):
        if label in packed and frame.dtypes.iloc[place].kind == "O":
            texts = [None if cell is None else _as_text(cell, True) for cell in _cells(frame, place)]
            table[label] = pd.array(texts, dtype="string")
    written = io.BytesIO()
    table.to_parquet(written, engine="pyarrow", index=False)
    yield written.getvalue()


_ENCODERS: Final[Mapping[str, Callable[[Any, Collection[str]], Iterator[bytes]]]] = {
    **{suffix: partial(_to_separated, suffix=suffix) for suffix in SEPARATORS},
    **dict.fromkeys(LINES, _to_lines),
    PARQUET: _to_parquet,
}
