"""Checks a call that triggers a frame which already holds a result, and finds its edited rows.

A result frame behaves as its run does: rows whose input is unchanged are left alone, edited rows are sent as new rows,
and a call of another kind (workflow, version, mapping) is refused. It reads the frame, and sends nothing.
"""

from __future__ import annotations

import logging

import numpy as np

from ..errors import ColumnError, JournalError, MappingError
from ..inputs.mapping import Fields, File, RowFunction
from ..inputs.mapping_spec import as_pinned, from_spec, to_spec
from ..journal import open_journal
from ..models import Json
from ..results import Results
from ..settings import Settings
from . import columns, sent_inputs
from .columns import ResultMeta
from .options import TriggerOptions
from .rows import Positions
from .table import Frame

logger = logging.getLogger("eachlabs_frames")


def check_prefix(frame: Frame, workflow_id: str, options: TriggerOptions) -> None:
    """Refuse a call without the prefix of the result, which would pay for its rows once more under other names.

    Raises
    ------
    ColumnError
        The frame's latest result is of this workflow, with a prefix.
    """
    latest = columns.read_meta(frame)
    if latest is None or options.prefix or options.retrigger or not latest.prefix:
        return
    if latest.workflow_id == workflow_id and columns.is_result(frame, latest.prefix):
        msg = (
            f"the frame holds results of {workflow_id!r} with prefix={latest.prefix!r}: pass that prefix= to continue "
            f"with them, or retrigger=True to pay for every row again"
        )
        raise ColumnError(msg)


def check_run(before: str | None, options: TriggerOptions, results: Results) -> None:
    """Refuse a call that names another run than the frame's, which would pay for every row once more.

    Raises
    ------
    ColumnError
        The frame has executions of another run.
    """
    named = options.run
    if named in (None, before) or before is None or not results.accepted or options.retrigger:
        return
    msg = (
        f"the frame holds results of run {before!r}, not of {named!r}: continue with run={before!r}, pass prefix= to "
        f"keep both, or retrigger=True to pay for every row again"
    )
    raise ColumnError(msg)


def check_workflow(before: ResultMeta | None, workflow_id: str, results: Results) -> None:
    """Refuse another workflow than that of the frame's executions.

    Raises
    ------
    ColumnError
        The frame has executions of another workflow.
    """
    other = None if before is None else before.workflow_id
    if other not in (None, workflow_id) and results.accepted:
        msg = (
            f"the frame holds results of workflow {other!r}: pass prefix= to keep them "
            "beside the new ones, or retrigger=True to overwrite them"
        )
        raise ColumnError(msg)


def check_kind(
    before: ResultMeta | None,
    options: TriggerOptions,
    fields: Fields | RowFunction | None,
    results: Results,
    settings: Settings,
) -> None:
    """Refuse another version, mapping or `na` than those of the frame's executions. A named run checks that itself.

    Raises
    ------
    ColumnError
        The frame has executions that were made differently.
    """
    if before is None or options.run is not None or options.retrigger or not results.accepted:
        return
    differs = []
    if before.version_id is not None and options.version_id not in (None, before.version_id):
        differs.append(f"version_id is {options.version_id!r}, and was {before.version_id!r}")
    if before.na != options.na:
        differs.append(f"na is {options.na!r}, and was {before.na!r}")
    if before.inputs is not None and fields is not None:
        spec = None if callable(fields) else as_pinned(to_spec(fields))
        if spec != as_pinned(before.inputs) and not _is_pinned(spec, before, settings):
            differs.append(f"inputs is {spec or fields!r}, and was {before.inputs!r}")
    if differs:
        raise ColumnError(made_differently("; ".join(differs)))


def made_differently(differs: str) -> str:
    """Return the error message for a result that was made differently."""
    return (
        f"the frame holds results that were made differently: {differs}. Make the same call as before, pass prefix= "
        f"to keep both, or retrigger=True to pay for every row again"
    )


def _is_pinned(spec: dict[str, Json] | None, before: ResultMeta, settings: Settings) -> bool:
    """Return whether the frame's run was made with this mapping: frames of `load_run` have a column for each key."""
    if before.run is None:
        return False
    try:
        run_spec = open_journal(settings.journal).spec_of(before.run)
    except JournalError as exc:
        logger.warning("how run %s was made cannot be read from the journal: %s", before.run, exc)
        return False
    return run_spec is not None and run_spec.inputs == spec


def edited_rows(
    frame: Frame,
    before: ResultMeta,
    options: TriggerOptions,
    fields: Fields | RowFunction | None,
    results: Results,
) -> Positions:
    """Return the rows of a result whose input was edited since they were sent, as far as the frame records it.

    Raises
    ------
    ColumnError
        The mapping is a function, and returns another input for every row: it is another function, or is not
        deterministic.
    """
    if fields is None and before.inputs is None and sent_inputs.of(frame, options.prefix):
        logger.warning("rows that were edited cannot be found without the function that made inputs: pass inputs=")
    # The recorded mapping has the types of the schema, which that of the call does not have yet.
    given = None if fields is None or callable(fields) else fields
    if fields is None or (given is not None and as_pinned(to_spec(given)) == as_pinned(before.inputs)):
        # None if a column of the mapping was dropped; that is an error when rows are sent.
        fields = sent_inputs.fields_of(frame, before)
    if fields is not None and not callable(fields) and given is not None:
        # Files may have moved: they are where the call says.
        fields = {key: given[key] if isinstance(given.get(key), File) else source for key, source in fields.items()}
    if fields is None:
        return np.array([], dtype=np.int64)
    rows = sent_inputs.edited(frame, results, options.prefix, fields, omit=options.na == "omit")
    if not len(rows):
        return rows
    if before.inputs is None and len(rows) == sum(sent_inputs.is_sent(results, row) for row in range(results.size)):
        differs = f"none of the {len(rows)} rows that were sent still has the input that it was sent with"
        raise ColumnError(made_differently(differs))
    logger.warning("%d row(s) were edited after they were sent: they are sent and paid for as new rows", len(rows))
    return rows


def remembered(before: ResultMeta) -> Fields:
    """Return the mapping that a result was made with, for sending its other rows in the same way.

    Raises
    ------
    MappingError
        The frame records none: it was a function.
    """
    if before.inputs is None:
        msg = (
            "the frame does not record how its inputs were made (functions, and labels that are not strings, are not "
            "recorded): pass inputs="
        )
        raise MappingError(msg)
    return from_spec(before.inputs)
