"""DataFrame subclasses with a narrower display, for `runs`, `summary` and `preview`.

Owns what the display omits. The data are complete, and results of operations on them are ordinary DataFrames: pandas
returns those for a subclass without a `_constructor`.
"""

from __future__ import annotations

from html import escape
from shutil import get_terminal_size
from typing import Any, Final

import pandas as pd

from .. import media
from ..inputs.encoding import MAX_PAYLOAD as MAX_INPUT
from ..models import COMPLETED, FAILED, STATUSES, UNKNOWN

MAX_PAYLOAD: Final = 100
"""Characters of a payload in a preview."""

PAGE: Final = 120
"""Characters in 1,000 pixels of a frame in JupyterLab (measured in Chromium)."""
GAP: Final = 2
MAX_ID: Final = 16
MIN_COLUMNS: Final = 3
TIME: Final = "%Y-%m-%d %H:%M:%S"


class _CompactFrame(pd.DataFrame):
    """A frame with its own display."""

    def _displayed(self, width: int) -> tuple[pd.DataFrame, str]:
        """Return the frame to display in `width` characters, and a remark on what it omits."""
        raise NotImplementedError

    def _repr_html_(self) -> str | None:
        shown, remark = self._displayed(PAGE)
        with pd.option_context("display.max_colwidth", None):
            html: str | None = shown._repr_html_()  # type: ignore[operator]  # IPython's protocol
        return f"{html}<p>{escape(remark)}</p>" if html is not None and remark else html

    def __repr__(self) -> str:
        shown, remark = self._displayed(get_terminal_size().columns - GAP)
        return f"{shown!r}\n{remark}" if remark else repr(shown)


class CountsFrame(_CompactFrame):
    """Counts per status, with the most important columns first.

    Statuses that no row has and last columns that do not fit are omitted; a remark names both. Ids are shortened if
    they do not fit. Times are shown to the second.
    """

    def _displayed(self, width: int) -> tuple[pd.DataFrame, str]:
        shown: pd.DataFrame = pd.DataFrame(self)
        if not shown.columns.is_unique:
            return shown, ""
        counts = {*STATUSES, "superseded"} - {COMPLETED, FAILED}
        zero = [name for name in shown if name in counts | {"workers"} and len(shown) and shown[name].eq(0).all()]
        others = [name for name in shown if name in counts - {UNKNOWN} and name not in zero]
        first = [name for name in (COMPLETED, FAILED, UNKNOWN) if name in shown and name not in zero]
        shown = shown.drop(columns=zero)
        if first and others:
            names = [name for name in shown if name not in first]
            start = names.index(others[0])
            shown = shown[[*names[:start], *first, *names[start:]]]
        times = [str(name) for name, dtype in shown.dtypes.items() if dtype.kind == "M"]
        shown = shown.assign(**{name: shown[name].dt.strftime(TIME) for name in times})
        ids = [str(name) for name in shown if str(name).endswith("_id")]
        if _width(shown) > width:
            shown = shown.assign(**{name: shown[name].map(_shortened, na_action="ignore") for name in ids})
        cut: list[str] = []
        while _width(shown) > width and shown.shape[1] > MIN_COLUMNS:
            cut.insert(0, str(shown.columns[-1]))
            shown = shown.iloc[:, :-1]
        remarks = [", ".join(cut), f"{', '.join(map(str, zero))} (0 in every row)" if zero else ""]
        omitted = "; ".join(filter(None, remarks))
        return shown, f"Columns not shown: {omitted}" if omitted else ""


def _width(frame: pd.DataFrame) -> int:
    """Return the approximate width of a displayed frame, in characters."""
    displayed = frame.iloc[: pd.get_option("display.max_rows")]
    cells = [[str(name), *map(_text, displayed.iloc[:, place].tolist())] for place, name in enumerate(frame)]
    return len(str(len(frame))) + sum(max(map(len, column)) + GAP for column in cells)


def _text(cell: object) -> str:
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_ID else f"{text[:8]}\N{HORIZONTAL ELLIPSIS}{text[-4:]}"


class PreviewFrame(_CompactFrame):
    """Payloads as JSON, truncated unless `full`, and problems, which notebooks show in full."""

    _metadata: Final = ["full"]
    full: bool = False

    @classmethod
    def of(cls, frame: pd.DataFrame, *, full: bool) -> PreviewFrame:
        """Return `frame` with this display."""
        preview: PreviewFrame = cls(frame)
        preview.full = full
        preview.attrs.update(frame.attrs)
        return preview

    def __repr__(self) -> str:
        if not self.full:
            return super().__repr__()
        with pd.option_context("display.max_colwidth", None):
            return super().__repr__()

    def _displayed(self, _width: int) -> tuple[pd.DataFrame, str]:
        shown: pd.DataFrame = pd.DataFrame(self)
        if "payload" not in shown or "problem" not in shown:
            return shown, ""
        payloads: list[Any] = shown["payload"].tolist()
        size = len(payloads)
        max_rows = pd.get_option("display.max_rows") or size
        for row in {*range(min(max_rows, size)), *range(max(0, size - max_rows), size)}:
            if payloads[row] is not None:
                payloads[row] = _json(payloads[row], self.full)
        problem = shown["problem"].astype(object).where(shown["problem"].notna(), "")
        return shown.assign(payload=pd.Series(payloads, dtype=object).to_numpy(), problem=problem.to_numpy()), ""


def _json(payload: Any, full: bool) -> str:
    return media.text(payload, MAX_INPUT if full else MAX_PAYLOAD)
