"""What shows results to people, in a notebook or a file: `dashboard`, `gallery`, `matrix`, `rate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .door import Door

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd

    from ...views.dashboard import Dashboard
    from ...views.gallery import Gallery
    from ...views.matrix import Matrix
    from ...views.rating import Rating


class Looking(Door):
    """Results become something to look at."""

    def dashboard(
        self,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        workflow_id: str | None = None,
        prefix: str | None = None,
        auto_refresh: bool | None = None,
        interval: float = 2.0,
    ) -> Dashboard:
        """Show a widget with a line per ``bulk_id``, which follows the executions until all have ended.

        This frame is taken as it is now, and never written; the widget's ``frame`` is the result as it shows it.

        Parameters
        ----------
        label : label or list of labels, optional
            Columns whose values a row is called by, beside its label in the index; by default the axes of a sweep, else
            the first text among the row's inputs. The first 200 characters are shown. The search finds words of all
            inputs, whatever the label.
        workflow_id, prefix
            As for `refresh`.
        auto_refresh : bool, optional
            Look at the executions in the background until all have ended; by default in a notebook.
        interval : float, default 2.0
            Seconds between two looks, at least.

        Returns
        -------
        Dashboard
            An ipywidgets container. Where there are no widgets it shows a table of the same, as HTML or text.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `interval` is no positive number.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames
        >>> print(pd.DataFrame({"prompt": ["a fox"]}).eachlabs.dashboard())
        No row of this frame was triggered yet (1 row)
        """
        from ..calls import Calls
        from ..desk import Desk, shown

        desk = Desk(Calls(self._frame, workflow_id=workflow_id, prefix=prefix), label=label)
        return shown(desk, auto_refresh=auto_refresh, interval=interval)

    def gallery(
        self,
        label: Hashable | Sequence[Hashable] | None = None,
        *,
        columns: int = 4,
        size: float = 220,
        page: int = 100,
        prefix: str | None = None,
    ) -> Gallery:
        """Show a contact sheet: a card for each row, with its pictures, films, sounds or texts.

        This frame is taken as it is now, and never written; nothing is fetched but what the browser shows. What was
        downloaded is shown from the disk, also when its URL is no longer valid (after about 24 hours). A click on a
        card shows it in large, with the whole input beside it.

        Parameters
        ----------
        label : label or list of labels, optional
            Columns whose values a card is called by; by default the axes of a sweep, else the first text among the
            row's inputs, else the index.
        columns : int, default 4
            Cards beside each other, at most; fewer where there is no room.
        size : float, default 220
            Their width in pixels.
        page : int, default 100
            Cards that are shown at once, at most 1,000; buttons turn the page.
        prefix : str, optional
            Of the result's columns; by default those of the latest result.

        Returns
        -------
        Gallery
            An ipywidgets container; its ``save("sheet.html")`` makes a file of it. Where there are no widgets it shows
            the first 60 cards as HTML, or the rows as text.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `columns`, `size` or `page` is no number that can be used.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start():
        ...     out = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
        >>> sheet = out.eachlabs.gallery(label="prompt", columns=2)
        """
        from ..calls import Calls
        from ..sheets import gallery

        calls = Calls(self._frame, prefix=prefix)
        return gallery(calls, label=label, columns=columns, size=size, page=page)

    def matrix(
        self,
        rows: Hashable | Sequence[Hashable],
        columns: Hashable | Sequence[Hashable],
        value: Hashable = "output",
        by: Hashable | Sequence[Hashable] | None = None,
        *,
        compare: pd.DataFrame | None = None,
        size: int = 160,
        prefix: str | None = None,
    ) -> Matrix:
        """Show a sweep as a grid: a row for each value of some columns, a column for each value of others.

        This frame is taken as it is now, and never written.

        Parameters
        ----------
        rows, columns : label or list of labels
            Columns of the frame along each axis; of several, each is a level of the headers. Their values stand in the
            order of first appearance, a categorical's in that of its categories. Missing values are one value, and
            lists and dicts stand by their JSON.
        value : label, default "output"
            What the cells show: "output" (pictures, films, sounds, texts, JSON), "cost" (USD), "duration" (seconds
            from start to end, unless the frame has a column of that name), "status", or a column. Of numbers, truths
            and spans of time the cells are coloured by their mean, on a scale; each number is shown. Any other column
            is shown as an output is.
        by : label or list of labels, optional
            Columns that order and name the repeats within a cell, such as a seed. Without it, rows of one cell are
            numbered as they come in the frame.
        compare : pandas.DataFrame, optional
            A second result. Each cell shows this frame's beside that one's, matched by `rows`, `columns` and `by`, and
            of numbers also the difference, that one's less this one's, which colours the cell. They are called by their
            runs, or A and B.
        size : int, default 160
            Pixels of a picture's side, 32 to 1,024.
        prefix : str, optional
            As for `refresh`; of both frames.

        Returns
        -------
        Matrix
            A widget; where there are no widgets a table of the same, as HTML or text. A click, or Enter, enlarges a
            result with its whole input; the arrow keys walk over the cells. At most 10,000 rows of the frame, 500
            columns and 100 repeats in a cell are shown, and it says what is cut. ``save("grid.html")`` and
            ``save("grid.png")`` write files.

            Its ``frame`` is the whole of it as an ordinary pivot. The index holds the values of `rows`, the columns
            those of `columns`; below them a level for each of `by`, where it is given; below that a level ``repeat``
            (from 1), where any two rows have all of these in common; above all a level ``run`` with `compare`, under
            which both have the same columns. So without such rows it is what ``frame.pivot`` gives, in the
            order of first appearance. Nothing is aggregated: each row's value stands in one place. Each column has
            the value's dtype, and where it must hold missing values the one that pandas gives those: float64 for
            integers, object for bool.

        Raises
        ------
        ColumnError
            There is no result in the frame, a column is not there, or one is named along two axes.
        ConfigurationError
            `size` is out of bounds.
        FrameTypeError
            `compare` is no DataFrame.

        Examples
        --------
        >>> import eachlabs_frames as ef, pandas as pd
        >>> with ef.sandbox.start(run_seconds=(0.0, 0.0)):
        ...     df = pd.DataFrame({"prompt": ["a fox", "a fox"], "style": ["ink", "oil"]})
        ...     out = df.eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
        >>> grid = out.eachlabs.matrix("prompt", "style", value="status")
        >>> print(grid)
        status by prompt and style
               ink        oil
        a fox  completed  completed
        >>> grid.frame.loc["a fox", "oil"]
        'completed'
        """
        from ..matrix import matrix

        return matrix(self._frame, rows, columns, value, by, compare=compare, size=size, prefix=prefix)

    def rate(
        self,
        column: Hashable = "score",
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        scale: int = 5,
        only_unrated: bool = False,
        prefix: str | None = None,
    ) -> Rating:
        """Show a widget that steps through the results by keyboard, and writes a score for each into this very frame.

        A widget cannot return anything, so this frame gets the column at once (all missing, where it has none), and
        each score as soon as it is given. Rows are written by position, and only while each is where it was: where the
        frame is sorted in place, or rows come or go, it is left alone from then on, the widget says so, and the scores
        go on in its ``frame``. A column of numbers that is there is gone on with, from its first missing one. A row
        that is sent again later has no score in the new result: it was the former execution's.

        A digit scores and goes on, the arrows move, U takes back; the widget shows the other keys, and buttons. It has
        the focus when its cell was run by itself, not by Run All; Escape gives the focus back to the notebook.

        Parameters
        ----------
        column : label, default "score"
            Where scores go: Int64, missing where there is none; Float64 where a number of before is not whole.
        label : label or list of labels, optional
            Columns whose values a result is called by; by default the axes of a sweep, else the first text among the
            row's inputs, else the index.
        scale : int, default 5
            The best score, 2 to 9; the worst is 1. A number of before that is none of these is left as it is.
        only_unrated : bool, default False
            Show only rows that have no score yet.
        prefix : str, optional
            Which result, where the frame holds several; the latest by default.

        Returns
        -------
        Rating
            An ipywidget; its ``frame`` is at any time a new frame with the scores. Rows that are not completed, or have
            no output, cannot be rated: it says how many. Without widgets it is a table of the scores.

        Raises
        ------
        ColumnError
            The frame holds no result; or the column is the result's own, an input, or holds something else than
            numbers; or there is no column `label`.
        ConfigurationError
            `scale` cannot be used.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start():
        ...     out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
        >>> out.eachlabs.rate()
        <Rating in column 'score': 0 of 1 rated>
        >>> out["score"].dtype
        Int64Dtype()
        """
        from .. import rating

        return rating.rate(self._frame, column, label=label, scale=scale, only_unrated=only_unrated, prefix=prefix)
