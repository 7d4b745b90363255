"""Implements `download`: fetches the files of a result and writes their paths into a new frame. It never triggers."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from ..aio.bridge import Call, Read
from ..aio.clock import SystemClock
from ..aio.tasks import in_thread
from ..api.client import Client
from ..checks import check_flag
from ..downloads import url_policy
from ..downloads.decisions import Fetched, RequestedFile, is_old
from ..downloads.fetcher import Fetcher, FetchOptions, OutputLinks, Renew
from ..downloads.folder import Folder
from ..downloads.url_policy import UrlPolicy
from ..engine.events import DownloadEvents
from ..errors import ConfigurationError, Interrupted, UnsettledWarning, attach_frame
from ..models import Clock, Observer
from ..settings import Settings, current, is_loopback
from ..stacklevel import find_stack_level, warn
from . import columns, lost_attrs, sent_inputs
from . import progress_bar as bars
from .download_plan import DownloadPlan, check_column, require_outputs
from .table import Frame

CLOCK: Final = SystemClock()
NOT_FETCHED: Final = Fetched(error="not downloaded")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """The keywords of `download`, as the user wrote them."""

    name: str
    column: str
    overwrite: bool
    allow_private: bool
    max_concurrency: int | None
    max_size: int | None
    prefix: str | None
    progress: bool | Observer | None


class Download(Call[Frame]):
    """One call that fetches a frame's files.

    Parameters
    ----------
    frame : pandas.DataFrame
    folder : path
    options : DownloadOptions
    clock : Clock
    store : callable
        Opens the folder.
    """

    def __init__(
        self,
        frame: Frame,
        folder: str | os.PathLike[str],
        options: DownloadOptions,
        *,
        clock: Clock = CLOCK,
        store: Callable[..., Folder] = Folder,
    ) -> None:
        bars.check(options.progress)
        self._path = _checked_folder(folder)
        self._column = check_column(frame, options.column)
        self._overwrite = check_flag("overwrite", options.overwrite)
        self._settings = current(max_concurrency=options.max_concurrency)
        self._fetch_options = _fetch_options(self._settings, options.allow_private, options.max_size)
        state = lost_attrs.read_state(frame, options.prefix)
        self._prefix, origin, results = state.prefix, state.meta, state.results
        require_outputs(frame, self._prefix)
        self._open = sum(1 for _ in results.open_rows())
        self._accepted = results.accepted
        edited = sent_inputs.edited_of(frame, results, self._prefix, origin)
        self._plan = DownloadPlan(
            frame, results, options.name, edited=edited.tolist(), fields=sent_inputs.fields_of(frame, origin)
        )
        self._source = columns.snapshot(frame)
        self._fetched = [NOT_FETCHED] * len(self._plan.files)
        self._progress = options.progress
        self._clock = clock
        self._store = store
        self._resources = ExitStack()
        self._has_folder = False
        self._missing: list[int] = []
        self._full_warning: str | None = None

    def prepare(self, _read: Read, /) -> None:
        """Open the folder, recognize complete files, warn of missing ones, and open the progress bar."""
        folder = self._resources.enter_context(closing(self._store(self._path, overwrite=self._overwrite)))
        self._has_folder = True
        self._warn_of_open_rows()
        self._missing = self._skip(folder)
        self._warn_of_age(self._missing)
        total = len(self._fetched)
        observer = self._resources.enter_context(
            bars.observing(self._progress, total=total, what="download", unit="file")
        )
        complete = total - len(self._missing)
        self._events = DownloadEvents(observer, total=total, complete=complete, accepted=self._accepted)
        self._fetcher = Fetcher(
            folder, self._fetch_options, clock=self._clock, on_fetched=self._on_fetched, renew=self._renewal()
        )

    async def execute(self, stop: asyncio.Event) -> Frame:
        """Fetch the missing files and return the frame."""
        wanted: list[RequestedFile] = [self._plan.files[place] for place in self._missing]
        with self._events.stopping(stop):
            self._events.started()
            if wanted:
                await self._fetcher.run(wanted, stop)
            self._events.finished()
        if self._fetcher.full is not None:
            self._note_full(self._fetcher.full)
        return await in_thread(partial(self._written, "not downloaded"))

    def close(self) -> None:
        """Close the folder and the progress bar."""
        self._resources.close()

    def conclude(self, result: Frame) -> Frame:
        """Warn if the disk is full."""
        if self._full_warning is not None:
            warn(self._full_warning, UserWarning, result)
        return result

    def interrupted(self, error: BaseException) -> BaseException:
        """Return what to raise, with the frame so far: a KeyboardInterrupt becomes an `Interrupted`."""
        if not self._has_folder or getattr(error, "frame", None) is not None:
            return error
        if isinstance(error, KeyboardInterrupt):
            return self._interrupted(error)
        attach_frame(error, self._written("not downloaded"))
        return error

    def _skip(self, folder: Folder) -> list[int]:
        """Record the files that are complete, and return the positions of the others."""
        missing = []
        for place, (wanted, base) in enumerate(zip(self._plan.files, self._plan.bases, strict=True)):
            entry = folder.complete(wanted.key, {wanted.stem, base})
            if entry is None:
                missing.append(place)
            else:
                self._fetched[place] = Fetched(entry.file, entry.size)
        return missing

    def _on_fetched(self, number: int, fetched: Fetched) -> None:
        self._fetched[self._missing[number]] = fetched
        self._events.fetched(failed=fetched.file is None)

    def _renewal(self) -> Renew | None:
        """Return the function that requests a new link; None without an API key."""
        if self._settings.api_key is None:
            return None
        links = OutputLinks(Client(self._settings), clock=self._clock, dialect=self._settings.dialect)

        async def renew(wanted: RequestedFile) -> RequestedFile | str:
            row = self._plan.row_of(wanted)
            return await links.renew(wanted, self._plan.links[row])

        return renew

    def _note_full(self, reason: str) -> None:
        """Write why files were not downloaded, when the disk is full."""
        missing = [place for place, fetched in enumerate(self._fetched) if fetched is NOT_FETCHED]
        for place in missing:
            self._fetched[place] = Fetched(error=f"not downloaded: {reason}")
        self._full_warning = (
            f"the download stopped, {len(missing)} of {len(self._fetched)} files were not downloaded: {reason}; "
            "complete files were kept: free some disk space, and the same call downloads the rest"
        )

    def _warn_of_open_rows(self) -> None:
        if self._open:
            msg = f"{self._open} row(s) are still open and have no files yet: call wait() before download()"
            warnings.warn(msg, UnsettledWarning, stacklevel=find_stack_level())

    def _warn_of_age(self, missing: Sequence[int]) -> None:
        now = self._clock.epoch()
        old = [place for place in missing if is_old(self._plan.files[place].ended_at, now)]
        rows = self._plan.rows_of([place for place in old if not self._plan.files[place].is_embedded])
        if rows:
            msg = (
                f"{len(rows)} row(s) ended over 24 hours ago, and output URLs live about 24 hours: files of "
                f"{self._plan.named(rows)} that are not yet downloaded may be gone"
            )
            warnings.warn(msg, UserWarning, stacklevel=find_stack_level())

    def _interrupted(self, error: KeyboardInterrupt) -> Interrupted:
        complete = sum(fetched.file is not None for fetched in self._fetched)
        reason = f" ({error})" if str(error) else ""
        msg = (
            f"interrupted{reason}: {complete} of {len(self._fetched)} files are there; the frame so far is in .frame "
            f"(in a notebook: sys.last_value.frame), and the same call downloads only what is missing"
        )
        return Interrupted(msg, self._written("not downloaded: interrupted"))

    def _written(self, otherwise: str) -> Frame:
        fetched = [Fetched(error=otherwise) if file is NOT_FETCHED else file for file in self._fetched]
        return self._plan.written(self._source, self._column, str(self._path), fetched, prefix=self._prefix)


def _checked_folder(folder: object) -> Path:
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        msg = f"folder must be a folder's path; got {folder!r}"
        raise ConfigurationError(msg)
    path = Path(os.fsdecode(os.fspath(folder))).expanduser()
    if path.exists() and not path.is_dir():
        msg = f"folder={str(folder)!r} is a file, not a folder"
        raise ConfigurationError(msg)
    return path


def _fetch_options(settings: Settings, allow_private: object, max_size: object) -> FetchOptions:
    if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1):
        msg = f"max_size must be a number of bytes, 1 or more, or None for any; got {max_size!r}"
        raise ConfigurationError(msg)
    home = url_policy.origin(settings.base_url)
    bounds = UrlPolicy(home, is_loopback(home[0]), check_flag("allow_private", allow_private))
    return FetchOptions(bounds, settings.timeout, settings.max_concurrency, max_size)
