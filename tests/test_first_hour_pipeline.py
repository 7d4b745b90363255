"""Tests of the command with CSV, TSV and JSON Lines files, whose cells are written back unchanged.

Each command runs as a subprocess in an empty folder against the sandbox. The tests assert the inputs that the sandbox
accepts and the bytes of the files that the command writes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eachlabs_frames import cli
from eachlabs_frames.sandbox import Sandbox

from .test_cli import DEADLINE, ended, process

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="There is no bash on this machine")

CELLS: Sequence[tuple[str, str | None]] = (
    # the raw cell in the file, and its text; None for an empty cell
    ("0400", "0400"),
    ("1.10", "1.10"),
    ("1.0", "1.0"),
    ("TRUE", "TRUE"),
    ("False", "False"),
    ("NA", "NA"),
    ("N/A", "N/A"),
    ("null", "null"),
    ("None", "None"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("", None),
    ('""', None),
    ("00123", "00123"),
    ("1234567890123456789", "1234567890123456789"),
    ("12345678901234567890123", "12345678901234567890123"),
    ("1e5", "1e5"),
    ("-0", "-0"),
    ("+1", "+1"),
    ("1_000", "1_000"),
    ("0x1F", "0x1F"),
    ("2026-01-02", "2026-01-02"),
    ("12:30", "12:30"),
    ('"1,234.50"', "1,234.50"),
    ('"he said ""hi"""', 'he said "hi"'),
    ('""""', '"'),
    ('"needs no quotes"', "needs no quotes"),
    ('"two\nlines"', "two\nlines"),
    ('"two\r\nlines"', "two\r\nlines"),
    ('"one\rreturn"', "one\rreturn"),
    ('"\n"', "\n"),
    (" spaces around ", " spaces around "),
    ('" quoted spaces "', " quoted spaces "),
    ("=1+1", "=1+1"),
    ("@SUM(A1)", "@SUM(A1)"),
    ("-1+2", "-1+2"),
    ("tab\there", "tab\there"),
    ("it's", "it's"),
    ("'quoted'", "'quoted'"),
    ("a;b", "a;b"),
    ("# no comment", "# no comment"),
    ("back\\slash\\n", "back\\slash\\n"),
    ("{x} %s $HOME", "{x} %s $HOME"),
    ('"[""a"", 1.10]"', '["a", 1.10]'),
    ("🦔 海", "🦔 海"),
    ("e\u0301", "e\u0301"),
    ("\u00e9", "\u00e9"),
    ("\u2028", "\u2028"),
    ("\u00a0", "\u00a0"),
    ("in\ufeffside", "in\ufeffside"),
)

TYPED: Sequence[tuple[str, str, Any]] = (
    # the column, the raw cell, and its value according to the schema
    ("seed", "7", 7),
    ("seed", "0400", 400),
    ("seed", "7.0", 7),
    ("seed", "1234567890123456789", 1234567890123456789),
    ("seed", " 12 ", 12),
    ("guidance", "1.10", 1.1),
    ("guidance", "7", 7),
    ("upscale", "TRUE", True),
    ("upscale", "false", False),
    ("tags", '"[""a"", ""0400""]"', ["a", "0400"]),
    ("options", '"{""n"": 1234567890123456789}"', {"n": 1234567890123456789}),
)
SENT = ("prompt", "negative_prompt", "seed", "guidance", "upscale", "tags", "options")


def command(sandbox: Sandbox, folder: Path, *argv: str) -> str:
    """Run a command that must succeed, and return its stderr."""
    code, _, err = ended(process(*argv, sandbox=sandbox, cwd=folder))
    assert code == 0, err
    return err


def by_id(sandbox: Sandbox, key: str) -> dict[Any, dict[str, Any]]:
    """Return the inputs that the sandbox has accepted, by the value of one of their keys."""
    return {accepted.inputs[key]: dict(accepted.inputs) for accepted in sandbox.accepted}


def assert_records_start_with(data: bytes, prefixes: Sequence[str], newline: bytes) -> None:
    """Assert that each record of a file starts with its prefix; more columns may follow on its last line."""
    offset = 0
    for prefix in map(str.encode, prefixes):
        assert data[offset : offset + len(prefix)] == prefix
        offset = data.index(newline, offset + len(prefix)) + len(newline)
    assert offset == len(data)


def csv_file() -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the records of a CSV file, and the expected inputs by the row's key in `negative_prompt`."""
    rows: list[dict[str, str]] = [{"note": raw, "prompt": raw or "x"} for raw, _ in CELLS]
    inputs: list[dict[str, Any]] = [{"prompt": text or "x"} for _, text in CELLS]
    inputs[[raw for raw, _ in CELLS].index('""')] = {}
    for column, raw, value in TYPED:
        rows.append({"prompt": "a fox", column: raw})
        inputs.append({"prompt": "a fox", column: value})
    keys = ["12", "012", "0012", "1e1", "TRUE", *(f"{number:05}" for number in range(5, len(rows)))]
    records = ["negative_prompt,note,prompt,seed,guidance,upscale,tags,options"]
    for key, row in zip(keys, rows, strict=True):
        cells = [row.get(name, "") for name in ("note", "prompt", "seed", "guidance", "upscale", "tags", "options")]
        records.append(",".join([key, *cells]))
    return records, {key: {"negative_prompt": key, **row} for key, row in zip(keys, inputs, strict=True)}


@pytest.mark.slow
def test_csv_file_round_trip(sandbox: Sandbox, tmp_path: Path) -> None:
    """50 unusual cells, a BOM and CRLF are sent as the schema requires, written back unchanged and never paid twice."""
    records, expected = csv_file()
    del expected[next(key for key, row in expected.items() if "prompt" not in row)]  # the required prompt is missing
    source = tmp_path / "in.csv"
    source.write_bytes(b"\xef\xbb\xbf" + "".join(f"{record}\r\n" for record in records).encode())
    argv = ("--workflow", "wf_abc123", "--key", "negative_prompt", "--run", "hour", "--wait")
    code, _, err = ended(process("trigger", "in.csv", *argv, "--out", "out.csv", sandbox=sandbox, cwd=tmp_path))
    assert (code, "1 of" in err) == (1, True)  # the row without a prompt is not sent
    assert by_id(sandbox, "negative_prompt") == expected
    output = (tmp_path / "out.csv").read_bytes()
    header = records[0] + ",bulk_id,execution_id,status,error,started_at,completed_at,output,cost"
    assert_records_start_with(output, ["\ufeff" + header, *(f"{record}," for record in records[1:])], b"\r\n")
    code, _, _ = ended(process("trigger", "out.csv", *argv, "--out", "again.csv", sandbox=sandbox, cwd=tmp_path))
    assert (code, sandbox.accepted_count()) == (1, len(expected))
    assert (tmp_path / "again.csv").read_bytes() == output


TSV = (
    "id\tprompt\tseed\ton\tguidance\ttags\tn\tnote",
    '1\t"A fox" it said\t7\ttrue\t1.10\t["a"]\t0400\t"',
    '2\t"\t0007\tTRUE\t7\t{"n": 1234567890123456789}\t1.10\t""',
    '3\t"unclosed\t1234567890123456789\tFalse\t0.5\t2\tTRUE\tit\'s "',
    "4\ta, b; c\t\t\t\t\tNA\t  ",
    '5\t 5" nails \t-1\tfalse\t1e3\t"x"\tnull\t=1+1',
)


@pytest.mark.slow
def test_tsv_file_has_no_quoting_and_accepts_types_in_inputs(sandbox: Sandbox, tmp_path: Path) -> None:
    """Quotes are ordinary characters. Without a schema cells are text, unless --inputs names a type; so in a retry."""
    (tmp_path / "in.tsv").write_text("\n".join(TSV) + "\n")
    sandbox.change(fail_when=lambda inputs: inputs["key"] == "2")
    inputs = ("--inputs", "key=id,prompt,seed:int,on:bool,guidance:float,tags:json,n,m=n:float")
    bad = [line.replace("TRUE\tit", "soon\tit") for line in TSV]
    (tmp_path / "bad.tsv").write_text("\n".join(bad) + "\n")
    argv = ("--workflow", "wf_free", "--wait", "--ok-if-failed")
    sent = ("--inputs", "key=id,prompt,seed:int,on:bool,guidance:float,tags:json,n")
    code, _, err = ended(
        process("trigger", "bad.tsv", *argv, *inputs, "--out", "no.tsv", sandbox=sandbox, cwd=tmp_path)
    )
    assert (code, sandbox.accepted_count()) == (2, 0)
    assert "bad.tsv, line 4, column 'n': 'soon' cannot be read as float" in err
    command(sandbox, tmp_path, "trigger", "in.tsv", *argv, *sent, "--out", "out.tsv")
    numbers = {"tags": {"n": 1234567890123456789}, "seed": 7, "guidance": 7.0}
    expected = {
        "1": {"prompt": '"A fox" it said', "seed": 7, "on": True, "guidance": 1.1, "tags": ["a"], "n": "0400"},
        "2": {"prompt": '"', "on": True, "n": "1.10", **numbers},
        "3": {"prompt": '"unclosed', "seed": 1234567890123456789, "on": False, "guidance": 0.5, "tags": 2, "n": "TRUE"},
        "4": {"prompt": "a, b; c", "n": "NA"},
        "5": {"prompt": ' 5" nails ', "seed": -1, "on": False, "guidance": 1000.0, "tags": "x", "n": "null"},
    }
    expected = {key: {"key": key, **row} for key, row in expected.items()}
    assert by_id(sandbox, "key") == expected
    assert_records_start_with((tmp_path / "out.tsv").read_bytes(), [f"{line}\t" for line in TSV], b"\n")
    command(sandbox, tmp_path, "retry", "out.tsv", "--out", "retried.tsv", "--wait", "--ok-if-failed")
    assert [accepted.inputs["key"] for accepted in sandbox.accepted][5:] == ["2"]
    assert by_id(sandbox, "key") == expected
    assert_records_start_with((tmp_path / "retried.tsv").read_bytes(), [f"{line}\t" for line in TSV], b"\n")


LINES = (
    '{"prompt": "a fox", "seed": 1234567890123456789, "mine": 1.10, "big": 123456789012345678901234567890}',
    '{"mine":0.10,"prompt":"a \\u00e9 h\\u00e9ron","seed":null,"upscale":true}',
    '{"prompt": "an owl", "mine": {"a": [1.0, 1e2, "\\/"]} , "when": "2026-01-02", "id": "0400"}',
    '{"id": null, "mine": false, "prompt": "a newt", "tags": ["0400"], "seed": 0}',
)


@pytest.mark.slow
def test_json_lines_round_trip(sandbox: Sandbox, tmp_path: Path) -> None:
    """Numbers keep their digits, missing names are not sent, and each written line starts with the original line."""
    (tmp_path / "in.jsonl").write_text("\n".join(LINES) + "\n")
    argv = ("--workflow", "wf_abc123", "--wait", "--run", "lines")
    command(sandbox, tmp_path, "trigger", "in.jsonl", *argv, "--out", "out.jsonl")
    output = (tmp_path / "out.jsonl").read_bytes()
    assert_records_start_with(output, [line[:-1] for line in LINES], b"\n")
    assert by_id(sandbox, "prompt") == {
        "a fox": {"prompt": "a fox", "seed": 1234567890123456789},
        "a \u00e9 h\u00e9ron": {"prompt": "a \u00e9 h\u00e9ron", "upscale": True},
        "an owl": {"prompt": "an owl"},
        "a newt": {"prompt": "a newt", "tags": ["0400"], "seed": 0},
    }
    rows = [json.loads(line) for line in output.splitlines()]
    assert [set(row) - set(json.loads(line)) for row, line in zip(rows, LINES, strict=True)] == [
        {"bulk_id", "execution_id", "status", "error", "started_at", "completed_at", "output", "cost"}
    ] * len(LINES)
    command(sandbox, tmp_path, "trigger", "out.jsonl", *argv, "--out", "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == output
    assert sandbox.accepted_count() == len(LINES)


def test_real_prompts_round_trip(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uses 1,632 real prompts if the file exists, some of which start with a quote; otherwise similar rows."""
    real = Path(__file__).resolve().parents[2] / "shared" / "data" / "PartiPrompts.tsv"
    lines = ["Prompt\tNote", '"Hello" on a sign\t', 'a sign that says "Hi\t"', '"\t""', "a 5\" nail, 'new'\t NA "]
    text = real.read_text(encoding="utf-8") if real.exists() else "\n".join(lines) + "\n"
    monkeypatch.chdir(tmp_path)
    Path("in.tsv").write_text(text, encoding="utf-8", newline="")
    argv = ("--workflow", "wf_free", "--inputs", "prompt=Prompt", "--retrigger")
    assert cli.main(["trigger", "in.tsv", *argv, "--out", "out.tsv"]) == 0, capsys.readouterr().err
    lines = text.removesuffix("\n").split("\n")
    assert_records_start_with(Path("out.tsv").read_bytes(), [f"{line}\t" for line in lines], b"\n")
    sent = sorted(accepted.inputs["prompt"] for accepted in sandbox.accepted)
    assert sent == sorted(line.split("\t")[0] for line in lines[1:])


# Commands in a shell


@pytest.fixture
def shell(sandbox: Sandbox, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Return a function that runs bash lines in the folder, with the sandbox's URL and key in the environment."""
    environment = {"EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}
    environment["EACHLABS_JOURNAL"] = str(tmp_path / "journal.sqlite")
    # Replaces the installed script, which may not be on the PATH of the tests.
    command = f'eachlabs-frames() {{ "{sys.executable}" -m eachlabs_frames.cli "$@"; }}'

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--norc", "-o", "pipefail", "-c", f"{command}\n{lines}"],
            check=False,
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=DEADLINE,
        )

    return run


@pytest.mark.slow
@needs_bash
def test_commands_in_a_shell_pipeline(
    shell: Callable[[str], subprocess.CompletedProcess[str]], sandbox: Sandbox, tmp_path: Path
) -> None:
    """A dry run as JSON, a trigger from stdin to stdout with a failed row, a retry and a download work in pipes."""
    rows = pd.DataFrame({"prompt": ["a fox", "a heron", "an owl"], "style": "noir", "id": ["0400", "1.10", "NA"]})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    options = "--workflow wf_abc123 --inputs prompt,style"

    planned = shell(f"eachlabs-frames trigger - {options} --dry-run --json < rows.csv | {sys.executable} -m json.tool")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert json.loads(planned.stdout)["would_send"] == 3
    assert sandbox.accepted_count() == 0

    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "a heron")
    failed = shell(f"cat rows.csv | eachlabs-frames trigger - {options} --wait --run r --out - | tee out.csv")
    assert failed.returncode == 1
    assert "1 of 3 rows have not completed" in failed.stderr
    assert failed.stdout.splitlines()[0].startswith("prompt,style,id,bulk_id,execution_id,status")
    out = pd.read_csv(tmp_path / "out.csv", dtype=str)
    assert out["status"].tolist() == ["completed", "failed", "completed"]

    sandbox.change(fail_when=None)
    lines = """
        set -e
        eachlabs-frames retry out.csv --out out.csv --force --wait
        eachlabs-frames download out.csv --to pictures --name "{style}/{row}"
        ls pictures/noir
    """
    fixed = shell(lines)
    assert (fixed.returncode, fixed.stderr) == (0, "")
    assert fixed.stdout.splitlines()[-3:] == ["0.svg", "1.svg", "2.svg"]
    assert sandbox.accepted_count() == 4
    ids = [line.split(",")[2] for line in (tmp_path / "out.csv").read_text("utf-8").splitlines()[1:]]
    assert ids == rows["id"].tolist()


@needs_bash
def test_bash_completion_is_registered(shell: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    """Evaluating the output of `completion bash` registers the completion, as the command's help says."""
    registered = shell('eval "$(eachlabs-frames completion bash)"; complete -p eachlabs-frames')
    assert (registered.returncode, registered.stderr) == (0, "")
    assert registered.stdout.startswith("complete ")
