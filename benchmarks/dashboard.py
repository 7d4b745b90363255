"""The live dashboard in a real JupyterLab in Chromium: first paint, bytes, main thread, scrolling, the kernel's CPU.

What it shows is made up in the kernel, so no network is in the numbers. Bytes and counts are the same on any machine
but for some 10 bytes; times are not, so each has its CPU beside it, and the same page at rest.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.browser.lab import Lab, chromium
from tests.browser.notebook import KERNEL, Frame, Notebook

from .measure import Result

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LINES = 1_000
MANY = 10_000
ROUNDS = 5
UPDATES = 10
"""In a round, so 50 in all."""

CHANGED = 100
INTERVAL = 0.5
REST = 2.0
"""Seconds in which nothing happens before the first update."""

FRAMES = 240
LONG = 50.0

SIZES = f"INTERVAL, REST, CHANGED = {INTERVAL}, {REST}, {CHANGED}"
SETUP = """
import random, threading, time, uuid
import ipywidgets
from eachlabs_frames.models import COMPLETED, FAILED, QUEUED, RUNNING, Event, Outcome
from eachlabs_frames.views.dashboard.widget import Dashboard

BEGAN = 1_790_000_000
ERRORS = [f"Model answered {code}: the prompt was refused by a filter" for code in (400, 422, 451, 500, 503)]

class Fake:
    '''A run of ten rows a bulk_id, each row at random in a state of its own, of which 100 lines change at a time.'''

    can_cancel, frame, interval = True, None, 2.0

    def __init__(self, lines):
        self.lines = lines
        self.labels = [str(row) for row in range(10 * lines)]
        chance = random.Random(lines)
        self.ids = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(11 * lines)]
        states = chance.choices([COMPLETED, RUNNING, QUEUED, FAILED], [40, 20, 35, 5], k=10 * lines)
        self.rows = [self.outcome(row, state) for row, state in enumerate(states)]

    def outcome(self, row, state):
        start = None if state == QUEUED else (BEGAN + row // 100) * 1_000_000_000
        done = state in (COMPLETED, FAILED)
        return Outcome(row, state, self.ids[row // 10], self.ids[self.lines + row],
            error=ERRORS[row % 5] if state == FAILED else None, started_at=start,
            completed_at=start + 7_654_321_000 if done else None,
            output=f"https://media.example/{row}.png" if state == COMPLETED else None, cost=0.01 if done else None)

    def change(self, number):
        '''A row each of 100 lines takes its next step: far from each other, and each line in its turn.'''
        changed = []
        for line in ((100 * number + one) * 37 % self.lines for one in range(CHANGED)):
            ten = self.rows[10 * line:10 * line + 10]
            before = next((one for one in ten if one.status in (QUEUED, RUNNING)), None)
            row = before.position if before else 10 * line
            ended = FAILED if row % 20 == 0 else COMPLETED
            state = QUEUED if before is None else RUNNING if before.status == QUEUED else ended
            self.rows[row] = self.outcome(row, state)
            changed.append(self.rows[row])
        return tuple(changed)

    def titles(self, rows):
        return [f"a long prompt of some sixty characters that a row is called by, {row}" for row in rows]

    def searchable(self):
        return self.titles(range(len(self.rows)))

    def add_view(self, view):
        self.view = view

    def outcomes(self, view, meanwhile):
        meanwhile()
        return self.rows

    def head(self):
        return {"workflow": "wf_bench", "version": "v1", "run": "bench", "phase": "tracking", "started_at": BEGAN}

    def ignore(self, *_):
        pass

    refresh = follow = cancel = retry = leave = ignore

ticks, spent = [], {"kernel": [], "board": []}

def timed(name, call):
    def work(*arguments, **keys):
        start = time.thread_time()
        try:
            return call(*arguments, **keys)
        finally:
            spent[name].append((time.time(), time.thread_time() - start))
    return work

def feed(subject, updates, act):
    def work():
        start = time.time() + REST
        for number in range(updates):
            changed = subject.change(number)
            time.sleep(max(0, start + number * INTERVAL - time.time()))
            ticks.append(time.time())
            act(changed)
    threading.Thread(target=work, daemon=True).start()

def begin(updates):
    if isinstance(shown, Dashboard):
        shown._refresher._refresh = timed("kernel", shown._refresher._refresh)
        shown._model.update = timed("board", shown._model.update)
        size = len(subject.rows)
        tell = lambda changed: subject.view.on_event(Event("refreshed", size, 0, size, {}, changed))
    else:
        tell = timed("kernel", lambda changed: setattr(shown, "value", table(subject)))
    feed(subject, updates, tell)

def table(subject):
    '''The same lines as HTML: less than the dashboard shows, and no bars.'''
    lines = []
    for line in range(subject.lines):
        counts = {COMPLETED: 0, RUNNING: 0, QUEUED: 0, FAILED: 0}
        for outcome in subject.rows[10 * line:10 * line + 10]:
            counts[outcome.status] += 1
        cells = "".join(f"<td>{rows}</td>" for rows in counts.values())
        lines.append(f"<tr><td>{subject.ids[line]}</td>{cells}<td>{line // 60} min</td></tr>")
    return f'<div style="height: 450px; overflow: auto"><table class="lines">{"".join(lines)}</table></div>'
"""
DASHBOARD = (
    "subject = Fake({lines})\nshown = Dashboard(subject, subject, auto_refresh=True, interval=2.0)\nshown",
    ".eachlabs-dashboard .elf-line",
)
TABLE = ("subject = Fake({lines})\nshown = ipywidgets.HTML(table(subject))\nshown", "table.lines tr")
"""What a cell shows, and what is to be seen of it at first."""

WATCH = f"""selector => {{
    const seen = window.seen = {{asked: null, replied: null, painted: null}}
    {KERNEL}.anyMessage.connect((_, {{msg, direction}}) => {{
        if (direction === "send" && msg.header.msg_type === "execute_request") seen.asked ??= performance.now()
        if (direction === "recv" && msg.header.msg_type === "execute_reply") seen.replied ??= performance.now()
    }})
    const painted = new MessageChannel()
    painted.port1.onmessage = () => {{ seen.painted = performance.now() }}
    const watch = new MutationObserver(() => {{
        if (!document.querySelector(selector)) return
        watch.disconnect()
        requestAnimationFrame(() => painted.port2.postMessage(null))
    }})
    watch.observe(document.body, {{childList: true, subtree: true}})
}}"""

SCROLL = """([selector, frames, far]) => new Promise(done => {
    const list = document.querySelector(selector), times = []
    const step = far ? (list.scrollHeight - list.clientHeight) / frames : 0
    const next = now => {
        times.push(now)
        if (times.length > frames) return done(times)
        list.scrollTop = Math.ceil(step * times.length)
        requestAnimationFrame(next)
    }
    requestAnimationFrame(next)
})"""

Window = tuple[float, float]
"""From and until, in epoch seconds."""


@dataclass(frozen=True)
class Task:
    """One task of the page's main thread: when, in epoch seconds, and its milliseconds by the clock and of CPU."""

    at: float
    wall: float
    cpu: float


@dataclass
class Updates:
    """What each update was, over all rounds. Paints are in seconds, all other times in milliseconds."""

    paints: list[float] = field(default_factory=list)
    since_asked: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    contents: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    longest_cpu: list[float] = field(default_factory=list)
    kernel: list[float] = field(default_factory=list)
    board: list[float] = field(default_factory=list)
    long: int = 0
    resting_long: int = 0
    resting_cpu: list[float] = field(default_factory=list)


@dataclass
class Seen:
    """All that was measured."""

    few: Updates = field(default_factory=Updates)
    many: Updates = field(default_factory=Updates)
    table: Updates = field(default_factory=Updates)
    resting: list[float] = field(default_factory=list)
    scrolled: list[float] = field(default_factory=list)
    scroll_cpu: list[float] = field(default_factory=list)
    scroll_tasks: list[float] = field(default_factory=list)


def first_paint() -> Result:
    few, html = _seen().few, _seen().table
    note = f"{_spread(few.paints)}; {_spread(few.since_asked)} since it began; HTML {median(html.paints):.2f}"
    return Result("first paint after the cell, 1,000 bulk_ids", median(few.paints), 0.5, unit=" s", note=note)


def first_paint_of_many() -> Result:
    many = _seen().many
    note = f"{_spread(many.paints)}; {_spread(many.since_asked)} since it began"
    return Result("first paint after the cell, 10,000", median(many.paints), 0.15, unit=" s", note=note)


def bytes_of_update() -> Result:
    return _bytes("bytes an update, 1,000", _seen().few, 3)


def bytes_of_update_of_many() -> Result:
    return _bytes("bytes an update, 10,000", _seen().many, 6)


def _bytes(what: str, updates: Updates, limit: float | None = None) -> Result:
    note = f"{min(updates.sizes):,} to {max(updates.sizes):,} bytes; content {median(updates.contents):,.0f}"
    return Result(what, median(updates.sizes) / 1024, limit, unit=" KiB", note=note)


def bytes_of_table() -> Result:
    return _bytes("bytes an update, HTML table of 1,000", _seen().table)


def messages_of_update() -> Result:
    few, many = _seen().few.messages, _seen().many.messages
    return Result("most messages an update, both", max(few + many), 3, note=f"median {median(few):g}, {median(many):g}")


def long_tasks() -> Result:
    return _long("long tasks, 1,000", _seen().few)


def long_tasks_of_many() -> Result:
    return _long("long tasks, 10,000", _seen().many)


def _long(what: str, updates: Updates) -> Result:
    cpu = f"{sum(one > LONG for one in updates.longest_cpu)} by CPU, {updates.resting_long} at rest"
    most = f"longest {max(updates.longest):.0f} ms, CPU {max(updates.longest_cpu):.0f}"
    return Result(what, updates.long, 0, note=f"of {len(updates.sizes)} updates; {cpu}; {most}")


def main_thread() -> Result:
    """The dashboard's share of what the same lines take as HTML."""
    few, html = _seen().few, _seen().table
    ratio = median(few.cpu) / median(html.cpu)
    note = f"{_spread(few.cpu)} ms to {_spread(html.cpu)} ms; {median(few.resting_cpu):.1f} at rest"
    return Result("page's CPU an update / HTML table, 1,000", ratio, note=note)


def longest_task() -> Result:
    few, html = _seen().few, _seen().table
    note = f"{_spread(few.longest)} ms; HTML {_spread(html.longest)} ms, {html.long} long of {len(html.sizes)}"
    return Result("longest task an update, 1,000", median(few.longest), unit=" ms", note=note)


def scrolling() -> Result:
    seen = _seen()
    over, most = sum(gap > LONG for gap in seen.scrolled), max(seen.scrolled)
    rest = sum(gap > LONG for gap in seen.resting)
    cpu = f"CPU {_spread(seen.scroll_cpu)} ms a frame, at most {max(seen.scroll_tasks):.0f}"
    note = f"of {len(seen.scrolled):,}, longest {most:.0f} ms; {rest} at rest; {cpu}"
    return Result("frames over 50 ms, scrolling 10,000", over, 0, note=note)


def kernel_cpu() -> Result:
    few, many, html = _seen().few, _seen().many, _seen().table
    note = (
        f"{_spread(few.kernel)}; the board alone {median(few.board):.2f}; at 10,000 {median(many.kernel):.2f}; "
        f"HTML {median(html.kernel):.1f}"
    )
    return Result("kernel's CPU an update, 1,000", median(few.kernel), unit=" ms", note=note)


MEASUREMENTS: tuple[Callable[[], Result], ...] = (
    first_paint,
    first_paint_of_many,
    bytes_of_update,
    bytes_of_update_of_many,
    bytes_of_table,
    messages_of_update,
    long_tasks,
    long_tasks_of_many,
    longest_task,
    main_thread,
    scrolling,
    kernel_cpu,
)


def _spread(numbers: list[float]) -> str:
    """The median, and the middle nine tenths."""
    ordered = sorted(numbers)
    low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
    return f"{median(ordered):.3g} ({low:.3g} to {high:.3g})"


@cache
def _seen() -> Seen:
    """Measure everything, in turn."""
    seen = Seen()
    with chromium() as browser, tempfile.TemporaryDirectory() as folder, Lab(Path(folder), browser) as lab:
        for _ in range(ROUNDS):
            for shown, lines, updates in (
                (DASHBOARD, LINES, seen.few),
                (TABLE, LINES, seen.table),
                (DASHBOARD, MANY, seen.many),
            ):
                with _opened(lab, shown, lines, updates) as notebook:
                    _follow(notebook, browser, shown[1], updates)
                    if updates is seen.many:
                        _scroll(notebook, browser, seen)
    return seen


@contextmanager
def _opened(lab: Lab, shown: tuple[str, str], lines: int, updates: Updates) -> Iterator[Notebook]:
    """Show something in a notebook with a fresh kernel, and note when it is painted."""
    cell, selector = shown
    notebook = lab.open([SIZES + SETUP, cell.format(lines=lines)])
    try:
        notebook.run_cell(0)
        notebook.page.evaluate(WATCH, selector)
        notebook.run_cell(1)
        assert all(one["output_type"] != "error" for one in notebook.outputs(0) + notebook.outputs(1)), "a cell failed"
        notebook.page.wait_for_function("() => seen.painted !== null && seen.replied !== null")
        times = notebook.page.evaluate("() => seen")
        updates.paints.append((times["painted"] - times["replied"]) / 1000)
        updates.since_asked.append((times["painted"] - times["asked"]) / 1000)
        notebook.page.wait_for_timeout(1000)  # what JupyterLab does after a cell
        yield notebook
        assert not notebook.problems, notebook.problems
    finally:
        notebook.close()


def _follow(notebook: Notebook, browser: Browser, selector: str, updates: Updates) -> None:
    """Have updates come, and note what each of them was."""
    page = notebook.page
    notebook.frames.clear()
    before = _text(page, selector)
    with _traced(browser, page) as tasks:
        notebook.evaluate("0", setup=f"begin({UPDATES})")
        page.wait_for_timeout(1000 * (REST + INTERVAL * (UPDATES + 1)))
    assert _text(page, selector) != before, "no update was shown"
    ticks, spent = notebook.evaluate("[ticks, spent]")
    assert len(ticks) == UPDATES
    windows = list(pairwise([*ticks, ticks[-1] + INTERVAL]))
    for window in windows:
        _note_wire(notebook.frames, window, updates)
        within = [task for task in tasks if _in(task.at, window)]
        updates.long += sum(task.wall > LONG for task in within)
        updates.cpu.append(sum(task.cpu for task in within))
        updates.longest.append(max(task.wall for task in within))
        updates.longest_cpu.append(max(task.cpu for task in within))
        updates.kernel.append(sum(1000 * cost for at, cost in spent["kernel"] if _in(at, window)))
        updates.board.append(sum(1000 * cost for at, cost in spent["board"] if _in(at, window)))
    rest = [task for task in tasks if _in(task.at, (ticks[0] - 3 * INTERVAL, ticks[0]))]
    updates.resting_cpu.append(sum(task.cpu for task in rest) / 3)
    updates.resting_long += sum(task.wall > LONG for task in rest)


def _note_wire(frames: list[Frame], window: Window, updates: Updates) -> None:
    """Note all frames that the kernel sent in this time, whatever they are."""
    came = [frame for frame in frames if not frame.sent and _in(_sent_at(frame), window)]
    changed = [len(frame.content["data"].get("content", {}).get("lines", ())) for frame in came]
    assert sum(changed) in (0, CHANGED), f"{changed} lines were told of"
    updates.sizes.append(sum(frame.size for frame in came))
    updates.contents.append(sum(len(frame.parts[4]) for frame in came))
    updates.messages.append(len(came))


def _sent_at(frame: Frame) -> float:
    """When the kernel made it, by the clock that its ticks are by."""
    return datetime.fromisoformat(json.loads(frame.parts[1])["date"].replace("Z", "+00:00")).timestamp()


def _in(at: float, window: Window) -> bool:
    return window[0] <= at < window[1]


def _text(page: Page, selector: str) -> Any:
    read = "all => all.map(one => one.textContent + (one.querySelector('.elf-bar')?.ariaLabel ?? ''))"
    return page.eval_on_selector_all(selector, read)


def _scroll(notebook: Notebook, browser: Browser, seen: Seen) -> None:
    """Go from the first line to the last, a step a frame, and note how long each frame took."""
    page = notebook.page
    seen.resting += _gaps(page.evaluate(SCROLL, [".elf-list", FRAMES, False]))
    with _traced(browser, page) as tasks:
        times = page.evaluate(SCROLL, [".elf-list", FRAMES, True])
        page.wait_for_function("place => document.querySelector(`.elf-line[data-line='${place}']`)", arg=MANY - 1)
    origin = page.evaluate("() => performance.timeOrigin")
    seen.scrolled += _gaps(times)
    window = ((origin + times[0]) / 1000, (origin + times[-1]) / 1000)
    within = [task.cpu for task in tasks if _in(task.at, window)]
    seen.scroll_cpu.append(sum(within) / FRAMES)
    seen.scroll_tasks.append(max(within))


def _gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


@contextmanager
def _traced(browser: Browser, page: Page) -> Iterator[list[Task]]:
    """Write down the tasks of the page's main thread; they are there at the end.

    A PerformanceObserver's "longtask" leaves out what is only layout and paint, which is most of an HTML table's.
    """
    tasks: list[Task] = []
    categories = ["disabled-by-default-devtools.timeline", "blink.user_timing"]
    browser.start_tracing(page=page, categories=categories)
    # The trace has a clock of its own: a mark is known by both.
    marked = page.evaluate("() => performance.timeOrigin + performance.mark('traced').startTime") / 1000
    yield tasks
    events = json.loads(browser.stop_tracing())["traceEvents"]
    (mark,) = [event for event in events if event["name"] == "traced"]
    tasks += [
        Task(marked + (event["ts"] - mark["ts"]) / 1e6, event.get("dur", 0) / 1000, event.get("tdur", 0) / 1000)
        for event in events
        if event["name"] == "RunTask" and (event["pid"], event["tid"]) == (mark["pid"], mark["tid"])
    ]
