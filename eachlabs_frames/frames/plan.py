"""Makes the inputs of a frame's rows from ``inputs=`` and checks them against the schema before any row is sent."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from ..inputs.batches import batched
from ..inputs.encoding import Problem, Row, encode_all, file_problem, has_unusable_file
from ..inputs.file_cells import FileCells
from ..inputs.file_values import has_files, references
from ..inputs.fingerprints import Fingerprints, checksums, fingerprints, pack
from ..inputs.local_paths import local_file_check
from ..inputs.mapping import Fields, RowFunction, misspelling_notes, resolve, unused_columns, with_types
from ..inputs.mapping_spec import as_pinned, to_spec
from ..inputs.schema import Check, SchemaError, array_keys, compile_check, integer_keys, uri_keys
from ..journal.base import RowChunk
from ..models import Batch, Json, Workflow
from ..uploads.local_files import LocalFiles
from . import attrs, source_file
from .rows import FrameInputs, Positions
from .table import Frame

logger = logging.getLogger("eachlabs_frames")

Labels = Callable[[Sequence[int]], Sequence[Json]]
Digests = Callable[[Sequence[int]], Sequence[bytes]]
RowHints = Callable[[Sequence[int]], Sequence[int]]


def read_inputs(frame: Frame, inputs: object, schema: Any, prefix: str) -> Fields | RowFunction:
    """Return what fills each key, from ``inputs=`` as the user wrote it."""
    if hasattr(inputs, "tolist"):  # an Index, a Series or an array of labels
        inputs = inputs.tolist()
    return resolve(inputs, list(frame.columns), schema, ours=_own(frame, prefix))


def misspellings(
    frame: Frame, fields: Fields | RowFunction, schema: Any, prefix: str
) -> tuple[list[str], list[Hashable]]:
    """Return a note for each name that is probably misspelt, and the other columns that are not sent."""
    if callable(fields):
        return [], []
    unused = unused_columns(fields, list(frame.columns), ours=_own(frame, prefix))
    return misspelling_notes(fields, unused, schema)


def _own(frame: Frame, prefix: str) -> frozenset[Hashable]:
    """Return the columns that this package has written, which are inputs only if named."""
    return attrs.own_columns(frame, prefix) | attrs.repeat_columns(frame)


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of a call, and how their inputs are built and checked.

    Attributes
    ----------
    checksums : array of int
        The checksum of each row's input, after `chunks` or `with_checksums` was read to its end.
    digests : dict of str to None
        The files of all rows, by SHA-256, after the rows were read.
    repeats : dict of int to int
        Rows of the call that are not in `positions`, because an earlier one, which is given, has the same input.
    """

    frame: Frame
    positions: Positions
    fields: Fields | RowFunction
    source: FrameInputs
    check: Check | None
    files: LocalFiles
    refused: dict[int, str] = field(default_factory=dict)
    checksums: array[int] = field(default_factory=lambda: array("I"))
    digests: dict[str, None] = field(default_factory=dict)
    repeats: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        frame: Frame,
        positions: Positions,
        fields: Fields | RowFunction,
        *,
        workflow: Workflow | None,
        omit: bool,
        validate: bool,
        files: LocalFiles,
    ) -> Plan:
        """Return the plan of `positions`; `workflow` is None if it is not known. `files` reads the files of rows."""
        schema = workflow.input_schema if workflow is not None else None
        if source_file.of(frame) is not None and not callable(fields):
            fields = with_types(fields, schema)
        local = local_file_check(fields, schema, _is_file) if validate else None
        cells = FileCells(
            files.reference,
            uri_keys(schema),
            array_keys(schema),
            checks_urls=validate,
            read_ahead=files.read_ahead,
        )
        integers = integer_keys(schema)
        source = FrameInputs(frame, positions, fields, omit=omit, integers=integers, local_file=local, files=cells)
        return cls(frame, positions, fields, source, _check(schema) if validate else None, files)

    def without_repeats(self) -> Plan:
        """Read every row once, and return the plan of the first row with each input; this one is used up."""
        first: dict[bytes, int] = {}
        repeats: dict[int, int] = {}
        for positions, inputs, payloads in self.checked():
            for position, content in zip(positions, fingerprints(inputs, payloads), strict=True):
                if first.setdefault(content, position) != position:
                    repeats[position] = first[content]
        if not repeats:
            return self
        self.source.drop(repeats)
        return replace(self, positions=self.source.positions, repeats=repeats)

    def compact(self) -> Sequence[int]:
        """Return the positions as a range or an array of int64 (a list would double the memory)."""
        first, last = (int(self.positions[0]), int(self.positions[-1])) if len(self.positions) else (0, -1)
        if last - first + 1 == len(self.positions):
            return range(first, last + 1)
        return array("q", self.positions.tolist())

    def checked(self) -> Iterator[tuple[list[int], Sequence[Row], list[bytes]]]:
        """Read every row once, in chunks: positions, inputs and their JSON.

        `refused` has the rows that the schema rejects afterwards, and those with a file that cannot be used.

        Raises
        ------
        InputError
            A row has no valid input; raised after the last row, to report how many rows have a problem.
        """
        self.source.forget()
        # Only the first problem is kept: its exception refers to stack frames with the data.
        first: tuple[int, Problem] | None = None
        count = 0
        for positions, rows in self.source.rows():
            encoded = encode_all(rows)
            for invalid in self.source.invalid(positions, rows, encoded):
                first, count = first or invalid, count + 1
            if first is not None:
                continue
            inputs, payloads = cast("Sequence[Row]", rows), cast("list[bytes]", encoded)
            if self.check is not None:
                refused = zip(positions, map(self.check, inputs), strict=True)
                self.refused.update({position: reason for position, reason in refused if reason is not None})
            if has_files(b"".join(payloads)):
                self._read_files(positions, inputs, payloads)
            self.source.keep(payloads)
            yield positions, inputs, payloads
        if first is not None:
            position, problem = first
            more = f" ({count} rows have such a problem: preview() lists them)" if count > 1 else ""
            also = "" if source_file.of(self.frame) is not None else f" (position {position})"
            msg = f"{source_file.place(self.frame, position)}{also}, {problem}{more}"
            raise InputError(msg) from problem.cause

    def _read_files(self, positions: Sequence[int], inputs: Sequence[Row], payloads: Sequence[bytes]) -> None:
        """Note the files of a chunk's rows, and refuse rows with a file that cannot be used."""
        for position, row, payload in zip(positions, inputs, payloads, strict=True):
            self.digests.update(dict.fromkeys(references(payload)))
            problem = file_problem(row) if has_unusable_file(payload) else None
            if problem is not None:
                self.refused[position] = str(problem)

    def with_checksums(self) -> Iterator[tuple[list[int], Sequence[Row], list[bytes]]]:
        """Read every row once, as `checked` does, and record its checksum."""
        del self.checksums[:]
        for chunk in self.checked():
            self.checksums.extend(checksums(chunk[1], chunk[2]))
            yield chunk

    def fingerprints(self) -> Fingerprints:
        """Read every row once, and return the fingerprints of those that the schema does not reject."""
        contents: list[bytes] = []
        for positions, inputs, payloads in self.checked():
            pairs = zip(positions, fingerprints(inputs, payloads), strict=True)
            contents.append(b"".join([content for position, content in pairs if position not in self.refused]))
        return pack(b"".join(contents))

    def chunks(self, labels: Labels, digests: Digests | None, hints: RowHints) -> Iterator[RowChunk]:
        """Read every row once, as the journal records it.

        Raises
        ------
        InputError
            As `checked`.
        """
        for positions, inputs, payloads in self.with_checksums():
            contents = fingerprints(inputs, payloads)
            row_digests = contents if digests is None else digests(positions)
            yield RowChunk(row_digests, contents, labels(positions), payloads, hints(positions))

    def batches(self, *, without: Container[int]) -> Iterator[Batch]:
        """Yield the batches of all other rows, built lazily."""
        return batched(self.source.payloads(without=without))

    def inputs(self, wanted: Container[int]) -> Iterator[Row]:
        """Yield the inputs of these rows that are valid."""
        for positions, rows in self.source.rows():
            for position, row in zip(positions, rows, strict=True):
                if position in wanted and not isinstance(row, Problem):
                    yield row

    def spec(self) -> dict[str, Json] | None:
        """Return the mapping as JSON; None for functions and labels that are not strings."""
        return None if callable(self.fields) else to_spec(self.fields)

    def pinned_spec(self) -> dict[str, Json] | None:
        """Return the mapping as a run stores it."""
        return as_pinned(self.spec())


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # the name is too long or has a NUL, or the user has no home
        return False


def _check(schema: Any) -> Check | None:
    if schema is None:
        return None
    try:
        return compile_check(schema)
    except SchemaError as exc:
        logger.warning("the workflow's input schema cannot be used, so inputs are not checked against it: %s", exc)
        return None
