"""The command line, in this process and as one of its own, against the sandbox."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames import cli
from eachlabs_frames.cli import files
from eachlabs_frames.cli.formats import SUFFIXES
from eachlabs_frames.cli.signals import STOPPING
from eachlabs_frames.sandbox import Sandbox

ROWS = pd.DataFrame(
    {
        "prompt": ["a fox, red", "a heron\nat dawn", "🦔", None, "a fox, red"],
        "style": ["photo", "noir", None, "photo", "photo"],
        "note": ["my own", None, "x", "y", "z"],
    }
)
TRIGGER = ("--workflow", "wf_abc123", "--inputs", "prompt,style")
DEADLINE = 120.0
PNG = b"\x89PNG\r\n\x1a\n"

Said = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run a command in this process, in a folder with prompts in it; give its exit code and what it said.

    Without the run's name, where that was made up.
    """
    monkeypatch.chdir(tmp_path)
    ROWS.to_csv("prompts.csv", index=False)

    def command(*argv: str) -> Said:
        code = cli.main(argv)
        said, err = capsys.readouterr()
        return code, unnamed(said), err

    return command


def process(*argv: str, sandbox: Sandbox | None, cwd: Path, **environ: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("EACHLABS_")}
    own = {name: value for name, value in os.environ.items() if name not in ours or name == "EACHLABS_JOURNAL"}
    if sandbox is not None:
        own |= {"EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}
    command = [sys.executable, "-m", "eachlabs_frames.cli", *argv]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=own | environ, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")


def ended(child: subprocess.Popen[str]) -> Said:
    """Wait for a process; give its exit code and what it said, but for why a slow machine has not stopped yet."""
    try:
        out, err = child.communicate(timeout=DEADLINE)
    finally:
        child.kill()
    return child.returncode, unnamed(out), err.replace(f"eachlabs-frames: {STOPPING}\n", "")


def unnamed(said: str) -> str:
    """Return what was said, without the made-up name of a run."""
    return re.sub(r", run \d{4}-\d\d-\d\d-[a-z]+-[a-z]+$", "", said, flags=re.MULTILINE)


def until(sandbox: Sandbox, holds: Callable[[], bool]) -> None:
    """Turn the sandbox's loop until something holds, or give up."""
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end, "it never came"
        urllib.request.urlopen(f"{sandbox.url}/_sandbox/ledger", timeout=DEADLINE).close()


def ids(frame: pd.DataFrame) -> set[str]:
    """The executions that a result holds."""
    return set(frame["execution_id"].dropna())


def billed(sandbox: Sandbox) -> set[str]:
    """The executions that the sandbox accepted."""
    return {accepted.execution_id for accepted in sandbox.accepted}


def without_breaks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a space for each line break, which TSV cannot hold."""
    return rows.assign(prompt=rows["prompt"].str.replace("\n", " "))


def one_line(err: str) -> str:
    """What was said on stderr, which must be one line and no traceback."""
    assert err.startswith("eachlabs-frames: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


# trigger


@pytest.mark.parametrize("into", SUFFIXES)
@pytest.mark.parametrize("outof", SUFFIXES)
def test_every_format_goes_in_and_comes_out(run: Callable[..., Said], sandbox: Sandbox, outof: str, into: str) -> None:
    """Each row keeps its place and its own columns, and gets its own execution's id and output."""
    source, out = Path(f"rows{outof}"), Path(f"out{into}")
    rows = without_breaks(ROWS.drop(index=3)) if ".tsv" in (outof, into) else ROWS.drop(index=3)
    files.write(rows, source)
    code, said, err = run("trigger", str(source), *TRIGGER, "--out", str(out), "--wait")
    assert (code, said, err) == (0, f"4 rows: 4 accepted (4 completed) -> {out}\n", "")
    back = files.read(out)
    assert back["prompt"].tolist() == rows["prompt"].tolist()
    assert list(back.columns[:3]) == list(ROWS.columns)
    inputs = {accepted.execution_id: accepted.inputs for accepted in sandbox.accepted}
    assert [inputs[known]["prompt"] for known in back["execution_id"]] == back["prompt"].tolist()
    assert all(known in text for known, text in zip(back["execution_id"], back["output"], strict=True))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_result_as_the_input_sends_nothing_again(run: Callable[..., Said], sandbox: Sandbox, suffix: str) -> None:
    """The same command on its own result writes the same file: what is paid is left alone, the rest refused."""
    if suffix == ".tsv":
        without_breaks(ROWS).to_csv("prompts.csv", index=False)
    for source, out in (("prompts.csv", f"a{suffix}"), (f"a{suffix}", f"b{suffix}")):
        code, said, _ = run("trigger", source, *TRIGGER, "--out", out, "--wait")
        assert (code, said) == (1, f"5 rows: 4 accepted (4 completed), 1 invalid -> {out}\n")
    assert sandbox.accepted_count() == 4
    first, second = files.read(Path(f"a{suffix}")), files.read(Path(f"b{suffix}"))
    pd.testing.assert_frame_equal(first, second)
    assert ids(second) == billed(sandbox)


def test_a_result_is_continued_in_its_own_file(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """With --force the input may be the output: what had no money the first time is sent the second."""
    sandbox.change(balance_usd=0.0)
    sandbox.reset()
    code, said, err = run("trigger", "prompts.csv", *TRIGGER, "--no-validate", "--out", "r.csv")
    assert (code, said) == (1, "5 rows: 0 accepted, 5 pending -> r.csv\n")
    assert "5 of 5 rows have no execution" in err
    sandbox.top_up(1.0)
    code, said, _ = run("trigger", "r.csv", *TRIGGER, "--out", "r.csv", "--force", "--wait")
    assert (code, said) == (1, "5 rows: 4 accepted (4 completed), 1 invalid -> r.csv\n")
    assert ids(files.read(Path("r.csv"))) == billed(sandbox)


def test_outputs_of_any_kind_are_json_where_the_format_is_plain(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """An object comes as an object in JSON lines, and as its text in CSV and Parquet."""
    for suffix in (".jsonl", ".csv", ".parquet"):
        out = Path(f"out{suffix}")
        argv = ("--workflow", "wf_text", "--inputs", "prompt", "--out", str(out), "--wait", "--retrigger")
        assert run("trigger", "prompts.csv", *argv)[0] == 1
        output = files.read(out)["output"][0]
        assert (output if suffix == ".jsonl" else json.loads(output))["text"] == "On a fox, red"


def test_the_same_command_again_is_refused_in_terms_of_its_options(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Without --run it would pay again: the message names the run, --run and --retrigger, and nothing is sent."""
    assert run("trigger", "prompts.csv", *TRIGGER, "--out", "one.csv")[0] == 1
    paid = sandbox.accepted_count()
    code, _, err = run("trigger", "prompts.csv", *TRIGGER, "--out", "two.csv")
    name = ef.runs()["run"].iloc[0]
    assert (code, sandbox.accepted_count()) == (2, paid)
    assert "all 4 rows were accepted before" in err
    assert f"--run {name} continues that run" in err
    assert "--retrigger sends and pays" in err
    assert "retrigger=True" not in err
    assert run("trigger", "prompts.csv", *TRIGGER, "--out", "two.csv", "--run", name)[0] == 1
    assert sandbox.accepted_count() == paid


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["--inputs", "prompt,style"], {"prompt": "a fox, red", "style": "photo"}),
        (["--inputs", "prompt=note, style"], {"prompt": "my own", "style": "photo"}),
        (["--inputs", '"prompt=my, own",style'], {"prompt": "quoted", "style": "photo"}),
        (
            ["--inputs", "prompt", "--set", "style=noir, or so", "seed=7", "--set", "upscale=true"],
            {"prompt": "a fox, red", "style": "noir, or so", "seed": 7, "upscale": True},
        ),
        (
            ["--inputs", "prompt", "--set", 'tags=["a"]', 'options={"x": 1}', 'style="5"', "negative_prompt=null"],
            {"prompt": "a fox, red", "tags": ["a"], "options": {"x": 1}, "style": "5", "negative_prompt": "null"},
        ),
        (["--inputs", "prompt", "--set", "style=NaN"], {"prompt": "a fox, red", "style": "NaN"}),
        ([], {"prompt": "a fox, red", "style": "photo"}),
    ],
)
def test_columns_and_constants_become_inputs(
    run: Callable[..., Said], sandbox: Sandbox, argv: list[str], wanted: Mapping[str, Any]
) -> None:
    """A key may have another column's values, or the same value in every row."""
    ROWS.head(1).assign(**{"my, own": "quoted"}).to_csv("one.csv", index=False)
    code, said, err = run("trigger", "one.csv", "--workflow", "wf_abc123", *argv, "--out", "out.csv")
    assert (code, said, err) == (0, "1 row: 1 accepted (1 queued) -> out.csv\n", "")
    assert [dict(accepted.inputs) for accepted in sandbox.accepted] == [wanted]


def test_files_are_uploaded_and_their_names_stay_in_the_table(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Each content once, also for a second command; a file that cannot be used makes its row invalid."""
    Path("pictures").mkdir()
    for name, content in {"fox": b"fox", "copy": b"fox", "heron": b"heron", "../secret": b"secret"}.items():
        Path(f"pictures/{name}.png").write_bytes(PNG + content)
    names = ["fox.png", "copy.png", "heron.png", "../secret.png", "newt.png"]
    pd.DataFrame({"prompt": list("abcde"), "picture": names}).to_csv("pictures.csv", index=False)
    options = ("--workflow", "wf_abc123", "--inputs", "prompt", "--file", "image_url=picture", "--root", "pictures")
    code, said, err = run("trigger", "pictures.csv", *options, "--dry-run", "--json")
    assert (code, [problem["row"] for problem in json.loads(said)["problems"]]) == (1, [3, 4]), err
    assert sandbox.presigns == 0
    code, said, err = run("trigger", "pictures.csv", *options, "--out", "out.csv", "--wait", "--expires-in", "3600")
    assert (code, said) == (1, "5 rows: 3 accepted (3 completed), 2 invalid -> out.csv\n"), err
    table = files.read(Path("out.csv"))
    assert table["picture"].tolist() == names
    assert "secret.png' is outside of --root" in table["error"][3]
    assert "newt.png" in table["error"][4]
    live = {file.public_url for file in sandbox.files if file.status == "live"}
    assert {accepted.inputs["image_url"] for accepted in sandbox.accepted} == live
    assert (sandbox.puts, len(live)) == (2, 2)
    assert {round(file.expires_at - file.created_at) for file in sandbox.files} == {3600}
    Path("pictures/newt.png").write_bytes(PNG + b"newt")
    code, said, _ = run("trigger", "out.csv", *options, "--out", "more.csv")
    assert said == "5 rows: 4 accepted (1 queued, 3 completed), 1 invalid -> more.csv\n"
    assert (sandbox.puts, sandbox.accepted_count()) == (3, 4)


def test_the_options_reach_the_api(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The version, a null for what is missing, no check of rows, a prefix, a webhook's address."""
    options = ("--version-id", "v1", "--na", "null", "--no-validate", "--prefix", "p_", "--max-concurrency", "1")
    hook = ("--webhook-url", "https://example.org/hook")
    sandbox.add_workflow("wf_any")
    argv = ("--workflow", "wf_any", "--inputs", "prompt", "--out", "out.csv")
    code, said, _ = run("trigger", "prompts.csv", *argv, *options, *hook)
    assert (code, said) == (0, "5 rows: 5 accepted (5 queued) -> out.csv\n")
    assert {accepted.version_id for accepted in sandbox.accepted} == {"v1"}
    assert [accepted.inputs["prompt"] for accepted in sandbox.accepted] == ROWS["prompt"].replace(
        {float("nan"): None}
    ).tolist()
    back = files.read(Path("out.csv"))
    assert set(back["p_execution_id"]) == billed(sandbox)
    code, _, _ = run("trigger", "out.csv", *argv, *options, "--force", "--retrigger")
    assert (code, sandbox.accepted_count()) == (0, 10)


def test_text_is_read_by_the_schema_of_the_version_that_runs(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Also where rows are not checked, and the version is named, so that nothing else had to be asked."""
    Path("seeds.csv").write_text("prompt,seed,style\na fox,7,0400\na heron,x,1\n")
    argv = ("--workflow", "wf_abc123", "--inputs", "prompt,seed,style", "--version-id", "v2", "--no-validate")
    assert run("trigger", "seeds.csv", *argv, "--out", "out.csv", "--wait")[0] == 1
    assert Path("out.csv").read_text().splitlines()[1].startswith("a fox,7,0400,")
    (accepted,) = sandbox.accepted
    assert dict(accepted.inputs) == {"prompt": "a fox", "seed": 7, "style": "0400"}


def test_a_run_goes_on_between_a_file_and_a_frame(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The number 12 of a frame and the text 12 of a file are one key and one input; 012 is another key."""
    frame = pd.DataFrame({"id": [12, 7], "prompt": ["a fox", "a heron"], "seed": [1, 2]})
    frame.eachlabs.bulk_trigger("wf_abc123", ["prompt", "seed"], run="both", key="id")
    Path("more.csv").write_text("id,prompt,seed\n12,a fox,1\n7,a heron,2\n012,a newt,\n")
    argv = ("--workflow", "wf_abc123", "--inputs", "prompt,seed", "--run", "both", "--key", "id")
    assert run("trigger", "more.csv", *argv, "--out", "out.csv")[0] == 0
    assert [dict(accepted.inputs)["prompt"] for accepted in sandbox.accepted] == ["a fox", "a heron", "a newt"]


def test_a_frame_of_a_file_is_not_edited_by_being_sent(
    run: Callable[..., Said], sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Its cells stay text, and a second call with the same mapping sends nothing."""
    Path("seeds.csv").write_text("prompt,seed\na fox,0400\na heron,1234567890123456789\n")
    frame = files.read(Path("seeds.csv"))
    for _ in range(2):
        frame.eachlabs.bulk_trigger("wf_abc123", ["prompt", "seed"], inplace=True)
        assert frame["seed"].tolist() == ["0400", "1234567890123456789"]
    out = frame.eachlabs.wait()
    assert out["error"].isna().all()
    assert "edited" not in caplog.text
    assert [accepted.inputs["seed"] for accepted in sandbox.accepted] == [400, 1234567890123456789]


def test_no_rows_are_no_error(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """A file with a header only gives one with the result's columns."""
    ROWS.head(0).to_csv("none.csv", index=False)
    assert run("trigger", "none.csv", *TRIGGER, "--out", "out.csv", "--wait") == (
        0,
        "0 rows: 0 accepted -> out.csv\n",
        "",
    )
    assert "execution_id" in files.read(Path("out.csv")).columns


def test_rows_that_stay_behind_are_told(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The exit code is 1, stdout has the counts, and stderr why, a line each."""
    code, said, err = run("trigger", "prompts.csv", *TRIGGER, "--out", "out.csv")
    assert (code, said) == (1, "5 rows: 4 accepted (4 queued), 1 invalid -> out.csv\n")
    assert "1 of 5 rows have no execution; see the error column. First error: " in err.splitlines()[-1]
    assert all(line.startswith("eachlabs-frames: ") for line in err.splitlines())
    assert sandbox.accepted_count() == 4


def test_a_wait_that_is_over_too_early_is_told_in_one_line(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The library's warning is no traceback, even where warnings are errors, and the ids are in the file."""
    sandbox.change(hold=True)
    ROWS.head(2).to_csv("two.csv", index=False)
    code, said, err = run("trigger", "two.csv", *TRIGGER, "--out", "out.csv", "--wait", "--timeout", "0")
    assert code == 1
    assert said == "2 rows: 2 accepted (2 running) -> out.csv\n" or "2 queued" in said
    assert "2 of 2 rows are still open" in one_line(err)
    assert ids(files.read(Path("out.csv"))) == billed(sandbox)


def test_a_refusal_while_waiting_leaves_the_result_in_the_file(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """What is accepted is written before it is waited for."""
    sandbox.faults(ef.sandbox.Fault("unauthorized", on="list"))
    ROWS.head(2).to_csv("two.csv", index=False)
    code, said, err = run("trigger", "two.csv", *TRIGGER, "--out", "out.csv", "--wait")
    assert (code, said) == (1, "2 rows: 2 accepted (2 queued) -> out.csv\n")
    assert "stopped waiting; the executions continue" in one_line(err)
    assert ids(files.read(Path("out.csv"))) == billed(sandbox)


# What is wrong


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["none.csv", *TRIGGER, "--out", "o.csv"], "none.csv: no such file"),
        (["x" * 300 + ".csv", *TRIGGER, "--out", "o.csv"], "cannot be read"),
        (["bad.csv", *TRIGGER, "--out", "o.csv"], "bad.csv: cannot be read as csv"),
        (["bad.parquet", *TRIGGER, "--out", "o.csv"], "bad.parquet: cannot be read as parquet"),
        (["prompts.xlsx", *TRIGGER, "--out", "o.csv"], "must be one of .csv"),
        (["prompts.csv", *TRIGGER, "--out", "o.xlsx"], "must be one of .csv"),
        (["prompts.csv", *TRIGGER, "--out", "none/o.csv"], "the folder none does not exist"),
        (["prompts.csv", *TRIGGER, "--out", "bad.csv/o.csv"], "the folder bad.csv does not exist"),
        (["prompts.csv", *TRIGGER, "--out", "folder.csv"], "a folder, not a file"),
        (["prompts.csv", *TRIGGER, "--out", "folder.csv", "--force"], "a folder, not a file"),
        (["prompts.csv", *TRIGGER, "--out", "bad.csv"], "already exists"),
        (["prompts.csv", *TRIGGER, "--out", "prompts.csv"], "is also the input"),
        (["mixed.jsonl", *TRIGGER, "--out", "o.parquet"], "cannot hold this table"),
        (["prompts.csv", "--workflow", "wf_abc123", "--inputs", "promt", "--out", "o.csv"], "did you mean 'prompt'?"),
        (["prompts.csv", "--workflow", "wf_abc123", "--inputs", "", "--out", "o.csv"], "inputs"),
        (["prompts.csv", "--workflow", "wf_abc123", "--inputs", "prompt,,style", "--out", "o.csv"], "write col,col"),
        (["prompts.csv", "--workflow", "wf_abc123", "--inputs", "prompt,prompt=note", "--out", "o.csv"], "twice"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--set", "style=x"], "--inputs and --set set 'style' twice"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--set", "seed"], "--set seed: write key=value"),
        (["prompts.csv", "--workflow", "wf_abc123", "--out", "o.csv", "--set", "a=b"], "requires --inputs"),
        (["prompts.csv", "--workflow", "wf_abc123", "--out", "o.csv", "--file", "a=b"], "--inputs '' for none"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--file", "note"], "--file note: write key=column"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--file", "image_url="], "write key=column"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--file", "style=note"], "--file set 'style' twice"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--file", "image_url=nota"], "did you mean 'note'?"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--root", "."], "--root requires --file"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--expires-in", "59"], "--expires-in must be"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--timeout", "5"], "requires --wait"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--wait", "--timeout", "-1"], "not a number of seconds"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--wait", "--timeout", "soon"], "not a number of seconds"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--max-concurrency", "0"], "1 or more"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--max-concurrency", "999"], "1 to 256"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--na", "zero"], "invalid choice"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--run", ""], "--run must be a name"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--on-unknown", "drop"], "invalid choice"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--max-cost", "0"], "not a number of USD above 0"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--max-cost", "nan"], "not a number of USD above 0"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--webhook-url", "hook"], "--webhook-url must be"),
        (["prompts.csv", *TRIGGER, "--out", "o.csv", "--api-key", "sk"], "unrecognized arguments"),
        (["prompts.csv", "--workflow", "a b", "--inputs", "prompt", "--out", "o.csv"], "--workflow 'a b'"),
        (["own.csv", *TRIGGER, "--out", "o.csv"], "--prefix eachlabs_"),
        (["prompts.csv", "--out", "o.csv"], "--workflow"),
        (["prompts.csv", *TRIGGER], "--out"),
    ],
)
def test_a_wrong_call_is_one_line_and_sends_nothing(
    run: Callable[..., Said], sandbox: Sandbox, argv: list[str], wanted: str
) -> None:
    """The exit code is 2, the line says what to do, and no file has come, gone or changed."""
    Path("bad.csv").write_text("a,b\n1,2,3\n")
    Path("bad.parquet").touch()
    Path("prompts.xlsx").touch()
    Path("folder.csv").mkdir()
    Path("mixed.jsonl").write_text('{"prompt": "x", "style": 1}\n{"prompt": "y", "style": "b"}\n')
    ROWS.assign(status="mine").to_csv("own.csv", index=False)
    before = {path.name: path.stat().st_mtime_ns for path in Path().iterdir()}
    code, said, err = run("trigger", *argv)
    assert (code, said) == (2, "")
    assert wanted in one_line(err)
    assert sandbox.requests == ()
    assert {path.name: path.stat().st_mtime_ns for path in Path().iterdir()} == before


def test_the_commands_themselves_are_checked(run: Callable[..., Said]) -> None:
    """No command, an unknown one, and what the sandbox cannot do."""
    for argv in (
        [],
        ["fly"],
        ["sandbox", "--port", "99999"],
        ["sandbox", "--failure-rate", "2"],
        ["demo", "--rows", "0"],
    ):
        code, said, err = run(*argv)
        assert (code, said) == (2, "")
        one_line(err)


def test_no_key_is_told_before_anything_else_happens(run: Callable[..., Said]) -> None:
    """It comes from the environment, and from nowhere else."""
    code, said, err = run("trigger", "prompts.csv", *TRIGGER, "--out", "o.csv")
    assert (code, said) == (2, "")
    assert "EACHLABS_API_KEY" in one_line(err)
    assert not Path("o.csv").exists()


@pytest.mark.parametrize("fault", ["unauthorized", "forbidden", "not_found"])
def test_an_api_that_refuses_is_one_line(run: Callable[..., Said], sandbox: Sandbox, fault: str) -> None:
    """The exit code is 1; nothing was sent, so there is no file."""
    sandbox.faults(ef.sandbox.Fault(fault, on="any"))
    code, said, err = run("trigger", "prompts.csv", *TRIGGER, "--out", "o.csv")
    assert (code, said) == (1, "")
    assert sandbox.api_key not in one_line(err)
    assert not Path("o.csv").exists()


def test_help_says_where_the_key_comes_from(run: Callable[..., Said]) -> None:
    """And the version is the package's."""
    for argv in (["--help"], ["trigger", "--help"]):
        code, said, err = run(*argv)
        assert (code, err) == (0, "")
        assert "EACHLABS_API_KEY" in said
    assert run("--version") == (0, f"eachlabs-frames {ef.__version__}\n", "")


# What goes wrong after it was paid


def test_a_folder_that_goes_away_takes_no_result_with_it(
    run: Callable[..., Said], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are in the temporary folder, and stderr says where; the exit code is 1."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    Path("gone").mkdir()
    sandbox.change(fail_when=lambda _: bool(shutil.rmtree("gone", ignore_errors=True)))
    ROWS.head(3).to_csv("three.csv", index=False)
    code, said, err = run("trigger", "three.csv", *TRIGGER, "--out", "gone/o.csv")
    (saved,) = elsewhere.iterdir()
    assert (code, said) == (1, f"3 rows: 3 accepted (3 queued) -> {saved}\n")
    assert str(saved) in one_line(err)
    assert ids(files.read(saved)) == billed(sandbox)


def test_a_file_that_appears_meanwhile_is_not_written_over(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """It may be another run's result, paid for as well; this one's goes beside it, also after the wait."""
    sandbox.change(fail_when=lambda _: bool(Path("o.csv").write_text("theirs") and False))
    ROWS.head(3).to_csv("three.csv", index=False)
    code, said, err = run("trigger", "three.csv", *TRIGGER, "--out", "o.csv", "--wait")
    (saved,) = Path().glob("o.rescued-*.jsonl")
    assert (code, said) == (1, f"3 rows: 3 accepted (3 completed) -> {saved}\n")
    assert "created in the meantime" in one_line(err)
    assert Path("o.csv").read_text() == "theirs"
    assert ids(files.read(saved)) == billed(sandbox)
    assert set(files.read(saved)["status"]) == {"completed"}


@pytest.mark.usefixtures("sandbox")
def test_a_problem_names_the_parquet_file_and_its_row(run: Callable[..., Said]) -> None:
    """Parquet files have no lines, and a command may read many of them."""
    pd.DataFrame({"prompt": ["fox", None], "style": ["noir", "oil"]}).to_parquet("p.parquet")
    code, _, err = run("trigger", "p.parquet", *TRIGGER, "--out", "o.csv")
    assert code == 1
    assert "as in p.parquet, row 1\n" in err


def test_a_disk_that_takes_nothing_leaves_the_ids_on_stderr(
    run: Callable[..., Said], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even the temporary folder is there, what was paid for can still be copied from the screen."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    Path("gone").mkdir()
    sandbox.change(fail_when=lambda _: bool(shutil.rmtree("gone", ignore_errors=True)))
    ROWS.head(3).to_csv("three.csv", index=False)
    code, _, err = run("trigger", "three.csv", *TRIGGER, "--out", "gone/o.csv")
    assert code == 1
    assert billed(sandbox) <= set(err.replace("\n", ",").split(","))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_in_the_middle_leaves_every_accepted_execution_in_the_file(
    sandbox: Sandbox, tmp_path: Path, name: str, code: int
) -> None:
    """The account takes 20 of 45 rows and then no more; what it took is written, and the rest can follow."""
    sandbox.change(account_cap=20, hold=True)
    pd.DataFrame({"prompt": [f"fox {n}" for n in range(45)]}).to_csv(tmp_path / "p.csv", index=False)
    argv = ("--workflow", "wf_abc123", "--inputs", "prompt", "--out")
    child = process("trigger", "p.csv", *argv, "r.parquet", sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: any(record.status == 429 for record in sandbox.requests) and sandbox.accepted_count() == 20)
    child.send_signal(getattr(signal, name))
    returned, said, err = ended(child)
    assert (returned, said) == (code, "")
    # Some may be running: while no more are taken, the call polls for room.
    assert re.search(rf"{name}: stopped\. 45 rows: 20 accepted \([^)]*\), 25 pending -> r\.parquet", err), err
    assert "Traceback" not in err
    assert ids(files.read(tmp_path / "r.parquet")) == billed(sandbox)
    sandbox.change(account_cap=None)
    child = process("trigger", "r.parquet", *argv, "s.csv", sandbox=sandbox, cwd=tmp_path)
    returned, said, _ = ended(child)
    # Some may be running: the call begins at the cap of before, and polls until there is room for more.
    assert (returned, said.partition(" (")[0]) == (0, "45 rows: 45 accepted")
    assert sandbox.duplicates() == {}
    assert ids(files.read(tmp_path / "s.csv")) == billed(sandbox)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_signal_keeps_the_answers_in_flight(sandbox: Sandbox, tmp_path: Path) -> None:
    """A request that is with the API when the signal comes is waited for, and its rows are in the file."""
    came, go = threading.Event(), threading.Event()

    def held(_: Mapping[str, Any]) -> bool:
        came.set()
        go.wait(DEADLINE)
        return False

    sandbox.change(fail_when=held)
    pd.DataFrame({"prompt": [f"fox {n}" for n in range(25)]}).to_csv(tmp_path / "p.csv", index=False)
    argv = ("--workflow", "wf_abc123", "--inputs", "prompt", "--out", "r.csv", "--max-concurrency", "1")
    child = process("trigger", "p.csv", *argv, sandbox=sandbox, cwd=tmp_path)
    assert came.wait(DEADLINE)
    child.send_signal(signal.SIGTERM)
    go.set()
    returned, said, err = ended(child)
    assert (returned, said) == (143, "")
    assert "unknown" not in err
    back = files.read(tmp_path / "r.csv")
    assert len(ids(back)) >= 10
    assert ids(back) == billed(sandbox)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_signal_during_the_wait_ends_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """The executions are in the file already, and go on."""
    sandbox.change(hold=True)
    ROWS.head(3).to_csv(tmp_path / "p.csv", index=False)
    child = process("trigger", "p.csv", *TRIGGER, "--out", "r.jsonl", "--wait", sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: any(record.route == "list" for record in sandbox.requests))
    child.send_signal(signal.SIGINT)
    returned, said, err = ended(child)
    assert (returned, said) == (130, "")
    assert "SIGINT: stopped. 3 rows: 3 accepted" in one_line(err)
    assert ids(files.read(tmp_path / "r.jsonl")) == billed(sandbox)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_signal_before_anything_was_sent_leaves_no_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """It says so."""
    sandbox.faults(ef.sandbox.Fault("rate_limit", on="workflow", retry_after=20))
    ROWS.to_csv(tmp_path / "p.csv", index=False)
    child = process("trigger", "p.csv", *TRIGGER, "--out", "r.csv", sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: bool(sandbox.requests))
    child.send_signal(signal.SIGTERM)
    assert ended(child) == (143, "", "eachlabs-frames: interrupted; nothing was sent\n")
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_reader_that_has_left_is_no_traceback(sandbox: Sandbox, tmp_path: Path) -> None:
    """The file is written by the time anything is printed."""
    ROWS.head(2).to_csv(tmp_path / "p.csv", index=False)
    sandbox.change(fail_when=lambda _: bool(child.stdout and child.stdout.close()))
    child = process("trigger", "p.csv", *TRIGGER, "--out", "r.csv", sandbox=sandbox, cwd=tmp_path)
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait(DEADLINE) == 1
    assert ids(files.read(tmp_path / "r.csv")) == billed(sandbox)


# demo and sandbox


@pytest.mark.slow
def test_the_demo_needs_nothing_and_ends_with_a_file(tmp_path: Path) -> None:
    """Whatever the environment says: no key, no account, no network, and a few seconds."""
    strange = {"EACHLABS_BASE_URL": "not a url", "EACHLABS_API_KEY": "no key", "HTTP_PROXY": "http://127.0.0.1:9"}
    code, said, err = ended(process("demo", sandbox=None, cwd=tmp_path, **strange))
    assert (code, "Traceback" in err) == (0, False), err
    assert [word for word in said.split() if word.endswith(".csv")] == ["eachlabs-demo.csv"]
    assert "100%" in err
    assert all(len(line) <= 100 for line in said.splitlines())
    frame = files.read(tmp_path / "eachlabs-demo.csv")
    assert len(frame) == 76
    assert frame["status"].value_counts().to_dict() == {"completed": 73, "failed": 2, "invalid": 1}
    for bulk_id in frame["bulk_id"].dropna().unique():
        assert bulk_id in said


def test_the_demo_shows_as_many_rows_as_wanted_in_a_format_of_choice(run: Callable[..., Said]) -> None:
    """A second demo replaces the first one's file, and the settings are as they were."""
    Path("some.parquet").touch()
    code, said, _ = run("demo", "--rows", "3", "--out", "some.parquet")
    assert code == 0
    assert "some.parquet" in said.split()
    assert len(files.read(Path("some.parquet"))) == 3
    assert ef.configure().api_key is None


def test_a_demo_that_could_not_write_does_not_begin(run: Callable[..., Said]) -> None:
    """It says so at once."""
    code, said, err = run("demo", "--out", "none/demo.csv")
    assert (code, said) == (2, "")
    one_line(err)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_says_how_it_is_used_and_stops_cleanly(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    """Its lines of export are all that another command needs, toy runs go with it; its port cannot be taken twice."""
    child = process("sandbox", "--port", "0", "--failure-rate", "0.5", "--seed", "3", sandbox=None, cwd=tmp_path)
    assert child.stdout is not None
    exports: dict[str, str] = {}
    while len(exports) < 3:
        line = child.stdout.readline()
        assert line, "it ended"
        if line.strip().startswith("export "):
            name, _, value = line.split()[1].partition("=")
            exports[name] = value
    for name, value in exports.items():
        monkeypatch.setenv(name, value)
    ROWS.head(2).to_csv("two.csv", index=False)
    assert run("trigger", "two.csv", *TRIGGER, "--out", "o.csv")[0] == 0
    port = exports["EACHLABS_BASE_URL"].split(":")[2].partition("/")[0]
    code, _, err = run("sandbox", "--port", port)
    assert code == 2
    assert f"port {port} cannot be used" in one_line(err)
    journal = Path(exports["EACHLABS_JOURNAL"])
    assert journal.exists()
    child.send_signal(number)
    assert ended(child) == (0, "", "")
    assert not journal.parent.exists()


class BrokenStream(io.TextIOBase):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, BrokenStream()], ids=["closed", "broken"])
def test_messages_without_a_stderr_change_neither_the_exit_code_nor_stdout(
    run: Callable[..., Said], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, stream: io.TextIOBase | None
) -> None:
    """A shell's ``2>&-``, or a terminal that is gone: the table alone is on stdout, and the rows decide the code."""
    monkeypatch.setattr(sys, "stderr", stream)
    code, out, _ = run("trigger", "prompts.csv", *TRIGGER, "--out", "-", "--run", "quiet")
    assert code == 1  # the third prompt is fine, the fourth is missing
    assert len(pd.read_csv(io.StringIO(out))) == len(ROWS)
