"""What a response to a download means, and what its headers state about the file."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from eachlabs_frames.downloads.decisions import (
    Accept,
    GiveUp,
    Redirect,
    RetryLater,
    digest,
    embedded,
    explained,
    is_old,
    joined,
    judge,
)

URL = "https://cdn.example.com/fox.png"
BODY = b"a fox"
SHA = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(BODY).digest()).decode()
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
HOUR = 3600.0


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (200, {"content-type": "image/png"}, Accept),
        (302, {"location": "/x"}, Redirect),
        (307, {}, GiveUp),
        (304, {}, GiveUp),
        (206, {}, GiveUp),
        (204, {}, GiveUp),
        (400, {}, GiveUp),
        (403, {}, GiveUp),
        (404, {}, GiveUp),
        (410, {}, GiveUp),
        (408, {}, RetryLater),
        (429, {}, RetryLater),
        (500, {}, RetryLater),
        (503, {}, RetryLater),
        (200, {"content-type": "text/html; charset=utf-8"}, RetryLater),
    ],
)
def test_a_status_decides(status: int, headers: dict[str, str], kind: Any) -> None:
    """HTML instead of an image is an error page with status 200."""
    assert type(judge(status, headers, URL)) is kind


def test_html_is_accepted_where_the_url_names_no_image() -> None:
    """It is stored as text."""
    assert judge(200, {"content-type": "text/html"}, "https://example.com/page") == Accept(".txt")


def test_a_retry_waits_as_long_as_retry_after_says() -> None:
    """And has a reason."""
    assert judge(429, {}, URL, after=7.0) == RetryLater("HTTP 429", 7.0)


def test_headers_state_a_size_and_a_checksum() -> None:
    """Not if the body has a content encoding: the headers describe the encoded body."""
    headers = {"content-type": "image/png", "content-length": "5", "repr-digest": f"sha-256=:{SHA}:"}
    assert judge(200, headers, URL) == Accept(".png", 5, ("sha256", hashlib.sha256(BODY).digest()))
    assert judge(200, headers | {"content-encoding": "gzip"}, URL) == Accept(".png")
    assert judge(200, headers | {"content-encoding": "identity", "content-length": "-5"}, URL).size is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"repr-digest": f"sha-256=:{SHA}:"}, "sha256"),
        ({"content-digest": f"md5=:{MD5}:, sha-512=:{SHA512}:"}, "sha512"),
        ({"digest": f"SHA-256={SHA},MD5={MD5}"}, "sha256"),
        ({"content-md5": MD5}, "md5"),
        ({"content-md5": MD5, "x-amz-checksum-sha256": SHA}, "sha256"),
        ({"x-goog-hash": f"crc32c=n03x6A==, md5={MD5}"}, "md5"),
        ({"x-goog-hash": f"md5={MD5}", "x-goog-stored-content-encoding": "gzip"}, None),
        ({"x-amz-checksum-sha256": f"{SHA}-3"}, None),
        ({"content-md5": SHA}, None),
        ({"content-md5": "nonsense"}, None),
        ({"repr-digest": "sha-256=:!!:"}, None),
        ({"repr-digest": "unixsum=:AAA=:"}, None),
        ({"etag": f'"{hashlib.md5(BODY).hexdigest()}"'}, None),
        ({}, None),
    ],
)
def test_the_best_checksum_in_the_headers_is_read(headers: dict[str, str], name: str | None) -> None:
    """A value of the wrong size is ignored, and an ETag is no checksum."""
    expected = None if name is None else (name, hashlib.new(name, BODY).digest())
    assert digest(headers) == expected


def test_the_error_of_an_expired_url_says_how_old_it_is() -> None:
    """Only if the age explains the status."""
    now = 1_000 * HOUR
    reason = explained(GiveUp("HTTP 404", 404), ended_at=now - 30 * HOUR, now=now)
    assert reason == "HTTP 404: the execution ended 30 hours ago, and output URLs live about 24 hours"
    assert "10 days" in explained(GiveUp("HTTP 403", 403), ended_at=now - 240 * HOUR, now=now)
    assert explained(GiveUp("HTTP 404", 404), ended_at=now - 5 * HOUR, now=now) == "HTTP 404"
    assert explained(GiveUp("HTTP 400", 400), ended_at=now - 30 * HOUR, now=now) == "HTTP 400"
    assert explained(GiveUp("HTTP 404", 404), ended_at=None, now=now) == "HTTP 404"
    assert is_old(now - 24.1 * HOUR, now)
    assert not is_old(now - 23.9 * HOUR, now)


@pytest.mark.parametrize(
    ("url", "extension", "data"),
    [
        ("data:image/png;base64,YSBmb3g=", ".png", BODY),
        ("data:image/png;base64,YSBmb3g", ".png", BODY),
        ("data:image/png;base64,YSBmb3g%3D", ".png", BODY),
        ("data:image/svg+xml;charset=utf-8,a%20fox", ".svg", BODY),
        ("data:image/x-unheard-of,a%20fox", ".bin", BODY),
    ],
)
def test_a_data_url_is_decoded(url: str, extension: str, data: bytes) -> None:
    """Base64, with or without its padding, or percent-encoded."""
    assert embedded(url, max_size=5) == (extension, data)


@pytest.mark.parametrize(
    ("url", "message"),
    [("data:image/png;base64,a!b", "cannot be decoded"), ("data:image/png;base64,YSBmb3hl", "larger than max_size=5")],
)
def test_a_data_url_that_cannot_be_a_file_says_why(url: str, message: str) -> None:
    """The message is the error of one row."""
    with pytest.raises(ValueError, match=message):
        embedded(url, max_size=5)


def test_a_row_of_several_files_says_which_one_failed() -> None:
    """Each error has the number of its file."""
    assert joined(["gone"]) == "gone"
    assert joined([None, "gone", None, "late"]) == "1: gone; 3: late"
    assert joined([None, None]) is None
    assert joined([]) is None
