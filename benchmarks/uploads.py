"""200 files of 1 MB hashed and uploaded, against aiohttp alone in a bare loop; and memory while 90 MB go up.

Run as ``python -m benchmarks.uploads PORT FILE`` it is the process whose memory is read: it uploads a small file, takes
its baseline, uploads FILE, and prints the peak over the baseline in bytes.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import aiohttp

from eachlabs_frames.aio.clock import SystemClock
from eachlabs_frames.aio.loop_thread import close_resources
from eachlabs_frames.api.client import Client
from eachlabs_frames.inputs.file_cells import FileCells
from eachlabs_frames.journal import open_journal
from eachlabs_frames.models import ApiConnection, Secret
from eachlabs_frames.settings import Settings
from eachlabs_frames.uploads import local_files
from eachlabs_frames.uploads.local_files import LocalFiles
from eachlabs_frames.uploads.uploader import Uploader

from .clients import KEY
from .measure import WALL, Result, in_turn, peak_resident, reset_peak
from .server import serving

FILES = 200
FILE_BYTES = 1_000_000
LARGE_BYTES = 90_000_000
CONCURRENCY = 8
READINGS = 3
MIB = 1024 * 1024


def uploading() -> Result:
    numbers = itertools.count()
    with serving() as port, tempfile.TemporaryDirectory() as place:
        root = Path(place)
        paths = [root / f"{number}.png" for number in range(FILES)]
        for path in paths:
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(FILE_BYTES - 8))
        pair = in_turn(
            lambda: asyncio.run(_bare(port, paths)),
            lambda: package(port, paths, root / f"{next(numbers)}.sqlite"),
            WALL,
            rounds=9,
        )
    megabytes = FILES * FILE_BYTES / 1e6
    note = f"{megabytes / pair.second:,.0f} MB/s to {megabytes / pair.first:,.0f}"
    return Result("upload of 200 files / bare aiohttp", pair.ratio, 0.7, at_least=True, note=note)


def upload_memory() -> Result:
    with serving() as port, tempfile.TemporaryDirectory() as place:
        path = Path(place) / "video.mp4"
        with path.open("wb") as file:
            file.write(b"\0\0\0 ftypisom")
            for _ in range(LARGE_BYTES // FILE_BYTES):
                file.write(os.urandom(FILE_BYTES))
        command = [sys.executable, "-m", "benchmarks.uploads", str(port), str(path)]
        readings = [
            int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)
            for _ in range(READINGS)
        ]
    return Result("memory while 90 MB go up", median(readings) / MIB, 16, unit=" MiB", note=f"{READINGS} processes")


def package(port: int, paths: Sequence[Path], journal: Path) -> None:
    """Hash, record in a journal, presign and put."""
    local_files._contents.clear()  # noqa: SLF001 - each round is the first of its process
    settings = Settings(Secret(KEY), f"http://127.0.0.1:{port}/v1", "current", max_uploads=CONCURRENCY)
    connection = ApiConnection(Client(settings), SystemClock(), "current", CONCURRENCY)
    with LocalFiles() as files:
        FileCells(files.reference, any_key=True, read_ahead=files.read_ahead).replaced("image", paths, {type(paths[0])})
        uploader = Uploader(files, open_journal(journal), connection, settings, run="")
        uploader.add(files.sources)
        asyncio.run(_uploaded(uploader, files))
        uploader.close()
        assert files.sources.keys() <= uploader.urls.keys()


async def _uploaded(uploader: Uploader, files: LocalFiles) -> None:
    stop = asyncio.Event()
    running = asyncio.ensure_future(uploader.run(stop))
    assert await uploader.ensure(files.sources) == {}
    stop.set()
    await running
    await close_resources()


async def _bare(port: int, paths: Sequence[Path]) -> None:
    """Read, hash, presign, put: no journal, no checks, no time-outs, no second try."""
    waiting = iter(paths)
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(_worker(session, port, waiting) for _ in range(CONCURRENCY)))


async def _worker(session: aiohttp.ClientSession, port: int, paths: Iterator[Path]) -> None:
    for path in paths:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        address = f"http://127.0.0.1:{port}/v1/upload/presign"
        async with session.post(address, json={"content_type": "image/png"}) as response:
            said = await response.json()
        headers = {"Content-Type": "image/png", **said["required_headers"]}
        async with session.put(said["presigned_url"], data=content, headers=headers) as response:
            assert response.status == 200
            await response.read()


def _measured(port: int, path: Path) -> int:
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small.png"
        small.write_bytes(os.urandom(FILE_BYTES))
        package(port, [small], Path(place) / "journal.sqlite")
        gc.collect()
        reset_peak()
        before = peak_resident()
        package(port, [path], Path(place) / "journal.sqlite")
        return peak_resident() - before


if __name__ == "__main__":
    print(_measured(int(sys.argv[1]), Path(sys.argv[2])))
