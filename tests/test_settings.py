"""Settings: where a value comes from, what is refused, and that the key is shown by nothing."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.settings import BASE_URLS, current

KEY = "sk-very-secret-123"


def test_the_environment_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is set after the import counts; `configure` goes before it, and None goes back to it."""
    monkeypatch.setenv("EACHLABS_API_KEY", "from-environment")
    monkeypatch.setenv("EACHLABS_BASE_URL", "https://example.org/v1/")
    assert current().key().reveal() == "from-environment"
    assert current().base_url == "https://example.org/v1"
    ef.configure(api_key=KEY, base_url="https://other.example/v1")
    assert current().key().reveal() == KEY
    assert current().base_url == "https://other.example/v1"
    ef.configure(api_key=None, base_url=None)
    assert current().key().reveal() == "from-environment"


def test_what_is_not_named_keeps_its_value() -> None:
    """Two calls add up."""
    ef.configure(timeout=5)
    assert ef.configure(max_concurrency=3).timeout == 5
    assert current().max_concurrency == 3
    assert current(max_concurrency=7).max_concurrency == 7


@pytest.mark.parametrize(
    ("named", "dialect", "url"),
    [
        ({}, "current", BASE_URLS["current"]),
        ({"dialect": "legacy"}, "legacy", BASE_URLS["legacy"]),
        ({"base_url": "https://workflows.eachlabs.run/api/v1"}, "legacy", BASE_URLS["legacy"]),
        ({"base_url": "http://127.0.0.1:9/api/v1/"}, "legacy", "http://127.0.0.1:9/api/v1"),
        ({"base_url": "http://localhost:9/v1"}, "current", "http://localhost:9/v1"),
        ({"base_url": "http://[::1]:9/v1"}, "current", "http://[::1]:9/v1"),
        ({"base_url": "https://p.example/api/v1", "dialect": "current"}, "current", "https://p.example/api/v1"),
    ],
)
def test_a_dialect_is_chosen_by_name_or_by_base_url(named: Any, dialect: str, url: str) -> None:
    """And each has its own address."""
    settings = ef.configure(**named)
    assert (settings.dialect, settings.base_url) == (dialect, url)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"base_url": "http://api.eachlabs.ai/v1"}, "unencrypted: use https"),
        ({"base_url": "http://10.0.0.1/v1"}, "unencrypted"),
        ({"base_url": "http://localhost.evil.example/v1"}, "unencrypted"),
        ({"base_url": "ftp://x"}, "https://"),
        ({"base_url": ""}, "must be a URL"),
        ({"base_url": "https://user:pw@example.org"}, "must not contain a user"),
        ({"base_url": "https://example.org/?key=1"}, "query"),
        ({"base_url": "https://example.org/v1?"}, "query"),
        ({"base_url": "https://example.org/v1#"}, "fragment"),
        ({"base_url": "https://example.org/a b"}, "must not contain a user"),
        ({"base_url": "https://[::1/v1"}, "not a URL"),
        ({"base_url": "https://example.org:port/v1"}, "not a URL"),
        ({"base_url": 3}, "must be a URL"),
        ({"dialect": "french"}, "'current', 'legacy'"),
        ({"max_concurrency": 0}, "1 to 256"),
        ({"max_concurrency": "8"}, "1 to 256"),
        ({"max_concurrency": 257}, "1 to 256"),
        ({"max_concurrency": True}, "1 to 256"),
        ({"max_concurrency": 1.5}, "1 to 256"),
        ({"timeout": 0}, "positive number of seconds"),
        ({"timeout": "60"}, "positive number of seconds"),
        ({"max_wait": float("inf")}, "positive number of seconds"),
        ({"max_wait": -1}, "positive number of seconds"),
        ({"bridge": "tunnel"}, "'thread' or 'nest'"),
        ({"api_key": ""}, "not empty"),
        ({"api_key": f"{KEY}\n"}, "line break"),
        ({"api_key": f"{KEY}\u00e9"}, "printable ASCII"),
        ({"api_key": 3}, "must be a string"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_and_changes_nothing(named: Any, message: str) -> None:
    """And no message repeats the key."""
    before = ef.configure(timeout=7)
    with pytest.raises(ef.ConfigurationError, match=message) as caught:
        ef.configure(**named)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert ef.configure() == before or ef.configure().timeout == 7


def test_an_unusable_key_of_the_environment_is_an_error_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's last line break is the usual case."""
    monkeypatch.setenv("EACHLABS_API_KEY", f"{KEY}\n")
    with pytest.raises(ef.ConfigurationError, match="line break"):
        current()


def test_no_key_says_where_to_get_one_and_how_to_try_without() -> None:
    """In one sentence each."""
    with pytest.raises(ef.ConfigurationError, match=r"EACHLABS_API_KEY.*sandbox\.start"):
        current().key()


def test_the_key_is_in_no_local_variable_of_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback that shows variables, as error trackers do, shows none of ours."""
    for named in ({"api_key": KEY, "timeout": -1}, {"api_key": f"{KEY} "}):
        with pytest.raises(ef.ConfigurationError) as caught:
            ef.configure(**named)  # type: ignore[arg-type]  # mixed values
        trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [frame for frame in trace.stack if Path(frame.filename).parent.name == "eachlabs_frames"]
        assert len(ours) >= 2
        assert all(KEY not in str(frame.locals) for frame in ours)
    monkeypatch.setenv("EACHLABS_API_KEY", f"{KEY}\n")
    with pytest.raises(ef.ConfigurationError) as caught:
        current()
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in trace.stack if Path(frame.filename).parent.name == "eachlabs_frames"]
    assert all(KEY not in str(frame.locals) for frame in ours)


def test_the_key_is_in_no_repr_and_no_pickle() -> None:
    """Nor in a copy's, a format's or a str."""
    settings = ef.configure(api_key=KEY)
    for shown in (repr(settings), str(settings), f"{settings!s:>20}", repr(copy.copy(settings)), f"{settings.key()}"):
        assert KEY not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(settings)


def test_a_sandbox_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """Not the environment's: with the settings back on the real API, that one holds no run of a sandbox."""
    real = current().journal
    with ef.sandbox.start(dialect="legacy") as sandbox:
        own = current().journal
        pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", run="toy")
        assert ef.runs()["run"].tolist() == ["toy"]
        assert ef.configure(base_url=sandbox.current_base_url).journal == own
    assert ef.load_run("toy")["prompt"].tolist() == ["a fox"]
    assert ef.configure(api_key=None, base_url=None).journal == real != own


def test_a_stopped_sandbox_keeps_no_journal_from_another_at_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have its port by now: where the environment names the server, it names the journal too."""
    with ef.sandbox.start() as sandbox:
        monkeypatch.setenv("EACHLABS_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("EACHLABS_JOURNAL", str(tmp_path / "named.sqlite"))
    assert ef.configure(base_url=None).journal == tmp_path / "named.sqlite"
    assert ef.runs().empty


def test_each_sandbox_begins_with_an_empty_journal() -> None:
    """Also one of the same port and seed: it knows nothing of the former one's executions."""
    rows = pd.DataFrame({"prompt": ["a fox", "a heron"]})
    with ef.sandbox.start(seed=3) as first:
        rows.eachlabs.bulk_trigger("wf_abc123", run="sweep")
    with ef.sandbox.start(seed=3, port=first.port) as second:
        rows.eachlabs.bulk_trigger("wf_abc123", run="sweep")
        assert second.accepted_count() == 2


def test_a_journal_that_was_chosen_is_used_for_a_sandbox_too(tmp_path: Path) -> None:
    """Before it starts or after; and so is none at all. True goes back to the sandbox's own."""
    before, after = tmp_path / "before.sqlite", tmp_path / "after.sqlite"
    ef.configure(journal=before)
    with ef.sandbox.start():
        assert current().journal == before
        assert ef.configure(journal=after).journal == after
        assert ef.configure(journal=True).journal not in (before, after, None)
        with pytest.warns(UserWarning, match="the journal is off"):
            assert ef.configure(journal=None).journal is None


@pytest.mark.slow
def test_the_journals_of_sandboxes_are_deleted_with_their_process(tmp_path: Path) -> None:
    """But not by a child that was forked: its end is not that of the sandbox."""
    code = """
import os, sys, warnings
import pandas as pd, eachlabs_frames as ef
with ef.sandbox.start():
    pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", run="toy", progress=False)
journal = ef.configure().journal
warnings.simplefilter("ignore")
child = os.fork() if hasattr(os, "fork") else None
if child != 0:
    if child:
        os.waitpid(child, 0)
    assert journal.exists()
    print(journal)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not Path(done.stdout.strip()).parent.exists(), done.stdout
