"""Tests of runs on the command line: naming, resuming, listing, writing, refreshing and deleting them."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames import cli
from eachlabs_frames.cli import files
from eachlabs_frames.cli.formats import SUFFIXES
from eachlabs_frames.sandbox import Fault, Sandbox

from .test_cli import Said, billed, ended, ids, one_line, process, until

FOXES = pd.DataFrame({"id": range(45), "prompt": [f"fox {n}" for n in range(45)]})
TRIGGER = ("trigger", "foxes.csv", "--workflow", "wf_abc123", "--inputs", "prompt", "--out", "out.csv")

unless_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such signals, and no such terminals"
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """A function that runs a command in this process and returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    FOXES.to_csv("foxes.csv", index=False)

    def command(*argv: str) -> Said:
        code = cli.main(argv)
        return code, *capsys.readouterr()

    return command


def result() -> pd.DataFrame:
    """Return the result that a command wrote."""
    return files.read(Path("out.csv"))


# Resuming


def test_trigger_prints_the_name_of_its_run(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The name, given or generated, loads the run later."""
    code, out, err = run(*TRIGGER)
    match = re.fullmatch(r"45 rows: 45 accepted \(45 queued\) -> out\.csv, run (\S+)\n", out)
    assert (code, err) == (0, "")
    assert match is not None
    assert ids(ef.load_run(match.group(1))) == billed(sandbox)
    assert run(*TRIGGER, "--force", "--run", "my own")[1].endswith(", run my own\n")


def test_a_repeated_command_with_the_same_run_sends_the_rest(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Rows that the balance did not cover are sent by the second command; a third sends nothing."""
    sandbox.change(balance_usd=0.20)
    code, out, err = run(*TRIGGER, "--run", "foxes", "--max-concurrency", "1")
    assert (code, out) == (1, "45 rows: 20 accepted (20 queued), 25 pending -> out.csv, run foxes\n")
    assert "To resume, run the same command with --force; it sends only rows that were not sent" in err
    sandbox.top_up(1.0)
    for _ in range(2):
        code, out, _ = run(*TRIGGER, "--run", "foxes", "--force", "--wait")
        assert (code, out) == (0, "45 rows: 45 accepted (45 completed) -> out.csv, run foxes\n")
    assert sandbox.duplicates() == {}
    assert ids(result()) == billed(sandbox)


def test_a_killed_command_can_be_resumed(sandbox: Sandbox, run: Callable[..., Said], tmp_path: Path) -> None:
    """It is killed before a reply for ten rows; the same command finds their executions and sends the rest."""
    sandbox.faults(Fault("silence", at={3}))
    argv = (*TRIGGER, "--run", "foxes")
    child = process(*argv, "--max-concurrency", "1", sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: sandbox.accepted_count() == 30)
    child.kill()
    ended(child)
    assert not (tmp_path / "out.csv").exists()
    assert run("runs", "foxes", "--out", "saved.csv")[0] == 0
    assert files.read(Path("saved.csv"))["status"].value_counts().to_dict() == {
        "queued": 20,
        "unknown": 10,
        "pending": 15,
    }
    sandbox.faults()
    code, out, _ = run(*argv, "--wait")
    assert (code, out) == (0, "45 rows: 45 accepted (45 completed) -> out.csv, run foxes\n")
    assert sandbox.duplicates() == {}
    assert result()["execution_id"].is_unique
    assert ids(result()) == billed(sandbox)


@pytest.mark.slow
@unless_windows
@pytest.mark.parametrize("named", [(), ("--run", "it's mine"), ("--run", "mine", "--force")])
def test_a_terminated_command_prints_how_to_resume(
    sandbox: Sandbox, run: Callable[..., Said], tmp_path: Path, named: tuple[str, ...]
) -> None:
    """The message names the options to add; the command then sends only rows that were not sent."""
    sandbox.change(account_cap=20, hold=True)
    child = process(*TRIGGER, *named, sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: any(record.status == 429 for record in sandbox.requests) and sandbox.accepted_count() == 20)
    child.send_signal(signal.SIGTERM)
    code, out, err = ended(child)
    assert (code, out) == (143, "")
    last = err.splitlines()[-1]
    match = re.search(
        r"20 accepted .* -> out\.csv, run (.+)\. To resume, run the same command(?: with (.+))?; it sends", last
    )
    assert match is not None
    sandbox.change(account_cap=None, hold=False)
    assert run(*TRIGGER, *named, *shlex.split(match.group(2) or ""))[0] == 0
    assert sandbox.duplicates() == {}
    assert ids(ef.load_run(match.group(1))) == ids(result()) == billed(sandbox)


@pytest.mark.slow
@unless_windows
def test_a_second_signal_stops_the_command_at_once(sandbox: Sandbox, run: Callable[..., Said], tmp_path: Path) -> None:
    """After the first signal it waits for replies; rows whose reply did not come are unknown."""
    sandbox.faults(Fault("silence", at={2}))
    child = process(*TRIGGER, "--run", "foxes", "--max-concurrency", "1", sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: sandbox.accepted_count() == 20)
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert "interrupt again to stop immediately" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    code, _, err = ended(child)
    assert code == 130
    assert "SIGINT: stopped. 45 rows: 10 accepted (10 queued), 25 pending, 10 unknown -> out.csv, run foxes" in err
    assert "Traceback" not in err
    assert ef.load_run("foxes")["status"].value_counts().to_dict() == {"queued": 10, "pending": 25, "unknown": 10}
    sandbox.faults()
    assert run(*TRIGGER, "--run", "foxes", "--force")[0] == 0
    assert sandbox.duplicates() == {}


def test_a_run_with_other_options_is_refused(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The error names the difference; nothing is sent, and the file is unchanged."""
    run(*TRIGGER, "--run", "foxes")
    code, out, err = run(*TRIGGER, "--run", "foxes", "--set", "style=noir", "--force")
    assert (code, out) == (2, "")
    assert "run 'foxes' was made differently: --inputs is" in one_line(err)
    assert sandbox.accepted_count() == 45


def test_rows_are_identified_by_a_key(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """A changed input with the same key is an error, and so is a key column that does not exist."""
    run(*TRIGGER, "--run", "foxes", "--key", "id")
    FOXES.replace("fox 7", "a heron").to_csv("foxes.csv", index=False)
    code, _, err = run(*TRIGGER, "--run", "foxes", "--key", "id", "--force")
    assert code == 2
    assert "foxes.csv, line 9: its key was sent in run 'foxes' with another input" in one_line(err)
    code, _, err = run(*TRIGGER, "--key", "name", "--force")
    assert code == 2
    assert "--key name" in one_line(err)
    assert sandbox.accepted_count() == 45


def test_unknown_rows_are_resent_only_with_the_option(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """A request that never arrived leaves its rows unknown; --on-unknown resend sends them again."""
    ef.configure(settle_window=0.1, timeout=1.0)
    sandbox.faults(Fault("dropped", at={1}))
    FOXES.head(3).to_csv("foxes.csv", index=False)
    code, out, err = run(*TRIGGER, "--run", "foxes")
    assert (code, out) == (1, "3 rows: 0 accepted, 3 unknown -> out.csv, run foxes\n")
    assert "eachlabs-frames runs foxes --refresh" in err.splitlines()[-1]
    assert run(*TRIGGER, "--run", "foxes", "--force")[:2] == (code, out)
    code, out, _ = run(*TRIGGER, "--run", "foxes", "--force", "--on-unknown", "resend")
    assert (code, out) == (0, "3 rows: 3 accepted (3 queued) -> out.csv, run foxes\n")
    assert sandbox.accepted_count() == 3


def test_a_run_stops_at_max_cost(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The first batch gives the cost of an execution; without the limit, the same command sends the rest."""
    code, out, err = run(*TRIGGER, "--run", "foxes", "--max-cost", "0.25")
    assert code == 1
    assert re.fullmatch(r"45 rows: 25 accepted \(.*\), 20 pending -> out\.csv, run foxes\n", out)
    assert "--max-cost 0.25 would be exceeded" in err
    assert run(*TRIGGER, "--run", "foxes", "--force")[0] == 0
    assert sandbox.accepted_count() == 45


# The journal's runs


def test_runs_are_listed_without_a_key(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The newest is first; there is a column for each status that occurs, and the cost."""
    assert run("runs") == (0, "the journal has no runs\n", "")
    run(*TRIGGER, "--run", "first", "--wait")
    sandbox.change(balance_usd=0.10)
    run(*TRIGGER, "--run", "the second", "--max-concurrency", "1", "--force")
    sandbox.stop()
    ef.configure(api_key=None, base_url=None)
    code, out, err = run("runs")
    lines = [re.split(r" {2,}", line) for line in out.splitlines()]
    when = [line.pop(2) for line in lines]
    assert (code, err, when[0]) == (0, "", "when (UTC)")
    assert lines == [
        ["run", "workflow", "rows", "pending", "queued", "completed", "cost"],
        ["the second", "wf_abc123", "45", "35", "10"],
        ["first", "wf_abc123", "45", "45", "$0.45"],
    ]
    assert len({len(line) for line in out.splitlines() if line.endswith(("cost", "$0.45"))}) == 1
    code, out, err = run("runs", "the second")
    assert (code, err) == (0, "")
    assert "run the second of workflow wf_abc123, version v2\n45 rows: 35 pending, 10 queued\n" in out
    assert "fox 0" in out
    assert "... and 40 more" in out


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_is_written_in_every_format(run: Callable[..., Said], sandbox: Sandbox, suffix: str) -> None:
    """The file has inputs and results but no index of row positions; an existing file is not overwritten."""
    run(*TRIGGER, "--run", "foxes", "--wait")
    path = f"run{suffix}"
    code, out, err = run("runs", "foxes", "--out", path)
    assert (code, err) == (0, "")
    assert out.endswith(f"45 rows: 45 completed, $0.45 so far -> {path}\n")
    written = files.read(Path(path))
    assert written.columns[:2].tolist() == ["prompt", "bulk_id"]
    assert written["prompt"].tolist() == FOXES["prompt"].tolist()
    assert written["execution_id"].tolist() == result()["execution_id"].tolist()
    before = Path(path).read_bytes()
    code, _, err = run("runs", "foxes", "--out", path)
    assert code == 2
    assert "already exists" in one_line(err)
    assert Path(path).read_bytes() == before
    assert run("runs", "foxes", "--out", path, "--force")[0] == 0


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (pd.Index(["x", "y"]), {"index": ["x", "y"]}),
        (pd.Index([1, 0]), {"index": [1, 0]}),
        (pd.Index([0, 1], name="prompt"), {"prompt_": [0, 1]}),
        (
            pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["letter", None]),
            {"letter": ["a", "b"], "level_1": [1, 2]},
        ),
        (pd.RangeIndex(2), {}),
    ],
)
def test_labels_become_the_first_columns(
    run: Callable[..., Said], sandbox: Sandbox, index: pd.Index, expected: dict[str, list[object]]
) -> None:
    """Labels other than row positions are written under their own names, which do not replace an input's."""
    pd.DataFrame({"prompt": ["a", "b"]}, index=index).eachlabs.bulk_trigger("wf_abc123", run="r")
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert run("runs", "r", "--out", f"o{suffix}")[0] == 0
        written = files.read(Path(f"o{suffix}"))
        assert written.columns.tolist()[: len(expected) + 1] == [*expected, "prompt"]
        kind = str if suffix == ".csv" else lambda label: label  # CSV has nothing but text
        assert {name: written[name].tolist() for name in expected} == {
            name: list(map(kind, expected[name])) for name in expected
        }


def test_an_input_named_like_a_result_column_needs_a_prefix(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Without --prefix, the error names the option."""
    sandbox.add_workflow("wf_any")
    df = pd.DataFrame({"state": ["mine"]})
    df.eachlabs.bulk_trigger("wf_any", {"status": "state"}, run="r")
    code, _, err = run("runs", "r", "--out", "o.csv")
    assert code == 2
    assert "prefix" in one_line(err)
    assert run("runs", "r", "--out", "o.csv", "--prefix", "p_")[0] == 0
    written = files.read(Path("o.csv"))
    assert (written["status"].tolist(), written["p_status"].tolist()) == (["mine"], ["queued"])


def test_output_contains_no_terminal_control_sequences(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Prompts and labels may contain them; each row stays one line."""
    df = pd.DataFrame({"prompt": ["a \x1b]0;title\x07 fox\nand more", None]}, index=["\x1b[2J", "y"])
    df.eachlabs.bulk_trigger("wf_abc123", run="r")
    code, out, _ = run("runs", "r")
    assert code == 0
    assert all(char.isprintable() or char == "\n" for char in out)
    assert out.count("\n") == 6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none"], "there is no run 'none' in the journal"),
        (["none", "--out", "o.csv"], "there is no run 'none' in the journal"),
        (["none", "--delete", "--yes"], "there is no run 'none' in the journal"),
        (["r", "--out", "o.xlsx"], "must be one of .csv"),
        (["r", "--out", "none/o.csv"], "the folder none does not exist"),
        (["r", "--force"], "--force requires --out"),
        (["r", "--yes"], "--yes requires --delete"),
        (["r", "--delete", "--out", "o.csv"], "--out and --delete cannot be combined"),
        (["r", "--refresh", "--delete"], "--refresh and --delete cannot be combined"),
        (["--out", "o.csv"], "--out requires the name of a run"),
        (["--delete", "--yes"], "--delete requires the name of a run"),
        (["r", "--delete"], "pass --yes to delete without asking"),
        (["r", "--refresh"], "EACHLABS_API_KEY"),
        (["r", "s"], "unrecognized arguments"),
    ],
)
def test_invalid_arguments_give_a_one_line_error(run: Callable[..., Said], argv: list[str], message: str) -> None:
    """The exit code is 2, no file is written, and the run is not deleted."""
    ef.configure(journal=os.environ["EACHLABS_JOURNAL"])
    with ef.sandbox.start():
        pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_abc123", run="r")
    ef.configure(api_key=None, base_url=None)
    code, out, err = run("runs", *argv)
    assert (code, out) == (2, "")
    assert message in one_line(err)
    assert [path.name for path in Path().iterdir()] == ["foxes.csv"]
    assert len(ef.load_run("r")) == 1


@pytest.mark.parametrize("argv", [("runs",), ("runs", "r"), ("runs", "r", "--out", "o.csv"), TRIGGER])
def test_an_unreadable_journal_gives_a_one_line_error(
    run: Callable[..., Said], sandbox: Sandbox, argv: tuple[str, ...]
) -> None:
    """The exit code is 2, nothing is sent, and the file of another program is unchanged."""
    foreign = Path(os.environ["EACHLABS_JOURNAL"])
    foreign.write_text("somebody's notes\n" * 100)
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert str(foreign) in one_line(err)
    assert sandbox.accepted_count() == 0
    assert foreign.read_text() == "somebody's notes\n" * 100


def test_refresh_finds_lost_executions_and_reads_results(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """It sends no trigger request, and records the results in the journal."""
    ef.configure(settle_window=0.1, timeout=1.0)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={2}))
    run(*TRIGGER, "--run", "foxes", "--max-concurrency", "1")
    assert ef.load_run("foxes")["status"].value_counts().to_dict() == {"queued": 35, "unknown": 10}
    sandbox.change(listing_lag=0.0)
    code, out, err = run("runs", "foxes", "--refresh", "--out", "o.csv")
    assert (code, err) == (0, "")
    assert "45 rows: 45 completed, $0.45 so far" in out
    assert ids(files.read(Path("o.csv"))) == billed(sandbox)
    assert sandbox.accepted_count() == 45
    assert "45 rows: 45 completed" in run("runs", "foxes")[1]


def test_a_loss_of_records_must_be_accepted(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """An older copy of the journal is refused until its loss is accepted; then nothing is paid twice."""
    sandbox.change(balance_usd=0.20)
    run(*TRIGGER, "--run", "foxes", "--max-concurrency", "1")
    journal = Path(os.environ["EACHLABS_JOURNAL"])
    older = journal.read_bytes()
    sandbox.top_up(1.0)
    run(*TRIGGER, "--run", "foxes", "--force")
    journal.write_bytes(older)
    code, _, err = run("runs")
    assert code != 0
    assert "is not complete" in err
    assert "--accept-loss" in err
    assert run("runs", "foxes", "--accept-loss")[0] == 2
    assert run("runs", "--accept-loss") == (0, "run foxes: 25 rows now count as possibly sent\n", "")
    assert run("runs", "--accept-loss") == (0, "no row of this journal is affected\n", "")
    run(*TRIGGER, "--run", "foxes", "--force")
    assert sandbox.duplicates() == {}
    assert sandbox.accepted_count() == 45


def test_a_run_is_deleted_without_a_prompt_with_yes(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """With --yes there is no prompt; other runs stay."""
    for name in ("a", "b"):
        run(*TRIGGER, "--run", name, "--force")
    assert run("runs", "a", "--delete", "--yes") == (0, "deleted run a with 45 rows\n", "")
    assert ef.runs()["run"].tolist() == ["b"]


@pytest.mark.slow
@unless_windows
@pytest.mark.parametrize(("answer", "code", "remaining"), [("y\n", 0, []), ("\n", 1, ["r"]), ("no\n", 1, ["r"])])
def test_a_run_is_deleted_on_a_terminal_after_confirmation(
    sandbox: Sandbox, tmp_path: Path, answer: str, code: int, remaining: list[str]
) -> None:
    """The prompt gives the number of rows that were sent; any answer but yes deletes nothing."""
    import pty

    pd.DataFrame({"prompt": ["a", "b", None]}).eachlabs.bulk_trigger("wf_abc123", run="r")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "eachlabs_frames.cli", "runs", "r", "--delete"]
    pipe = subprocess.PIPE
    try:
        os.write(ours, answer.encode())
        child = subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=pipe, stderr=pipe, text=True)
        returned, _, err = ended(child)
    finally:
        os.close(ours)
        os.close(theirs)
    assert returned == code
    assert "run r has 3 rows, 2 of them sent" in err
    assert ef.runs()["run"].tolist() == remaining


def test_the_demo_leaves_no_run_in_the_journal(run: Callable[..., Said]) -> None:
    """Its runs are in a temporary journal, and the settings are restored."""
    journal = Path(os.environ["EACHLABS_JOURNAL"])
    assert run("demo", "--rows", "3")[0] == 0
    assert not journal.exists()
    assert ef.configure().journal == journal
