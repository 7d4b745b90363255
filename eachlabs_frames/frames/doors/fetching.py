"""What brings results home: what the executions put out, line by line or as files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pandas as pd

from .door import Door

if TYPE_CHECKING:
    from ...engine.loop import Steps
    from ...models import Observer

MAX_SIZE = 2 * 1024**3


class Fetching(Door):
    """Results become data of the caller's own."""

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
    ) -> pd.DataFrame:
        """Fetch every file that the outputs name into a folder, and say where each one is.

        The same call again fetches only what is missing: what is complete is known by a list in the folder
        (``.eachlabs/downloads.jsonl``: the execution, the name, the size and the checksum; no URL), by its size, and
        where its time has changed, by its checksum; no request is sent for it, so it works long after the URLs have
        ceased to. A file of an execution's that was torn or changed since is fetched again and replaced: edit copies.

        Parameters
        ----------
        folder : path
            Made where there is none. The paths in the result begin with it as it was given: relative stays relative.
        name : str, default "{index}-{n}"
            How files are called: ``{index}`` (the row's label), ``{row}`` (its position), ``{n}`` (which of the row's
            files, from 0), ``{execution_id}`` and the frame's columns, with format specs as in ``{seed:04d}``. A ``/``
            makes sub-folders. What a field holds is made safe, and cut to 100 bytes; files of one name get the end of
            their execution's id behind it. The extension comes from the Content-Type, else from the URL, else it is
            ``.bin``; it is never one that a double click would run, and HTML is kept as ``.txt``.
        column : str, default "path"
            Where the paths go; their errors go to the same name with ``_error``.
        overwrite : bool, default False
            Whether a file that is in the way is replaced. By default it is left alone, which is the row's error.
        allow_private : bool, default False
            Whether to fetch from addresses of this machine or its network too. The host and port of ``base_url`` may
            always be fetched from.
        max_concurrency : int, optional
            Files at once; by default what was configured.
        max_size : int or None, default 2 GiB
            Bytes of one file, at most; None for any size.
        prefix : str, optional
            Which result, where the frame holds several; the latest by default.
        progress : bool or callable, optional
            As for `bulk_trigger`; the `Event` counts files.

        Returns
        -------
        pandas.DataFrame
            A new frame with ``path`` (object: a str where the output names one file, a list where it names several,
            with None for one that did not come, None where it names none) and ``path_error`` (string; missing where
            nothing is wrong). ``attrs["eachlabs_download"]`` is ``{"column": "path"}``.

        Raises
        ------
        ColumnError
            The frame holds no result, or a column of its own named ``path``.
        MappingError
            `name` asks for a field that there is not.
        ConfigurationError
            The folder cannot be written, or an option cannot be used.
        Interrupted
            By Ctrl-C, with the paths so far in ``frame``.

        Warns
        -----
        UserWarning
            Rows ended over 24 hours ago, which is how long output URLs are sure to work; or the disk is full.

        Notes
        -----
        The API key is never sent, nor any cookie. Only http and https are fetched, redirects at most 5 times and
        never from https to http. A name that leads to a private address is refused where the connection is made.
        Where the environment names a proxy (``HTTPS_PROXY``), that resolves the names: then only addresses that are
        written out, and names such as ``localhost``, are refused here. Connections that fail, 429, 5xx, bodies cut
        short and wrong checksums are tried up to 4 times.

        Examples
        --------
        >>> import tempfile, pandas as pd, eachlabs_frames as ef
        >>> with ef.sandbox.start(queue_seconds=0, run_seconds=(0, 0)), tempfile.TemporaryDirectory() as folder:
        ...     df = pd.DataFrame({"prompt": ["a fox"]})
        ...     out = df.eachlabs.bulk_trigger("wf_abc123", wait=True).eachlabs.download(folder)
        ...     out["path"].str.endswith("0-0.svg").tolist()
        [True]
        """
        return self._complete(
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
    ) -> pd.DataFrame:
        """Do as `download`, without holding up the running event loop."""
        from ...engine.loop import complete_async

        return await complete_async(
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

    def _download(self, folder: Any, **options: Any) -> Steps[pd.DataFrame]:
        from .. import download

        return download.download(self._frame, folder, **options)
