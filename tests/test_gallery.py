"""The gallery without a browser: what it sends, when and how much, what it makes of a frame, and its file."""

from __future__ import annotations

import base64
import gc
import json
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import orjson
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.media import media_type
from eachlabs_frames.models import COMPLETED, FAILED, PENDING, RUNNING, Event, Outcome
from eachlabs_frames.sandbox import Sandbox, media
from eachlabs_frames.views.common import view_files as files
from eachlabs_frames.views.common.card import Card, card
from eachlabs_frames.views.common.input_files import InputFiles
from eachlabs_frames.views.common.live_view import Subscriber
from eachlabs_frames.views.common.source import Cards
from eachlabs_frames.views.gallery import static
from eachlabs_frames.views.gallery.model import MAX_CODES, MAX_MESSAGE_BYTES, GalleryLayout, GalleryModel, find
from eachlabs_frames.views.gallery.widget import Gallery

from .waiting import until
from .wire import Wire, wire

__all__ = ["wire"]

pytestmark = pytest.mark.usefixtures("wire")

WF = "wf_abc123"
NASTY = '"><script>window.ran = 1</script><img src=x onerror="window.ran = 1">\u202e'
PNG = media.png({"prompt": "a fox"})
SVG = media.svg({"prompt": "a fox"})


class Fake:
    """Stands in for `Calls` and `Cards`: a test moves its rows."""

    def __init__(self, size: int, *, paths: dict[int, list[str | None]] | None = None) -> None:
        self.rows = [Outcome(row, PENDING) for row in range(size)]
        self.paths = paths or {}
        self.input_files = InputFiles()
        self.is_closed = False
        self.made: list[int] = []
        self.said: dict[str, Any] = {"workflow": WF, "run": "spring", "phase": "tracking", "started_at": 1.0}
        self.view: Any = Subscriber(lambda event: None, lambda: None)

    def __len__(self) -> int:
        return len(self.rows)

    def add_view(self, view: Any) -> None:
        self.view = view

    def outcomes(self, view: Any, meanwhile: Callable[[], None]) -> list[Outcome]:
        meanwhile()
        return self.rows[:]

    def head(self) -> Any:
        return dict(self.said)

    def make(self, outcomes: Sequence[Outcome]) -> list[Card]:
        self.made += [one.position for one in outcomes]
        return [
            card(one, label=f"row {one.position}", sent={"prompt": f"p{one.position}"}, files=self.files(one.position))
            for one in outcomes
        ]

    def files(self, row: int) -> Sequence[str | None]:
        return self.paths.get(row, ())

    def remove_view(self, view: Any) -> None:
        self.is_closed = True

    def happen(self, rows: Iterable[int], status: str, **values: Any) -> None:
        changed = tuple(Outcome(row, status, "b", f"e{row}", **values) for row in rows)
        for outcome in changed:
            self.rows[outcome.position] = outcome
        self.view.on_event(Event("refreshed", len(self), 0, 0, {}, changed))


def gallery(fake: Fake, *, page: int = 100) -> Gallery:
    """Return a gallery of a fake."""
    return Gallery(fake, fake, GalleryLayout(4, 220, page))


def sent_messages(shown: Gallery, kind: str) -> list[dict[str, Any]]:
    """Return the messages of one kind that the browser was sent."""
    model = shown._browser.model_id
    contents = [data["content"] for known, _, data, _ in Wire.sent if known == model and data.get("method") == "custom"]
    return [content for content in contents if content["kind"] == kind]


def sent_buffers(shown: Gallery) -> list[bytes]:
    """Return the bytes that the browser was sent."""
    model = shown._browser.model_id
    return [bytes(one) for known, _, data, held in Wire.sent if known == model and "content" in data for one in held]


def sent_snapshots(shown: Gallery) -> list[dict[str, Any]]:
    """Return the snapshots that the browser was sent."""
    model = shown._browser.model_id
    states = [data.get("state", {}) for known, _, data, _ in Wire.sent if known == model]
    return [state["snapshot"] for state in states if "snapshot" in state]


def request(shown: Gallery, **content: Any) -> None:
    """Send a request as the browser does."""
    shown._browser._handle_custom_msg(content, [])


def sent_card_rows(shown: Gallery) -> list[int]:
    """Return the rows whose cards came, in their order."""
    return [one["row"] for update in sent_messages(shown, "update") for one in update.get("cards", [])]


def triggered(size: int = 3) -> pd.DataFrame:
    """Make a settled result by hand."""
    out = pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=[f"r{row}" for row in range(size)])
    out["bulk_id"], out["status"], out["error"] = "b", COMPLETED, None
    out["execution_id"] = [f"e{row}" for row in range(size)]
    output = [f"https://media.example/{row}.png" for row in range(size)]
    out["output"] = pd.Series(output, index=out.index, dtype=object)
    out.attrs["eachlabs"] = {"workflow_id": WF, "prefix": "", "inputs": {"prompt": {"column": "prompt"}}}
    return out


def downloaded(out: pd.DataFrame, paths: list[Any]) -> pd.DataFrame:
    """Give a result files, as a download does."""
    out["path"] = pd.Series(paths, index=out.index, dtype=object)
    out.attrs["eachlabs_download"] = {"column": "path"}
    return out


# -- the sheet ------------------------------------------------------------------------------------------------------


def sheet(size: int, *, first: int = 100, weight: int = 0) -> GalleryModel:
    """Make a sheet whose cards have a text of this length."""

    def make(outcomes: Sequence[Outcome]) -> list[Card]:
        return [card(one, label=str(one.position), sent={"prompt": "x" * weight}) for one in outcomes]

    return GalleryModel(size, make, first=first)


def test_an_update_holds_what_changed_and_nothing_else() -> None:
    """Codes of every row, cards of those that are looked at; and none where nothing has changed."""
    rows = sheet(10, first=3)
    rows.settle("t", None)
    assert rows.update("t", None, 0.0) is None
    rows.take([Outcome(1, COMPLETED, output="a"), Outcome(7, FAILED, error="b")])
    update = rows.update("t", None, 1.0)
    assert update is not None
    assert update["seq"] == 1
    assert update["codes"] == [1, 4, 7, 5]
    assert [one["row"] for one in update["cards"]] == [1]
    assert "title" not in update
    rows.take([Outcome(1, COMPLETED, output="a")])
    assert rows.update("t", None, 2.0) is None
    said = rows.update("t", "stopped", 3.0)
    assert said is not None
    assert said["notice"] == "stopped"


def test_a_sent_card_is_sent_again_when_it_changes() -> None:
    """Of a row that is looked at; a status that stays may bring an output."""
    rows = sheet(3)
    rows.settle("t", None)
    rows.take([Outcome(0, COMPLETED)])
    rows.update("t", None, 0.0)
    rows.take([Outcome(0, COMPLETED, output="late")])
    update = rows.update("t", None, 0.0)
    assert update is not None
    assert update["cards"][0]["text"] == "late"
    assert "codes" not in update


def test_updates_are_bounded_and_nothing_is_left_out() -> None:
    """However many rows change at once, and however much is in their cards."""
    rows = sheet(12_000, first=1_000, weight=8_000)
    rows.settle("t", None)
    rows.take([Outcome(row, COMPLETED) for row in range(12_000)])
    codes: dict[int, int] = {}
    cards: list[int] = []
    while (update := rows.update("t", None, 0.0)) is not None:
        assert len(orjson.dumps(update.get("cards", []))) <= MAX_MESSAGE_BYTES + 1_000
        assert len(update.get("codes", [])) <= 2 * MAX_CODES
        codes |= dict(zip(update.get("codes", [])[::2], update.get("codes", [])[1::2], strict=True))
        cards += [one["row"] for one in update.get("cards", [])]
        assert rows.behind or sorted(cards) == list(range(1_000))
    assert codes == dict.fromkeys(range(12_000), 4)
    assert len(cards) == 1_000


def test_whatever_a_browser_watches_is_rows() -> None:
    """What it makes up is none; what it no longer looks at is not told."""
    rows = sheet(5)
    rows.settle("t", None)
    rows.watch([4, 3, -1, 5, "2", None, True, 2.0], [4, 99, "x"])
    update = rows.update("t", None, 0.0)
    assert update is not None
    assert [one["row"] for one in update["cards"]] == [4]
    rows.take([Outcome(row, COMPLETED) for row in range(4)])
    update = rows.update("t", None, 0.0)
    assert update is not None
    assert [one["row"] for one in update["cards"]] == [3]


def test_statuses_have_a_maximum_number() -> None:
    """An API that makes up a word for each row fills no list."""
    rows = sheet(100)
    rows.take([Outcome(row, f"odd {row}") for row in range(100)])
    shown = rows.snapshot("t", None, 0.0, GalleryLayout(4, 220, 100))
    assert len(shown["statuses"]) == 20
    assert shown["statuses"][-1] == "other"
    assert sum(rows.counts.values()) == 100


def test_a_snapshot_is_small_enough_to_be_stored() -> None:
    """It holds every row's code, and as many cards as there is room for."""
    rows = sheet(1_000, first=1_000, weight=8_000)
    shown = rows.snapshot("t", None, 0.0, GalleryLayout(4, 220, 1_000))
    assert len(shown["codes"]) == 1_000
    assert 20 < len(shown["cards"]) < 40


def test_a_text_is_found_in_all_that_a_card_says() -> None:
    """In its label, its input, its error and its output, whatever their case."""
    rows = [Outcome(1, COMPLETED, output="A Fox"), Outcome(2, FAILED, error="no fox"), Outcome(3, PENDING)]
    cards = [card(one, label=f"row {one.position}", sent={"prompt": "a Heron"}) for one in rows]
    assert find("FOX", cards) == [1, 2]
    assert find("heron", cards) == [1, 2, 3]
    assert find("W 3", cards) == [3]


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_the_first_page_is_there_at_once() -> None:
    """In the state that the browser gets with the widget: nothing has to be asked for, and no thread begins."""
    fake = Fake(500)
    fake.happen(range(500), COMPLETED, output="https://media.example/a.png")
    shown = gallery(fake, page=50)
    (first,) = sent_snapshots(shown)
    assert [one["row"] for one in first["cards"]] == list(range(51))
    assert (first["columns"], first["size"], first["page"]) == (4, 220, 50)
    assert len(first["codes"]) == 500
    assert first["title"] == f"Run 'spring' of {WF}"
    assert sent_messages(shown, "update") == []
    fake.happen([3], FAILED)
    until(lambda: sent_card_rows(shown) == [3])
    shown.close()


def test_cards_fill_in_as_rows_complete() -> None:
    """A message for what happened, and no more than four a second."""
    fake = Fake(30)
    shown = gallery(fake)
    for row in range(30):
        fake.happen([row], COMPLETED, output=f"https://media.example/{row}.png")
    until(lambda: sorted(sent_card_rows(shown)) == list(range(30)))
    assert len(sent_messages(shown, "update")) <= 3
    fake.happen([4], FAILED, error="no")
    until(lambda: sent_card_rows(shown)[30:] == [4])
    shown.close()


def test_the_state_of_a_run_is_sent() -> None:
    """Why it does not go on, and when it has ended, nothing."""
    fake = Fake(2)
    shown = gallery(fake)
    fake.said |= {"phase": "failed", "problem": "AuthenticationError: the key is refused"}
    fake.view.on_call_changed()
    until(lambda: any("the key is refused" in (one.get("notice") or "") for one in sent_messages(shown, "update")))
    fake.happen([0, 1], COMPLETED)
    fake.said = {"workflow": WF, "run": "spring", "phase": "settled"}
    fake.view.on_call_changed()
    until(lambda: sent_messages(shown, "update")[-1].get("notice", 1) is None)
    assert sent_snapshots(shown)[-1]["notice"] is None
    shown.close()


def test_the_cards_of_a_new_page_are_sent() -> None:
    """Only the cards that are missing, and from then on their changes."""
    fake = Fake(300)
    shown = gallery(fake, page=100)
    request(shown, kind="watch", seq=0, rows=list(range(100, 201)), missing=list(range(101, 201)))
    until(lambda: sent_card_rows(shown) == list(range(101, 201)))
    fake.happen([5, 150], COMPLETED, output="a")
    until(lambda: sent_card_rows(shown)[100:] == [150])
    shown.close()


def test_a_browser_that_missed_something_gets_all_of_it() -> None:
    """It says which message it heard last."""
    fake = Fake(3)
    shown = gallery(fake)
    fake.happen([1], COMPLETED, output="a")
    until(lambda: sent_card_rows(shown) == [1])
    until(lambda: shown._refresher._thread is None)
    before = len(sent_snapshots(shown))
    request(shown, kind="watch", seq=sent_messages(shown, "update")[-1]["seq"], rows=[0, 1, 2], missing=[2])
    until(lambda: sent_card_rows(shown) == [1, 2])
    assert len(sent_snapshots(shown)) == before
    for _ in range(50):  # as many as a browser may ask while a cell runs
        request(shown, kind="watch", seq=-1, rows=[0, 1, 2], missing=[])
    until(lambda: len(sent_snapshots(shown)) > before)
    assert sent_snapshots(shown)[-1]["codes"] == [0, 4, 0]
    until(lambda: shown._refresher._thread is None)
    assert len(sent_snapshots(shown)) < before + 10
    shown.close()


def test_the_kernel_finds_rows() -> None:
    """Those whose cards are not in the browser too."""
    shown = gallery(Fake(300), page=10)
    request(shown, kind="find", text="P29")
    until(lambda: sent_messages(shown, "found") == [{"kind": "found", "text": "P29", "rows": [29, *range(290, 300)]}])
    shown.close()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"kind": "file"},
        {"kind": "file", "row": "0", "n": 0},
        {"kind": "file", "row": 99, "n": 0},
        {"kind": "file", "row": 0, "n": -1},
        {"kind": "file", "row": True, "n": 0, "path": "/etc/passwd"},
        {"kind": "watch", "rows": 3, "missing": None},
        {"kind": "find"},
        {"kind": "odd", "text": [NASTY]},
        None,
        [{"kind": "find"}],
        "find",
    ],
)
def test_a_browser_may_request_anything(asked: Any, caplog: pytest.LogCaptureFixture) -> None:
    """And gets no file for it, and does no harm."""
    fake = Fake(2, paths={0: [__file__]})
    shown = gallery(fake)
    shown._browser._handle_custom_msg(asked, [])
    assert caplog.records == []  # what a widget's listener raises is logged
    fake.happen([0], COMPLETED)
    until(lambda: sent_card_rows(shown) == [0])
    assert sent_messages(shown, "file") == []
    shown.close()


def test_files_come_one_by_one_as_they_are_asked_for(tmp_path: Path) -> None:
    """By row and place alone; what is no picture, film or sound, too large or not there is none."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_text("root:x:0:0")
    (tmp_path / "empty.png").write_bytes(b"")
    names: list[str | None] = ["a.png", "secret.png", "gone.png", "empty.png", None, ".", "a\0.png"]
    shown = gallery(Fake(1, paths={0: [name and str(tmp_path / name) for name in names]}))
    for n in range(len(names) + 1):
        request(shown, kind="file", row=0, n=n)
    until(lambda: len(sent_messages(shown, "file")) == len(names) + 1)
    assert [one["type"] for one in sent_messages(shown, "file")] == ["image/png", *[None] * len(names)]
    assert sent_buffers(shown) == [PNG]
    assert "root:x" not in json.dumps([data for _, _, data, _ in Wire.sent], default=str)
    shown.close()


def test_what_has_become_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Between the look at a file and its reading anything may take its place."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    found = files.find(str(path))
    assert found is not None
    path.unlink()
    os.mkfifo(path)
    assert files.find(str(path)) is None
    reading = threading.Thread(target=lambda: read.append(files.read(found)), daemon=True)
    read: list[bytes | None] = []
    reading.start()
    reading.join(10)
    assert read == [None]


def test_a_file_beyond_its_bound_is_none(tmp_path: Path) -> None:
    """It is looked at by its size, and not read."""
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.write(PNG)
        file.truncate(files.MAX_FILE_BYTES + 1)
    assert files.find(str(large)) is None
    assert files.find(str(large), max_bytes=files.MAX_FILE_BYTES + 1) is not None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG[:512], "image/png"),
        (SVG[:512], "image/svg+xml"),
        (b'<?xml version="1.0"?>\n<!-- a --><svg xmlns="x">', "image/svg+xml"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"RIFF....WAVEfmt ", "audio/wav"),
        (b"\0\0\0 ftypavif", "image/avif"),
        (b"\0\0\0 ftypisom", "video/mp4"),
        (b"\0\0\0 ftypM4A ", "audio/mp4"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"OggS", "audio/ogg"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"fLaC", "audio/flac"),
        (b"<!-- a --><!-- b -->\n<svg>", "image/svg+xml"),
        (b"<!-- a --> b --><svg>", None),
        (b"<!---->" * 73, None),  # 2**73 ways to divide it
        (b"<!doctype html><svg>", None),
        (b"<html>", None),
        (b"RIFF....AVI ", None),
        (b"%PDF-1.7", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    """Never by its name."""
    assert media_type(head) == kind


def test_nothing_is_sent_after_the_end() -> None:
    """A closed gallery hears nothing, has no widgets, and its thread ends."""
    fake = Fake(10)
    known = set(ipywidgets.widgets.widget._instances)
    shown = gallery(fake)
    fake.happen([0], COMPLETED)
    until(lambda: sent_card_rows(shown) == [0])
    shown.close()
    assert fake.is_closed
    assert set(ipywidgets.widgets.widget._instances) <= known
    sent = len(Wire.sent)
    fake.happen([1], COMPLETED)
    until(lambda: not any(thread.name == "eachlabs-view" for thread in threading.enumerate()))
    assert len(Wire.sent) == sent


# -- of a run -------------------------------------------------------------------------------------------------------


def test_a_runs_gallery_fills_in_and_asks_nothing(sandbox: Sandbox) -> None:
    """It shows what the run hears: with it, the run makes no request more than its own."""
    sandbox.change(hold=True)
    prompts = pd.DataFrame({"animal": ["a fox", "a heron", "an owl"], "n": [1, 2, 3]})
    run = prompts.eachlabs.start(WF, {"prompt": "animal", "seed": "n"})
    shown = run.gallery(label="animal", columns=3)
    run.interval = 0.2
    assert [one["label"] for one in sent_snapshots(shown)[0]["cards"]] == ["a fox", "a heron", "an owl"]
    until(lambda: len(sandbox.accepted) == 3)
    sandbox.release()
    out = run.result(timeout=120.0)
    until(lambda: set(sent_card_rows(shown)) == {0, 1, 2} and sent_snapshots(shown)[-1]["codes"] == [4, 4, 4])
    last = {one["row"]: one for one in sent_snapshots(shown)[-1]["cards"]}
    assert [last[row]["media"][0]["url"] for row in range(3)] == out["output"].tolist()
    assert last[1]["input"] == [("prompt", "a heron"), ("seed", "2")]
    requests = len(sandbox.requests)
    until(lambda: not any(thread.name == "eachlabs-view" for thread in threading.enumerate()))
    assert len(sandbox.requests) == requests
    shown.close()


def test_a_row_that_is_sent_again_loses_its_former_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """As soon as it has another execution: the gallery was open before."""
    sandbox.change(queue_seconds=0.0, run_seconds=(0.0, 0.0))
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger(WF, wait=True).eachlabs.download(tmp_path)
    sandbox.change(hold=True)
    run = out.eachlabs.start(WF, retrigger=True)
    shown = run.gallery()
    run.interval = 0.2
    until(lambda: len(sandbox.accepted) == 2)
    sandbox.release()
    again = run.result(timeout=120.0)
    assert again["execution_id"].tolist() != out["execution_id"].tolist()
    shown.save(tmp_path / "sheet.html")
    (one,) = state_of(tmp_path / "sheet.html")["snapshot"]["cards"]
    assert [(item["url"], item["has_file"]) for item in one["media"]] == [(again["output"].iloc[0], False)]
    shown.close()


def test_a_closed_gallery_of_a_run_is_released(sandbox: Sandbox) -> None:
    """The run keeps nothing of it, and goes on."""
    sandbox.change(hold=True)
    run = pd.DataFrame({"prompt": ["a", "b"]}).eachlabs.start(WF)
    shown = run.gallery()
    reference = weakref.ref(shown)
    shown.close()
    until(lambda: len(sandbox.accepted) == 2)
    sandbox.release()
    assert run.result(timeout=120.0)["status"].tolist() == [COMPLETED, COMPLETED]
    until(lambda: not any(thread.name == "eachlabs-view" for thread in threading.enumerate()))
    del shown
    gc.collect()
    assert reference() is None


# -- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"columns": 0}, "columns must be a whole number from 1 to 50; got 0"),
        ({"columns": 2.5}, "columns"),
        ({"columns": True}, "columns"),
        ({"size": "large"}, "size must be a number of pixels, 80 to 2,000; got 'large'"),
        ({"size": float("nan")}, "size"),
        ({"size": 3}, "size"),
        ({"page": 1_001}, "page must be a whole number from 1 to 1000; got 1001"),
        ({"page": None}, "page"),
    ],
)
def test_a_layout_that_cannot_be_is_an_error(wrong: dict[str, Any], says: str) -> None:
    """Before anything is shown, and it says which."""
    with pytest.raises(ef.ConfigurationError, match=re.escape(says)):
        triggered().eachlabs.gallery(**wrong)
    assert Wire.sent == []


def test_a_label_that_is_no_column_is_an_error() -> None:
    """Before anything is shown."""
    with pytest.raises(ef.ColumnError, match="no column 'promt'"):
        triggered().eachlabs.gallery(label=["promt"])
    assert Wire.sent == []


def test_numbers_of_numpy_are_numbers() -> None:
    """As they come from a frame."""
    import numpy as np

    shown = triggered().eachlabs.gallery(columns=np.int64(3), size=np.float64(180.4), page=np.int32(7))
    assert (
        sent_snapshots(shown)[0]["columns"],
        sent_snapshots(shown)[0]["size"],
        sent_snapshots(shown)[0]["page"],
    ) == (3, 180, 7)
    shown.close()


@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_frames_have_a_gallery(size: int) -> None:
    """Nothing was triggered of it, or there is no row."""
    shown = pd.DataFrame({"prompt": ["a"] * size}).eachlabs.gallery()
    assert repr(shown).startswith("No row of this frame has been triggered yet")
    assert sent_snapshots(shown)[0]["title"] == "No row of this frame has been triggered yet"
    shown.close()


def test_a_result_with_a_prefix_has_a_gallery() -> None:
    """By its own columns."""
    out = triggered(2).rename(columns=lambda name: name if name == "prompt" else f"my_{name}")
    out.attrs = {}
    shown = out.eachlabs.gallery(prefix="my_")
    assert sent_snapshots(shown)[0]["codes"] == [4, 4]
    assert sent_snapshots(shown)[0]["cards"][0]["input"] == [("prompt", "p0")]
    shown.close()


def test_a_frame_is_never_written() -> None:
    """Nor does a change of it reach the gallery."""
    out = triggered(2)
    before = out.copy()
    shown = out.eachlabs.gallery()
    pd.testing.assert_frame_equal(out, before)
    out.loc["r0", "status"] = FAILED
    assert shown._snapshot()["codes"] == [4, 4]
    shown.close()


# -- without widgets ------------------------------------------------------------------------------------------------


def test_where_there_is_no_widget_there_is_a_sheet() -> None:
    """In HTML without script, and as a text that names each row."""
    out = triggered(3)
    for name, value in (("status", FAILED), ("error", "refused"), ("output", None)):
        out.at["r1", name] = value
    shown = out.eachlabs.gallery()
    bundle = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].splitlines() == [
        f"A run of {WF}: 3 rows, 2 completed, 1 failed",
        "  p0: completed https://media.example/0.png",
        "  p1: failed refused",
        "  p2: completed https://media.example/2.png",
    ]
    sheet_ = bundle["text/html"]
    assert sheet_.count("<figure") == 3
    assert sheet_.count('src="https://media.example/') == 2
    assert "refused" in sheet_
    assert "<script" not in sheet_
    assert 'loading="lazy"' in sheet_
    shown.close()


def test_a_sheet_holds_what_was_downloaded_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large picture a small copy; the others are linked: a stored notebook stays small."""
    (tmp_path / "a.png").write_bytes(PNG)
    with (tmp_path / "b.png").open("wb") as file:
        file.write(PNG)
        file.truncate(static.MAX_EMBEDDED_BYTES)
    out = downloaded(triggered(3), [str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "a.png")])
    shown = out.eachlabs.gallery()
    sheet_ = shown._repr_mimebundle_()["text/html"]
    assert sheet_.count(base64.b64encode(PNG).decode()) == 2
    assert sheet_.count("data:image/webp;base64,") == 1
    monkeypatch.setattr(static, "MAX_EMBEDDED_BYTES", len(PNG) + 1)
    sheet_ = shown._repr_mimebundle_()["text/html"]
    assert sheet_.count(base64.b64encode(PNG).decode()) == 1
    assert 'src="https://media.example/1.png"' in sheet_
    shown.close()


def test_a_sheet_of_many_rows_says_how_many_more() -> None:
    """Sixty are shown."""
    shown = triggered(200).eachlabs.gallery()
    bundle = shown._repr_mimebundle_()
    assert bundle["text/html"].count("<figure") == static.MAX_CARDS
    assert "and 140 more" in bundle["text/html"]
    assert bundle["text/plain"].splitlines()[-1] == "  and 180 more"
    shown.close()


def test_nothing_from_outside_becomes_markup() -> None:
    """Neither a label, an error, an output nor a status."""
    out = triggered(4)
    out.index = pd.Index([NASTY] * 4)
    out["status"] = [COMPLETED, FAILED, NASTY, RUNNING]
    out["error"] = [None, NASTY, None, None]
    out["output"] = [NASTY, None, f"javascript:{NASTY}", {"a": NASTY}]
    shown = out.eachlabs.gallery()
    bundle = shown._repr_mimebundle_()
    assert not re.search(r"<(script|img)|onerror=\"", bundle["text/html"])
    assert "\u202e" not in bundle["text/plain"]
    shown.close()


# -- its file -------------------------------------------------------------------------------------------------------


def state_of(path: Path) -> Any:
    """Return the state that a page holds."""
    found = re.search(r'id="eachlabs-state">(.*?)</script>', path.read_text("utf-8"))
    assert found is not None
    return json.loads(found.group(1))


def test_a_saved_sheet_holds_every_card_and_each_file(tmp_path: Path) -> None:
    """Whatever page is shown; what is not on the disk is linked."""
    (tmp_path / "a.png").write_bytes(PNG)
    paths = [[str(tmp_path / "a.png"), None], str(tmp_path / "gone.png"), None]
    out = downloaded(triggered(3), paths)
    out.at["r0", "output"] = ["https://media.example/0.png", "https://media.example/1.png"]
    shown = out.eachlabs.gallery(page=1)
    path = shown.save(tmp_path / "sheet.html")
    assert path == tmp_path / "sheet.html"
    state = state_of(path)
    assert state["is_page"] is True
    cards = state["snapshot"]["cards"]
    assert [one["row"] for one in cards] == [0, 1, 2]
    assert [[item["has_file"] for item in one["media"]] for one in cards] == [[True, False], [False], [False]]
    held = re.findall(r'id="eachlabs-file-(\d+)-(\d+)" data-type="([^"]+)">([^<]*)<', path.read_text("utf-8"))
    assert held == [("0", "0", "image/png", base64.b64encode(PNG).decode())]
    assert str(tmp_path) not in path.read_text("utf-8")
    assert shown.save(str(path)) == path
    with pytest.raises(ef.ConfigurationError, match="is a folder"):
        shown.save(tmp_path)
    for name in ("sheet.png", "sheet.pdf", "sheet"):
        with pytest.raises(ef.ConfigurationError, match=r"a gallery is saved as \.html; got .*sheet"):
            shown.save(tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.png", "sheet.html"]
    shown.close()


def test_a_sheet_that_is_saved_while_it_fills_is_as_it_stands(tmp_path: Path) -> None:
    """With the rows that are there, and the others as they are."""
    fake = Fake(3)
    shown = gallery(fake)
    fake.happen([1], COMPLETED, output="a poem")
    until(lambda: sent_card_rows(shown) == [1])
    state = state_of(shown.save(tmp_path / "sheet.html"))
    assert state["snapshot"]["codes"] == [0, 4, 0]
    assert [one["text"] for one in state["snapshot"]["cards"]] == [None, "a poem", None]
    assert state["snapshot"]["notice"]
    shown.close()


def test_a_sheet_that_is_saved_before_the_next_beat_is_no_older_than_its_run(tmp_path: Path) -> None:
    """As in a cell that waits for the result and saves at once: what was heard counts, shown or not."""
    fake = Fake(2)
    shown = gallery(fake)
    shown._refresher.close()
    for row in range(2):
        fake.happen([row], COMPLETED, output="a poem")
        state = state_of(shown.save(tmp_path / "sheet.html"))
        assert state["snapshot"]["codes"] == [4, 4][: row + 1] + [0, 0][row + 1 :]
        assert state["snapshot"]["cards"][row]["text"] == "a poem"
    assert "pending" not in repr(shown)
    fake.happen([1], FAILED, error="too dark")
    assert "too dark" in shown._repr_mimebundle_()["text/html"]
    shown.close()


def test_cards_of_a_frame_are_made_as_they_are_asked_for() -> None:
    """Ten thousand rows cost what is looked at."""
    fake = Fake(10_000)
    shown = gallery(fake, page=50)
    assert len(fake.made) < 200
    assert len(json.dumps(sent_snapshots(shown)[0])) < 100_000
    shown.close()


def test_cards_know_their_frames_size() -> None:
    """A row is a card."""
    assert len(Cards(triggered(7))) == 7
