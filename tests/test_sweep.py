"""`sweep`: the grid of its axes, in order, with their dtypes; drawn, pruned, repeated, and never sent by mistake."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox


def cells(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows as tuples of Python values."""
    columns = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    return list(zip(*columns, strict=True))


values = st.lists(st.integers(-5, 5) | st.text(max_size=3), max_size=4, unique=True)
grids = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), values, min_size=1, max_size=4)


@settings(deadline=None)
@given(grids)
def test_a_sweep_is_the_product_of_its_axes_in_their_order(axes: dict[str, list[Any]]) -> None:
    """Cell for cell what `itertools.product` gives, each once, under a fresh index."""
    grid = ef.sweep(axes)
    assert grid.columns.tolist() == list(axes)
    assert cells(grid) == list(itertools.product(*axes.values()))
    assert grid.index.equals(pd.RangeIndex(len(grid)))


@pytest.mark.slow
@settings(deadline=None)
@given(grids, st.data(), st.integers(0, 2**32 - 1))
def test_a_sample_is_of_different_cells_in_the_products_order(
    axes: dict[str, list[Any]], data: st.DataObject, seed: int
) -> None:
    """And the same seed draws the same; dtypes are those of the whole."""
    whole = ef.sweep(axes)
    wanted = data.draw(st.integers(0, len(whole)))
    drawn = ef.sweep(axes, sample=wanted, random_state=seed)
    places = [cells(whole).index(cell) for cell in cells(drawn)]
    assert len(places) == wanted
    assert places == sorted(set(places))
    assert drawn.dtypes.equals(whole.dtypes)
    pd.testing.assert_frame_equal(drawn, ef.sweep(axes, sample=wanted, random_state=seed))


@pytest.mark.slow
@settings(deadline=None)
@given(grids, st.integers(2, 4), st.integers(0, 3))
def test_where_prunes_and_repeats_number_what_is_left(axes: dict[str, list[Any]], times: int, seed: int) -> None:
    """All that pass, or a sample of them; each `times` times side by side, numbered from 1."""

    def keep(cell: dict[Any, Any]) -> bool:
        return any(isinstance(value, int) and value % 2 for value in cell.values())

    left = [cell for cell in itertools.product(*axes.values()) if keep(dict(zip(axes, cell, strict=True)))]
    numbered = [(*cell, number) for cell in left for number in range(1, times + 1)]
    assert cells(ef.sweep(axes, where=keep)) == left
    assert cells(ef.sweep(axes, where=keep, repeats=times)) == numbered
    half = len(left) // 2
    drawn = cells(ef.sweep(axes, where=keep, sample=half, random_state=seed))
    places = [left.index(cell) for cell in drawn]
    assert len(places) == half
    assert places == sorted(set(places))


AXES: list[tuple[Any, str]] = [
    (range(2, 5), "int64"),
    (range(5, -5, -3), "int64"),
    (pd.Series([1, 2], dtype="int8", index=[9, 9]), "int8"),
    (pd.Series(["x", "y"], dtype=object), "object"),
    (pd.Index([1.5, 2.5], dtype="float32"), "float32"),
    (pd.Categorical(["b", "a"], categories=["b", "a", "c"], ordered=True), "category"),
    (pd.date_range("2026-01-01", periods=2, tz="Europe/Berlin").astype("datetime64[ns, Europe/Berlin]"), None),
    (pd.array([1, None], dtype="Int64"), "Int64"),
    (pd.array(["x", None], dtype="string"), "string"),
    (np.array([True, False]), "bool"),
    (np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[s]"), "datetime64[s]"),
    (pd.period_range("2026-01", periods=2, freq="M"), "period[M]"),
    ([1, 2.5], "float64"),
    ([1, "a"], "object"),
    ([2**60 + 1, 0.5], "object"),
    ([np.int64(2**60 + 1), 0.5], "object"),
    ([np.uint64(2**63 + 5), None], "object"),
    ([2**70, 1], "object"),
    (range(2**70, 2**70 + 2), "object"),
    ([True, 1], "object"),
    ([{"a": 1}, {"a": 2}], "object"),
    ([[1, 2], [3, 4]], "object"),
    ([(1, 2), (3, 4)], "object"),
    ((3, 4), "int64"),
]


@pytest.mark.parametrize(("axis", "dtype"), AXES, ids=lambda one: type(one).__name__ if one is not None else "")
def test_an_axis_keeps_its_dtype_and_its_values(axis: Any, dtype: str | None) -> None:
    """Whatever the draw; a list that pandas would change or nest stays as it was, value by value."""
    alone = pd.Series(axis) if not isinstance(axis, list | tuple | range) else pd.Series(list(axis), dtype=dtype)
    expected = alone.dtype
    assert dtype is None or str(expected) == dtype
    for grid in (ef.sweep(x=axis), ef.sweep(y=[1, 2], x=axis, repeats=2), ef.sweep(x=axis, sample=1)):
        assert grid["x"].dtype == expected
    assert ef.sweep(x=axis)["x"].tolist() == alone.tolist()
    assert [type(cell) for cell in ef.sweep(x=axis)["x"].tolist()] == [type(cell) for cell in alone.tolist()]


def test_a_list_of_texts_becomes_what_pandas_makes_of_it() -> None:
    """Object with pandas 2, str with pandas 3."""
    assert ef.sweep(x=["a", "b"])["x"].dtype == pd.Series(["a", "b"]).dtype
    assert ef.sweep(x=["\ud800", "b"])["x"].tolist() == ["\ud800", "b"]


def test_a_frame_as_an_axis_contributes_its_columns_together() -> None:
    """In its place, with their dtypes; its own name is no column, and its index counts for nothing."""
    case = pd.DataFrame({"animal": ["fox", "owl"], "legs": pd.array([4, 2], dtype="Int8")}, index=["x", "x"])
    grid = ef.sweep(seed=range(2), case=case, style=["noir", "oil"])
    assert grid.columns.tolist() == ["seed", "animal", "legs", "style"]
    assert cells(grid)[:3] == [(0, "fox", 4, "noir"), (0, "fox", 4, "oil"), (0, "owl", 2, "noir")]
    assert str(grid["legs"].dtype) == "Int8"
    assert grid.attrs["eachlabs_sweep"]["axes"] == {"seed": ["seed"], "case": ["animal", "legs"], "style": ["style"]}


def test_iterators_are_read_once() -> None:
    """A generator, a map, the keys of a dict: each gives its values to the one sweep."""
    grid = ef.sweep(a=(n * n for n in range(3)), b=map(str, range(2)), c={"x": 1, "y": 2}.keys())
    assert len(grid) == 12
    assert grid["c"].tolist()[:2] == ["x", "y"]


def test_an_empty_axis_gives_an_empty_frame() -> None:
    """With every column and its dtype, as pandas' own product does."""
    grid = ef.sweep(seed=range(0), style=["noir"], repeats=3)
    assert (len(grid), grid.columns.tolist()) == (0, ["seed", "style", "repeat"])
    assert str(grid["seed"].dtype) == "int64"
    assert len(ef.sweep(seed=range(0), style=["noir"], where=lambda cell: True, sample=0)) == 0


def test_names_that_are_keywords_come_in_a_dict() -> None:
    """Before those that are given as keywords; any string is a name."""
    grid = ef.sweep({"sample": [1], "where": ["x"], "no identifier": [2]}, axes=[3])
    assert grid.columns.tolist() == ["sample", "where", "no identifier", "axes"]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ef.ConfigurationError, "a sweep needs an axis"),
    ({"a": "fox"}, ef.ConfigurationError, r"axis 'a' is one value \(str 'fox'\): wrap it in a list"),
    ({"a": 3}, ef.ConfigurationError, "wrap it in a list"),
    ({"a": None}, ef.ConfigurationError, "wrap it in a list"),
    ({"a": np.array(3)}, ef.ConfigurationError, "wrap it in a list"),
    ({"a": {"k": 1}}, ef.ConfigurationError, "wrap it in a list"),
    ({"a": {1, 2}}, ef.ConfigurationError, "a set, which has no order"),
    ({"a": np.ones((2, 2))}, ef.ConfigurationError, "2 dimensions"),
    ({"a": np.zeros(2, dtype=[("x", int)])}, ef.ConfigurationError, "array of records.*DataFrame"),
    ({"a": pd.MultiIndex.from_tuples([(1, 2)])}, ef.ConfigurationError, "to_frame"),
    ({"a": itertools.count()}, ef.ConfigurationError, "more than 100,000 values and may be infinite"),
    ({"a": [1, 2, 1]}, ef.ConfigurationError, r"axis 'a' has 1 twice \(at position 2\).*repeats="),
    ({"a": [1, 1.0]}, ef.ConfigurationError, "twice"),
    ({"a": [{"x": [1]}, {"x": (1,)}]}, ef.ConfigurationError, r'has \{"x":\[1\]\} twice'),
    ({"a": [None, "x", float("nan")]}, ef.ConfigurationError, "twice"),
    ({"a": pd.DataFrame({"x": [1, 1], "y": [{}, {}]})}, ef.ConfigurationError, r'the row \{"x":1,"y":\{\}\} twice'),
    ({"a": pd.DataFrame(index=range(2))}, ef.ConfigurationError, "without columns"),
    ({"a": pd.DataFrame([[1, 2]], columns=["x", "x"])}, ef.ConfigurationError, "two columns named 'x'"),
    ({"a": pd.DataFrame({("x", "y"): [1]})}, ef.ConfigurationError, "2 levels of columns"),
    ({"a": pd.DataFrame({"x": [1]}), "x": [1]}, ef.ColumnError, "two axes fill the column 'x'"),
    ({"repeat": [1], "repeats": 2}, ef.ColumnError, "repeats=2 writes a column 'repeat'"),
    ({"bulk_id": [1], "execution_id": [1], "status": [1]}, ef.ColumnError, "contain columns of a result"),
    ({"a": range(1000), "b": range(101)}, ef.ConfigurationError, r"101,000 rows \(a 1,000 x b 101\).*allow_large=True"),
    ({"a": range(50_001), "repeats": 2}, ef.ConfigurationError, r"100,002 rows \(a 50,001 x repeats 2\)"),
    ({"a": range(10**30)}, ef.ConfigurationError, "sample="),
    ({"a": [1, 2], "sample": 3}, ef.ConfigurationError, "sample=3 of a product of 2 cells"),
    ({"a": [1, 2], "sample": 0.5}, ef.ConfigurationError, "sample must be a whole number, 0 or more; got 0.5"),
    ({"a": [1], "sample": [1, 2]}, ef.ConfigurationError, r"sweep\(\{'sample': \[...\]\}\)"),
    ({"a": [1], "repeats": 0}, ef.ConfigurationError, "repeats must be a whole number, 1 or more"),
    ({"a": [1], "repeats": True}, ef.ConfigurationError, "repeats must be"),
    ({"a": [1], "where": [1]}, ef.ConfigurationError, r"sweep\(\{'where': \[...\]\}\)"),
    ({"a": [1], "allow_large": [1]}, ef.ConfigurationError, "allow_large must be True or False"),
    ({"a": [1], "random_state": [1]}, ef.ConfigurationError, "has no effect without sample="),
    ({"a": [1], "sample": 1, "random_state": "x"}, ef.ConfigurationError, "random_state must be"),
    ({"a": [1, 2], "where": lambda cell: cell["b"]}, ef.ConfigurationError, r'for the cell \{"a":1\}: KeyError'),
    ({"a": [1], "where": lambda cell: pd.NA}, ef.ConfigurationError, "where= failed for the cell"),
    ({"a": [1, 2], "sample": 2, "where": lambda cell: cell["a"] > 1}, ef.ConfigurationError, "only 1 of the 2 cells"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_what_cannot_be_meant_is_an_error_that_says_what_to_do(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Each of the package's own, before anything is made."""
    with pytest.raises(error, match=message):
        ef.sweep(**arguments)


@pytest.mark.parametrize(
    ("axes", "message"),
    [([1], "got a list"), (pd.DataFrame({"a": [1]}), "got a DataFrame"), ({1: [2]}, "named by a string")],
)
def test_axes_come_by_name(axes: Any, message: str) -> None:
    """A list or a frame alone has none, and a number is none."""
    with pytest.raises(ef.ConfigurationError, match=message):
        ef.sweep(axes)
    with pytest.raises(ef.ConfigurationError, match="axis 'a' is given twice"):
        ef.sweep({"a": [1]}, a=[2])


def test_values_that_cannot_be_sent_are_left_to_whoever_sends_them() -> None:
    """A function may make something of them; none of them equals another."""
    things = [object(), object(), b"x"]
    assert ef.sweep(x=things)["x"].tolist() == things


def test_a_sample_needs_no_product() -> None:
    """Of far more cells than there is memory, and than 64 bits can count."""
    for length in (10**5, 10**15, 10**30):
        drawn = ef.sweep(a=range(length), b=list("xyz"), c=range(7), sample=50, random_state=3)
        assert len(drawn.drop_duplicates()) == 50
        assert drawn["a"].is_monotonic_increasing
        assert 0 <= drawn["a"].min() <= drawn["a"].max() < length
        assert drawn["a"].max() > length // 2
        assert set(drawn["c"]) == set(range(7))


@pytest.mark.slow
def test_a_draw_is_uniform() -> None:
    """Each pair of four cells comes as often as any other, within what chance allows (six standard deviations)."""
    source = np.random.default_rng(5)
    draws = 3_000
    counts = Counter(tuple(ef.sweep(x=range(4), sample=2, random_state=source)["x"]) for _ in range(draws))
    assert set(counts) == set(itertools.combinations(range(4), 2))
    assert all(abs(count - draws / 6) < 6 * (draws * 5 / 36) ** 0.5 for count in counts.values())


@pytest.mark.slow
def test_a_draw_among_the_cells_that_pass_is_uniform() -> None:
    """Those that do not pass take nobody's place."""
    source = np.random.RandomState(5)
    draws = 2_000
    drawn = [
        ef.sweep(x=range(9), sample=1, random_state=source, where=lambda cell: cell["x"] % 3 == 0)["x"].iloc[0]
        for _ in range(draws)
    ]
    counts = Counter(drawn)
    assert set(counts) == {0, 3, 6}
    assert all(abs(count - draws / 3) < 6 * (draws * 2 / 9) ** 0.5 for count in counts.values())


@pytest.mark.parametrize("state", [7, np.int64(7), [1, 2], lambda: np.random.RandomState(7)])
def test_any_random_state_of_pandas_makes_a_draw_repeatable(state: Any) -> None:
    """A number, an array of numbers; a generator goes on where it was."""
    first, second = (state() if callable(state) else state for _ in range(2))
    one = ef.sweep(a=range(10**6), sample=5, random_state=first)
    assert one.equals(ef.sweep(a=range(10**6), sample=5, random_state=second))
    source = np.random.default_rng(1)
    others = [ef.sweep(a=range(10**6), sample=5, random_state=source)["a"].tolist() for _ in range(2)]
    assert others[0] != others[1]
    assert ef.sweep(a=range(10**6), sample=5)["a"].tolist() != ef.sweep(a=range(10**6), sample=5)["a"].tolist()


@pytest.mark.slow
def test_a_search_for_cells_that_pass_ends() -> None:
    """Where next to none of very many pass: it says how many did of those that it tried."""
    grid = {"a": range(10**15)}
    with pytest.raises(ef.ConfigurationError, match=r"only 0 of 200,000 cells drawn of 1,000,000,000,000,000 pass"):
        ef.sweep(grid, sample=2, where=lambda cell: False)


def test_where_is_given_what_a_function_of_inputs_is_given() -> None:
    """Python's values, None for what is missing; each cell once, and none beyond what is needed."""
    seen: list[dict[Any, Any]] = []
    ef.sweep(a=pd.array([1, None], dtype="Int64"), b=["x", None], where=lambda cell: seen.append(cell) or True)
    assert seen == [{"a": a, "b": b} for a in (1, None) for b in ("x", None)]
    assert type(seen[0]["a"]) is int
    tested: list[int] = []
    ef.sweep(a=range(10**9), sample=3, where=lambda cell: tested.append(cell["a"]) or True)
    assert len(tested) == 3


def test_a_large_sweep_has_to_be_meant() -> None:
    """Asked for twice it is made; up to 100,000 rows need no second word."""
    assert len(ef.sweep(a=range(100_000))) == 100_000
    assert len(ef.sweep(a=range(100_001), allow_large=True)) == 100_001
    assert len(ef.sweep(a=iter(range(100_001)), sample=1)) == 1


def test_what_a_frame_says_of_its_sweep_can_be_written_as_json() -> None:
    """For whoever draws a grid of it later; Parquet files keep attrs that way."""
    said = ef.sweep(a=[1], case=pd.DataFrame({7: [1], (8, 9): [1]}), repeats=2).attrs["eachlabs_sweep"]
    assert json.loads(json.dumps(said)) == {"axes": {"a": ["a"], "case": ["7", "(8, 9)"]}, "repeat": "repeat"}
    assert ef.sweep(a=[1]).attrs["eachlabs_sweep"]["repeat"] is None


def test_repetitions_are_separate_executions_and_their_number_is_not_sent(sandbox: Sandbox) -> None:
    """Neither to a workflow without a schema, which takes every column, nor anywhere unless it is named."""
    grid = ef.sweep(text=["a fox", "a heron"], repeats=3)
    out = grid.eachlabs.bulk_trigger("wf_free", run="sweep")
    assert [execution.inputs for execution in sandbox.accepted] == [{"text": text} for text in grid["text"]]
    assert out["execution_id"].nunique() == 6
    again = grid.eachlabs.bulk_trigger("wf_free", run="sweep")
    assert again["execution_id"].tolist() == out["execution_id"].tolist()
    assert sandbox.accepted_count() == 6
    assert out["repeat"].tolist() == [1, 2, 3] * 2


def test_a_repetitions_number_is_sent_where_it_is_named() -> None:
    """As a column, or to a function, which is given the whole row."""
    grid = ef.sweep(text=["a fox"], repeats=2)
    assert grid.eachlabs.preview()["payload"].tolist() == [{"text": "a fox"}] * 2
    assert grid.eachlabs.preview(inputs=["repeat"])["payload"].tolist() == [{"repeat": 1}, {"repeat": 2}]
    by_hand = grid.eachlabs.preview(inputs=lambda row: {"n": row["repeat"]})
    assert by_hand["payload"].tolist() == [{"n": 1}, {"n": 2}]
    grid.attrs["eachlabs_sweep"] = "anything"
    assert grid.eachlabs.preview()["payload"].tolist() == [{"text": "a fox", "repeat": n} for n in (1, 2)]


def test_an_axis_with_a_results_name_is_told_of_the_prefix_when_it_is_triggered(sandbox: Sandbox) -> None:
    """A sweep may have a column "status" or "output": only whoever sends it knows whether they are in the way."""
    grid = ef.sweep(text=["a fox"], status=["new", "old"])
    with pytest.raises(ef.ColumnError, match="prefix='eachlabs_'"):
        grid.eachlabs.bulk_trigger("wf_free")
    out = grid.eachlabs.bulk_trigger("wf_free", prefix="eachlabs_")
    assert sandbox.accepted[1].inputs == {"text": "a fox", "status": "old"}
    assert out["status"].tolist() == ["new", "old"]
    with pytest.raises(ef.ColumnError, match="contain columns of a result"):
        ef.sweep(case=ef.sweep(text=["a fox"]).eachlabs.bulk_trigger("wf_free"), seed=range(2))


def test_a_wide_sweep_warns_of_nothing() -> None:
    """150 axes of one value, and their repeats."""
    grid = ef.sweep({f"a{n}": [n] for n in range(150)}, repeats=2)
    assert grid.shape == (2, 151)


def pictures_in(folder: Path, *names: str) -> None:
    """Write a file of each name, and its folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_files_of_a_pattern_are_sorted_as_a_person_sorts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers by value, case aside; hidden files and folders are left out, and each file is there once."""
    monkeypatch.chdir(tmp_path)
    pictures_in(tmp_path, "p/b10.jpg", "p/b9.jpg", "p/A1.jpg", "p/.hidden.jpg", "p/c.png", "p/deep/b2.jpg", "p/b1.JPEG")
    (tmp_path / "p" / "folder.jpg").mkdir()
    assert ef.files_in("p/*.jpg") == [Path("p/A1.jpg"), Path("p/b9.jpg"), Path("p/b10.jpg")]
    assert ef.files_in("p/*.png", Path("p/*.jpg"), "p/b9*") == [
        Path(f"p/{n}") for n in ("A1.jpg", "b9.jpg", "b10.jpg", "c.png")
    ]
    assert [path.name for path in ef.files_in("p/**/*.jpg")] == ["A1.jpg", "b9.jpg", "b10.jpg", "b2.jpg"]
    assert ef.files_in("p/c.png") == [Path("p/c.png")]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert ef.files_in("~/p/c.*") == [tmp_path / "p" / "c.png"]


def test_a_file_that_links_lead_to_is_there_once(tmp_path: Path) -> None:
    """Each would be a row that is paid for; a link to a folder above ends."""
    pictures_in(tmp_path, "p/fox.jpg")
    (tmp_path / "p" / "again").symlink_to(tmp_path / "p")
    (tmp_path / "p" / "other.jpg").symlink_to(tmp_path / "p" / "fox.jpg")
    (tmp_path / "p" / "broken.jpg").symlink_to(tmp_path / "nothing")
    assert ef.files_in(tmp_path / "p/**/*.jpg") == [tmp_path / "p/fox.jpg"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ((), "needs a pattern"),
        (("",), "takes patterns such as"),
        ((["*.jpg"],), "each as its own argument"),
        ((b"*.jpg",), "takes patterns such as"),
        (("*.gif",), r"matches no file in .*: check the pattern, and the case of its suffix"),
        (("*.jpg", "*.gif"), r"'\*.gif' matches no file"),
        (("nowhere/*.gif",), "there is no folder '.*nowhere'"),
        (("sub",), r"'sub' is a folder: for the files inside write 'sub.\*'"),
        (("su*",), r"matches folders and no file: .*write 'su\*.\*'"),
        (("a [1]/*.jpg",), "glob.escape"),
    ],
)
def test_a_pattern_without_files_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: tuple[Any, ...], message: str
) -> None:
    """Before a sweep of nothing is triggered."""
    monkeypatch.chdir(tmp_path)
    pictures_in(tmp_path, "fox.jpg", "sub/fox.jpg", "a [1]/fox.jpg")
    with pytest.raises(ef.ConfigurationError, match=message):
        ef.files_in(*patterns)


def test_a_sweep_of_files_keeps_their_paths(tmp_path: Path) -> None:
    """With repeats, samples and filters; the same file twice is refused by its name."""
    pictures_in(tmp_path, "fox.jpg", "heron.jpg")
    files = ef.files_in(tmp_path / "*.jpg")
    grid = ef.sweep(image=files, style=["ink", "oil"], repeats=2)
    assert grid["image"].tolist() == [files[0]] * 4 + [files[1]] * 4
    drawn = ef.sweep(image=files, style=["ink", "oil"], where=lambda cell: cell["image"].name == "fox.jpg", sample=1)
    assert drawn["image"].tolist() == [files[0]]
    with pytest.raises(ef.ConfigurationError, match=r"axis 'image' has .*fox\.jpg.* twice"):
        ef.sweep(image=[*files, files[0]])


def test_an_axis_takes_contents_of_files(tmp_path: Path) -> None:
    """Bytes, PIL images and image arrays stay what they are, and equal ones are refused."""
    images = [Image.new("RGB", (2, 3), colour) for colour in ("red", "blue")]
    for values in ([b"a", b"b"], images, [np.asarray(image) for image in images]):
        column = ef.sweep(image=values, style=["ink", "oil"])["image"].tolist()
        assert all(cell is values[row // 2] for row, cell in enumerate(column))
        with pytest.raises(ef.ConfigurationError, match=r"axis 'image' has .* twice \(at position 2\)"):
            ef.sweep(image=[*values, values[0]])
