"""Rows with files, from the frame to the API and back: what is uploaded, sent, paid, compared and recorded."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames.file_preview import FileCounts
from eachlabs_frames.journal.file_references import FileReferences
from eachlabs_frames.sandbox import Fault, Sandbox

WF = "wf_free"


def pictures(folder: Path, count: int) -> list[Path]:
    """Write files of different content."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + f"picture {number}".encode())
    return paths


def sent(sandbox: Sandbox) -> list[Any]:
    """Return the inputs of all executions, in order."""
    return [execution.inputs for execution in sandbox.executions]


def test_a_file_is_uploaded_once_however_many_rows_have_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """200 rows over 20 files are 20 uploads, and the rows get their public URLs."""
    paths = pictures(tmp_path, 20)
    frame = pd.DataFrame({"image": [paths[row % 20] for row in range(200)], "n": range(200)})
    out = frame.eachlabs.bulk_trigger(WF, run="first")
    assert (out["status"] == "queued").all()
    assert (sandbox.presigns, sandbox.puts) == (20, 20)
    urls = {file.sha256: file.public_url for file in sandbox.files}
    assert len({inputs["image"] for inputs in sent(sandbox)}) == len(urls) == 20
    # Another run of the account uploads nothing.
    out = frame.head(10).eachlabs.bulk_trigger(WF, retrigger=True)
    assert (out["status"] == "queued").all()
    assert sandbox.presigns == 20


def test_a_renamed_file_is_the_same_row_and_a_changed_one_another(sandbox: Sandbox, tmp_path: Path) -> None:
    """The content alone says whether a row was sent, in the frame of before and in a new one."""
    paths = pictures(tmp_path, 3)
    frame = pd.DataFrame({"name": [path.name for path in paths]})
    inputs = {"image": ef.file("name", root=tmp_path)}
    out = frame.eachlabs.bulk_trigger(WF, inputs, run="r")
    assert len(sandbox.accepted) == 3
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in paths:
        path.rename(moved / f"x{path.name}")
    frame["name"] = "x" + frame["name"]
    out["name"] = "x" + out["name"]
    inputs = {"image": ef.file("name", root=moved)}
    for again in (frame, out):
        result = again.eachlabs.bulk_trigger(WF, inputs, run="r")
        assert result["execution_id"].tolist() == out["execution_id"].tolist()
    with pytest.raises(ef.RunError, match="all 3 rows were accepted before"):
        frame.eachlabs.bulk_trigger(WF, inputs)
    (moved / "x1.png").write_bytes(b"another picture")
    for again in (out, frame):
        result = again.eachlabs.bulk_trigger(WF, inputs, run="r")
        same = (result["execution_id"] == out["execution_id"]).tolist()
        assert same == [True, False, True]
    assert len(sandbox.accepted) == 4
    assert sandbox.puts == 4


def test_a_file_that_cannot_be_used_makes_its_row_invalid_and_the_others_go_on(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The reason names the path, in the frame and in the journal. A repaired file is sent by the same call."""
    (path,) = pictures(tmp_path, 1)
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    names = [path.name, "none.png", "empty.png", "folder", "../x.png", "https://me:pw@x.example/a.png", None]
    frame = pd.DataFrame({"name": names, "n": range(len(names))})
    inputs = {"image": ef.file("name", root=tmp_path), "n": "n"}
    shown = frame.eachlabs.preview(WF, inputs)
    out = frame.eachlabs.bulk_trigger(WF, inputs, run="r")
    assert out["status"].tolist() == ["queued", *["invalid"] * 5, "queued"]
    assert shown["problem"].isna().tolist() == [True, *[False] * 5, True]
    for word, error in zip(["none.png", "empty", "folder", "root=", "password"], out["error"][1:6], strict=True):
        assert error.startswith("key 'image': ")
        assert word in error
    loaded = ef.load_run("r")
    assert loaded["status"].tolist() == out["status"].tolist()
    assert loaded["error"].tolist()[1:6] == out["error"].tolist()[1:6]
    assert "pw" not in loaded.to_csv()
    # The loaded frame does not send the reason as an input.
    assert loaded.eachlabs.bulk_trigger(WF)["status"].tolist() == out["status"].tolist()
    (tmp_path / "none.png").write_bytes(b"here it is")
    again = out.eachlabs.bulk_trigger(WF, inputs, run="r")
    assert again["status"].tolist() == ["queued", "queued", *["invalid"] * 4, "queued"]
    assert len(sandbox.accepted) == 3


def test_a_result_stays_when_its_file_is_gone(sandbox: Sandbox, tmp_path: Path) -> None:
    """Nothing says that the content was another: the row keeps its execution, and nothing is paid again."""
    paths = pictures(tmp_path, 2)
    frame = pd.DataFrame({"image": paths})
    for options in ({"run": "named"}, {}):
        out = frame.eachlabs.bulk_trigger(WF, wait=True, retrigger=True, **options)
        count = len(sandbox.accepted)
        paths[1].unlink()
        again = out.eachlabs.bulk_trigger(WF, **options)
        assert again["status"].tolist() == ["completed", "completed"]
        assert again["execution_id"].tolist() == out["execution_id"].tolist()
        assert len(sandbox.accepted) == count
        pictures(tmp_path, 2)


def test_an_upload_that_fails_makes_its_rows_invalid_before_their_claim(sandbox: Sandbox, tmp_path: Path) -> None:
    """They are sent by the next call of the run."""
    paths = pictures(tmp_path, 2)
    frame = pd.DataFrame({"image": [paths[0], paths[0], paths[1]], "n": range(3)})
    sandbox.faults(Fault("unprocessable", on="presign", times=1))
    out = frame.eachlabs.bulk_trigger(WF, run="r")
    assert sorted(out["status"].tolist()) in (["invalid", "invalid", "queued"], ["invalid", "queued", "queued"])
    again = frame.eachlabs.bulk_trigger(WF, run="r")
    assert again["status"].tolist() == ["queued"] * 3
    assert len(sandbox.accepted) == 3


def test_a_balance_that_is_too_low_for_an_upload_leaves_the_rows_pending(sandbox: Sandbox, tmp_path: Path) -> None:
    """As a 402 on the trigger does: it is no exception, and the next call after a top-up goes on."""
    frame = pd.DataFrame({"image": pictures(tmp_path, 2)})
    sandbox.faults(Fault("payment", on="presign"))
    out = frame.eachlabs.bulk_trigger(WF, run="r")
    assert out["status"].tolist() == ["pending", "pending"]
    assert out["error"].str.startswith("not sent: HTTP 402").all()
    sandbox.faults()
    out = out.eachlabs.bulk_trigger(WF)
    assert out["status"].tolist() == ["queued", "queued"]


@pytest.mark.parametrize(
    "cell",
    [
        lambda path: path.read_bytes(),
        lambda path: [path, path],
        lambda path: io.BytesIO(path.read_bytes()),
        lambda _: PIL.Image.new("RGB", (2, 2), "red"),
        lambda _: np.full((2, 2, 3), 7, np.uint8),
    ],
)
def test_each_kind_of_file_is_sent_as_a_url(sandbox: Sandbox, tmp_path: Path, cell: Callable[[Path], Any]) -> None:
    """And the same frame again in the same run sends nothing: contents are compared."""
    (path,) = pictures(tmp_path, 1)
    frame = pd.DataFrame({"image_url": pd.Series([cell(path)], dtype=object)})
    out = frame.eachlabs.bulk_trigger(WF, run="r", wait=True)
    (inputs,) = sent(sandbox)
    (url,) = [file.public_url for file in sandbox.files]
    assert inputs == {"image_url": [url, url] if isinstance(frame.iat[0, 0], list) else url}
    for again in (frame, out):
        assert again.eachlabs.bulk_trigger(WF, run="r")["status"].tolist() == ["completed"]
    assert (len(sandbox.accepted), sandbox.puts) == (1, 1)


# -- what the API repeats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost_answer", "error_after"])
def test_a_lost_answer_of_a_row_with_a_file_is_found_by_its_url(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """A URL that was sent as text is found too."""
    ef.configure(settle_window=0.3)
    paths = pictures(tmp_path, 2)
    first = pd.DataFrame({"image": paths}).eachlabs.bulk_trigger(WF)
    url = sandbox.files[0].public_url
    sandbox.faults(Fault(kind, at={1}))
    frame = pd.DataFrame({"image": [paths[1], url], "n": [1, 2]})
    out = frame.eachlabs.bulk_trigger(WF, {"image": ef.file("image"), "n": "n"})
    assert out["execution_id"].tolist() == [execution.execution_id for execution in sandbox.executions[2:]]
    assert len(sandbox.accepted) == len(first) + 2


def test_a_row_is_not_sent_again_whose_execution_has_its_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """`on_unknown="resend"` compares the listing by the files' content, whatever the times say."""
    ef.configure(settle_window=0.1)
    paths = pictures(tmp_path, 2)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("error_before", on="list", status=503))
    frame = pd.DataFrame({"image": paths})
    out = frame.eachlabs.bulk_trigger(WF, run="r")
    assert out["status"].tolist() == ["unknown"] * 2
    sandbox.faults()
    out = frame.eachlabs.bulk_trigger(WF, run="r", on_unknown="resend")
    assert out["execution_id"].notna().all() or (out["status"] == "unknown").all()
    assert len(sandbox.accepted) == 2


def test_a_row_with_a_file_is_not_sent_again_after_the_key_was_changed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of the lost request is that of an upload with the earlier key of the same account."""
    ef.configure(settle_window=0.1)
    frame = pd.DataFrame({"image": pictures(tmp_path, 2)})
    sandbox.faults(Fault("lost_answer", at={1}), Fault("error_before", on="list", status=503))
    assert (frame.eachlabs.bulk_trigger(WF, run="r")["status"] == "unknown").all()
    sandbox.faults()
    monkeypatch.setattr("hmac.compare_digest", lambda *_: True)
    ef.configure(api_key="another-key")
    frame.eachlabs.bulk_trigger(WF, run="r", on_unknown="resend")
    assert len(sandbox.accepted) == 2


def test_urls_of_all_accounts_and_of_other_processes_are_known() -> None:
    """Those that the journal gets during a call too, once it is read again."""
    recorded = {"https://a/1": "ref-1"}
    references = FileReferences(SimpleNamespace(file_references=lambda: dict(recorded)))  # type: ignore[arg-type]
    own = {"https://a/2": "ref-2"}
    references.follow(own)
    assert dict(references) == {"https://a/1": "ref-1", "https://a/2": "ref-2"}
    recorded["https://a/3"] = "ref-3"
    own["https://a/4"] = "ref-4"
    assert ("https://a/3" in references, references["https://a/4"]) == (False, "ref-4")
    references.read_again()
    assert (references["https://a/3"], len(references)) == ("ref-3", 4)


def test_polls_recognize_the_inputs_of_rows_with_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """Executions in the wrong rows are put right by the files' content, also from the journal alone."""
    paths = pictures(tmp_path, 3)
    sandbox.faults(Fault("permuted"))
    frame = pd.DataFrame({"image": paths})
    out = frame.eachlabs.bulk_trigger(WF, run="r").eachlabs.wait()
    by_id = {execution.execution_id: execution.inputs["image"] for execution in sandbox.executions}
    urls = [by_id[execution_id] for execution_id in out["execution_id"]]
    contents = {file.public_url: file.sha256 for file in sandbox.files}
    assert [contents[url] for url in urls] == [sha256(path.read_bytes()).hexdigest() for path in paths]


# -- runs ------------------------------------------------------------------------------------------------------------


def test_a_loaded_run_is_sent_again_with_the_files_that_the_api_has(sandbox: Sandbox, tmp_path: Path) -> None:
    """Its cells are references; where the files are gone from the API, the row is invalid."""
    paths = pictures(tmp_path, 2)
    pd.DataFrame({"image": paths}).eachlabs.bulk_trigger(WF, run="r")
    loaded = ef.load_run("r")
    assert loaded["image"].str.startswith("eachlabs-file:sha256-").all()
    again = loaded.eachlabs.bulk_trigger(WF, retrigger=True, run="other", version_id="v1")
    assert again["status"].tolist() == ["queued"] * 2
    assert sandbox.puts == 2
    assert [inputs["image"] for inputs in sent(sandbox)[2:]] == [inputs["image"] for inputs in sent(sandbox)[:2]]
    ef.configure(journal=tmp_path / "another journal.sqlite")
    fresh = loaded[["image"]].eachlabs.bulk_trigger(WF)
    assert fresh["status"].tolist() == ["invalid"] * 2
    assert fresh["error"].str.endswith("pass the file again").all()
    assert len(sandbox.accepted) == 4


def test_a_loaded_run_says_why_it_is_not_sent_again(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a file was deleted at the API, the row keeps its result."""
    out = pd.DataFrame({"image": pictures(tmp_path, 2)}).eachlabs.bulk_trigger(WF, run="once")
    ef.delete_files(ef.files())
    again = ef.load_run("once").eachlabs.bulk_trigger(WF, retrigger=True)
    assert again["execution_id"].tolist() == out["execution_id"].tolist()
    assert "keep their earlier execution: the content of this file is not at the API, or not any more" in caplog.text
    assert "ended early" not in caplog.text


def test_expires_in_is_sent_and_checked(sandbox: Sandbox, tmp_path: Path) -> None:
    """A wrong one is refused before anything is read."""
    frame = pd.DataFrame({"image": pictures(tmp_path, 1)})
    with pytest.raises(ef.ConfigurationError, match="expires_in must be a whole number from 60 to 31536000; got 5"):
        frame.eachlabs.bulk_trigger(WF, expires_in=5)
    frame.eachlabs.bulk_trigger(WF, expires_in=3600)
    (file,) = sandbox.files
    assert file.expires_at - file.created_at == pytest.approx(3600)


# -- preview ---------------------------------------------------------------------------------------------------------


def test_a_preview_names_and_counts_files_and_uploads_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each content counts once, and rows that cannot be sent do not count."""
    paths = pictures(tmp_path, 3)
    pd.DataFrame({"image": paths[:1]}).eachlabs.bulk_trigger(WF, retrigger=True)
    frame = pd.DataFrame({"image": [*paths[:2], paths[1], tmp_path / "none.png"], "raw": [b"x"] * 4})
    shown = frame.eachlabs.preview(WF, {"image": "image", "raw": ef.file("raw")})
    name = f"<{sha256(b'x').hexdigest()[:8]}>"
    assert shown["payload"].tolist() == [
        {"image": "<0.png>", "raw": name},
        {"image": "<1.png>", "raw": name},
        {"image": "<1.png>", "raw": name},
        {"image": "<a file that cannot be used>", "raw": name},
    ]
    facts = shown.attrs["eachlabs_preview"]
    assert (facts["files"], facts["files_known"]) == (3, 1)
    assert facts["file_bytes"] == 2 * paths[0].stat().st_size + 1
    assert shown.attrs["eachlabs_notes"][0].startswith("3 files, ")
    assert sandbox.puts == 1
    plain = pd.DataFrame({"prompt": ["a"]}).eachlabs.preview(WF)
    assert "files" not in plain.attrs["eachlabs_preview"]


def test_the_files_of_a_preview_are_a_sentence() -> None:
    """It says that a URL is all that is needed to read a file."""
    assert FileCounts(12, 340_000_000, 3).sentence() == (
        "12 files, 340 MB, 3 of them at the API already: uploaded before their rows are sent; anybody who has the URL "
        "of a file can read it until it expires"
    )
    assert FileCounts(1, 1_000).sentence().startswith("1 file, 1 kB: uploaded")
    assert FileCounts().facts() == {}


# -- other calls -----------------------------------------------------------------------------------------------------


def test_failed_rows_with_files_are_retried_with_the_file_as_it_is_now(tmp_path: Path) -> None:
    """In place too, where cells that are arrays are compared with those of before."""
    (path,) = pictures(tmp_path, 1)
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), fail_when=lambda inputs: inputs["n"] == 1) as api:
        frame = pd.DataFrame({"image": [path, path], "pixels": [np.full((2, 2, 3), 7, np.uint8)] * 2, "n": [1, 2]})
        frame.eachlabs.bulk_trigger(WF, wait=True, inplace=True)
        assert frame["status"].tolist() == ["failed", "completed"]
        path.write_bytes(b"repaired")
        out = frame.eachlabs.retry_failed(wait=True)
        assert len(api.accepted) == 3
        contents = {file.public_url: file.sha256 for file in api.files}
        assert contents[api.accepted[2].inputs["image"]] == sha256(b"repaired").hexdigest()
        assert out["execution_id"].tolist()[1] == frame["execution_id"].tolist()[1]


@pytest.mark.parametrize(
    ("fault", "uploads", "requests"),
    [(None, 1, 2), (Fault("error_before", on="file", status=503), 0, 2), (Fault("forbidden", on="file"), 2, 4)],
)
def test_a_retry_uploads_files_anew_that_are_gone(
    sandbox: Sandbox, tmp_path: Path, fault: Fault | None, uploads: int, requests: int
) -> None:
    """Those of failed rows. A file that the storage refuses counts as gone, unless the refusal is of the moment."""
    sandbox.change(fail_when=lambda inputs: inputs["n"] < 2)
    frame = pd.DataFrame({"image": pictures(tmp_path, 3), "n": range(3)})
    out = frame.eachlabs.bulk_trigger(WF, run="r", wait=True)
    dead = out["execution_id"].map({row.execution_id: row.inputs["image"] for row in sandbox.accepted})[0]
    sandbox.expire_files(*[file.file_id for file in sandbox.files if file.public_url == dead])
    sandbox.change(fail_when=None)
    sandbox.faults(*([] if fault is None else [fault]))
    out.eachlabs.retry_failed(wait=True)
    assert len(sandbox.accepted) == 5
    assert sandbox.puts == 3 + uploads
    assert (dead in {row.inputs["image"] for row in sandbox.accepted[3:]}) == (uploads == 0)
    assert [request.route for request in sandbox.requests].count("file") == requests


def test_a_retry_of_a_file_that_is_gone_everywhere_sends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """A loaded run has no content to upload; its dead URL would be paid for once more."""
    sandbox.change(fail_when=lambda inputs: True)
    pd.DataFrame({"image": pictures(tmp_path, 1)}).eachlabs.bulk_trigger(WF, run="r", wait=True)
    sandbox.expire_files(*[file.file_id for file in sandbox.files])
    out = ef.load_run("r").eachlabs.retry_failed()
    assert (out["status"].tolist(), len(sandbox.accepted)) == (["failed"], 1)


def test_a_row_is_sent_in_the_background_with_its_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """`start` and the async form upload as `bulk_trigger` does."""
    frame = pd.DataFrame({"image": pictures(tmp_path, 2)})
    assert frame.eachlabs.start(WF, run="r").result()["status"].tolist() == ["completed"] * 2
    out = asyncio.run(frame.eachlabs.bulk_trigger_async(WF, run="r", wait=True))
    assert out["status"].tolist() == ["completed"] * 2
    assert (len(sandbox.accepted), sandbox.puts) == (2, 2)


def test_without_a_journal_files_are_uploaded_all_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    """A lost answer is found in this call; the next call uploads again."""
    ef.configure(settle_window=0.3)
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)
    sandbox.faults(Fault("lost_answer", at={1}))
    frame = pd.DataFrame({"image": pictures(tmp_path, 2)})
    out = frame.eachlabs.bulk_trigger(WF)
    assert out["execution_id"].notna().all()
    assert (len(sandbox.accepted), sandbox.puts) == (2, 2)


def test_the_legacy_dialect_refuses_files_before_a_row_is_in_the_journal(sandbox: Sandbox, tmp_path: Path) -> None:
    """It has no uploads: the call, its preview and one without a run's name leave nothing behind."""
    ef.configure(base_url=sandbox.legacy_base_url)
    frame = pd.DataFrame({"image": pictures(tmp_path, 2), "n": range(2)})
    for call in (
        lambda: frame.eachlabs.bulk_trigger(WF, run="legacy"),
        lambda: frame.eachlabs.bulk_trigger(WF),
        lambda: frame.eachlabs.start(WF).result(),
        lambda: frame.eachlabs.preview(WF),
    ):
        with pytest.raises(ef.ConfigurationError, match="the legacy dialect has no uploads"):
            call()
    assert ef.runs().empty
    assert (sandbox.accepted_count(), sandbox.presigns) == (0, 0)
    urls = frame.assign(image="https://example.com/fox.png")
    assert (urls.eachlabs.bulk_trigger(WF, run="legacy")["status"] == "queued").all()


def test_a_lost_row_whose_file_is_gone_says_how_it_is_found(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its content cannot be compared with the run's rows, but the journal has it: nothing is lost or sent again."""
    ef.configure(settle_window=0.2)
    (path,) = pictures(tmp_path, 1)
    sandbox.change(listing_lag=1e9)
    sandbox.faults(Fault("lost_answer", at={1}))
    lost = pd.DataFrame({"image": [path]}).eachlabs.bulk_trigger(WF, run="r")
    sandbox.change(listing_lag=0.0)
    path.unlink()
    hint = f"1 unknown row(s) were not searched for: key 'image': there is no file {str(path)!r}"
    calls: list[Callable[[], Any]] = [
        lost.eachlabs.reconcile,
        lambda: lost.eachlabs.bulk_trigger(WF, run="r", on_unknown="resend"),
    ]
    for call in calls:
        caplog.clear()
        assert call()["status"].tolist() == ["unknown"]
        assert hint in caplog.text
        assert "load_run('r').eachlabs.reconcile() finds them without it" in caplog.text
        assert "are not of run" not in caplog.text
    found = ef.load_run("r").eachlabs.reconcile()
    assert found["execution_id"].dropna().tolist() == [execution.execution_id for execution in sandbox.accepted]
    assert len(sandbox.accepted) == 1
