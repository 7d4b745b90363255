"""Downloads files: requests each, follows redirects, reads the body, verifies it and gives the file its name.

Owns the retries, and the request for a new link when one has expired. A failure is a value and affects no other file,
except for a full disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

from .. import media
from ..aio.backoff import retry_delay
from ..aio.tasks import cancel_on, run_workers
from ..api import reader, responses
from ..api.content_encoding import BrokenError
from ..api.verdicts import retry_after
from ..errors import EachlabsError
from ..models import Clock, DialectName, Reply, Transport
from . import decisions, naming, url_policy
from .decisions import Accept, Fetched, GiveUp, Redirect, RequestedFile, RetryLater, Verdict
from .folder import FULL, FileRecord, Folder, RejectedFileError
from .http import HttpClient, Response
from .partial_file import CHUNK_SIZE, PartialFile
from .url_policy import RefusedAddressError, UrlPolicy

T = TypeVar("T")

MAX_ATTEMPTS: Final = 4
MAX_PAUSE: Final = 60.0
"""Seconds. A file whose server asks for a longer pause fails, because other files wait behind it."""

MIN_RATE: Final = 4096.0
"""Bytes per second, averaged over a file, so that a slow server cannot occupy a worker for ever."""

WRITER_THREADS: Final = 2
"""Threads that write and hash. More would only wait for the disk and the interpreter lock."""

UNCHANGED_LINK: Final = "the API still returns the same link for it"
OTHER_FILES: Final = "this output now has other files: refresh() the frame, and download again"

OnFetched: TypeAlias = Callable[[int, Fetched], None]
"""Called with each file's position among the requested ones, and its result."""

Renew: TypeAlias = Callable[[RequestedFile], Awaitable[RequestedFile | str]]
"""Returns a file with a new link from the API, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """The options of one call."""

    policy: UrlPolicy
    timeout: float
    workers: int
    max_size: int | None


class Fetcher:
    """Downloads files into a folder.

    Attributes
    ----------
    full : str or None
        The error of a full disk, after which no more files were downloaded.
    """

    def __init__(
        self, folder: Folder, options: FetchOptions, *, clock: Clock, on_fetched: OnFetched, renew: Renew | None = None
    ) -> None:
        self._folder = folder
        self._options = options
        self._clock = clock
        self._on_fetched = on_fetched
        self._renew = renew
        self.full: str | None = None

    async def run(self, files: Sequence[RequestedFile], stop: asyncio.Event) -> None:
        """Download all files until `stop` is set; downloads in progress are then cancelled: they cost nothing."""

        async def fetch(numbered: tuple[int, RequestedFile]) -> None:
            position, file = numbered
            try:
                fetched = await self._fetch(file)
            except OSError as exc:
                if exc.errno not in FULL:
                    raise
                self.full = exc.strerror or str(exc)
                return
            self._on_fetched(position, fetched)

        with ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="eachlabs-download") as self._writers:
            async with HttpClient(self._options.policy, timeout=self._options.timeout) as self._http:
                await cancel_on(
                    stop, run_workers(self._until_full(enumerate(files)), fetch, workers=self._options.workers)
                )

    def _until_full(self, items: Iterator[T]) -> Iterator[T]:
        for item in items:
            if self.full is not None:
                return
            yield item

    async def _fetch(self, file: RequestedFile) -> Fetched:
        """Download a file in a few attempts; if its link has expired, with a new link from the API."""
        verdict = await self._try(file)
        if isinstance(verdict, FileRecord):
            return Fetched(verdict.file, verdict.size)
        reason = decisions.explained(verdict, ended_at=file.ended_at, now=self._clock.epoch())
        if not verdict.expired or self._renew is None:
            return Fetched(error=reason)
        renewed = await self._renew(file)
        if isinstance(renewed, str):
            return Fetched(error=f"{reason}; {renewed}")
        verdict = await self._try(renewed)
        if isinstance(verdict, FileRecord):
            return Fetched(verdict.file, verdict.size, url=renewed.url)
        return Fetched(error=f"{verdict.reason}, with a new link too", url=renewed.url)

    async def _try(self, file: RequestedFile) -> FileRecord | GiveUp:
        attempt = 0
        while True:
            attempt += 1
            verdict = await self._attempt(file)
            if not isinstance(verdict, RetryLater):
                return verdict
            delay = retry_delay(attempt, floor=verdict.after, draw=self._clock.draw())
            if attempt == MAX_ATTEMPTS or delay > MAX_PAUSE:
                reason = f"{verdict.reason} ({attempt} tries)" if attempt > 1 else verdict.reason
                return GiveUp(reason, expired=verdict.replaced)
            await self._clock.sleep(delay)

    async def _attempt(self, file: RequestedFile) -> FileRecord | RetryLater | GiveUp:
        try:
            if file.is_embedded:
                return await self._embedded(file)
            return await self._linked(file)
        except RefusedAddressError as exc:
            return GiveUp(f"not downloaded: {exc}")
        except RejectedFileError as exc:
            return exc.verdict
        except BrokenError as exc:
            return RetryLater(str(exc))
        except OSError as exc:
            if exc.errno in FULL:
                raise
            return GiveUp(f"cannot be written: {exc.strerror or exc}")

    async def _embedded(self, file: RequestedFile) -> FileRecord | GiveUp:
        part = self._folder.part()

        def write() -> FileRecord:
            extension, data = decisions.embedded(file.url, max_size=self._options.max_size)
            part.write([data])
            return self._folder.finish(part, file.key, file.stem, Accept(extension), check_content=False)

        try:
            return await self._in_thread(write)
        except (ValueError, RejectedFileError) as exc:
            return GiveUp(str(exc))
        finally:
            part.discard()

    async def _linked(self, file: RequestedFile) -> FileRecord | RetryLater | GiveUp:
        """Follow a link to its file, resuming an interrupted attempt if the server allows it."""
        part = await self._in_thread(self._folder.resume, file.key)
        try:
            return await self._follow(file, part)
        except (OSError, RejectedFileError):
            part.discard()
            raise
        finally:
            self._folder.keep(part, file.key)

    async def _follow(self, file: RequestedFile, part: PartialFile) -> FileRecord | RetryLater | GiveUp:
        url = file.url
        headers = {"Range": f"bytes={part.size}-", "If-Range": part.etag} if part.etag is not None else None
        for _ in range(url_policy.MAX_REDIRECTS + 1):
            async with self._http.get(url, headers) as response:
                verdict = self._judge(response, url, part)
                if isinstance(verdict, Accept):
                    return await self._receive(response, verdict, file, part)
            if not isinstance(verdict, Redirect):
                if response.status in (206, 416):
                    part.discard()  # the next attempt requests the whole file
                return verdict
            url = url_policy.follow(url, verdict.location, self._options.policy)
        return GiveUp(f"more than {url_policy.MAX_REDIRECTS} redirects")

    def _judge(self, response: Response, url: str, part: PartialFile) -> Verdict:
        after = None
        if "retry-after" in response.headers:
            after = retry_after(Reply(response.status, b"", response.headers, self._clock.epoch()))
        return decisions.judge(response.status, response.headers, url, after=after, offset=part.size, etag=part.etag)

    async def _receive(
        self, response: Response, accept: Accept, file: RequestedFile, part: PartialFile
    ) -> FileRecord | GiveUp:
        """Write the body to a partial file, and rename that when it is complete."""
        max_size = self._options.max_size
        if accept.offset != part.size:
            part.discard()
        part.etag = accept.etag
        if max_size is not None and (accept.size or 0) > max_size:
            part.discard()
            return GiveUp(decisions.too_large(max_size))
        self._folder.check_free(file.key, file.stem + accept.extension, accept.size)
        chunks: list[bytes] = []
        buffered = received = 0
        began = self._clock.now()
        async for chunk in response.body:
            chunks.append(chunk)
            buffered += len(chunk)
            received += len(chunk)
            if max_size is not None and accept.offset + received > max_size:
                part.discard()
                return GiveUp(decisions.too_large(max_size))
            self._check_rate(received, self._clock.now() - began)
            if buffered >= CHUNK_SIZE:
                await self._in_thread(part.write, chunks)
                chunks, buffered = [], 0
        return await self._in_thread(_finish, self._folder, part, chunks, file, accept)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in a writer thread, and wait for its end even when cancelled, so that its file stays open."""
        future = asyncio.get_running_loop().run_in_executor(self._writers, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                # However often it is cancelled: the thread may still write to the file's descriptor.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            future.exception()
            raise

    def _check_rate(self, received: int, seconds: float) -> None:
        if seconds > self._options.timeout + received / MIN_RATE:
            msg = f"slower than {MIN_RATE / 1024:g} KiB a second"
            raise BrokenError(msg)


def _finish(
    folder: Folder, part: PartialFile, chunks: Sequence[bytes], file: RequestedFile, accept: Accept
) -> FileRecord:
    """Write the last chunks and rename the file in one call, which a cancellation cannot interrupt."""
    part.write(chunks)
    record = folder.finish(part, file.key, file.stem, accept)
    part.discard()  # if the same file existed already
    return record


class OutputLinks:
    """Requests new links for the files of outputs, once per execution: a link lives about 24 hours."""

    def __init__(self, transport: Transport, *, clock: Clock, dialect: DialectName) -> None:
        self._transport = transport
        self._clock = clock
        self._dialect = dialect
        self._requests: dict[str, asyncio.Task[list[str] | str]] = {}

    async def renew(self, file: RequestedFile, before: Sequence[str]) -> RequestedFile | str:
        """Return a file with its new link, or the reason why there is none.

        Parameters
        ----------
        file : RequestedFile
        before : sequence of str
            All links of its row's output.
        """
        execution_id = file.key.execution_id
        if not execution_id:
            return "the frame does not have its execution_id, so no new link was requested"
        if execution_id not in self._requests:
            self._requests[execution_id] = asyncio.ensure_future(self._read_links(execution_id))
        # Shielded: several files of one execution wait for one request, and only one of them may be cancelled.
        urls = await asyncio.shield(self._requests[execution_id])
        if isinstance(urls, str):
            return f"no new link: {urls}"
        # The same URL with another signature, else the one at the same position if the number of files is the same.
        new = next((url for url in urls if naming.mark(url) == file.key.source), None)
        if new is None and len(urls) == len(before):
            new = urls[file.key.n]
        if new is None:
            return OTHER_FILES
        if new == file.url:
            return UNCHANGED_LINK
        return replace(file, url=new, key=file.key._replace(source=naming.mark(new)))

    async def _read_links(self, execution_id: str) -> list[str] | str:
        try:
            details = await reader.read_details(
                [execution_id],
                transport=self._transport,
                clock=self._clock,
                dialect=self._dialect,
                workers=1,
            )
        except EachlabsError as exc:
            return str(exc)
        entry = details[execution_id]
        if not isinstance(entry, Mapping):
            return str(entry)
        if entry.get("execution_id") != execution_id:
            return "the response is about another execution"
        output = responses.read_outcome(0, entry).output
        return [url for _, url in media.urls(output, None, any_length=True)]
