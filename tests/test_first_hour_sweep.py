"""Tests a first session with a sweep from preview to comparison, including the messages for common mistakes.

The steps run in order in an empty folder against the sandbox; each message is checked as a whole or by its key parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox

WF = "wf_abc123"
PROMPTS = ["a fox at dawn", "a heron in the reeds"]
STYLES = ["photo", "linocut"]
SEEDS = range(6)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Change to an empty folder and start a sandbox whose executions complete at once."""
    monkeypatch.chdir(tmp_path)
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        yield sandbox


def grid(**axes: Any) -> pd.DataFrame:
    """Return the sweep of 24 rows, with some axes replaced."""
    return ef.sweep(**({"prompt": PROMPTS, "style": STYLES, "seed": SEEDS} | axes))


def shown(frame: pd.DataFrame) -> str:
    """Return the text of a frame's HTML representation in a notebook."""
    html = frame._repr_html_()
    assert isinstance(html, str)
    return re.sub(r"\s*<[^>]+>\s*", " ", html)


def test_first_session_with_a_sweep(fresh: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Mistakes cost nothing; then a cost limit, a run, its results, downloads and a comparison with a second run."""
    check_preview()
    assert fresh.accepted_count() == 0
    out = check_cost_limit(fresh)
    assert fresh.accepted_count() == 24
    check_stored_runs(out)
    check_results(out)
    check_downloads(out)
    check_comparison(out)
    assert fresh.accepted_count() == 48
    assert [record.message for record in caplog.records if "did you mean" in record.message] == []


def check_preview() -> None:
    """Check the messages for misspelt axes and columns, and the preview of the correct sweep."""
    with pytest.raises(ef.ConfigurationError, match=r"'sampel' \(did you mean 'sample'\?\) is one value"):
        grid(sampel=3)
    misspelt = ef.sweep(prompt=PROMPTS, styel=STYLES, seed=range(-1, 2))
    preview = misspelt.eachlabs.preview(WF)
    assert preview.attrs["eachlabs_notes"] == [
        "'styel' is not sent; did you mean 'style'?",
        "4 rows have a problem: seed: -1 is less than the minimum of 0, as in row 0",
    ]
    assert preview["problem"].notna().sum() == 4
    assert all("style" not in payload for payload in preview["payload"])
    assert "seed: -1 is less than the minimum of 0" in shown(preview)
    with pytest.raises(ef.MappingError, match=r"pass the dict without the list, as in inputs=\{'key': 'column'\}"):
        misspelt.eachlabs.preview(WF, inputs=[{"prompt": "prompt", "style": "styel"}])
    with pytest.raises(ef.MappingError, match=r"the frame has no column 'style' \(did you mean 'styel'\?\)"):
        misspelt.eachlabs.preview(WF, inputs={"prompt": "prompt", "style": "style"})
    fixed = grid().eachlabs.preview(WF)
    assert fixed["problem"].isna().all()
    assert "eachlabs_notes" not in fixed.attrs
    assert fixed.attrs["eachlabs_preview"]["rows"] == 24
    picture = Path("reference.png")
    picture.write_bytes(b"\x89PNG")
    for cell in (str(picture), str(picture.absolute())):
        with pytest.raises(ef.InputError, match=r"row 0 \(position 0\), .*'image_url': .*to upload it and send"):
            grid().assign(image_url=[cell] * 24).eachlabs.bulk_trigger(WF)


def check_cost_limit(sandbox: Sandbox) -> pd.DataFrame:
    """Check that `max_cost` stops a run, and that a higher limit pays only for the remaining rows."""
    capped = grid().eachlabs.bulk_trigger(WF, run="first", max_cost=0.15, wait=True)
    assert sandbox.accepted_count() == 15
    assert capped["status"].value_counts().to_dict() == {"completed": 15, "pending": 9}
    assert capped["error"].dropna().str.contains("max_cost=0.15 would be exceeded").all()
    out = grid().eachlabs.bulk_trigger(WF, run="first", max_cost=1.0, wait=True)
    assert out["status"].tolist() == ["completed"] * 24
    assert out.loc[:14, "execution_id"].tolist() == capped.loc[:14, "execution_id"].tolist()
    with pytest.raises(
        ef.RunError, match=r"all 24 rows were accepted before.*nothing was sent\. run='first' continues that run"
    ):
        grid().eachlabs.bulk_trigger(WF)
    return out


def check_stored_runs(out: pd.DataFrame) -> None:
    """Check `runs`, `load_run` and `summary`, and the messages for misspelt workflows and runs."""
    runs = ef.runs()
    first = runs[runs["run"] == "first"].iloc[0]
    assert (first["rows"], first["completed"], first["cost"]) == (24, 24, pytest.approx(0.24))
    assert {"workflow_id", "version_id", "base_url", "invalid"} <= set(runs.columns)
    assert "base_url" not in shown(runs).partition("Columns not shown:")[0]
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", shown(runs))
    with pytest.raises(ef.NotFoundError, match=r"HTTP 404.*\(did you mean 'wf_abc123'\?\)$"):
        grid().eachlabs.preview("wf_abc132")
    with pytest.raises(ef.NotFoundError, match=r"\(did you mean 'wf_abc123'\?\)$"):
        grid().eachlabs.bulk_trigger("wf_abc132")
    with pytest.raises(ef.RunError, match=r"there is no run 'frist' .*\(did you mean 'first'\?\)"):
        ef.load_run("frist")
    assert ef.load_run("first")["execution_id"].tolist() == out["execution_id"].tolist()
    summary = out.eachlabs.summary()
    assert summary["total"].sum() == 24
    assert summary["cost"].sum() == pytest.approx(0.24)
    assert "Columns not shown:" in shown(summary)
    assert "(0 in every row)" in shown(summary)


def check_results(out: pd.DataFrame) -> None:
    """Check `outputs`, `gallery` and `matrix`, and the messages for misspelt columns."""
    lines = out.eachlabs.outputs()
    assert lines["kind"].tolist() == ["image"] * 24
    with pytest.raises(ef.ColumnError, match=r"label='promt': .*\(did you mean 'prompt'\?\)"):
        out.eachlabs.gallery(label="promt")
    with pytest.raises(ef.ColumnError, match=r"rows='promt': the frame has no such column \(did you mean 'prompt'\?\)"):
        out.eachlabs.matrix(rows="promt", columns="style")
    with pytest.raises(ef.ColumnError, match=r"by='sed': .*\(did you mean 'seed'\?\)"):
        out.eachlabs.matrix(rows="prompt", columns="style", by="sed")
    matrix = out.eachlabs.matrix(rows="prompt", columns="style", value="cost", by="seed")
    assert matrix.frame.shape == (2, 12)
    assert matrix.frame.loc["a fox at dawn", ("linocut", 3)] == pytest.approx(0.01)


def check_downloads(out: pd.DataFrame) -> None:
    """Check files named by the sweep's columns, and that a second call downloads nothing."""
    with pytest.raises(ef.MappingError, match=r"uses \{styel\}, which does not exist \(did you mean \{style\}\?\)"):
        out.eachlabs.download("pictures", name="{styel}-{seed}")
    downloaded = out.eachlabs.download("pictures", name="{style}-{seed}-{row}")
    assert downloaded["path_error"].isna().all()
    assert downloaded.loc[0, "path"] == str(Path("pictures", "photo-0-0.svg"))
    files = sorted(file.name for file in Path("pictures").glob("*.svg"))
    assert len(files) == 24
    assert (
        downloaded.eachlabs.download("pictures", name="{style}-{seed}-{row}")["path"].tolist()
        == downloaded["path"].tolist()
    )
    assert sorted(file.name for file in Path("pictures").glob("*.svg")) == files


def check_comparison(out: pd.DataFrame) -> None:
    """Check a comparison with a second run of the same grid that has another setting."""
    other = grid().assign(guidance=7.0).eachlabs.bulk_trigger(WF, run="second", wait=True)
    with pytest.raises(ef.ColumnError, match=r"by= names 'promt'.*no column \(did you mean 'prompt'\?\)"):
        ef.compare(out, other, by=["promt", "style", "seed"])
    comparison = ef.compare(out, other, by=["prompt", "style", "seed"], random_state=7)
    assert "24" in repr(comparison)
    with pytest.raises(ef.ColumnError, match=r"no result with prefix='old_' .*: pass prefix=''"):
        other.eachlabs.summary(prefix="old_")
