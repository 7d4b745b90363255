"""The formats of tables: which there are, and what each needs. It opens no file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from ..errors import UsageError

NO_PARQUET: Final = 'Parquet needs pyarrow: pip install "eachlabs-frames[parquet]"'

SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
LINES: Final = (".jsonl", ".ndjson")
PARQUET: Final = ".parquet"
SUFFIXES: Final = (*SEPARATORS, *LINES, PARQUET)


def check_suffix(path: Path) -> None:
    """Make sure that the file's format is known, and that this installation can read and write it.

    Raises
    ------
    UsageError
        Another suffix, or Parquet without pyarrow.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        msg = f"{path}: the suffix sets the format and must be one of {', '.join(SUFFIXES)}"
        raise UsageError(msg)
    if suffix == PARQUET and importlib.util.find_spec("pyarrow") is None:
        msg = f"{path}: {NO_PARQUET}"
        raise UsageError(msg)


def suffix_of(path: Path) -> str:
    """Return what says a file's format, in lower case."""
    return path.suffix.lower()
