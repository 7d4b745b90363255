"""Tests of `download` over real sockets, with files of the sandbox and of the tests' own file server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import gzip
import hashlib
import json
import os
import re
import socket
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.aio.bridge import run
from eachlabs_frames.aio.clock import SystemClock
from eachlabs_frames.api.content_encoding import BUFFER, BrokenError, unpacked
from eachlabs_frames.downloads.decisions import Accept
from eachlabs_frames.downloads.folder import Folder, RejectedFileError
from eachlabs_frames.downloads.http import HttpClient
from eachlabs_frames.downloads.naming import FileKey
from eachlabs_frames.downloads.partial_file import PartialFile
from eachlabs_frames.downloads.url_policy import UrlPolicy
from eachlabs_frames.frames.download import Download, DownloadOptions
from eachlabs_frames.models import Event
from eachlabs_frames.sandbox import Fault, Sandbox

from .shelf import PNG, Item, Shelf

MANY = "wf_images"
ONE = "wf_abc123"
LIST = ".eachlabs/downloads.jsonl"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A file server on another port of this machine, which has a private address."""
    running = Shelf()
    yield running
    running.close()


def frame(rows: int, workflow: str = ONE) -> pd.DataFrame:
    """Return a result frame with this number of executions."""
    df = pd.DataFrame({"prompt": [f"a fox, number {row}" for row in range(rows)]})
    out: pd.DataFrame = df.eachlabs.bulk_trigger(workflow, wait=True)
    return out


def result(*outputs: Any, index: Any = None, **columns: Any) -> pd.DataFrame:
    """Return a frame like the result of a call, with these outputs."""
    rows = len(outputs)
    made: pd.DataFrame = pd.DataFrame(
        {
            **columns,
            "bulk_id": pd.array(["b"] * rows, dtype="string"),
            "execution_id": pd.array([f"execution-{row:04d}" for row in range(rows)], dtype="string"),
            "status": pd.array(["completed"] * rows, dtype="string"),
        },
        index=index,
    )
    made["output"] = pd.Series(list(outputs), index=made.index, dtype=object)
    return made


class InstantClock(SystemClock):
    """A clock that records sleeps instead of waiting; each call of `now` advances it by `step` seconds."""

    def __init__(self, *, step: float = 0.0) -> None:
        self.slept: list[float] = []
        self._now, self._step = 0.0, step

    def now(self) -> float:
        self._now += self._step
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def download_at_once(out: pd.DataFrame, folder: Path, *, clock: Any = None, **options: Any) -> pd.DataFrame:
    """Download like the accessor's method, with a chosen clock or folder class."""
    store = {"store": options.pop("store")} if "store" in options else {}
    defaults = {"name": "{index}-{n}", "column": "path", "overwrite": False, "allow_private": True, "progress": False}
    defaults |= dict.fromkeys(("max_concurrency", "max_size", "prefix"))
    chosen = DownloadOptions(**{**defaults, **options})
    result_frame: pd.DataFrame = run(lambda: Download(out, folder, chosen, clock=clock or InstantClock(), **store))
    return result_frame


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, except the package's own files."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".eachlabs" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def leftovers(folder: Path) -> list[Path]:
    """Return the partial files that are left in a folder."""
    return list((folder / ".eachlabs").glob("*.part"))


def media_requests(sandbox: Sandbox) -> int:
    """Return the number of requests for files of outputs."""
    return sum(record.route == "media" for record in sandbox.requests)


def detail_requests(sandbox: Sandbox) -> int:
    """Return the number of requests for details of an execution."""
    return sum(record.route == "details" for record in sandbox.requests)


# -- paths of the files -----------------------------------------------------------------------------------------------


def test_every_file_is_downloaded_and_its_path_written_to_its_row(sandbox: Sandbox, tmp_path: Path) -> None:
    """A row with several files gets a list of paths; the rows, index and columns of the frame are unchanged."""
    out = frame(4, MANY).set_index(pd.Index(["a", "b", "c", "d"]))
    before = out.copy()
    got = out.eachlabs.download(tmp_path / "pictures")
    pd.testing.assert_frame_equal(out, before)
    pd.testing.assert_frame_equal(got[list(out.columns)], out)
    assert got.loc["c", "path"] == [str(tmp_path / "pictures" / f"c-{n}.png") for n in range(3)]
    assert got["path_error"].isna().all()
    assert str(got["path_error"].dtype) == "string"
    assert got["path"].dtype == object
    assert len(files(tmp_path / "pictures")) == 12
    assert all(body.startswith(b"\x89PNG") for body in files(tmp_path / "pictures").values())
    assert got.attrs["eachlabs_download"] == {"column": "path"}
    assert json.dumps(got.attrs)
    assert leftovers(tmp_path / "pictures") == []


def test_the_folder_is_created_and_relative_paths_stay_relative(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With relative paths, a project can be moved together with its frame."""
    monkeypatch.chdir(tmp_path)
    got = frame(1).eachlabs.download("a/b", name="{prompt}/{index}")
    assert got.loc[0, "path"] == os.path.join("a", "b", "a fox, number 0", "0.svg")  # noqa: PTH118
    assert Path(got.loc[0, "path"]).read_bytes().startswith(b"<svg")


def test_a_repeated_download_sends_no_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """Files are not revalidated either, because their URLs may have expired."""
    out = frame(5, MANY).eachlabs.download(tmp_path)
    requests_before = media_requests(sandbox)
    sandbox.faults(Fault("not_found", on="media"))
    again = out.eachlabs.download(tmp_path)
    pd.testing.assert_frame_equal(again, out)
    assert media_requests(sandbox) == requests_before == 15


def test_missing_truncated_and_changed_files_are_downloaded_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """A change is detected by the size, and by the checksum if the modification time differs."""
    out = frame(6).eachlabs.download(tmp_path)
    before = files(tmp_path)
    (tmp_path / "0-0.svg").unlink()
    stamp = (tmp_path / "1-0.svg").stat().st_mtime_ns
    (tmp_path / "1-0.svg").write_bytes(before["1-0.svg"][:50])
    os.utime(tmp_path / "1-0.svg", ns=(stamp, stamp))  # by its size alone
    (tmp_path / "2-0.svg").write_bytes(b"x" * len(before["2-0.svg"]))
    os.utime(tmp_path / "2-0.svg", ns=(1, 1))
    os.utime(tmp_path / "3-0.svg", ns=(1, 1))  # copied: the same bytes, another time
    requests_before = media_requests(sandbox)
    again = out.eachlabs.download(tmp_path)
    assert again["path_error"].isna().all()
    assert files(tmp_path) == before
    assert media_requests(sandbox) - requests_before == 3
    assert (tmp_path / LIST).read_text().count(
        '"3-0.svg"'
    ) == 2  # its new modification time, so that the checksum is not computed again


def test_rows_without_a_file_have_no_path(sandbox: Sandbox, tmp_path: Path) -> None:
    """A text output, no output or a row that was never sent is no error."""
    got = result("a text", None, {"count": 3}, ["https is no URL"]).eachlabs.download(tmp_path)
    assert got["path"].tolist() == [None] * 4
    assert got["path_error"].isna().all()
    empty = got.iloc[:0].eachlabs.download(tmp_path)
    assert (len(empty), empty["path"].dtype) == (0, object)


def test_open_rows_give_a_warning(sandbox: Sandbox, tmp_path: Path) -> None:
    """The warning reminds a user who has not waited; without an output column the error suggests `load_run`."""
    sandbox.change(hold=True)
    out = pd.DataFrame({"prompt": ["a", "b", None]}).eachlabs.bulk_trigger(ONE)
    with pytest.warns(ef.UnsettledWarning, match=r"2 row\(s\) are still open.*wait\(\)") as caught:
        got = out.eachlabs.download(tmp_path)
    assert caught[0].filename == __file__
    assert got["path"].isna().all()
    with pytest.raises(ef.ColumnError, match=r"no column 'output'.*load_run"):
        got.drop(columns="output").eachlabs.download(tmp_path)


def test_a_failed_file_does_not_affect_the_others(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """It leaves None in its place, and the error says which file failed."""
    urls = [shelf.put("/a.png"), shelf.url + "/gone.png", shelf.put("/c.png")]
    got = result(urls, urls[1], urls[0]).eachlabs.download(tmp_path, allow_private=True)
    assert got.loc[0, "path"] == [str(tmp_path / "0-0.png"), None, str(tmp_path / "0-2.png")]
    assert got["path"].tolist()[1:] == [[None], [str(tmp_path / "2-0.png")]]
    gone = "HTTP 404; no new link: the API no longer has this execution"
    assert got["path_error"].fillna("").tolist() == [f"1: {gone}", gone, ""]
    got[["path"]].to_parquet(tmp_path / "got.parquet")
    single = got.iloc[1:].eachlabs.download(tmp_path, allow_private=True)
    assert single["path"].tolist() == [None, str(tmp_path / "2-0.png")]
    single[["path"]].to_parquet(tmp_path / "got.parquet")
    assert shelf.paths.count("/gone.png") == 3  # once per file and call, because a 404 is not retried


def test_download_async_gives_the_same_result(sandbox: Sandbox, tmp_path: Path) -> None:
    """`download_async` runs on the caller's own event loop."""
    out = frame(3)
    got = asyncio.run(out.eachlabs.download_async(tmp_path))
    assert got["path"].tolist() == [str(tmp_path / f"{row}-0.svg") for row in range(3)]


def test_a_result_with_a_prefix_is_downloaded(sandbox: Sandbox, tmp_path: Path) -> None:
    """The default is the latest result of the frame; `prefix=` selects another."""
    df = pd.DataFrame({"prompt": ["a"], "status": ["mine"]})
    out = df.eachlabs.bulk_trigger(ONE, ["prompt"], prefix="r_", wait=True)
    assert out.eachlabs.download(tmp_path)["path"].tolist() == [str(tmp_path / "0-0.svg")]
    with pytest.raises(ef.ColumnError, match="pass prefix='r_'"):
        out.eachlabs.download(tmp_path, prefix="")


# -- columns ----------------------------------------------------------------------------------------------------------


def test_a_column_of_the_user_is_not_overwritten(sandbox: Sandbox, tmp_path: Path) -> None:
    """The error suggests `column=`; a column that an earlier download wrote is replaced."""
    mine = result("x").assign(path="mine")
    with pytest.raises(ef.ColumnError, match=r"'path'.*column="):
        mine.eachlabs.download(tmp_path)
    got = mine.eachlabs.download(tmp_path, column="file")
    assert got["path"].tolist() == ["mine"]
    assert list(got.columns[-2:]) == ["file", "file_error"]
    again = got.eachlabs.download(tmp_path, column="file")
    assert list(again.columns) == list(got.columns)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("column", ["", "output", "status", 3, None])
def test_an_invalid_name_of_the_path_column_is_refused(tmp_path: Path, column: Any) -> None:
    """The name must be a text and not that of a result column."""
    with pytest.raises(ef.ConfigurationError, match="column"):
        result("x").eachlabs.download(tmp_path, column=column)


def test_the_path_column_is_padded_to_the_levels_of_the_columns(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """With MultiIndex columns, the missing levels are empty, like those of the result columns."""
    df = pd.DataFrame({("a", "b"): ["a fox"]})
    out = df.eachlabs.bulk_trigger(ONE, {"prompt": ("a", "b")}, wait=True)
    got = out.eachlabs.download(tmp_path)
    assert got[("path", "")].tolist() == [str(tmp_path / "0-0.svg")]
    assert got.eachlabs.download(tmp_path).columns.equals(got.columns)
    assert got.eachlabs.outputs()["path"].tolist() == [str(tmp_path / "0-0.svg")]


def test_paths_belong_to_the_executions_of_their_download(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each result and each folder has its own paths; rows that are sent again lose theirs."""
    downloaded = frame(1).eachlabs.download(tmp_path / "a").eachlabs.download(tmp_path / "b", column="file")
    both = downloaded.eachlabs.bulk_trigger(ONE, ["prompt"], prefix="r_", retrigger=True, wait=True)
    both = both.eachlabs.download(tmp_path / "c", column="theirs")
    assert both.eachlabs.outputs(prefix="")["path"].tolist() == [str(tmp_path / "b" / "0-0.svg")]
    assert both.eachlabs.outputs(prefix="r_")["path"].tolist() == [str(tmp_path / "c" / "0-0.svg")]
    again = both.eachlabs.bulk_trigger(ONE, ["prompt"], prefix="", retrigger=True)
    assert again[["path", "file"]].isna().all(axis=None)
    assert again["theirs"].tolist() == [str(tmp_path / "c" / "0-0.svg")]


def test_path_columns_of_a_download_are_no_inputs(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without a schema every other column is an input; a user's column of that name, or one that is named, is too."""
    sandbox.add_workflow("wf_any")
    got = frame(1).eachlabs.download(tmp_path)
    assert got.eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox, number 0"}]
    assert got.eachlabs.preview("wf_any", ["path"])["payload"].tolist() == [{"path": str(tmp_path / "0-0.svg")}]
    mine = got[["prompt"]].assign(path="mine")
    assert mine.eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox, number 0", "path": "mine"}]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "path",
        {"column": 3},
        {"column": "file", "earlier": "path"},
        {"column": ["path"], "earlier": {"path": None}},
    ],
)
def test_unknown_content_of_attrs_is_ignored(sandbox: Sandbox, tmp_path: Path, value: Any) -> None:
    """Foreign values of `eachlabs_download` in attrs raise nothing, and no column counts as a path column."""
    got = frame(1).eachlabs.download(tmp_path)
    got.attrs["eachlabs_download"] = value
    assert "path" not in got.eachlabs.outputs().columns
    again = got.eachlabs.bulk_trigger(ONE, ["prompt"], retrigger=True)
    assert again["path"].tolist() == got["path"].tolist()


# -- names ------------------------------------------------------------------------------------------------------------


def test_clashing_names_get_a_stable_suffix(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The suffix is of the execution id, so it does not depend on the order; names clash regardless of case."""
    urls = [shelf.put(f"/{n}.png", Item(PNG + bytes([n]))) for n in range(4)]
    out = result(*urls, index=["a", "a", "A", "b"])
    got = out.eachlabs.download(tmp_path, allow_private=True)
    names = ["a-0-ion-0000.png", "a-0-ion-0001.png", "A-0-ion-0002.png", "b-0.png"]
    assert got["path"].tolist() == [str(tmp_path / name) for name in names]
    assert [files(tmp_path)[name][-1] for name in names] == [0, 1, 2, 3]
    turned = out.iloc[::-1].eachlabs.download(tmp_path, allow_private=True, max_concurrency=1)
    assert turned["path"].tolist() == got["path"].tolist()[::-1]
    assert len(shelf.requests) == 4


def test_duplicated_rows_share_one_file(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The same execution under the same name."""
    out = result(shelf.put("/a.png"))
    got = pd.concat([out, out]).eachlabs.download(tmp_path, allow_private=True)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png")] * 2
    assert len(shelf.requests) == 1


def test_a_file_keeps_its_name_when_rows_are_added(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Rows of a longer frame get other names, and no file is downloaded again."""
    out = result(*[shelf.put(f"/{n}.png", Item(PNG + bytes([n]))) for n in range(2)], index=["a", "a"])
    first = out.iloc[:1].eachlabs.download(tmp_path, allow_private=True)
    both = out.eachlabs.download(tmp_path, allow_private=True)
    assert both["path"].tolist() == [first["path"].iloc[0], str(tmp_path / "a-0-ion-0001.png")]
    assert len(shelf.requests) == 2


def test_rows_of_explode_get_a_file_each(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """`explode` gives several rows one execution and one label; each row must get its own file."""
    out = result([shelf.put(f"/{n}.png", Item(PNG + bytes([n]))) for n in range(3)])
    whole = out.eachlabs.download(tmp_path, allow_private=True)
    apart = out.explode("output")
    got = apart.eachlabs.download(tmp_path, allow_private=True)
    assert got["path_error"].isna().all()
    assert got["path"].iloc[0] == whole["path"].iloc[0][0]
    assert [Path(path).read_bytes()[-1] for path in got["path"]] == [0, 1, 2]
    second = apart.iloc[[1]].eachlabs.download(tmp_path, allow_private=True)
    assert "another file" in second["path_error"].iloc[0]  # its default name is that of the first file
    renamed = apart.iloc[[1]].eachlabs.download(tmp_path, name="{index}-b", allow_private=True)
    assert Path(renamed["path"].iloc[0]).read_bytes()[-1] == 1


def test_outputs_read_from_parquet_are_downloaded(sandbox: Sandbox, tmp_path: Path) -> None:
    """Parquet returns lists as arrays, also inside objects."""
    pictures = [f"data:image/svg+xml,{n}" for n in range(2)]
    out = result(pictures, pictures[:1])
    out["more"] = [{"images": pictures}, {"images": []}]
    out.to_parquet(tmp_path / "out.parquet")
    back = pd.read_parquet(tmp_path / "out.parquet")
    got = back.eachlabs.download(tmp_path / "f")
    assert got["path"].tolist() == [
        [str(tmp_path / "f" / f"0-{n}.svg") for n in range(2)],
        [str(tmp_path / "f" / "1-0.svg")],
    ]
    nested = back.assign(output=back["more"]).eachlabs.download(tmp_path / "g")
    assert len(nested["path"][0]) == 2


def test_no_row_label_leads_out_of_the_folder(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Any label gives a file directly in the folder."""
    labels = ["../../x", "/etc/passwd", "C:\\x", "con", "", "a\x00b", "..", ".eachlabs", "x" * 400]
    out = result(*[shelf.put(f"/{n}.png") for n in range(len(labels))], index=labels)
    got = out.eachlabs.download(tmp_path / "f", name="{index}", allow_private=True)
    assert got["path_error"].isna().all()
    assert {Path(path).parent for path in got["path"]} == {tmp_path / "f"}
    assert {path.name for path in tmp_path.iterdir()} == {"f"}
    assert len(files(tmp_path / "f")) == len(labels)


def test_no_symbolic_link_leads_out_of_the_folder(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Links to folders and links to files inside the folder are not followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.png").write_bytes(b"kept")
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    (folder / "a").symlink_to(outside, target_is_directory=True)
    (folder / "b" / "0.png").symlink_to(outside / "kept.png")
    out = result(shelf.put("/a.png"), shelf.put("/b.png"), style=["a/deep", "b"], part=["a", "b"])
    got = out.eachlabs.download(folder, name="{part}/0", allow_private=True, overwrite=True)
    assert "points outside of it" in got["path_error"][0]
    assert files(outside) == {"kept.png": b"kept"}
    assert (folder / "b" / "0.png").read_bytes() == PNG
    assert not (folder / "b" / "0.png").is_symlink()


@pytest.mark.parametrize("name", ["../{n}", "{nothing}", "", "/abs/{n}"])
def test_an_invalid_name_template_is_refused_before_the_download(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, name: str
) -> None:
    """No request is sent, and the folder is not created."""
    with pytest.raises(ef.UsageError, match="name="):
        result(shelf.put("/a.png")).eachlabs.download(tmp_path / "f", name=name, allow_private=True)
    assert shelf.requests == []
    assert not (tmp_path / "f").exists()


# -- existing files ---------------------------------------------------------------------------------------------------


def test_an_existing_file_is_not_overwritten(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The row gets an error that suggests what to do; overwrite=True replaces the file."""
    (tmp_path / "0-0.png").write_bytes(b"mine")
    out = result(shelf.put("/a.png"), shelf.put("/b.png"))
    got = out.eachlabs.download(tmp_path, allow_private=True)
    assert re.search(r"another file named '0-0.png'.*overwrite=True, another name=", got["path_error"][0])
    assert got["path"].tolist() == [None, str(tmp_path / "1-0.png")]
    assert (tmp_path / "0-0.png").read_bytes() == b"mine"
    (tmp_path / "0-0.png").write_bytes(b"m" * len(PNG))  # of the same size
    assert "another file" in out.eachlabs.download(tmp_path, allow_private=True)["path_error"][0]
    over = out.eachlabs.download(tmp_path, allow_private=True, overwrite=True)
    assert over["path_error"].isna().all()
    assert (tmp_path / "0-0.png").read_bytes() == PNG


def test_the_file_of_another_execution_is_not_overwritten(sandbox: Sandbox, tmp_path: Path) -> None:
    """If two runs use downloaded folder and template, the second gets errors, and the first keeps its files."""
    first = frame(1)
    ef.configure(rerun_guard=None)
    second = frame(1)
    downloaded = first.eachlabs.download(tmp_path)
    before = files(tmp_path)
    second["prompt"] = "another"
    assert second["execution_id"][0] != first["execution_id"][0]
    sandbox.faults(Fault("altered", on="media"))
    (tmp_path / "0-0.svg").write_bytes(b"of the first")
    assert "another file" in second.eachlabs.download(tmp_path)["path_error"][0]
    sandbox.faults()
    assert first.eachlabs.download(tmp_path)["path"].tolist() == downloaded["path"].tolist()
    assert files(tmp_path) == before


def test_an_overwritten_file_belongs_to_the_new_execution(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The previous execution does not replace it again without overwrite=True."""
    first = result(shelf.put("/a.png"))
    second = result(shelf.put("/b.png", Item(PNG + b"b"))).assign(execution_id="another")
    first.eachlabs.download(tmp_path, allow_private=True)
    second.eachlabs.download(tmp_path, allow_private=True, overwrite=True)
    again = first.eachlabs.download(tmp_path, allow_private=True)
    assert "another file" in again["path_error"][0]
    assert (tmp_path / "0-0.png").read_bytes() == PNG + b"b"


def test_an_unlisted_file_is_recognized_by_its_content(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A process may be killed after it wrote a file and before it listed it; equal content is the same file."""
    out = result(shelf.put("/a.png"))
    out.eachlabs.download(tmp_path, allow_private=True)
    (tmp_path / LIST).unlink()
    got = out.eachlabs.download(tmp_path, allow_private=True)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png")]
    assert leftovers(tmp_path) == []
    out.eachlabs.download(tmp_path, allow_private=True)
    assert len(shelf.requests) == 2


def test_a_truncated_list_loses_only_its_last_line(sandbox: Sandbox, tmp_path: Path) -> None:
    """Foreign lines in the list are ignored."""
    out = frame(3).eachlabs.download(tmp_path)
    path = tmp_path / LIST
    lines = [line for line in path.read_bytes().splitlines() if line]
    nonsense = [
        b"[]",
        b"[" * 100_000,
        b'{"execution_id": 3}',
        b"\xff\xfe",
        b'{"execution_id":"e","n":0,"file":7,"size":1}',
    ]
    path.write_bytes(b"\n".join([lines[0], *nonsense, lines[1], lines[2][:40]]))
    requests_before = media_requests(sandbox)
    again = out.eachlabs.download(tmp_path)
    pd.testing.assert_frame_equal(again, out)
    assert media_requests(sandbox) - requests_before == 1
    out.eachlabs.download(tmp_path)
    assert media_requests(sandbox) - requests_before == 1


def test_the_list_contains_no_url_and_no_signature(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A signed URL grants access like a key."""
    out = result(shelf.put("/a.png?X-Amz-Signature=secret"), ["x", shelf.put("/b.png?sig=secret")])
    out["execution_id"] = pd.array(["e", None], dtype="string")
    out.eachlabs.download(tmp_path, allow_private=True)
    text = (tmp_path / LIST).read_text()
    assert text.count('"file"') == 2
    assert "secret" not in text
    assert "http" not in text
    out["output"] = pd.Series([out["output"][0], ["x", shelf.url + "/b.png?sig=another"]], dtype=object)
    assert out.eachlabs.download(tmp_path)["path_error"].isna().all()  # recognized without its signature


def test_old_partial_files_are_deleted(sandbox: Sandbox, tmp_path: Path) -> None:
    """A new partial file is kept, because another process may be writing it."""
    internal = tmp_path / ".eachlabs"
    internal.mkdir()
    (internal / "old.part").write_bytes(b"x")
    (internal / "new.part").write_bytes(b"x")
    os.utime(internal / "old.part", (1, 1))
    frame(1).eachlabs.download(tmp_path)
    assert leftovers(tmp_path) == [internal / "new.part"]


def test_a_folder_with_the_name_of_a_file_is_not_replaced(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Not even overwrite=True replaces the folder; a file is not replaced by a sub-folder of its name."""
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b").write_bytes(b"mine")
    out = result(shelf.put("/a.png"), shelf.put("/b.png"), part=["a", "b/x"])
    for overwrite in (False, True):
        got = download_at_once(out.iloc[:1], tmp_path, name="{part}", overwrite=overwrite)
        assert "another file named 'a.png'" in got["path_error"][0]
    got = download_at_once(out.assign(part=["c", "b"]), tmp_path, name="{part}/{n}")
    assert got["path_error"].fillna("").tolist() == ["", "a file has the name of the sub-folder: pass another name="]
    assert (tmp_path / "b").read_bytes() == b"mine"


def test_without_hard_links_existing_files_are_not_overwritten(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Some file systems, such as those of memory cards, have no hard links."""

    def no_link(*_: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    (tmp_path / "0-0.png").write_bytes(b"mine")
    got = download_at_once(
        result(shelf.put("/a.png"), shelf.put("/b.png")), tmp_path, store=partial(Folder, link=no_link)
    )
    assert got["path"].tolist() == [None, str(tmp_path / "1-0.png")]
    assert files(tmp_path) == {"0-0.png": b"mine", "1-0.png": PNG}
    assert leftovers(tmp_path) == []


# -- content and failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["error_before", "dropped", "cut_short", "altered", "garbage", "lost_answer"])
def test_a_failed_attempt_is_retried(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """Faults: a server error, a cut connection, half a body, a wrong checksum, an HTML page."""
    out = frame(3)
    sandbox.faults(Fault(kind, on="media", at={1, 3}))
    got = download_at_once(out, tmp_path, max_concurrency=2)
    assert got["path_error"].isna().all()
    assert len(files(tmp_path)) == 3
    assert all(body.endswith(b"</svg>") for body in files(tmp_path).values())
    assert leftovers(tmp_path) == []


def test_a_partial_file_of_the_wrong_size_is_rejected(tmp_path: Path) -> None:
    """The size must be that of the response, whatever truncated the file."""
    with closing(Folder(tmp_path)) as folder:
        part = folder.part()
        part.write([b"abc", b"de"])
        with pytest.raises(RejectedFileError, match="5 of 6 bytes were received"):
            folder.finish(part, FileKey("e", 0, ""), "a", Accept(".png", 6))
        part.discard()
    assert files(tmp_path) == {}
    assert leftovers(tmp_path) == []


def test_a_retry_waits_with_the_real_clock(sandbox: Sandbox, tmp_path: Path) -> None:
    """A rate limit with a short Retry-After is waited for."""
    out = frame(1)
    sandbox.faults(Fault("rate_limit", on="media", at={1}, retry_after=0.1))
    assert out.eachlabs.download(tmp_path)["path_error"].isna().all()


def test_retry_after_is_respected_up_to_a_limit(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A server that asks to wait for an hour is given up, because other files wait behind it."""
    busy = Item(b"", 429, {"Retry-After": "7"})
    once = shelf.put("/a.png", lambda times: busy if times == 1 else Item())
    clock = InstantClock()
    got = download_at_once(
        result(once, shelf.put("/b.png", Item(b"", 503, {"Retry-After": "3600"}))), tmp_path, clock=clock
    )
    assert got["path_error"].fillna("").tolist() == ["", "HTTP 503"]
    assert (shelf.paths.count("/a.png"), shelf.paths.count("/b.png")) == (2, 1)
    assert clock.slept == [7.0]


def test_the_error_after_the_last_attempt_names_the_reason(sandbox: Sandbox, tmp_path: Path) -> None:
    """There is a pause before each attempt, and no file is left behind."""
    out = frame(1)
    sandbox.faults(Fault("altered", on="media"))
    clock = InstantClock()
    got = download_at_once(out, tmp_path, clock=clock)
    assert got["path_error"][0] == "the file's sha256 does not match the server's (4 tries)"
    assert media_requests(sandbox) == 4
    assert len(clock.slept) == 3
    assert files(tmp_path) == {}
    assert leftovers(tmp_path) == []


def test_a_refused_connection_is_retried(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The error names the host and the number of attempts but not the signature."""
    url = shelf.put("/a.png?sig=secret")
    shelf.close()
    error = download_at_once(result(url), tmp_path)["path_error"][0]
    assert re.fullmatch(r"Cannot connect to host .* \(4 tries\)", error)
    assert "secret" not in error


def test_an_unreadable_response_gives_a_one_line_error() -> None:
    """The error is printable and contains no signature."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff\xfe\x1b[31m\r\n\r\n")
        await writer.drain()
        writer.close()

    async def get() -> str:
        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png?sig=secret"
        async with server, HttpClient(UrlPolicy(allow_private=True), timeout=20) as web:
            with pytest.raises(BrokenError) as caught:
                await web.get(url).__aenter__()
        return str(caught.value)

    message = asyncio.run(get())
    assert message.startswith("the response cannot be read: ")
    assert message.isprintable()
    assert "secret" not in message


@pytest.mark.parametrize(
    ("first", "repeated"),
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nX: ", b"x")],
    ids=["continue", "header"],
)
def test_an_endless_response_head_times_out(first: bytes, repeated: bytes) -> None:
    """A server that never stops sending headers would occupy a slot forever."""
    closed = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(repeated)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        closed.set()

    async def get() -> None:
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"
        async with server, HttpClient(UrlPolicy(allow_private=True), timeout=0.2) as web:
            with pytest.raises(BrokenError, match=r"no data within 0\.2 s"):
                await web.get(url).__aenter__()
            await closed.wait()

    asyncio.run(asyncio.wait_for(get(), 20))


def test_a_slow_body_is_given_up(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A minimum rate applies, so a large file may take its time but a stalled one does not occupy a slot forever."""
    url = shelf.put("/a.png")
    got = download_at_once(result(url), tmp_path, clock=InstantClock(step=100.0))
    assert got["path_error"][0] == "slower than 4 KiB a second (4 tries)"
    large = shelf.put("/b.png", Item(PNG * 4_000))
    assert download_at_once(result(large), tmp_path, clock=InstantClock(step=0.1))["path_error"].isna().all()


def test_an_empty_response_is_retried(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """An empty body is not a valid file."""
    url = shelf.put("/a.png", lambda times: Item(b"") if times == 1 else Item())
    assert download_at_once(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.png": PNG}
    assert leftovers(tmp_path) == []


def test_a_file_over_max_size_is_refused(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The limit applies to Content-Length, to a body without a length, and to data: URLs."""
    data = "data:image/png;base64," + base64.b64encode(b"x" * 300).decode()
    endless = shelf.put("/c.png", Item(PNG[:8] + b"x" * 292, sized=False))
    large = shelf.put("/a.png", Item(PNG[:8] + b"x" * 292))
    got = result(large, shelf.put("/b.png", Item(PNG[:10])), data, endless)
    got = got.eachlabs.download(tmp_path, allow_private=True, max_size=100)
    refused = "larger than max_size=100 bytes"
    assert got["path_error"].fillna("").tolist() == [refused, "", refused, refused]
    assert leftovers(tmp_path) == []
    whole = got.iloc[2:].eachlabs.download(tmp_path, allow_private=True, max_size=None)
    assert {len(body) for name, body in files(tmp_path).items() if name != "1-0.png"} == {300}
    assert whole["path_error"].isna().all()


def test_a_large_file_is_streamed(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The content is complete, and only a small part of it is in memory at a time."""
    body = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"x").digest(30_000_001)
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    url = shelf.put("/a.mp4", Item(body, 200, {"Content-Type": "video/mp4", "Content-MD5": md5}))
    out = result(url)
    out.eachlabs.download(tmp_path / "warm", allow_private=True)
    tracemalloc.start()
    try:
        got = out.eachlabs.download(tmp_path, allow_private=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert Path(got["path"][0]).read_bytes() == body
    assert peak < 8_000_000


def encoded(encoding: str, body: bytes) -> bytes:
    """Return a body with a content encoding that the client did not request."""
    if encoding == "gzip":
        half = len(body) // 2
        return gzip.compress(body[:half]) + gzip.compress(body[half:])
    if encoding == "deflate":
        return zlib.compress(body)
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return bare.compress(body) + bare.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "bare"])
def test_encoded_bodies_are_decoded(sandbox: Sandbox, shelf: Shelf, tmp_path: Path, encoding: str) -> None:
    """Several gzip members are decoded; a truncated body, a corrupt one and an unknown encoding are errors."""
    body = PNG + hashlib.shake_128(b"x").digest(300_000) + bytes(3_000_000)
    whole = encoded(encoding, body)
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding.replace("bare", "deflate")}
    bodies = {"/a.png": whole, "/b.png": whole[:-9], "/c.png": b"\x00" + whole}
    urls = [shelf.put(path, Item(content, 200, headers)) for path, content in bodies.items()]
    urls.append(shelf.put("/d.png", Item(b"x", 200, headers | {"Content-Encoding": "br"})))
    urls.append(shelf.put("/e.png", Item(b"x", 404, headers | {"Content-Encoding": "br"})))
    got = download_at_once(result(*urls), tmp_path)
    assert files(tmp_path) == {"0-0.png": body}
    assert [(error or "").partition(" ")[0] for error in got["path_error"].fillna("")] == [
        "",
        "its",
        "it",
        "it",
        "HTTP",
    ]
    assert leftovers(tmp_path) == []


XML = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/xml", XML),
        ("text/xml; charset=utf-8", XML),
        ("application/json", b'{"error": "expired"}'),
        ("application/problem+json", b"{}"),
        ("text/plain", b"expired"),
        ("text/html", b"<!doctype html>"),
        ("image/png", XML),
        ("image/png", b'{"error": "expired"}'),
        ("image/png", b"the link has expired"),
        ("application/octet-stream", XML),
        ("", XML),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.mp4", "a.mp3", "a.svg", "a.wav"])
def test_an_error_document_is_not_stored_as_the_file(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, kind: str, body: bytes, name: str
) -> None:
    """A response with status 200 and another content type or format than the URL suggests is a failed download."""
    url = shelf.put(f"/{name}", Item(body, 200, {"Content-Type": kind} if kind else {}))
    got = download_at_once(result(url), tmp_path)
    assert got["path"][0] is None
    assert (
        "sent instead of the file" in got["path_error"][0] or "the server sent something else" in got["path_error"][0]
    )
    assert files(tmp_path) == {}
    assert leftovers(tmp_path) == []
    real = {
        "a.png": PNG,
        "a.jpg": JPEG,
        "a.webp": b"RIFF\0\0\0\0WEBPVP8 ",
        "a.mp4": b"\0\0\0\x18ftypmp42",
        "a.mp3": b"ID3\x04",
    }
    real |= {"a.svg": b"<!-- drawn -->" + b" " * 600 + b"<svg/>", "a.wav": b"RIFF\0\0\0\0WAVEfmt "}
    shelf.put(f"/{name}", Item(real[name], 200, {}))
    assert download_at_once(got, tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {f"0-0{name[1:]}": real[name]}


def test_a_file_gets_the_extension_of_its_content(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A JPEG behind a .png URL is stored as .jpg; a document is accepted if the URL names one."""
    urls = [
        shelf.put("/a.png", Item(JPEG)),
        shelf.put("/b.json", Item(b"{}", 200, {"Content-Type": "application/json"})),
    ]
    got = download_at_once(result(*urls), tmp_path)
    assert got["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.jpg": JPEG, "1-0.json": b"{}"}
    download_at_once(got, tmp_path)
    assert sorted(shelf.paths) == ["/a.png", "/b.json"]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 200])
def test_expired_links_are_renewed_from_the_executions_details(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, status: int
) -> None:
    """One request renews all links of an execution; the output gets the new links, and nothing is triggered."""
    out = frame(3, MANY)
    links = out["output"].tolist()
    expired = Item(XML, status, {"Content-Type": "application/xml"})
    stale = [shelf.put(f"/old-{n}.png", expired) for n in range(len(links[0]))]
    out.at[0, "output"] = stale
    accepted, details_before = len(sandbox.accepted), detail_requests(sandbox)
    got = download_at_once(out, tmp_path)
    assert got["path_error"].isna().all()
    assert got["output"].tolist() == links
    assert all(Path(path).is_file() for paths in got["path"] for path in paths)
    assert detail_requests(sandbox) - details_before == 1
    assert len(sandbox.accepted) == accepted
    requests_before = media_requests(sandbox)
    download_at_once(got, tmp_path)
    assert media_requests(sandbox) == requests_before


def test_a_link_that_the_api_cannot_renew_gives_an_error(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The details have other files than before, or still the same link."""
    out = frame(3, MANY)
    gone = shelf.put("/gone.png", Item(b"", 403))
    out["output"] = pd.Series([[gone], [gone, gone, gone, gone, gone], gone], dtype=object)
    got = download_at_once(out, tmp_path)
    assert all("this output now has other files" in error for error in got["path_error"])
    same = frame(1)
    sandbox.faults(Fault("forbidden", on="media"))
    assert download_at_once(same, tmp_path)["path_error"][0].endswith("the API still returns the same link for it")


def test_rows_of_explode_get_their_own_new_link(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The new link is matched by the URL without its signature, never by its position."""
    out = frame(1, MANY)
    urls = out["output"][0]
    exploded = out.explode("output", ignore_index=True)
    expired = [f"{url}?X-Amz-Signature=old" for url in urls]
    exploded["output"] = pd.Series(expired, dtype=object)
    sandbox.faults(Fault("forbidden", on="media", at=set(range(1, 2 * len(urls), 2))))
    got = download_at_once(exploded, tmp_path, max_concurrency=1)
    assert got["path_error"].fillna("").tolist() == [""] * len(urls)
    assert got["output"].tolist() == urls


class RangedFile:
    """A file that is cut after `cut` bytes the first time; later a range is served if If-Range equals `etag`."""

    def __init__(self, shelf: Shelf, body: bytes, *, etag: str | None = '"v1"', cut: int = 3_000_000) -> None:
        self.shelf, self.body, self.etag, self.cut = shelf, body, etag, cut
        self.sent = 0

    def __call__(self, times: int) -> Item:
        headers_sent = self.shelf.requests[-1][1]
        headers = {"Content-Type": "video/mp4", "Content-Length": str(len(self.body))}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if times == 1:
            self.sent += self.cut
            return Item(self.body[: self.cut], 200, headers, sized=False)
        if "range" in headers_sent and headers_sent.get("if-range") == self.etag:
            start = int(headers_sent["range"].removeprefix("bytes=").removesuffix("-"))
            headers |= {
                "Content-Range": f"bytes {start}-{len(self.body) - 1}/{len(self.body)}",
                "Content-Length": str(len(self.body) - start),
            }
            self.sent += len(self.body) - start
            return Item(self.body[start:], 206, headers, sized=False)
        self.sent += len(self.body)
        return Item(self.body, 200, headers, sized=False)


VIDEO = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"video").digest(8_000_000)


def test_an_interrupted_large_file_is_resumed(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The next attempt requests the missing range with If-Range, so less than twice the file is sent."""
    ranged = RangedFile(shelf, VIDEO)
    url = shelf.put("/a.mp4", ranged)
    assert download_at_once(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": VIDEO}
    assert ranged.sent <= len(VIDEO) + 2 * 1024 * 1024
    assert shelf.paths.count("/a.mp4") == 2
    assert leftovers(tmp_path) == []


def test_a_later_call_resumes_a_partial_file(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A partial file is kept for a day; the resumed file is complete."""
    ranged = RangedFile(shelf, VIDEO)
    url = shelf.put("/a.mp4", lambda times: ranged(1))
    broken = download_at_once(result(url), tmp_path)
    assert "tries" in broken["path_error"][0]
    assert files(tmp_path) == {}
    assert len(leftovers(tmp_path)) == 1
    shelf.requests.clear()
    shelf.put("/a.mp4", lambda times: ranged(2))
    assert download_at_once(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": VIDEO}
    assert shelf.requests[0][1]["range"].startswith("bytes=")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("etag", [None, 'W/"v1"', '"v2"'])
def test_a_file_that_may_have_changed_is_downloaded_from_the_start(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, etag: str | None
) -> None:
    """Without a strong entity tag, or with another one, bytes of two versions are not combined."""
    ranged = RangedFile(shelf, VIDEO, etag='"v1"' if etag == '"v2"' else etag)
    other = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"other").digest(8_000_000)

    def changing(times: int) -> Item:
        if times == 2:
            ranged.etag, ranged.body = etag, other
        return ranged(times)

    url = shelf.put("/a.mp4", changing)
    assert download_at_once(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": other}


def test_a_range_with_another_entity_tag_is_discarded(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Some servers ignore If-Range; the entity tag of the response shows that the file has changed."""
    ranged = RangedFile(shelf, VIDEO)
    other = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"other").digest(8_000_000)

    def changing(times: int) -> Item:
        if times == 2:
            ranged.etag, ranged.body = '"v2"', other
            shelf.requests[-1][1]["if-range"] = '"v2"'
        return ranged(times)

    url = shelf.put("/a.mp4", changing)
    assert download_at_once(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": other}
    assert "range" not in shelf.requests[2][1]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(416, {}), (206, {}), (206, {"Content-Range": "bytes 0-99/100"}), (206, {"Content-Range": "bytes 5-9/x"})],
)
def test_an_invalid_reply_to_a_range_request_restarts_the_download(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    """The partial file is discarded, and the next attempt requests the whole file."""
    ranged = RangedFile(shelf, VIDEO)
    url = shelf.put("/a.mp4", lambda times: Item(VIDEO[:100], status, headers) if times == 2 else ranged(times))
    assert download_at_once(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": VIDEO}
    assert "range" not in shelf.requests[2][1]


def test_an_endless_encoded_stream_without_content_is_refused() -> None:
    """The stream consists of empty gzip members."""
    member = gzip.compress(b"")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield member * 50

    async def read() -> int:
        return len([piece async for piece in unpacked(endless(), "gzip")])

    with pytest.raises(BrokenError, match=r"bytes, encoded as gzip, decode to only 0 bytes"):
        asyncio.run(asyncio.wait_for(read(), 60))


def test_a_slow_encoded_stream_without_content_is_given_up(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The minimum rate applies, however few bytes the stream has."""
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    url = shelf.put("/a.png", Item(gzip.compress(b"") * 3, 200, headers))
    got = download_at_once(result(url), tmp_path, clock=InstantClock(step=100.0))
    assert got["path_error"][0] == "slower than 4 KiB a second (4 tries)"


def test_decoding_uses_bounded_memory() -> None:
    """A small body may decode to a thousand times its size, so it is decoded in bounded pieces."""

    async def sizes() -> list[int]:
        async def body() -> AsyncIterator[bytes]:
            yield zlib.compress(bytes(20_000_000))

        return [len(piece) async for piece in unpacked(body(), "deflate")]

    lengths = asyncio.run(sizes())
    assert sum(lengths) == 20_000_000
    assert max(lengths) <= BUFFER


def test_a_data_url_becomes_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """No request is sent, and views' limits on the size do not apply."""
    large = hashlib.shake_128(b"x").digest(100_000)
    url = "data:image/png;base64," + base64.b64encode(large).decode()
    got = result([url, "data:image/png;base64,!!"]).eachlabs.download(tmp_path)
    assert got["path"][0] == [str(tmp_path / "0-0.png"), None]
    assert "1: a data: URL that cannot be decoded" in got["path_error"][0]
    assert files(tmp_path) == {"0-0.png": large}


def test_outputs_with_more_than_a_thousand_values_are_downloaded_completely(sandbox: Sandbox, tmp_path: Path) -> None:
    """Views stop after a thousand values of an output; downloads do not."""
    output = [{"text": "x", "picture": f"data:image/svg+xml,{n}"} for n in range(700)]
    got = result(output).eachlabs.download(tmp_path)
    assert len(got["path"][0]) == 700
    assert (tmp_path / "0-699.svg").read_bytes() == b"699"


# -- allowed addresses ------------------------------------------------------------------------------------------------


def test_private_addresses_get_no_request(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Host names and redirects cannot lead there either; a port other than the configured one is not exempt."""
    shelf.put("/a.png")
    urls = [f"http://{host}:{shelf.port}/a.png" for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::1]")]
    out = pd.concat([frame(1), result(*urls)], ignore_index=True)
    sandbox.faults(Fault("redirect", on="media", location=shelf.url + "/a.png"))
    got = out.eachlabs.download(tmp_path)
    assert got["path"].tolist() == [None] * 6
    assert got["path_error"].str.contains("is a private address and not the configured host").all()
    assert shelf.requests == []


def test_at_most_five_redirects_are_followed(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The file gets the extension of the last response."""
    for n in range(7):
        shelf.put(f"/{n}", Item(b"", 302, {"Location": f"/{n + 1}"}))
    shelf.put("/7", Item(PNG))
    got = result(shelf.url + "/2", shelf.url + "/1").eachlabs.download(tmp_path, allow_private=True)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png"), None]
    assert got["path_error"][1] == "more than 5 redirects"


def test_file_requests_contain_no_key_and_no_cookie(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Not even requests to the API's own host; Accept-Encoding is identity."""
    shelf.put("/a.png", Item(PNG, 200, {"Content-Type": "image/png", "Set-Cookie": "a=b"}))
    shelf.put("/b.png")
    # By host name, because cookie jars ignore cookies of IP addresses.
    urls = [f"http://localhost:{shelf.port}/{name}.png" for name in ("a", "b")]
    got = result(*urls).eachlabs.download(tmp_path, allow_private=True, max_concurrency=1)
    assert got["path_error"].isna().all()
    frame(2).eachlabs.download(tmp_path / "more")
    assert not any(record.with_key for record in sandbox.requests if record.route == "media")
    headers = {name for _, sent in shelf.requests for name in sent}
    assert not headers & {"authorization", "x-api-key", "cookie", "referer"}
    assert {sent["accept-encoding"] for _, sent in shelf.requests} == {"identity"}


def test_the_query_of_a_url_is_sent_unchanged(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Percent-encoding is not normalized, which would invalidate a signature."""
    path = "/a%2Fb%7e.png?sig=a%2fB+c%20d&e=%41"
    got = result(shelf.put(path)).eachlabs.download(tmp_path, allow_private=True)
    assert got["path_error"].isna().all()
    assert shelf.paths == [path]


def test_errors_contain_no_query(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The query of a URL may be a signature."""
    signed = "?sig=secret"
    urls = [
        f"http://127.0.0.1:{shelf.port}/a.png{signed}",
        f"http://localhost:1/a.png{signed}",
        shelf.put(f"/b.png{signed}", Item(b"", 400)),
        shelf.put(f"/c.png{signed}", Item(b"", 302, {"Location": f"ftp://x/{signed}"})),
    ]
    for private in (False, True):
        rows = urls[:1] if not private else urls[2:]
        got = result(*rows).eachlabs.download(tmp_path, allow_private=private)
        assert got["path_error"].notna().all()
        assert not got["path_error"].str.contains("secret").any()


@pytest.mark.parametrize("address", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_proxy_of_the_environment_is_used(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The proxy itself may have a private address; private addresses of files are not requested through it."""
    monkeypatch.setenv("http_proxy", address.format(shelf.port))
    monkeypatch.setenv("no_proxy", "")
    shelf.put("http://cdn.example.com/a.png")
    got = result("http://cdn.example.com/a.png", "http://10.0.0.1/a.png", "http://metadata.internal/a.png")
    got = got.eachlabs.download(tmp_path)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png"), None, None]
    assert shelf.paths == ["http://cdn.example.com/a.png"]


def test_a_socks_proxy_gives_an_error(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is not downloaded around a proxy that is not supported."""
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    got = result("http://cdn.example.com/a.png").eachlabs.download(tmp_path)
    assert "ALL_PROXY names a SOCKS proxy (socks5://), which is not supported" in got["path_error"][0]


def test_a_proxy_password_is_sent_to_the_proxy_and_not_shown(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a plain request nor a tunnel shows it, even if the proxy repeats it."""
    token = base64.b64encode(b"user:passw0rd-of-the-proxy").decode()
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    requests.append(connection.recv(65_536))
                    connection.sendall(
                        f"HTTP/1.1 407 {token} passw0rd-of-the-proxy\r\nContent-Length: 0\r\n\r\n".encode()
                    )

        serving = threading.Thread(target=refuse)
        serving.start()
        address = f"http://user:passw0rd-of-the-proxy@127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("https_proxy", address)
        monkeypatch.setenv("no_proxy", "")
        got = result("http://cdn.example.com/a.png", "https://cdn.example.com/b.png").eachlabs.download(tmp_path)
        serving.join()
    assert [f"Proxy-Authorization: Basic {token}".encode() in request for request in requests] == [True, True]
    assert got["path_error"].notna().all()
    assert "passw0rd" not in got.to_csv()
    assert token not in got.to_csv()


# -- warnings, progress and interrupts --------------------------------------------------------------------------------


def test_a_warning_names_rows_whose_links_may_have_expired(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The warning counts only files that are not downloaded yet; the error of a missing file gives its age."""
    out = result(shelf.url + "/gone.png", shelf.put("/b.png"), shelf.put("/c.png"), index=["a", "b", "c"])
    now = pd.Timestamp.now(tz="UTC")
    out["completed_at"] = [now - pd.Timedelta(hours=30), now - pd.Timedelta(days=9), now]
    with pytest.warns(
        UserWarning, match=r"2 row\(s\) ended over 24 hours ago.* of 'a', 'b' that are not yet downloaded may be gone"
    ) as caught:
        got = out.eachlabs.download(tmp_path, allow_private=True)
    assert caught[0].filename == __file__
    gone = "HTTP 404: the execution ended 30 hours ago, and output URLs live about 24 hours"
    assert got["path_error"]["a"] == f"{gone}; no new link: the API no longer has this execution"
    assert got["path_error"].isna().tolist() == [False, True, True]
    got.iloc[1:].eachlabs.download(tmp_path, allow_private=True)


def test_a_full_disk_stops_the_download_with_a_warning(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Complete files are kept, no more requests are sent, and a repeated call downloads the rest."""
    out = result(*[shelf.put(f"/{n}.png") for n in range(20)])

    class FullPart(PartialFile):
        def write(self, pieces: Any) -> None:
            if len(files(tmp_path)) >= 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(pieces)

    class FullFolder(Folder):
        def part(self) -> PartialFile:
            return FullPart(super().part().path)

    with pytest.warns(
        UserWarning, match=r"stopped, 17 of 20 files were not downloaded: No space left.*free some disk space"
    ):
        got = download_at_once(out, tmp_path, store=FullFolder, max_concurrency=1)
    assert got["path"].notna().sum() == 3
    assert (got["path_error"].dropna() == "not downloaded: No space left on device").all()
    assert len(shelf.requests) == 4
    assert leftovers(tmp_path) == []
    assert download_at_once(out, tmp_path)["path_error"].isna().all()
    assert len(shelf.requests) == 4 + 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": 0}, "max_size"),
        ({"max_size": True}, "max_size"),
        ({"overwrite": "yes"}, "overwrite"),
        ({"allow_private": 1}, "allow_private"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"progress": 3}, "progress"),
        ({"folder": 3}, "folder"),
        ({"folder": ""}, "folder"),
        ({"folder": __file__}, "is a file"),
        ({"folder": "/proc/none/x"}, "cannot be written"),
    ],
)
def test_invalid_options_are_refused_before_the_download(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """The error names the option."""
    call = {"folder": tmp_path, "allow_private": True, **options}
    with pytest.raises(ef.ConfigurationError, match=message):
        result(shelf.put("/a.png")).eachlabs.download(**call)
    assert shelf.requests == []


def test_a_frame_without_a_result_is_refused(tmp_path: Path) -> None:
    """The error suggests `bulk_trigger`."""
    with pytest.raises(ef.ColumnError, match="bulk_trigger first"):
        pd.DataFrame({"prompt": ["x"]}).eachlabs.download(tmp_path)


def test_the_progress_bar_counts_files(sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Files that are already complete count as done from the start."""
    out = frame(2, MANY)
    out.iloc[:1].eachlabs.download(tmp_path)
    sandbox.faults(Fault("not_found", on="media", at={1}))
    out.eachlabs.download(tmp_path, progress=True)
    last = capfd.readouterr().err.rstrip("\n").rpartition("\r")[2]
    assert "6/6" in last
    assert "downloaded=2, complete=3, failed=1" in last


def test_a_progress_callable_gets_an_event_per_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """The counts only increase; a callable that raises does not stop the download."""
    events: list[Event] = []
    out = frame(2, MANY)
    out.eachlabs.download(tmp_path, progress=events.append)
    assert [event.kind for event in events] == ["started", *["downloaded"] * 6, "finished"]
    assert [event.done for event in events] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert {event.total for event in events} == {6}

    def raising(event: Event) -> None:
        raise RuntimeError

    assert out.eachlabs.download(tmp_path / "b", progress=raising)["path_error"].isna().all()


def test_an_interrupt_keeps_downloaded_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """The exception's frame has their paths, no partial file is named, and a repeated call downloads the rest."""
    out = frame(30)

    def stopping(event: Event) -> None:
        if event.done == 5:
            raise KeyboardInterrupt

    sandbox.faults(Fault("stalled", on="media", at={2, 9}))
    with pytest.raises(ef.Interrupted, match="the same call downloads only what is missing") as caught:
        out.eachlabs.download(tmp_path, progress=stopping, max_concurrency=4)
    got = caught.value.frame
    is_downloaded = got["path"].notna()
    assert 5 <= is_downloaded.sum() < 30
    assert (got.loc[~is_downloaded, "path_error"] == "not downloaded: interrupted").all()
    assert leftovers(tmp_path) == []
    assert all(body.endswith(b"</svg>") for body in files(tmp_path).values())
    sandbox.faults()
    requests_before = media_requests(sandbox)
    assert out.eachlabs.download(tmp_path)["path_error"].isna().all()
    assert (
        media_requests(sandbox) - requests_before <= 30 - is_downloaded.sum() + 4
    )  # requests in flight may be counted late


def test_a_cancelled_download_keeps_downloaded_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """The exception's frame has their paths; a body that never ends does not delay the cancellation."""
    out = frame(6)
    sandbox.faults(Fault("stalled", on="media", at={3}))

    kept: list[pd.DataFrame] = []

    async def downloading(five_done: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def on_event(event: Event) -> None:
            if event.done == 5:
                loop.call_soon_threadsafe(five_done.set)

        try:
            await out.eachlabs.download_async(tmp_path, progress=on_event)
        except asyncio.CancelledError as exc:
            kept.append(exc.frame)  # type: ignore[attr-defined]
            raise

    async def main() -> None:
        five_done = asyncio.Event()
        task = asyncio.ensure_future(downloading(five_done))
        await five_done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert kept[0]["path"].notna().sum() == 5
    assert len(files(tmp_path)) == 5
    assert leftovers(tmp_path) == []
