"""`download` of 500 files of 200 KB, against aiohttp alone in a bare loop: both stream to the same disk, 8 at a time.

Nothing of the call is left out: names, the list in the folder, checksums, and the writing of the result.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pandas as pd

import eachlabs_frames as ef
from eachlabs_frames.aio import loop_thread

from .clients import KEY
from .measure import WALL, Result, in_turn
from .server import PICTURE_BYTES, serving

FILES = 500
CONCURRENCY = 8
PIECE = 64 * 1024


def downloads() -> Result:
    numbers = itertools.count()
    with serving() as port, tempfile.TemporaryDirectory() as place:
        root = Path(place)
        frame = results(port)
        pair = in_turn(
            lambda: bare(port, root / str(next(numbers))),
            lambda: package(port, frame, root / str(next(numbers))),
            WALL,
            rounds=15,
        )
    megabytes = FILES * PICTURE_BYTES / 1e6
    note = f"{megabytes / pair.second:,.0f} MB/s to {megabytes / pair.first:,.0f}"
    return Result("download of 500 files / bare aiohttp", pair.ratio, 0.7, at_least=True, note=note)


def results(port: int) -> pd.DataFrame:
    """Return a frame as a call has left it, each row with the URL of its picture."""
    return pd.DataFrame(
        {
            "prompt": [f"a fox, number {number}" for number in range(FILES)],
            "bulk_id": [f"bulk-{number // 10}" for number in range(FILES)],
            "execution_id": [f"execution-{number}" for number in range(FILES)],
            "status": ["completed"] * FILES,
            "output": [f"http://127.0.0.1:{port}/media/{number}.png" for number in range(FILES)],
        }
    )


def package(port: int, frame: pd.DataFrame, folder: Path) -> None:
    ef.configure(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=CONCURRENCY)
    loop_thread.close()  # and with it the loop of the call before
    out = frame.eachlabs.download(folder, progress=False)
    assert out["path_error"].isna().all()
    checked(folder)


def bare(port: int, folder: Path) -> None:
    """Ask, read, write: no names, no checks, no time-outs, no second try, no error but the one that ends it."""
    folder.mkdir()
    asyncio.run(_bare(port, folder))
    checked(folder)


async def _bare(port: int, folder: Path) -> None:
    numbers = iter(range(FILES))
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(_worker(session, port, numbers, folder) for _ in range(CONCURRENCY)))


async def _worker(session: aiohttp.ClientSession, port: int, numbers: Iterator[int], folder: Path) -> None:
    for number in numbers:
        async with session.get(f"http://127.0.0.1:{port}/media/{number}.png") as response:
            with (folder / f"{number}.png").open("wb") as file:
                async for piece in response.content.iter_chunked(PIECE):
                    file.write(piece)


def checked(folder: Path) -> None:
    """See that all came, and make room for the next."""
    found = [path.stat().st_size for path in folder.glob("*.png")]
    assert found == [PICTURE_BYTES] * FILES
    shutil.rmtree(folder)
