"""Tests of commands in pipelines: dry runs, pipes, exit codes, retries, downloads and completion."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames import cli
from eachlabs_frames.cli import files
from eachlabs_frames.sandbox import Fault, Sandbox

from .test_cli import DEADLINE, Said, billed, ids, one_line, process

ROWS = pd.DataFrame({"prompt": ["a fox", "a heron", None, "an owl"], "style": ["photo", "noir", "photo", "photo"]})
TRIGGER = ("trigger", "rows.csv", "--workflow", "wf_abc123", "--inputs", "prompt,style")

Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command in this process with `stdin` and returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    ROWS.to_csv("rows.csv", index=False)

    def command(*argv: str, stdin: bytes = b"") -> Said:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main(argv)
        return code, *capsys.readouterr()

    return command


def fail_prompts(sandbox: Sandbox, *prompts: str) -> None:
    """Let executions with these prompts fail from now on."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in prompts)


# Dry runs


def test_a_dry_run_prints_what_the_command_would_send(run: Run, sandbox: Sandbox) -> None:
    """The JSON has each input, each problem and the cost. Nothing is sent, and no run or file is created."""
    code, out, _ = run(*TRIGGER, "--dry-run", "--json", "--run", "r")
    plan = json.loads(out)
    assert (code, sandbox.accepted_count(), len(ef.runs())) == (1, 0, 0)
    assert [path.name for path in Path().iterdir()] == ["rows.csv"]
    assert (plan["rows"], plan["would_send"], plan["left_alone"], plan["requests"]) == (4, 3, 0, 1)
    assert plan["problems"] == [{"row": 2, "problem": '"prompt" is a required property'}]
    assert plan["balance_usd"] is not None
    run(*TRIGGER, "--out", "out.csv", "--run", "r", "--wait")
    assert [row["input"] for row in plan["inputs"]] == [dict(accepted.inputs) for accepted in sandbox.accepted]


def test_a_dry_run_leaves_out_rows_that_the_run_has_sent(run: Run, sandbox: Sandbox) -> None:
    """Only new rows plan be sent; the text output shows the same."""
    run(*TRIGGER, "--out", "out.csv", "--run", "r")
    pd.concat([ROWS, pd.DataFrame({"prompt": ["a newt"], "style": ["noir"]})]).to_csv("rows.csv", index=False)
    plan = json.loads(run(*TRIGGER, "--dry-run", "--json", "--run", "r")[1])
    assert (plan["would_send"], plan["left_alone"]) == (1, 3)
    assert plan["inputs"] == [{"row": 4, "input": {"prompt": "a newt", "style": "noir"}}]
    text = run(*TRIGGER, "--dry-run", "--run", "r")[1]
    assert "3 of 5 rows were sent before and would not be sent again" in text
    assert '{"prompt": "a newt", "style": "noir"}' in text
    assert '"prompt" is a required property' in text
    assert sandbox.accepted_count() == 3
    assert len(ef.load_run("r")) == 4


def test_a_dry_run_is_refused_like_the_command(run: Run, sandbox: Sandbox) -> None:
    """Message and exit code are the same, for rows that were accepted before and for values that cannot be sent."""
    run(*TRIGGER, "--out", "out.csv")
    code, out, err = run(*TRIGGER, "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["would_send"], plan["inputs"]) == (2, 0, [])
    assert "accepted before with the same input" in plan["refused"]
    assert plan["refused"] in err
    pd.DataFrame({"prompt": [b"\xff", None], "style": "noir"}).to_parquet("bytes.parquet")
    argv = ("trigger", "bytes.parquet", "--workflow", "wf_abc123", "--inputs", "prompt")
    code, out, err = run(*argv, "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 2
    assert "nothing would be sent" in err
    assert (plan["would_send"], [problem["row"] for problem in plan["problems"]]) == (0, [0, 1])
    assert run(*argv, "--out", "b.csv")[0] == 2


# Pipes


def test_stdout_contains_only_the_table(run: Run, sandbox: Sandbox) -> None:
    """Rows are read from stdin, the result is written to stdout, and everything else to stderr."""
    rows = ROWS.dropna().to_json(orient="records", lines=True).encode()
    options = ("--workflow", "wf_abc123", "--input-format", "jsonl", "--wait", "--progress")
    code, out, err = run("trigger", "-", *options, "--out", "-", stdin=rows)
    assert code == 0
    written = pd.read_csv(io.StringIO(out))
    assert written["prompt"].tolist() == ROWS["prompt"].dropna().tolist()
    assert ids(written) == billed(sandbox)
    assert "3 rows: 3 accepted (3 completed) -> stdout, run " in err
    code, out, _ = run("trigger", "-", *options, "--out", "-", "--out-format", "jsonl", "--retrigger", stdin=rows)
    assert code == 0
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["completed"] * 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_closed_stdout_loses_no_row(sandbox: Sandbox, tmp_path: Path) -> None:
    """The run is in the journal; the message gives the command that writes it, and the exit code is 1."""
    ROWS.dropna().to_csv(tmp_path / "rows.csv", index=False)
    sandbox.change(fail_when=lambda _: bool(child.stdout and child.stdout.close()))
    child = process(*TRIGGER, "--out", "-", "--run", "r", sandbox=sandbox, cwd=tmp_path)
    assert child.stderr is not None
    err = child.stderr.read()
    child.stderr.close()
    assert child.wait(DEADLINE) == 1
    assert "stdout could not be written" in err
    assert "eachlabs-frames runs r --out FILE writes them again" in err
    assert "Traceback" not in err
    assert ids(ef.load_run("r")) == billed(sandbox)


# Exit codes


def test_closed_streams_are_refused_before_anything_is_sent(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python a stream that the shell has closed (`>&-`) is None."""
    with monkeypatch.context() as closed:
        closed.setattr("sys.stdout", None)
        code, _, err = run(*TRIGGER, "--out", "-")
    assert (code, sandbox.accepted_count()) == (2, 0)
    assert "stdout is closed" in err
    monkeypatch.setattr("sys.stdin", None)
    assert cli.main(["trigger", "-", *TRIGGER[2:], "--out", "out.csv"]) == 2


def test_a_failed_row_gives_exit_code_1(run: Run, sandbox: Sandbox) -> None:
    """Only with --wait; --ok-if-failed requires only that every row was accepted."""
    ROWS.dropna().to_csv("rows.csv", index=False)
    fail_prompts(sandbox, "a heron")
    code, out, err = run(*TRIGGER, "--out", "out.csv", "--wait", "--run", "r")
    assert (code, out) == (1, "3 rows: 3 accepted (2 completed, 1 failed) -> out.csv, run r\n")
    assert "1 of 3 rows have not completed" in one_line(err)
    again = (*TRIGGER, "--out", "out.csv", "--force", "--run", "r")
    assert run(*again, "--wait", "--ok-if-failed") == (0, out, "")
    assert run(*again)[0] == 0
    assert sandbox.accepted_count() == 3


def test_options_reach_the_library(run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """--max-wait ends a wait for a busy API; the secret of --webhook-url is read from the environment."""
    sandbox.faults(Fault("rate_limit", on="trigger", retry_after=30))
    code, _, err = run(*TRIGGER, "--out", "out.csv", "--max-wait", "2")
    assert code == 1
    assert "more than --max-wait 2 s" in err
    monkeypatch.setenv("EACHLABS_WEBHOOK_SECRET", "")
    code, _, err = run(*TRIGGER, "--out", "other.csv", "--webhook-url", "https://example.org/hook")
    assert code == 2
    assert "EACHLABS_WEBHOOK_SECRET must be" in one_line(err)


def test_max_cost_is_checked_by_a_dry_run_and_named_in_errors(run: Run, sandbox: Sandbox) -> None:
    """A dry run reports that --max-cost would stop the run; errors of rows that were not sent name the option."""
    run(*TRIGGER, "--out", "first.csv", "--wait")  # the price is known from now on
    limit = ("--retrigger", "--max-cost", "0.005")
    code, _, err = run(*TRIGGER, *limit, "--dry-run")
    assert code == 1
    assert "the run would stop at --max-cost 0.005" in err
    assert run(*TRIGGER, *limit, "--out", "out.csv")[0] == 1
    errors = files.read(Path("out.csv"))["error"].dropna()
    assert errors.str.contains("--max-cost 0.005", regex=False).sum() == 3
    assert not errors.str.contains("max_cost").any()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*TRIGGER, "--json", "--out", "o.csv"], "--json requires --dry-run"),
        ([*TRIGGER, "--dry-run", "--out", "o.csv"], "--out cannot be used with --dry-run"),
        ([*TRIGGER, "--dry-run", "--wait"], "--wait cannot be used with --dry-run"),
        (
            [*TRIGGER, "--retry-failed", "--retrigger", "--out", "o.csv"],
            "--retry-failed cannot be used with --retrigger",
        ),
        ([*TRIGGER, "--ok-if-failed", "--out", "o.csv"], "--ok-if-failed requires --wait"),
        ([*TRIGGER, "--out", "o.csv", "--out-format", "csv"], "--out-format requires --out -"),
        ([*TRIGGER, "--out", "o.csv", "--input-format", "csv"], "--input-format requires -"),
        (["retry", "rows.csv"], "--out FILE is required"),
        (["retry", "rows.csv", "--out", "o.csv"], "nothing was triggered from this table"),
        (["retry", "no-such-run", "--out", "o.csv"], "there is no run 'no-such-run'"),
        (["download", "rows.csv", "--to", "d"], "nothing was triggered from this table"),
        (["download", "rows.csv"], "--to"),
        (["completion", "fish"], "invalid choice"),
    ],
)
def test_incompatible_options_are_refused(run: Run, sandbox: Sandbox, argv: list[str], message: str) -> None:
    """The error is one line, the exit code is 2, and nothing is sent or written."""
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in one_line(err)
    assert sandbox.accepted_count() == 0
    assert [path.name for path in Path().iterdir()] == ["rows.csv"]


# Retries


def test_retry_sends_the_failed_rows_of_a_file(run: Run, sandbox: Sandbox) -> None:
    """The journal has the file's workflow and mapping; other rows keep their executions."""
    fail_prompts(sandbox, "a heron")
    run(*TRIGGER, "--out", "out.csv", "--wait")
    first = files.read(Path("out.csv"))
    sandbox.change(fail_when=None)
    code, out, err = run("retry", "out.csv", "--out", "out.csv", "--force", "--wait")
    assert code == 1  # because of the row without a prompt
    assert out.startswith("4 rows: 3 accepted (3 completed), 1 invalid -> out.csv, run ")
    second = files.read(Path("out.csv"))
    assert sandbox.accepted_count() == 4
    assert (first["execution_id"].fillna("") != second["execution_id"].fillna("")).tolist() == [
        False,
        True,
        False,
        False,
    ]
    code, _, err = run("retry", "out.csv", "--out", "again.csv")
    assert "no row has failed; nothing is sent" in err
    assert sandbox.accepted_count() == 4


def test_retry_accepts_the_name_of_a_run(run: Run, sandbox: Sandbox) -> None:
    """No file is needed; statuses are read from the API first, even if no command has waited for them."""
    ROWS.dropna().to_csv("rows.csv", index=False)
    fail_prompts(sandbox, "a heron")
    run(*TRIGGER, "--out", "out.csv", "--run", "r")
    sandbox.change(fail_when=None)
    code, out, err = run("retry", "r", "--out", "-", "--out-format", "jsonl", "--wait")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["status"] for row in rows] == ["completed"] * 3
    assert "3 rows: 3 accepted (3 completed) -> stdout, run r" in err
    assert sandbox.accepted_count() == 4


def test_retry_of_a_file_without_its_journal_needs_workflow_and_inputs(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """As on another machine: the error names both options, and with them the row is sent."""
    fail_prompts(sandbox, "a heron")
    run(*TRIGGER, "--out", "out.csv", "--wait")
    ef.configure(journal=tmp_path / "other" / "journal.sqlite")
    retry = ("retry", "out.csv", "--out", "new.csv")
    code, _, err = run(*retry)
    assert code == 2, err
    assert "pass --workflow" in err
    assert "--inputs" in run(*retry, "--workflow", "wf_abc123")[2]
    named = ("--workflow", "wf_abc123", "--inputs", "prompt,style")
    assert run(*retry, *named)[0] == 1
    assert sandbox.accepted_count() == 4
    code, _, err = run(*retry, *named, "--force")
    assert (code, sandbox.accepted_count()) == (2, 4), err
    assert "the row was accepted before with the same input" in err
    trigger = ("trigger", "out.csv", *named, "--retry-failed", "--run", "here", "--out", "new.csv", "--force")
    for _ in range(2):
        _, out, err = run(*trigger)
        assert (sandbox.accepted_count(), "run here" in out) == (5, True), err


def test_a_retry_with_another_mapping_pays_once(run: Run, sandbox: Sandbox) -> None:
    """Each such retry starts a run that does not know the others, so the second one is refused."""
    fail_prompts(sandbox, "a heron")
    run(*TRIGGER, "--out", "out.csv", "--wait")
    retry = ("retry", "out.csv", "--inputs", "prompt", "--out")
    assert run(*retry, "first.csv")[0] == 1
    code, _, err = run(*retry, "second.csv")
    assert (code, sandbox.accepted_count()) == (2, 4), err
    assert "the row was accepted before with the same input" in err


def test_a_run_keeps_its_labels_in_a_file(run: Run, sandbox: Sandbox) -> None:
    """Files have no index, so labels that identify rows are written as a column."""
    fail_prompts(sandbox, "a heron")
    frame = pd.DataFrame({"prompt": ["a fox", "a heron"]}, index=["x", "y"])
    frame.eachlabs.bulk_trigger("wf_abc123", run="r", wait=True)
    sandbox.change(fail_when=None)
    assert run("retry", "r", "--out", "retried.csv", "--wait")[0] == 0
    assert run("download", "r", "--to", "pictures", "--out", "fetched.csv")[0] == 0
    for name in ("retried.csv", "fetched.csv"):
        assert files.read(Path(name))["index"].tolist() == ["x", "y"]
    assert sandbox.accepted_count() == 3


def test_trigger_with_retry_failed_sends_failed_and_new_rows(run: Run, sandbox: Sandbox) -> None:
    """A new row is sent once, a failed row again, and a completed row is not sent."""
    ROWS.dropna().to_csv("rows.csv", index=False)
    fail_prompts(sandbox, "a heron")
    run(*TRIGGER, "--out", "out.csv", "--run", "r")
    sandbox.change(fail_when=None)
    pd.DataFrame({"prompt": ["a heron", "a newt", "a fox"], "style": ["noir", "noir", "photo"]}).to_csv("rows.csv")
    options = ("--run", "r", "--retry-failed", "--wait", "--force", "--out", "out.csv")
    code, out, _ = run(*TRIGGER, *options)
    assert (code, out) == (0, "3 rows: 3 accepted (3 completed) -> out.csv, run r\n")
    sent = [accepted.inputs["prompt"] for accepted in sandbox.accepted]
    assert sorted(sent) == ["a fox", "a heron", "a heron", "a newt", "an owl"]


def test_duplicated_failed_rows_are_not_sent_but_new_rows_are(run: Run, sandbox: Sandbox) -> None:
    """Each copy of a failed row would be paid, so none is sent; the exit code is 1."""
    ROWS.dropna().to_csv("rows.csv", index=False)
    fail_prompts(sandbox, "a heron")
    run(*TRIGGER, "--out", "out.csv", "--wait")
    result = files.read(Path("out.csv"))
    new = pd.DataFrame({"prompt": ["a newt"], "style": ["noir"]})
    files.write(pd.concat([result, result, new]), Path("copies.csv"))
    argv = ("trigger", "copies.csv", "--workflow", "wf_abc123", "--inputs", "prompt,style", "--out", "new.csv")
    code, out, err = run(*argv, "--retry-failed")
    assert code == 1
    assert "7 rows: 7 accepted" in out
    assert "the failed rows were not sent again: some failed rows have the same execution_id" in err
    assert sandbox.accepted_count() == 4


# Downloads


def test_download_fetches_the_files_of_a_result(run: Run, sandbox: Sandbox) -> None:
    """The source is a file or a run, with a name template; a repeated command sends no request."""
    rows = pd.DataFrame({"prompt": ["a fox", "a heron"], "num_images": [2, 1]})
    rows.to_csv("rows.csv", index=False)
    run("trigger", "rows.csv", "--workflow", "wf_images", "--out", "out.csv", "--wait", "--run", "r")
    argv = ("--to", "pictures", "--name", "{prompt}/{n}", "--out", "out.csv", "--force")
    code, out, err = run("download", "out.csv", *argv)
    assert (code, out, err) == (0, "3 files in pictures -> out.csv\n", "")
    names = sorted(path.relative_to("pictures").with_suffix("").as_posix() for path in Path("pictures").rglob("*.*g"))
    assert names == ["a fox/0", "a fox/1", "a heron/0"]
    written = files.read(Path("out.csv"))
    assert all(Path(path).is_file() for cell in written["path"] for path in json.loads(cell))
    fetched = [record.route for record in sandbox.requests].count("media")
    for source in ("out.csv", "r"):
        assert run("download", source, *argv)[0] == 0
    assert [record.route for record in sandbox.requests].count("media") == fetched


def test_download_reports_missing_files(run: Run, sandbox: Sandbox) -> None:
    """A missing file or an open execution gives exit code 1; --refresh reads the results first."""
    run(*TRIGGER, "--out", "out.csv")
    code, out, err = run("download", "out.csv", "--to", "pictures")
    assert (code, out) == (1, "0 files in pictures\n")
    assert "3 row(s) are still open" in one_line(err)
    assert "--refresh" in err
    assert run("download", "out.csv", "--to", "pictures", "--refresh")[:2] == (0, "3 files in pictures\n")


# Completion


@pytest.mark.skipif(shutil.which("bash") is None, reason="There is no bash on this machine")
def test_the_completion_script_works_in_bash(run: Run) -> None:
    """Bash loads the script, which completes commands and options."""
    for shell in ("zsh", "tcsh"):
        assert run("completion", shell)[0] == 0
    code, script, err = run("completion", "bash")
    assert (code, err) == (0, "")
    complete = (
        'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "$(complete -p eachlabs-frames | sed "s/.*-F \\([^ ]*\\).*/\\1/")"'
    )
    lines = ["eachlabs-frames tri", "eachlabs-frames trigger --dry"]
    completions = "\n".join(f'COMP_WORDS=({line}); {complete}; echo "${{COMPREPLY[@]}}"' for line in lines)
    bash = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p eachlabs-frames\n{completions}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    registered, *completed = bash.stdout.splitlines()
    assert registered.startswith("complete ")
    assert registered.endswith(" eachlabs-frames")
    assert [line.strip() for line in completed] == ["trigger", "--dry-run"]
