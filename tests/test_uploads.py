"""Files of inputs: what is read of them, and that each content goes up once. The storage is the sandbox's."""

from __future__ import annotations

import asyncio
import io
import mmap
import os
import re
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eachlabs_frames as ef
from eachlabs_frames import media
from eachlabs_frames.aio.clock import SystemClock
from eachlabs_frames.aio.loop_thread import close_resources
from eachlabs_frames.api.client import Client
from eachlabs_frames.api.verdicts import Retry, Stop, Success, judge_upload
from eachlabs_frames.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from eachlabs_frames.inputs.file_cells import FileCells
from eachlabs_frames.inputs.file_values import RootedPath, UnusableFileError, digest_of
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.base import Journal
from eachlabs_frames.journal.upload_records import UploadRecord
from eachlabs_frames.models import ApiConnection, Fault, Reply, Request, Secret
from eachlabs_frames.sandbox import Fault as SandboxFault
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.settings import current
from eachlabs_frames.uploads import deletion, file_source, local_files
from eachlabs_frames.uploads import uploader as uploader_module
from eachlabs_frames.uploads.account import account_of
from eachlabs_frames.uploads.local_files import LocalFiles
from eachlabs_frames.uploads.spool import MAX_IN_MEMORY
from eachlabs_frames.uploads.storage_client import RefusedUrlError, StorageClient, check_url
from eachlabs_frames.uploads.transfer import MAX_ATTEMPTS, MAX_URL_AGE, Transfer
from eachlabs_frames.uploads.uploader import EXPIRES, MARGIN, MAX_ROUNDS, NOT_STORED, Uploader, is_usable

from .fakes import reply

T = TypeVar("T")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff" + bytes(100)


@pytest.fixture
def files() -> Iterator[LocalFiles]:
    """Return the files of one call."""
    with LocalFiles() as made:
        yield made


class QuickClock(SystemClock):
    """The machine's clock, whose sleeps take no time and are counted; `ahead` is added to the time of day."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + sum(self.slept)

    def epoch(self) -> float:
        return super().epoch() + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def uploader(
    files: LocalFiles, *, journal: Journal | None = None, clock: Any = None, transport: Any = None, **options: Any
) -> Uploader:
    """Make the uploads of a call, with the settings of the test."""
    settings = replace(
        current(), **{name: options.pop(name) for name in ("max_wait", "max_uploads") if name in options}
    )
    connection = ApiConnection(transport or Client(settings), clock or QuickClock(), settings.dialect, 8)
    return Uploader(files, journal or open_journal(settings.journal), connection, settings, **{"run": "", **options})


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a loop of its own, and close what it has opened there."""

    async def run() -> T:
        try:
            return await work
        finally:
            await close_resources()

    return asyncio.run(run())


def uploaded(made: Uploader, digests: Sequence[str] | None = None, *, stop: asyncio.Event | None = None) -> Any:
    """Upload contents in a loop of its own, and return what `ensure` does."""

    async def run() -> Any:
        stopping = stop or asyncio.Event()
        running = asyncio.ensure_future(made.run(stopping))
        try:
            return await made.ensure(list(made._files.sources) if digests is None else digests)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    try:
        return in_loop(run())
    finally:
        made.close()


def refused(files: LocalFiles, value: object) -> str:
    """Return why a file cannot be used."""
    with pytest.raises(UnusableFileError) as caught:
        files.reference(value)
    return str(caught.value)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_one_content_has_one_reference(files: LocalFiles, tmp_path: Path) -> None:
    """Whatever it is called, and whether it is a path, bytes or an open file; it is kept once."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.dat").write_bytes(PNG)
    with (tmp_path / "a.png").open("rb") as file:
        values = [tmp_path / "a.png", tmp_path / "b.dat", PNG, bytearray(PNG), memoryview(PNG + PNG)[: len(PNG)], file]
        values += [io.BytesIO(PNG), RootedPath(tmp_path, "a.png")]
        references = {files.reference(value) for value in values}
    assert references == {f"eachlabs-file:sha256-{sha256(PNG).hexdigest()}"}
    (source,) = files.sources.values()
    assert (source.name, source.size, source.content_type) == ("a.png", len(PNG), "image/png")
    assert b"".join(source.pieces()) == PNG


def test_an_open_file_is_read_whole_and_stays_where_it_is(files: LocalFiles) -> None:
    """A preview and the call after it read the same, also where the user has just written the file."""
    file = io.BytesIO(PNG)
    file.seek(5)
    first = files.reference(file)
    assert (file.tell(), files.reference(file)) == (5, first)
    file.seek(0, os.SEEK_END)
    assert files.reference(file) == first


def test_equal_pixels_have_one_digest(files: LocalFiles) -> None:
    """As an array, as an image, with a palette; but other pixels, or another shape of the same bytes, do not."""
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    image = Image.fromarray(pixels)
    image.info["dpi"] = (72, 72)
    few = Image.new("RGB", (8, 8), (9, 8, 7))
    same = {files.reference(pixels), files.reference(image), files.reference(np.asfortranarray(pixels))}
    assert len(same) == 1
    assert files.reference(few) == files.reference(few.convert("P", palette=Image.Palette.ADAPTIVE))
    assert files.reference(pixels.reshape(6, 4, 3)) not in same
    (digest,) = map(digest_of, same)
    content = b"".join(files.sources[digest].pieces())
    assert files.sources[digest].content_type == "image/png"
    assert len(content) == files.sources[digest].size
    with Image.open(io.BytesIO(content)) as back:
        assert np.array_equal(np.asarray(back), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"])
def test_images_of_any_mode_that_png_has_can_be_sent(files: LocalFiles, mode: str) -> None:
    """They keep their colours."""
    digest = digest_of(files.reference(Image.new(mode, (3, 2))))
    with Image.open(io.BytesIO(b"".join(files.sources[digest].pieces()))) as back:
        assert back.size == (3, 2)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "the content is empty"),
        (bytes(101), "the content is larger than 0 MB"),
        (io.BytesIO(), "the open file is empty"),
        (io.BytesIO(bytes(101)), "the open file is larger than"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\) and dtype uint8 is no image: it must be height x width x 3"),
        (np.zeros((4, 4, 3), np.float32), "dtype float32"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (Image.new("CMYK", (2, 2)), r"mode 'CMYK' cannot be written as PNG: convert it, as in image.convert\('RGB'\)"),
        (Image.new("F", (2, 2)), "mode 'F'"),
        (Image.new("I", (2, 2), 70_000), "mode 'I'"),
        (Image.new("RGB", (0, 2)), "an image of 0 x 2 pixels is empty"),
        (Image.effect_noise((60, 60), 99), "the image, as PNG, is larger than"),
    ],
)
def test_a_content_that_cannot_be_sent_says_why(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch, value: object, reason: str
) -> None:
    """Nothing of it is kept."""
    monkeypatch.setattr(local_files, "MAX_FILE", 100)
    assert re.search(reason, refused(files, value))
    assert files.sources == {}
    assert files._spool.size == 0


def test_an_open_file_that_cannot_be_read_twice_is_refused(files: LocalFiles) -> None:
    """A pipe, and a file that is closed."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe, os.fdopen(writer, "wb"):
        assert "can be read only once, and a preview reads it too" in refused(files, pipe)
    closed = io.BytesIO(PNG)
    closed.close()
    assert "closed file" in refused(files, closed)


def test_a_path_that_cannot_be_sent_says_which_and_why(
    files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, a folder, empty, too large, a device, a pipe nobody writes to; each names the path."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty.png").touch()
    with Path("large.mp4").open("wb") as large:
        large.truncate(100_000_001)
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    expected = {
        "gone.png": f"there is no file 'gone.png' in {str(tmp_path)!r}",
        str(tmp_path / "gone.png"): f"there is no file {str(tmp_path / 'gone.png')!r}",
        "folder/x/gone.png": "there is no file 'folder/x/gone.png'",
        "empty.png/x": "there is no file 'empty.png/x'",
        "folder": "'folder' is a folder, not a file",
        "empty.png": "the file 'empty.png' is empty",
        "large.mp4": "the file 'large.mp4' is larger than 100 MB, which is the most that the API takes",
        "pipe": "'pipe' is a named pipe, not a file",
        "/dev/zero": "'/dev/zero' is a device, not a file",
        "loop": "the file 'loop' cannot be read: ",
        "a\0b": "the file 'a\\x00b' cannot be read: ",
    }
    for path, reason in expected.items():
        assert refused(files, Path(path)).startswith(reason)
    assert files.sources == {}


def test_a_missing_right_is_named() -> None:
    """The system's own text would do for an expert only."""
    reason = local_files._reason(PermissionError(13, "Permission denied"), "a.png")
    assert reason == "the file 'a.png' may not be read: permission denied"


def test_a_path_must_not_leave_its_root(files: LocalFiles, tmp_path: Path) -> None:
    """Not by dots, not as an absolute path, not by a link; inside, all of these may be used."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    (root / "a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    for text in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "sub/../../secret.png"):
        assert refused(files, RootedPath(root, text)) == f"the path {text!r} is outside of root={str(root)!r}"
    assert "cannot be resolved" in refused(files, RootedPath(root, "a\0b"))
    assert (
        len({files.reference(RootedPath(root, text)) for text in ("a.png", "sub/../a.png", str(root / "a.png"))}) == 1
    )


class Appending:
    """Appends a byte to a file the first few times that it has been read: as a program that is still writing does."""

    def __init__(self, path: Path, *, times: int) -> None:
        self._path = path
        self._times = times
        self._hashed = local_files._hashed

    def __enter__(self) -> None:
        local_files._hashed = self._and_append  # type: ignore[assignment]

    def _and_append(self, file: Any, size: int) -> Any:
        content = self._hashed(file, size)
        if self._times:
            self._times -= 1
            with self._path.open("ab") as end:
                end.write(b"x")
        return content

    def __exit__(self, *_: object) -> None:
        local_files._hashed = self._hashed  # type: ignore[assignment]


def test_a_file_that_changes_while_it_is_read_is_read_once_more(files: LocalFiles, tmp_path: Path) -> None:
    """Then it is refused: it is still being written."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3 * file_source.PIECE))
    with Appending(path, times=1):
        reference = files.reference(path)
    assert digest_of(reference) == sha256(path.read_bytes()).hexdigest()
    path.write_bytes(bytes(3 * file_source.PIECE))
    with Appending(path, times=9), LocalFiles() as later:
        assert refused(later, path) == f"the file {str(path)!r} changes while it is read: it is still being written"


def test_a_file_is_hashed_once_by_a_process_unless_it_is_new(tmp_path: Path) -> None:
    """A call after its preview reads nothing again; but a file that was just written may change unnoticed."""
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(PNG)
    new.write_bytes(PNG)
    identity = local_files._identity(str(old), old.stat())
    local_files._remember(identity, local_files.Content("d" * 64, PNG), now=identity.changed / 1e9 + 1)
    assert identity not in local_files._contents
    local_files._remember(identity, local_files.Content("d" * 64, PNG), now=identity.changed / 1e9 + 3)
    with LocalFiles() as files:
        assert digest_of(files.reference(old)) == "d" * 64
        assert digest_of(files.reference(new)) == sha256(PNG).hexdigest()
    del local_files._contents[identity]


def test_files_are_read_ahead_of_their_rows(tmp_path: Path) -> None:
    """References, their order and errors are those of files that are read one after another."""
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths[:3]:
        path.write_bytes(PNG + path.name.encode())
    outside = RootedPath(tmp_path / "photos", "../0.png")
    values = [paths[3], paths[2], outside, *paths, RootedPath(tmp_path, "1.png")]

    def read(files: LocalFiles) -> list[str]:
        made = []
        for value in values:
            try:
                made.append(files.reference(value))
            except UnusableFileError as exc:
                made.append(str(exc))
        return made

    with LocalFiles() as files, LocalFiles() as ahead:
        expected = read(files)
        ahead.read_ahead(values)
        wait(ahead._ahead.values(), timeout=120)
        paths[0].unlink()
        assert read(ahead) == expected
        assert list(ahead.sources.values()) == list(files.sources.values())
        assert "there is no file" in expected[0]


def test_a_column_of_paths_is_read_ahead(tmp_path: Path) -> None:
    """Whether cells are paths or texts of `file`; where nothing says that a path is a file, it is not read."""
    ahead: list[object] = []
    cells = FileCells(str, read_ahead=ahead.extend)
    paths = [tmp_path / "a.png", None, tmp_path / "b.png"]
    cells.replaced("image", paths, set(map(type, paths)))
    cells.replaced("text", paths, set(map(type, paths)))
    assert ahead == [paths[0], paths[2]]
    ahead.clear()
    cells.files(["a.png", "", "https://example.org/c.png", None, "b.png"], tmp_path)
    assert ahead == [RootedPath(tmp_path, "a.png"), RootedPath(tmp_path, "b.png")]


def test_contents_beyond_a_bound_are_in_a_file_that_ends_with_the_call(tmp_path: Path, monkeypatch: Any) -> None:
    """Memory holds 16 MiB of them; each is read back whole, and the folder is empty in the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    contents = [bytes([n]) * 3_000_000 for n in range(8)]
    with LocalFiles() as files:
        digests = [digest_of(files.reference(content)) for content in contents]
        assert files._spool._file._rolled  # type: ignore[attr-defined]
        for digest, content in zip(digests, contents, strict=True):
            pieces = list(files.sources[digest].pieces())
            assert max(map(len, pieces)) <= file_source.PIECE
            assert b"".join(pieces) == content
    assert list(tmp_path.iterdir()) == []
    assert MAX_IN_MEMORY < 8 * 3_000_000


def test_a_content_that_comes_twice_takes_no_room(files: LocalFiles) -> None:
    """1,000 rows with the same bytes are one content."""
    for _ in range(3):
        files.reference(PNG)
        files.reference(JPEG)
    assert files._spool.size == len(PNG) + len(JPEG)


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        (PNG, "a.jpg", "image/png"),
        (JPEG, "", "image/jpeg"),
        (b"\0\0\0 ftypqt  ", "a.mov", "video/quicktime"),
        (b"\0\0\0 ftypqt  ", "", "video/quicktime"),
        (b"\0\0\0 ftypisom", "a.mov", "video/quicktime"),
        (b"\0\0\0 ftypisom", "a.png", "video/mp4"),
        (b"\0\0\0 ftypheic", "IMG_1.HEIC", "image/heic"),
        (b"OggS", "a.opus", "audio/ogg"),
        (b"OggS", "a.ogv", "video/ogg"),
        (b"II*\0", "a", "image/tiff"),
        (b"%PDF-1.7", "a.bin", "application/pdf"),
        (b"PK\x03\x04", "a.usdz", "model/vnd.usdz+zip"),
        (b"PK\x03\x04", "a.txt", "application/zip"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"hello", "a.txt", "text/plain"),
        (b"{}", "a.json", "application/json"),
        (b"<html>not found", "a.png", media.ANY_TYPE),
        (b"\x00\x01", "", media.ANY_TYPE),
    ],
)
def test_the_type_is_that_of_the_content_then_of_the_name(head: bytes, name: str, kind: str) -> None:
    """A PNG that is called .jpg is a PNG; an error page that is called .png is no image."""
    assert media.content_type(head, name) == kind


# -- uploading --------------------------------------------------------------------------------------------------------


def test_each_content_goes_up_once(sandbox: Sandbox, files: LocalFiles, tmp_path: Path) -> None:
    """In the order of first use, with its type; the URL serves it. A later call of this account uploads nothing."""
    (tmp_path / "a.png").write_bytes(PNG)
    for value in (tmp_path / "a.png", JPEG, PNG, np.zeros((2, 2, 3), np.uint8), JPEG):
        files.reference(value)
    digests = list(files.sources)
    made = uploader(files, max_uploads=1)
    assert uploaded(made) == {}
    stored = sandbox.files
    assert [file.content_type for file in stored] == ["image/png", "image/jpeg", "image/png"]
    assert [file.status for file in stored] == ["live"] * 3
    assert [file.sha256 for file in stored[:2]] == digests[:2]
    assert [made.urls[digest] for digest in digests] == [file.public_url for file in stored]
    assert made.references == {
        file.public_url: f"eachlabs-file:sha256-{d}" for file, d in zip(stored, digests, strict=True)
    }
    again = uploader(files)
    assert uploaded(again) == {}
    assert (again.urls, again.references) == (made.urls, made.references)
    assert (sandbox.presigns, sandbox.puts) == (3, 3)


def test_a_hundred_files_are_a_hundred_uploads(sandbox: Sandbox, files: LocalFiles) -> None:
    """Ten times as many rows ask for them, all at once."""
    for row in range(1000):
        files.reference(b"\xff\xd8\xff" + str(row % 100).encode())
    made = uploader(files)

    async def rows() -> list[Any]:
        stop = asyncio.Event()
        running = asyncio.ensure_future(made.run(stop))
        digests = list(files.sources)
        answers = await asyncio.gather(*(made.ensure(digests[n % 10 :: 10]) for n in range(100)))
        stop.set()
        await running
        return answers

    assert in_loop(rows()) == [{}] * 100
    made.close()
    assert (sandbox.presigns, sandbox.puts, len(made.urls)) == (100, 100, 100)


def test_another_account_and_another_key_upload_for_themselves(sandbox: Sandbox, files: LocalFiles) -> None:
    """The journal never has a key, and a key's digest does not give it away."""
    files.reference(PNG)
    uploaded(uploader(files))
    settings = current()
    other = replace(settings, api_key=Secret("another-key-of-somebody"))
    assert account_of(settings) != account_of(other)
    assert account_of(settings) != account_of(replace(settings, base_url="https://example.org/v1"))
    assert open_journal(settings.journal).uploads(account_of(other)) == []
    content = Path(os.environ["EACHLABS_JOURNAL"]).read_bytes()
    assert settings.key().reveal().encode() not in content
    assert b"X-Amz-Signature" not in content
    with pytest.raises(ConfigurationError, match="the legacy dialect has no uploads"):
        account_of(replace(settings, dialect="legacy"))


@pytest.mark.parametrize("route", ["presign", "put"])
@pytest.mark.parametrize(
    "fault",
    [
        SandboxFault("error_before", status=503, times=2),
        SandboxFault("dropped", times=2),
        SandboxFault("rate_limit", times=2, retry_after=7),
        SandboxFault("lost_answer", times=1),
        SandboxFault("error_after", times=1, status=500),
        SandboxFault("cut_short", times=1),
    ],
    ids=lambda fault: fault.kind,
)
def test_both_requests_are_repeated(sandbox: Sandbox, files: LocalFiles, fault: SandboxFault, route: str) -> None:
    """Whether they took effect or not; what is at the API then is not sent once more."""
    sandbox.faults(replace(fault, on=route))
    files.reference(PNG)
    clock = QuickClock()
    made = uploader(files, clock=clock)
    assert uploaded(made) == {}
    (digest,) = files.sources
    live = [file for file in sandbox.files if file.status == "live"]
    assert [(file.public_url, file.sha256) for file in live] == [(made.urls[digest], digest)]
    # aiohttp itself repeats a PUT whose kept connection was closed.
    assert len(clock.slept) in ((fault.times or 0) - 1, fault.times)
    if fault.kind == "rate_limit":
        assert all(6.5 < seconds <= 7.5 for seconds in clock.slept)


def test_a_refused_url_is_requested_anew_once(sandbox: Sandbox, files: LocalFiles) -> None:
    """A second 403 is the file's reason, in the storage's words."""
    files.reference(PNG)
    sandbox.faults(SandboxFault("forbidden", on="put", at={1}))
    assert uploaded(uploader(files)) == {}
    assert [file.status for file in sandbox.files] == ["pending", "live"]
    files.reference(JPEG)
    sandbox.faults(SandboxFault("forbidden", on="put"))
    (reason,) = uploaded(uploader(files)).values()
    assert re.match(r"'\w{8}\.jpg' was not uploaded: HTTP 403", reason)
    assert sandbox.presigns == 4
    assert [record.deleted_at is None for record in records()] == [False, True, False, False]


def test_a_url_that_is_too_old_is_not_used(sandbox: Sandbox, files: LocalFiles) -> None:
    """After a long pause, as of a suspended machine, another one is requested before the PUT."""
    files.reference(PNG)
    clock = QuickClock()

    sandbox.faults(SandboxFault("error_before", on="put", status=500, at={1}))
    original = clock.sleep

    async def suspended(seconds: float) -> None:
        clock.ahead = MAX_URL_AGE + 1
        await original(seconds)

    clock.sleep = suspended  # type: ignore[method-assign]
    assert uploaded(uploader(files, clock=clock)) == {}
    assert [(file.puts, file.status) for file in sandbox.files] == [(1, "pending"), (1, "live")]


def test_a_refusal_of_one_file_is_its_own(sandbox: Sandbox, files: LocalFiles) -> None:
    """The others go up."""
    files.reference(PNG)
    files.reference(JPEG)
    sandbox.faults(SandboxFault("bad_request", on="put", at={1}))
    reasons = uploaded(uploader(files, max_uploads=1))
    assert list(reasons) == list(files.sources)[:1]
    assert "HTTP 400" in reasons[next(iter(files.sources))]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unauthorized", AuthenticationError),
        ("forbidden", PermissionDeniedError),
        ("not_found", NotFoundError),
        ("gone", APIError),
        ("redirect", APIError),
        ("payment", APIError),
    ],
)
def test_an_answer_that_is_not_about_the_file_ends_the_call(
    sandbox: Sandbox, files: LocalFiles, fault: str, error: type[Exception]
) -> None:
    """The key, the account or the address is refused, as by any other request; nothing is put."""
    files.reference(PNG)
    sandbox.faults(SandboxFault(fault, on="presign"))
    with pytest.raises(error):
        uploaded(uploader(files))
    assert sandbox.puts == 0


def records() -> list[UploadRecord]:
    """Return what the journal of the test knows."""
    return open_journal(current().journal).uploads(account_of(current()))


def test_an_outage_ends_the_call_and_not_its_rows(sandbox: Sandbox, files: LocalFiles) -> None:
    """Nothing can be uploaded for `max_wait` seconds: the rows stay to be sent later."""
    files.reference(PNG)
    sandbox.faults(SandboxFault("error_before", on="put", status=503))
    clock = QuickClock()
    with pytest.raises(APIConnectionError, match=r"no file could be uploaded for 60 s \(max_wait\): HTTP 503"):
        uploaded(uploader(files, clock=clock, max_wait=60.0))
    assert sum(clock.slept) <= 60
    sandbox.faults(SandboxFault("rate_limit", on="presign", retry_after=50))
    with pytest.raises(RateLimitError):
        uploaded(uploader(files, max_wait=60.0))
    sandbox.faults(SandboxFault("payment", on="presign", details="of this request and of your in-flight executions"))
    with pytest.raises(APIError, match=r"no file could be uploaded for 60 s \(max_wait\): HTTP 402"):
        uploaded(uploader(files, max_wait=60.0))


def test_a_file_that_fails_while_others_go_up_is_given_up(sandbox: Sandbox, files: LocalFiles) -> None:
    """Its rows alone are not sent; the attempts are counted."""
    for n in range(40):
        files.reference(PNG + bytes([n]))
    digests = list(files.sources)

    class OneIsRefused:
        """The API, which has trouble with one content type."""

        def __init__(self) -> None:
            self.api = Client(current())
            self.refused = 0

        async def send(self, request: Request) -> Reply | Fault:
            if b"jpeg" in (request.body or b""):
                self.refused += 1
                while sandbox.presigns < 3 * self.refused:  # others go up meanwhile
                    await asyncio.sleep(0.005)
                return reply(503)
            return await self.api.send(request)

    bad = digest_of(files.reference(JPEG))
    transport = OneIsRefused()
    made = uploader(files, transport=transport, max_uploads=2)
    reasons = uploaded(made, [bad, *digests])
    assert list(reasons) == [bad]
    assert reasons[bad].endswith(f"was not uploaded: HTTP 503 Service Unavailable ({MAX_ATTEMPTS} attempts)")
    assert transport.refused == MAX_ATTEMPTS


def test_a_stop_ends_the_uploads_at_once(sandbox: Sandbox, files: LocalFiles) -> None:
    """Whoever waits for a file learns that it is over; what was complete stays known."""
    files.reference(PNG)
    files.reference(JPEG)
    sandbox.faults(SandboxFault("silence", on="put", at={2}))
    told: list[str | None] = []
    made = uploader(files, max_uploads=1, on_progress=told.append)

    async def run() -> Any:
        stop = asyncio.Event()
        running = asyncio.ensure_future(made.run(stop))
        waiting = asyncio.ensure_future(made.ensure(list(files.sources)))
        while sandbox.puts < 2:
            await asyncio.sleep(0.01)
        stop.set()
        await running
        return await waiting

    assert in_loop(run()) is None
    made.close()
    assert str(told[-2]).startswith("uploading 1 of 2")
    assert told[-1] is None
    assert [record.uploaded_at is not None for record in records()] == [True, False]
    # The second was received, and its answer lost: the next call finds that out and sends nothing.
    sandbox.faults()
    assert uploaded(uploader(files)) == {}
    assert sandbox.puts == 2
    assert [record.uploaded_at is not None for record in records()] == [True, True]


def test_a_second_turn_of_the_uploads_goes_on(sandbox: Sandbox, files: LocalFiles) -> None:
    """A call sends twice if it sends again what was not found: the uploads are cancelled in between."""
    files.reference(PNG)
    made = uploader(files)

    async def run() -> Any:
        stop = asyncio.Event()
        for _ in range(2):
            running = asyncio.ensure_future(made.run(stop))
            await asyncio.sleep(0)
            answer = await made.ensure(list(files.sources))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            files.reference(JPEG)
        return answer

    assert in_loop(run()) == {}
    made.close()
    assert sandbox.puts == 2


def test_a_file_that_has_changed_since_is_not_sent(sandbox: Sandbox, files: LocalFiles, tmp_path: Path) -> None:
    """Its row says another content: nothing of the new one is at the API, and the reason names the file."""
    path, other = tmp_path / "a.png", tmp_path / "b.png"
    path.write_bytes(PNG)
    other.write_bytes(JPEG)
    files.reference(path)
    files.reference(other)
    path.write_bytes(PNG[:-1] + b"x")
    other.unlink()
    reasons = list(uploaded(uploader(files)).values())
    assert f"the file {str(path)!r} has changed since its row was prepared" in reasons[0]
    assert "cannot be read any more: No such file" in reasons[1]
    assert [file.status for file in sandbox.files] == ["pending", "pending"]
    assert all(record.deleted_at is not None for record in records())


def test_a_file_that_a_memory_map_has_changed_since_is_not_sent(
    sandbox: Sandbox, files: LocalFiles, tmp_path: Path
) -> None:
    """Its size, times and inode may be what they were when it was hashed: only its content tells."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG + bytes(100))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        content[-2] = 1
        files.reference(path)
        content[-1] = 1
        reasons = list(uploaded(uploader(files)).values())
    assert f"the file {str(path)!r} has changed since its row was prepared" in reasons[0]
    assert [file.status for file in sandbox.files] == ["pending"]


def test_a_file_that_is_back_is_sent_after_all(sandbox: Sandbox, files: LocalFiles, tmp_path: Path) -> None:
    """It is hashed once more before it is refused."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    files.reference(path)
    path.write_bytes(JPEG + bytes(5))

    real = file_source.FileSource.is_unchanged

    def restored(self: file_source.FileSource) -> bool:
        path.write_bytes(PNG)
        return real(self)

    file_source.FileSource.is_unchanged = restored  # type: ignore[method-assign]
    try:
        assert uploaded(uploader(files)) == {}
    finally:
        file_source.FileSource.is_unchanged = real  # type: ignore[method-assign]
    (digest,) = files.sources
    assert [(file.status, file.sha256) for file in sandbox.files] == [("pending", None), ("live", digest)]


# -- earlier uploads --------------------------------------------------------------------------------------------------


def test_an_upload_that_soon_expires_is_made_anew(sandbox: Sandbox, files: LocalFiles) -> None:
    """Also within a call; a short life of its own does not count as soon."""
    files.reference(PNG)
    clock = QuickClock()
    made = uploader(files, clock=clock, expires_in=60)

    async def run() -> None:
        running = asyncio.ensure_future(made.run(asyncio.Event()))
        for puts, ahead in ((1, 0), (1, 20), (2, 40)):
            clock.ahead = ahead
            assert await made.ensure(list(files.sources)) == {}
            assert sandbox.puts == puts
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_loop(run())
    made.close()
    assert list(made.urls.values()) == [sandbox.files[1].public_url]
    assert set(made.references) == {file.public_url for file in sandbox.files}


def test_a_file_that_expires_before_it_can_be_sent_is_not_uploaded_for_ever(
    sandbox: Sandbox, files: LocalFiles
) -> None:
    """The upload takes too long for `expires_in`, or the clock of this machine is ahead."""
    files.reference(PNG)
    clock = QuickClock()
    clock.ahead = 100
    made = uploader(files, clock=clock, expires_in=60)
    ((_, reason),) = uploaded(made).items()
    assert reason.endswith(EXPIRES)
    assert sandbox.puts == 1


@pytest.mark.usefixtures("sandbox")
def test_files_that_are_never_usable_together_are_uploaded_a_few_times(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here each upload makes that of the other file expire: the rows are refused, and the call ends."""
    for number in range(2):
        files.reference(PNG + bytes([number]))
    made = uploader(files)
    uploads: list[str] = []

    async def upload(_: Any, digest: str) -> UploadRecord:
        uploads.append(digest)
        await asyncio.sleep(0)
        url = f"https://files.example/{len(uploads)}"
        return UploadRecord(digest, url, url, "a.png", 1, "image/png", presigned_at=0, expires_at=60)

    monkeypatch.setattr(uploader_module, "is_usable", lambda record, _: record.digest == uploads[-1])
    monkeypatch.setattr(made, "_upload", upload)
    assert list(uploaded(made).values()) == [EXPIRES]
    assert len(uploads) <= 4 * MAX_ROUNDS


def test_the_margin_before_an_expiry() -> None:
    """An hour, or half the life of the file; incomplete and deleted uploads are never used."""
    now = 1e9
    record = UploadRecord("d", "f", "u", "n", 1, "t", int(now * 1e9), int((now + 7_300) * 1e9), uploaded_at=1)
    assert is_usable(record, now + 7_300 - MARGIN - 1)
    assert not is_usable(record, now + 7_300 - MARGIN + 1)
    short = replace(record, expires_at=int((now + 60) * 1e9))
    assert is_usable(short, now + 29)
    assert not is_usable(short, now + 31)
    assert not is_usable(replace(record, uploaded_at=None), now)
    assert not is_usable(replace(record, deleted_at=1), now)


def test_a_reference_without_its_file_is_looked_up(sandbox: Sandbox, files: LocalFiles) -> None:
    """As in the frame of `load_run`: its URL is known, or the file has to be passed again."""
    files.reference(PNG)
    uploaded(uploader(files))
    with LocalFiles() as none:
        made = uploader(none)
        known = sha256(PNG).hexdigest()
        assert uploaded(made, [known, "0" * 64]) == {"0" * 64: NOT_STORED}
        assert made.urls == {known: sandbox.files[0].public_url}


def test_an_upload_whose_end_is_not_known_counts_only_if_its_size_is_right(sandbox: Sandbox, files: LocalFiles) -> None:
    """The process was killed after the PUT, or before; the URL tells."""
    files.reference(PNG)
    uploaded(uploader(files))
    (record,) = records()
    settings = current()

    async def confirmed(record: UploadRecord) -> bool:
        async with StorageClient(timeout=60.0) as storage:
            connection = ApiConnection(Client(settings), QuickClock(), "current", 1)
            journal = open_journal(None).open_uploads("a")
            transfer = Transfer(storage, connection, journal, settings, expires_in=None, on_sent=lambda _: None)
            return await transfer.confirm(record) is not None

    unknown = replace(record, uploaded_at=None)
    assert in_loop(confirmed(unknown))
    assert not in_loop(confirmed(replace(unknown, size=record.size + 1)))
    assert not in_loop(confirmed(replace(unknown, public_url=record.public_url + "x")))
    assert not in_loop(confirmed(replace(unknown, public_url="ftp://x/y")))
    sandbox.expire_files(record.file_id)
    assert not in_loop(confirmed(unknown))


def test_two_calls_at_once_upload_once_or_twice_and_never_a_wrong_url(sandbox: Sandbox, files: LocalFiles) -> None:
    """Each with a journal and a loop of its own, as two processes have."""
    files.reference(PNG)
    made = [uploader(files) for _ in range(2)]
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda one=one: answers.append(uploaded(one))) for one in made]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{}, {}]
    (digest,) = files.sources
    live = {file.public_url: file.sha256 for file in sandbox.files if file.status == "live"}
    assert 1 <= len(live) <= 2
    assert all(live[one.urls[digest]] == digest for one in made)
    uploaded(uploader(files))
    assert sandbox.puts == len(live)


def test_a_call_finds_what_another_has_uploaded_since_it_was_prepared(sandbox: Sandbox, files: LocalFiles) -> None:
    """It asks the journal once more before it uploads."""
    files.reference(PNG)
    first, second = uploader(files), uploader(files)
    assert uploaded(first) == uploaded(second) == {}
    assert first.urls == second.urls
    assert sandbox.puts == 1


def test_without_a_journal_a_call_knows_its_own_uploads(sandbox: Sandbox, files: LocalFiles) -> None:
    """Nothing is remembered beyond it."""
    files.reference(PNG)
    made = uploader(files, journal=open_journal(None))
    assert uploaded(made) == {}
    assert len(made.urls) == len(made.references) == 1
    assert uploader(files, journal=open_journal(None)).urls == {}


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_a_put_has_no_more_headers_than_needed(files: LocalFiles) -> None:
    """No key, no user agent, no encoding; the length, the type and what the API requires, as it is written there."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(len(PNG))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def put() -> Reply | Fault:
        files.reference(PNG)
        (source,) = files.sources.values()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = Secret(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a%2Bb?s=x%2F+/=")
        async with server, StorageClient(timeout=60.0) as storage:
            return await storage.put(url, source, {"Content-Type": "image/png", "X-Amz-Meta": "v=1; x"}, lambda _: None)

    answered = in_loop(put())
    assert isinstance(answered, Reply)
    first, *lines = heads[0].decode().split("\r\n")[:-2]
    assert first == "PUT /a%2Bb?s=x%2F+/= HTTP/1.1"
    assert sorted(line for line in lines if not line.startswith("Host: ")) == [
        f"Content-Length: {len(PNG)}",
        "Content-Type: image/png",
        "X-Amz-Meta: v=1; x",
    ]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://storage.example.org/x?s=secret", "is not https"),
        ("ftp://storage.example.org/x?s=secret", "is not https"),
        ("https://me:secret@storage.example.org/x", "is not a URL that can be used"),
        ("https:///x?secret", "is not a URL that can be used"),
        ("https://storage.example.org:x/secret", "is not a URL that can be used"),
        ("https://storage.example.org/secret\r\nx: y", "is not a URL that can be used"),
        ("http://localhost:8000/secret", "is not https"),
    ],
)
def test_a_url_that_must_not_be_used_is_not_shown(url: str, reason: str) -> None:
    """It is a secret even then."""
    with pytest.raises(RefusedUrlError) as caught:
        check_url(Secret(url), what="presigned_url", loopback=False)
    assert str(caught.value) == f"the API's presigned_url {reason}"
    check_url(Secret("http://localhost:8000/x"), what="presigned_url", loopback=True)


def test_a_presigned_url_is_in_no_reason(sandbox: Sandbox, files: LocalFiles, caplog: pytest.LogCaptureFixture) -> None:
    """Not of a host that does not exist, a broken connection or a redirect; nor is it in a log."""
    caplog.set_level("DEBUG")
    files.reference(PNG)

    class Elsewhere:
        """An API that presigns a URL of a port where nobody listens."""

        async def send(self, request: Request) -> Reply:
            urls = {"presigned_url": "http://127.0.0.1:1/x?signature=secret", "public_url": "http://127.0.0.1:1/x"}
            return reply(200, {"id": "f", "required_headers": {}, **urls})

    with pytest.raises(APIConnectionError) as caught:
        uploaded(uploader(files, transport=Elsewhere(), max_wait=5.0))
    assert "127.0.0.1" in str(caught.value)
    sandbox.faults(SandboxFault("redirect", on="put"))
    (reason,) = uploaded(uploader(files)).values()
    assert "HTTP 302 Found (the presigned URL redirects, which is not followed" in reason
    assert "base_url" not in reason
    for shown in (repr(caught.value.__dict__), str(caught.value), reason, caplog.text):
        assert "secret" not in shown
        assert "X-Amz-Signature" not in shown


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reply(200), Success),
        (reply(204), Success),
        (Fault(sent=True, reason="reset"), Retry),
        (reply(500), Retry),
        (reply(429), Retry),
        (reply(400, b"<Error><Code>RequestTimeout</Code></Error>"), Retry),
        (reply(400, b"<Error><Code>EntityTooLarge</Code></Error>"), Stop),
        (reply(403), Stop),
        (reply(302), Stop),
    ],
)
def test_what_the_storages_answers_mean(answer: Reply | Fault, verdict: type) -> None:
    """A PUT may be repeated; its errors are XML."""
    assert type(judge_upload(answer)) is verdict


def test_the_storages_reason_is_shown_without_the_rest() -> None:
    """Its other elements have parts of the URL."""
    body = b"<?xml?><Error><Code>AccessDenied</Code><Message>Request has expired</Message><Secret>abc</Secret></Error>"
    judged = judge_upload(reply(403, body))
    assert isinstance(judged, Stop)
    assert judged.reason == "HTTP 403: AccessDenied: Request has expired"


def test_a_large_file_is_never_whole_in_memory(sandbox: Sandbox, files: LocalFiles, tmp_path: Path) -> None:
    """A piece is read when the one before is on its way: at most one is buffered."""
    path = tmp_path / "video.mp4"
    with path.open("wb") as video:
        video.write(b"\0\0\0 ftypisom")
        video.truncate(20 * file_source.PIECE)
    files.reference(path)
    (source,) = files.sources.values()
    sizes = [len(piece) for piece in source.pieces()]
    assert max(sizes) == file_source.PIECE
    told: list[str | None] = []
    made = uploader(files, clock=SystemClock(), on_progress=told.append)
    assert uploaded(made) == {}
    assert sandbox.files[0].size == 20 * file_source.PIECE
    assert told[-1] is None
    assert re.fullmatch(r"uploading 0 of 1, \d+ (MB|kB|bytes)", str(told[0]))


def test_a_run_reports_its_uploads_and_is_named_by_its_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """The events have a text while files go up, and none at the end; the journal knows the run of each file."""
    paths = [tmp_path / f"{n}.png" for n in range(12)]
    for n, path in enumerate(paths):
        path.write_bytes(PNG + bytes([n]))
    events: list[ef.Event] = []
    df = pd.DataFrame({"image_url": paths, "prompt": "a fox"})
    df.eachlabs.bulk_trigger("wf_abc123", run="photos", progress=events.append, validate=False)
    texts = [event.waiting_for for event in events if event.kind == "uploading"]
    assert re.fullmatch(r"uploading \d+ of 12, \d+ (bytes|kB)", str(texts[0]))
    assert texts[-1] is None
    assert events[-1].waiting_for is None
    assert ef.files()["runs"].tolist() == [["photos"]] * 12
    assert (sandbox.puts, sandbox.accepted_count()) == (12, 12)


# -- ef.files and ef.delete_files -------------------------------------------------------------------------------------


def test_files_lists_what_is_at_the_api(sandbox: Sandbox, files: LocalFiles, tmp_path: Path) -> None:
    """The newest first, with their dtypes; deleted and expired files are left out."""
    assert ef.files().empty
    (tmp_path / "a.png").write_bytes(PNG)
    files.reference(tmp_path / "a.png")
    uploaded(uploader(files))
    files.reference(JPEG)
    uploaded(uploader(files, expires_in=3_600))
    listed = ef.files()
    assert listed["name"].tolist() == [f"{sha256(JPEG).hexdigest()[:8]}.jpg", "a.png"]
    assert listed["size"].tolist() == [len(JPEG), len(PNG)]
    assert listed["public_url"].tolist() == [file.public_url for file in sandbox.files[::-1]]
    assert listed["digest"].tolist() == [sha256(JPEG).hexdigest(), sha256(PNG).hexdigest()]
    assert listed["runs"].tolist() == [[], []]
    life = (listed["expires_at"] - listed["uploaded_at"]).dt.total_seconds()
    assert life.tolist() == pytest.approx([3_600, 180 * 86_400], abs=600)
    times, texts = "datetime64[ns, UTC]", "string"
    assert {name: str(dtype) for name, dtype in listed.dtypes.items()} == {
        "name": texts,
        "size": "int64",
        "content_type": texts,
        "uploaded_at": times,
        "expires_at": times,
        "runs": "object",
        "public_url": texts,
        "file_id": texts,
        "digest": texts,
    }
    ef.delete_files(listed)
    assert ef.files().dtypes.equals(listed.dtypes)
    assert ef.delete_files([]).empty


def test_delete_files_deletes_at_the_api_and_the_next_call_uploads_anew(sandbox: Sandbox, files: LocalFiles) -> None:
    """By id, by digest, by URL or by the frame; a file that was deleted elsewhere counts as deleted."""
    contents = [PNG + bytes([n]) for n in range(4)]
    for content in contents:
        files.reference(content)
    uploaded(uploader(files, max_uploads=1))
    ids = [file.file_id for file in sandbox.files]
    unknown = "00000000-0000-4000-8000-000000000000"
    out = ef.delete_files([ids[0], sha256(contents[1]).hexdigest(), sandbox.files[2].public_url, ids[0], unknown])
    assert out["file_id"].tolist() == [*ids[:3], unknown]
    assert out["deleted"].tolist() == [True] * 4
    assert out["error"].isna().all()
    assert out["name"].isna().tolist() == [False, False, False, True]
    assert [file.status for file in sandbox.files] == ["deleted"] * 3 + ["live"]
    assert ef.delete_files(ef.files())["file_id"].tolist() == ids[3:]
    assert ef.files().empty
    assert uploaded(uploader(files)) == {}
    assert sandbox.puts == 8


def test_a_file_that_is_processed_is_tried_a_little_longer(sandbox: Sandbox, files: LocalFiles) -> None:
    """A 409 passes; one that stays is reported, and the file stays known."""
    files.reference(PNG)
    uploaded(uploader(files))
    connection = ApiConnection(Client(current()), QuickClock(), "current", 2)
    ids = [sandbox.files[0].file_id]

    def deleted() -> dict[str, str | None]:
        async def run() -> dict[str, str | None]:
            return await deletion.delete_files(ids, connection, asyncio.Event())

        return in_loop(run())

    sandbox.change(processing_seconds=3_600.0)
    (error,) = deleted().values()
    assert "HTTP 409" in str(error)
    assert "being processed" in str(error)
    sandbox.change(processing_seconds=0.0)
    sandbox.faults(
        SandboxFault("error_before", on="delete", status=409, at={1}), SandboxFault("dropped", on="delete", at={2})
    )
    assert deleted() == {ids[0]: None}
    sandbox.faults(SandboxFault("unauthorized", on="delete"))
    with pytest.raises(AuthenticationError):
        ef.delete_files(ids)


def test_what_is_no_uploaded_file_is_refused_before_anything_is_deleted(sandbox: Sandbox, files: LocalFiles) -> None:
    """A misspelt URL or a frame without ids; the message says where to look."""
    files.reference(PNG)
    uploaded(uploader(files))
    with pytest.raises(ConfigurationError, match=r"has no uploaded file 'x' of this account: ef.files\(\) lists them"):
        ef.delete_files([sandbox.files[0].file_id, "x"])
    with pytest.raises(ConfigurationError, match="no column 'file_id'"):
        ef.delete_files(pd.DataFrame({"a": [1]}))
    with pytest.raises(ConfigurationError, match="or rows of"):
        ef.delete_files([1])  # type: ignore[list-item]
    assert sandbox.files[0].status == "live"
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=False)
    with pytest.raises(ConfigurationError, match="the journal is off"):
        ef.files()
