"""Downloads files: requests each, follows redirects, reads the body, verifies it and gives the file its name.

Owns the retries. A failure is a value and affects no other file, except for a full disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..aio.backoff import retry_delay
from ..aio.tasks import cancel_on, run_workers
from ..api.content_encoding import BrokenError
from ..api.verdicts import retry_after
from ..models import Clock, Reply
from . import decisions, url_policy
from .decisions import Accept, Expected, Fetched, GiveUp, Redirect, RequestedFile, RetryLater, Verdict
from .folder import FULL, FileRecord, Folder, ReplacedError, SpoiledError, TakenError
from .http import HttpClient, Response
from .partial_file import PIECE, PartialFile
from .url_policy import RefusedAddressError, UrlPolicy

T = TypeVar("T")

TRIES: Final = 4
MAX_PAUSE: Final = 60.0
"""Seconds. A file whose server asks for a longer pause fails, because other files wait behind it."""

SLOWEST: Final = 4096.0
"""Bytes a second, averaged over a file, so that a slow server cannot occupy a worker for ever."""

WRITERS: Final = 2
"""Threads that write and hash. More would only wait for the disk and the interpreter lock."""

Told = Callable[[int, Fetched], None]
"""Called with each file's position among the requested ones, and its result."""

Renew = Callable[[RequestedFile], Awaitable[RequestedFile | str]]
"""Returns a file with a new link from the API, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """The options of one call."""

    bounds: UrlPolicy
    timeout: float
    workers: int
    max_size: int | None


class Fetcher:
    """Fetches files into a folder.

    Attributes
    ----------
    full : str or None
        The error of a full disk, after which no more files were fetched.
    """

    def __init__(
        self, folder: Folder, terms: FetchOptions, *, clock: Clock, told: Told, renew: Renew | None = None
    ) -> None:
        self._folder = folder
        self._terms = terms
        self._clock = clock
        self._told = told
        self._renew = renew
        self.full: str | None = None

    async def run(self, wanted: Sequence[RequestedFile], stop: asyncio.Event) -> None:
        """Fetch all files until `stop` is set; downloads in progress are then cancelled, because they cost nothing."""

        async def one(numbered: tuple[int, RequestedFile]) -> None:
            place, file = numbered
            try:
                fetched = await self._fetch(file)
            except OSError as exc:
                if exc.errno not in FULL:
                    raise
                self.full = exc.strerror or str(exc)
                return
            self._told(place, fetched)

        with ThreadPoolExecutor(WRITERS, thread_name_prefix="eachlabs-download") as self._writers:
            async with HttpClient(self._terms.bounds, timeout=self._terms.timeout) as self._web:
                await cancel_on(
                    stop, run_workers(self._while_room(enumerate(wanted)), one, workers=self._terms.workers)
                )

    def _while_room(self, numbered: Iterator[T]) -> Iterator[T]:
        for one in numbered:
            if self.full is not None:
                return
            yield one

    async def _fetch(self, wanted: RequestedFile) -> Fetched:
        """Fetch one file in a few attempts; if its link has expired, with a new link from the API."""
        verdict = await self._try(wanted)
        if isinstance(verdict, FileRecord):
            return Fetched(verdict.file, verdict.size)
        reason = decisions.explained(verdict, ended_at=wanted.ended_at, now=self._clock.epoch())
        if not verdict.expired or self._renew is None:
            return Fetched(error=reason)
        renewed = await self._renew(wanted)
        if isinstance(renewed, str):
            return Fetched(error=f"{reason}; {renewed}")
        verdict = await self._try(renewed)
        if isinstance(verdict, FileRecord):
            return Fetched(verdict.file, verdict.size, url=renewed.url)
        return Fetched(error=f"{verdict.reason}, with a new link too", url=renewed.url)

    async def _try(self, wanted: RequestedFile) -> FileRecord | GiveUp:
        attempt = 0
        while True:
            attempt += 1
            verdict = await self._attempt(wanted)
            if not isinstance(verdict, RetryLater):
                return verdict
            delay = retry_delay(attempt, floor=verdict.after, draw=self._clock.draw())
            if attempt == TRIES or delay > MAX_PAUSE:
                reason = f"{verdict.reason} ({attempt} tries)" if attempt > 1 else verdict.reason
                return GiveUp(reason, expired=verdict.replaced)
            await self._clock.sleep(delay)

    async def _attempt(self, wanted: RequestedFile) -> FileRecord | RetryLater | GiveUp:
        try:
            if wanted.is_embedded:
                return await self._embedded(wanted)
            return await self._linked(wanted)
        except RefusedAddressError as exc:
            return GiveUp(f"not downloaded: {exc}")
        except ReplacedError as exc:
            return RetryLater(str(exc), replaced=True)
        except (BrokenError, SpoiledError) as exc:
            return RetryLater(str(exc))
        except TakenError as exc:
            return GiveUp(str(exc))
        except OSError as exc:
            if exc.errno in FULL:
                raise
            return GiveUp(f"cannot be written: {exc.strerror or exc}")

    async def _embedded(self, wanted: RequestedFile) -> FileRecord | GiveUp:
        part = self._folder.part()

        def written() -> FileRecord:
            extension, data = decisions.embedded(wanted.url, max_size=self._terms.max_size)
            part.write([data])
            return self._folder.land(part, wanted.identity, wanted.stem, Expected(extension), check_content=False)

        try:
            return await self._patiently(written)
        except (ValueError, SpoiledError) as exc:
            return GiveUp(str(exc))
        finally:
            part.discard()

    async def _linked(self, wanted: RequestedFile) -> FileRecord | RetryLater | GiveUp:
        """Follow a link to its file, resuming an interrupted attempt if the server allows it."""
        part = await self._patiently(self._folder.resume, wanted.identity)
        try:
            return await self._follow(wanted, part)
        except (OSError, SpoiledError, TakenError):
            part.discard()
            raise
        finally:
            self._folder.put_away(part, wanted.identity)

    async def _follow(self, wanted: RequestedFile, part: PartialFile) -> FileRecord | RetryLater | GiveUp:
        url = wanted.url
        asked = {"Range": f"bytes={part.size}-", "If-Range": part.etag} if part.etag is not None else None
        for _ in range(url_policy.MAX_REDIRECTS + 1):
            async with self._web.get(url, asked) as answer:
                verdict = self._judged(answer, url, part)
                if isinstance(verdict, Accept):
                    return await self._take(answer, verdict, wanted, part)
            if not isinstance(verdict, Redirect):
                if answer.status in (206, 416):
                    part.discard()  # the next attempt asks for the whole file
                return verdict
            url = url_policy.follow(url, verdict.location, self._terms.bounds)
        return GiveUp(f"more than {url_policy.MAX_REDIRECTS} redirects")

    def _judged(self, answer: Response, url: str, part: PartialFile) -> Verdict:
        after = None
        if "retry-after" in answer.headers:
            after = retry_after(Reply(answer.status, b"", answer.headers, self._clock.epoch()))
        return decisions.judge(answer.status, answer.headers, url, after=after, offset=part.size, etag=part.etag)

    async def _take(
        self, answer: Response, take: Accept, wanted: RequestedFile, part: PartialFile
    ) -> FileRecord | GiveUp:
        """Write the body to a partial file and give that its name."""
        folder, most, promise = self._folder, self._terms.max_size, take.promise
        if take.offset != part.size:
            part.discard()
        part.etag = take.etag
        if most is not None and (promise.size or 0) > most:
            part.discard()
            return GiveUp(decisions.too_large(most))
        folder.check_free(wanted.identity, wanted.stem + promise.extension, promise.size)
        pieces: list[bytes] = []
        size = received = 0
        began = self._clock.now()
        async for piece in answer.body:
            pieces.append(piece)
            size += len(piece)
            received += len(piece)
            if most is not None and take.offset + received > most:
                part.discard()
                return GiveUp(decisions.too_large(most))
            self._check_pace(received, self._clock.now() - began)
            if size >= PIECE:
                await self._patiently(part.write, pieces)
                pieces, size = [], 0
        return await self._patiently(_finished, folder, part, pieces, wanted, promise)

    async def _patiently(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in a writer thread, and wait for its end even when cancelled, so that its file stays open."""
        doing = asyncio.get_running_loop().run_in_executor(self._writers, work, *arguments)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            while not doing.done():
                # However often: a file that is closed under its writer's hands may be somebody else's by then.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([doing])
            doing.exception()
            raise

    def _check_pace(self, received: int, seconds: float) -> None:
        if seconds > self._terms.timeout + received / SLOWEST:
            msg = f"slower than {SLOWEST / 1024:g} KiB a second"
            raise BrokenError(msg)


def _finished(
    folder: Folder, part: PartialFile, pieces: Sequence[bytes], wanted: RequestedFile, promise: Expected
) -> FileRecord:
    """Write the rest and name the file in one call, so that a cancellation cannot come between name and record."""
    part.write(pieces)
    entry = folder.land(part, wanted.identity, wanted.stem, promise)
    part.discard()  # where the same file was there already
    return entry
