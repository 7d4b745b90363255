"""Spark's `mapInPandas`: computed again, it sends nothing again; the sandbox's books are the judge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyspark
import pytest
from pyspark.sql import DataFrame, SparkSession

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox

from .conftest import ROWS

WORKFLOW = "wf_abc123"
Recipe = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def spark(account: Sandbox) -> Iterator[SparkSession]:
    """Two threads; a task may fail three times."""
    builder = SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture
def sdf(spark: SparkSession, table: pd.DataFrame) -> DataFrame:
    """The table in three partitions."""
    return spark.createDataFrame(table).repartition(3)


def paid(sandbox: Sandbox) -> Counter[str]:
    """Count the accepted executions of each prompt."""
    return Counter(execution.inputs["prompt"] for execution in sandbox.accepted)


def test_the_recipe_of_the_docs_gives_each_row_its_execution(
    sandbox: Sandbox, sdf: DataFrame, recipe: Recipe, spark: SparkSession
) -> None:
    """The declared schema is the result's, and whatever is computed afterwards sends nothing."""
    out: DataFrame = recipe("Spark", {"spark": spark, "sdf": sdf})["out"]
    assert out.schema == ef.result_schema(sdf.schema, "spark")
    assert out.count() == ROWS
    first = out.toPandas().set_index("id")
    assert sandbox.accepted_count() == ROWS
    assert set(paid(sandbox).values()) == {1}
    again = out.unionByName(out).dropDuplicates(["id"]).repartition(3).toPandas().set_index("id")
    out.limit(5).collect()
    assert sandbox.accepted_count() == ROWS
    assert again["execution_id"].sort_index().tolist() == first["execution_id"].sort_index().tolist()
    of_prompt = {execution.inputs["prompt"]: execution.execution_id for execution in sandbox.accepted}
    assert first["execution_id"].tolist() == first["prompt"].map(of_prompt).tolist()


@pytest.mark.parametrize("ends_by", ["an exception", "a kill"])
def test_a_task_that_dies_after_it_has_sent_is_repeated_without_sending(
    sandbox: Sandbox, sdf: DataFrame, ends_by: str
) -> None:
    """Spark repeats the task of every second partition, and nobody pays twice."""
    run = f"dying by {ends_by}"
    pinned = ef.pin_version(WORKFLOW, run=run)

    def trigger(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        from pyspark import TaskContext

        for frame in frames:
            out = ef.trigger_partition(frame, WORKFLOW, ["prompt"], run=run, key="id", json_output=True, **pinned)
            task = TaskContext.get()
            if task is not None and task.attemptNumber() == 0 and task.partitionId() % 2:
                if ends_by == "a kill":
                    os._exit(9)
                message = "after the partition was sent"
                raise RuntimeError(message)
            yield out

    out = sdf.mapInPandas(trigger, ef.result_schema(sdf.schema, "spark")).toPandas()
    assert len(out) == ROWS
    assert out["execution_id"].notna().all()
    assert sandbox.accepted_count() == ROWS
    assert set(paid(sandbox).values()) == {1}


def test_a_partition_that_differs_pays_only_for_its_new_rows(
    sandbox: Sandbox, sdf: DataFrame, recipe: Recipe, spark: SparkSession
) -> None:
    """The same table with more rows, in other partitions, under the same run."""
    names = {"spark": spark, "sdf": sdf}
    recipe("Spark", names)["out"].collect()
    more = spark.createDataFrame([(ROWS, "one more")], sdf.schema)
    out = recipe("Spark", {"spark": spark, "sdf": sdf.unionByName(more).repartition(7)})["out"]
    assert out.count() == ROWS + 1
    assert sandbox.accepted_count() == ROWS + 1


def test_a_row_number_that_spark_assigns_is_seen_when_it_moves(sandbox: Sandbox, sdf: DataFrame) -> None:
    """`monotonically_increasing_id` changes with the partitions: a key with another input is refused, not paid."""
    from pyspark.sql.functions import monotonically_increasing_id

    def send(frame: DataFrame) -> int:
        numbered = frame.select("prompt", monotonically_increasing_id().alias("number"))

        def trigger(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            for part in frames:
                yield ef.trigger_partition(part, WORKFLOW, ["prompt"], run="moving", key="number", json_output=True)

        return numbered.mapInPandas(trigger, ef.result_schema(numbered.schema, "spark")).count()

    assert send(sdf.orderBy("id").coalesce(1)) == ROWS
    with pytest.raises(pyspark.errors.PySparkException, match="InputError"):
        send(sdf.orderBy(sdf.id.desc()).coalesce(1))
    assert sandbox.accepted_count() == ROWS


def test_a_worker_without_the_key_says_where_to_set_it(
    sandbox: Sandbox, sdf: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the driver gives to `configure` stays in the driver."""

    def trigger(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        os.environ.pop("EACHLABS_API_KEY", None)
        for frame in frames:
            yield ef.trigger_partition(frame, WORKFLOW, ["prompt"], run="no key", key="id", json_output=True)

    with pytest.raises(pyspark.errors.PySparkException, match="set EACHLABS_API_KEY in the environment of each worker"):
        sdf.mapInPandas(trigger, ef.result_schema(sdf.schema, "spark")).count()
    assert sandbox.accepted_count() == 0
