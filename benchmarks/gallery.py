"""The gallery of 1,000 linked pictures in a real JupyterLab in Chromium: first paint, nodes, scrolling, bytes.

The pictures are the sandbox's, over loopback, drawn as they are asked for in the kernel's own process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.browser.lab import Lab, chromium

from .dashboard import LONG, SCROLL, WATCH
from .measure import Result

if TYPE_CHECKING:
    from tests.browser.notebook import Notebook

ROWS = 1_000
ROUNDS = 5
NODES = 60
FRAMES = 960

SETUP = f"""
import pandas as pd, eachlabs_frames as ef
ef.configure(journal=None)
sandbox = ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0))
frame = pd.DataFrame({{"prompt": [f"a watercolour of fox number {{row}}" for row in range({ROWS})]}})
out = frame.eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
"""
SHOW = "shown = out.eachlabs.gallery(label='prompt', page={page})\nshown"
CARD = ".eachlabs-gallery .elf-card"

LOADED = """() => {
    const here = (box) => box.bottom > 0 && box.top < innerHeight
    const pictures = [...document.querySelectorAll(".elf-card img")].filter(one => here(one.getBoundingClientRect()))
    if (!pictures.length || !pictures.every(one => one.complete && one.naturalWidth)) return false
    seen.loaded ??= performance.now()
    return true
}"""
MOST_NODES = (
    "() => Math.max(...[...document.querySelectorAll('.elf-card')].map(one => one.querySelectorAll('*').length + 1))"
)


@dataclass
class Seen:
    """All that was measured, in seconds, bytes and milliseconds."""

    paints: list[float] = field(default_factory=list)
    since_asked: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    whole_paints: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    scrolled: list[float] = field(default_factory=list)
    resting: list[float] = field(default_factory=list)


def first_paint() -> Result:
    seen = _seen()
    note = (
        f"{_spread(seen.paints)}; {_spread(seen.since_asked)} since it began; pictures in sight {_spread(seen.loads)}"
    )
    return Result("gallery's first paint, 1,000 linked pictures", median(seen.paints), 1.0, unit=" s", note=note)


def whole_paint() -> Result:
    seen = _seen()
    return Result("the same, all on one page", median(seen.whole_paints), unit=" s", note=_spread(seen.whole_paints))


def nodes() -> Result:
    return Result("most DOM nodes a card", max(_seen().nodes), NODES)


def bytes_of_gallery() -> Result:
    sizes = [size / 1024 for size in _seen().sizes]
    return Result("bytes of a gallery that is shown, 1,000", median(sizes), unit=" KiB", note=_spread(sizes))


def scrolling() -> Result:
    seen = _seen()
    over, rest = sum(gap > LONG for gap in seen.scrolled), sum(gap > LONG for gap in seen.resting)
    note = f"of {len(seen.scrolled):,}, longest {max(seen.scrolled):.0f} ms; {rest} at rest"
    return Result("frames over 50 ms, scrolling 1,000 cards", over, note=note)


MEASUREMENTS: tuple[Callable[[], Result], ...] = (first_paint, whole_paint, nodes, bytes_of_gallery, scrolling)


def _spread(numbers: list[float]) -> str:
    return f"{median(numbers):.3g} ({min(numbers):.3g} to {max(numbers):.3g})"


@cache
def _seen() -> Seen:
    """Measure everything: pages of 100 and of 1,000 in turn."""
    seen = Seen()
    with chromium() as browser, tempfile.TemporaryDirectory() as folder, Lab(Path(folder), browser) as lab:
        for _ in range(ROUNDS):
            for page in (100, ROWS):
                notebook = lab.open([SETUP, SHOW.format(page=page)])
                try:
                    _show(notebook, seen, is_whole=page == ROWS)
                    assert not notebook.problems, notebook.problems
                finally:
                    notebook.close()
    return seen


def _show(notebook: Notebook, seen: Seen, *, is_whole: bool) -> None:
    """Show the gallery, and note when it is painted."""
    page = notebook.page
    notebook.run_cell(0)
    page.evaluate(WATCH, CARD)
    notebook.frames.clear()
    notebook.run_cell(1)
    assert all(one["output_type"] != "error" for one in notebook.outputs(0) + notebook.outputs(1)), "a cell failed"
    page.wait_for_function("() => seen.painted !== null && seen.replied !== null")
    page.wait_for_function(LOADED, polling="raf")
    times = page.evaluate("() => seen")
    paint = (times["painted"] - times["replied"]) / 1000
    seen.nodes.append(page.evaluate(MOST_NODES))
    if not is_whole:
        seen.paints.append(paint)
        seen.since_asked.append((times["painted"] - times["asked"]) / 1000)
        seen.loads.append((times["loaded"] - times["replied"]) / 1000)
        seen.sizes.append(sum(frame.size for frame in notebook.frames if not frame.sent))
        return
    seen.whole_paints.append(paint)
    page.wait_for_timeout(1000)  # what JupyterLab does after a cell
    for times_, far in ((seen.resting, False), (seen.scrolled, True)):
        stamps = page.evaluate(SCROLL, [".elf-scroll", FRAMES, far])
        times_ += [second - first for first, second in pairwise(stamps)]
