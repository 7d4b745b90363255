"""Tests of the accessor in a real notebook kernel: the ipykernel 6 or 7 of this environment, without a kernelspec.

Cells run in the kernel's process, against a sandbox in this process.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipykernel
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

pytestmark = pytest.mark.slow

TIMEOUT = 240
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Cell:
    """The reply to a cell's execution, and the messages that it published."""

    reply: dict[str, Any]
    shown: list[dict[str, Any]]

    @property
    def status(self) -> str:
        """The reply's status (`ok`, `error` or `aborted`), and the error's name if there is one."""
        return " ".join([self.reply["status"], *([self.reply["ename"]] if "ename" in self.reply else [])])

    @property
    def text(self) -> str:
        """The text that the cell printed."""
        return "".join(m["content"]["text"] for m in self.shown if m["msg_type"] == "stream")

    @property
    def traceback(self) -> list[str]:
        """The lines of the displayed traceback, without colour codes."""
        [error] = self.of("error")
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error["traceback"])).splitlines()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the contents of the published messages of one type."""
        return [message["content"] for message in self.shown if message["msg_type"] == kind]


class Kernel:
    """A kernel and its client. Cells can be queued before their replies are read."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient, sandbox: Sandbox) -> None:
        self.manager = manager
        self.sandbox = sandbox
        self._client = client
        self._shown: dict[str, list[dict[str, Any]]] = {}

    def queue(self, code: str) -> str:
        """Send a cell without waiting for it, and return its message id."""
        # With stop_on_error the kernel would abort the cells queued behind a failed one.
        message_id: str = self._client.execute(code, stop_on_error=False)
        return message_id

    def replies(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """Return the next replies and the ids of their cells, in the order of arrival."""
        messages: list[dict[str, Any]] = []
        while len(messages) < count:
            message = self._client.get_shell_msg(timeout=TIMEOUT)
            # A kernel that starts slowly also replies to repeated kernel_info requests.
            if message["msg_type"] == "execute_reply":
                messages.append(message)
        return [(message["parent_header"]["msg_id"], message["content"]) for message in messages]

    def shown(self, cell: str) -> list[dict[str, Any]]:
        """Read published messages until `cell` is idle, and return the messages of that cell."""
        while True:
            message = self._client.get_iopub_msg(timeout=TIMEOUT)
            parent = message["parent_header"].get("msg_id")
            self._shown.setdefault(parent, []).append(message)
            if parent == cell and message["content"].get("execution_state") == "idle":
                return self._shown[cell]

    def wait_for_text(self, cell: str, text: str) -> None:
        """Read published messages until `cell` prints `text`."""
        shown = self._shown.setdefault(cell, [])
        while not any(text in m["content"]["text"] for m in shown if m["msg_type"] == "stream"):
            message = self._client.get_iopub_msg(timeout=TIMEOUT)
            self._shown.setdefault(message["parent_header"].get("msg_id"), []).append(message)

    def run(self, code: str) -> Cell:
        """Run a cell to completion."""
        cell = self.queue(code)
        [(replied, reply)] = self.replies(1)
        assert replied == cell
        return Cell(reply, self.shown(cell))

    def interrupt_after(self, accepted: int, code: str, *, again_at: str | None = None) -> Cell:
        """Run a cell, interrupt it after so many accepted executions, and again when it prints `again_at`."""
        cell = self.queue(code)
        deadline = time.monotonic() + TIMEOUT
        while self.sandbox.accepted_count() < accepted:
            assert time.monotonic() < deadline, "the cell triggers no executions"
            time.sleep(0.005)
        return self._interrupt(cell, again_at)

    def interrupt_at(self, mark: Path, code: str) -> Cell:
        """Run a cell, and interrupt it when it has created the file `mark`."""
        cell = self.queue(code)
        deadline = time.monotonic() + TIMEOUT
        while not mark.exists():
            assert time.monotonic() < deadline, "the cell does not create the file"
            time.sleep(0.005)
        return self._interrupt(cell, None)

    def _interrupt(self, cell: str, again_at: str | None) -> Cell:
        self.manager.interrupt_kernel()
        if again_at is not None:
            self.wait_for_text(cell, again_at)
            self.manager.interrupt_kernel()
        [(replied, reply)] = self.replies(1)
        assert replied == cell
        return Cell(reply, self.shown(cell))


@pytest.fixture(scope="module", params=["thread", "nest"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Start a sandbox and a kernel configured with one of the bridges."""
    folder = tmp_path_factory.mktemp("kernel")
    # Without kernelspec folders only ipykernel's own "python3" spec for this interpreter remains.
    manager = KernelManager(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), connection_file=str(folder / "kernel.json")
    )
    with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        manager.start_kernel(env=_environment(sandbox, folder), cwd=str(folder))
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=TIMEOUT)
            kernel = Kernel(manager, client, sandbox)
            setup = kernel.run(
                "import json, sys\nimport pandas as pd\nimport eachlabs_frames as ef\n"
                f"ef.configure(bridge={request.param!r})\n"
                "def rows(count, name):\n"
                "    return pd.DataFrame({'prompt': [f'{name} {n}' for n in range(count)]})\n"
            )
            assert setup.status == "ok"
            yield kernel
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()


def _environment(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    variables = {name: str(folder) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    variables |= {"EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}
    return {**os.environ, **variables, "EACHLABS_JOURNAL": str(folder / "journal.sqlite")}


@pytest.fixture
def kernel(running: Kernel) -> Kernel:
    """Return the kernel, after resetting the sandbox."""
    running.sandbox.change(latency=0.0, hold=False)
    running.sandbox.faults()
    running.sandbox.reset()
    return running


def test_queued_cells_get_their_replies_in_order(kernel: Kernel) -> None:
    """As in Run All, each of five cells triggers and gets its reply; none is lost while another one waits."""
    kernel.sandbox.change(latency=0.05)
    trigger = (
        "rows(25, 'cell {}').eachlabs.bulk_trigger('wf_abc123', progress=False, wait=True)['status'].unique().tolist()"
    )
    cells = [kernel.queue(f"print({trigger.format(number)})") for number in range(5)]
    replies = kernel.replies(5)
    assert [cell for cell, _ in replies] == cells
    assert [reply["status"] for _, reply in replies] == ["ok"] * 5
    assert [Cell({}, kernel.shown(cell)).text for cell in cells] == ["['completed']\n"] * 5
    assert (kernel.sandbox.accepted_count(), kernel.sandbox.duplicates()) == (125, {})


def test_next_cell_works_after_an_interrupt(kernel: Kernel) -> None:
    """The next cell finds every accepted row in ``sys.last_value.frame`` of the `Interrupted`, and can trigger."""
    kernel.sandbox.change(latency=0.1)
    cell = kernel.interrupt_after(40, "rows(300, 'row').eachlabs.bulk_trigger('wf_abc123', max_concurrency=4)")
    assert cell.status == "error Interrupted"
    assert_short_traceback(cell)
    accepted = [execution.execution_id for execution in kernel.sandbox.accepted]
    assert 40 <= len(accepted) < 300
    printed = kernel.run("print(json.dumps(sys.last_value.frame['execution_id'].dropna().tolist()))")
    assert sorted(json.loads(printed.text)) == sorted(accepted)
    again = kernel.run(
        "print(rows(3, 'again').eachlabs.bulk_trigger('wf_abc123', progress=False)['status'].unique().tolist())"
    )
    assert (again.status, again.text) == ("ok", "['queued']\n")
    assert kernel.sandbox.accepted_count() == len(accepted) + 3


def assert_short_traceback(cell: Cell) -> None:
    """Assert that an interrupt's traceback has only the cell's own lines and the message, which is the last line."""
    lines = cell.traceback
    assert len(lines) <= 15
    assert lines[-1] == f"{cell.reply['ename']}: {cell.reply['evalue']}"
    assert any(line.startswith("----> ") for line in lines)
    assert not any("eachlabs_frames" in line or "asyncio" in line for line in lines[:-1])


@pytest.mark.parametrize(
    "call", ["{}.bulk_trigger('wf_abc123', mine)", "await {}.bulk_trigger_async('wf_abc123', mine)"]
)
def test_traceback_shows_only_the_users_code(kernel: Kernel, call: str) -> None:
    """It shows the failing line of the row function and the call; a debugger still has all frames."""
    cell = kernel.run("def mine(row):\n    return 1 / 0\n" + call.format("rows(3, 'row').eachlabs"))
    assert cell.status == "error InputError"
    marked = [line.partition(" ")[2].split(maxsplit=1)[1] for line in cell.traceback if line.startswith("----> ")]
    assert marked[0] == "return 1 / 0"
    assert marked[1].endswith("', mine)")
    assert len(marked) == 2
    assert "eachlabs_frames" not in "\n".join(cell.traceback)
    frames = kernel.run("import traceback\nprint(len(traceback.extract_tb(sys.last_value.__traceback__)))")
    assert int(frames.text) > 3


def check_last_frame(kernel: Kernel, total: int) -> dict[str, int]:
    """Check that the frame of the last exception has every accepted row's execution; return its rows per status."""
    printed = kernel.run(
        "frame = sys.last_value.frame\n"
        "known = frame[frame['execution_id'].notna()]\n"
        "print(json.dumps([len(frame), dict(zip(known['prompt'], known['execution_id'])),"
        " frame['status'].value_counts().to_dict()]))"
    )
    length, known, statuses = json.loads(printed.text)
    assert length == total
    accepted = {execution.inputs["prompt"]: execution.execution_id for execution in kernel.sandbox.accepted}
    assert known.items() <= accepted.items()
    assert len(known) + statuses.get("unknown", 0) == len(accepted) < total
    assert len(known) + statuses.get("unknown", 0) + statuses["pending"] == total
    counts: dict[str, int] = statuses
    return counts


def test_interrupted_await_cell_sends_nothing_more(kernel: Kernel) -> None:
    """The exception's frame has the accepted rows and its message names the run, though the kernel's loop is idle."""
    kernel.sandbox.change(latency=0.1)
    cell = kernel.interrupt_after(
        40,
        "await rows(600, 'row').eachlabs.bulk_trigger_async('wf_abc123', max_concurrency=2, run='awaited')",
    )
    assert cell.status == "error CancelledError"
    assert_short_traceback(cell)
    assert "load_run('awaited')" in cell.reply["evalue"]
    assert "unknown" not in check_last_frame(kernel, 600)
    loaded = kernel.run(
        "print(json.dumps(ef.load_run('awaited')['execution_id'].dropna().tolist()))\nef.delete_run('awaited')"
    )
    assert sorted(json.loads(loaded.text)) == sorted(execution.execution_id for execution in kernel.sandbox.accepted)


def test_synchronous_call_in_an_await_cell_can_be_interrupted(kernel: Kernel) -> None:
    """The kernel's SIGINT handler only cancels the cell's task there, which a call that blocks the loop ignores."""
    kernel.sandbox.change(latency=0.1)
    cell = kernel.interrupt_after(
        40,
        "import asyncio\nawait asyncio.sleep(0)\n"
        "rows(600, 'row').eachlabs.bulk_trigger('wf_abc123', max_concurrency=2)",
    )
    assert cell.status == "error Interrupted"
    assert "unknown" not in check_last_frame(kernel, 600)


def test_second_interrupt_of_an_await_cell_ends_it_at_once(kernel: Kernel) -> None:
    """The kernel ignores the second interrupt, but the call stops waiting: rows without a response are unknown."""
    kernel.sandbox.faults(Fault("silence"))
    cell = kernel.interrupt_after(
        20,
        "from eachlabs_frames.aio import bridge\n"
        "grace, bridge.GRACE = bridge.GRACE, 3600.0\n"
        "try:\n"
        "    await rows(300, 'row').eachlabs.bulk_trigger_async('wf_abc123', max_concurrency=2,"
        " progress=lambda event: print(event.kind, flush=True))\n"
        "finally:\n"
        "    bridge.GRACE = grace",
        again_at="stopped",
    )
    assert cell.status == "error CancelledError"
    assert check_last_frame(kernel, 300) == {"unknown": 20, "pending": 280}


NEW = itertools.count()
"""Numbers that make the rows of each case distinct: all cases share one kernel and its journal."""

BEGUN = "import pathlib\npathlib.Path({mark!r}).touch()\n"

# It creates a file because ipykernel 6 may attribute a thread's output to an earlier cell, if the thread has the ident
# of one that has ended.
BLOCKED = (
    "import pathlib, signal, threading, time\n"
    "def mark_when_blocked():\n"
    "    while getattr(signal.getsignal(signal.SIGINT), '__module__', '') != 'eachlabs_frames.aio.interrupts':\n"
    "        time.sleep(0.001)\n"
    "    pathlib.Path({mark!r}).touch()\n"
    "await asyncio.sleep(0)\n"
    "threading.Thread(target=mark_when_blocked).start()\n"
)


@pytest.mark.parametrize(
    "waiting",
    [
        f"{BEGUN}await out.eachlabs.wait_async(progress=False)",
        f"{BEGUN}await run",
        f"{BLOCKED}run.result()",
        f"{BLOCKED}out.eachlabs.wait(progress=False)",
    ],
    ids=["await wait_async", "await run", "result", "wait"],
)
def test_interrupted_wait_in_an_await_cell_ends(kernel: Kernel, tmp_path: Path, waiting: str) -> None:
    """The wait for executions that never end is interrupted, and a background run continues."""
    kernel.sandbox.change(hold=True)
    new = next(NEW)
    setup = kernel.run(
        "import asyncio\n"
        f"out = rows(20, 'held {new}').eachlabs.bulk_trigger('wf_abc123', progress=False)\n"
        f"run = rows(20, 'run {new}').eachlabs.start('wf_abc123', progress=False)"
    )
    assert setup.status == "ok"
    mark = tmp_path / "begun"
    cell = kernel.interrupt_at(mark, waiting.format(mark=str(mark)))
    assert cell.reply["status"] == "error"
    assert len(cell.traceback) <= 15
    assert kernel.run("print(run.done)\nrun.cancel()\nprint(len(run.result()))").text == "False\n20\n"
    kernel.sandbox.release()


def test_progress_bar_is_shown_and_closed(kernel: Kernel) -> None:
    """A cell shows one tqdm bar by default; at the end it is full and replaced by static HTML."""
    cell = kernel.run("out = rows(25, 'bar').eachlabs.bulk_trigger('wf_abc123', wait=True)")
    assert cell.status == "ok"
    static, bar = cell.of("display_data")
    assert "running when this notebook was saved" in static["data"]["text/html"]
    assert WIDGET in bar["data"]
    last, removed = cell.of("update_display_data")
    assert 'value="25" max="25"' in last["data"]["text/html"]
    assert "25/25" in last["data"]["text/html"]
    assert removed["data"] == {"text/plain": "", "text/html": ""}
    assert [update["transient"] for update in (last, removed)] == [shown["transient"] for shown in (static, bar)]
    states = [message["data"].get("state", {}) for message in cell.of("comm_msg")]
    assert "success" in [state.get("bar_style") for state in states]
    assert [state["value"] for state in states if isinstance(state.get("value"), float | int)][-1] == 25
    assert cell.text == ""


def test_nesting_is_refused_if_it_would_lose_queued_cells(kernel: Kernel) -> None:
    """Versions of ipykernel from 7.1 on drop queued cells if the archived nest-asyncio has patched asyncio first."""
    cell = kernel.run(
        "import asyncio\n"
        "mark = asyncio.__dict__.pop('_nest_asyncio2', None)\n"
        "patched, asyncio._nest_patched = getattr(asyncio, '_nest_patched', None), True\n"
        "try:\n"
        "    from eachlabs_frames.aio import nested\n"
        "    nested._check_kernel()\n"
        "    print('allowed')\n"
        "except ef.BridgeError as exc:\n"
        "    print(exc)\n"
        "finally:\n"
        "    if patched is None: del asyncio._nest_patched\n"
        "    if mark is not None: asyncio._nest_asyncio2 = mark\n"
    )
    lossy = ipykernel.version_info[:2] >= (7, 1)
    assert ("configure(bridge='thread')" if lossy else "allowed") in cell.text


def test_webhook_receiver_is_shared_between_cells(kernel: Kernel) -> None:
    """A receiver started in one cell serves the calls of others, and keeps listening while no cell runs."""
    started = kernel.run("hook = ef.WebhookReceiver().start()\nprint(hook.start() is hook)")
    assert (started.status, started.text) == ("ok", "True\n")
    options = "'wf_abc123', progress=False, webhook"
    cells = [
        kernel.queue(f"rows(25, '{name}').eachlabs.bulk_trigger({options}=hook, wait={wait})")
        for name, wait in (("one", True), ("two", True), ("three", False))
    ]
    assert [reply["status"] for _, reply in kernel.replies(3)] == ["ok"] * 3
    for cell in cells:
        kernel.shown(cell)
    ended = kernel.run(
        "import asyncio\n"
        "while hook.counts['accepted'] < 75: await asyncio.sleep(0.01)\n"
        "async with ef.WebhookReceiver() as other:\n"
        f"    out = await rows(25, 'four').eachlabs.bulk_trigger_async({options}=other, wait=True)\n"
        "print(out['status'].unique().tolist(), other.counts['accepted'], other.listening)\n"
        "hook.stop()\n"
        "print(hook.counts['accepted'], hook.listening)"
    )
    assert (ended.status, ended.text) == ("ok", "['completed'] 25 False\n75 False\n")
    # The deliveries contain the costs of the executions, so they are not polled.
    assert [request for request in kernel.sandbox.requests if request.route == "list"] == []
