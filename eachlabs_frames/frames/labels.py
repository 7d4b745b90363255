"""An index's labels <-> JSON, so that the journal can give them back, and as texts for people.

A label of no known kind becomes its text.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np
import pandas as pd

from ..models import Json

_KIND: Final = "kind"


def _timestamp(written: dict[str, Any]) -> Any:
    moment = pd.Timestamp(written["value"])
    zone = written.get("zone")
    if zone is not None:
        # The offset says which instant is meant, the zone what its clock shows: also in the hour that comes twice.
        with contextlib.suppress(KeyError, ValueError, OSError):  # a zone that this machine does not know
            moment = moment.tz_convert(zone)
    return moment.as_unit(written.get("unit", "ns"))


_MISSING: Final[dict[str | None, Any]] = {None: None, "NaT": pd.NaT, "NA": pd.NA}

_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "timestamp": _timestamp,
    "timedelta": lambda written: pd.Timedelta(written["value"]),
    "date": lambda written: date.fromisoformat(written["value"]),
    "time": lambda written: time.fromisoformat(written["value"]),
    "period": lambda written: pd.Period(ordinal=written["value"], freq=written["freq"]),
    "interval": lambda written: pd.Interval(read(written["left"]), read(written["right"]), written["closed"]),
    "uuid": lambda written: UUID(written["value"]),
    "decimal": lambda written: Decimal(written["value"]),
    "bytes": lambda written: base64.b64decode(written["value"]),
    "tuple": lambda written: tuple(map(read, written["value"])),
    "float": lambda written: float(written["value"]),
    "missing": lambda written: _MISSING.get(written["value"]),
}


def write(label: Any) -> Json:
    """Return a label as JSON: text and numbers as they are, anything else with its kind."""
    if isinstance(label, np.datetime64 | np.timedelta64):
        label = pd.Timestamp(label) if isinstance(label, np.datetime64) else pd.Timedelta(label)
    elif isinstance(label, np.generic):
        label = label.item()
    if type(label) in (str, int, bool):
        return label if type(label) is not str or _is_utf8(label) else label.encode("utf-8", "replace").decode()
    if type(label) is float:
        return label if np.isfinite(label) else {_KIND: "float", "value": str(label)}
    written = _with_kind(label)
    return str(label) if written is None else written


def _with_kind(label: Any) -> dict[str, Json] | None:
    """Return a label that JSON has no type for as its kind and its value; None where it is of no kind known here."""
    if label is None or label is pd.NaT or label is pd.NA:
        return {_KIND: "missing", "value": next(word for word, value in _MISSING.items() if value is label)}
    if isinstance(label, tuple):
        return {_KIND: "tuple", "value": [write(part) for part in label]}
    if isinstance(label, datetime):  # a pandas.Timestamp too
        return _with_zone(pd.Timestamp(label))
    if isinstance(label, pd.Timedelta):
        return {_KIND: "timedelta", "value": label.isoformat()}
    if isinstance(label, pd.Period):
        return {_KIND: "period", "value": label.ordinal, "freq": label.freqstr}
    if isinstance(label, pd.Interval):
        return {_KIND: "interval", "left": write(label.left), "right": write(label.right), "closed": label.closed}
    if isinstance(label, date | time):
        return {_KIND: type(label).__name__, "value": label.isoformat()}
    if isinstance(label, UUID | Decimal):
        return {_KIND: type(label).__name__.lower(), "value": str(label)}
    if isinstance(label, bytes):
        return {_KIND: "bytes", "value": base64.b64encode(label).decode()}
    return None


def _with_zone(moment: pd.Timestamp) -> dict[str, Json]:
    written: dict[str, Json] = {_KIND: "timestamp", "value": moment.isoformat()}
    # zoneinfo calls it key, pytz zone; a fixed offset has no name, and is in the text.
    zone = getattr(moment.tzinfo, "key", None) or getattr(moment.tzinfo, "zone", None)
    if isinstance(zone, str):
        written["zone"] = zone
    if moment.unit != "ns":
        written["unit"] = moment.unit
    return written


def write_all(found: Sequence[Any]) -> Sequence[Json]:
    """Return each label as JSON; plain numbers and plain text are looked at in one stroke."""
    kinds = set(map(type, found))
    if kinds == {int} or (kinds == {str} and _is_utf8("".join(found))):
        return found
    return [write(label) for label in found]


def read(written: Json) -> Any:
    """Return the label that `write` wrote down."""
    if isinstance(written, dict):
        return _READERS[written[_KIND]](written)
    return written


def texts(index: pd.Index[Any]) -> list[str]:
    """Return each label of an index as a text."""
    labels: Iterable[object] = index
    if index.nlevels > 1:
        labels = (", ".join(map(str, label)) for label in index)
    return [str(label) for label in labels]


def quoted(index: pd.Index[Any], position: int) -> str:
    """Return the label at a position as Python writes it: 3, and not np.int64(3)."""
    return repr(index[position : position + 1].tolist()[0])


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
