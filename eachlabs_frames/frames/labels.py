"""An index's labels <-> JSON, so that the journal can give them back, and as texts for people.

A label of no known kind becomes its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ..models import Json

_KIND: Final = "kind"

_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "timestamp": pd.Timestamp,
    "timedelta": pd.Timedelta,
    "tuple": lambda parts: tuple(map(read, parts)),
    "float": float,
    "missing": lambda _: None,
}


def write(label: Any) -> Json:
    """Return a label as JSON: text and numbers as they are, anything else with its kind."""
    if isinstance(label, np.generic):
        label = label.item()
    if type(label) in (str, int, bool):
        return label if type(label) is not str or _is_utf8(label) else label.encode("utf-8", "replace").decode()
    if type(label) is float:
        return label if np.isfinite(label) else {_KIND: "float", "value": str(label)}
    if isinstance(label, tuple):
        return {_KIND: "tuple", "value": [write(part) for part in label]}
    if label is None or label is pd.NaT or label is pd.NA:
        return {_KIND: "missing", "value": None}
    if isinstance(label, pd.Timestamp):
        return {_KIND: "timestamp", "value": label.isoformat()}
    if isinstance(label, pd.Timedelta):
        return {_KIND: "timedelta", "value": label.isoformat()}
    return str(label)


def write_all(found: Sequence[Any]) -> Sequence[Json]:
    """Return each label as JSON; plain numbers and plain text are looked at in one stroke."""
    kinds = set(map(type, found))
    if kinds == {int} or (kinds == {str} and _is_utf8("".join(found))):
        return found
    return [write(label) for label in found]


def read(written: Json) -> Any:
    """Return the label that `write` wrote down."""
    if isinstance(written, dict):
        return _READERS[written[_KIND]](written["value"])
    return written


def texts(index: pd.Index[Any]) -> list[str]:
    """Return each label of an index as a text."""
    labels: Iterable[object] = index
    if index.nlevels > 1:
        labels = (", ".join(map(str, label)) for label in index)
    return [str(label) for label in labels]


def index(written: Sequence[Json], names: Sequence[str | None]) -> pd.Index[Any]:
    """Return the index of these labels."""
    labels = [read(one) for one in written]
    if len(names) > 1 and all(isinstance(label, tuple) and len(label) == len(names) for label in labels):
        several: pd.Index[Any] = pd.MultiIndex.from_tuples(labels, names=list(names))
        return several
    single: pd.Index[Any] = pd.Index(labels, name=names[0] if len(names) == 1 else None, tupleize_cols=False)
    return single


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
