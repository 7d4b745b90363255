"""Runs the JupyterLab of this environment and opens its notebooks in Chromium.

Owns the server's process and the browser. It ends only processes that it has started. Playwright is imported where it
is used, so that this module can be imported without it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .notebook import Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCREENSHOTS = os.environ.get("EACHLABS_SCREENSHOTS")
"""The folder for screenshots. Read at import, because the tests remove the machine's settings."""

AXE = os.environ.get("EACHLABS_AXE")
"""The path of axe-core's `axe.min.js`."""

TIMEOUT = 120.0
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--no-first-run",
)

SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
"""JupyterLab's settings that differ from its defaults: it does not ask for permission to fetch news."""


class Lab:
    """A JupyterLab server with its own folder.

    Parameters
    ----------
    folder
        An empty folder for the server's root, its home and all files that Jupyter stores.
    browser
        The browser that opens the notebooks.
    """

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.folder = folder
        self._browser = browser
        self._token = secrets.token_hex()
        self._opened = 0
        self._started = ExitStack()

    def __enter__(self) -> Lab:
        self._prepare()
        with ExitStack() as started:
            self._serve(started)
            self._started = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._started.close()

    def open(self, cells: list[str], name: str = "notebook", *, width: int = 1400, height: int = 900) -> Notebook:
        """Write a notebook of these cells, open it with a new kernel in a new browser context, and wait for both.

        Each notebook has its own folder, which is its kernel's working directory. Settings that an earlier test
        changed, such as the theme, are reset.
        """
        import nbformat

        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel)
        folder = self.folder / "work" / f"{name}-{self._opened + 1}"
        folder.mkdir(parents=True)
        nbformat.write(written, folder / f"{name}.ipynb")
        shutil.rmtree(self.folder / "config" / "lab" / "user-settings", ignore_errors=True)
        return self.open_file(folder / f"{name}.ipynb", width=width, height=height)

    def open_file(self, path: Path, *, width: int = 1400, height: int = 900) -> Notebook:
        """Open a notebook in the server's folder, with a new kernel in a new browser context."""
        name = path.stem
        assert "." not in name, "JupyterLab treats a workspace's path with a dot as a file"
        self._opened += 1
        context = self._browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        context.set_default_timeout(1000 * TIMEOUT)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        address = f"{self._address}/lab/workspaces/{name}{self._opened}/tree/{path.relative_to(self.folder / 'work')}"
        notebook = Notebook(context, path, f"{address}?reset&token={self._token}", SCREENSHOTS)
        try:
            notebook.load()
        except BaseException:
            notebook.close()
            raise
        return notebook

    def restart(self) -> None:
        """Stop the server and its kernels, and start it again with only what is stored on disk."""
        self._started.close()
        with ExitStack() as started:
            self._serve(started)
            self._started = started.pop_all()

    def _prepare(self) -> None:
        from ipykernel.kernelspec import write_kernel_spec

        write_kernel_spec(self.folder / "data" / "kernels" / "python3")
        (self.folder / "config" / "labconfig").mkdir(parents=True)
        settings = self.folder / "config" / "labconfig" / "default_setting_overrides.json"
        settings.write_text(json.dumps(SETTINGS), encoding="utf-8")
        (self.folder / "work").mkdir()

    def _serve(self, started: ExitStack) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
        command += ["--port-retries=0", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={self.folder / 'work'}"]
        command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
        with (self.folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                command,
                env=_environment(self.folder, self._token),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C reaches only the tests, which stop the server
            )
        started.callback(_end, server)
        self._wait(server)

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        headers = {"Authorization": f"token {self._token}"}
        request = urllib.request.Request(f"{self._address}/api/status", headers=headers)
        deadline = time.monotonic() + TIMEOUT
        while True:
            log = (self.folder / "server.log").read_text("utf-8", "replace")
            assert server.poll() is None, f"JupyterLab has exited:\n{log}"
            assert time.monotonic() < deadline, f"JupyterLab does not respond:\n{log}"
            try:
                with urllib.request.urlopen(request, timeout=1):
                    return
            except OSError:
                time.sleep(0.05)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the installed Chromium. A thread can run only one Playwright at a time, so tests share it."""
    from playwright.sync_api import expect, sync_playwright

    executable = shutil.which("chromium")
    assert executable, "no chromium on PATH: apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
    expect.set_options(timeout=1000 * TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        try:
            yield browser
        finally:
            browser.close()


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # the server shuts its kernels down
    try:
        server.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _environment(folder: Path, token: str) -> dict[str, str]:
    """Return the environment without settings of the home folder, of Jupyter or of each::labs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EACHLABS_", "JUPYTER", "IPYTHON", "XDG_"))}
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    folders = {name: str(folder / subfolder) for name, subfolder in names.items()}
    journal = str(folder / "journal.sqlite")
    home = {"HOME": str(folder / "home"), "IPYTHONDIR": str(folder / "ipython")}
    return {**kept, **folders, **home, "JUPYTER_TOKEN": token, "EACHLABS_JOURNAL": journal}
