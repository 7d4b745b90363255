"""A view as a file: that it holds what it shows, that no text becomes markup, and that it is whole or not there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.views.common import html_page
from eachlabs_frames.views.common.html_page import PageFile

SCRIPT = "const one = 1;\nexport default () => ({ render() {} });\n"
STYLE = ".a { color: red }"
NASTY = "</script><script>window.ran = 1</script><!--\u2028<img src=x onerror=alert(1)>&amp;"


class Read(HTMLParser):
    """What a browser finds in a page: each element with its attributes and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))
        if tag != "meta":
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            name, attrs, text = self.elements[self._open[-1]]
            self.elements[self._open[-1]] = (name, attrs, text + data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, text) for name, attrs, text in self.elements if name == tag]


def digest(text: str) -> str:
    """Return what a policy calls a script or a style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_a_page_holds_its_state_and_its_files() -> None:
    """The state as JSON, and each file under its row and place."""
    parts = html_page.page(
        "Sheet", script=SCRIPT, style=STYLE, state={"cards": [1, "é"]}, files=[(3, 1, "image/png", b"\x89PNG")]
    )
    scripts = Read("".join(parts)).all("script")
    state, file, module = scripts
    assert json.loads(state[1]) == {"cards": [1, "é"]}
    assert file[0] == {"type": "text/plain", "id": "eachlabs-file-3-1", "data-type": "image/png"}
    assert base64.b64decode(file[1]) == b"\x89PNG"
    assert module[0] == {"type": "module"}
    assert "const view = () => ({ render() {} });" in module[1]
    assert re.search(r"^export", module[1], re.MULTILINE) is None


@given(text=st.text() | st.just(NASTY))
def test_no_text_becomes_markup(text: str) -> None:
    """Neither in the state nor in the title: the page has the same elements whatever is in them."""
    text = text.encode("utf-8", "replace").decode()
    read = Read("".join(html_page.page(text, script=SCRIPT, style=STYLE, state={"text": text, text: 1})))
    tags = [tag for tag, _, _ in read.elements]
    assert tags == [
        *("html", "head", "meta", "meta", "meta", "meta", "title", "style"),
        *("body", "main", "noscript", "script", "script"),
    ]
    state = json.loads(read.all("script")[0][1])
    assert state["text"] == text or state == {text: 1}
    if not set(text) & {"\r", "\0"}:  # which HTML reads as others
        assert read.all("title")[0][1] == text


def test_the_policy_names_the_pages_own_script_and_style_and_nothing_else() -> None:
    """By their hashes; so what is injected somewhere does not run, and nothing is fetched but media."""
    read = Read("".join(html_page.page("a", script=SCRIPT, style=STYLE, state={})))
    metas = {attrs.get("http-equiv") or attrs.get("name"): attrs["content"] for attrs, _ in read.all("meta")[1:]}
    policy = dict(part.strip().split(" ", 1) for part in str(metas["Content-Security-Policy"]).split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'{digest(read.all('script')[-1][1])}'"
    assert policy["style-src"] == f"'{digest(read.all('style')[0][1])}'"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == policy["media-src"] == "http: https: data: blob:"
    assert metas["referrer"] == "no-referrer"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error on the way leaves the file of before, and nothing beside it."""
    path = tmp_path / "sheet.html"
    written = html_page.write(path, "first", script=SCRIPT, style=STYLE, state={})
    assert written == path

    def failing() -> Iterator[PageFile]:
        yield 0, 0, "image/png", b"1"
        msg = "no more"
        raise OSError(msg)

    with pytest.raises(OSError, match="no more"):
        html_page.write(path, "second", script=SCRIPT, style=STYLE, state={}, files=failing())
    assert "<title>first</title>" in path.read_text("utf-8")
    assert list(tmp_path.iterdir()) == [path]
    html_page.write(path, "third", script=SCRIPT, style=STYLE, state={})
    assert "<title>third</title>" in path.read_text("utf-8")


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    """Nor is one made: a name that is a folder, or lies in none, is an error that says so."""
    with pytest.raises(ef.ConfigurationError, match="is a folder"):
        html_page.write(tmp_path, "a", script=SCRIPT, style=STYLE, state={})
    with pytest.raises(ef.ConfigurationError, match="is in a folder that does not exist"):
        html_page.write(tmp_path / "none" / "a.html", "a", script=SCRIPT, style=STYLE, state={})
    assert list(tmp_path.iterdir()) == []
