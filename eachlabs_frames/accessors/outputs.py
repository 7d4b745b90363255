"""Accessor methods that return outputs: `outputs` in tidy form, `download` as files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..frames.table import Frame
from .method_group import AccessorBase

if TYPE_CHECKING:
    from ..aio.bridge import Call
    from ..models import Observer

MAX_SIZE = 2 * 1024**3


class OutputMethods(AccessorBase):
    """Methods that return outputs as rows or as files."""

    def outputs(
        self,
        *,
        expand: bool = False,
        steps: bool = False,
        prefix: str | None = None,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Return the outputs in tidy form, with one row per output item.

        A list gives one item per value, and nested lists are split the same way; a list that contains no string, object
        or list (a vector, a bounding box) is one item. An object gives one item per URL in it, each with the whole
        object as ``output``, or one item if it has no URL. Nothing is split below 20 levels of nesting. A row without
        an output keeps one row. Items keep the order of the output, and each URL is the ``url`` of exactly one item.

        Parameters
        ----------
        expand : bool, default False
            Add a column for each key of the objects, with dotted names for nested objects (``meta.width``). The rows
            stay the same, and ``output`` keeps the objects. A key with the name of another column is prefixed with
            ``output.``. Only the first 500 keys are expanded.
        steps : bool, default False
            Return one row per step of each execution instead, in the order in which the steps started. This reads the
            details of every execution from the API, with concurrent requests.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.
        progress : bool or callable, optional
            With `steps`, as for `bulk_trigger`.

        Returns
        -------
        pandas.DataFrame
            The index has this frame's labels, each repeated once per item. The columns are ``row`` (int64: the
            position of the row in this frame), ``n`` (int64: the number of the item in its row, from 0),
            ``execution_id``, ``status`` (string), ``kind`` (string: image, video, audio, link, text, number, boolean or
            json; missing if there is no output), ``output`` (object: the URL, text, number or object), ``url``
            (string), ``key`` (string: the path of the item in the output, as in ``images.0.url``; missing if it is the
            whole output) and ``error`` (string); after a `download` also ``path`` (string). Expanded columns are
            string, bool, int64 or float64; boolean and Int64 if values are missing; object if types are mixed.

            With `steps`: ``row``, ``n``, ``execution_id``, ``status``, then ``step_id``, ``step_status``, ``model``
            (string; for a step without a model its type, ``http`` or ``python``), ``started_at``, ``completed_at``
            (datetime64[ns, UTC]), ``elapsed`` (float64, seconds), ``primary``, ``output`` (object) and ``error``
            (string). A row without known steps keeps one row; if its details could not be read, ``error`` says why.

        Raises
        ------
        ColumnError
            The frame holds no result.
        ConfigurationError
            `expand` or `steps` is not a bool.
        APIError
            With `steps`: 401, 403, or no response.

        Notes
        -----
        To add the frame's own columns, join on the index; if labels are not unique, select by position:
        ``out["prompt"].to_numpy()[items["row"]]``. After a round trip through CSV, outputs are text, and a list is one
        item; Parquet keeps lists, and `load_run` returns them.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start(queue_seconds=0, run_seconds=(0, 0)):
        ...     df = pd.DataFrame({"prompt": ["a fox", "a heron"], "num_images": [2, 1]}, index=["x", "y"])
        ...     out = df.eachlabs.bulk_trigger("wf_images", wait=True)
        >>> items = out.eachlabs.outputs()
        >>> items[["row", "n", "kind"]].to_records().tolist()
        [('x', 0, 0, 'image'), ('x', 0, 1, 'image'), ('y', 1, 0, 'image')]
        >>> out[["prompt"]].join(items)["prompt"].tolist()
        ['a fox', 'a fox', 'a heron']
        """
        return self._run(self._outputs(expand=expand, steps=steps, prefix=prefix, progress=progress))

    async def outputs_async(
        self,
        *,
        expand: bool = False,
        steps: bool = False,
        prefix: str | None = None,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Async variant of `outputs`; it does not block the running event loop."""
        return await self._run_async(self._outputs(expand=expand, steps=steps, prefix=prefix, progress=progress))

    def _outputs(self, **options: Any) -> Callable[[], Call[Frame]]:
        from ..aio.bridge import ReadCall
        from ..frames import output_rows

        return lambda: ReadCall(partial(output_rows.outputs, self._frame, **options))

    def download(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str = "{index}-{n}",
        column: str = "path",
        overwrite: bool = False,
        allow_private: bool = False,
        max_concurrency: int | None = None,
        max_size: int | None = MAX_SIZE,
        prefix: str | None = None,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Download every file that the outputs refer to into a folder, and return the paths.

        The same call again downloads only missing files. Complete files are recognized by a list in the folder
        (``.eachlabs/downloads.jsonl``: the execution, the name, the size and the checksum; no URL), by their size, and
        if their modification time has changed, by their checksum. No request is sent for them, so this works after the
        URLs have expired. A downloaded file that was damaged or changed is downloaded again and replaced: edit copies.

        Parameters
        ----------
        folder : path
            Created if missing. The paths in the result start with it as given: a relative path stays relative.
        name : str, default "{index}-{n}"
            Template of the file names: ``{index}`` (the row's label), ``{row}`` (its position), ``{n}`` (the number of
            the file in its row, from 0), ``{execution_id}`` and the frame's columns, with format specs as in
            ``{seed:04d}``; the four take precedence over columns. A ``/`` makes sub-folders. Field values are sanitized
            and truncated to 100 bytes; files with the same name get the end of their execution's id appended. The
            extension comes from the Content-Type, else from the URL, else it is ``.bin``; it is never that of an
            executable file, and HTML is saved as ``.txt``. An SVG is saved unchanged: a browser that opens it runs the
            scripts in it.
        column : str, default "path"
            Column for the paths; errors go to the column of that name with ``_error`` appended.
        overwrite : bool, default False
            Whether to replace another file of the same name. By default it is kept, and the row gets an error.
        allow_private : bool, default False
            Whether to download from private addresses (this machine or its network) too. The host and port of
            ``base_url`` are always allowed.
        max_concurrency : int, optional
            Number of concurrent downloads; by default the configured value.
        max_size : int or None, default 2 GiB
            Maximum size of one file in bytes; None for any size.
        prefix : str, optional
            Prefix of the result to use, if the frame holds several; the latest by default.
        progress : bool or callable, optional
            As for `bulk_trigger`; the `Event` counts files.

        Returns
        -------
        pandas.DataFrame
            A new frame with ``path`` (object: a str where no output names more than one file; else lists of str, with
            None for a file that was not downloaded; None if there is no file) and ``path_error`` (string; missing if
            there is no error). ``attrs["eachlabs_download"]`` says so: ``{"column": "path"}``, with the result's
            ``prefix`` and ``earlier`` columns of paths where there are any. A row that is sent again has no path.

        Raises
        ------
        ColumnError
            The frame holds no result or no outputs, or already has a column named ``path``.
        MappingError
            `name` uses a field that does not exist.
        ConfigurationError
            The folder cannot be written, or an option is invalid.
        Interrupted
            On Ctrl-C; its ``frame`` has the paths so far.

        Warns
        -----
        UserWarning
            Rows ended over 24 hours ago, after which output URLs may have expired; or the disk is full.
        UnsettledWarning
            Rows are still open and have no files yet.

        Notes
        -----
        Neither the API key nor cookies are sent. Only http and https URLs are requested, with at most 5 redirects and
        none from https to http. A host name that resolves to a private address is refused when the connection is made.
        If the environment sets a proxy (``HTTPS_PROXY``), the proxy resolves names: then only literal addresses, and
        names such as ``localhost``, are refused. Failed connections, 429, 5xx, truncated bodies and wrong checksums are
        tried up to 4 times.

        Examples
        --------
        >>> import tempfile, pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start(queue_seconds=0, run_seconds=(0, 0)), tempfile.TemporaryDirectory() as folder:
        ...     df = pd.DataFrame({"prompt": ["a fox"]})
        ...     out = df.eachlabs.bulk_trigger("wf_abc123", wait=True).eachlabs.download(folder)
        ...     out["path"].str.endswith("0-0.svg").tolist()
        [True]
        """
        return self._run(
            self._download(
                folder,
                name=name,
                column=column,
                overwrite=overwrite,
                allow_private=allow_private,
                max_concurrency=max_concurrency,
                max_size=max_size,
                prefix=prefix,
                progress=progress,
            )
        )

    async def download_async(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str = "{index}-{n}",
        column: str = "path",
        overwrite: bool = False,
        allow_private: bool = False,
        max_concurrency: int | None = None,
        max_size: int | None = MAX_SIZE,
        prefix: str | None = None,
        progress: bool | Observer | None = None,
    ) -> Frame:
        """Async variant of `download`; it does not block the running event loop."""
        return await self._run_async(
            self._download(
                folder,
                name=name,
                column=column,
                overwrite=overwrite,
                allow_private=allow_private,
                max_concurrency=max_concurrency,
                max_size=max_size,
                prefix=prefix,
                progress=progress,
            )
        )

    def _download(self, folder: Any, **options: Any) -> Callable[[], Call[Frame]]:
        from ..frames.download import Download, DownloadOptions

        return lambda: Download(self._frame, folder, DownloadOptions(**options))
