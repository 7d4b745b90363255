"""PyArrow and Polars frames as partitions: the same kind comes back, and no value is changed on the way."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import eachlabs_frames as ef
from eachlabs_frames.errors import Interrupted
from eachlabs_frames.frames import arrow
from eachlabs_frames.models import COLUMNS
from eachlabs_frames.sandbox import Sandbox

LARGE = 2**53 + 1

TABLE = pa.table(
    {
        "id": [LARGE, LARGE - 1, 3],
        "prompt": ["a", "b", "c"],
        "seed": [LARGE, None, 5],
        "day": [dt.date(2026, 12, 1), None, dt.date(1969, 1, 1)],
        "numbers": [[1, None, LARGE], None, []],
        "settings": [{"x": LARGE, "y": None}, {"x": None, "y": 0.5}, {"x": 1, "y": 2.5}],
        "amount": [Decimal("1.50"), None, Decimal("0.01")],
        "style": pa.array(["noir", None, "noir"]).dictionary_encode(),
    }
)
KINDS = {"table": TABLE, "batch": TABLE.to_batches()[0], "polars": pl.DataFrame(TABLE)}


def trigger(frame: Any, inputs: Any = ("prompt",), **options: Any) -> Any:
    """Trigger a partition of the run "sweep-7"."""
    return ef.trigger_partition(frame, "wf_abc123", inputs, **{"run": "sweep-7", "key": "id"} | options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_kind_comes_back_with_the_types_of_result_schema(sandbox: Sandbox, kind: str) -> None:
    """Also of a frame without rows, of one row, and of a result that is triggered again, which sends nothing."""
    frame = KINDS[kind]
    schema = ef.result_schema(frame, "arrow")
    out = trigger(frame, wait=True)
    for result in (out, trigger(frame[:1]), trigger(frame[:0]), trigger(out)):
        assert type(result) is type(frame)
        if kind == "polars":
            assert result.schema == pl.DataFrame(schema.empty_table()).schema
        else:
            assert result.schema.equals(schema)
    assert len(sandbox.accepted) == 3
    assert trigger(out).equals(out)
    own = out.select(frame.columns if kind == "polars" else frame.schema.names)
    assert own.equals(frame)


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_is_sent_exactly(sandbox: Sandbox, kind: str) -> None:
    """Integers above 2**53, also beside missing values and in lists; dates, decimals, categories and objects."""
    names = ["prompt", "seed", "day", "numbers", "settings", "amount", "style"]
    trigger(KINDS[kind], lambda row: {"prompt": row["prompt"], "options": {name: row[name] for name in names[1:]}})
    sent = [execution.inputs["options"] for execution in sandbox.accepted]
    assert sent[0] == {
        "seed": LARGE,
        "day": "2026-12-01",
        "numbers": [1, None, LARGE],
        "settings": {"x": LARGE},
        "amount": 1.5,
        "style": "noir",
    }
    assert sent[1] == {"settings": {"y": 0.5}}
    assert sent[2]["day"] == "1969-01-01"
    assert type(sent[2]["seed"]) is int


def test_rows_of_any_kind_are_the_same_rows(sandbox: Sandbox) -> None:
    """A table in Arrow, Polars and pandas has the same keys and inputs, so that it is sent once."""
    frames = [*KINDS.values(), TABLE.select(["id", "prompt"]).to_pandas()]
    ids = [list(map(str, trigger(frame)["execution_id"])) for frame in frames]
    assert all(of_one == ids[0] for of_one in ids)
    assert len(sandbox.accepted) == 3


def test_an_output_that_is_not_text_is_json_text() -> None:
    """Text stays as it is; missing values are null, also costs and times."""
    out = pd.DataFrame(index=range(3))
    values = {"output": [["u"], "plain", None], "status": ["completed"] * 3, "cost": [0.5, float("nan"), 1.0]}
    for name, kind in COLUMNS.items():
        dtype: Any = {"text": "string", "number": "float64", "json": object}.get(kind, "datetime64[ns, UTC]")
        out[name] = pd.Series(values.get(name, [None] * 3), dtype=dtype)
    made = arrow.call_like(pa.table({"x": [1, 2, 3]}), lambda _: out)
    assert made["output"].to_pylist() == ['["u"]', "plain", None]
    assert made["cost"].to_pylist() == [0.5, None, 1.0]
    assert made["started_at"].null_count == 3
    assert arrow.outputs_from_text(made.to_pandas(), "")["output"].tolist()[:2] == [["u"], "plain"]
    texts = arrow.call_like(pd.DataFrame({"x": [1]}), lambda _: out, json_output=True)["output"]
    assert texts.dtype == "string"
    assert texts.tolist() == ['["u"]', "plain", pd.NA]


def test_the_frame_of_an_exception_is_of_the_same_kind() -> None:
    """A call that is interrupted carries what it has in a frame as it was given."""

    def interrupted(frame: pd.DataFrame) -> pd.DataFrame:
        msg = "interrupted"
        raise Interrupted(msg, ef.result_schema(frame), "run")

    with pytest.raises(Interrupted) as caught:
        arrow.call_like(pl.DataFrame({"x": [1]}).clear(), interrupted)
    assert isinstance(caught.value.frame, pl.DataFrame)
    assert caught.value.frame.columns == ["x", *COLUMNS]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pl.LazyFrame({"id": [1]}), r"LazyFrame: call collect\(\) first"),
        ([1], "got builtins.list"),
        (pl.Series([1]), "Series"),
        (pa.array([1]), "Array"),
    ],
)
def test_what_is_no_frame_is_refused_with_a_sentence(sandbox: Sandbox, frame: Any, reason: str) -> None:
    """A lazy frame would be sent again each time that it is collected."""
    with pytest.raises(ef.FrameTypeError, match=reason):
        trigger(frame)
    assert not sandbox.requests


def test_columns_of_pandas_metadata_are_columns(sandbox: Sandbox) -> None:
    """The index of a pandas frame is a column in Arrow, so it can be the key."""
    table = pa.Table.from_pandas(pd.DataFrame({"prompt": ["a"]}, index=pd.Index([7], name="id")))
    assert trigger(table).column_names == ["prompt", "id", *COLUMNS]
    assert ef.load_run("sweep-7")["id"].tolist() == [7]


def test_a_column_with_the_name_of_a_result_column_is_refused(sandbox: Sandbox) -> None:
    """A prefix avoids it, and result_schema says so beforehand."""
    table = TABLE.select(["id", "prompt"]).append_column("status", pa.array(["x"] * 3))
    with pytest.raises(ef.ColumnError, match="prefix='eachlabs_'"):
        trigger(table)
    assert trigger(table, prefix="e_").schema.equals(ef.result_schema(table, "arrow", prefix="e_"))


class StructType:
    """As `pyspark.sql.types.StructType`, of which only this is needed."""

    def __init__(self, fields: list[Any]) -> None:
        self.fields = list(fields)

    def add(self, name: str, type_: str) -> StructType:
        """Append a field."""
        return StructType([*self.fields, (name, type_)])


def test_result_schema_for_spark() -> None:
    """Of a StructType a StructType, and of DDL DDL; PySpark is not imported."""
    expected = ["string"] * 4 + ["timestamp"] * 2 + ["string", "double"]
    out = ef.result_schema(StructType([]), "spark", prefix="e_")
    assert out.fields == [(f"e_{name}", type_) for name, type_ in zip(COLUMNS, expected, strict=True)]
    assert ef.result_schema("id bigint", "spark").startswith("id bigint, `bulk_id` string, `execution_id` string")
    with pytest.raises(ef.FrameTypeError, match=r"pass sdf\.schema"):
        ef.result_schema(TABLE, "spark")
    with pytest.raises(ef.ConfigurationError, match="'pandas', 'arrow' or 'spark'"):
        ef.result_schema(TABLE, "duckdb")
    with pytest.raises(ef.FrameTypeError, match="needs a pandas DataFrame"):
        ef.result_schema(TABLE)
    assert ef.result_schema(pd.DataFrame({"x": [1]}), "arrow").names == ["x", *COLUMNS]
    assert ef.result_schema(TABLE.schema, "arrow").names == [*TABLE.schema.names, *COLUMNS]
