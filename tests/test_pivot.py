"""Rows become cells of a grid: each is in exactly one, and the pivot is the one that pandas makes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.views.matrix.pivot import Slot, axis, grid
from eachlabs_frames.views.matrix.source import AxisNames, Pivot, pivot, spread

KEYS = st.sampled_from([0, 1, 2])
ROWS = st.lists(st.tuples(KEYS, KEYS, KEYS, KEYS), max_size=25)


def made(frame: pd.DataFrame, rows: str, columns: str, by: str = "", *others: pd.DataFrame) -> Pivot:
    """Make the pivot of columns that have names of one letter."""
    names = AxisNames(tuple(rows), tuple(columns), tuple(by))
    wanted = dict.fromkeys(sum(names, ()))
    return pivot(names, [{label: one[label] for label in wanted} for one in (frame, *others)])


def shown(frame: pd.DataFrame, rows: str, columns: str, by: str = "") -> pd.DataFrame:
    """Make the pivot of column "v"."""
    return spread(made(frame, rows, columns, by), [frame["v"]], [])


def letters(rows: Sequence[tuple[Hashable, ...]]) -> pd.DataFrame:
    """Make columns a, b, c and d of keys, and v, which numbers the rows."""
    frame = pd.DataFrame(rows, columns=list("abcd"))
    return frame.assign(v=np.arange(len(rows)))


# -- the grid ---------------------------------------------------------------------------------------------------------


@given(ROWS, st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.one_of(st.none(), st.integers(0, 25)))
def test_every_row_is_in_exactly_one_place(
    rows: list[tuple[int, ...]], deep: int, wide: int, by: int, second: int | None
) -> None:
    """With any number of levels, of one frame or of two; and the places of a cell are in the frame's order."""
    size = len(rows)
    columns = [[row[at] for row in rows] for at in range(4)]
    axes = [axis([(column, ()) for column in columns[:levels]], size) for levels in (deep, wide, by)]
    made = grid(*axes, second=second)
    assert sorted(made.row_at.values()) == list(range(size))
    sides = 2 if second is not None else 1
    seen = []
    for row in range(made.rows.size):
        for column in range(made.columns.size):
            for side in range(sides):
                here = [found[side] for _, found in made.cell(row, column, sides) if found[side] is not None]
                seen += here
                for at in here:
                    assert rows[at][:deep] == rows[made.rows.first_rows[row]][:deep]
                    assert rows[at][:wide] == rows[made.columns.first_rows[column]][:wide]
                    assert (second is not None and at >= second) == bool(side)
                order = [(made.by.places[at], at) for at in here]
                assert order == sorted(order)
    assert sorted(seen) == list(range(size))


def test_an_axis_is_in_the_order_of_first_appearance() -> None:
    """Level by level, so that what has the same first key stands together."""
    first, second = ["x", "y", "x", "y"], [2, 1, 1, 2]
    found = axis([(first, ()), (second, ())], 4)
    assert [(first[at], second[at]) for at in found.first_rows] == [("x", 2), ("x", 1), ("y", 2), ("y", 1)]


def test_an_order_that_is_known_comes_before_that_of_appearance() -> None:
    """As a categorical's; keys that it does not hold come after it, and those that no row has take no place."""
    found = axis([(["c", "a", "?", "b"], ("a", "b", "unused", "c"))], 4)
    assert list(found.places) == [2, 0, 3, 1]


def test_the_same_place_is_numbered() -> None:
    """And side by side, each side counts for itself."""
    one = axis([], 3)
    found = grid(one, one, one, second=2)
    assert found.slots == [[Slot(0, 0), Slot(0, 1)]]
    assert list(found.cell(0, 0, 2)) == [(Slot(0, 0), (0, 2)), (Slot(0, 1), (1, None))]
    assert found.is_repeated


# -- the frame --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(ROWS, st.sampled_from([("a", "b", "c"), ("ab", "c", "d"), ("a", "bc", "d"), ("ab", "cd", ""), ("a", "b", "")]))
@settings(deadline=None)
def test_without_duplicates_it_is_the_pivot_of_pandas(rows: list[tuple[int, ...]], names: tuple[str, str, str]) -> None:
    """The same values at the same labels; only the order of the labels is that of first appearance."""
    frame = letters(rows).drop_duplicates(list("".join(names))).reset_index(drop=True)
    if frame.empty:
        return
    deep, wide, by = map(list, names)
    ours = shown(frame, *names)
    theirs = frame.pivot(index=deep, columns=[*wide, *by], values="v")
    if len(deep) == 1:
        theirs.index = theirs.index.get_level_values(0)
    if len(wide + by) == 1:
        theirs.columns = theirs.columns.get_level_values(0)
    pd.testing.assert_frame_equal(
        ours.sort_index().sort_index(axis=1), theirs.sort_index().sort_index(axis=1), check_dtype=False
    )


@pytest.mark.slow
@given(ROWS)
@settings(deadline=None)
def test_no_row_is_lost_where_there_are_duplicates(rows: list[tuple[int, ...]]) -> None:
    """Each row's value stands once, under its own keys, and its number counts the rows like it before it."""
    frame = letters(rows)
    out = shown(frame, "a", "b", "c")
    found = {}
    for label, line in zip(out.index, out.to_numpy(), strict=True):
        for where, value in zip(out.columns, line, strict=True):
            if not np.isnan(value):
                assert value not in found
                found[int(value)] = (label, *where)
    counted: dict[tuple[int, ...], int] = {}
    for at, (a, b, c, _) in enumerate(rows):
        counted[a, b, c] = counted.get((a, b, c), 0) + 1
        assert found.pop(at)[:3] == (a, b, c)
    assert not found
    if any(count > 1 for count in counted.values()):
        assert out.columns.names == ["b", "c", "repeat"]
        assert set(out.columns.get_level_values("repeat")) == set(range(1, max(counted.values()) + 1))
    elif rows:
        assert out.columns.names == ["b", "c"]


def test_dtypes_are_kept_where_nothing_is_missing() -> None:
    """Column by column: what pandas has no missing value for becomes what pandas makes of it elsewhere."""
    frame = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"]})
    kinds = {
        "int64": [1, 2, 3],
        "bool": [True, False, True],
        "datetime64[ns, UTC]": pd.to_datetime(["2026-01-01"] * 3, utc=True).as_unit("ns"),
        "Int64": pd.array([1, None, 3], dtype="Int64"),
        "string": pd.array(["p", "q", "r"], dtype="string"),
        "category": pd.Categorical(["p", "q", "p"]),
    }
    widened = {"int64": "float64", "bool": "object"}
    for kind, values in kinds.items():
        out = shown(frame.assign(v=values), "a", "b")
        assert out.dtypes.astype(str).tolist() == [kind, widened.get(kind, kind)]


def test_the_labels_keep_their_dtype_and_order() -> None:
    """Numbers stay numbers, and a categorical keeps its categories, in their order."""
    style = pd.Categorical(["ink", "oil", "ink"], categories=["oil", "ink", "wax"], ordered=True)
    out = shown(pd.DataFrame({"a": [3, 3, 1], "b": style, "v": [1, 2, 3]}), "a", "b")
    assert out.index.equals(pd.Index([3, 1], name="a"))
    assert out.columns.dtype == style.dtype
    assert out.columns.tolist() == ["oil", "ink"]
    assert out.columns.name == "b"


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_missing_values_are_a_value_of_their_own(missing: Any) -> None:
    """However they are written; the rows that have them are not dropped."""
    frame = pd.DataFrame({"a": pd.Series([missing, "x", None], dtype=object), "b": ["k", "k", "l"], "v": [1, 2, 3]})
    out = shown(frame, "a", "b")
    assert out.index.isna().tolist() == [True, False]
    assert out.iloc[0].tolist() == [1.0, 3.0]


def test_what_cannot_be_looked_up_stands_by_its_json() -> None:
    """Lists, dicts and arrays; a text of the same letters is another value."""
    values = pd.Series([[1, 2], {"w": [1]}, np.array([1, 2]), "[1, 2]", [1, 2]], dtype=object)
    out = shown(pd.DataFrame({"a": values, "b": list("kkkkl"), "v": range(5)}), "a", "b")
    assert out.index.tolist() == ["[1, 2]", '{"w": [1]}', "[1, 2]"]
    assert out["k", 1].tolist() == [0, 1, 3]
    assert out["k", 2].tolist()[0] == 2
    assert out["l", 1].dropna().tolist() == [4]


def test_true_is_not_one() -> None:
    """As for Python's dict it would be."""
    frame = pd.DataFrame({"a": pd.Series([True, 1, 0, False], dtype=object), "b": ["k"] * 4, "v": range(4)})
    assert shown(frame, "a", "b")["k"].tolist() == [0, 1, 2, 3]
    assert len(shown(frame.assign(a=pd.Series([np.True_, 1, True, 1], dtype=object)), "a", "b")) == 2
    assert len(shown(frame[:2].assign(a=pd.Series([np.True_, 1], dtype=object)), "a", "b")) == 2


def test_tuples_are_single_labels() -> None:
    """They make no MultiIndex."""
    frame = pd.DataFrame({"a": pd.Series([(1, 2), (1, 3)]), "b": pd.Series([("x",), ("x",)]), "v": [1, 2]})
    out = shown(frame, "a", "b")
    assert out.index.nlevels == out.columns.nlevels == 1
    assert out.index.tolist() == [(1, 2), (1, 3)]


def test_the_frames_own_index_says_nothing() -> None:
    """Labels that are there twice, or are in another order, misplace no value."""
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["k"] * 3, "v": [10, 20, 30]}, index=[7, 7, 0])
    assert shown(frame, "a", "b")["k"].tolist() == [10, 20, 30]


def test_two_frames_have_one_shape() -> None:
    """The places of the first, then those that only the second has; a top level says whose a value is."""
    first = pd.DataFrame({"a": [1, 2, 2], "b": ["x", "x", "x"], "v": [1, 2, 3]})
    second = pd.DataFrame({"a": [3.5, 2], "b": ["y", "x"], "v": [0.5, 1.5]})
    both = made(first, "a", "b", "", second)
    out = spread(both, [first["v"], second["v"]], ["A", "B"])
    assert out.columns.names == ["run", "b", "repeat"]
    assert out.index.tolist() == [1, 2, 3.5]
    assert out["A"].columns.equals(out["B"].columns)
    assert out[("A", "x", 1)].tolist()[:2] == [1, 2]
    assert out[("A", "x", 2)].tolist()[1] == 3
    assert out[("B", "x", 1)].tolist()[1] == 1.5
    assert out[("B", "y", 1)].tolist()[2] == 0.5
    assert out.notna().to_numpy().sum() == 5


def test_categories_of_two_frames_follow_one_another() -> None:
    """Where they differ, those of the first come first."""
    first = pd.DataFrame({"a": pd.Categorical(["m", "l"], categories=["l", "m"]), "b": [1, 1], "v": [1, 2]})
    second = pd.DataFrame({"a": pd.Categorical(["s", "m"], categories=["s", "m"]), "b": [1, 1], "v": [3, 4]})
    out = spread(made(first, "a", "b", "", second), [first["v"], second["v"]], ["A", "B"])
    assert out.index.tolist() == ["l", "m", "s"]


def test_an_empty_frame_has_no_place() -> None:
    """And raises nothing."""
    assert shown(letters([]), "a", "b", "c").shape == (0, 0)
