"""Drives a notebook in JupyterLab and reads its outputs and the messages of its kernel's websocket."""

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
"""Errors that JupyterLab itself logs or raises occasionally, such as when a kernel is busy while its debugger starts,
or ends during a request."""


@dataclass(frozen=True)
class Frame:
    """A frame from or to the kernel's websocket.

    `payload` has the layout of `v1.kernel.websocket.jupyter.org`: the number of offsets, the offsets, and the parts:
    channel, header, parent header, metadata, content, and any buffers.
    """

    sent: bool
    payload: bytes

    @property
    def size(self) -> int:
        """The size of the payload in bytes."""
        return len(self.payload)

    @cached_property
    def parts(self) -> list[bytes]:
        """The parts of the payload, in the order of the layout."""
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

    `page` is the Playwright page, `problems` lists the errors that the page logged or raised, and `frames` the frames
    of the kernel's websocket; both lists may be cleared.
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
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self._record_problem(f"{error.name}: {error.message}"))
        self.page.on("websocket", self._on_websocket)

    def load(self) -> None:
        """Open the notebook in a reset workspace, and wait until its kernel is idle."""
        self.page.goto(self._url)
        self.wait_until_idle()

    def reload(self) -> None:
        """Reload the page, and wait until the saved notebook is shown and its kernel is idle."""
        self.page.reload()
        self.wait_until_idle()

    def reopen(self) -> None:
        """Shut the kernel down and reload the page: the saved notebook is shown with a new kernel."""
        self.page.evaluate(f"() => {PANEL}.sessionContext.shutdown()")
        self.reload()

    def close(self) -> None:
        """Shut the kernel down and close the page; has no effect on a closed page."""
        if self.page.is_closed():
            return
        self._closing = True
        try:
            self.page.evaluate(f"() => {PANEL}?.sessionContext?.shutdown().catch(() => null)")
        finally:
            self._context.close()

    def wait_until_idle(self) -> None:
        """Wait until the notebook is shown and its kernel is ready, and collapse the sidebar.

        Does not wait for a running cell: ipykernel 7 reports idle during a cell after handling a widget's message in a
        subshell. Use `finish_cell` to wait for a cell.
        """
        self.page.wait_for_function(
            f"() => {STATUS} === 'idle' && {PANEL}.context?.isReady && {PANEL}.content.widgets.length > 0"
        )
        self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")

    def kernel_status(self) -> str | None:
        """Return the kernel's status in JupyterLab, such as `idle` or `busy`; None without a kernel."""
        status: str | None = self.page.evaluate(f"() => {STATUS}")
        return status

    def run_all(self) -> None:
        """Run all cells, and wait until the last one is done."""
        self._start("notebook:run-all-cells", "all")
        self._finish("all")

    def run_cell(self, index: int, *, wait: bool = True) -> None:
        """Run a cell; without `wait`, return once the kernel has been requested to run it."""
        self.page.evaluate(f"index => {{ {PANEL}.content.activeCellIndex = index }}", index)
        self._start("notebook:run-cell", str(index))
        if wait:
            self.finish_cell(index)

    def is_running(self, index: int) -> bool:
        """Return whether a cell started by `run_cell` is still running."""
        return bool(self.page.evaluate("name => name in (window.runs ?? {})", str(index)))

    def finish_cell(self, index: int) -> None:
        """Wait until a cell started by `run_cell` is done."""
        self._finish(str(index))

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell in the nbformat format."""
        found: list[dict[str, Any]] = self.page.evaluate(
            f"index => {PANEL}.content.widgets[index].model.sharedModel.toJSON().outputs", index
        )
        return found

    def output_text(self, index: int) -> str:
        """Return the text that a cell printed or displayed, and its error."""
        return "".join(_text(output) for output in self.outputs(index))

    def output(self, index: int) -> Locator:
        """Return the locator of a cell's output area."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea")

    def evaluate(self, expression: str, *, setup: str = "") -> Any:
        """Run `setup` in the kernel and return an expression's value, which must be JSON; wait while it is busy."""
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
        """Execute a JupyterLab command, and wait for it."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments or {}]
        )

    def set_theme(self, name: str) -> None:
        """Set the theme, such as `JupyterLab Dark`, and wait until it is applied."""
        self.command("apputils:change-theme", {"theme": name})
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def theme(self) -> str:
        """Return the name of the current theme."""
        return str(self.page.evaluate("() => document.body.dataset.jpThemeName"))

    def save(self, *, widgets: bool = False) -> dict[str, Any]:
        """Save the notebook, optionally with its widgets' state, and return the stored notebook."""
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
        """Return the received frames of one message type since `frames` was last cleared."""
        return [frame for frame in self.frames if not frame.sent and frame.kind == kind]

    def screenshot(self, name: str) -> None:
        """Store a screenshot of the page, if a folder for screenshots is set."""
        if self._screenshots:
            self.page.screenshot(path=Path(self._screenshots) / f"{name}.png")

    def violations(self, axe: Path, selector: str) -> list[dict[str, Any]]:
        """Return the violations that the axe-core script at `axe` reports for the matching elements."""
        # Hides `define` and `module`, so that axe installs itself on `window` despite a module loader.
        script = axe.read_text(encoding="utf-8")
        self.page.evaluate(f"() => {{ const define = undefined, module = undefined\n{script}\n}}")
        found: list[dict[str, Any]] = self.page.evaluate("async it => (await axe.run(it)).violations", selector)
        return found

    def _start(self, command: str, name: str) -> None:
        """Start a JupyterLab command, and record it in the page until it is done."""
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

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not self._closing:
            self._record_problem(f"{message.text} ({message.location.get('url')})")

    def _record_problem(self, problem: str) -> None:
        if not any(text in problem for text in NOT_OURS):
            self.problems.append(problem)

    def _on_websocket(self, socket: WebSocket) -> None:
        if "/channels" in socket.url:
            socket.on("framereceived", lambda payload: self._record_frame(False, payload))
            socket.on("framesent", lambda payload: self._record_frame(True, payload))

    def _record_frame(self, sent: bool, payload: str | bytes) -> None:
        assert isinstance(payload, bytes), "the kernel's websocket uses the older protocol"
        self.frames.append(Frame(sent, payload))


def _text(output: dict[str, Any]) -> str:
    if output["output_type"] == "error":
        return "\n".join(output["traceback"])
    text = output["text"] if "text" in output else output["data"].get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)
