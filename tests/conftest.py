from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox

from .postgres import own_server as own_server
from .postgres import postgres_journal as postgres_journal
from .postgres import postgres_schema as postgres_schema
from .postgres import postgres_server as postgres_server
from .postgres import postgres_url as postgres_url

# A busy machine must not fail a test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# In the background of a shell, or under nohup, a process and its children ignore these signals, which some tests send.
for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

_NAMES = (
    "api_key",
    "base_url",
    "dialect",
    "max_concurrency",
    "timeout",
    "max_wait",
    "bridge",
    "settle_window",
    "max_uploads",
)
DEFAULTS: dict[str, Any] = dict.fromkeys(_NAMES) | {"journal": True, "rerun_guard": 86_400.0}


# The number of tests left out, by mark. Each xdist worker collects all of the tests, so the counts of one are enough.
_LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_xdist_auto_num_workers() -> int:
    """Return twice the number of cores: most tests wait."""
    return 2 * (os.cpu_count() or 1)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count what `-m` left out. What `-k` leaves out comes in a call of its own, with tests that have no such mark."""
    marks = [
        next((m.name for m in item.iter_markers() if m.name in ("chaos", "slow", "postgres")), "") for item in items
    ]
    if all(marks):
        items[0].config.stash[_LEFT_OUT] = Counter(marks)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give the counts of an xdist worker to the process that writes the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash.get(_LEFT_OUT, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of an xdist worker. A worker that crashed has none."""
    if left_out := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[_LEFT_OUT] = Counter(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write which tests were left out, and how to run them."""
    if left_out := config.stash.get(_LEFT_OUT, None):
        counts = ", ".join(f"{count} {mark}" for mark, count in sorted(left_out.items()))
        terminalreporter.write_line(f"not run: {counts}; pytest -n auto -m '' runs them too")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Isolate each test from the machine's key and journal, and from the settings of other tests."""
    _forget_environment(monkeypatch)
    monkeypatch.setenv("EACHLABS_JOURNAL", str(tmp_path_factory.mktemp("journal") / "journal.sqlite"))
    ef.configure(**DEFAULTS)
    yield
    _forget_environment(monkeypatch)
    ef.configure(**DEFAULTS)


def _forget_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EACHLABS_")]:
        monkeypatch.delenv(name)
    # The width of the terminal, which cuts progress bars.
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose executions end at once; the settings point to it and to the test's journal."""
    # Not the sandbox's own journal: commands started by a test read this path from the environment.
    ef.configure(journal=os.environ["EACHLABS_JOURNAL"])
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0)) as running:
        yield running
