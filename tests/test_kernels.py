"""The doorway in a real notebook kernel: the ipykernel of this very environment, 6 or 7, with no kernelspec installed.

The cells run in the kernel's process; the sandbox that they trigger on, and its ledger, are in this one.
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
    """What came of a cell: its reply, and what it showed."""

    reply: dict[str, Any]
    shown: list[dict[str, Any]]

    @property
    def status(self) -> str:
        """`ok`, `error` or `aborted`, and the error's name."""
        return " ".join([self.reply["status"], *([self.reply["ename"]] if "ename" in self.reply else [])])

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(m["content"]["text"] for m in self.shown if m["msg_type"] == "stream")

    @property
    def traceback(self) -> list[str]:
        """The lines of the error that it showed."""
        [error] = self.of("error")
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error["traceback"])).splitlines()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What it sent of one kind of message."""
        return [message["content"] for message in self.shown if message["msg_type"] == kind]


class Kernel:
    """A kernel and its client. Its cells are queued, and asked for when all of them are."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient, sandbox: Sandbox) -> None:
        self.manager = manager
        self.sandbox = sandbox
        self._client = client
        self._shown: dict[str, list[dict[str, Any]]] = {}

    def queue(self, code: str) -> str:
        """Send a cell, and do not wait for it."""
        # An error would have the kernel abort what is queued behind it, for as long as it pleases.
        message_id: str = self._client.execute(code, stop_on_error=False)
        return message_id

    def replies(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """Return the next replies, with the ids of their cells, in the order in which they come."""
        messages: list[dict[str, Any]] = []
        while len(messages) < count:
            message = self._client.get_shell_msg(timeout=TIMEOUT)
            # A kernel that was slow to start was asked more than once who it is.
            if message["msg_type"] == "execute_reply":
                messages.append(message)
        return [(message["parent_header"]["msg_id"], message["content"]) for message in messages]

    def shown(self, cell: str) -> list[dict[str, Any]]:
        """Read what the kernel publishes until `cell` is done; return what that one showed."""
        while True:
            message = self._client.get_iopub_msg(timeout=TIMEOUT)
            parent = message["parent_header"].get("msg_id")
            self._shown.setdefault(parent, []).append(message)
            if parent == cell and message["content"].get("execution_state") == "idle":
                return self._shown[cell]

    def prints(self, cell: str, text: str) -> None:
        """Read what the kernel publishes until `cell` prints `text`."""
        shown = self._shown.setdefault(cell, [])
        while not any(text in m["content"]["text"] for m in shown if m["msg_type"] == "stream"):
            message = self._client.get_iopub_msg(timeout=TIMEOUT)
            self._shown.setdefault(message["parent_header"].get("msg_id"), []).append(message)

    def run(self, code: str) -> Cell:
        """Run one cell to its end."""
        cell = self.queue(code)
        [(answered, reply)] = self.replies(1)
        assert answered == cell
        return Cell(reply, self.shown(cell))

    def interrupt_after(self, accepted: int, code: str, *, again_at: str | None = None) -> Cell:
        """Run a cell, and interrupt it as soon as so many executions were accepted; again when it prints `again_at`."""
        cell = self.queue(code)
        deadline = time.monotonic() + TIMEOUT
        while self.sandbox.accepted_count() < accepted:
            assert time.monotonic() < deadline, "the cell does not trigger"
            time.sleep(0.005)
        return self._interrupt(cell, again_at)

    def interrupt_at(self, mark: Path, code: str) -> Cell:
        """Run a cell, and interrupt it when it has made the file `mark`."""
        cell = self.queue(code)
        deadline = time.monotonic() + TIMEOUT
        while not mark.exists():
            assert time.monotonic() < deadline, "the cell does not begin"
            time.sleep(0.005)
        return self._interrupt(cell, None)

    def _interrupt(self, cell: str, again_at: str | None) -> Cell:
        self.manager.interrupt_kernel()
        if again_at is not None:
            self.prints(cell, again_at)
            self.manager.interrupt_kernel()
        [(answered, reply)] = self.replies(1)
        assert answered == cell
        return Cell(reply, self.shown(cell))


@pytest.fixture(scope="module", params=["thread", "nest"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Start a sandbox, and a kernel that uses one of the bridges."""
    folder = tmp_path_factory.mktemp("kernel")
    # No folder of kernelspecs: what is left is "python3" as this interpreter's ipykernel defines it.
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
    own = {name: str(folder) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    own |= {"EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}
    return {**os.environ, **own, "EACHLABS_JOURNAL": str(folder / "journal.sqlite")}


@pytest.fixture
def kernel(running: Kernel) -> Kernel:
    """Give the kernel, and a sandbox that remembers nothing."""
    running.sandbox.change(latency=0.0, hold=False)
    running.sandbox.faults()
    running.sandbox.reset()
    return running


def test_five_queued_cells_have_five_replies(kernel: Kernel) -> None:
    """Run All: each cell triggers, each has its reply, in order, and none is lost while another one waits."""
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


def test_an_interrupted_cell_and_the_next_one(kernel: Kernel) -> None:
    """The reply is an `Interrupted`; the next cell finds every accepted row in ``sys.last_value.frame``, and sends."""
    kernel.sandbox.change(latency=0.1)
    cell = kernel.interrupt_after(40, "rows(300, 'row').eachlabs.bulk_trigger('wf_abc123', max_concurrency=4)")
    assert cell.status == "error Interrupted"
    is_short(cell)
    accepted = [one.execution_id for one in kernel.sandbox.accepted]
    assert 40 <= len(accepted) < 300
    shown = kernel.run("print(json.dumps(sys.last_value.frame['execution_id'].dropna().tolist()))")
    assert sorted(json.loads(shown.text)) == sorted(accepted)
    again = kernel.run(
        "print(rows(3, 'again').eachlabs.bulk_trigger('wf_abc123', progress=False)['status'].unique().tolist())"
    )
    assert (again.status, again.text) == ("ok", "['queued']\n")
    assert kernel.sandbox.accepted_count() == len(accepted) + 3


def is_short(cell: Cell) -> None:
    """Check that an interrupt takes few lines: the cell's own and the message, which is the last, and no more."""
    lines = cell.traceback
    assert len(lines) <= 15
    assert lines[-1] == f"{cell.reply['ename']}: {cell.reply['evalue']}"
    assert any(line.startswith("----> ") for line in lines)
    assert not any("eachlabs_frames" in line or "asyncio" in line for line in lines[:-1])


@pytest.mark.parametrize(
    "call", ["{}.bulk_trigger('wf_abc123', mine)", "await {}.bulk_trigger_async('wf_abc123', mine)"]
)
def test_an_error_shows_the_users_own_code_alone(kernel: Kernel, call: str) -> None:
    """The line of a row function that raised, and the call; a debugger still has every frame."""
    cell = kernel.run("def mine(row):\n    return 1 / 0\n" + call.format("rows(3, 'row').eachlabs"))
    assert cell.status == "error InputError"
    marked = [line.partition(" ")[2].split(maxsplit=1)[1] for line in cell.traceback if line.startswith("----> ")]
    assert marked[0] == "return 1 / 0"
    assert marked[1].endswith("', mine)")
    assert len(marked) == 2
    assert "eachlabs_frames" not in "\n".join(cell.traceback)
    frames = kernel.run("import traceback\nprint(len(traceback.extract_tb(sys.last_value.__traceback__)))")
    assert int(frames.text) > 3


def left_over(kernel: Kernel, total: int) -> dict[str, int]:
    """Check that the last exception's frame has every accepted row in its place; return the rows per status."""
    shown = kernel.run(
        "frame = sys.last_value.frame\n"
        "known = frame[frame['execution_id'].notna()]\n"
        "print(json.dumps([len(frame), dict(zip(known['prompt'], known['execution_id'])),"
        " frame['status'].value_counts().to_dict()]))"
    )
    length, known, statuses = json.loads(shown.text)
    assert length == total
    accepted = {one.inputs["prompt"]: one.execution_id for one in kernel.sandbox.accepted}
    assert known.items() <= accepted.items()
    assert len(known) + statuses.get("unknown", 0) == len(accepted) < total
    assert len(known) + statuses.get("unknown", 0) + statuses["pending"] == total
    counts: dict[str, int] = statuses
    return counts


def test_an_interrupted_await_cell_sends_nothing_more(kernel: Kernel) -> None:
    """The kernel wakes no idle loop for an interrupt; the frame has the accepted rows, the error names the run."""
    kernel.sandbox.change(latency=0.1)
    cell = kernel.interrupt_after(
        40,
        "await rows(600, 'row').eachlabs.bulk_trigger_async('wf_abc123', max_concurrency=2, run='awaited')",
    )
    assert cell.status == "error CancelledError"
    is_short(cell)
    assert "load_run('awaited')" in cell.reply["evalue"]
    assert "unknown" not in left_over(kernel, 600)
    loaded = kernel.run(
        "print(json.dumps(ef.load_run('awaited')['execution_id'].dropna().tolist()))\nef.delete_run('awaited')"
    )
    assert sorted(json.loads(loaded.text)) == sorted(one.execution_id for one in kernel.sandbox.accepted)


def test_a_synchronous_call_in_an_await_cell_is_interrupted(kernel: Kernel) -> None:
    """There the kernel's handler only cancels the cell's task, which a call that blocks the loop does not notice."""
    kernel.sandbox.change(latency=0.1)
    cell = kernel.interrupt_after(
        40,
        "import asyncio\nawait asyncio.sleep(0)\n"
        "rows(600, 'row').eachlabs.bulk_trigger('wf_abc123', max_concurrency=2)",
    )
    assert cell.status == "error Interrupted"
    assert "unknown" not in left_over(kernel, 600)


def test_a_second_interrupt_of_an_await_cell_ends_at_once(kernel: Kernel) -> None:
    """The kernel ignores it, and answers that never come would be waited for: what was cut off is unknown."""
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
    assert left_over(kernel, 300) == {"unknown": 20, "pending": 280}


NEW = itertools.count()
"""One kernel, and its journal, serve all cases: each needs rows of its own."""

BEGUN = "import pathlib\npathlib.Path({mark!r}).touch()\n"

# A file, because ipykernel 6 may show what a thread prints in an earlier cell: it takes the header of a thread that has
# ended if the new one has the same ident.
BLOCKED = (
    "import pathlib, signal, threading, time\n"
    "def tell():\n"
    "    while getattr(signal.getsignal(signal.SIGINT), '__module__', '') != 'eachlabs_frames.aio.interrupts':\n"
    "        time.sleep(0.001)\n"
    "    pathlib.Path({mark!r}).touch()\n"
    "await asyncio.sleep(0)\n"
    "threading.Thread(target=tell).start()\n"
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
def test_an_interrupted_wait_in_an_await_cell_ends(kernel: Kernel, tmp_path: Path, waiting: str) -> None:
    """Executions that do not end hold no cell; a run in the background goes on."""
    kernel.sandbox.change(hold=True)
    new = next(NEW)
    made = kernel.run(
        "import asyncio\n"
        f"out = rows(20, 'held {new}').eachlabs.bulk_trigger('wf_abc123', progress=False)\n"
        f"run = rows(20, 'run {new}').eachlabs.start('wf_abc123', progress=False)"
    )
    assert made.status == "ok"
    mark = tmp_path / "begun"
    cell = kernel.interrupt_at(mark, waiting.format(mark=str(mark)))
    assert cell.reply["status"] == "error"
    assert len(cell.traceback) <= 15
    assert kernel.run("print(run.done)\nrun.cancel()\nprint(len(run.result()))").text == "False\n20\n"
    kernel.sandbox.release()


def test_one_bar_is_shown_and_closed(kernel: Kernel) -> None:
    """A cell shows one tqdm bar without being asked; at the end it is full, and HTML that needs no kernel."""
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


def test_nesting_is_refused_where_it_would_lose_queued_cells(kernel: Kernel) -> None:
    """Where the archived nest-asyncio has patched asyncio first, ipykernel 7.1 and later would drop cells."""
    cell = kernel.run(
        "import asyncio\n"
        "mark = asyncio.__dict__.pop('_nest_asyncio2', None)\n"
        "patched, asyncio._nest_patched = getattr(asyncio, '_nest_patched', None), True\n"
        "try:\n"
        "    from eachlabs_frames.aio import nested\n"
        "    nested._check_kernel()\n"
        "    print('fine')\n"
        "except ef.BridgeError as exc:\n"
        "    print(exc)\n"
        "finally:\n"
        "    if patched is None: del asyncio._nest_patched\n"
        "    if mark is not None: asyncio._nest_asyncio2 = mark\n"
    )
    lossy = ipykernel.version_info[:2] >= (7, 1)
    assert ("configure(bridge='thread')" if lossy else "fine") in cell.text


def test_a_receiver_of_webhooks_is_started_in_one_cell_and_used_in_others(kernel: Kernel) -> None:
    """Inside the notebook's own loop; while no cell runs, it goes on listening."""
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
    # The deliveries say what the executions have cost: nothing is asked.
    assert [request for request in kernel.sandbox.requests if request.route == "list"] == []
