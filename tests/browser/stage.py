"""Serves a page with one view and without JupyterLab; tests play the kernel's side of the widget's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from eachlabs_frames.views.common import assets

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

HARNESS = Path(__file__).parent / "harness.html"
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30"/></svg>'

Json: TypeAlias = dict[str, Any]


class Stage:
    """A page with a view, and the kernel's side of its model."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def start(self, snapshot: Json, *, views: int = 1, layout: Json | None = None) -> None:
        self.page.evaluate(
            "([snapshot, views, layout]) => stage.start(snapshot, {views, layout})", [snapshot, views, layout]
        )

    def push(self, message: Json) -> None:
        self.page.evaluate("message => stage.push(message)", message)

    def sent(self) -> list[Json]:
        """Return the messages that the browser has sent since the last call."""
        messages: list[Json] = self.page.evaluate("stage.takeSent()")
        return messages

    def saved(self) -> Json:
        """Return the state that "Save widget state" would store."""
        state: Json = self.page.evaluate("JSON.parse(JSON.stringify(stage.model.state.snapshot))")
        return state

    def find(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def click(self, where: str | Locator) -> None:
        """Click, and wait until the result is painted."""
        (self.find(where) if isinstance(where, str) else where).click()
        self.page.evaluate("stage.painted()")


@contextmanager
def stages(browser: Browser, view: str) -> Iterator[Callable[..., Page]]:
    """Yield a function that opens pages with this view; assert at the end that no page logged errors or ran scripts."""
    contexts, problems = [], []

    def open_page(*, width: int = 1000, dark: bool = False, clock: bool = False) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(error.message))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (problems.append("dialog opened"), dialog.dismiss()))
        page.route("**/*", lambda route: _serve(route, view))
        if clock:
            page.clock.install()
        page.goto("http://localhost/")
        page.wait_for_function("() => document.documentElement.dataset.ready === ''")
        if dark:
            page.evaluate("() => { document.body.dataset.jpThemeLight = 'false' }")
        return page

    yield open_page
    ran = [page.evaluate("() => window.ran ?? null") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert problems == []
    assert not any(ran)


def _serve(route: Route, view: str) -> None:
    url = urlsplit(route.request.url)
    if url.hostname == "localhost" and url.path == "/":
        route.fulfill(body=HARNESS.read_text("utf-8"), content_type="text/html")
    elif url.hostname == "localhost" and url.path == "/view.js":
        route.fulfill(body=assets.script(view), content_type="text/javascript")
    elif url.hostname == "localhost" and url.path == "/view.css":
        route.fulfill(body=assets.style(view), content_type="text/css")
    elif url.path.endswith(".svg"):
        route.fulfill(body=PICTURE, content_type="image/svg+xml")
    else:
        route.fulfill(body="", content_type="text/plain")
