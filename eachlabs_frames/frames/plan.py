"""A call's ``inputs=`` and a workflow's schema -> the inputs of a frame's rows, checked before a row is sent."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..core.batches import batched
from ..core.inputs import Problem
from ..core.mapping import Fields, RowFunction, resolve, to_spec
from ..core.schema import Check, SchemaError, compile_check, integer_keys
from ..errors import ConfigurationError, InputError
from ..models import Batch, Json, Workflow
from . import results as columns
from .cells import FrameInputs

logger = logging.getLogger("eachlabs_frames")

Positions = np.ndarray[Any, np.dtype[np.int64]]


def check_na(na: object) -> bool:
    """Return whether a missing value leaves its key out.

    Raises
    ------
    ConfigurationError
        Neither "omit" nor "null".
    """
    if na not in ("omit", "null"):
        msg = f"na must be 'omit' (leave the key out) or 'null'; got {na!r}"
        raise ConfigurationError(msg)
    return na == "omit"


def read_inputs(frame: pd.DataFrame, inputs: object, schema: Any, prefix: str) -> Fields | RowFunction:
    """Return what fills each key, from ``inputs=`` as the user wrote it."""
    if isinstance(inputs, pd.Index | np.ndarray):
        inputs = inputs.tolist()
    return resolve(inputs, list(frame.columns), schema, ours=columns.labels(frame, prefix))


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of a frame that a run is about, and what each becomes."""

    frame: pd.DataFrame
    positions: Positions
    fields: Fields | RowFunction
    source: FrameInputs
    check: Check | None

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        positions: Positions,
        fields: Fields | RowFunction,
        *,
        workflow: Workflow | None,
        omit: bool,
        validate: bool,
    ) -> Plan:
        """Make the plan of `positions`; `workflow` is None where nothing is known of it."""
        schema = workflow.input_schema if workflow is not None else None
        source = FrameInputs(frame, positions, fields, omit=omit, integers=integer_keys(schema))
        return cls(frame, positions, fields, source, _check(schema) if validate else None)

    def refused(self) -> dict[int, str]:
        """Read every row once; return the rows that the schema refuses, and why.

        Raises
        ------
        InputError
            A row's values cannot be an input at all.
        """
        by_schema: dict[int, str] = {}
        unfit: list[tuple[int, Problem]] = []
        for position, problem, schema_alone in self.source.check(self.check):
            if schema_alone:
                by_schema[position] = str(problem)
            else:
                unfit.append((position, problem))
        if unfit:
            position, problem = unfit[0]
            more = f" ({len(unfit)} rows have such a problem: preview() lists them)" if len(unfit) > 1 else ""
            msg = f"row {self.frame.index[position]!r} (position {position}), {problem}{more}"
            raise InputError(msg)
        return by_schema

    def batches(self, *, without: Container[int]) -> Iterator[Batch]:
        """Return the batches of all rows but those, made as they are taken."""
        return batched(self.source.payloads(without=without))

    def spec(self) -> dict[str, Json] | None:
        """Return the mapping as JSON, where it can be written down."""
        return None if callable(self.fields) else to_spec(self.fields)


def _check(schema: Any) -> Check | None:
    if schema is None:
        return None
    try:
        return compile_check(schema)
    except SchemaError as exc:
        logger.warning("the workflow's input schema cannot be used, so inputs are left to the API: %s", exc)
        return None
