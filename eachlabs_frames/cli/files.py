"""Tables in files, by the name's suffix: a file is written whole or not at all, and what is read is never guessed at.

Owns CSV, TSV, JSON lines and Parquet. It knows nothing of what a column means, and never sends anything.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import UsageError
from .formats import NO_PARQUET, PARQUET, SEPARATORS, check_suffix, suffix_of

if TYPE_CHECKING:
    import pandas as pd

# Reading


def read(path: Path, *, texts: Collection[str] = ()) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path : pathlib.Path
        CSV and TSV are read as pandas does by default, from UTF-8 with or without a BOM. A line of JSON lines is a
        row, and its values stay as they are.
    texts : collection of str
        Columns that are text wherever they appear, so that an id of digits stays one, and "NA" is a word.

    Returns
    -------
    pandas.DataFrame
        With a RangeIndex: a Parquet file's own index becomes columns.

    Raises
    ------
    UsageError
        No such file, or not a table of that format; the message says where.
    """
    check_suffix(path)
    suffix = suffix_of(path)
    try:
        if not path.is_file():
            msg = f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}"
            raise UsageError(msg)
        if suffix in SEPARATORS:
            return _read_separated(path, SEPARATORS[suffix], texts)
        return _flat(path, _read_parquet(path) if suffix == PARQUET else _read_lines(path))
    except ImportError as exc:
        msg = f"{path}: {NO_PARQUET} ({_first_line(exc)})"
        raise UsageError(msg) from exc
    except UnicodeDecodeError as exc:
        msg = f"{path}: not UTF-8 (byte {exc.start}): save it as UTF-8"
        raise UsageError(msg) from exc
    except (ValueError, OSError) as exc:
        msg = f"{path}: cannot be read as {suffix[1:]}: {_first_line(exc)}"
        raise UsageError(msg) from exc


def _read_separated(path: Path, separator: str, texts: Collection[str]) -> pd.DataFrame:
    import pandas as pd

    def table(**options: Any) -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # index_col=False: otherwise rows that are longer than the header shift every column by one, silently.
            found: pd.DataFrame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", index_col=False, **options)
        return found

    # Before pandas 3.1, which deprecates the option, a number could come back changed in its last digit.
    exact = {} if _version(pd.__version__) >= (3, 1) else {"float_precision": "round_trip"}
    try:
        # low_memory=False: a column's dtype must not depend on where a chunk of the file ends.
        frame = table(low_memory=False, **exact)
        named = [name for name in texts if name in frame.columns]
        as_text = table(usecols=named, dtype="string", keep_default_na=False)
    except pd.errors.ParserWarning as exc:
        raise ValueError(str(exc)) from exc
    for name in named:
        frame[name] = as_text[name].mask(as_text[name] == "")
    return frame


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.read_parquet(path, engine="pyarrow")
    return frame


def _read_lines(path: Path) -> pd.DataFrame:
    """Read JSON lines. Not with pandas, which makes dates and numbers of texts that look like them."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as exc:
                msg = f"line {number} is not JSON: {exc.msg} at column {exc.colno}"
                raise ValueError(msg) from exc
            if not isinstance(row, dict):
                msg = f"line {number} is no JSON object, such as {{...}}"
                raise ValueError(msg)  # noqa: TRY004 - what is wrong is the file's content, not an argument's type
            rows.append(row)
    frame: pd.DataFrame = pd.DataFrame(rows)
    return frame


def _flat(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    if frame.columns.nlevels > 1:
        msg = f"{path}: its columns have {frame.columns.nlevels} levels: flatten them first"
        raise UsageError(msg)
    if not frame.columns.is_unique:
        msg = f"{path}: it has two columns named {frame.columns[frame.columns.duplicated()][0]!r}: rename one"
        raise UsageError(msg)
    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    flat: pd.DataFrame = frame.reset_index(drop=plain)
    return flat


def _first_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300] or type(exc).__name__


# Writing


def rehearse(frame: pd.DataFrame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Make sure, by doing it and taking it away again, that `frame` can be written to `path`.

    Raises
    ------
    UsageError
        The folder takes no file, or the format cannot hold this table.
    """
    with _told(path), _part(frame, path, packed):
        pass


def save(frame: pd.DataFrame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Do as `write`, for what can be written again another time.

    Raises
    ------
    UsageError
        As for `rehearse`.
    """
    with _told(path):
        write(frame, path, packed=packed)


def check_free(path: Path, *, force: bool, source: Path | None = None) -> None:
    """Make sure that nothing is written over by mistake.

    Raises
    ------
    UsageError
        There is a file of this name, perhaps `source` itself, and it was not said that it may be replaced.
    """
    if os.path.lexists(path) and not force and not path.is_dir():
        which = "exists already"
        with contextlib.suppress(OSError):
            which = "is the input itself" if source is not None and path.samefile(source) else which
        msg = f"{path}: the file {which}: name another --out, or replace it with --force"
        raise UsageError(msg)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Check where a table is to be written, and say what goes wrong with it there."""
    check_suffix(path)
    try:
        # A name that is too long raises here, and not in the end.
        if path.is_dir():
            msg = f"{path}: a folder, not a file"
            raise UsageError(msg)
        if not path.parent.is_dir():
            msg = f"{path}: there is no folder {path.parent}: create it first"
            raise UsageError(msg)
        yield
    except OSError as exc:
        msg = f"{path}: cannot be written there: {exc.strerror or _first_line(exc)}"
        raise UsageError(msg) from exc
    except ImportError as exc:
        msg = f"{path}: {NO_PARQUET} ({_first_line(exc)})"
        raise UsageError(msg) from exc
    except (ValueError, TypeError, KeyError, NotImplementedError, OverflowError) as exc:
        msg = f"{path}: {suffix_of(path)[1:]} cannot hold this table, .jsonl can: {_first_line(exc)}"
        raise UsageError(msg) from exc


def write(frame: pd.DataFrame, path: Path, *, packed: Collection[str] = ()) -> None:
    """Write a table: the file is there whole and on the disk, or it is as it was before.

    Parameters
    ----------
    frame : pandas.DataFrame
        Its index is not written.
    path : pathlib.Path
        The suffix says the format. A link is followed, not replaced.
    packed : collection of str
        Columns whose values become JSON text where the format has no values of any kind (all but JSON lines); what
        is text already stays as it is.
    """
    real = Path(os.path.realpath(path))
    with _part(frame, real, packed) as part:
        if real.exists():
            shutil.copymode(real, part)
        part.replace(real)
    # Windows opens no folders; the file itself is on the disk by then.
    with contextlib.suppress(OSError):
        _sync(real.parent)


def rescue(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table that could not be written to `path` as JSON lines: beside it, else in the temporary folder.

    Raises
    ------
    OSError
        Neither could be written.
    """
    name = f"{path.stem}.rescued-{secrets.token_hex(4)}.jsonl"
    beside, elsewhere = path.parent / name, Path(tempfile.gettempdir()) / name
    try:
        write(frame, beside)
    except OSError:
        write(frame, elsewhere)
        return elsewhere
    return beside


@contextlib.contextmanager
def _part(frame: pd.DataFrame, path: Path, packed: Collection[str]) -> Iterator[Path]:
    """Write a temporary file in the folder of `path`, and take it away where it still is in the end."""
    part = path.with_name(f".eachlabs-{secrets.token_hex(8)}.part")
    try:
        _WRITERS[suffix_of(path)](frame, part, packed)
        _sync(part)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_separated(frame: pd.DataFrame, path: Path, packed: Collection[str], *, separator: str) -> None:
    table = _packed(frame, packed, containers=True)
    # A lone carriage return ends a line for pandas' reader, and Python's writer puts no quotes around it.
    unsafe = any(isinstance(cell, str) and "\r" in cell for _, column in _texts(table) for cell in column)
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if unsafe else csv.QUOTE_MINIMAL
    table.to_csv(path, sep=separator, index=False, encoding="utf-8", lineterminator="\n", quoting=quoting)


def _write_parquet(frame: pd.DataFrame, path: Path, packed: Collection[str]) -> None:
    _packed(frame, packed, containers=False).to_parquet(path, engine="pyarrow", index=False)


def _write_lines(frame: pd.DataFrame, path: Path, packed: Collection[str]) -> None:  # noqa: ARG001 - the writers' shape
    names = [str(label) for label in frame.columns]
    columns = [[_plain(cell) for cell in frame[label].astype(object).tolist()] for label in frame.columns]
    # Half of a surrogate pair has no UTF-8; a backslash and its number are what JSON writes for it.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
        for row in zip(*columns, strict=True):
            lines.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")


_WRITERS: Final[Mapping[str, Callable[[Any, Path, Collection[str]], None]]] = {
    ".csv": lambda frame, path, packed: _write_separated(frame, path, packed, separator=","),
    ".tsv": lambda frame, path, packed: _write_separated(frame, path, packed, separator="\t"),
    ".jsonl": _write_lines,
    ".ndjson": _write_lines,
    ".parquet": _write_parquet,
}


def _packed(frame: pd.DataFrame, packed: Collection[str], *, containers: bool) -> pd.DataFrame:
    """Return `frame` with JSON text in place of what the format cannot hold.

    Parameters
    ----------
    packed : collection of str
        Columns of which every value becomes text.
    containers : bool
        Whether lists and dicts of the other columns do, too.
    """
    import pandas as pd

    table: pd.DataFrame = frame.copy(deep=False)
    for label, column in _texts(frame):
        if label in packed:
            table[label] = pd.array([_text(cell) for cell in column], dtype="string")
        elif containers and any(_is_container(cell) for cell in column):
            table[label] = pd.Series([_text(cell) if _is_container(cell) else cell for cell in column], dtype=object)
    return table


def _texts(frame: pd.DataFrame) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the columns that may hold text, or values of any kind."""
    for label in frame.columns:
        if frame[label].dtype.kind == "O":
            yield label, frame[label].astype(object).tolist()


def _is_container(cell: object) -> bool:
    return isinstance(cell, Mapping | list | tuple | set | frozenset) or getattr(cell, "ndim", 0) > 0


def _text(cell: object) -> str | None:
    plain = _plain(cell)
    return plain if plain is None or isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a cell as JSON knows it: null for what is missing, text for what JSON has no value for."""
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)
