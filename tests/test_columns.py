"""The result's columns: exactly the design's, never out of place, on every shape of frame."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.frames import columns
from eachlabs_frames.models import COLUMNS, Outcome
from eachlabs_frames.results import NO_TIME, Results
from eachlabs_frames.sandbox import Sandbox

WF = "wf_abc123"
DTYPES = {
    "bulk_id": "string",
    "execution_id": "string",
    "status": "string",
    "error": "string",
    "started_at": "datetime64[ns, UTC]",
    "completed_at": "datetime64[ns, UTC]",
    "output": "object",
    "cost": "float64",
}

PROMPTS = ["p0", "p1", "p2", "p3", "p4", "p5"]


def base() -> pd.DataFrame:
    """Make the frame that every shape is made of."""
    return pd.DataFrame({"prompt": PROMPTS, "x": [5.0, np.nan, 1, 2, 3, 4]})


def fragmented() -> pd.DataFrame:
    """Make a frame of over 100 blocks, at which pandas warns of each further column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return base().assign(**{f"c{n}": n for n in range(150)})


FRAMES = {
    "plain": base,
    "one row": lambda: base()[:1],
    "empty": lambda: base()[:0],
    "reversed": lambda: base()[::-1],
    "shuffled": lambda: base().sample(frac=1, random_state=3),
    "filtered view": lambda: base()[base()["x"] > 1],
    "every second row": lambda: base()[::2],
    "duplicated index": lambda: base().set_index(pd.Index(["a", "a", "b", "b", "a", "c"])),
    "missing index": lambda: base().set_index(pd.Index([None, None, 1, 2, np.nan, 3], dtype=object)),
    "named index": lambda: base().set_index("x"),
    "multiindex rows": lambda: base().set_index([pd.Index([1, 1, 1, 2, 2, 2]), pd.Index(list("aabbcc"))]),
    "datetime index": lambda: base().set_index(pd.date_range("2026-01-01", periods=6, tz="UTC")),
    "categorical": lambda: base().astype({"prompt": "category"}),
    "string dtype": lambda: base().astype({"prompt": "string"}),
    "object dtype": lambda: base().astype({"prompt": object}),
    "pyarrow": lambda: base().astype({"prompt": "string[pyarrow]", "x": "float64[pyarrow]"}),
    "nullable": lambda: base().convert_dtypes(),
    "fragmented": fragmented,
}


def triggered(df: pd.DataFrame, inputs: Any, sandbox: Sandbox, **options: Any) -> pd.DataFrame:
    """Trigger and wait, and make sure that the frame that was given stays what it was."""
    before = df.copy(deep=True)
    out = df.eachlabs.bulk_trigger(WF, inputs, wait=True, **options)
    pd.testing.assert_frame_equal(df, before)
    pd.testing.assert_index_equal(out.index, df.index)
    # Labels that are no strings share an index with those that are: its dtype widens, and they stay what they are.
    pd.testing.assert_frame_equal(out.iloc[:, : df.shape[1]], before, check_flags=False, check_column_type=False)
    return out


@pytest.mark.parametrize("shape", FRAMES)
def test_rows_index_and_dtypes_stay_and_results_are_in_place(sandbox: Sandbox, shape: str) -> None:
    """Every output is the picture of its own row's prompt."""
    df = FRAMES[shape]()
    out = triggered(df, ["prompt"], sandbox)
    given = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    assert [given[one] for one in out["execution_id"]] == df["prompt"].tolist()
    assert {name: str(dtype) for name, dtype in out.dtypes[-8:].items()} == DTYPES
    assert out["status"].tolist() == ["completed"] * len(df)
    assert all(one in url for one, url in zip(out["execution_id"], out["output"], strict=True))


@pytest.mark.parametrize("shape", FRAMES)
def test_no_shape_of_frame_warns(sandbox: Sandbox, shape: str) -> None:
    """Writing in place into a view is no chained assignment, and no performance warning either."""
    df = FRAMES[shape]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        df.eachlabs.bulk_trigger(WF, ["prompt"], inplace=True)
    assert df["status"].tolist() == ["queued"] * len(df)


def test_multiindex_columns(sandbox: Sandbox) -> None:
    """The result's labels are filled up, and are read by their names."""
    df = base()
    df.columns = pd.MultiIndex.from_tuples([("text", "prompt"), ("numbers", "x")])
    out = triggered(df, {"prompt": ("text", "prompt")}, sandbox)
    assert out.columns.nlevels == 2
    assert out["status"].tolist() == ["completed"] * 6
    assert [one.inputs["prompt"] for one in sandbox.accepted] == PROMPTS
    assert len(out.eachlabs.bulk_trigger(WF, {"prompt": ("text", "prompt")})) == 6
    assert len(sandbox.accepted) == 6
    assert out.eachlabs.summary()["total"].tolist() == [6]


@pytest.mark.parametrize(
    "labels", [[0, 1], ["a", "a"], [("a", "b"), 3.5], pd.date_range("2026", periods=2), [None, "x"]]
)
def test_odd_column_names_stay_as_they_are(sandbox: Sandbox, labels: Any) -> None:
    """Numbers, duplicates, times, None."""
    df = base()
    df.columns = pd.Index(labels, tupleize_cols=False)
    df["prompt"] = PROMPTS
    out = triggered(df, ["prompt"], sandbox)
    assert list(out.columns[: df.shape[1]]) == list(df.columns)
    assert list(out.columns[-8:]) == list(COLUMNS)


@pytest.mark.parametrize(
    "index",
    [pd.CategoricalIndex(["prompt", "x"]), pd.IntervalIndex.from_breaks([0, 1, 2])],
    ids=["categories", "intervals"],
)
def test_columns_that_take_no_new_name_are_refused_before_anything_is_sent(sandbox: Sandbox, index: Any) -> None:
    """Pandas would raise when the results are written: after they were paid for."""
    df = base()
    df.columns = index
    try:
        out = df.eachlabs.bulk_trigger(WF, lambda row: {"prompt": "x"})
    except ef.ColumnError as error:
        assert "take no new column" in str(error)  # noqa: PT017 - either way is right, by what pandas can do
        assert sandbox.accepted == ()
    else:
        assert out["status"].tolist() == ["queued"] * 6


@pytest.mark.parametrize("taken", COLUMNS)
def test_a_column_of_the_users_own_is_not_written_over(sandbox: Sandbox, taken: str) -> None:
    """The error names it and offers a prefix; with one, both are there."""
    df = base().assign(**{taken: "mine"})
    with pytest.raises(ef.ColumnError, match=f"'{taken}'.*prefix='eachlabs_'"):
        df.eachlabs.bulk_trigger(WF, ["prompt"])
    assert sandbox.requests == ()
    out = df.eachlabs.bulk_trigger(WF, ["prompt"], prefix="eachlabs_").eachlabs.wait()
    assert out[taken].tolist() == ["mine"] * 6
    assert out["eachlabs_status"].tolist() == ["completed"] * 6
    assert out.eachlabs.summary()["completed"].tolist() == [6]
    assert len(out.eachlabs.retry_failed()) == len(sandbox.accepted) == 6


def test_a_result_whose_less_telling_columns_were_dropped_is_still_one(sandbox: Sandbox) -> None:
    """bulk_id, execution_id and status are enough, and the rest comes back."""
    out = base().eachlabs.bulk_trigger(WF, ["prompt"]).drop(columns=["output", "cost", "error", "started_at"])
    again = out.eachlabs.wait()
    assert set(COLUMNS) <= set(again.columns)
    assert len(again.eachlabs.bulk_trigger(WF, ["prompt"])) == 6
    assert len(sandbox.accepted) == 6


@pytest.mark.parametrize("look", ["outputs", "refresh", "gallery", "dashboard", "rate", "summary"])
def test_two_results_side_by_side_are_not_taken_for_the_first(sandbox: Sandbox, look: str) -> None:
    """Nobody knows which of the two is meant, so nothing is shown."""
    out = pd.DataFrame({"prompt": ["a", "b"]}).eachlabs.bulk_trigger("wf_abc123")
    both = pd.concat([out, out[::-1].set_axis(out.index)[["execution_id", "output"]]], axis=1)
    both.attrs = out.attrs
    with pytest.raises(ef.ColumnError, match="two columns named 'execution_id': drop one"):
        getattr(both.eachlabs, look)()


def test_result_columns_that_a_user_bent_are_read_all_the_same(sandbox: Sandbox) -> None:
    """Empty texts for missing ones, a categorical status with NaN, a year that no nanosecond reaches."""
    out = base().eachlabs.bulk_trigger(WF, ["prompt"])
    bent = out.astype({"status": "category", "started_at": object, "execution_id": object, "bulk_id": object})
    bent.loc[bent.index[:2], ["execution_id", "bulk_id"]] = ""
    bent.loc[bent.index[:2], "status"] = None
    bent["started_at"] = "1600-01-01T00:00:00Z"
    again = bent.eachlabs.bulk_trigger(WF, ["prompt"])
    assert len(sandbox.accepted) == 6  # the journal knows what the frame has forgotten
    assert again["status"].tolist() == ["queued"] * 6
    assert again["started_at"].isna().all()


def test_an_old_text_that_is_no_unicode_costs_its_dtype_and_no_row(sandbox: Sandbox) -> None:
    """A file that was read with `surrogateescape`, say."""
    ef.configure(rerun_guard=None)
    out = base().eachlabs.bulk_trigger(WF, ["prompt"]).astype({"error": object})
    more = pd.concat([out, base()[:1]], ignore_index=True)
    more.loc[0, "error"] = "\udcff"
    again = more.eachlabs.bulk_trigger(WF, ["prompt"])
    assert again["execution_id"].notna().all()
    assert again.loc[0, "error"] == "\udcff"


@pytest.mark.filterwarnings("ignore:Passing a BlockManager:DeprecationWarning")
def test_a_frame_that_takes_no_column_in_the_end_does_not_take_the_result_along(sandbox: Sandbox) -> None:
    """The exception carries it."""

    class Stubborn(pd.DataFrame):
        @property
        def _constructor(self) -> type[pd.DataFrame]:
            return Stubborn

        def insert(self, *args: Any, **kwargs: Any) -> None:
            if len(self):
                msg = "no"
                raise RuntimeError(msg)
            super().insert(*args, **kwargs)

    with pytest.raises(RuntimeError) as caught:
        Stubborn({"prompt": PROMPTS}).eachlabs.bulk_trigger(WF)
    kept = caught.value.frame  # type: ignore[attr-defined]
    given = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    assert [given[one] for one in kept["execution_id"]] == PROMPTS


@pytest.mark.parametrize("said", ["mine", True, ["a"], {"earlier": None}, {"earlier": "abc"}, {"workflow_id": 3}])
def test_attrs_of_the_users_own_are_no_reason_to_lose_a_result(sandbox: Sandbox, said: Any) -> None:
    """They are not ours to be read."""
    df = base()
    df.attrs["eachlabs"] = said
    out = df.eachlabs.bulk_trigger(WF, ["prompt"])
    assert out["execution_id"].notna().all()
    assert out.attrs["eachlabs"]["workflow_id"] == WF


def test_sorting_and_filtering_a_result_keeps_rows_together(sandbox: Sandbox) -> None:
    """A result is an ordinary frame: what belongs to a row goes with it."""
    out = base().eachlabs.bulk_trigger(WF, ["prompt"]).sort_values("x")[1:5].eachlabs.wait()
    given = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    assert [given[one] for one in out["execution_id"]] == out["prompt"].tolist()


def test_a_copy_does_not_change_with_the_result(sandbox: Sandbox) -> None:
    """A change of the result does not reach the frame that was given."""
    df = base()
    out = df.eachlabs.bulk_trigger(WF, ["prompt"])
    out.loc[0, "prompt"] = "changed"
    assert df.loc[0, "prompt"] == "p0"


# pandas 2.2.0 warns so of every subclass, in its own copy().
@pytest.mark.filterwarnings("ignore:Passing a BlockManager:DeprecationWarning")
def test_a_subclass_stays_one(sandbox: Sandbox) -> None:
    """As GeoDataFrame and its like expect."""

    class Kind(pd.DataFrame):
        @property
        def _constructor(self) -> type[pd.DataFrame]:
            return Kind

    assert type(Kind({"prompt": PROMPTS}).eachlabs.bulk_trigger(WF)) is Kind


outcomes = st.builds(
    Outcome,
    position=st.just(0),
    status=st.sampled_from(["pending", "queued", "completed", "failed", "unknown", "odd word"]),
    bulk_id=st.one_of(st.none(), st.text(max_size=3)),
    execution_id=st.one_of(st.none(), st.text(min_size=1, max_size=3)),
    error=st.one_of(st.none(), st.text(max_size=5)),
    started_at=st.one_of(st.none(), st.integers(-(2**62), 2**62)),
    completed_at=st.one_of(st.none(), st.integers(-(2**62), 2**62)),
    output=st.one_of(
        st.none(), st.text(), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(), st.none(), max_size=1)
    ),
    cost=st.one_of(st.none(), st.floats(allow_nan=False)),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(outcomes, max_size=8), st.randoms(use_true_random=False))
def test_any_interleaving_of_outcomes_gives_the_same_columns(made: list[Outcome], chance: Any) -> None:
    """Row i's columns are row i's, in whichever order answers come; and a frame gives back what was written."""
    rows = [outcome._replace(position=row) for row, outcome in enumerate(made)]

    def written(order: list[Outcome]) -> pd.DataFrame:
        results = Results(len(rows))
        for outcome in order:
            results.replace(outcome)
        return columns.write(pd.DataFrame(index=range(len(rows))), results, "")

    out = written(rows)
    shuffled = list(rows)
    chance.shuffle(shuffled)
    pd.testing.assert_frame_equal(written(shuffled), out)
    assert {name: str(dtype) for name, dtype in out.dtypes.items()} == DTYPES
    back = columns.read(out, "")
    for row, outcome in enumerate(rows):
        assert back.status[row] == outcome.status
        assert back.execution_id[row] == outcome.execution_id
        assert back.output[row] == outcome.output
        assert out["started_at"].iloc[row] is pd.NaT or out["started_at"].iloc[row].value == outcome.started_at


def test_tallies_follow_every_change() -> None:
    """Rows per status, and rows that have an execution."""
    results = Results(3)
    results.replace(Outcome(0, "queued", "b", "e"))
    results.replace(Outcome(1, "failed", error="no"))
    assert (results.tally(), results.accepted) == ({"pending": 1, "queued": 1, "failed": 1}, 1)
    results.merge(Outcome(0, "completed", execution_id="e"))
    results.note(2, status="invalid", error="why")
    assert (results.tally(), results.accepted) == ({"completed": 1, "failed": 1, "invalid": 1}, 1)


def test_no_time_is_pandas_own_mark_for_it() -> None:
    """The numbers of a time column are handed to pandas as they are."""
    assert pd.NaT.value == NO_TIME


def test_an_output_that_is_nested_very_deep_can_be_read() -> None:
    """JSON may be a thousand deep: it is handed on, and is no error."""
    deep: Any = "a fox"
    for _ in range(1_000):
        deep = {"a": deep}
    results = Results(1)
    results.replace(Outcome(0, "completed", "b", "e", output=deep))
    frame = columns.write(pd.DataFrame(index=[0]), results, "")
    (found,) = columns.read(frame, "").output
    for _ in range(1_000):
        found = found["a"]
    assert found == "a fox"


@pytest.mark.parametrize("call", ["bulk_trigger", "preview", "download", "gallery"])
def test_attrs_that_cannot_be_copied_are_blamed_by_name(sandbox: Sandbox, tmp_path: Path, call: str) -> None:
    """Pandas copies attrs with each frame; the columns have nothing to do with it, and nothing is sent."""
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    sent = len(sandbox.accepted)
    arguments = {"bulk_trigger": ["wf_abc123"], "preview": ["wf_abc123"], "download": [tmp_path], "gallery": []}
    out.attrs["lock"] = threading.Lock()
    with pytest.raises(
        ef.ColumnError, match=r"df\.attrs\['lock'\] \(a lock\) cannot be copied.* del df\.attrs\['lock'\]"
    ):
        getattr(out.eachlabs, call)(*arguments[call])
    assert len(sandbox.accepted) == sent


def test_a_functions_row_does_not_depend_on_other_rows(sandbox: Sandbox) -> None:
    """An appended row without a year makes the column float64: the others' inputs stay as they were sent."""
    years = pd.DataFrame({"year": [1990, 2026]})
    made = {"inputs": lambda row: {"prompt": f"a fox in {row['year']}"}, "run": "foxes"}
    before = years.eachlabs.bulk_trigger(WF, **made)
    more = pd.concat([years, pd.DataFrame({"year": [None]})], ignore_index=True).astype("float64")
    after = more.eachlabs.bulk_trigger(WF, **made)
    assert after["execution_id"].tolist()[:2] == before["execution_id"].tolist()
    assert [accepted.inputs["prompt"] for accepted in sandbox.accepted] == [
        "a fox in 1990",
        "a fox in 2026",
        "a fox in None",
    ]


NEW_COLUMN = """
import pandas as pd
from eachlabs_frames.frames import columns
from eachlabs_frames.journal.records import ANSWER, UPDATE, RunState, pack_outcomes, pack_rows, unpack_outcomes
from eachlabs_frames.models import Outcome
from eachlabs_frames.results import Results

whole = Outcome(0, "completed", "b", "e0", None, 5, 6, {"url": "u"}, 0.5, 0.75)
assert list(unpack_outcomes([0], pack_outcomes([whole]))) == [whole]
assert next(unpack_outcomes([0], b'["b",[["completed","e0",null,5,6,0.5,{"url":"u"}]]]')) == whole._replace(score=None)
state = RunState(2)
state.add(1, 1, ANSWER, pack_rows([0, 1]), pack_outcomes([Outcome(row, "queued", "b", f"e{row}") for row in (0, 1)]))
state.add(2, 1, UPDATE, pack_rows([0]), pack_outcomes([whole]))
assert state.row_state(0).outcome == whole
results = Results(2)
results.replace(Outcome(0, "queued", "b", "e0"))
assert results.merge(whole)
assert not results.merge(whole)
frame = columns.write(pd.DataFrame({"prompt": ["a", "b"]}), results, "")
assert frame["score"].tolist()[0] == 0.75 and pd.isna(frame["score"].tolist()[1])
print(list(frame.columns)[-1], frame["score"].dtype, columns.read(frame, "").outcome(0) == whole)
"""


@pytest.mark.slow
def test_a_new_result_column_is_one_file(tmp_path: Path) -> None:
    """Two lines in `models` give it a dtype in frames, a place in the journal, and old records are still read."""
    package = Path(ef.__file__).parent
    copied = tmp_path / package.name
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copied / "models.py").read_text()
    for line, new in (
        ("    cost: float | None = None", "    score: float | None = None"),
        ('    "cost": "number",', '    "score": "number",'),
    ):
        assert source.count(f"{line}\n") == 1
        source = source.replace(f"{line}\n", f"{line}\n{new}\n")
    (copied / "models.py").write_text(source)
    command = [sys.executable, "-c", NEW_COLUMN]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["score", "float64", "True"]
