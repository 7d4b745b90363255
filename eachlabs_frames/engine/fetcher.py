"""Files come: each is asked for, followed, read to the end, compared with what was promised, and given its name.

Owns when something is tried again. A failure is a value: one file's harms no other, but for a disk that takes no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..core import addresses, downloads
from ..core.addresses import Bounds, RefusedAddressError
from ..core.downloads import Again, Fetched, Move, Never, Promise, Take, Verdict, Wanted
from ..core.pacing import retry_delay
from ..core.wire import retry_after
from ..models import Clock, Reply
from .folder import FULL, Entry, Folder, SpoiledError, TakenError
from .parts import PIECE, Part
from .pool import drain, until
from .web import Answer, BrokenError, Web

T = TypeVar("T")

TRIES: Final = 4
LONGEST_PAUSE: Final = 60.0
"""Seconds: what asks for a longer one is left, for many others wait behind it."""

SLOWEST: Final = 4096.0
"""Bytes a second, over the whole of a file: a server that trickles must not hold a place for ever."""

WRITERS: Final = 2
"""Threads that write and hash. More of them only wait for each other: a disk is one, and so is the interpreter."""

Told = Callable[[int, Fetched], None]
"""Told of each file, by its place among those that are wanted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How one call fetches."""

    bounds: Bounds
    timeout: float
    workers: int
    max_size: int | None


class Fetcher:
    """Fetches files into a folder.

    Attributes
    ----------
    full : str or None
        Why the disk took no more; then nothing more was fetched.
    """

    def __init__(self, folder: Folder, terms: Terms, *, clock: Clock, told: Told) -> None:
        self._folder = folder
        self._terms = terms
        self._clock = clock
        self._told = told
        self.full: str | None = None

    async def run(self, wanted: Sequence[Wanted], stop: asyncio.Event) -> None:
        """Fetch all that is wanted, until `stop` is set: then what is on its way is left, for it costs nothing."""

        async def one(numbered: tuple[int, Wanted]) -> None:
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
            async with Web(self._terms.bounds, timeout=self._terms.timeout) as self._web:
                await until(stop, drain(self._while_room(enumerate(wanted)), one, workers=self._terms.workers))

    def _while_room(self, numbered: Iterator[T]) -> Iterator[T]:
        for one in numbered:
            if self.full is not None:
                return
            yield one

    async def _fetch(self, wanted: Wanted) -> Fetched:
        """Fetch one file, in a few tries."""
        attempt = 0
        while True:
            attempt += 1
            verdict = await self._attempt(wanted)
            if isinstance(verdict, Entry):
                return Fetched(verdict.file, verdict.size)
            if isinstance(verdict, Never):
                now = self._clock.epoch()
                return Fetched(error=downloads.explained(verdict, ended_at=wanted.ended_at, now=now))
            delay = retry_delay(attempt, floor=verdict.after, draw=self._clock.draw())
            if attempt == TRIES or delay > LONGEST_PAUSE:
                return Fetched(error=f"{verdict.reason} ({attempt} tries)" if attempt > 1 else verdict.reason)
            await self._clock.sleep(delay)

    async def _attempt(self, wanted: Wanted) -> Entry | Again | Never:
        try:
            if wanted.is_embedded:
                return await self._embedded(wanted)
            return await self._linked(wanted)
        except RefusedAddressError as exc:
            return Never(f"not fetched: {exc}")
        except (BrokenError, SpoiledError) as exc:
            return Again(str(exc))
        except TakenError as exc:
            return Never(str(exc))
        except OSError as exc:
            if exc.errno in FULL:
                raise
            return Never(f"cannot be written: {exc.strerror or exc}")

    async def _embedded(self, wanted: Wanted) -> Entry | Never:
        part = self._folder.part()

        def written() -> Entry:
            extension, data = downloads.embedded(wanted.url, max_size=self._terms.max_size)
            part.write([data])
            return self._folder.land(part, wanted.identity, wanted.stem, Promise(extension))

        try:
            return await self._patiently(written)
        except (ValueError, SpoiledError) as exc:
            return Never(str(exc))
        finally:
            part.discard()

    async def _linked(self, wanted: Wanted) -> Entry | Again | Never:
        url = wanted.url
        for _ in range(addresses.MOST_REDIRECTS + 1):
            async with self._web.get(url) as answer:
                verdict = self._judged(answer, url)
                if isinstance(verdict, Take):
                    return await self._take(answer, verdict.promise, wanted)
            if not isinstance(verdict, Move):
                return verdict
            url = addresses.follow(url, verdict.location, self._terms.bounds)
        return Never(f"more than {addresses.MOST_REDIRECTS} redirects")

    def _judged(self, answer: Answer, url: str) -> Verdict:
        after = None
        if "retry-after" in answer.headers:
            after = retry_after(Reply(answer.status, b"", answer.headers, self._clock.epoch()))
        return downloads.judge(answer.status, answer.headers, url, after=after)

    async def _take(self, answer: Answer, promise: Promise, wanted: Wanted) -> Entry | Never:
        """Write the body into a part, and give that its name."""
        folder, most = self._folder, self._terms.max_size
        if most is not None and (promise.size or 0) > most:
            return Never(downloads.too_large(most))
        folder.check_free(wanted.identity, wanted.stem + promise.extension, promise.size)
        part = folder.part()
        pieces: list[bytes] = []
        size = received = 0
        began = self._clock.now()
        try:
            async for piece in answer.body:
                pieces.append(piece)
                size += len(piece)
                received += len(piece)
                if most is not None and received > most:
                    return Never(downloads.too_large(most))
                self._check_pace(received, self._clock.now() - began)
                if size >= PIECE:
                    await self._patiently(part.write, pieces)
                    pieces, size = [], 0
            return await self._patiently(_finished, folder, part, pieces, wanted, promise)
        finally:
            part.discard()

    async def _patiently(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do `work` in a writer, and wait for its end even when cancelled: nothing is cleared away under its hands."""
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


def _finished(folder: Folder, part: Part, pieces: Sequence[bytes], wanted: Wanted, promise: Promise) -> Entry:
    """Do the rest in one stroke: nothing that ends the call can come between a file's name and its note."""
    part.write(pieces)
    return folder.land(part, wanted.identity, wanted.stem, promise)
