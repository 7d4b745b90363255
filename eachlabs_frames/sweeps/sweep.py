"""``sweep``: builds a frame with every combination of some axes. It never sends a row."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pandas as pd

from ..errors import ColumnError, ConfigurationError
from ..frames import attrs, columns
from ..frames.rows import records
from ..media import text
from . import axes as reading
from .axes import Axis
from .grid import Draw, Grid, Places, drawing, shuffled

REPEAT: Final = "repeat"

MAX_ROWS: Final = 100_000
"""Rows of a sweep that nobody has to ask for twice: each may be a paid execution."""

CHUNK: Final = 1_000
TESTED: Final = 200_000
PER_CELL: Final = 100
"""Cells that are drawn and tested, at most, where few of them pass; or so many for each that is wanted."""

Test = Callable[[dict[Any, Any]], object]


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
        with each other.

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
    wanted = None if sample is None else _whole("sample", sample, least=0)
    times = _whole("repeats", repeats, least=1)
    _check_options(where, random_state, allow_large, draws=wanted is not None)
    unbounded = allow_large or wanted is not None
    found = _read(axes, more_axes, most=reading.MAX_VALUES if unbounded else MAX_ROWS)
    _check_labels([label for axis in found for label in axis.columns], times)
    grid = Grid(tuple(axis.size for axis in found))
    if not unbounded and grid.size * times > MAX_ROWS:
        raise ConfigurationError(_too_large(found, grid, times))
    cells = _chosen(found, grid, wanted, where=where, random_state=random_state)
    places = grid.whole(times=times) if cells is None else grid.places(cells, times=times)
    out = _frame(found, places, times=times)
    out.attrs[attrs.SWEEP] = {
        "axes": {axis.name: [str(label) for label in axis.columns] for axis in found},
        "repeat": REPEAT if times > 1 else None,
    }
    return out


_AXIS: Final = "; an axis of this name goes into a dict, as in sweep({{{!r}: [...]}})"


def _whole(name: str, value: object, *, least: int) -> int:
    try:
        whole = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # it says so itself
    except TypeError:
        whole = -1
    if whole < least:
        msg = f"{name} must be a whole number, {least} or more; got {text(value, 60)}"
        raise ConfigurationError(msg + _AXIS.format(name))
    return whole


def _check_options(where: object, random_state: object, allow_large: object, *, draws: bool) -> None:
    """Refuse what may well be an axis of that name: nobody must miss one."""
    if where is not None and not callable(where):
        msg = f"where must be a function of a cell, as in where=lambda cell: cell['seed'] > 0; got {text(where, 60)}"
        raise ConfigurationError(msg + _AXIS.format("where"))
    if random_state is not None and not draws:
        msg = "random_state= has no effect without sample="
        raise ConfigurationError(msg + _AXIS.format("random_state"))
    if not isinstance(allow_large, bool | np.bool_):
        msg = f"allow_large must be True or False; got {text(allow_large, 60)}"
        raise ConfigurationError(msg + _AXIS.format("allow_large"))


def _read(first: object, more: Mapping[str, Any], *, most: int) -> list[Axis]:
    if first is not None and not isinstance(first, Mapping):
        kind = type(first).__name__
        msg = f"axes are given by name, as in sweep(prompt=[...]) or sweep({{'prompt': [...]}}); got a {kind}"
        raise ConfigurationError(msg)
    named = dict(first or {})
    twice = next((name for name in more if name in named), None)
    if twice is not None:
        msg = f"axis {twice!r} is given twice"
        raise ConfigurationError(msg)
    named |= more
    if not named:
        msg = "a sweep needs an axis, as in sweep(prompt=['a fox', 'a heron'], seed=range(3))"
        raise ConfigurationError(msg)
    return [reading.read(name, values, most=most) for name, values in named.items()]


def _check_labels(labels: Sequence[Hashable], times: int) -> None:
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        msg = f"two axes fill the column {twice[0]!r}: rename it in one of them"
        raise ColumnError(msg)
    if times > 1 and REPEAT in labels:
        msg = f"repeats={times} writes a column {REPEAT!r}, which an axis also fills: rename the axis"
        raise ColumnError(msg)
    if set(columns.IDENTIFYING) <= set(labels):
        names = ", ".join(map(repr, columns.IDENTIFYING))
        msg = f"the axes contain columns of a result ({names}): pass only the columns to send"
        raise ColumnError(msg)


def _too_large(found: Sequence[Axis], grid: Grid, times: int) -> str:
    parts = [f"{axis.name} {axis.size:,}" for axis in found] + ([f"repeats {times:,}"] if times > 1 else [])
    return (
        f"this sweep has {grid.size * times:,} rows ({' x '.join(parts)}), and each may be a paid execution: draw a "
        f"sample of its cells with sample=, or pass allow_large=True for more than {MAX_ROWS:,}"
    )


def _frame(found: Sequence[Axis], places: Iterable[Places], *, times: int = 1) -> pd.DataFrame:
    taken = [pair for axis, where in zip(found, places, strict=True) for pair in axis.take(where)]
    index = taken[0][1].index
    if times > 1:
        taken.append((REPEAT, pd.Series(np.tile(np.arange(1, times + 1, dtype=np.int64), len(index) // times))))
    out: pd.DataFrame = pd.DataFrame(dict(enumerate(column for _, column in taken)), index=index, copy=False)
    out.columns = pd.Index([label for label, _ in taken], tupleize_cols=False)
    return out


def _chosen(
    found: Sequence[Axis], grid: Grid, wanted: int | None, *, where: Test | None, random_state: object
) -> Sequence[int] | None:
    """Return the numbers of the cells to make, in their order; None for every one."""
    if wanted is None:
        return None if where is None else list(_passing(found, grid, range(grid.size), where))
    if wanted > grid.size:
        msg = (
            f"sample={wanted:,} of a product of {grid.size:,} cells: each cell is drawn at most once; repeats= runs "
            f"it several times"
        )
        raise ConfigurationError(msg)
    order = shuffled(grid.size, _draw(random_state))
    if where is None:
        return sorted(islice(order, wanted))
    tested = min(grid.size, max(TESTED, PER_CELL * wanted))
    drawn = sorted(islice(_passing(found, grid, islice(order, tested), where), wanted))
    if len(drawn) < wanted:
        of = f"the {grid.size:,} cells" if tested == grid.size else f"{tested:,} cells drawn of {grid.size:,}"
        msg = f"sample={wanted:,}, but only {len(drawn):,} of {of} pass where=: ask for fewer, or narrow the axes"
        raise ConfigurationError(msg)
    return drawn


def _passing(found: Sequence[Axis], grid: Grid, cells: Iterable[int], where: Test) -> Iterator[int]:
    """Yield those of `cells` that the user's test keeps, in their order; each is made when it is asked for."""
    left = iter(cells)
    while chunk := list(islice(left, CHUNK)):
        made = _frame(found, grid.places(chunk))
        values = [made.iloc[:, place].tolist() for place in range(made.shape[1])]
        for cell, record in zip(chunk, records(list(made.columns), values, size=len(chunk)), strict=True):
            if _keeps(where, record):
                yield cell


def _keeps(where: Test, record: dict[Any, Any]) -> bool:
    try:
        return bool(where(record))
    except Exception as exc:
        msg = f"where= failed for the cell {text(record, 200)}: {type(exc).__name__}: {exc}"
        raise ConfigurationError(msg) from exc


def _draw(random_state: Any) -> Draw:
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        return drawing(random_state.bytes)
    try:
        return drawing(np.random.RandomState(random_state).bytes)
    except (ValueError, TypeError) as exc:
        msg = f"random_state must be a number, a numpy.random.Generator or a RandomState: {exc}"
        raise ConfigurationError(msg) from exc
