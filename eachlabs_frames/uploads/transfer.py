"""Uploads one content: requests a presigned URL, records it, and sends the content to it, in several attempts.

Both requests may be repeated: what they create costs nothing, and nobody uses it before it is complete. What a status
code means is decided in `api.verdicts`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from math import inf
from typing import Final
from urllib.parse import urlsplit

from ..aio.backoff import retry_delay
from ..aio.tasks import in_thread
from ..api.reader import Judged, request_error
from ..api.requests import presign_request
from ..api.responses import Presigned, read_presigned
from ..api.verdicts import Retry, Stop, Success, is_about_file, judge_presign, judge_upload
from ..errors import APIConnectionError, APIError, RateLimitError
from ..inputs.file_values import UnusableFileError
from ..journal.upload_records import UploadJournal, UploadRecord
from ..models import ApiConnection, Secret
from ..settings import Settings, is_loopback
from .file_source import ChangedFileError, FileSource
from .storage_client import RefusedUrlError, StorageClient, check_url

logger = logging.getLogger("eachlabs_frames")

MAX_ATTEMPTS: Final = 6
"""Consecutive attempts of a request while others succeed: the cause is then this file, and not the connection."""

MAX_URL_AGE: Final = 14 * 60.0
"""Seconds after which another presigned URL is requested: one lives 15 minutes (API reference, "Uploads")."""

LIFETIME: Final = 180 * 86_400
"""Seconds that the API keeps a file unless it is told otherwise (API reference, "Uploads")."""

NS: Final = 1_000_000_000


class Transfer:
    """The uploads of one account.

    Parameters
    ----------
    storage : StorageClient
    connection : ApiConnection
    records : UploadJournal
    settings : Settings
    expires_in : int or None
        Seconds that the API keeps a file; None for its default.
    on_sent : callable
        Called with numbers of bytes that were sent.
    """

    def __init__(
        self,
        storage: StorageClient,
        connection: ApiConnection,
        records: UploadJournal,
        settings: Settings,
        *,
        expires_in: int | None,
        on_sent: Callable[[int], object],
    ) -> None:
        self._storage = storage
        self._transport = connection.transport
        self._clock = connection.clock
        self._records = records
        self._max_wait = settings.max_wait
        self._loopback = is_loopback(urlsplit(settings.base_url).hostname or "")
        self._expires_in = expires_in
        self._on_sent = on_sent
        self._succeeded: dict[str, float] = {}
        self._resume_at = 0.0

    async def confirm(self, record: UploadRecord) -> UploadRecord | None:
        """Return an upload whose end is not known, as complete if its URL has the content; else None."""
        if not self._may_request(record) or await self._storage.size(record.public_url) != record.size:
            return None
        return self._complete(record)

    async def is_gone(self, record: UploadRecord) -> bool:
        """Return whether a complete upload is not at the API any more, and record that."""
        is_gone = self._may_request(record) and await self._storage.is_gone(record.public_url)
        if is_gone:
            self._records.delete(record.file_id, self._now())
        return is_gone

    def _may_request(self, record: UploadRecord) -> bool:
        try:
            check_url(Secret(record.public_url), what="public_url", loopback=self._loopback)
        except RefusedUrlError:
            return False
        return True

    async def upload(self, source: FileSource) -> UploadRecord | str:
        """Upload a content; return the record of it, or the reason why it cannot be used.

        Raises
        ------
        APIError
            The API accepts no file (the key, the balance), or nothing could be uploaded for `max_wait` seconds.
        JournalError
            It cannot be recorded.
        """
        was_renewed = was_changed = False
        while True:
            began = self._clock.epoch()
            presigned = await self._presign(source)
            if isinstance(presigned, str):
                return f"{source.name!r} was not uploaded: {presigned}"
            record = self._record(source, presigned, began)
            await self._records.begin(record)
            try:
                verdict = await self._put(source, presigned, until=began + MAX_URL_AGE)
            except UnusableFileError as exc:
                self._records.delete(record.file_id, self._now())
                if was_changed or not isinstance(exc, ChangedFileError) or not await in_thread(source.is_unchanged):
                    return str(exc)
                was_changed = True
                continue
            if isinstance(verdict, Success):
                logger.info("uploaded %s (%d bytes)", source.name, source.size)
                return self._complete(record)
            # The reply to an attempt may have been lost: a presigned URL that was used answers 403.
            confirmed = await self.confirm(record)
            if confirmed is not None:
                return confirmed
            if isinstance(verdict, Stop):
                self._records.delete(record.file_id, self._now())
                if verdict.status != 403 or was_renewed:
                    return f"{source.name!r} was not uploaded: {verdict.reason}"
                was_renewed = True

    async def _presign(self, source: FileSource) -> Presigned | str:
        request = presign_request(source.content_type, self._expires_in)

        async def send() -> Judged:
            verdict = judge_presign(await self._transport.send(request))
            if isinstance(verdict, Success) and read_presigned(verdict.json) is None:
                return Retry("the response has no presigned URL")
            return verdict

        verdict = await self._attempts("presign", send)
        presigned = read_presigned(verdict.json) if isinstance(verdict, Success) else None
        if presigned is None:
            if isinstance(verdict, Stop) and verdict.error is not APIConnectionError and not is_about_file(verdict):
                raise request_error(verdict, request.path)
            return verdict.reason if isinstance(verdict, Stop) else ""
        try:
            check_url(presigned.upload_url, what="presigned_url", loopback=self._loopback)
            check_url(Secret(presigned.public_url), what="public_url", loopback=self._loopback)
        except RefusedUrlError as exc:
            return str(exc)
        return presigned

    def _record(self, source: FileSource, presigned: Presigned, began: float) -> UploadRecord:
        # A name may have bytes that are no text.
        name = source.name.encode("utf-8", "replace").decode()
        expires_at = presigned.expires_at or int((began + (self._expires_in or LIFETIME)) * NS)
        return UploadRecord(
            source.digest,
            presigned.file_id,
            presigned.public_url,
            name,
            source.size,
            source.content_type,
            presigned_at=int(began * NS),
            expires_at=expires_at,
        )

    async def _put(self, source: FileSource, presigned: Presigned, *, until: float) -> Success | Stop | None:
        """Send a content; return None if the URL is too old for another attempt."""
        headers = {"Content-Type": source.content_type}
        for name, value in presigned.headers.items():
            headers.pop("Content-Type" if name.lower() == "content-type" else name, None)
            headers[name] = value

        async def send() -> Judged:
            return judge_upload(await self._storage.put(presigned.upload_url, source, headers, self._on_sent))

        return await self._attempts("put", send, until=until)

    async def _attempts(
        self, step: str, send: Callable[[], Awaitable[Judged]], *, until: float = inf
    ) -> Success | Stop | None:
        """Send until there is an answer; wait between attempts, all together if the API asks for that.

        Raises
        ------
        APIError
            No request of this kind has succeeded for `max_wait` seconds.
        """
        began, attempt = self._clock.now(), 0
        while True:
            await self._sleep_until(self._resume_at)
            if self._clock.epoch() >= until:
                return None
            verdict = await send()
            now = self._clock.now()
            if not isinstance(verdict, Retry):
                self._succeeded[step] = now
                return verdict
            attempt += 1
            others = self._succeeded.get(step, -inf)
            is_for_all = verdict.limited or verdict.reserved
            if not is_for_all and attempt >= MAX_ATTEMPTS and others > began:
                return Stop(f"{verdict.reason} ({attempt} attempts)", APIConnectionError, 0)
            delay = retry_delay(attempt, floor=verdict.after, draw=self._clock.draw())
            if now + delay - max(began, others) > self._max_wait:
                raise self._gave_up(verdict)
            if is_for_all:
                self._resume_at = max(self._resume_at, now + delay)
            else:
                await self._clock.sleep(delay)

    def _gave_up(self, verdict: Retry) -> APIError:
        msg = f"no file could be uploaded for {self._max_wait:g} s (max_wait): {verdict.reason}"
        if verdict.reserved:
            return APIError(msg, status=HTTPStatus.PAYMENT_REQUIRED)
        return RateLimitError(msg, status=HTTPStatus.TOO_MANY_REQUESTS) if verdict.limited else APIConnectionError(msg)

    async def _sleep_until(self, at: float) -> None:
        if at > self._clock.now():
            await self._clock.sleep(at - self._clock.now())

    def _complete(self, record: UploadRecord) -> UploadRecord:
        now = self._now()
        self._records.complete(record.file_id, now)
        return replace(record, uploaded_at=now)

    def _now(self) -> int:
        return int(self._clock.epoch() * NS)
