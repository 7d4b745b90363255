"""Accessor methods that display results, in a notebook or a file: `dashboard`, `gallery`, `matrix`, `rate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .method_group import AccessorBase

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from ..frames.table import Frame
    from ..views.dashboard.widget import Dashboard
    from ..views.gallery.widget import Gallery
    from ..views.matrix.widget import Matrix
    from ..views.rating.widget import Rating


class ViewMethods(AccessorBase):
    """Methods that return a view of the results."""

    def dashboard(
        self,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        workflow_id: str | None = None,
        prefix: str | None = None,
        auto_refresh: bool | None = None,
        interval: float = 2.0,
    ) -> Dashboard:
        """Show a live widget with one entry per ``bulk_id``, updated until all executions have ended.

        This frame is copied and never modified; the widget's ``frame`` is the result that it shows.

        Parameters
        ----------
        label : label or list of labels, optional
            Columns whose values label a row, in addition to its index label; by default the axes of a sweep, else the
            first text among the row's inputs. The first 200 characters are shown. The search covers all inputs,
            whatever the label.
        workflow_id, prefix
            As for `refresh`.
        auto_refresh : bool, optional
            Poll the executions in the background until all have ended; by default in a notebook.
        interval : float, default 2.0
            Minimum number of seconds between two polls.

        Returns
        -------
        Dashboard
            An ipywidgets container. Without widget support it shows the same as a table, as HTML or text.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `interval` is not a positive number.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames
        >>> print(pd.DataFrame({"prompt": ["a fox"]}).eachlabs.dashboard())
        No row of this frame has been triggered yet (1 row)
        """
        from ..frames.calls import Calls
        from ..views.dashboard.widget import dashboard

        calls = Calls(self._frame, workflow_id=workflow_id, prefix=prefix)
        return dashboard(calls, label=label, auto_refresh=auto_refresh, interval=interval)

    def gallery(
        self,
        label: Hashable | Sequence[Hashable] | None = None,
        *,
        columns: int = 4,
        size: float = 220,
        page: int = 100,
        prefix: str | None = None,
    ) -> Gallery:
        """Show a contact sheet: a card for each row, with its images, videos, audio or text.

        This frame is copied and never modified; only what the browser shows is loaded. Downloaded files are shown from
        disk, also when their URLs are no longer valid (after about 24 hours). A click on a card enlarges it, with the
        whole input beside it, and small pictures of the images in it.

        Parameters
        ----------
        label : label or list of labels, optional
            Columns whose values label a card; by default the axes of a sweep, else the first text among the row's
            inputs, else the index.
        columns : int, default 4
            Maximum number of cards side by side; fewer if there is not enough space.
        size : float, default 220
            Width of a card in pixels.
        page : int, default 100
            Number of cards per page, at most 1,000.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.

        Returns
        -------
        Gallery
            An ipywidgets container; ``save("sheet.html")`` writes it to a file. Without widget support it shows the
            first 60 cards as HTML, or the rows as text.

        Raises
        ------
        ColumnError
            `label` names no column.
        ConfigurationError
            `columns`, `size` or `page` is not a valid number.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start():
        ...     out = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
        >>> sheet = out.eachlabs.gallery(label="prompt", columns=2)
        """
        from ..frames.calls import Calls
        from ..views.gallery.widget import gallery

        calls = Calls(self._frame, prefix=prefix)
        return gallery(calls, label=label, columns=columns, size=size, page=page)

    def matrix(
        self,
        rows: Hashable | Sequence[Hashable],
        columns: Hashable | Sequence[Hashable],
        value: Hashable = "output",
        by: Hashable | Sequence[Hashable] | None = None,
        *,
        compare: Frame | None = None,
        size: int = 160,
        prefix: str | None = None,
    ) -> Matrix:
        """Show a sweep as a grid: a row for each value of some columns, a column for each value of others.

        Headers of image files have a picture, and the shortest name that distinguishes them. This frame is copied and
        never modified.

        Parameters
        ----------
        rows, columns : label or list of labels
            Columns of the frame along each axis; of several, each is a level of the headers. Values are in order of
            first appearance; those of a categorical are in the order of its categories. Missing values count as one
            value, and lists and dicts are shown as JSON.
        value : label, default "output"
            What the cells show: "output" (images, videos, audio, text, JSON), "cost" (USD), "duration" (seconds from
            start to end, unless the frame has a column of that name), "status", or a column. For numbers, booleans and
            timedeltas, cells are coloured by their mean, and each value is shown. Any other column is shown like an
            output.
        by : label or list of labels, optional
            Columns that order and name the repeats within a cell, such as a seed. Without it, rows of one cell are
            numbered in the order of the frame.
        compare : pandas.DataFrame, optional
            A second result. Each cell shows the values of both frames side by side, matched by `rows`, `columns` and
            `by`; for numbers also the difference (`compare` minus this frame), which colours the cell. The two are
            labelled by their runs, or A and B.
        size : int, default 160
            Side of an image in pixels, 32 to 1,024.
        prefix : str, optional
            As for `refresh`; applies to both frames.

        Returns
        -------
        Matrix
            A widget; without widget support the same as a table, as HTML or text. A click or Enter enlarges a result
            with its whole input; the arrow keys move between cells. At most 10,000 rows of the frame, 500 columns and
            100 repeats in a cell are shown; a note says what is left out. ``save("grid.html")`` and
            ``save("grid.png")`` write files.

            Its ``frame`` is the complete data as a pivot table. The index has the values of `rows`, the columns those
            of `columns`, followed by a level for each of `by`, if given, and a level ``repeat`` (from 1) if two rows
            have all of these in common; with `compare`, the first level is ``run``, and both runs have the same
            columns. Without repeats it equals ``frame.pivot``, in order of first appearance. Nothing is aggregated:
            each row's value has its own place. Each column has the dtype of the values, or the one that pandas uses
            where values are missing: float64 for integers, object for bool.

        Raises
        ------
        ColumnError
            The frame holds no result, a column does not exist, or a column is named on both axes.
        ConfigurationError
            `size` is out of bounds.
        FrameTypeError
            `compare` is not a DataFrame.

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
        from ..views.matrix.source import matrix

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
        """Show a widget that steps through the results by keyboard and writes a score for each into this frame.

        This frame gets the column immediately (all missing, if it is new), and each score as soon as it is given.
        Scores are written by position: if the frame is sorted in place, or rows are added or removed, it is no longer
        written, the widget says so, and further scores are only in the widget's ``frame``. An existing numeric column
        is continued from its first missing value. A row that is sent again later has no score in the new result,
        because the score belongs to the earlier execution.

        A digit scores and moves to the next result, the arrow keys move, U undoes; the widget shows the other keys and
        buttons. It takes the focus if its cell is run alone, not by Run All; Escape returns the focus to the notebook.

        Parameters
        ----------
        column : label, default "score"
            Column for the scores: Int64, missing where there is none; Float64 if an existing value is not an integer.
        label : label or list of labels, optional
            Columns whose values label a result; by default the axes of a sweep, else the first text among the row's
            inputs, else the index.
        scale : int, default 5
            The best score, 2 to 9; the worst is 1. An existing value that is not on the scale is kept.
        only_unrated : bool, default False
            Show only rows that have no score yet.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.

        Returns
        -------
        Rating
            An ipywidget; its ``frame`` returns a new frame with the current scores. Rows that are not completed, or
            have no output, cannot be rated; the widget says how many. Without widget support it is a table of the
            scores.

        Raises
        ------
        ColumnError
            The frame holds no result; or `column` is a result column, an input, or not numeric; or `label` names no
            column.
        ConfigurationError
            `scale` is not an integer from 2 to 9.

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
        from ..views.rating.source import rate

        return rate(self._frame, column, label=label, scale=scale, only_unrated=only_unrated, prefix=prefix)
