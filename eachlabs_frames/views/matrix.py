"""``Matrix``: a sweep as a grid, as a widget, a file or a table. Owns what goes to the browser when; never the network.

The table goes at once, and as many cards with it as are small together; the others, and files, when the browser asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import orjson
import traitlets

from . import assets, embedded, page, printed
from .notebook_output import NotebookOutput
from .served import Files
from .table import marks

if TYPE_CHECKING:
    import os

    from ..models import Json
    from .cards import Card
    from .source import Source
    from .table import Table

FIRST: Final = 2_000_000
"""Bytes of cards that come with the table: they are saved with the notebook, and seen without a kernel."""

AT_ONCE: Final = 100


class Matrix(anywidget.AnyWidget):
    """A sweep as a grid: a widget in a notebook, a table where there are no widgets, and with `save` a file.

    It shows the frame as it was when it was made.

    Attributes
    ----------
    frame : pandas.DataFrame
        What is shown, as an ordinary pivot; `df.eachlabs.matrix` says how it is laid out.
    """

    # As texts: of a path anywidget would hold each widget for ever, to tell it of changes of the file.
    _esm = assets.script("pieces", "files", "cards", "matrix")
    _css = assets.style("pieces", "cards", "matrix")
    table = traitlets.Any().tag(sync=True)
    cards = traitlets.Any().tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    def __init__(self, table: Table, source: Source) -> None:
        self._source = source
        self._plain = table
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        super().__init__(table=table, cards=_first(_cards(table, source)), static_key=self._output.key)
        self.on_msg(lambda _, content, __: self._answer(content))
        self._files = Files(self, source, (mark["at"] for mark in marks(table)))

    @property
    def frame(self) -> Any:
        """The data as an ordinary pivot (pandas.DataFrame), a copy."""
        return self._source.frame.copy()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the matrix into a file of its own.

        Parameters
        ----------
        path : str or path
            ``.html``: a page that needs no notebook and no network; what was downloaded is embedded in it, and what was
            not is linked. ``.png``: a picture, for which matplotlib must be installed; SVG cannot be drawn in it, which
            is noted where it would stand. A file that is there is written over.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        ConfigurationError
            Another suffix, no such folder, matplotlib is not installed, or more cells than a picture can show.

        Examples
        --------
        >>> import eachlabs_frames as ef, pandas as pd
        >>> with ef.sandbox.start(run_seconds=(0.0, 0.0)):
        ...     df = pd.DataFrame({"prompt": ["a fox", "a fox"], "style": ["ink", "oil"]})
        ...     out = df.eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
        >>> out.eachlabs.matrix("prompt", "style").save("grid.html").name
        'grid.html'
        """
        target = Path(path)
        if page.check_suffix(target, "matrix", ".html", ".png") == ".png":
            from .plot import save

            return save(target, self._plain, self._source)
        return self._save_page(target)

    def close(self) -> None:
        """Take the widget away."""
        self._output.remove()
        self._files.close()
        if self.comm is not None:
            self.layout.close()
        super().close()

    def __repr__(self) -> str:
        return printed.text(self._plain)

    def _ipython_display_(self, **_: Any) -> None:
        """Display the widget, and static HTML that stays when the widget is gone."""
        self._output.display()

    def _repr_mimebundle_(self, **more: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Offer the widget, and for where there is none the same as a table, in HTML and in text."""
        bundle = super()._repr_mimebundle_(**more)
        if bundle is None:
            return None
        data, metadata = bundle
        return data | self._static(), metadata

    def _static(self) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": printed.html(self._plain, self._source, self._files.find)}

    def _save_page(self, target: Path) -> Path:
        held = list(_cards(self._plain, self._source))
        return page.write(
            target,
            self._plain["title"],
            script=self._esm,
            style=self._css,
            state={"table": self._plain, "cards": held},
            files=embedded.read(embedded.choose(held, self._files.find)),
        )

    def _answer(self, asked: Json) -> None:
        """Answer the browser, which may ask anything."""
        kind = asked.get("kind") if isinstance(asked, dict) else None
        if kind == "cards" and isinstance(asked.get("at"), list):
            numbers = [at for at in asked["at"][:AT_ONCE] if type(at) is int and 0 <= at < self._source.size]
            self.send({"kind": "cards", "cards": self._source.cards(numbers)})


def _cards(table: Table, source: Source) -> Iterator[Card]:
    """Yield the cards of all that is shown, in reading order."""
    numbers = (mark["at"] for mark in marks(table))
    while some := list(islice(numbers, AT_ONCE)):
        yield from source.cards(some)


def _first(cards: Iterator[Card]) -> list[Card]:
    """Return the first cards, as many as are small together."""
    found: list[Card] = []
    room = FIRST
    for card in cards:
        room -= len(orjson.dumps(card))
        if room < 0:
            break
        found.append(card)
    return found
