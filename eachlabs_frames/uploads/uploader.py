"""Uploads the contents of a call's files, each once, beside the sending of its rows.

Owns which earlier uploads are still good, and the order of the others. It knows nothing of rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import repeat
from typing import Final

from ..aio.tasks import cancel_on, run_workers
from ..inputs.file_values import reference
from ..journal.base import Journal
from ..journal.upload_records import UploadRecord
from ..models import ApiConnection
from ..settings import Settings
from .account import account_of
from .local_files import LocalFiles
from .progress import UploadProgress
from .storage_client import StorageClient
from .transfer import NS, Transfer

MARGIN: Final = 3_600.0
"""Seconds that a file must still have when its URL is sent: an execution may be queued. Half of the file's lifetime if
that is less."""

MAX_ROUNDS: Final = 4
"""Times that the files of a batch are uploaded if some of them expire before the others are at the API."""

EXPIRES: Final = (
    "its upload expires too soon to be sent: pass a larger expires_in=, and check that this machine's clock is right"
)

NOT_STORED: Final = "the content of this file is not at the API, or not any more: pass the file again"


def is_usable(record: UploadRecord, now: float) -> bool:
    """Return whether the URL of an upload may be sent at `now`, in epoch seconds."""
    left = record.expires_at / NS - now
    lifetime = (record.expires_at - record.presigned_at) / NS
    return record.uploaded_at is not None and record.deleted_at is None and left > min(MARGIN, lifetime / 2)


class Uploader:
    """The uploads of one call.

    Parameters
    ----------
    files : LocalFiles
        The files of the call's rows.
    journal : Journal
        Knows earlier uploads.
    connection : ApiConnection
    settings : Settings
    run : str
        The run whose rows have the files; "" without a journal.
    expires_in : int or None
        Seconds that the API keeps a file; None for its default.
    on_progress : callable
        Called with the progress as a text, and with None when nothing is left to upload.

    Attributes
    ----------
    urls : dict of str to str
        The public URL of each content that is at the API, by digest.
    references : dict of str to str
        The reference of each content whose URL this account has ever had, by URL.

    Raises
    ------
    ConfigurationError
        The dialect has no uploads.
    JournalError
        The journal cannot be read.
    """

    def __init__(
        self,
        files: LocalFiles,
        journal: Journal,
        connection: ApiConnection,
        settings: Settings,
        *,
        run: str,
        expires_in: int | None = None,
        on_progress: Callable[[str | None], object] = lambda _: None,
    ) -> None:
        self._files = files
        self._connection = connection
        self._clock = connection.clock
        self._settings = settings
        self._run_name = run
        self._expires_in = expires_in
        self.urls: dict[str, str] = {}
        account = account_of(settings)
        history = journal.uploads(account)
        self.references: dict[str, str] = {record.public_url: reference(record.digest) for record in history}
        now = self._clock.epoch()
        self._outcomes: dict[str, UploadRecord | str] = {}
        for record in history:
            if is_usable(record, now):
                self._outcomes[record.digest] = record
                self.urls[record.digest] = record.public_url
        self._records = journal.open_uploads(account)
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._to_recheck: set[str] = set()
        self._used: set[str] = set()
        self._changed = asyncio.Event()
        self._is_stopped = False
        self._error: Exception | None = None
        self._progress = UploadProgress(self._clock, on_progress)

    def add(self, digests: Iterable[str]) -> None:
        """Upload these contents soon, in this order, unless they are at the API."""
        for digest in digests:
            if digest not in self._waiting and not self._is_settled(digest):
                self._outcomes.pop(digest, None)
                self._waiting.add(digest)
                self._queue.put_nowait(digest)
                self._progress.add()

    def recheck(self, digests: Iterable[str]) -> None:
        """Ask the storage for these contents before their URLs are sent again: executions with them have failed."""
        for digest in digests:
            if isinstance(self._outcomes.pop(digest, None), UploadRecord):
                self._to_recheck.add(digest)

    async def ensure(self, digests: Iterable[str]) -> dict[str, str] | None:
        """Wait until each of these contents is at the API, and its URL in `urls`, or has failed.

        Returns
        -------
        dict of str to str or None
            Why contents cannot be used, by digest: their rows must not be sent. None if the uploads were stopped.

        Raises
        ------
        APIError
            The API accepts no file (the key, the balance), or nothing can be uploaded for `max_wait` seconds.
        JournalError
            An upload could not be recorded.
        """
        digests, rounds = list(digests), 0
        while expired := [digest for digest in digests if not self._is_settled(digest)]:
            rounds += 1
            if rounds > MAX_ROUNDS:
                return dict.fromkeys(expired, EXPIRES) | self._failures(digests)
            self.add(digests)
            for digest in digests:
                while not self._is_settled(digest):
                    if self._error is not None:
                        raise self._error
                    if self._is_stopped:
                        return None
                    self.add([digest])  # again, if it has expired while another one was waited for
                    await self._changed.wait()
        for record in (self._outcomes[digest] for digest in digests):
            if isinstance(record, UploadRecord) and self._run_name and record.file_id not in self._used:
                self._used.add(record.file_id)
                self._records.add_use(record.file_id, self._run_name)
        return self._failures(digests)

    def _failures(self, digests: Iterable[str]) -> dict[str, str]:
        return {digest: reason for digest in digests if isinstance(reason := self._outcomes.get(digest), str)}

    async def run(self, stop: asyncio.Event) -> None:
        """Upload what is added, `max_uploads` at once, until `stop` is set or this is cancelled."""
        try:
            async with StorageClient(timeout=self._settings.timeout) as storage:
                transfer = Transfer(
                    storage,
                    self._connection,
                    self._records,
                    self._settings,
                    expires_in=self._expires_in,
                    on_sent=self._progress.send,
                )
                workers = self._settings.max_uploads
                await cancel_on(stop, run_workers(repeat(transfer, workers), self._work, workers=workers))
        except Exception as exc:  # noqa: BLE001 - raised by `ensure`, where the rows are that need the files
            self._error = exc
        finally:
            self._is_stopped = stop.is_set()
            self._progress.end()
            self._wake()

    def close(self) -> None:
        """Write what is left to the journal."""
        self._records.close()

    def _is_settled(self, digest: str) -> bool:
        outcome = self._outcomes.get(digest)
        return isinstance(outcome, str) or (outcome is not None and is_usable(outcome, self._clock.epoch()))

    async def _work(self, transfer: Transfer) -> None:
        while True:
            digest = await self._queue.get()
            try:
                outcome = await self._upload(transfer, digest)
            except BaseException:
                self._queue.put_nowait(digest)  # the rows may be sent in a second turn
                raise
            self._waiting.discard(digest)
            self._outcomes[digest] = outcome
            if isinstance(outcome, UploadRecord):
                self.references[outcome.public_url] = reference(digest)
                self.urls[digest] = outcome.public_url
            self._progress.finish()
            self._wake()

    async def _upload(self, transfer: Transfer, digest: str) -> UploadRecord | str:
        """Return an upload of a content: that of another call, also one that was cut off after it, else a new one."""
        now = self._clock.epoch()
        earlier = await self._records.find(digest)
        for record in earlier:
            if is_usable(record, now) and (digest not in self._to_recheck or not await transfer.is_gone(record)):
                self._to_recheck.discard(digest)
                return record
        for record in earlier:
            if record.uploaded_at is None and is_usable(replace(record, uploaded_at=record.presigned_at), now):
                confirmed = await transfer.confirm(record)
                if confirmed is not None:
                    return confirmed
        source = self._files.sources.get(digest)
        if source is None:
            return NOT_STORED
        outcome = await transfer.upload(source)
        if isinstance(outcome, UploadRecord) and not is_usable(outcome, self._clock.epoch()):
            return f"{source.name!r}: {EXPIRES}"
        return outcome

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
