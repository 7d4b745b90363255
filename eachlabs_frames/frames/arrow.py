"""Reads PyArrow and Polars frames, and gives them result columns: the user's columns stay as they are.

Such a frame is read as a pandas frame with Arrow's types, in which integers beside missing values and above 2**53 stay
exact, and dates stay dates. pyarrow is imported when a frame needs it, and Polars never.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
import pandas as pd

from ..errors import ConfigurationError, FrameTypeError, attach_frame
from ..models import COLUMNS, ColumnKind, Json
from ..results import Results
from . import columns
from .table import Frame

_LAZY: Final = "call collect() first: a lazy frame is computed, and would be sent, each time that it is collected"
_SPARK_TYPES: Final[dict[ColumnKind, str]] = {"time": "timestamp", "number": "double"}


def call_like(frame: Any, function: Callable[[Frame], Frame], *, json_output: bool = False) -> Any:
    """Call a function of pandas frames on any kind of frame.

    Parameters
    ----------
    frame : pandas.DataFrame, pyarrow.Table, pyarrow.RecordBatch or polars.DataFrame
    function : callable
        Returns a result.
    json_output : bool
        Whether the outputs in a pandas frame become text too.

    Returns
    -------
    object
        A frame of the same kind: `frame`'s own columns, and the result columns that the function has written. The
        frame of an exception becomes one of that kind too.

    Raises
    ------
    FrameTypeError
        It is no such frame.
    """
    try:
        out = function(to_pandas(frame))
    except BaseException as exc:
        partial = getattr(exc, "frame", None)
        if isinstance(partial, Frame):
            attach_frame(exc, _like(frame, partial, json_output=json_output))
        raise
    return _like(frame, out, json_output=json_output)


def to_pandas(frame: Any) -> Frame:
    """Return a frame as a pandas frame: itself, or one with Arrow's types, and positions as its index.

    Raises
    ------
    FrameTypeError
        It is no pandas, PyArrow or Polars frame.
    ConfigurationError
        pyarrow is not installed.
    """
    if isinstance(frame, Frame):
        return frame
    kind = _kind(frame)
    if kind is None:
        msg = f"a frame must be a pandas or Polars DataFrame, or a PyArrow Table or RecordBatch; got {_name(frame)}"
        raise FrameTypeError(msg if not _name(frame).endswith("LazyFrame") else f"{msg}: {_LAZY}")
    _pyarrow()
    return _from_polars(frame) if kind == "polars" else _from_arrow(frame)


def _from_arrow(table: Any) -> Frame:
    # Metadata that pandas has written would make columns the index, which is then no column for `inputs=` and `key=`.
    out: Frame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return out


def _from_polars(frame: Any) -> Frame:
    # Arrow would have the addresses of Python objects, such as images, instead of them.
    objects = [name for name, dtype in frame.schema.items() if str(dtype) == "Object"]
    if not objects:
        return _from_arrow(frame.to_arrow())
    out: Frame = _from_arrow(frame.drop(objects).to_arrow()).reindex(range(frame.height))
    for place, name in enumerate(frame.columns):
        if name in objects:
            out.insert(place, name, pd.Series(frame[name].to_list(), index=out.index, dtype=object))
    return out


def to_table(frame: Frame) -> Any:
    """Return a table of this package, such as a summary, as a `pyarrow.Table` without its index; objects as JSON."""
    return _pyarrow().table({str(name): _array(frame[name]) for name in frame.columns})


def outputs_from_text(frame: Frame, prefix: str) -> Frame:
    """Return a result whose outputs are lists and objects again where they are the JSON of one."""
    columns.require_result(frame, prefix)
    cells = [_from_text(cell) for cell in frame[f"{prefix}output"].astype(object).tolist()]
    out: Frame = frame.copy(deep=False)
    columns.put(out, f"{prefix}output", pd.Series(cells, index=out.index, dtype=object))
    return out


def _like(frame: Any, out: Frame, *, json_output: bool) -> Any:
    """Return `frame` with the result columns of `out`."""
    meta = columns.read_meta(out)
    prefix = "" if meta is None else meta.prefix
    if isinstance(frame, Frame):
        return _with_json(out, prefix) if json_output else out
    pa = _pyarrow()
    made = {prefix + name: _array(out[prefix + name], kind) for name, kind in COLUMNS.items()}
    if _kind(frame) == "polars":
        return frame.with_columns(type(frame)(pa.table(made)).get_columns())
    names = frame.schema.names
    arrays = [made.get(name, array) for name, array in zip(names, frame.columns, strict=True)]
    arrays += [array for name, array in made.items() if name not in names]
    return (pa.Table if isinstance(frame, pa.Table) else pa.RecordBatch).from_arrays(
        arrays, schema=arrow_schema(frame.schema, prefix)
    )


def arrow_schema(frame: Any, prefix: str) -> Any:
    """Return the `pyarrow.Schema` of a result.

    Parameters
    ----------
    frame : pyarrow.Schema, or any kind of frame
    prefix : str

    Raises
    ------
    FrameTypeError
        It is neither.
    """
    pa = _pyarrow()
    if isinstance(frame, Frame):
        schema = pa.Schema.from_pandas(frame, preserve_index=False)
    elif isinstance(frame, pa.Schema):
        schema = frame
    else:
        to_pandas(frame[:0])  # refuses what is no frame
        schema = frame[:0].to_arrow().schema if _kind(frame) == "polars" else frame.schema
    for name, kind in COLUMNS.items():
        field = pa.field(prefix + name, _arrow_type(kind))
        place = schema.get_field_index(field.name)
        schema = schema.append(field) if place < 0 else schema.set(place, field)
    return schema


def spark_schema(schema: Any, prefix: str) -> Any:
    """Return the schema of a result in Spark: a StructType for a StructType, and DDL for DDL.

    Raises
    ------
    FrameTypeError
        `schema` is neither.
    """
    types = {prefix + name: _SPARK_TYPES.get(kind, "string") for name, kind in COLUMNS.items()}
    if isinstance(schema, str):
        return ", ".join([schema, *(f"`{name}` {type_}" for name, type_ in types.items())])
    if type(schema).__name__ != "StructType":
        msg = f'pass sdf.schema, or its DDL, as in "id bigint, prompt string"; got {_name(schema)}'
        raise FrameTypeError(msg)
    out = type(schema)([field for field in schema.fields if field.name not in types])
    for name, type_ in types.items():
        out = out.add(name, type_)
    return out


def pandas_schema(frame: Frame, prefix: str, *, json_output: bool) -> Frame:
    """Return a result without rows.

    Raises
    ------
    FrameTypeError
        `frame` is no pandas frame.
    """
    if not isinstance(frame, Frame):
        msg = f'result_schema(frame, "pandas") needs a pandas DataFrame; got {_name(frame)}'
        raise FrameTypeError(msg)
    columns.check_columns(frame, prefix)
    out = columns.write(columns.snapshot(frame.iloc[:0]), Results(0), prefix)
    return _with_json(out, prefix) if json_output else out


def _with_json(out: Frame, prefix: str) -> Frame:
    cells = [_as_text(cell) for cell in out[f"{prefix}output"].tolist()]
    columns.put(out, f"{prefix}output", pd.array(cells, dtype="string"))
    return out


def _array(column: Any, kind: ColumnKind | None = None) -> Any:
    """Return a column as an Arrow array: of the type of a result column, or of its own; objects as JSON text."""
    is_object = column.dtype.kind == "O" and kind != "time"
    if kind is None and not is_object:
        return _pyarrow().Array.from_pandas(column)
    cells = column.astype(object).where(column.notna(), None).tolist()
    return _pyarrow().array(map(_as_text, cells) if is_object else cells, type=_arrow_type(kind or "text"))


def _as_text(cell: Json) -> str | None:
    """Return an output as text: text as it is, anything else as JSON."""
    return cell if cell is None or isinstance(cell, str) else orjson.dumps(cell).decode()


def _from_text(cell: Any) -> Json:
    if not isinstance(cell, str) or not cell.startswith(("[", "{")):
        return cell
    try:
        return orjson.loads(cell)
    except ValueError:
        return cell


def _arrow_type(kind: ColumnKind) -> Any:
    pa = _pyarrow()
    return {"time": pa.timestamp("ns", tz="UTC"), "number": pa.float64()}.get(kind, pa.string())


def _kind(frame: Any) -> str | None:
    library, _, name = _name(frame).rpartition(".")
    kind = {"pyarrow": "arrow", "polars": "polars"}.get(library.partition(".")[0])
    return kind if name in ("Table", "RecordBatch", "DataFrame") else None


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def empty_of_parquet(path: Path) -> pd.DataFrame:
    """Return a frame without rows that has the columns and the index of a Parquet file; read its footer alone."""
    import pyarrow.parquet as pq

    frame: pd.DataFrame = pq.read_schema(path).empty_table().to_pandas()
    return frame


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as exc:
        msg = "Arrow and Polars frames need pyarrow: pip install 'eachlabs-frames[parquet]', or [polars] for Polars too"
        raise ConfigurationError(msg) from exc
    return pa
