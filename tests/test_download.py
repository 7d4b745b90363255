"""`download`: outputs become files, over real sockets, from the sandbox and from a shelf of the tests' own."""

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
    """A server beside the sandbox: another port of this machine, and so a private address."""
    running = Shelf()
    yield running
    running.close()


def frame(rows: int, workflow: str = ONE) -> pd.DataFrame:
    """Return the result of so many prompts."""
    df = pd.DataFrame({"prompt": [f"a fox, number {row}" for row in range(rows)]})
    out: pd.DataFrame = df.eachlabs.bulk_trigger(workflow, wait=True)
    return out


def result(*outputs: Any, index: Any = None, **columns: Any) -> pd.DataFrame:
    """Return a result as a call would have made it, with these outputs."""
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


class HastyClock(SystemClock):
    """Waits for nothing, and remembers for how long it should have; `step` seconds go by at each look."""

    def __init__(self, *, step: float = 0.0) -> None:
        self.slept: list[float] = []
        self._now, self._step = 0.0, step

    def now(self) -> float:
        self._now += self._step
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def hasty(out: pd.DataFrame, folder: Path, *, clock: Any = None, **options: Any) -> pd.DataFrame:
    """Download as the method does, but for what is handed in."""
    store = {"store": options.pop("store")} if "store" in options else {}
    known = {"name": "{index}-{n}", "column": "path", "overwrite": False, "allow_private": True, "progress": False}
    known |= dict.fromkeys(("max_concurrency", "max_size", "prefix"))
    given = DownloadOptions(**{**known, **options})
    got: pd.DataFrame = run(lambda: Download(out, folder, given, clock=clock or HastyClock(), **store))
    return got


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, but for the package's own."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".eachlabs" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def leftovers(folder: Path) -> list[Path]:
    """Return parts that were left."""
    return list((folder / ".eachlabs").glob("*.part"))


def media(sandbox: Sandbox) -> int:
    """Return how many pictures were asked for."""
    return sum(record.route == "media" for record in sandbox.requests)


def details(sandbox: Sandbox) -> int:
    """Return how often executions' details were asked for."""
    return sum(record.route == "details" for record in sandbox.requests)


# -- what a user sees -----------------------------------------------------------------------------------------------


def test_every_file_comes_and_has_its_place(sandbox: Sandbox, tmp_path: Path) -> None:
    """A list for each row; rows, index and columns are as they were."""
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


def test_the_folder_is_made_and_relative_stays_relative(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a project may be moved with its frame."""
    monkeypatch.chdir(tmp_path)
    got = frame(1).eachlabs.download("a/b", name="{prompt}/{index}")
    assert got.loc[0, "path"] == os.path.join("a", "b", "a fox, number 0", "0.svg")  # noqa: PTH118
    assert Path(got.loc[0, "path"]).read_bytes().startswith(b"<svg")


def test_the_same_call_again_asks_for_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Not even whether anything has changed: the URLs may be long gone."""
    out = frame(5, MANY).eachlabs.download(tmp_path)
    asked = media(sandbox)
    sandbox.faults(Fault("not_found", on="media"))
    again = out.eachlabs.download(tmp_path)
    pd.testing.assert_frame_equal(again, out)
    assert media(sandbox) == asked == 15


def test_what_is_missing_torn_or_changed_is_fetched_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """And nothing else: by its size, and by its checksum where its time is another one."""
    out = frame(6).eachlabs.download(tmp_path)
    before = files(tmp_path)
    (tmp_path / "0-0.svg").unlink()
    stamp = (tmp_path / "1-0.svg").stat().st_mtime_ns
    (tmp_path / "1-0.svg").write_bytes(before["1-0.svg"][:50])
    os.utime(tmp_path / "1-0.svg", ns=(stamp, stamp))  # by its size alone
    (tmp_path / "2-0.svg").write_bytes(b"x" * len(before["2-0.svg"]))
    os.utime(tmp_path / "2-0.svg", ns=(1, 1))
    os.utime(tmp_path / "3-0.svg", ns=(1, 1))  # copied: the same bytes, another time
    asked = media(sandbox)
    again = out.eachlabs.download(tmp_path)
    assert again["path_error"].isna().all()
    assert files(tmp_path) == before
    assert media(sandbox) - asked == 3
    assert (tmp_path / LIST).read_text().count('"3-0.svg"') == 2  # its new time, so that it is not read whole again


def test_rows_without_a_file_have_no_path(sandbox: Sandbox, tmp_path: Path) -> None:
    """A text, no output at all, a row that was never sent: nothing is wrong with them."""
    got = result("a text", None, {"words": 3}, ["https is no URL"]).eachlabs.download(tmp_path)
    assert got["path"].tolist() == [None] * 4
    assert got["path_error"].isna().all()
    empty = got.iloc[:0].eachlabs.download(tmp_path)
    assert (len(empty), empty["path"].dtype) == (0, object)


def test_rows_that_are_still_open_are_said(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who forgot to wait hears it, rather than to find no files."""
    sandbox.change(hold=True)
    out = pd.DataFrame({"prompt": ["a", "b", None]}).eachlabs.bulk_trigger(ONE)
    with pytest.warns(ef.UnsettledWarning, match=r"2 row\(s\) are still open.*wait\(\)") as caught:
        got = out.eachlabs.download(tmp_path)
    assert caught[0].filename == __file__
    assert got["path"].isna().all()
    with pytest.raises(ef.ColumnError, match=r"no column 'output'.*load_run"):
        got.drop(columns="output").eachlabs.download(tmp_path)


def test_one_file_that_fails_harms_no_other(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """It leaves None in its place, and says which one it was."""
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
    assert shelf.paths.count("/gone.png") == 3  # each file once in each call: a refusal is not tried again


def test_the_async_dress_does_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    """On a loop of the caller's own."""
    out = frame(3)
    got = asyncio.run(out.eachlabs.download_async(tmp_path))
    assert got["path"].tolist() == [str(tmp_path / f"{row}-0.svg") for row in range(3)]


def test_a_result_with_a_prefix_has_its_files_too(sandbox: Sandbox, tmp_path: Path) -> None:
    """The latest one, or the one that is named."""
    df = pd.DataFrame({"prompt": ["a"], "status": ["mine"]})
    out = df.eachlabs.bulk_trigger(ONE, ["prompt"], prefix="r_", wait=True)
    assert out.eachlabs.download(tmp_path)["path"].tolist() == [str(tmp_path / "0-0.svg")]
    with pytest.raises(ef.ColumnError, match="pass prefix='r_'"):
        out.eachlabs.download(tmp_path, prefix="")


# -- columns --------------------------------------------------------------------------------------------------------


def test_a_column_of_the_users_own_is_not_written_over(sandbox: Sandbox, tmp_path: Path) -> None:
    """Another name is offered; our own is replaced."""
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
def test_a_column_must_have_a_name_of_its_own(tmp_path: Path, column: Any) -> None:
    """Never one of the result's."""
    with pytest.raises(ef.ConfigurationError, match="column"):
        result("x").eachlabs.download(tmp_path, column=column)


def test_columns_of_several_levels_are_filled_up(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """As the result's own are."""
    df = pd.DataFrame({("a", "b"): ["a fox"]})
    out = df.eachlabs.bulk_trigger(ONE, {"prompt": ("a", "b")}, wait=True)
    got = out.eachlabs.download(tmp_path)
    assert got[("path", "")].tolist() == [str(tmp_path / "0-0.svg")]
    assert got.eachlabs.download(tmp_path).columns.equals(got.columns)
    assert got.eachlabs.outputs()["path"].tolist() == [str(tmp_path / "0-0.svg")]


def test_files_of_every_download_go_with_their_execution(sandbox: Sandbox, tmp_path: Path) -> None:
    """Of two results in one frame, and of two folders, each has its own; of what is sent again none is left."""
    one = frame(1).eachlabs.download(tmp_path / "a").eachlabs.download(tmp_path / "b", column="file")
    both = one.eachlabs.bulk_trigger(ONE, ["prompt"], prefix="r_", retrigger=True, wait=True)
    both = both.eachlabs.download(tmp_path / "c", column="theirs")
    assert both.eachlabs.outputs(prefix="")["path"].tolist() == [str(tmp_path / "b" / "0-0.svg")]
    assert both.eachlabs.outputs(prefix="r_")["path"].tolist() == [str(tmp_path / "c" / "0-0.svg")]
    again = both.eachlabs.bulk_trigger(ONE, ["prompt"], prefix="", retrigger=True)
    assert again[["path", "file"]].isna().all(axis=None)
    assert again["theirs"].tolist() == [str(tmp_path / "c" / "0-0.svg")]


def test_what_a_download_has_written_is_no_input(sandbox: Sandbox, tmp_path: Path) -> None:
    """Where a workflow publishes no schema, every column is one, but for the product's own; one of that name counts."""
    sandbox.add_workflow("wf_any")
    got = frame(1).eachlabs.download(tmp_path)
    assert got.eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox, number 0"}]
    assert got.eachlabs.preview("wf_any", ["path"])["payload"].tolist() == [{"path": str(tmp_path / "0-0.svg")}]
    mine = got[["prompt"]].assign(path="mine")
    assert mine.eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox, number 0", "path": "mine"}]


@pytest.mark.parametrize(
    "said",
    [
        None,
        "path",
        {"column": 3},
        {"column": "file", "earlier": "path"},
        {"column": ["path"], "earlier": {"path": None}},
    ],
)
def test_attrs_of_somebody_elses_say_nothing_of_files(sandbox: Sandbox, tmp_path: Path, said: Any) -> None:
    """Whatever stands there, nothing fails and no column is taken for one of paths."""
    got = frame(1).eachlabs.download(tmp_path)
    got.attrs["eachlabs_download"] = said
    assert "path" not in got.eachlabs.outputs().columns
    again = got.eachlabs.bulk_trigger(ONE, ["prompt"], retrigger=True)
    assert again["path"].tolist() == got["path"].tolist()


# -- names ----------------------------------------------------------------------------------------------------------


def test_names_that_clash_are_told_apart_in_the_same_way_each_time(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path
) -> None:
    """By their executions, in whatever order they come; on a file system without capitals too."""
    urls = [shelf.put(f"/{n}.png", Item(PNG + bytes([n]))) for n in range(4)]
    out = result(*urls, index=["a", "a", "A", "b"])
    got = out.eachlabs.download(tmp_path, allow_private=True)
    names = ["a-0-ion-0000.png", "a-0-ion-0001.png", "A-0-ion-0002.png", "b-0.png"]
    assert got["path"].tolist() == [str(tmp_path / name) for name in names]
    assert [files(tmp_path)[name][-1] for name in names] == [0, 1, 2, 3]
    turned = out.iloc[::-1].eachlabs.download(tmp_path, allow_private=True, max_concurrency=1)
    assert turned["path"].tolist() == got["path"].tolist()[::-1]
    assert len(shelf.asked) == 4


def test_a_row_that_is_there_twice_has_one_file(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The same execution under the same name."""
    out = result(shelf.put("/a.png"))
    got = pd.concat([out, out]).eachlabs.download(tmp_path, allow_private=True)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png")] * 2
    assert len(shelf.asked) == 1


def test_a_file_keeps_its_name_when_another_wants_it_later(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A frame that has grown fetches nothing again."""
    out = result(*[shelf.put(f"/{n}.png", Item(PNG + bytes([n]))) for n in range(2)], index=["a", "a"])
    first = out.iloc[:1].eachlabs.download(tmp_path, allow_private=True)
    both = out.eachlabs.download(tmp_path, allow_private=True)
    assert both["path"].tolist() == [first["path"].iloc[0], str(tmp_path / "a-0-ion-0001.png")]
    assert len(shelf.asked) == 2


def test_a_row_that_was_taken_apart_has_each_its_own_file(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """`explode` gives rows of one execution and one label: a file of one is never taken for another's."""
    out = result([shelf.put(f"/{n}.png", Item(PNG + bytes([n]))) for n in range(3)])
    whole = out.eachlabs.download(tmp_path, allow_private=True)
    apart = out.explode("output")
    got = apart.eachlabs.download(tmp_path, allow_private=True)
    assert got["path_error"].isna().all()
    assert got["path"].iloc[0] == whole["path"].iloc[0][0]
    assert [Path(path).read_bytes()[-1] for path in got["path"]] == [0, 1, 2]
    second = apart.iloc[[1]].eachlabs.download(tmp_path, allow_private=True)
    assert "another file" in second["path_error"].iloc[0]  # by its name it would be the first one's
    renamed = apart.iloc[[1]].eachlabs.download(tmp_path, name="{index}-b", allow_private=True)
    assert Path(renamed["path"].iloc[0]).read_bytes()[-1] == 1


def test_an_output_that_went_through_parquet_has_its_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """Lists come back as arrays, also inside of objects."""
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


def test_a_label_leads_nowhere_else(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Whatever it says."""
    labels = ["../../x", "/etc/passwd", "C:\\x", "con", "", "a\x00b", "..", ".eachlabs", "x" * 400]
    out = result(*[shelf.put(f"/{n}.png") for n in range(len(labels))], index=labels)
    got = out.eachlabs.download(tmp_path / "f", name="{index}", allow_private=True)
    assert got["path_error"].isna().all()
    assert {Path(path).parent for path in got["path"]} == {tmp_path / "f"}
    assert {path.name for path in tmp_path.iterdir()} == {"f"}
    assert len(files(tmp_path / "f")) == len(labels)


def test_a_link_in_the_folder_leads_nowhere_else(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Neither a folder's nor a file's."""
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
def test_a_template_that_cannot_be_is_refused_before_anything_happens(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, name: str
) -> None:
    """No request, no folder."""
    with pytest.raises(ef.UsageError, match="name="):
        result(shelf.put("/a.png")).eachlabs.download(tmp_path / "f", name=name, allow_private=True)
    assert shelf.asked == []
    assert not (tmp_path / "f").exists()


# -- what is in the way ---------------------------------------------------------------------------------------------


def test_a_file_of_somebody_elses_is_left_alone(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """It is the row's error, which says what to do; with overwrite=True it is replaced."""
    (tmp_path / "0-0.png").write_bytes(b"mine")
    out = result(shelf.put("/a.png"), shelf.put("/b.png"))
    got = out.eachlabs.download(tmp_path, allow_private=True)
    assert re.search(r"another file named '0-0.png'.*overwrite=True, another name=", got["path_error"][0])
    assert got["path"].tolist() == [None, str(tmp_path / "1-0.png")]
    assert (tmp_path / "0-0.png").read_bytes() == b"mine"
    (tmp_path / "0-0.png").write_bytes(b"m" * len(PNG))  # nor is one of the same size
    assert "another file" in out.eachlabs.download(tmp_path, allow_private=True)["path_error"][0]
    over = out.eachlabs.download(tmp_path, allow_private=True, overwrite=True)
    assert over["path_error"].isna().all()
    assert (tmp_path / "0-0.png").read_bytes() == PNG


def test_the_file_of_another_execution_is_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two runs into one folder by one name: the second says so, and the first one's files are its own still."""
    first = frame(1)
    ef.configure(rerun_guard=None)
    second = frame(1)
    one = first.eachlabs.download(tmp_path)
    before = files(tmp_path)
    second["prompt"] = "another"
    assert second["execution_id"][0] != first["execution_id"][0]
    sandbox.faults(Fault("altered", on="media"))
    (tmp_path / "0-0.svg").write_bytes(b"of the first")
    assert "another file" in second.eachlabs.download(tmp_path)["path_error"][0]
    sandbox.faults()
    assert first.eachlabs.download(tmp_path)["path"].tolist() == one["path"].tolist()
    assert files(tmp_path) == before


def test_who_overwrote_a_file_owns_it(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """The execution whose file it was does not take it back unasked."""
    first = result(shelf.put("/a.png"))
    second = result(shelf.put("/b.png", Item(PNG + b"b"))).assign(execution_id="another")
    first.eachlabs.download(tmp_path, allow_private=True)
    second.eachlabs.download(tmp_path, allow_private=True, overwrite=True)
    again = first.eachlabs.download(tmp_path, allow_private=True)
    assert "another file" in again["path_error"][0]
    assert (tmp_path / "0-0.png").read_bytes() == PNG + b"b"


def test_a_file_that_was_never_noted_is_known_by_its_bytes(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A process that was killed between the two: the same bytes are the same file."""
    out = result(shelf.put("/a.png"))
    out.eachlabs.download(tmp_path, allow_private=True)
    (tmp_path / LIST).unlink()
    got = out.eachlabs.download(tmp_path, allow_private=True)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png")]
    assert leftovers(tmp_path) == []
    out.eachlabs.download(tmp_path, allow_private=True)
    assert len(shelf.asked) == 2


def test_a_list_that_was_torn_loses_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    """What somebody else wrote into it loses nothing."""
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
    asked = media(sandbox)
    again = out.eachlabs.download(tmp_path)
    pd.testing.assert_frame_equal(again, out)
    assert media(sandbox) - asked == 1
    out.eachlabs.download(tmp_path)
    assert media(sandbox) - asked == 1


def test_the_list_holds_no_url_and_no_key(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A signature is as good as a key."""
    out = result(shelf.put("/a.png?X-Amz-Signature=secret"), ["x", shelf.put("/b.png?sig=secret")])
    out["execution_id"] = pd.array(["e", None], dtype="string")
    out.eachlabs.download(tmp_path, allow_private=True)
    text = (tmp_path / LIST).read_text()
    assert text.count('"file"') == 2
    assert "secret" not in text
    assert "http" not in text
    out["output"] = pd.Series([out["output"][0], ["x", shelf.url + "/b.png?sig=another"]], dtype=object)
    assert out.eachlabs.download(tmp_path)["path_error"].isna().all()  # known without its signature


def test_parts_of_a_killed_process_are_cleared_away(sandbox: Sandbox, tmp_path: Path) -> None:
    """Old ones: another process may be writing to a new one."""
    room = tmp_path / ".eachlabs"
    room.mkdir()
    (room / "old.part").write_bytes(b"x")
    (room / "new.part").write_bytes(b"x")
    os.utime(room / "old.part", (1, 1))
    frame(1).eachlabs.download(tmp_path)
    assert leftovers(tmp_path) == [room / "new.part"]


def test_a_folder_in_the_way_is_left_alone(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Also with overwrite=True; and a file in the place of a sub-folder."""
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b").write_bytes(b"mine")
    out = result(shelf.put("/a.png"), shelf.put("/b.png"), part=["a", "b/x"])
    for overwrite in (False, True):
        got = hasty(out.iloc[:1], tmp_path, name="{part}", overwrite=overwrite)
        assert "another file named 'a.png'" in got["path_error"][0]
    got = hasty(out.assign(part=["c", "b"]), tmp_path, name="{part}/{n}")
    assert got["path_error"].fillna("").tolist() == ["", "a file has the name of the sub-folder: pass another name="]
    assert (tmp_path / "b").read_bytes() == b"mine"


def test_a_file_system_without_links_overwrites_nothing_either(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A memory card's, say."""

    def no_link(*_: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    (tmp_path / "0-0.png").write_bytes(b"mine")
    got = hasty(result(shelf.put("/a.png"), shelf.put("/b.png")), tmp_path, store=partial(Folder, link=no_link))
    assert got["path"].tolist() == [None, str(tmp_path / "1-0.png")]
    assert files(tmp_path) == {"0-0.png": b"mine", "1-0.png": PNG}
    assert leftovers(tmp_path) == []


# -- what comes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["error_before", "dropped", "cut_short", "altered", "garbage", "lost_answer"])
def test_what_goes_wrong_is_tried_again(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """A server's error, a cut connection, half a body, another checksum than promised, a page of HTML."""
    out = frame(3)
    sandbox.faults(Fault(kind, on="media", at={1, 3}))
    got = hasty(out, tmp_path, max_concurrency=2)
    assert got["path_error"].isna().all()
    assert len(files(tmp_path)) == 3
    assert all(body.endswith(b"</svg>") for body in files(tmp_path).values())
    assert leftovers(tmp_path) == []


def test_a_part_of_another_size_than_promised_gets_no_name(tmp_path: Path) -> None:
    """Whoever cut it."""
    with closing(Folder(tmp_path)) as folder:
        part = folder.part()
        part.write([b"abc", b"de"])
        with pytest.raises(RejectedFileError, match="5 of 6 bytes were received"):
            folder.finish(part, FileKey("e", 0, ""), "a", Accept(".png", 6))
        part.discard()
    assert files(tmp_path) == {}
    assert leftovers(tmp_path) == []


def test_a_later_try_waits_as_it_is_told_to(sandbox: Sandbox, tmp_path: Path) -> None:
    """With the real clock once."""
    out = frame(1)
    sandbox.faults(Fault("rate_limit", on="media", at={1}, retry_after=0.1))
    assert out.eachlabs.download(tmp_path)["path_error"].isna().all()


def test_retry_after_is_honoured_and_a_long_one_is_not_waited_for(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path
) -> None:
    """One that asks for an hour is left, for others wait behind it."""
    busy = Item(b"", 429, {"Retry-After": "7"})
    once = shelf.put("/a.png", lambda times: busy if times == 1 else Item())
    clock = HastyClock()
    got = hasty(result(once, shelf.put("/b.png", Item(b"", 503, {"Retry-After": "3600"}))), tmp_path, clock=clock)
    assert got["path_error"].fillna("").tolist() == ["", "HTTP 503"]
    assert (shelf.paths.count("/a.png"), shelf.paths.count("/b.png")) == (2, 1)
    assert clock.slept == [7.0]


def test_what_does_not_come_says_why_after_a_few_tries(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each after a longer pause, and leaves nothing behind."""
    out = frame(1)
    sandbox.faults(Fault("altered", on="media"))
    clock = HastyClock()
    got = hasty(out, tmp_path, clock=clock)
    assert got["path_error"][0] == "the file's sha256 does not match the server's (4 tries)"
    assert media(sandbox) == 4
    assert len(clock.slept) == 3
    assert files(tmp_path) == {}
    assert leftovers(tmp_path) == []


def test_no_connection_is_tried_again_and_says_so(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A server that is gone."""
    url = shelf.put("/a.png?sig=secret")
    shelf.close()
    error = hasty(result(url), tmp_path)["path_error"][0]
    assert re.fullmatch(r"Cannot connect to host .* \(4 tries\)", error)
    assert "secret" not in error


def test_what_is_no_answer_is_said_in_one_line() -> None:
    """Of what nobody can read, and without a status that nobody has sent."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff\xfe\x1b[31m\r\n\r\n")
        await writer.drain()
        writer.close()

    async def ask() -> str:
        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png?sig=secret"
        async with server, HttpClient(UrlPolicy(allow_private=True), timeout=20) as web:
            with pytest.raises(BrokenError) as caught:
                await web.get(url).__aenter__()
        return str(caught.value)

    said = asyncio.run(ask())
    assert said.startswith("the response cannot be read: ")
    assert said.isprintable()
    assert "secret" not in said


@pytest.mark.parametrize(
    ("first", "again"),
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nX: ", b"x")],
    ids=["continue", "header"],
)
def test_a_head_that_never_ends_is_left(first: bytes, again: bytes) -> None:
    """Though it is never silent: or it would hold its place for ever."""
    gone = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        gone.set()

    async def ask() -> None:
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"
        async with server, HttpClient(UrlPolicy(allow_private=True), timeout=0.2) as web:
            with pytest.raises(BrokenError, match=r"no data within 0\.2 s"):
                await web.get(url).__aenter__()
            await gone.wait()

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_a_body_that_trickles_is_left(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Or it would hold its place for ever; one that is large may take its time."""
    url = shelf.put("/a.png")
    got = hasty(result(url), tmp_path, clock=HastyClock(step=100.0))
    assert got["path_error"][0] == "slower than 4 KiB a second (4 tries)"
    large = shelf.put("/b.png", Item(PNG * 4_000))
    assert hasty(result(large), tmp_path, clock=HastyClock(step=0.1))["path_error"].isna().all()


def test_an_empty_file_is_none(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A store that answers with nothing is asked again."""
    url = shelf.put("/a.png", lambda times: Item(b"") if times == 1 else Item())
    assert hasty(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.png": PNG}
    assert leftovers(tmp_path) == []


def test_a_file_that_is_too_large_is_not_taken(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """By what is promised, by what comes where nothing is promised, or by what the output holds."""
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


def test_a_large_file_comes_in_pieces(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Each byte in its place, and never more than a few pieces of it in memory."""
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


def packed(encoding: str, body: bytes) -> bytes:
    """Pack a body as a server may, though it was not asked to."""
    if encoding == "gzip":
        half = len(body) // 2
        return gzip.compress(body[:half]) + gzip.compress(body[half:])
    if encoding == "deflate":
        return zlib.compress(body)
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return bare.compress(body) + bare.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "bare"])
def test_what_comes_packed_is_unpacked(sandbox: Sandbox, shelf: Shelf, tmp_path: Path, encoding: str) -> None:
    """In whatever parts it was packed; one that is cut short is no file, nor is one in a packing of its own."""
    body = PNG + hashlib.shake_128(b"x").digest(300_000) + bytes(3_000_000)
    whole = packed(encoding, body)
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding.replace("bare", "deflate")}
    bodies = {"/a.png": whole, "/b.png": whole[:-9], "/c.png": b"\x00" + whole}
    urls = [shelf.put(path, Item(one, 200, headers)) for path, one in bodies.items()]
    urls.append(shelf.put("/d.png", Item(b"x", 200, headers | {"Content-Encoding": "br"})))
    urls.append(shelf.put("/e.png", Item(b"x", 404, headers | {"Content-Encoding": "br"})))
    got = hasty(result(*urls), tmp_path)
    assert files(tmp_path) == {"0-0.png": body}
    assert [(one or "").partition(" ")[0] for one in got["path_error"].fillna("")] == ["", "its", "it", "it", "HTTP"]
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
def test_an_error_message_is_never_kept_as_the_picture(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, kind: str, body: bytes, name: str
) -> None:
    """A 200 with something else than the URL promises, by its type or its first bytes; it is not complete later on."""
    url = shelf.put(f"/{name}", Item(body, 200, {"Content-Type": kind} if kind else {}))
    got = hasty(result(url), tmp_path)
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
    assert hasty(got, tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {f"0-0{name[1:]}": real[name]}


def test_a_picture_of_another_kind_has_its_own_kinds_name(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """A JPEG behind a .png link is a picture, and paid for; a document is taken where none but a document is named."""
    urls = [
        shelf.put("/a.png", Item(JPEG)),
        shelf.put("/b.json", Item(b"{}", 200, {"Content-Type": "application/json"})),
    ]
    got = hasty(result(*urls), tmp_path)
    assert got["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.jpg": JPEG, "1-0.json": b"{}"}
    hasty(got, tmp_path)
    assert sorted(shelf.paths) == ["/a.png", "/b.json"]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 200])
def test_an_expired_link_is_asked_for_once_more(sandbox: Sandbox, shelf: Shelf, tmp_path: Path, status: int) -> None:
    """In the execution's details, once for all of its files; the new link is in the output, and nothing is sent."""
    out = frame(3, MANY)
    links = out["output"].tolist()
    expired = Item(XML, status, {"Content-Type": "application/xml"})
    stale = [shelf.put(f"/old-{n}.png", expired) for n in range(len(links[0]))]
    out.at[0, "output"] = stale
    accepted, read = len(sandbox.accepted), details(sandbox)
    got = hasty(out, tmp_path)
    assert got["path_error"].isna().all()
    assert got["output"].tolist() == links
    assert all(Path(path).is_file() for paths in got["path"] for path in paths)
    assert details(sandbox) - read == 1
    assert len(sandbox.accepted) == accepted
    asked = media(sandbox)
    hasty(got, tmp_path)
    assert media(sandbox) == asked


def test_a_link_that_the_api_cannot_renew_says_so(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Other files than before, or the same link still."""
    out = frame(3, MANY)
    gone = shelf.put("/gone.png", Item(b"", 403))
    out["output"] = pd.Series([[gone], [gone, gone, gone, gone, gone], gone], dtype=object)
    got = hasty(out, tmp_path)
    assert all("this output now has other files" in error for error in got["path_error"])
    same = frame(1)
    sandbox.faults(Fault("forbidden", on="media"))
    assert hasty(same, tmp_path)["path_error"][0].endswith("the API still returns the same link for it")


def test_a_row_that_was_taken_apart_has_its_own_new_link(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """By its address without the signature; nothing is guessed by its place."""
    out = frame(1, MANY)
    urls = out["output"][0]
    exploded = out.explode("output", ignore_index=True)
    expired = [f"{url}?X-Amz-Signature=old" for url in urls]
    exploded["output"] = pd.Series(expired, dtype=object)
    sandbox.faults(Fault("forbidden", on="media", at=set(range(1, 2 * len(urls), 2))))
    got = hasty(exploded, tmp_path, max_concurrency=1)
    assert got["path_error"].fillna("").tolist() == [""] * len(urls)
    assert got["output"].tolist() == urls


class Ranged:
    """A file that is cut after `cut` bytes the first time, and whose rest can be asked for where `etag` still fits."""

    def __init__(self, shelf: Shelf, body: bytes, *, etag: str | None = '"v1"', cut: int = 3_000_000) -> None:
        self.shelf, self.body, self.etag, self.cut = shelf, body, etag, cut
        self.sent = 0

    def __call__(self, times: int) -> Item:
        asked = self.shelf.asked[-1][1]
        headers = {"Content-Type": "video/mp4", "Content-Length": str(len(self.body))}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if times == 1:
            self.sent += self.cut
            return Item(self.body[: self.cut], 200, headers, sized=False)
        if "range" in asked and asked.get("if-range") == self.etag:
            start = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
            headers |= {
                "Content-Range": f"bytes {start}-{len(self.body) - 1}/{len(self.body)}",
                "Content-Length": str(len(self.body) - start),
            }
            self.sent += len(self.body) - start
            return Item(self.body[start:], 206, headers, sized=False)
        self.sent += len(self.body)
        return Item(self.body, 200, headers, sized=False)


VIDEO = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"video").digest(8_000_000)


def test_a_large_file_goes_on_where_it_was_interrupted(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """At the next attempt, by Range and the file's entity tag: less is sent than twice the file."""
    ranged = Ranged(shelf, VIDEO)
    url = shelf.put("/a.mp4", ranged)
    assert hasty(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": VIDEO}
    assert ranged.sent <= len(VIDEO) + 2 * 1024 * 1024
    assert shelf.paths.count("/a.mp4") == 2
    assert leftovers(tmp_path) == []


def test_another_call_goes_on_too(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """What an earlier call has left unfinished is kept for a day; two calls at once do not share it."""
    ranged = Ranged(shelf, VIDEO)
    url = shelf.put("/a.mp4", lambda times: ranged(1))
    broken = hasty(result(url), tmp_path)
    assert "tries" in broken["path_error"][0]
    assert files(tmp_path) == {}
    assert len(leftovers(tmp_path)) == 1
    shelf.asked.clear()
    shelf.put("/a.mp4", lambda times: ranged(2))
    assert hasty(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": VIDEO}
    assert shelf.asked[0][1]["range"].startswith("bytes=")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("etag", [None, 'W/"v1"', '"v2"'])
def test_a_file_that_may_have_changed_begins_anew(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, etag: str | None
) -> None:
    """Without a strong entity tag, or with another one, no bytes of two files are put together."""
    ranged = Ranged(shelf, VIDEO, etag='"v1"' if etag == '"v2"' else etag)
    other = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"other").digest(8_000_000)

    def changing(times: int) -> Item:
        if times == 2:
            ranged.etag, ranged.body = etag, other
        return ranged(times)

    url = shelf.put("/a.mp4", changing)
    assert hasty(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": other}


def test_the_rest_of_a_changed_file_is_not_put_to_its_old_beginning(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path
) -> None:
    """Some servers ignore If-Range: another entity tag in the answer says that the file has changed."""
    ranged = Ranged(shelf, VIDEO)
    other = b"\0\0\0\x18ftypmp42" + hashlib.shake_128(b"other").digest(8_000_000)

    def changing(times: int) -> Item:
        if times == 2:
            ranged.etag, ranged.body = '"v2"', other
            shelf.asked[-1][1]["if-range"] = '"v2"'
        return ranged(times)

    url = shelf.put("/a.mp4", changing)
    assert hasty(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": other}
    assert "range" not in shelf.asked[2][1]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(416, {}), (206, {}), (206, {"Content-Range": "bytes 0-99/100"}), (206, {"Content-Range": "bytes 5-9/x"})],
)
def test_a_wrong_answer_to_a_range_begins_anew(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    """The part is left, and the next attempt asks for the whole file."""
    ranged = Ranged(shelf, VIDEO)
    url = shelf.put("/a.mp4", lambda times: Item(VIDEO[:100], status, headers) if times == 2 else ranged(times))
    assert hasty(result(url), tmp_path)["path_error"].isna().all()
    assert files(tmp_path) == {"0-0.mp4": VIDEO}
    assert "range" not in shelf.asked[2][1]


def test_packed_bytes_that_hold_nothing_end_by_their_number_and_by_time() -> None:
    """An endless stream of empty gzip members."""
    member = gzip.compress(b"")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield member * 50

    async def read() -> int:
        return len([piece async for piece in unpacked(endless(), "gzip")])

    with pytest.raises(BrokenError, match=r"bytes, encoded as gzip, decode to only 0 bytes"):
        asyncio.run(asyncio.wait_for(read(), 60))


def test_a_stream_that_holds_nothing_is_left_by_time(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """However few bytes it has."""
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    url = shelf.put("/a.png", Item(gzip.compress(b"") * 3, 200, headers))
    got = hasty(result(url), tmp_path, clock=HastyClock(step=100.0))
    assert got["path_error"][0] == "slower than 4 KiB a second (4 tries)"


def test_a_little_that_is_packed_never_fills_the_memory() -> None:
    """Though it is a thousand times as much: it comes in pieces, and whoever has enough can stop."""

    async def sizes() -> list[int]:
        async def body() -> AsyncIterator[bytes]:
            yield zlib.compress(bytes(20_000_000))

        return [len(piece) async for piece in unpacked(body(), "deflate")]

    found = asyncio.run(sizes())
    assert sum(found) == 20_000_000
    assert max(found) <= BUFFER


def test_a_picture_inside_of_the_output_becomes_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """However large it is, and without a request."""
    large = hashlib.shake_128(b"x").digest(100_000)
    url = "data:image/png;base64," + base64.b64encode(large).decode()
    got = result([url, "data:image/png;base64,!!"]).eachlabs.download(tmp_path)
    assert got["path"][0] == [str(tmp_path / "0-0.png"), None]
    assert "1: a data: URL that cannot be decoded" in got["path_error"][0]
    assert files(tmp_path) == {"0-0.png": large}


def test_more_urls_than_a_view_would_show_all_come(sandbox: Sandbox, tmp_path: Path) -> None:
    """Views stop after a thousand values; files do not."""
    output = [{"text": "x", "picture": f"data:image/svg+xml,{n}"} for n in range(700)]
    got = result(output).eachlabs.download(tmp_path)
    assert len(got["path"][0]) == 700
    assert (tmp_path / "0-699.svg").read_bytes() == b"699"


# -- where from -----------------------------------------------------------------------------------------------------


def test_another_service_of_this_machine_is_not_asked(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Nor by a name that leads there, nor by a redirect; what is configured is another port."""
    shelf.put("/a.png")
    urls = [f"http://{host}:{shelf.port}/a.png" for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::1]")]
    out = pd.concat([frame(1), result(*urls)], ignore_index=True)
    sandbox.faults(Fault("redirect", on="media", location=shelf.url + "/a.png"))
    got = out.eachlabs.download(tmp_path)
    assert got["path"].tolist() == [None] * 6
    assert got["path_error"].str.contains("is a private address and not the configured host").all()
    assert shelf.asked == []


def test_redirects_are_followed_where_they_may_lead(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """At most five, and the file has the last one's type."""
    for n in range(7):
        shelf.put(f"/{n}", Item(b"", 302, {"Location": f"/{n + 1}"}))
    shelf.put("/7", Item(PNG))
    got = result(shelf.url + "/2", shelf.url + "/1").eachlabs.download(tmp_path, allow_private=True)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png"), None]
    assert got["path_error"][1] == "more than 5 redirects"


def test_neither_key_nor_cookie_is_sent(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """To the API's own host neither; and nothing is asked for that would come packed."""
    shelf.put("/a.png", Item(PNG, 200, {"Content-Type": "image/png", "Set-Cookie": "a=b"}))
    shelf.put("/b.png")
    # By its name: a number's cookies are kept by nobody.
    urls = [f"http://localhost:{shelf.port}/{name}.png" for name in ("a", "b")]
    got = result(*urls).eachlabs.download(tmp_path, allow_private=True, max_concurrency=1)
    assert got["path_error"].isna().all()
    frame(2).eachlabs.download(tmp_path / "more")
    assert not any(record.with_key for record in sandbox.requests if record.route == "media")
    headers = {name for _, sent in shelf.asked for name in sent}
    assert not headers & {"authorization", "x-api-key", "cookie", "referer"}
    assert {sent["accept-encoding"] for _, sent in shelf.asked} == {"identity"}


def test_a_signature_is_sent_as_it_was_written(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Not one percent sign otherwise."""
    path = "/a%2Fb%7e.png?sig=a%2fB+c%20d&e=%41"
    got = result(shelf.put(path)).eachlabs.download(tmp_path, allow_private=True)
    assert got["path_error"].isna().all()
    assert shelf.paths == [path]


def test_an_error_shows_no_query(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """Of whatever kind it is."""
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
    """It may be anywhere, for its owner has named it, with a scheme or without; not asked for this network's own."""
    monkeypatch.setenv("http_proxy", address.format(shelf.port))
    monkeypatch.setenv("no_proxy", "")
    shelf.put("http://cdn.example.com/a.png")
    got = result("http://cdn.example.com/a.png", "http://10.0.0.1/a.png", "http://metadata.internal/a.png")
    got = got.eachlabs.download(tmp_path)
    assert got["path"].tolist() == [str(tmp_path / "0-0.png"), None, None]
    assert shelf.paths == ["http://cdn.example.com/a.png"]


def test_a_socks_proxy_is_the_reason_why_a_file_is_not_there(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched around the proxy that was named."""
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    got = result("http://cdn.example.com/a.png").eachlabs.download(tmp_path)
    assert "ALL_PROXY names a SOCKS proxy (socks5://), which is not supported" in got["path_error"][0]


def test_a_proxys_password_is_given_to_it_and_shown_nowhere(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a plain request and for a tunnel, though the proxy repeats it."""
    token = base64.b64encode(b"user:passw0rd-of-the-proxy").decode()
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    seen.append(connection.recv(65_536))
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
    assert [f"Proxy-Authorization: Basic {token}".encode() in request for request in seen] == [True, True]
    assert got["path_error"].notna().all()
    assert "passw0rd" not in got.to_csv()
    assert token not in got.to_csv()


# -- how it ends ----------------------------------------------------------------------------------------------------


def test_old_rows_are_named_before_they_are_fetched(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """And where they are gone, the error says why; what is there already is no matter."""
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


def test_a_full_disk_stops_the_download_and_says_so(sandbox: Sandbox, shelf: Shelf, tmp_path: Path) -> None:
    """What is complete is kept, nothing more is asked for, and the same call goes on where there is room."""
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
        got = hasty(out, tmp_path, store=FullFolder, max_concurrency=1)
    assert got["path"].notna().sum() == 3
    assert (got["path_error"].dropna() == "not downloaded: No space left on device").all()
    assert len(shelf.asked) == 4
    assert leftovers(tmp_path) == []
    assert hasty(out, tmp_path)["path_error"].isna().all()
    assert len(shelf.asked) == 4 + 17


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
def test_what_cannot_be_is_said_before_anything_is_fetched(
    sandbox: Sandbox, shelf: Shelf, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """With what was wrong."""
    call = {"folder": tmp_path, "allow_private": True, **options}
    with pytest.raises(ef.ConfigurationError, match=message):
        result(shelf.put("/a.png")).eachlabs.download(**call)
    assert shelf.asked == []


def test_a_frame_that_is_no_result_says_so(tmp_path: Path) -> None:
    """And what to call."""
    with pytest.raises(ef.ColumnError, match="bulk_trigger first"):
        pd.DataFrame({"prompt": ["x"]}).eachlabs.download(tmp_path)


def test_a_bar_counts_files(sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that were there are done from the start."""
    out = frame(2, MANY)
    out.iloc[:1].eachlabs.download(tmp_path)
    sandbox.faults(Fault("not_found", on="media", at={1}))
    out.eachlabs.download(tmp_path, progress=True)
    last = capfd.readouterr().err.rstrip("\n").rpartition("\r")[2]
    assert "6/6" in last
    assert "downloaded=2, complete=3, failed=1" in last


def test_a_callable_hears_of_each_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """With counts that only grow; one that raises costs nothing."""
    events: list[Event] = []
    out = frame(2, MANY)
    out.eachlabs.download(tmp_path, progress=events.append)
    assert [event.kind for event in events] == ["started", *["downloaded"] * 6, "finished"]
    assert [event.done for event in events] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert {event.total for event in events} == {6}

    def raising(event: Event) -> None:
        raise RuntimeError

    assert out.eachlabs.download(tmp_path / "b", progress=raising)["path_error"].isna().all()


def test_an_interrupt_keeps_what_has_come(sandbox: Sandbox, tmp_path: Path) -> None:
    """The paths so far are in the exception's frame, no half a file has a name, and the same call goes on."""
    out = frame(30)

    def stopping(event: Event) -> None:
        if event.done == 5:
            raise KeyboardInterrupt

    sandbox.faults(Fault("stalled", on="media", at={2, 9}))
    with pytest.raises(ef.Interrupted, match="the same call downloads only what is missing") as caught:
        out.eachlabs.download(tmp_path, progress=stopping, max_concurrency=4)
    got = caught.value.frame
    there = got["path"].notna()
    assert 5 <= there.sum() < 30
    assert (got.loc[~there, "path_error"] == "not downloaded: interrupted").all()
    assert leftovers(tmp_path) == []
    assert all(body.endswith(b"</svg>") for body in files(tmp_path).values())
    sandbox.faults()
    asked = media(sandbox)
    assert out.eachlabs.download(tmp_path)["path_error"].isna().all()
    assert media(sandbox) - asked <= 30 - there.sum() + 4  # what was on its way may be counted late


def test_a_cancelled_download_keeps_what_has_come(sandbox: Sandbox, tmp_path: Path) -> None:
    """As an interrupted one does, and soon: a body that never ends is left."""
    out = frame(6)
    sandbox.faults(Fault("stalled", on="media", at={3}))

    kept: list[pd.DataFrame] = []

    async def downloading(come: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def hear(event: Event) -> None:
            if event.done == 5:
                loop.call_soon_threadsafe(come.set)

        try:
            await out.eachlabs.download_async(tmp_path, progress=hear)
        except asyncio.CancelledError as exc:
            kept.append(exc.frame)  # type: ignore[attr-defined]
            raise

    async def main() -> None:
        come = asyncio.Event()
        task = asyncio.ensure_future(downloading(come))
        await come.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert kept[0]["path"].notna().sum() == 5
    assert len(files(tmp_path)) == 5
    assert leftovers(tmp_path) == []
