"""Secrets in what others wrote: however they are written there, they are not shown."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eachlabs_frames.masking import Mask
from eachlabs_frames.models import Secret

KEY = 'smk_A/b+c=d"e\\f&1'
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


def escaped(text: str, form: str) -> str:
    """Escape every character."""
    return "".join(form.format(ord(char)) for char in text)


def written(secret: str) -> list[str]:
    """Return the ways in which a secret may come back, each as a JSON text."""
    return [
        json.dumps(secret),
        json.dumps(secret).replace("/", "\\/"),
        f'"{escaped(secret, chr(92) + "u{:04x}")}"',
        f'"{escaped(secret, chr(92) + "u{:04X}")}"',
        json.dumps(json.dumps(secret)),
        json.dumps(f'"{escaped(secret, chr(92) + "u{:04x}")}"'),
        json.dumps(f"https://user:{quote(secret, safe='')}@proxy"),
        json.dumps(escaped(secret, "%{:02X}")),
        json.dumps(escaped(secret, "%{:02x}")),
        json.dumps(html.escape(secret)),
        json.dumps(escaped(secret, "&#{};")),
        json.dumps(escaped(secret, "&#x{:02x};")),
        *(json.dumps(base64.b64encode(f"{user}{secret}".encode()).decode()) for user in ("", "u:", "us:", "use:")),
        json.dumps(base64.urlsafe_b64encode(f"Bearer {secret}, twice".encode()).decode()),
    ]


@settings(deadline=None)
@given(SECRETS)
@example("99999999")
def test_a_secret_is_masked_however_it_is_written(secret: str) -> None:
    """As JSON, twice as JSON, in a URL, in HTML, in base64; what was JSON stays JSON."""
    mask = Mask([Secret(secret)])
    for form in written(secret):
        body = f'{{"error":{form}}}'.encode()
        masked = mask.bytes(body)
        assert masked != body
        assert secret not in orjson.loads(masked)["error"]


def test_nothing_of_a_masked_secret_is_left() -> None:
    """Not even a part of it."""
    for form in written(KEY)[:-5]:
        masked = orjson.loads(Mask([Secret(KEY)]).bytes(f'["bad key ",{form},"!"]'.encode()))
        assert masked in (
            ["bad key ", "***", "!"],
            ["bad key ", '"***"', "!"],
            ["bad key ", "https://user:***@proxy", "!"],
        )


@pytest.mark.parametrize(
    "text", ["smk_A/b+c=", "\\u0073mk", "100%73", "&#115;", "", "\\u00e9 \\u0026 %2F", "smk_\udc80"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    """A part of a secret, escapes of other characters, half an emoji."""
    assert Mask([Secret(KEY)]).text(text) == text


def test_a_short_secret_is_not_masked() -> None:
    """It may be a word of the answers themselves."""
    assert Mask([Secret("id")]).bytes(b'{"execution_id":"e1"}') == b'{"execution_id":"e1"}'


def test_a_secret_of_digits_leaves_numbers_numbers() -> None:
    """An answer that happens to hold the number can still be read."""
    masked = Mask([Secret("12345678")]).bytes(b'{"seed":12345678,"text":"12345678"}')
    assert orjson.loads(masked) == {"seed": 99999999, "text": "99999999"}


def test_several_secrets_are_masked_at_once() -> None:
    """One that holds another as well."""
    mask = Mask([Secret("secret-one"), Secret("a-secret-one-more")])
    assert mask.text("a-secret-one-more secret-one") == "*** ***"
    assert repr(mask) == "Mask(...)"


def test_without_a_secret_nothing_is_masked() -> None:
    """There is nothing to look for."""
    assert Mask([]).bytes(b"%73 \\u0073") == b"%73 \\u0073"
