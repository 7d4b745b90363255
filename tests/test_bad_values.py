"""One execution whose output cannot be kept as it is: its row says so, and its neighbours are as ever."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames import cli
from eachlabs_frames.decoding import TOO_DEEP
from eachlabs_frames.sandbox import Fault, Sandbox

WF = "wf_abc123"
MARK = b'"@@bad@@"'
BAD = {
    "half an emoji": (b'"half \\ud83d"', "half \ufffd", "output: invalid Unicode replaced by U+FFFD"),
    "NaN": (b"NaN", None, "output: NaN or an infinite number replaced by null"),
    "1e999": (b'{"score":1e999}', {"score": None}, "output: NaN or an infinite number replaced by null"),
    "400 digits": (b"[" + b"7" * 400 + b"]", ["7" * 400], "output: an integer too large for a float"),
    "1,000 levels": (b"[" * 1000 + b"]" * 1000, None, "output: values nested more than 100 levels deep"),
    "2,000 levels": (b"[" * 2000 + b"]" * 2000, None, "output: values nested more than 100 levels deep"),
}


class BadApi:
    """Stands before a sandbox, and puts `bad` in place of the output of the execution whose prompt is "bad"."""

    def __init__(self, sandbox: Sandbox, bad: bytes) -> None:
        self._sandbox, self._bad = sandbox, bad
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.forward(self)

            def do_POST(self) -> None:
                api.forward(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def forward(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as the sandbox does, but for the bad output; lose an answer where the sandbox loses it."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)) or None
        url = self._sandbox.base_url.removesuffix("/v1") + handler.path
        headers = {name: handler.headers[name] for name in ("Authorization", "Content-Type") if name in handler.headers}
        request = urllib.request.Request(url, body, headers, method=handler.command)
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, self._spoiled(answer.read())
        except urllib.error.HTTPError as exc:
            with exc:
                status, text = exc.code, exc.read()
        except OSError:
            return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def _spoiled(self, text: bytes) -> bytes:
        value = orjson.loads(text)
        for entry in value.get("executions", [value]):
            if entry.get("inputs", {}).get("prompt") == "bad" and entry.get("output") is not None:
                entry["output"] = "@@bad@@"
                entry.pop("output_json", None)
                entry.pop("workflow_output", None)
        return orjson.dumps(value).replace(MARK, self._bad)


@pytest.fixture(params=BAD)
def bad(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[tuple[Any, str]]:
    """Return the output that the bad row gets, and what its error says."""
    text, value, note = BAD[request.param]
    api = BadApi(sandbox, text)
    serving = threading.Thread(target=api.server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    ef.configure(base_url=api.url, settle_window=5.0)
    yield value, note
    api.server.shutdown()
    serving.join()
    api.server.server_close()


def frame() -> pd.DataFrame:
    """Make ten rows, of which the fourth is bad."""
    return pd.DataFrame({"prompt": ["bad" if row == 3 else f"p{row}" for row in range(10)]})


def check(out: pd.DataFrame, bad: tuple[Any, str]) -> None:
    """Check that all rows have ended, and that only the bad one has an error."""
    value, note = bad
    assert out["status"].tolist() == ["completed"] * 10
    assert out["error"].notna().tolist() == [row == 3 for row in range(10)]
    assert note in out.loc[3, "error"]
    found = out.loc[3, "output"]
    if "nested" in note:
        assert TOO_DEEP in json.dumps(found)
    elif value is None:
        assert found is None or found != found
    else:
        assert found == value


def test_its_neighbours_end_and_everything_can_be_shown_and_stored(bad: tuple[Any, str], tmp_path: Path) -> None:
    """In the frame, in the journal, in the views and in files."""
    out = frame().eachlabs.bulk_trigger(WF, run="one").eachlabs.wait(timeout=60.0)
    check(out, bad)
    check(ef.load_run("one"), bad)
    expanded = out.eachlabs.outputs(expand=True)
    assert len(expanded) >= 10
    out.eachlabs.outputs().to_csv(tmp_path / "outputs.csv")
    for suffix in ("csv", "jsonl", "parquet"):
        assert cli.main(["runs", "one", "--out", str(tmp_path / f"run.{suffix}")]) == 0
    out.eachlabs.gallery().save(tmp_path / "sheet.html")
    out.assign(kind="a").eachlabs.matrix(rows="prompt", columns="kind").save(tmp_path / "grid.html")
    json.dumps(out["output"].tolist())


def test_lost_answers_on_its_page_are_found(bad: tuple[Any, str], sandbox: Sandbox) -> None:
    """The page with the bad output is the page on which they are looked for."""
    sandbox.faults(Fault("lost_answer", at={1}))
    out = frame().eachlabs.bulk_trigger(WF, run="one").eachlabs.wait(timeout=60.0)
    check(out, bad)
    assert len(sandbox.accepted) == 10
