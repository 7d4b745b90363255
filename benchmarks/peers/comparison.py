"""`python -m benchmarks peers`: which arms run at which points, and the file that the results are appended to.

A point is a number of rows, a latency and a concurrency. Each round runs every arm at every point, arms in turn, each
in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from ..server import serving
from . import report, trial
from .arms import ARMS
from .trial import BASE, Point

ROWS, LATENCIES, CONCURRENCIES = (1_000, 10_000, 100_000), (0.0, 0.05, 0.2), (8, 32, 100)
CROSS = list(
    dict.fromkeys(
        [BASE]
        + [BASE._replace(rows=rows) for rows in ROWS]
        + [BASE._replace(latency=latency) for latency in LATENCIES]
        + [BASE._replace(concurrency=concurrency) for concurrency in CONCURRENCIES]
    )
)
QUICK = [Point(1_000, 0.05, 32)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: `calls` in each process, of which the first is cold."""

    arms: list[str]
    points: list[Point]
    rounds: int
    calls: int


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.report:
        return _report(options.results, publish=options.publish)
    arms, left_out = installed(options.arms)
    plan = Plan(arms, _points(options), 1 if options.quick else options.rounds, 1 if options.cold else 2)
    for reason in left_out:
        print(reason)
    with ExitStack() as stack:
        folder = options.results or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        failed = _run(plan, folder / report.TRIALS, cold=not options.warm)
        return max(_report(folder, publish=options.publish), failed)


def installed(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the arms whose packages are installed, and why each of the others is left out."""
    arms, left_out = [], []
    for name in names:
        try:
            ARMS[name].versions()
        except PackageNotFoundError as exc:
            left_out.append(f"left out: {ARMS[name].title}, because {exc.name} is not installed (extra: bench)")
        else:
            arms.append(name)
    return arms, left_out


def _run(plan: Plan, path: Path, *, cold: bool) -> int:
    """Run the plan and append each trial to the file; return 1 if one failed."""
    failed = 0
    total = plan.rounds * len(plan.points) * len(plan.arms)
    numbers = itertools.count(1)
    with ExitStack() as stack, path.open("a", encoding="utf-8") as file:
        ports = {latency: stack.enter_context(serving(latency)) for latency in {p.latency for p in plan.points}}
        for number, point, arm in itertools.product(range(plan.rounds), plan.points, plan.arms):
            print(f"{next(numbers)}/{total} {ARMS[arm].title}, {report.heading(point)}", file=sys.stderr, flush=True)
            try:
                imports, readings = trial.run(arm, ports[point.latency], point, plan.calls)
            except RuntimeError as exc:
                print(exc, file=sys.stderr)
                failed = 1
                continue
            entry = {"arm": arm, **point._asdict(), "round": number, "imports": imports, **_about(arm)}
            entry["cold"] = asdict(readings[0]) if cold else None
            entry["warm"] = asdict(readings[1]) if readings[1:] else None
            print(json.dumps(entry), file=file, flush=True)
    return failed


def _about(arm: str) -> dict[str, Any]:
    return {
        "versions": ARMS[arm].versions(),
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "load": os.getloadavg()[0],
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _points(options: argparse.Namespace) -> list[Point]:
    """Return the points that are asked for: all of the lists, or those that differ from `BASE` in one thing."""
    if options.rows is options.latency is options.concurrency is None:
        return QUICK if options.quick else CROSS
    rows = options.rows or [BASE.rows]
    latencies = [BASE.latency] if options.latency is None else [milliseconds / 1e3 for milliseconds in options.latency]
    return list(itertools.starmap(Point, itertools.product(rows, latencies, options.concurrency or [BASE.concurrency])))


def _report(folder: Path, *, publish: bool) -> int:
    """Print the table and draw the plot; return 1 if a row had not its own id."""
    trials = report.read(folder / report.TRIALS)
    table = report.table(trials)
    print(table)
    report.plot(trials, folder / report.PLOT)
    if publish:
        report.publish(table, trials)
    return int(any(map(report.misplaced, trials)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks peers",
        description="This package beside what a user would use instead. Without --rows, --latency and --concurrency: "
        f"{BASE.rows:,} rows at {BASE.latency * 1e3:.0f} ms, {BASE.concurrency} at once, and all that differs in one "
        "of the three.",
    )
    whole = _whole_number
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--rows", nargs="+", type=whole, metavar="N")
    parser.add_argument("--latency", nargs="+", type=float, metavar="MS", help="milliseconds until an answer")
    parser.add_argument("--concurrency", nargs="+", type=whole, metavar="N", help="requests at once")
    parser.add_argument("--rounds", type=whole, default=5, metavar="N", help="default: 5")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--cold", action="store_true", help="only the first call of a process")
    kind.add_argument("--warm", action="store_true", help="only the second call of a process")
    parser.add_argument("--quick", action="store_true", help="one round of 1,000 rows")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="append to FOLDER/trials.jsonl; FOLDER/peers.svg"
    )
    parser.add_argument("--report", action="store_true", help="run nothing: the table and plot of all in FOLDER")
    parser.add_argument("--publish", action="store_true", help="write the table and plot to benchmarks/README.md")
    return parser


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
