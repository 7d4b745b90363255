"""Names for files: always valid, never outside of their folder, and never the same for two files."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.downloads import content_types, naming
from eachlabs_frames.downloads.content_types import ANY, KNOWN, belongs, extension
from eachlabs_frames.downloads.naming import FileKey, distinct, fit, key, mark, read, safe

RESERVED = {"con", "prn", "aux", "nul", *(f"{word}{n}" for word in ("com", "lpt") for n in range(10))}

nasty = st.text(
    st.one_of(
        st.sampled_from('./\\:*?"<>| \x00\n\u202e\u200b\ud800~-_aAé\u00dfİ\ufb01\u0301'), st.characters(codec=None)
    ),
    max_size=40,
) | st.sampled_from(["..", ".", "", "CON", "nul.txt", "com1 .x", "LPT¹", "a" * 400, "é" * 300, ".eachlabs", "C:\\x"])


def is_valid(name: str) -> bool:
    """Say by an account of its own whether every common file system takes this name."""
    encoded = name.encode()
    return (
        0 < len(encoded) <= naming.MAX_NAME_BYTES
        and not re.search(r'[\x00-\x1f\x7f<>:"/\\|?*]', name)
        and not any(unicodedata.category(one) in ("Cc", "Cf", "Cs") for one in name)
        and name.strip(" ") == name
        and not name.startswith(".")
        and not name.endswith(".")
        and name.partition(".")[0].strip().lower() not in RESERVED
    )


@given(nasty)
@example("con" + " " * 300 + "x")
def test_any_text_becomes_a_valid_name(text: str) -> None:
    """With any extension, on any system; and to make it safe twice changes nothing."""
    assert all(is_valid(fit(text) + ending) for ending in [*KNOWN, ANY])
    assert safe(safe(text)) == safe(text)


@given(st.lists(nasty, min_size=3, max_size=3))
def test_a_field_cannot_lead_out_of_the_folder(values: list[str]) -> None:
    """A template decides how deep a file lies, and nothing that is filled in."""
    template = read("{style}/x{prompt}/{index}-{n}", ["style", "prompt"])
    filled = dict(zip(("style", "prompt", "index"), values, strict=True))
    stem = template.stem(filled, n=0, several=False)
    assert len(stem.split("/")) == 3
    assert all(map(is_valid, stem.split("/")))
    inside = os.path.normpath(f"/folder/{stem}{ANY}")
    assert inside.startswith("/folder/")
    assert inside.count("/") == 4


@given(
    st.dictionaries(
        st.builds(
            FileKey,
            st.sampled_from(["", "e1", "e2", "11111111-a", "22222222-a", "../x"]),
            st.integers(0, 2),
            st.sampled_from(["", "m"]),
        ),
        st.lists(
            st.sampled_from(["a", "A", "é", "e\u0301", "ß", "ss", "a-e1", "a-e1-0", "a" * 250]).map(fit),
            min_size=1,
            max_size=3,
        ),
        max_size=12,
    )
)
def test_no_two_files_have_the_same_name(wanted: dict[FileKey, list[str]]) -> None:
    """Also where a file system knows no capitals and no other way to write an accent; and whatever the order."""
    found = distinct(wanted)
    assert len({key(stem) for stem in found.values()}) == len(found)
    assert all(is_valid(stem + ".parquet") for stem in found.values())
    backwards = {identity: list(reversed(stems)) for identity, stems in reversed(wanted.items())}
    assert distinct(backwards) == found


def test_a_unique_name_is_not_changed() -> None:
    """Those that clash get the end of their execution's id."""
    found = distinct(
        {FileKey("aaaaaaaa-1111", 0, ""): ["x"], FileKey("aaaaaaaa-2222", 0, ""): ["X"], FileKey("b", 0, ""): ["y"]}
    )
    assert list(found.values()) == ["x-aaa-1111", "X-aaa-2222", "y"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("{index}-{n}", "fox-0"),
        ("{row:04d}", "0007"),
        ("{style}/{seed:.1f}_{n}", "no_ir/0.5_0"),
        ("{missing}-{n}", "_-0"),
        ("{execution_id}.png", "e-1"),
        ("{{{index}}}", "{fox}"),
        ("{a.b}", "dotted"),
        ("{pair}", "1-x"),
    ],
)
def test_a_template_is_filled(name: str, stem: str) -> None:
    """By columns, formats and its own fields; an extension at its end is dropped, for the file has its own."""
    columns = {"style": "no/ir", "seed": 0.51, "missing": None, "a.b": "dotted", "pair": (1, "x")}
    values = columns | {"index": "fox", "row": 7, "execution_id": "e-1"}
    assert read(name, list(columns)).stem(values, n=0, several=False) == stem


def test_n_is_appended_to_a_template_without_it_if_there_are_several_files() -> None:
    """And only there."""
    template = read("{index}", [])
    assert [template.stem({"index": 3}, n=1, several=several) for several in (True, False)] == ["3-1", "3"]


def test_a_long_prompt_leaves_room_for_the_fields_after_it() -> None:
    """A field has its own length, in bytes, and is cut between two characters."""
    stem = read("{prompt}-{n}", ["prompt"]).stem({"prompt": "füchse " * 60}, n=12, several=True)
    assert stem.endswith("-12")
    assert len(stem.encode()) <= naming.MAX_FIELD_LENGTH + 3


@pytest.mark.parametrize("name", ["{colour}", "{}", "{0}"])
def test_the_error_of_an_unknown_field_lists_the_available_ones(name: str) -> None:
    """Before anything is fetched."""
    with pytest.raises(ef.MappingError, match=r"\{index\}, \{row\}, \{n\}, \{execution_id\}, \{prompt\}, \{seed\}$"):
        read(name, ["prompt", "execution_id", "seed"])


@pytest.mark.parametrize(
    "name",
    ["", "../{n}", "/tmp/{n}", "a//b", "{n}/", "a/./b", ". /{n}", "C:{n}", "a\\{n}", "{", "{n", None, 3, "{n:{row}}"],
)
def test_a_template_that_leads_out_of_the_folder_is_refused(name: Any) -> None:
    """Or that is none."""
    with pytest.raises(ef.ConfigurationError):
        read(name, [])


@pytest.mark.parametrize(
    ("cell", "spec", "stem"), [("7", "04d", "0007"), ("0400", "04d", "0400"), ("1.10", ".3f", "1.100")]
)
def test_text_from_a_file_is_formatted_as_a_number_if_the_spec_is_numeric(cell: str, spec: str, stem: str) -> None:
    """A CSV file has nothing but text; without a format it is written as it stands."""
    template = read(f"{{seed:{spec}}}", ["seed"])
    assert template.stem({"seed": cell}, n=0, several=False) == stem
    assert read("{seed}", ["seed"]).stem({"seed": cell}, n=0, several=False) == cell


def test_the_error_of_an_invalid_format_names_the_value() -> None:
    """And the field."""
    with pytest.raises(ef.MappingError, match=r"'x' as \{style:04d\}"):
        read("{style:04d}", ["style"]).stem({"style": "x"}, n=0, several=False)


@pytest.mark.parametrize(
    ("content_type", "url", "expected"),
    [
        ("image/png", "https://x/a", ".png"),
        ("image/png", "https://x/a.jpg", ".png"),
        ("image/jpeg", "https://x/a.JPEG?x=.png", ".jpeg"),
        ("IMAGE/JPEG; q=1", "https://x/a.webp", ".jpg"),
        ("application/octet-stream", "https://x/a.mp4", ".mp4"),
        ("", "https://x/a%2Eglb", ".glb"),
        ("", "https://x/a.exe", ".bin"),
        ("application/x-msdownload", "https://x/a.exe", ".bin"),
        ("application/x-sh", "https://x/a.sh", ".bin"),
        ("text/x-shellscript", "https://x/a.sh", ".txt"),
        ("text/html", "https://x/a.html", ".txt"),
        ("text/plain", "https://x/a.csv", ".csv"),
        ("nonsense", "https://x/a.b/c", ".bin"),
        ("image/svg+xml", "https://x/a", ".svg"),
    ],
)
def test_an_extension_is_by_type_or_url_and_never_executable(content_type: str, url: str, expected: str) -> None:
    """HTML is kept as a text."""
    assert extension(content_type, url) == expected


def test_no_extension_is_executable() -> None:
    """And each is short enough for the room that names leave it."""
    runs = {
        ".exe",
        ".com",
        ".bat",
        ".cmd",
        ".sh",
        ".js",
        ".html",
        ".htm",
        ".lnk",
        ".app",
        ".py",
        ".scr",
        ".hta",
        ".vbs",
    }
    assert not KNOWN & runs
    assert max(map(len, KNOWN)) <= content_types.MAX_EXTENSION_LENGTH
    assert set("".join(KNOWN)) <= set(string.ascii_lowercase + string.digits + ".")


def test_a_file_belongs_to_its_own_stem_only() -> None:
    """An extension is all that may follow."""
    assert belongs("0-0.png", "0-0")
    assert not belongs("0-0-a.png", "0-0")
    assert not belongs("0-0.exe", "0-0")
    assert Path("0-0.bin").suffix == ANY


def test_a_mark_ignores_signatures_and_differs_for_other_urls() -> None:
    """A store that signs anew sends the same file; one that takes the file's number in its query another."""
    url = "https://x/a.png?id=1"
    signed = [
        f"{url}&X-Amz-Signature=a&X-Amz-Expires=3",
        f"{url}&X-Goog-Signature=b",
        f"{url}&Expires=1&Signature=c&Key-Pair-Id=d",
        f"{url}&sv=2024&se=2026-01-01&sr=b&sp=r&sig=e&skoid=f",
        f"{url}#top",
    ]
    assert {mark(one) for one in signed} == {mark(url)}
    others = ["https://x/a.png?id=2", "https://x/b.png?id=1", "https://x/a.png", "https://x/a.png?id=1&seed=3"]
    assert len({mark(one) for one in [url, *others]}) == 5
    unsigned = [f"{url}&{word}" for word in ("sp=1", "sp=2", "policy=a", "expires=b", "sig=")]
    assert len({mark(one) for one in unsigned}) == 5
    assert mark("data:image/svg+xml,a?b#c") != mark("data:image/svg+xml,a?b#d")
    assert re.fullmatch("[0-9a-f]{16}", mark(url))
