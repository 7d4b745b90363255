"""Tables go into files and come back, whole, in every format."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames import UsageError
from eachlabs_frames.cli import delimited, files
from eachlabs_frames.cli.formats import SUFFIXES

EVERY = pytest.mark.parametrize("suffix", SUFFIXES)
TEXTS = ["a, b", "two\nlines", "one\rreturn", 'a "quote"', "🦔 海", "tab\there", " spaces ", None, "\u2028"]


def table(texts: Sequence[str | None] = TEXTS, **more: Any) -> pd.DataFrame:
    """A frame with texts that each format must escape in its own way."""
    size = len(texts)
    columns = {"prompt": texts, "seed": range(size), "guidance": [0.1 + 0.2, None, *[7.5] * (size - 2)]}
    return pd.DataFrame({**columns, "upscale": [True] * size, **more})


def cells(frame: pd.DataFrame, column: str) -> list[Any]:
    """A column as plain values, with None for what is missing."""
    return [None if cell is pd.NA or cell != cell else cell for cell in frame[column].astype(object)]


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


@EVERY
def test_a_table_comes_back_as_it_went(tmp_path: Path, suffix: str) -> None:
    """Every text, number and gap is the same after a round trip (its text, where the format has nothing but text)."""
    path = tmp_path / f"table{suffix}"
    frame = table([text for text in TEXTS if suffix != ".tsv" or not text or not set(text) & set("\t\r\n")])
    files.check_writable(frame, path)
    assert names(tmp_path) == []
    files.write(frame, path)
    back = files.read(path)
    assert list(back.columns) == ["prompt", "seed", "guidance", "upscale"]
    for column in back.columns:
        wanted = cells(frame, column)
        if suffix in (".csv", ".tsv"):
            wanted = [cell if cell is None else str(cell) for cell in wanted]
        assert cells(back, column) == wanted
    assert names(tmp_path) == [path.name]
    assert isinstance(back.index, pd.RangeIndex)


@EVERY
def test_an_empty_table_keeps_its_columns_where_the_format_has_any(tmp_path: Path, suffix: str) -> None:
    """No rows are no error."""
    path = tmp_path / f"empty{suffix}"
    files.write(table().head(0), path)
    back = files.read(path)
    assert len(back) == 0
    assert list(back.columns) == ([] if suffix in (".jsonl", ".ndjson") else list(table().columns))


OUTPUTS = [{"url": "x", "n": [1, None]}, ["a", "b"], "plain, text", None, 5, True, 1.5, np.array([1, 2]), float("nan")]
AS_TEXT = ['{"url": "x", "n": [1, null]}', '["a", "b"]', "plain, text", None, "5", "true", "1.5", "[1, 2]", None]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_values_of_any_kind_become_json_text(tmp_path: Path, suffix: str) -> None:
    """A format of plain cells holds an output as JSON, and a text as itself; written again, it is the same."""
    path = tmp_path / f"table{suffix}"
    frame = pd.DataFrame({"output": pd.Series(OUTPUTS, dtype=object)})
    files.write(frame.assign(n=1), path, packed=["output"])
    back = files.read(path)
    assert cells(back, "output") == AS_TEXT
    files.write(back, path, packed=["output"])
    assert cells(files.read(path), "output") == AS_TEXT


def test_json_lines_keep_values_of_any_kind(tmp_path: Path) -> None:
    """A list stays a list, and a date in a text stays a text."""
    path = tmp_path / "table.jsonl"
    day = pd.Series([pd.Timestamp("2026-01-02", tz="UTC"), *[pd.NaT] * (len(TEXTS) - 1)])
    frame = table(output=pd.Series(OUTPUTS, dtype=object), day=day, date=["2026-01-02"] * len(TEXTS))
    files.write(frame, path)
    back = files.read(path)
    assert cells(back, "output") == [
        {"url": "x", "n": [1, None]},
        ["a", "b"],
        "plain, text",
        None,
        5,
        True,
        1.5,
        [1, 2],
        None,
    ]
    assert back["day"][0] == "2026-01-02T00:00:00+00:00"
    assert set(back["date"]) == {"2026-01-02"}


def test_csv_writes_a_list_of_the_users_own_as_json(tmp_path: Path) -> None:
    """Not as Python shows it, which nobody else can read."""
    path = tmp_path / "table.csv"
    files.write(pd.DataFrame({"tags": [["a", "b"], None]}), path)
    assert path.read_text() == 'tags\n"[""a"", ""b""]"\n""\n'


def test_half_of_a_surrogate_pair_can_always_be_written_as_json(tmp_path: Path) -> None:
    """The format that rescues the others takes any text that Python can hold."""
    path = tmp_path / "table.jsonl"
    files.write(pd.DataFrame({"x": pd.Series(["\ud800"], dtype=object)}), path)
    assert path.read_bytes() == b'{"x": "\\ud800"}\n'


def test_every_cell_of_a_text_file_is_the_text_that_stands_there(tmp_path: Path) -> None:
    """No zero, digit, word or space is lost, whatever stands beside it, and only an empty cell is missing."""
    texts = ["007", "1.10", "TRUE", "NA", "null", "1234567890123456789", "1e5", " a ", "-0", "+1", "nan", "=1+1"]
    for suffix in (".csv", ".tsv"):
        path = tmp_path / f"cells{suffix}"
        separator = "," if suffix == ".csv" else "\t"
        path.write_text(f"a{separator}b\n" + "".join(f"{text}{separator}\n" for text in texts))
        back = files.read(path)
        assert cells(back, "a") == texts
        assert cells(back, "b") == [None] * len(texts)


def test_json_lines_keep_integers_exact_beside_a_gap(tmp_path: Path) -> None:
    """Pandas would make them float64, of which the last digits are lost; a missing name is a gap as null is."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1234567890123456789, "b": true}\n{"n": null}\n{"b": 0}\n')
    back = files.read(path)
    assert cells(back, "n") == [1234567890123456789, None, None]
    assert cells(back, "b") == [True, None, 0]


def test_parquet_keeps_integers_exact_beside_a_gap(tmp_path: Path) -> None:
    """Written again they have the type that they had."""
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    columns = {
        "n": pa.array([1234567890123456789, None]),
        "x": pa.array([0.5, None]),
        "u": pa.array([7, None], "uint8"),
    }
    parquet.write_table(pa.table(columns), path)
    back = files.read(path)
    assert cells(back, "n") == [1234567890123456789, None]
    assert cells(back, "x") == [0.5, None]
    files.write(back, path)
    assert parquet.read_table(path).to_pydict() == {"n": [1234567890123456789, None], "x": [0.5, None], "u": [7, None]}
    assert [str(entry.type) for entry in parquet.read_schema(path)] == ["int64", "double", "uint8"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    for suffix, text in ((".csv", "prompt\na fox\n"), (".jsonl", '{"prompt": "a fox"}\r\n\r\n')):
        path = tmp_path / f"bom{suffix}"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert files.read(path)["prompt"].tolist() == ["a fox"]


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.csv", b"", "cannot be read as csv: the file is empty"),
        ("a.csv", b"prompt\n\xff\n", "line 2 is not UTF-8"),
        ("a.csv", b"\xff\xfea\0\n\0", "line 1 is not UTF-8"),
        ("a.csv", b"a\n\0\n", "line 2: a NUL"),
        (
            "a.csv",
            b"a,b\n1,2,3\n4,5,6\n",
            "line 2 has 3 cells, but the header has 2: quote cells that contain",
        ),
        (
            "a.csv",
            b'a,b\n"1\n1",2\n4\n',
            "line 4 has 1 cell, but the header has 2: add the missing cells, each after",
        ),
        ("a.tsv", b"a\tb\n1\n", "line 2 has 1 cell, but the header has 2: add the missing cells, each after a tab"),
        ("a.tsv", b"a\tb\n1\t2\t3\n", "line 2 has 3 cells, but the header has 2: remove the tabs inside of cells"),
        ("a.csv", b"a,b\n1,2\n\n3,4\n", "line 3 is empty"),
        ("a.csv", b"a\n1\n\n", 'line 3 is empty: delete it, or write ""'),
        ("a.csv", b"a,a\n1,2\n", "two columns named 'a'"),
        ("a.csv", b'a,b\n"1,2\n3,4\n', "line 2, cell 1: the opening quote is never closed"),
        ("a.csv", b'a,b\n1,5" nail\n', "line 2, cell 2: a quote in an unquoted cell"),
        ("a.csv", b'a,b\n1, "2"\n', "line 2, cell 2: a quote in an unquoted cell"),
        ("a.csv", b'a,b\n1,2\n"x\ny"z,2\n', "line 4, cell 1: text after the closing quote"),
        ("a.csv", b"a,b\r1,2\r", "line 1, cell 2: a carriage return alone"),
        ("a.tsv", b"a\tb\n1\t2\n3\t4\t5\n", "line 3 has 3 cells"),
        ("a.tsv", b"a\tb\n1\t2\n\n", "line 3 is empty"),
        ("a.tsv", b"a\tb\n1\t2\r3\t4\n", "line 2: a carriage return alone"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": 1 "b": 2}\n', "line 3 is not JSON: Expecting ',' delimiter at column 9"),
        ("a.jsonl", b'{"a": 1}\n{"a": 2} {"a": 3}\n', "line 2 is not JSON: Extra data at column 10"),
        ("a.jsonl", b'{"a": 1}\n{a: 2}\n', "line 2 is not JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": 1,}\n', "line 2 is not JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": NaN}\n', "line 2: NaN is not a JSON value"),
        ("a.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: the key 'a' occurs twice"),
        ("a.jsonl", b'{"a": 1}\n{"a": ' + b"[" * 100_000 + b"\n", "line 2: values are nested too deeply"),
        ("a.jsonl", b'{"a": 1}\n[1, 2]\n', "line 2 is not a JSON object"),
        ("a.jsonl", b'{"a": 1}\n"\xff"\n', "line 2 is not UTF-8"),
        ("a.parquet", b"no such thing", "cannot be read as parquet"),
        ("a.xlsx", b"", "must be one of .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("a", b"", "must be one of"),
    ],
)
def test_what_is_no_table_is_refused_with_the_place(tmp_path: Path, name: str, content: bytes, wanted: str) -> None:
    """Rows that are longer than the header are among it: they would shift every column by one."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        files.read(path)
    assert wanted in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Nothing there, or a folder."""
    (tmp_path / "folder.csv").mkdir()
    for name, wanted in (("none.csv", "no such file"), ("folder.csv", "a folder")):
        with pytest.raises(UsageError, match=wanted):
            files.read(tmp_path / name)


def test_the_index_of_a_parquet_file_becomes_columns(tmp_path: Path) -> None:
    """A frame that was saved with its keys as the index does not lose them."""
    path = tmp_path / "keyed.parquet"
    pd.DataFrame({"prompt": ["a", "b"]}, index=pd.Index(["x", "y"], name="key")).to_parquet(path)
    assert files.read(path).to_dict("list") == {"key": ["x", "y"], "prompt": ["a", "b"]}
    pd.DataFrame({"prompt": ["a", "b", "c"]}).iloc[1:].to_parquet(path)
    assert list(files.read(path).columns) == ["prompt"]


def test_a_parquet_file_with_levels_of_columns_is_refused(tmp_path: Path) -> None:
    """No other format could hold them."""
    path = tmp_path / "levels.parquet"
    pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])).to_parquet(path)
    with pytest.raises(UsageError, match="2 levels"):
        files.read(path)


def test_a_table_that_the_format_cannot_hold_is_refused_in_the_rehearsal(tmp_path: Path) -> None:
    """The message names the format that can; nothing is left behind."""
    mixed = pd.DataFrame({"x": pd.Series([1, "b"], dtype=object)})
    with pytest.raises(UsageError, match=r"\.jsonl can"):
        files.check_writable(mixed, tmp_path / "mixed.parquet")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["none/a.csv", "file/a.csv", "folder.csv", "x" * 300 + ".csv", "a.doc"])
def test_a_place_that_takes_no_file_is_refused_in_the_rehearsal(tmp_path: Path, name: str) -> None:
    """No such folder, a file for a folder, a folder for a file, a name too long, a suffix unknown."""
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError):
        files.check_writable(table(), tmp_path / name)
    assert names(tmp_path) == ["file", "folder.csv"]


def test_a_write_that_fails_leaves_the_file_of_before(tmp_path: Path) -> None:
    """Half a result would look like a whole one."""
    path = tmp_path / "kept.parquet"
    files.write(table(), path)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        files.write(pd.DataFrame({"x": pd.Series([1, "b"], dtype=object)}), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are POSIX")
def test_a_link_is_followed_and_a_mode_is_kept(tmp_path: Path) -> None:
    """To replace a file is not to change what it is."""
    (tmp_path / "deep").mkdir()
    real, link = tmp_path / "deep" / "real.csv", tmp_path / "link.csv"
    real.touch(mode=0o640)
    link.symlink_to(real)
    files.write(table(), link)
    assert link.is_symlink()
    assert len(files.read(real)) == len(TEXTS)
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_rescue_stands_beside_the_file_or_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that went away meanwhile takes nothing with it."""
    beside = files.rescue(table(), tmp_path / "out.parquet")
    assert beside.parent == tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = files.rescue(table(), tmp_path / "gone" / "out.csv")
    for path in (beside, elsewhere):
        assert path.parent == tmp_path
        assert path.suffix == ".jsonl"
        assert cells(files.read(path), "prompt") == TEXTS


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path) -> None:
    """In a process where pyarrow cannot be imported; the other formats work."""
    code = """
from importlib.machinery import PathFinder
from pathlib import Path
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] == "pyarrow" else find(name, *more)
import pandas as pd
from eachlabs_frames import UsageError
from eachlabs_frames.cli import files
files.write(pd.DataFrame({"a": ["x"]}), Path("a.csv"))
print(files.read(Path("a.csv")).shape)
for attempt in (lambda: files.read(Path("a.parquet")), lambda: files.check_writable(pd.DataFrame(), Path("b.parquet"))):
    try:
        attempt()
    except UsageError as exc:
        print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    shape, *said = done.stdout.splitlines()
    assert shape == "(1, 1)"
    assert len(said) == 2
    assert all('pip install "eachlabs-frames[parquet]"' in line for line in said)


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=4)))
def test_csv_is_read_as_an_independent_reader_does(rows: list[list[str]]) -> None:
    """Whatever is written, Python's own strict reader sees the same cells, and so do we."""
    text = "".join(
        delimited.joined([delimited.written(cell, delimited.COMMA) for cell in row], delimited.COMMA, "\r\n")
        for row in rows
    )
    assert [list(record.cells) for record in delimited.records(text, delimited.COMMA)] == rows
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == rows


def test_a_stream_is_read_and_written_as_a_file_is(tmp_path: Path) -> None:
    """Its format is named; messages call it standard input, and a table that cannot be held leaves it empty."""
    written = io.BytesIO()
    back = files.read(io.BytesIO(b'a,b\r\n"1",0400\r\n'), suffix=".csv")
    files.dump(back, written, ".csv")
    assert written.getvalue() == b'a,b\r\n"1",0400\r\n'
    with pytest.raises(UsageError, match="standard input: cannot be read as csv: line 2 has 1 cell"):
        files.read(io.BytesIO(b"a,b\n1\n"), suffix=".csv")
    empty = io.BytesIO()
    with pytest.raises(UsageError, match=r"tsv cannot hold this table.*standard input, line 2, column 'a'"):
        files.dump(files.read(io.BytesIO(b'a\n"x\ty"\n'), suffix=".csv"), empty, ".tsv")
    assert empty.getvalue() == b""


def test_a_cell_that_changed_is_written_anew_and_its_neighbours_are_not(tmp_path: Path) -> None:
    """In CSV and JSON lines, and in TSV a new text with a line break becomes JSON text, because it is paid for."""
    for suffix, data, wanted in (
        (".csv", b'a,b\r\n"x",1.10\r\n"y",2.0\r\n', b'a,b\r\n"x",1.10\r\n"z\n",2.0\r\n'),
        (".tsv", b'a\tb\n"x"\t1.10\ny\t2.0\n', b'a\tb\n"x"\t1.10\n"z\\n"\t2.0\n'),
        (".jsonl", b'{"a":"x","b":1.10}\n{"a":"y","b":2.0}\n', b'{"a":"x","b":1.10}\n{"a": "z\\n", "b": 2.0}\n'),
    ):
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(data)
        frame = files.read(path)
        frame.loc[1, "a"] = "z\n"
        files.write(frame, path)
        assert path.read_bytes() == wanted


def test_cells_keep_their_digits_from_one_format_to_another(tmp_path: Path) -> None:
    """A JSON number is written in CSV as it stood; text of CSV is a string in JSON lines."""
    source, out = tmp_path / "rows.jsonl", tmp_path / "rows.csv"
    source.write_text(
        '{"a": 1.10, "b": [1.0, 1e2], "c": true, "d": 12345678901234567890123, "e": "0400"}\n{"a": null}\n'
    )
    files.write(files.read(source), out)
    assert out.read_text() == 'a,b,c,d,e\n1.10,"[1.0, 1e2]",true,12345678901234567890123,0400\n,,,,\n'
    files.write(files.read(out), tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text().startswith('{"a": "1.10", "b": "[1.0, 1e2]", "c": "true"')
