"""What `download` does, as steps: it only ever reads from the network, and writes files and a new frame."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pandas as pd

from ..aio.bridge import Steps
from ..aio.clock import SystemClock
from ..api.client import Client
from ..downloads import url_policy
from ..downloads.decisions import Fetched, RequestedFile, is_old
from ..downloads.fetcher import Fetcher, FetchOptions, Renew
from ..downloads.folder import Folder
from ..downloads.output_links import OutputLinks
from ..downloads.url_policy import UrlPolicy
from ..engine.events import DownloadEvents
from ..errors import ConfigurationError, Interrupted, UnsettledWarning
from ..models import Clock, Observer
from ..settings import Settings, current, is_loopback
from ..stacklevel import callers_level
from ..tracebacks import is_bare
from . import columns, lost_attrs, sent_inputs
from . import progress_bar as bars
from .download_plan import DownloadPlan, check_column, require_outputs

CLOCK: Final = SystemClock()
LEFT: Final = Fetched(error="not downloaded")


def download(frame: pd.DataFrame, folder: str | os.PathLike[str], **options: Any) -> Steps[pd.DataFrame]:
    """Fetch a frame's files, with the options of `Download`."""
    return (yield from Download(frame, folder, **options).steps())


class Download:
    """One call that fetches a frame's files.

    Parameters
    ----------
    frame : pandas.DataFrame
    folder, name, column, overwrite, allow_private, max_concurrency, max_size, prefix, progress
        As the user wrote them.
    clock : Clock
    store : callable
        Opens the folder.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        folder: str | os.PathLike[str],
        *,
        name: str,
        column: str,
        overwrite: bool,
        allow_private: bool,
        max_concurrency: int | None,
        max_size: int | None,
        prefix: str | None,
        progress: bool | Observer | None,
        clock: Clock = CLOCK,
        store: Callable[..., Folder] = Folder,
    ) -> None:
        bars.check(progress)
        self._path = _checked_folder(folder)
        self._column = check_column(frame, column)
        self._overwrite = _checked_flag("overwrite", overwrite)
        self._settings = current(max_concurrency=max_concurrency)
        self._terms = _terms(self._settings, allow_private, max_size)
        origin = columns.origin(frame, prefix)
        self._prefix = lost_attrs.prefix_of(frame, prefix)
        columns.require_result(frame, self._prefix)
        results = columns.read(frame, self._prefix)
        require_outputs(frame, self._prefix)
        self._open = sum(1 for _ in results.open_rows())
        self._accepted = results.accepted
        edited = sent_inputs.edited_of(frame, results, self._prefix, origin)
        self._list = DownloadPlan(
            frame, results, name, edited=edited.tolist(), fields=sent_inputs.fields_of(frame, origin)
        )
        self._source = columns.snapshot(frame)
        self._fetched = [LEFT] * len(self._list.wanted)
        self._progress = progress
        self._clock = clock
        self._store = store

    def steps(self) -> Steps[pd.DataFrame]:
        """Look at what is there, fetch the rest, and write the frame."""
        with closing(self._store(self._path, overwrite=self._overwrite)) as folder:
            try:
                self._warn_of_open_rows()
                left = self._skip(folder)
                self._warn_of_age(left)
                yield from self._fetch(folder, left)
            except KeyboardInterrupt as exc:
                raise self._interrupted(exc) from (None if is_bare(exc) else exc)
            except BaseException as exc:
                exc.frame = self._written("not downloaded")  # type: ignore[attr-defined]  # any exception may carry it
                raise
        return self._written("not downloaded")

    def _skip(self, folder: Folder) -> list[int]:
        """Take what is complete, and return the places of the rest."""
        left = []
        for place, (wanted, base) in enumerate(zip(self._list.wanted, self._list.bases, strict=True)):
            entry = folder.complete(wanted.identity, {wanted.stem, base})
            if entry is None:
                left.append(place)
            else:
                self._fetched[place] = Fetched(entry.file, entry.size)
        return left

    def _fetch(self, folder: Folder, left: Sequence[int]) -> Steps[None]:
        total = len(self._fetched)
        with bars.observing(self._progress, total=total, what="download", unit="file") as observer:
            reporter = DownloadEvents(observer, total=total, complete=total - len(left), accepted=self._accepted)

            def told(number: int, fetched: Fetched) -> None:
                self._fetched[left[number]] = fetched
                reporter.fetched(failed=fetched.file is None)

            fetcher = Fetcher(folder, self._terms, clock=self._clock, told=told, renew=self._renewal())
            wanted: list[RequestedFile] = [self._list.wanted[place] for place in left]

            async def job(stop: asyncio.Event) -> None:
                await fetcher.run(wanted, stop)

            reporter.started()
            if wanted:
                yield from reporter.stoppable(job)
            reporter.finished()
        if fetcher.full is not None:
            self._stop(fetcher.full)

    def _renewal(self) -> Renew | None:
        """Return what asks for a new link; None where there is no key to ask with."""
        if self._settings.api_key is None:
            return None
        links = OutputLinks(Client(self._settings), clock=self._clock, dialect=self._settings.dialect)

        async def renew(wanted: RequestedFile) -> RequestedFile | str:
            row = self._list.row_of(wanted)
            return await links.renew(wanted, self._list.links[row])

        return renew

    def _stop(self, reason: str) -> None:
        """Say of what was not downloaded why, where the disk took no more."""
        missing = [place for place, fetched in enumerate(self._fetched) if fetched is LEFT]
        for place in missing:
            self._fetched[place] = Fetched(error=f"not downloaded: {reason}")
        msg = (
            f"the download stopped, {len(missing)} of {len(self._fetched)} files were not downloaded: {reason}; "
            "complete files were kept: free some disk space, and the same call downloads the rest"
        )
        warnings.warn(msg, UserWarning, stacklevel=callers_level())

    def _warn_of_open_rows(self) -> None:
        if self._open:
            msg = f"{self._open} row(s) are still open and have no files yet: call wait() before download()"
            warnings.warn(msg, UnsettledWarning, stacklevel=callers_level())

    def _warn_of_age(self, left: Sequence[int]) -> None:
        now = self._clock.epoch()
        old = [place for place in left if is_old(self._list.wanted[place].ended_at, now)]
        rows = self._list.rows_of([place for place in old if not self._list.wanted[place].is_embedded])
        if rows:
            msg = (
                f"{len(rows)} row(s) ended over 24 hours ago, and output URLs live about 24 hours: files of "
                f"{self._list.named(rows)} that are not yet downloaded may be gone"
            )
            warnings.warn(msg, UserWarning, stacklevel=callers_level())

    def _interrupted(self, error: KeyboardInterrupt) -> Interrupted:
        there = sum(fetched.file is not None for fetched in self._fetched)
        reason = f" ({error})" if str(error) else ""
        msg = (
            f"interrupted{reason}: {there} of {len(self._fetched)} files are there; the frame so far is in .frame (in "
            f"a notebook: sys.last_value.frame), and the same call downloads only what is missing"
        )
        return Interrupted(msg, self._written("not downloaded: interrupted"))

    def _written(self, otherwise: str) -> pd.DataFrame:
        fetched = [Fetched(error=otherwise) if one is LEFT else one for one in self._fetched]
        return self._list.written(self._source, self._column, str(self._path), fetched, prefix=self._prefix)


def _checked_folder(folder: object) -> Path:
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        msg = f"folder must be a folder's path; got {folder!r}"
        raise ConfigurationError(msg)
    path = Path(os.fsdecode(os.fspath(folder))).expanduser()
    if path.exists() and not path.is_dir():
        msg = f"folder={str(folder)!r} is a file, not a folder"
        raise ConfigurationError(msg)
    return path


def _checked_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"{name} must be True or False; got {value!r}"
        raise ConfigurationError(msg)
    return value


def _terms(settings: Settings, allow_private: object, max_size: object) -> FetchOptions:
    if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1):
        msg = f"max_size must be a number of bytes, 1 or more, or None for any; got {max_size!r}"
        raise ConfigurationError(msg)
    home = url_policy.origin(settings.base_url)
    bounds = UrlPolicy(home, is_loopback(home[0]), _checked_flag("allow_private", allow_private))
    return FetchOptions(bounds, settings.timeout, settings.max_concurrency, max_size)
