"""A notebook that is open in a JupyterLab: what its user does, and what they and the wire see."""

from __future__ import annotations

import ast
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, WebSocket

PANEL = "window.jupyterapp.shell.currentWidget"
KERNEL = f"{PANEL}.sessionContext.session.kernel"
STATUS = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
SAVES_WIDGETS = "@jupyter-widgets/jupyterlab-manager:saveWidgetState"

NOT_OURS = ("Could not restore the debugger state", "Canceled future for ")
"""What JupyterLab itself logs or raises as an error now and then, such as when a kernel is busy as its debugger starts,
or ends while it is asked for something."""


@dataclass(frozen=True)
class Frame:
    """A frame from or to the kernel's websocket.

    `payload` is laid out as `v1.kernel.websocket.jupyter.org` says: a count of offsets, the offsets, and what they
    divide: the channel, the header, the parent's header, the metadata, the content, and any buffers.
    """

    sent: bool
    payload: bytes

    @property
    def size(self) -> int:
        """Its bytes, without the websocket's own."""
        return len(self.payload)

    @cached_property
    def parts(self) -> list[bytes]:
        """What is in it, in the order of the layout."""
        count = int.from_bytes(self.payload[:8], "little")
        offsets = struct.unpack_from(f"<{count}Q", self.payload, 8)
        return [self.payload[a:b] for a, b in pairwise(offsets)]

    @property
    def kind(self) -> str:
        """The message's type, such as `comm_msg`."""
        return str(json.loads(self.parts[1])["msg_type"])

    @property
    def content(self) -> dict[str, Any]:
        """The message's content."""
        content: dict[str, Any] = json.loads(self.parts[4])
        return content


class Notebook:
    """A notebook's page. Cells are counted from 0.

    `page` is Playwright's, `problems` holds what the page logged as errors or raised, `frames` what went over the
    kernel's websocket; both lists may be cleared.
    """

    def __init__(self, context: BrowserContext, path: Path, url: str, screenshots: str | None = None) -> None:
        self.path = path
        self.page = context.new_page()
        self.problems: list[str] = []
        self.frames: list[Frame] = []
        self._context = context
        self._url = url
        self._screenshots = screenshots
        self._closing = False
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self._blame(f"{error.name}: {error.message}"))
        self.page.on("websocket", self._listen)

    def load(self) -> None:
        """Open the notebook as if for the first time, and wait until its kernel is idle."""
        self.page.goto(self._url)
        self.wait_until_idle()

    def reload(self) -> None:
        """Load the page again, as F5 does, and wait until the notebook is back as it was saved, and its kernel idle."""
        self.page.reload()
        self.wait_until_idle()

    def reopen(self) -> None:
        """End the kernel, and load the page again: what was saved is shown, beside a new kernel that knows nothing."""
        self.page.evaluate(f"() => {PANEL}.sessionContext.shutdown()")
        self.reload()

    def close(self) -> None:
        """End the kernel and its session, and close the page, unless that was done."""
        if self.page.is_closed():
            return
        self._closing = True
        try:
            self.page.evaluate(f"() => {PANEL}?.sessionContext?.shutdown().catch(() => null)")
        finally:
            self._context.close()

    def wait_until_idle(self) -> None:
        """Wait until the notebook is shown alone, and its kernel is ready.

        It says nothing of a cell: on ipykernel 7 a kernel whose cell blocks is called idle as soon as it has handled
        a widget's message in its subshell. `finish_cell` waits for a cell.
        """
        self.page.wait_for_function(
            f"() => {STATUS} === 'idle' && {PANEL}.context?.isReady && {PANEL}.content.widgets.length > 0"
        )
        self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")

    def kernel_status(self) -> str | None:
        """What JupyterLab says of the kernel, such as `idle` and `busy`; None where there is none."""
        status: str | None = self.page.evaluate(f"() => {STATUS}")
        return status

    def run_all(self) -> None:
        """Run all cells, and wait for the last one."""
        self._start("notebook:run-all-cells", "all")
        self._finish("all")

    def run_cell(self, index: int, *, wait: bool = True) -> None:
        """Run a cell; without `wait`, return when the kernel was asked to."""
        self.page.evaluate(f"index => {{ {PANEL}.content.activeCellIndex = index }}", index)
        self._start("notebook:run-cell", str(index))
        if wait:
            self.finish_cell(index)

    def is_running(self, index: int) -> bool:
        """Whether a cell that `run_cell` has started is not done."""
        return bool(self.page.evaluate("name => name in (window.runs ?? {})", str(index)))

    def finish_cell(self, index: int) -> None:
        """Wait until a cell that `run_cell` has started is done."""
        self._finish(str(index))

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """What a cell put out, as nbformat stores it."""
        found: list[dict[str, Any]] = self.page.evaluate(
            f"index => {PANEL}.content.widgets[index].model.sharedModel.toJSON().outputs", index
        )
        return found

    def output_text(self, index: int) -> str:
        """What a cell printed, the plain text of what it showed, and its error."""
        return "".join(_text(output) for output in self.outputs(index))

    def output(self, index: int) -> Locator:
        """Where a cell's outputs are."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea")

    def evaluate(self, expression: str, *, setup: str = "") -> Any:
        """Return a JSON value that the kernel gives for an expression, after `setup`; wait if it is busy."""
        reply = self.page.evaluate(
            f"""async ([code, expression]) => {{
                const future = {KERNEL}.requestExecute({{
                    code, silent: true, store_history: false, user_expressions: {{value: expression}}
                }})
                return (await future.done).content
            }}""",
            [setup, f"__import__('json').dumps({expression})"],
        )
        assert reply["status"] == "ok", reply
        value = reply["user_expressions"]["value"]
        assert value["status"] == "ok", value
        return json.loads(ast.literal_eval(value["data"]["text/plain"]))

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Have JupyterLab do one of its commands, and wait for it."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments or {}]
        )

    def set_theme(self, name: str) -> None:
        """Take a theme, such as `JupyterLab Dark`, and wait until it is there."""
        self.command("apputils:change-theme", {"theme": name})
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def theme(self) -> str:
        """The theme that is shown."""
        return str(self.page.evaluate("() => document.body.dataset.jpThemeName"))

    def save(self, *, widgets: bool = False) -> dict[str, Any]:
        """Save the notebook, with its widgets' state if so asked; return it as it is stored."""
        toggled = self.page.evaluate("name => window.jupyterapp.commands.isToggled(name)", SAVES_WIDGETS)
        if toggled != widgets:
            self.command(SAVES_WIDGETS)
            self.page.wait_for_function(
                "([name, on]) => window.jupyterapp.commands.isToggled(name) === on", arg=[SAVES_WIDGETS, widgets]
            )
        self.command("docmanager:save")
        stored: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return stored

    def received(self, kind: str = "comm_msg") -> list[Frame]:
        """What came of one kind of message since `frames` was last cleared."""
        return [frame for frame in self.frames if not frame.sent and frame.kind == kind]

    def screenshot(self, name: str) -> None:
        """Store a picture of the page, if anybody wants one."""
        if self._screenshots:
            self.page.screenshot(path=Path(self._screenshots) / f"{name}.png")

    def violations(self, axe: Path, selector: str) -> list[dict[str, Any]]:
        """What axe-core, of which this is the script, finds wrong with the elements that match."""
        # No `define` for it to find: it is to be on the window, whatever module loader is there.
        script = axe.read_text(encoding="utf-8")
        self.page.evaluate(f"() => {{ const define = undefined, module = undefined\n{script}\n}}")
        found: list[dict[str, Any]] = self.page.evaluate("async it => (await axe.run(it)).violations", selector)
        return found

    def _start(self, command: str, name: str) -> None:
        """Have JupyterLab begin something long, and remember in the page until when it goes on."""
        self.page.evaluate(
            """([command, name]) => {
                const done = window.jupyterapp.commands.execute(command);
                (window.runs ??= {})[name] = done
                done.finally(() => { if (window.runs[name] === done) delete window.runs[name] })
            }""",
            [command, name],
        )

    def _finish(self, name: str) -> None:
        self.page.wait_for_function("name => !(name in (window.runs ?? {}))", arg=name)

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not self._closing:
            self._blame(f"{message.text} ({message.location.get('url')})")

    def _blame(self, problem: str) -> None:
        if not any(text in problem for text in NOT_OURS):
            self.problems.append(problem)

    def _listen(self, socket: WebSocket) -> None:
        if "/channels" in socket.url:
            socket.on("framereceived", lambda payload: self._heard(False, payload))
            socket.on("framesent", lambda payload: self._heard(True, payload))

    def _heard(self, sent: bool, payload: str | bytes) -> None:
        assert isinstance(payload, bytes), "the kernel's websocket speaks its older protocol"
        self.frames.append(Frame(sent, payload))


def _text(output: dict[str, Any]) -> str:
    if output["output_type"] == "error":
        return "\n".join(output["traceback"])
    text = output["text"] if "text" in output else output["data"].get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)
