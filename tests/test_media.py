"""What an output shows: pictures, films, sounds, links and texts; nothing that a browser would run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.media import (
    MAX_DATA_URL_LENGTH,
    MAX_NODES,
    MAX_TEXT_LENGTH,
    MAX_URL_LENGTH,
    Media,
    cut,
    read,
    urls,
)

PNG = "data:image/png;base64,iVBORw0KGgo="


def kind(output: Any) -> str | None:
    """Return only the kind."""
    media = read(output)
    return None if media is None else media.kind


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://cdn.example.com/a/fox.png", "image"),
        ("http://127.0.0.1:8000/media/fox.WEBP?w=64&token=a.b#top", "image"),
        ("HTTPS://CDN.EXAMPLE.COM/FOX.JPG", "image"),
        ("https://cdn.example.com/fox.svg", "image"),
        ("https://cdn.example.com/fox.mp4", "video"),
        ("https://cdn.example.com/fox.mp3", "audio"),
        ("https://cdn.example.com/füchse/füchsin.png", "image"),
        ("https://cdn.example.com/fox", "link"),
        ("https://cdn.example.com/png", "link"),
        ("https://cdn.example.com/fox.exe?name=fox.png", "link"),
        ("https://cdn.example.com", "link"),
        ("https://png.example.png", "link"),
        (PNG, "image"),
        ("data:image/svg+xml;charset=utf-8,%3Csvg%3E%3C/svg%3E", "image"),
    ],
)
def test_a_safe_url_is_shown_by_its_extension(url: str, expected: str) -> None:
    """The path decides, not the query; what has no known extension is a link."""
    assert read(url) == Media(expected, url, url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "string",
    [
        "javascript:alert(1)//fox.png",
        "JavaScript:alert(1)",
        "java\nscript:alert(1)",
        " https://example.com/fox.png",
        "\x01javascript:alert(1)",
        "https://example.com/fox.png\n",
        "https://example.com/a b.png",
        "https://exam\tple.com/fox.png",
        "https://user@example.com/fox.png",
        "https://good.example.com:443@evil.example.com/fox.png",
        "https://good.example.com\\@evil.example.com/fox.png",
        "https://example.com:http/fox.png",
        "https://[::1/fox.png",
        "https:///fox.png",
        "https:fox.png",
        "//example.com/fox.png",
        "file:///etc/passwd.png",
        "ftp://example.com/fox.png",
        "blob:https://example.com/fox.png",
        "data:text/html,<script>alert(1)</script>",
        "data:text/html;image/png,x",
        "data:image/svg+xml,<svg onload='alert(1)'>",
        'https://example.com/"onerror="alert(1).png',
        "https://example.com/<script>.png",
        "https://example.com/gnp.\u202efox",
        "https://exa\u200bmple.com/fox.png",
        "https://example.com/\ud800.png",
        "vbscript:x",
        "see https://example.com/fox.png",
        "",
        f"https://example.com/{'a' * MAX_URL_LENGTH}.png",
        f"{PNG}{'A' * MAX_DATA_URL_LENGTH}",
    ],
)
def test_whatever_else_is_text(string: str) -> None:
    """Other schemes, tricks with white space, credentials, marks that hide the order, and sizes nobody shows."""
    media = read(string)
    assert media is not None
    assert media[:2] == ("text", None)
    assert media.text == cut(string, MAX_TEXT_LENGTH)


def test_the_first_picture_of_many_values_is_shown() -> None:
    """In lists and dicts, however they are nested; before a bare link."""
    first, second = "https://example.com/1.png", "https://example.com/2.mp4"
    page = "https://example.com/page"
    assert read([first, second])[:2] == ("image", first)  # type: ignore[index]
    assert read({"n": 1, "clips": [{"url": second}, first]})[:2] == ("video", second)  # type: ignore[index]
    assert read({"page": page, "image": first})[:2] == ("image", first)  # type: ignore[index]
    assert read({"page": page, "next": f"{page}/2"})[:2] == ("link", page)  # type: ignore[index]
    assert read({"caption": "a fox"}) == Media("text", None, '{"caption":"a fox"}')


def test_the_walk_is_bounded() -> None:
    """A picture behind a thousand values or twenty levels is not looked for, and a huge output is quick."""
    url = "https://example.com/fox.png"
    assert kind([*range(900), url]) == "image"
    assert kind([*range(1_000), url]) == "text"
    deep: Any = url
    for _ in range(20):
        deep = [deep]
    assert kind(deep) == "image"
    assert kind([deep]) == "text"
    assert kind([0] * 10_000_000) == "text"


def test_an_output_that_holds_itself_or_is_too_deep_is_text() -> None:
    """Neither can be written as JSON to its end."""
    itself: list[Any] = [1]
    itself.append(itself)
    assert read(itself) == Media("text", None, "[1,…")
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert kind(deep) == "text"


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (0, "0"),
        (False, "false"),
        (float("nan"), "NaN"),
        ("", ""),
        ([], "[]"),
        ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        ({"ü": "\ud83d"}, '{"ü":"\ufffd"}'),
        ({(1, 2): 3, "b": b"x"}, '{"b":"<bytes>"}'),
        ("a" * 301, "a" * 299 + "…"),
        (["a" * 500], '["' + "a" * 297 + "…"),
    ],
)
def test_any_value_has_a_text(output: Any, shown: str) -> None:
    """Strings as they are, the rest as JSON, at most 300 characters."""
    assert read(output) == Media("text", None, shown)


def test_a_number_that_python_refuses_to_write_has_a_text() -> None:
    """From 3.11 on it writes at most 4,300 digits."""
    media = read([1, 10**5_000])
    assert media is not None
    assert media.text.startswith("[1")
    assert len(media.text) <= MAX_TEXT_LENGTH


def test_no_output_shows_nothing() -> None:
    """None is not "null"."""
    assert read(None) is None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=5)
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from([PNG, "https://example.com/a.png", "javascript:x", object()]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(values)
def test_reading_never_fails_and_can_be_sent(output: Any) -> None:
    """Whatever it is: the text is short, sound Unicode, and a URL has one of the allowed beginnings."""
    media = read(output)
    if media is None:
        assert output is None
        return
    json.dumps(media, ensure_ascii=False).encode()
    assert len(media.text) <= MAX_TEXT_LENGTH
    assert (media.url is None) == (media.kind == "text")
    assert media.url is None or media.url.lower().startswith(("https://", "http://", "data:image/"))


def test_every_url_is_yielded_in_order_however_many() -> None:
    """A picture is looked for among the first values; whoever wants all of them gets all of them."""
    many = [f"https://cdn.example.com/{n}.png" for n in range(MAX_NODES + 5)]
    output = {"note": "see https://cdn.example.com/x.png", "pictures": many, "page": "https://cdn.example.com/"}
    everything = [*(("image", one) for one in many), ("link", "https://cdn.example.com/")]
    assert list(urls(output, max_nodes=None)) == everything
    assert 0 < len(list(urls(output))) < len(many)
