"""``Matrix``: a sweep as a grid: a widget, a file or a table. Owns what is sent to the browser; never uses the network.

The table is sent immediately, with the first cards up to a size limit; other cards, and files, when the browser
requests them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import orjson
import traitlets

from ..common import assets, html_page, view_files
from ..common.notebook_output import NotebookOutput
from ..common.view_files import ViewFiles
from . import static
from .model import marks

if TYPE_CHECKING:
    import os

    from ...models import Json
    from ..common.card import Card
    from .cards import MatrixCards
    from .model import MatrixTable

FIRST: Final = 2_000_000
"""Bytes of cards that are sent with the table: they are saved with the notebook, and displayed without a kernel."""

MAX_CARDS_PER_MESSAGE: Final = 100


class Matrix(anywidget.AnyWidget):
    """A sweep as a grid, returned by ``df.eachlabs.matrix()``: a widget, or a table (HTML or text) without widgets.

    It shows the frame as it was when the matrix was created, and is not updated. `save` writes a file.

    Attributes
    ----------
    frame : pandas.DataFrame
        The data as a pivot table; ``df.eachlabs.matrix`` documents its layout.
    """

    # Texts, because anywidget watches a path for changes and so keeps each widget alive for ever.
    _esm = assets.script("matrix")
    _css = assets.style("matrix")
    table = traitlets.Any().tag(sync=True)
    cards = traitlets.Any().tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    def __init__(self, table: MatrixTable, cards: MatrixCards, frame: Any) -> None:
        self._source = cards
        self._table = table
        self._frame = frame
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        super().__init__(table=table, cards=_first(_cards(table, cards)), static_key=self._output.key)
        self.on_msg(lambda _, content, __: self._on_request(content))
        self._files = ViewFiles(cards.files, (mark["at"] for mark in marks(table)), cards.input_files)
        self._files.serve(self)

    @property
    def frame(self) -> Any:
        """The data as a pivot table, a new pandas.DataFrame."""
        return self._frame.copy()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the matrix to a file.

        Parameters
        ----------
        path : str or path
            The suffix selects the format. ``.html``: a page that opens without a notebook; downloaded files are
            embedded, other outputs are linked. ``.png``: an image, which requires matplotlib; an SVG output cannot be
            drawn, and its cell says so. An existing file is replaced.

        Returns
        -------
        pathlib.Path
            Path of the file.

        Raises
        ------
        ConfigurationError
            The suffix is another one, the folder does not exist, matplotlib is not installed, or there are more cells
            than an image can show.

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
        if html_page.check_suffix(target, "matrix", ".html", ".png") == ".png":
            from .png import save

            return save(target, self._table, self._source)
        return self._save_page(target)

    def close(self) -> None:
        """Remove the widget."""
        self._output.remove()
        self._files.close()
        if self.comm is not None:
            self.layout.close()
        super().close()

    def __repr__(self) -> str:
        return static.text(self._table)

    def _ipython_display_(self, **_: Any) -> None:
        """Display the widget, and static HTML that stays when the widget is gone."""
        self._output.display()

    def _repr_mimebundle_(self, **more: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the widget's MIME bundle, with static HTML and text for front ends without widgets."""
        bundle = super()._repr_mimebundle_(**more)
        if bundle is None:
            return None
        data, metadata = bundle
        return data | self._static(), metadata

    def _static(self) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": static.html(self._table, self._source, self._files)}

    def _save_page(self, target: Path) -> Path:
        cards = list(_cards(self._table, self._source))
        outputs = view_files.read_embedded(view_files.choose_embedded(cards, self._files.find))
        heads = (number for side in ("rows", "columns") for place in self._table[side]["images"] for number in place)
        inputs = self._source.input_files.page_files(cards, (number for number in heads if number is not None))
        return html_page.write(
            target,
            self._table["title"],
            script=self._esm,
            style=self._css,
            state={"table": self._table, "cards": cards},
            files=chain(outputs, inputs),
        )

    def _on_request(self, request: Json) -> None:
        """Answer a request of the browser, which may contain anything."""
        kind = request.get("kind") if isinstance(request, dict) else None
        if kind == "cards" and isinstance(request.get("at"), list):
            numbers = request["at"][:MAX_CARDS_PER_MESSAGE]
            valid = [at for at in numbers if type(at) is int and 0 <= at < self._source.size]
            self.send({"kind": "cards", "cards": self._source.cards(valid)})


def _cards(table: MatrixTable, source: MatrixCards) -> Iterator[Card]:
    """Yield the cards of all rows that are displayed, in reading order."""
    numbers = (mark["at"] for mark in marks(table))
    while chunk := list(islice(numbers, MAX_CARDS_PER_MESSAGE)):
        yield from source.cards(chunk)


def _first(cards: Iterator[Card]) -> list[Card]:
    """Return the first cards, up to a size limit."""
    first: list[Card] = []
    bytes_left = FIRST
    for card in cards:
        bytes_left -= len(orjson.dumps(card))
        if bytes_left < 0:
            break
        first.append(card)
    return first
