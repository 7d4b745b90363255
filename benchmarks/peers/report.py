"""The table and the plot of the trials in a file. Measures nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..clients import BATCH
from .arms import ARMS
from .trial import BASE, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Trial = dict[str, Any]
"""A line of the file: an arm, its point, a round, and a cold and a warm reading, of which either can be None."""

Measure = Callable[[Trial, str], float]
"""A number of a trial's reading, which is ``cold`` or ``warm``."""

TRIALS = "trials.jsonl"
PLOT = "peers.svg"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
KINDS = ("cold", "warm")
HEAD = ("| arm | imports | wall, cold | warm | CPU, cold | warm | memory, cold | warm | ids |", "|" + 9 * "---|")


def read(path: Path) -> list[Trial]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def misplaced(trial: Trial) -> int:
    """Return how many rows did not get an id of their own."""
    return sum(trial[kind]["misplaced"] for kind in KINDS if trial[kind])


def heading(point: Point) -> str:
    return f"{point.rows:,} rows, {point.latency * 1e3:g} ms, {point.concurrency} at once"


def ideal(point: Point) -> float:
    """Return the seconds that the answers alone take."""
    return math.ceil(math.ceil(point.rows / BATCH) / point.concurrency) * point.latency


def table(trials: list[Trial]) -> str:
    """Return Markdown: the versions, and for each point a table of medians."""
    points = dict.fromkeys(map(_point, trials))
    present = [name for name in ARMS if any(trial["arm"] == name for trial in trials)]
    versions = dict.fromkeys(package for trial in trials for package in trial["versions"])
    absent = [arm.title for name, arm in ARMS.items() if name not in present]
    lines = [f"{_about(trials)} {', '.join(versions)}."]
    if absent:
        lines.append(f"Left out: {', '.join(absent)}.")
    for point in points:
        at = [trial for trial in trials if _point(trial) == point]
        lines += ["", f"**{heading(point)}** (answers alone: {ideal(point):.2f} s)", "", *HEAD]
        lines += [_line(name, [trial for trial in at if trial["arm"] == name]) for name in present]
    return "\n".join(lines)


def _about(trials: list[Trial]) -> str:
    loads = [trial["load"] for trial in trials]
    rounds = len({trial["round"] for trial in trials})
    return (
        f"{trials[-1]['at'][:10]}, {trials[-1]['machine']}, Python {trials[-1]['python']}, "
        f"load {min(loads):.1f} to {max(loads):.1f}, medians of {rounds} round{'s' if rounds > 1 else ''}."
    )


def _line(name: str, trials: list[Trial]) -> str:
    cells = [ARMS[name].title, _cell(median(trial["imports"] for trial in trials) if trials else None, "{:.2f} s")]
    cells += [_cell(_medians(trials, kind, _wall), "{:.3f} s") for kind in KINDS]
    cells += [_cell(_medians(trials, kind, _cpu), "{:.3f} s") for kind in KINDS]
    cells += [_cell(_medians(trials, kind, _memory), "{:,.0f} B/row") for kind in KINDS]
    wrong = sum(map(misplaced, trials))
    cells.append("" if not trials else f"{wrong:,} misplaced" if wrong else "all own")
    return f"| {' | '.join(cells)} |"


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _point(trial: Trial) -> Point:
    return Point(trial["rows"], trial["latency"], trial["concurrency"])


def _medians(trials: Iterable[Trial], kind: str, measure: Measure) -> float | None:
    values = [measure(trial, kind) for trial in trials if trial[kind]]
    return median(values) if values else None


def _wall(trial: Trial, kind: str) -> float:
    return float(trial[kind]["wall"])


def _cpu(trial: Trial, kind: str) -> float:
    return float(trial[kind]["cpu"])


def _memory(trial: Trial, kind: str) -> float:
    return float(trial[kind]["memory"] / trial["rows"])


# -- the plot ----------------------------------------------------------------------------------------------------------

OURS_COLOURS = ("#9bd0bd", "#0b6e4f")
PEER_COLOURS = ("#d3d6db", "#767c86")


def plot(trials: list[Trial], path: Path) -> bool:
    """Draw wall time, CPU and memory of each arm, cold and warm; return False if matplotlib is not installed."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return False
    at, busy = _chosen(trials, BASE), _chosen(trials, BASE._replace(latency=0.0))
    mpl.rcParams.update({"svg.hashsalt": "peers", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    _bars(panels[0], at, _wall, "wall, s")
    panels[0].axvline(ideal(_point(at[0])), color="black", linewidth=0.8, linestyle=":")
    _bars(panels[1], busy, _cpu, "CPU, s")
    _bars(panels[2], at, _memory, "memory, bytes a row")
    figure.suptitle("Cold (light) and warm (dark); dotted: the answers alone", fontsize=9)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return True


def _chosen(trials: list[Trial], wanted: Point) -> list[Trial]:
    """Return the trials of a point, or of the first one where there are none of it."""
    points = list(map(_point, trials))
    chosen = wanted if wanted in points else points[0]
    return [trial for trial in trials if _point(trial) == chosen]


def _bars(axes: Axes, trials: list[Trial], measure: Measure, title: str) -> None:
    names = [name for name in ARMS if any(trial["arm"] == name for trial in trials)]
    for shift, kind, number in ((-0.2, "cold", 0), (0.2, "warm", 1)):
        for place, name in enumerate(names):
            value = _medians([trial for trial in trials if trial["arm"] == name], kind, measure)
            colours = OURS_COLOURS if ARMS[name].packages == ("eachlabs-frames",) else PEER_COLOURS
            axes.barh(place + shift, value or 0, 0.38, color=colours[number])
    axes.set_yticks(range(len(names)), [ARMS[name].title for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(f"{title}\n{heading(_point(trials[0]))}", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def publish(markdown: str, trials: list[Trial]) -> None:
    """Write the table and the plot into the README of the benchmarks."""
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{markdown}\n{END}{after}", "utf-8")
    plot(trials, README.with_name(PLOT))
