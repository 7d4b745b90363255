"""The namespace of a Polars DataFrame."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

import eachlabs_frames as ef
import eachlabs_frames.polars
from eachlabs_frames.models import COLUMNS
from eachlabs_frames.sandbox import Sandbox

TYPES = {
    "started_at": pl.Datetime("ns", "UTC"),
    "completed_at": pl.Datetime("ns", "UTC"),
    "cost": pl.Float64(),
}


def prompts(*texts: str, **columns: Any) -> Any:
    """Return a frame; its type has no attribute `eachlabs`, which is registered."""
    return pl.DataFrame({"prompt": list(texts), **columns})


def test_a_frame_is_triggered_waited_for_and_summed_up(sandbox: Sandbox) -> None:
    """Without attrs: the workflow is found by bulk_id in the journal."""
    frame = prompts("a", "b", extra=[{"x": [1]}, None]).with_columns(pl.col("prompt").cast(pl.Categorical).alias("c"))
    out = frame.eachlabs.bulk_trigger("wf_abc123", ["prompt"], progress=False)
    assert out.select(frame.columns).equals(frame)
    assert out.schema == {**frame.schema, **{name: TYPES.get(name, pl.String()) for name in COLUMNS}}
    out = out.eachlabs.refresh().eachlabs.wait(progress=False)
    assert out["status"].to_list() == ["completed"] * 2
    summary = out.eachlabs.summary()
    assert summary.select("total", "completed", "cost").rows() == [(2, 2, 0.02)]
    assert out.eachlabs.bill()["executions"].to_list() == [2]
    assert out.eachlabs.retry_failed(progress=False).equals(out)
    assert out.eachlabs.bulk_trigger("wf_abc123", ["prompt"], progress=False).equals(out)
    assert len(sandbox.accepted) == 2


def test_integers_beside_missing_values_stay_exact(sandbox: Sandbox) -> None:
    """`to_pandas` of Polars would make them floats."""
    frame = prompts("a", "b", seed=[2**53 + 1, None])
    payloads = frame.eachlabs.preview()["payload"].to_list()
    assert payloads == ['{"prompt":"a","seed":9007199254740993}', '{"prompt":"b"}']
    frame.eachlabs.bulk_trigger("wf_abc123", progress=False)
    assert sorted(execution.inputs.get("seed", 0) for execution in sandbox.accepted) == [0, 2**53 + 1]


def test_outputs_are_json_text_and_are_split_all_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    """A list of URLs is text in the frame, and an item for each in `outputs` and `download`."""
    frame = prompts("a", "b", num_images=[2, 1])
    out = frame.eachlabs.bulk_trigger("wf_images", wait=True, progress=False)
    assert out["output"].str.starts_with('["http').all()
    items = out.eachlabs.outputs()
    assert items.select("row", "n", "kind").rows() == [(0, 0, "image"), (0, 1, "image"), (1, 0, "image")]
    paths = out.eachlabs.download(tmp_path, allow_private=True, progress=False)
    assert paths["path_error"].null_count() == 2
    assert paths.drop("path", "path_error").equals(out)
    assert [name.suffix for name in sorted(tmp_path.glob("*-*"))] == [".png"] * 3
    assert out.eachlabs.to_pandas()["output"].map(len).tolist() == [2, 1]


def test_python_objects_are_read_as_they_are(sandbox: Sandbox) -> None:
    """Images in a column of dtype Object are files, in Polars too, and stay in the result."""
    images = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frame = pl.DataFrame({"image": pl.Series(images, dtype=pl.Object)})
    for columns in ({}, {"prompt": ["a", "b"]}):
        payloads = frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
        made = payloads.eachlabs.preview(inputs={"image_url": "image"})  # type: ignore[attr-defined]  # it is registered
        assert made["problem"].null_count() == 2
        assert made["payload"].str.contains("png").all()
    out = prompts("a", "b", image=frame["image"]).eachlabs.bulk_trigger("wf_abc123", ["prompt"], progress=False)
    assert out["image"].to_list() == images


def test_what_cannot_be_done_with_polars_is_refused(sandbox: Sandbox) -> None:
    """Nothing is sent."""
    frame = prompts("a")
    with pytest.raises(ef.ConfigurationError, match="never changed"):
        frame.eachlabs.bulk_trigger("wf_abc123", inplace=True)
    with pytest.raises(ef.FrameTypeError, match=r"use lf\.collect\(\)\.eachlabs"):
        frame.lazy().eachlabs.bulk_trigger("wf_abc123")
    with pytest.raises(ef.FrameTypeError, match=r"series\.to_frame"):
        frame["prompt"].eachlabs.bulk_trigger("wf_abc123")
    with pytest.raises(TypeError, match="did you mean 'timeout'"):
        frame.eachlabs.wait(timout=1)
    with pytest.raises(ef.ColumnError, match="call bulk_trigger first"):
        frame.eachlabs.refresh()
    with pytest.raises(ef.InputError, match="row 1"):
        prompts("a", "b", seed=[1.0, float("inf")]).eachlabs.bulk_trigger("wf_abc123")
    assert not sandbox.accepted


def test_the_signatures_are_those_of_the_pandas_accessor() -> None:
    """An editor completes keywords; `inplace` is not among them."""
    signature = inspect.signature(eachlabs_frames.polars.EachlabsNamespace.bulk_trigger)
    assert {"run", "key", "wait", "progress"} < set(signature.parameters)
    assert "inplace" not in signature.parameters
