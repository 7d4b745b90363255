"""Runs on the command line: named, gone on with, listed, written, looked at and deleted."""

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
    """Run a command in this process, in a folder with rows in it; give its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    FOXES.to_csv("foxes.csv", index=False)

    def command(*argv: str) -> Said:
        code = cli.main(argv)
        return code, *capsys.readouterr()

    return command


def result() -> pd.DataFrame:
    """Return the result that a command has written."""
    return files.read(Path("out.csv"))


# Going on


def test_each_trigger_says_the_name_of_its_run(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Also one that nobody gave it, and that is the name by which the run is found again."""
    code, said, err = run(*TRIGGER)
    found = re.fullmatch(r"45 rows: 45 accepted \(45 queued\) -> out\.csv, run (\S+)\n", said)
    assert (code, err) == (0, "")
    assert found is not None
    assert ids(ef.load_run(found.group(1))) == billed(sandbox)
    assert run(*TRIGGER, "--force", "--run", "my own")[1].endswith(", run my own\n")


def test_the_same_command_with_the_run_sends_the_rest(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """What had no money the first time is sent the second, from the same input; a third time there is nothing."""
    sandbox.change(balance_usd=0.20)
    code, said, err = run(*TRIGGER, "--run", "foxes", "--max-concurrency", "1")
    assert (code, said) == (1, "45 rows: 20 accepted (20 queued), 25 pending -> out.csv, run foxes\n")
    assert "To resume, run the same command with --force; it sends only rows that were not sent" in err
    sandbox.top_up(1.0)
    for _ in range(2):
        code, said, _ = run(*TRIGGER, "--run", "foxes", "--force", "--wait")
        assert (code, said) == (0, "45 rows: 45 accepted (45 completed) -> out.csv, run foxes\n")
    assert sandbox.duplicates() == {}
    assert ids(result()) == billed(sandbox)


def test_a_killed_command_is_gone_on_with(sandbox: Sandbox, run: Callable[..., Said], tmp_path: Path) -> None:
    """Killed while the API has ten rows and has not answered: the same command finds them, and sends the rest."""
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
    code, said, _ = run(*argv, "--wait")
    assert (code, said) == (0, "45 rows: 45 accepted (45 completed) -> out.csv, run foxes\n")
    assert sandbox.duplicates() == {}
    assert result()["execution_id"].is_unique
    assert ids(result()) == billed(sandbox)


@pytest.mark.slow
@unless_windows
@pytest.mark.parametrize("named", [(), ("--run", "it's mine"), ("--run", "mine", "--force")])
def test_a_terminated_command_says_how_to_go_on(
    sandbox: Sandbox, run: Callable[..., Said], tmp_path: Path, named: tuple[str, ...]
) -> None:
    """What it says after "with" is what to add to it; then only what was not sent is sent."""
    sandbox.change(account_cap=20, hold=True)
    child = process(*TRIGGER, *named, sandbox=sandbox, cwd=tmp_path)
    until(sandbox, lambda: any(record.status == 429 for record in sandbox.requests) and sandbox.accepted_count() == 20)
    child.send_signal(signal.SIGTERM)
    code, said, err = ended(child)
    assert (code, said) == (143, "")
    last = err.splitlines()[-1]
    found = re.search(
        r"20 accepted .* -> out\.csv, run (.+)\. To resume, run the same command(?: with (.+))?; it sends", last
    )
    assert found is not None
    sandbox.change(account_cap=None, hold=False)
    assert run(*TRIGGER, *named, *shlex.split(found.group(2) or ""))[0] == 0
    assert sandbox.duplicates() == {}
    assert ids(ef.load_run(found.group(1))) == ids(result()) == billed(sandbox)


@pytest.mark.slow
@unless_windows
def test_a_second_signal_ends_it_at_once(sandbox: Sandbox, run: Callable[..., Said], tmp_path: Path) -> None:
    """After the first, it says that it waits for an answer; the rows of one that never came are unknown."""
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


def test_a_run_of_another_kind_is_not_gone_on_with(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """It says what differs, sends nothing, and leaves the file alone."""
    run(*TRIGGER, "--run", "foxes")
    code, said, err = run(*TRIGGER, "--run", "foxes", "--set", "style=noir", "--force")
    assert (code, said) == (2, "")
    assert "run 'foxes' was made differently: --inputs is" in one_line(err)
    assert sandbox.accepted_count() == 45


def test_rows_are_known_by_a_key(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Changed under its key, a row is an error that says so; a column that is not there is one, too."""
    run(*TRIGGER, "--run", "foxes", "--key", "id")
    FOXES.replace("fox 7", "a heron").to_csv("foxes.csv", index=False)
    code, _, err = run(*TRIGGER, "--run", "foxes", "--key", "id", "--force")
    assert code == 2
    assert "foxes.csv, line 9: its key was sent in run 'foxes' with another input" in one_line(err)
    code, _, err = run(*TRIGGER, "--key", "name", "--force")
    assert code == 2
    assert "--key name" in one_line(err)
    assert sandbox.accepted_count() == 45


def test_what_is_not_found_is_paid_again_only_where_that_is_said(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """A request that never arrived leaves its rows unknown; --on-unknown resend sends them again."""
    ef.configure(settle_window=0.1, timeout=1.0)
    sandbox.faults(Fault("dropped", at={1}))
    FOXES.head(3).to_csv("foxes.csv", index=False)
    code, said, err = run(*TRIGGER, "--run", "foxes")
    assert (code, said) == (1, "3 rows: 0 accepted, 3 unknown -> out.csv, run foxes\n")
    assert "eachlabs-frames runs foxes --refresh" in err.splitlines()[-1]
    assert run(*TRIGGER, "--run", "foxes", "--force")[:2] == (code, said)
    code, said, _ = run(*TRIGGER, "--run", "foxes", "--force", "--on-unknown", "resend")
    assert (code, said) == (0, "3 rows: 3 accepted (3 queued) -> out.csv, run foxes\n")
    assert sandbox.accepted_count() == 3


def test_a_run_stops_before_it_costs_more_than_was_said(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The first batch says what an execution costs; without that limit, the same command sends the rest."""
    code, said, err = run(*TRIGGER, "--run", "foxes", "--max-cost", "0.25")
    assert code == 1
    assert re.fullmatch(r"45 rows: 25 accepted \(.*\), 20 pending -> out\.csv, run foxes\n", said)
    assert "--max-cost 0.25 would be exceeded" in err
    assert run(*TRIGGER, "--run", "foxes", "--force")[0] == 0
    assert sandbox.accepted_count() == 45


# The journal's runs


def test_runs_are_listed_without_a_key(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """The newest first, with a column for each status that some row has, and what was paid."""
    assert run("runs") == (0, "the journal has no runs\n", "")
    run(*TRIGGER, "--run", "first", "--wait")
    sandbox.change(balance_usd=0.10)
    run(*TRIGGER, "--run", "the second", "--max-concurrency", "1", "--force")
    sandbox.stop()
    ef.configure(api_key=None, base_url=None)
    code, said, err = run("runs")
    lines = [re.split(r" {2,}", line) for line in said.splitlines()]
    when = [line.pop(2) for line in lines]
    assert (code, err, when[0]) == (0, "", "when (UTC)")
    assert lines == [
        ["run", "workflow", "rows", "pending", "queued", "completed", "cost"],
        ["the second", "wf_abc123", "45", "35", "10"],
        ["first", "wf_abc123", "45", "45", "$0.45"],
    ]
    assert len({len(line) for line in said.splitlines() if line.endswith(("cost", "$0.45"))}) == 1
    code, said, err = run("runs", "the second")
    assert (code, err) == (0, "")
    assert "run the second of workflow wf_abc123, version v2\n45 rows: 35 pending, 10 queued\n" in said
    assert "fox 0" in said
    assert "... and 40 more" in said


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_is_written_in_every_format(run: Callable[..., Said], sandbox: Sandbox, suffix: str) -> None:
    """Inputs and results, without labels that are only the rows' places; a file that is there is left alone."""
    run(*TRIGGER, "--run", "foxes", "--wait")
    out = f"run{suffix}"
    code, said, err = run("runs", "foxes", "--out", out)
    assert (code, err) == (0, "")
    assert said.endswith(f"45 rows: 45 completed, $0.45 so far -> {out}\n")
    back = files.read(Path(out))
    assert back.columns[:2].tolist() == ["prompt", "bulk_id"]
    assert back["prompt"].tolist() == FOXES["prompt"].tolist()
    assert back["execution_id"].tolist() == result()["execution_id"].tolist()
    before = Path(out).read_bytes()
    code, _, err = run("runs", "foxes", "--out", out)
    assert code == 2
    assert "already exists" in one_line(err)
    assert Path(out).read_bytes() == before
    assert run("runs", "foxes", "--out", out, "--force")[0] == 0


@pytest.mark.parametrize(
    ("index", "wanted"),
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
    run: Callable[..., Said], sandbox: Sandbox, index: pd.Index, wanted: dict[str, list[object]]
) -> None:
    """Where they say more than the rows' places, under their own names, which never cover an input's."""
    pd.DataFrame({"prompt": ["a", "b"]}, index=index).eachlabs.bulk_trigger("wf_abc123", run="r")
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert run("runs", "r", "--out", f"o{suffix}")[0] == 0
        back = files.read(Path(f"o{suffix}"))
        assert back.columns.tolist()[: len(wanted) + 1] == [*wanted, "prompt"]
        kind = str if suffix == ".csv" else lambda label: label  # CSV has nothing but text
        assert {name: back[name].tolist() for name in wanted} == {
            name: list(map(kind, wanted[name])) for name in wanted
        }


def test_an_input_of_a_results_name_takes_a_prefix(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """Without one, the error says what to pass."""
    sandbox.add_workflow("wf_any")
    df = pd.DataFrame({"state": ["mine"]})
    df.eachlabs.bulk_trigger("wf_any", {"status": "state"}, run="r")
    code, _, err = run("runs", "r", "--out", "o.csv")
    assert code == 2
    assert "prefix" in one_line(err)
    assert run("runs", "r", "--out", "o.csv", "--prefix", "p_")[0] == 0
    back = files.read(Path("o.csv"))
    assert (back["status"].tolist(), back["p_status"].tolist()) == (["mine"], ["queued"])


def test_nothing_that_is_shown_is_obeyed_by_a_terminal(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """A prompt may hold anything, and so may a run's label; a line stays one."""
    df = pd.DataFrame({"prompt": ["a \x1b]0;title\x07 fox\nand more", None]}, index=["\x1b[2J", "y"])
    df.eachlabs.bulk_trigger("wf_abc123", run="r")
    code, said, _ = run("runs", "r")
    assert code == 0
    assert all(char.isprintable() or char == "\n" for char in said)
    assert said.count("\n") == 6


@pytest.mark.parametrize(
    ("argv", "wanted"),
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
def test_a_wrong_call_is_one_line(run: Callable[..., Said], argv: list[str], wanted: str) -> None:
    """The exit code is 2, no file has come, and the run is still there."""
    ef.configure(journal=os.environ["EACHLABS_JOURNAL"])
    with ef.sandbox.start():
        pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_abc123", run="r")
    ef.configure(api_key=None, base_url=None)
    code, said, err = run("runs", *argv)
    assert (code, said) == (2, "")
    assert wanted in one_line(err)
    assert [path.name for path in Path().iterdir()] == ["foxes.csv"]
    assert len(ef.load_run("r")) == 1


@pytest.mark.parametrize("argv", [("runs",), ("runs", "r"), ("runs", "r", "--out", "o.csv"), TRIGGER])
def test_a_journal_that_cannot_be_read_is_one_line(
    run: Callable[..., Said], sandbox: Sandbox, argv: tuple[str, ...]
) -> None:
    """The exit code is 2, nothing is sent, and the file of another program stays as it is."""
    theirs = Path(os.environ["EACHLABS_JOURNAL"])
    theirs.write_text("somebody's notes\n" * 100)
    code, said, err = run(*argv)
    assert (code, said) == (2, "")
    assert str(theirs) in one_line(err)
    assert sandbox.accepted_count() == 0
    assert theirs.read_text() == "somebody's notes\n" * 100


def test_a_look_finds_what_was_lost_and_how_the_rest_has_ended(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """It asks the API, sends nothing, and the journal knows it from then on."""
    ef.configure(settle_window=0.1, timeout=1.0)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={2}))
    run(*TRIGGER, "--run", "foxes", "--max-concurrency", "1")
    assert ef.load_run("foxes")["status"].value_counts().to_dict() == {"queued": 35, "unknown": 10}
    sandbox.change(listing_lag=0.0)
    code, said, err = run("runs", "foxes", "--refresh", "--out", "o.csv")
    assert (code, err) == (0, "")
    assert "45 rows: 45 completed, $0.45 so far" in said
    assert ids(files.read(Path("o.csv"))) == billed(sandbox)
    assert sandbox.accepted_count() == 45
    assert "45 rows: 45 completed" in run("runs", "foxes")[1]


def test_a_loss_of_records_is_accepted_knowingly(run: Callable[..., Said], sandbox: Sandbox) -> None:
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


def test_a_run_is_deleted_for_scripts(run: Callable[..., Said], sandbox: Sandbox) -> None:
    """With --yes there is no question; the other runs stay."""
    for name in ("a", "b"):
        run(*TRIGGER, "--run", name, "--force")
    assert run("runs", "a", "--delete", "--yes") == (0, "deleted run a with 45 rows\n", "")
    assert ef.runs()["run"].tolist() == ["b"]


@pytest.mark.slow
@unless_windows
@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, []), ("\n", 1, ["r"]), ("no\n", 1, ["r"])])
def test_a_run_is_deleted_on_a_terminal_after_asking(
    sandbox: Sandbox, tmp_path: Path, answer: str, code: int, left: list[str]
) -> None:
    """It says how many rows were sent; anything but yes leaves all as it is."""
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
    assert ef.runs()["run"].tolist() == left


def test_the_demo_leaves_no_run_in_anybodys_journal(run: Callable[..., Said]) -> None:
    """Its runs are toys: they go to a journal of its own, which is gone afterwards, and the settings are back."""
    journal = Path(os.environ["EACHLABS_JOURNAL"])
    assert run("demo", "--rows", "3")[0] == 0
    assert not journal.exists()
    assert ef.configure().journal == journal
