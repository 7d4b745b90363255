"""The output of a command, ``--out``: a file or stdout. The rows are paid for, so an error never loses them.

A file is written after each step. Stdout can be written only once, so it is written at the end.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import UsageError
from . import files
from .formats import check_suffix
from .terminal import notify, print_stderr
from .wording import with_errors_reworded

if TYPE_CHECKING:
    from ..frames.table import Frame

STDOUT: Final = "-"


class OutputFile:
    """The file at ``--out``. If it cannot be written, a file in the same or the temporary folder.

    Parameters
    ----------
    path : pathlib.Path
    prefix : str
        The prefix of the result's columns.
    force : bool
        Whether an existing file may be replaced.

    Attributes
    ----------
    name : str
        The name of the output in messages.
    failed : bool
        Whether the output could not be written.
    packed : tuple of str
        Columns whose values are written as JSON text if the format has no lists.
    """

    def __init__(self, path: Path, *, prefix: str, force: bool) -> None:
        self.name = str(path)
        self.failed = False
        self.prefix = prefix
        self.execution_id = f"{prefix}execution_id"
        self.packed: tuple[str, ...] = (f"{prefix}output",)
        self._path = path
        self._may_replace = force

    def print_summary(self, text: str) -> None:
        """Print what the command has done."""
        print(text, flush=True)

    def check(self, frame: Frame) -> None:
        """Check, before anything is sent, that a table like `frame` can be written.

        Raises
        ------
        UsageError
            It cannot.
        """
        files.check_writable(frame, self._path, packed=self.packed)

    def save(self, frame: Frame) -> None:
        """Write `frame`. It never raises, because the rows are paid for."""
        frame = with_errors_reworded(frame, self.prefix)
        try:
            self._write(frame)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rows must be kept
            self._rescue(frame, exc)

    def _write(self, frame: Frame) -> None:
        if not self._may_replace and os.path.lexists(self._path):
            msg = "a file of this name was created in the meantime"
            raise FileExistsError(msg)
        files.write(frame, self._path, packed=self.packed)
        self._may_replace = True

    def close(self) -> None:
        """Write pending output; there is none for a file."""

    def _rescue(self, frame: Frame, exc: Exception) -> None:
        target, self.failed = self.name, True
        try:
            self._path, self._may_replace = files.rescue(frame, self._path), True
            self.name = str(self._path)
        except OSError:
            notify(
                f"{target} could not be written ({exc}), nor could a copy; these are the executions"
                f"{_recovery_hint(frame)}:"
            )
            ids = frame.loc[frame[self.execution_id].notna(), [f"{self.prefix}bulk_id", self.execution_id]]
            ids.to_csv(sys.stderr, index_label="row")
        else:
            notify(f"{target} could not be written ({exc}); the result is in {self.name}")


class Stdout(OutputFile):
    """Standard output, written once at the end of the command.

    Parameters
    ----------
    suffix : str
        The format, as a file's suffix.
    prefix : str
        As for `OutputFile`.
    """

    def __init__(self, suffix: str, *, prefix: str) -> None:
        super().__init__(Path(f"stdout{suffix}"), prefix=prefix, force=False)
        self.name = "stdout"
        self._frame: Frame | None = None

    def print_summary(self, text: str) -> None:
        """Print it on stderr, because stdout has only the table."""
        print_stderr(text)

    def check(self, frame: Frame) -> None:
        """Check that the format can hold a table like `frame`."""
        files.dump(frame, io.BytesIO(), self._path.suffix, packed=self.packed)

    def save(self, frame: Frame) -> None:
        """Keep `frame` for `close`."""
        self._frame = with_errors_reworded(frame, self.prefix)

    def close(self) -> None:
        """Write the table that was saved last; it never raises."""
        frame, self._frame = self._frame, None
        if frame is None:
            return
        try:
            files.dump(frame, sys.stdout.buffer, self._path.suffix, packed=self.packed)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rows must be kept
            self.failed = True
            # The reader has closed the pipe. Without this, Python reports the error again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if run_of(frame) is None:
                self._rescue(frame, exc)
            else:
                notify(f"stdout could not be written ({exc}){_recovery_hint(frame)}")


def open_output(out: str, out_format: str | None, *, prefix: str, force: bool, source: str | None = None) -> OutputFile:
    """Return the output for ``--out``.

    Parameters
    ----------
    out, out_format, prefix, force
        As the command line has them.
    source : str, optional
        The input file.

    Raises
    ------
    UsageError
        The options conflict, the format is unknown, or the file exists.
    """
    if out == STDOUT:
        suffix = f".{out_format or 'csv'}"
        check_suffix(Path(f"stdout{suffix}"))
        if sys.stdout is None:  # a shell's `>&-`
            msg = "--out -: stdout is closed: redirect it to a file or a pipe"
            raise UsageError(msg)
        if suffix == ".parquet" and sys.stdout.isatty():
            msg = "--out -: Parquet is a binary format: redirect stdout to a file or a pipe"
            raise UsageError(msg)
        return Stdout(suffix, prefix=prefix)
    if out_format is not None:
        msg = f"--out-format requires --out -; the suffix of {out} sets its format"
        raise UsageError(msg)
    path = Path(out)
    check_suffix(path)
    files.check_free(path, force=force, source=None if source is None else Path(source))
    return OutputFile(path, prefix=prefix, force=force)


def run_of(frame: Frame) -> str | None:
    """Return the run that a result belongs to, or None."""
    meta = frame.attrs.get("eachlabs")
    run = meta.get("run") if isinstance(meta, Mapping) else None
    return run if isinstance(run, str) else None


def _recovery_hint(frame: Frame) -> str:
    run = run_of(frame)
    return "" if run is None else f" (eachlabs-frames runs {shlex.quote(run)} --out FILE writes them again)"
