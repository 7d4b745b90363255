"""``sweep``: builds a frame with every combination of some axes. It never sends a row."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import prod
from typing import Any, Final, SupportsIndex

import numpy as np
import pandas as pd

from ..errors import ColumnError, ConfigurationError
from ..frames import attrs, columns
from ..frames.rows import records
from ..media import text
from .axes import MAX_VALUES, Axis, read_axis
from .grid import Places, RandomInteger, all_places, places_of, random_integers, shuffled

REPEAT: Final = "repeat"

MAX_ROWS: Final = 100_000
"""Rows of a sweep without ``allow_large=True``: each may be a paid execution."""

CHUNK_SIZE: Final = 1_000
MIN_TESTED: Final = 200_000
MAX_TESTED_PER_CELL: Final = 100
"""At most `MIN_TESTED` cells are drawn and tested by ``where``, or so many for each cell of the sample."""

CellFilter = Callable[[dict[Any, Any]], object]


def sweep(
    axes: Mapping[str, Any] | None = None,
    /,
    *,
    sample: int | None = None,
    random_state: Any = None,
    repeats: int = 1,
    where: Callable[[dict[Any, Any]], Any] | None = None,
    allow_large: bool = False,
    **more_axes: Any,
) -> pd.DataFrame:
    """Return a frame with one row per combination of the axes' values, to be triggered.

    Parameters
    ----------
    axes : mapping of str to values, optional
        Axes by name, for names that are not identifiers or that are keywords of this function. They come before
        `more_axes`.
    sample : int, optional
        Draw this many distinct combinations, with equal probability, instead of returning all of them. The full product
        is not materialized, so it may have any size.
    random_state : int, numpy.random.Generator or numpy.random.RandomState, optional
        Makes the sample reproducible, as in `pandas.DataFrame.sample`.
    repeats : int, default 1
        Number of consecutive rows per combination. If greater than 1, a last column ``repeat`` (int64) numbers them
        from 1; it is not sent as an input unless ``inputs=`` names it.
    where : callable, optional
        Called with each combination as a dict (None for missing values), before repeats; returns whether to keep it.
        With `sample`, combinations are drawn until `sample` of them are kept.
    allow_large : bool, default False
        Allow more than 100,000 rows.
    **more_axes : values
        A list, tuple, range, array, Series, Index, Categorical or iterator of distinct values, which become a column
        with the name of the axis; or a DataFrame of distinct rows, whose columns are added instead and are not combined
        with each other. `files_in` returns the files that match a pattern, as paths.

    Returns
    -------
    pandas.DataFrame
        With a new RangeIndex. Columns are in the order of the axes, and the last axis varies fastest; sampled
        combinations keep that order. A Series, Index or Categorical keeps its dtype, a range becomes int64 (object
        beyond 64 bits), and other values get the dtype that pandas infers; lists, dicts and mixed values are unchanged
        (object). An empty axis gives an empty frame. ``attrs["eachlabs_sweep"]`` records the axes for the views.

    Raises
    ------
    ConfigurationError
        There is no axis; an axis is a single value or has duplicates; there are more than 100,000 rows (before `where`)
        without `sample` or `allow_large`; `sample` is larger than the product, or too few combinations pass `where`;
        `where` raises; or another option is invalid.
    ColumnError
        Two axes have a column of the same name, or an axis contains the columns of a result.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> grid = ef.sweep(prompt=["a fox", "a heron"], style=["noir", "oil"], seed=range(3))
    >>> grid.shape
    (12, 3)
    >>> grid.iloc[3].to_dict()
    {'prompt': 'a fox', 'style': 'oil', 'seed': 0}
    >>> ef.sweep(seed=range(10**15), sample=4, repeats=2, random_state=7)["repeat"].tolist()
    [1, 2, 1, 2, 1, 2, 1, 2]
    """
    count = None if sample is None else _check_integer("sample", sample, minimum=0)
    repeats = _check_integer("repeats", repeats, minimum=1)
    _check_options(where, random_state, allow_large, is_sample=count is not None)
    is_unlimited = allow_large or count is not None
    read = _read_axes(axes, more_axes, max_values=MAX_VALUES if is_unlimited else MAX_ROWS)
    _check_labels([label for axis in read for label in axis.columns], repeats)
    sizes = [axis.size for axis in read]
    if not is_unlimited and prod(sizes) * repeats > MAX_ROWS:
        raise ConfigurationError(_too_large(read, repeats))
    cells: Sequence[int] | None
    if count is not None:
        cells = _sample(read, count, where, random_state)
    else:
        cells = None if where is None else list(_filter(read, range(prod(sizes)), where))
    places = all_places(sizes, repeats=repeats) if cells is None else places_of(cells, sizes, repeats=repeats)
    out = _frame(read, places, repeats=repeats)
    out.attrs[attrs.SWEEP] = {
        "axes": {axis.name: [str(label) for label in axis.columns] for axis in read},
        "repeat": REPEAT if repeats > 1 else None,
    }
    return out


_AXIS: Final = "; an axis of this name goes into a dict, as in sweep({{{!r}: [...]}})"


def _check_integer(name: str, value: object, *, minimum: int) -> int:
    try:
        number = operator.index(value) if isinstance(value, SupportsIndex) and not isinstance(value, bool) else -1
    except TypeError:
        number = -1
    if number < minimum:
        msg = f"{name} must be a whole number, {minimum} or more; got {text(value, 60)}"
        raise ConfigurationError(msg + _AXIS.format(name))
    return number


def _check_options(where: object, random_state: object, allow_large: object, *, is_sample: bool) -> None:
    """Refuse values of the other options that may be meant as an axis of that name."""
    if where is not None and not callable(where):
        msg = f"where must be a function of a cell, as in where=lambda cell: cell['seed'] > 0; got {text(where, 60)}"
        raise ConfigurationError(msg + _AXIS.format("where"))
    if random_state is not None and not is_sample:
        msg = "random_state= has no effect without sample="
        raise ConfigurationError(msg + _AXIS.format("random_state"))
    if not isinstance(allow_large, bool | np.bool_):
        msg = f"allow_large must be True or False; got {text(allow_large, 60)}"
        raise ConfigurationError(msg + _AXIS.format("allow_large"))


def _read_axes(first: object, more: Mapping[str, Any], *, max_values: int) -> list[Axis]:
    if first is not None and not isinstance(first, Mapping):
        kind = type(first).__name__
        msg = f"axes are given by name, as in sweep(prompt=[...]) or sweep({{'prompt': [...]}}); got a {kind}"
        raise ConfigurationError(msg)
    axes = dict(first or {})
    twice = next((name for name in more if name in axes), None)
    if twice is not None:
        msg = f"axis {twice!r} is given twice"
        raise ConfigurationError(msg)
    axes |= more
    if not axes:
        msg = "a sweep needs an axis, as in sweep(prompt=['a fox', 'a heron'], seed=range(3))"
        raise ConfigurationError(msg)
    return [read_axis(name, values, max_values=max_values) for name, values in axes.items()]


def _check_labels(labels: Sequence[Hashable], repeats: int) -> None:
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        msg = f"two axes fill the column {twice[0]!r}: rename it in one of them"
        raise ColumnError(msg)
    if repeats > 1 and REPEAT in labels:
        msg = f"repeats={repeats} writes a column {REPEAT!r}, which an axis also fills: rename the axis"
        raise ColumnError(msg)
    if set(columns.IDENTIFYING) <= set(labels):
        names = ", ".join(map(repr, columns.IDENTIFYING))
        msg = f"the axes contain columns of a result ({names}): pass only the columns to send"
        raise ColumnError(msg)


def _too_large(axes: Sequence[Axis], repeats: int) -> str:
    rows = prod(axis.size for axis in axes) * repeats
    parts = [f"{axis.name} {axis.size:,}" for axis in axes] + ([f"repeats {repeats:,}"] if repeats > 1 else [])
    return (
        f"this sweep has {rows:,} rows ({' x '.join(parts)}), and each may be a paid execution: draw a sample of its "
        f"cells with sample=, or pass allow_large=True for more than {MAX_ROWS:,}"
    )


def _frame(axes: Sequence[Axis], places: Iterable[Places], *, repeats: int = 1) -> pd.DataFrame:
    columns = [column for axis, axis_places in zip(axes, places, strict=True) for column in axis.take(axis_places)]
    index = columns[0][1].index
    if repeats > 1:
        numbers = np.tile(np.arange(1, repeats + 1, dtype=np.int64), len(index) // repeats)
        columns.append((REPEAT, pd.Series(numbers)))
    out: pd.DataFrame = pd.DataFrame(dict(enumerate(column for _, column in columns)), index=index, copy=False)
    out.columns = pd.Index([label for label, _ in columns], tupleize_cols=False)
    return out


def _sample(axes: Sequence[Axis], count: int, where: CellFilter | None, random_state: object) -> list[int]:
    """Return the numbers of the cells that are drawn, in ascending order."""
    size = prod(axis.size for axis in axes)
    if count > size:
        msg = (
            f"sample={count:,} of a product of {size:,} cells: each cell is drawn at most once; repeats= runs it "
            f"several times"
        )
        raise ConfigurationError(msg)
    order = shuffled(size, _random_integers(random_state))
    if where is None:
        return sorted(islice(order, count))
    tested = min(size, max(MIN_TESTED, MAX_TESTED_PER_CELL * count))
    cells = sorted(islice(_filter(axes, islice(order, tested), where), count))
    if len(cells) < count:
        of = f"the {size:,} cells" if tested == size else f"{tested:,} cells drawn of {size:,}"
        msg = f"sample={count:,}, but only {len(cells):,} of {of} pass where=: ask for fewer, or narrow the axes"
        raise ConfigurationError(msg)
    return cells


def _filter(axes: Sequence[Axis], cells: Iterable[int], where: CellFilter) -> Iterator[int]:
    """Yield those of `cells` that pass the user's filter, in their order, lazily."""
    iterator, sizes = iter(cells), [axis.size for axis in axes]
    while chunk := list(islice(iterator, CHUNK_SIZE)):
        frame = _frame(axes, places_of(chunk, sizes))
        values = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
        for cell, record in zip(chunk, records(list(frame.columns), values, size=len(chunk)), strict=True):
            try:
                passes = bool(where(record))
            except Exception as exc:
                msg = f"where= failed for the cell {text(record, 200)}: {type(exc).__name__}: {exc}"
                raise ConfigurationError(msg) from exc
            if passes:
                yield cell


def _random_integers(random_state: Any) -> RandomInteger:
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        return random_integers(random_state.bytes)
    try:
        return random_integers(np.random.RandomState(random_state).bytes)
    except (ValueError, TypeError) as exc:
        msg = f"random_state must be a number, a numpy.random.Generator or a RandomState: {exc}"
        raise ConfigurationError(msg) from exc
