"""`eachlabs-frames trigger --dry-run`: prints what would be sent, rows with problems and the estimated cost."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .exit_codes import DONE, NOT_ALL, WRONG_CALL
from .signals import Signals
from .terminal import cell_text, format_table, notify, one_line
from .wording import reworded

if TYPE_CHECKING:
    from ..frames.preview import DryRun
    from ..frames.table import Frame

MAX_ROWS: Final = 5
"""Rows and problems that are printed as text; ``--json`` prints all."""
MAX_WIDTH: Final = 100


def run(frame: Frame, inputs: Any, options: Mapping[str, Any], args: argparse.Namespace, signals: Signals) -> int:
    """Run the dry run and print its result."""
    from ..aio.bridge import ReadCall
    from ..frames.options import TriggerOptions
    from ..frames.preview import dry_run

    function = partial(dry_run, frame, args.workflow, inputs, TriggerOptions(**options))
    would: DryRun = signals.run(lambda: ReadCall(function))
    print(_to_json(would, args, len(frame)) if args.json else _to_text(would, len(frame)), flush=True)
    if would.refused is not None:
        notify(f"nothing would be sent: {reworded(would.refused)}")
        return WRONG_CALL
    cost, limit = would.estimate.cost_usd, args.max_cost
    is_too_much = cost is not None and limit is not None and cost > limit
    if is_too_much:
        notify(f"the run would stop at --max-cost {limit:g}, before all rows are sent")
    return NOT_ALL if would.problems or is_too_much else DONE


def _to_json(would: DryRun, args: argparse.Namespace, rows: int) -> str:
    known = asdict(would.estimate)
    whole = {
        "workflow_id": args.workflow,
        "version_id": would.version_id,
        "run": args.run,
        "rows": rows,
        "would_send": known["rows"],
        "left_alone": would.left_alone,
        "requests": known["requests"],
        "cost_usd": known["cost_usd"],
        "cost_low_usd": known["cost_low_usd"],
        "cost_high_usd": known["cost_high_usd"],
        "cost_from": known["cost_from"],
        "cost_unknown": known["cost_unknown"],
        "seconds": known["seconds"],
        "time_from": known["time_from"],
        "balance_usd": known["balance_usd"],
        **would.files.facts(),
        "refused": None if would.refused is None else reworded(would.refused),
        "problems": [{"row": row, "problem": reworded(problem)} for row, problem in would.problems.items()],
        "inputs": [{"row": row, "input": made} for row, made in would.inputs.items()],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1)


def _to_text(would: DryRun, rows: int) -> str:
    from ..frames.costs.estimate import estimate_sentence

    made = would.estimate
    parts = [estimate_sentence(made)]
    if would.files.files:
        parts.append(would.files.sentence())
    if would.left_alone:
        parts.append(f"{would.left_alone} of {rows} rows were sent before and would not be sent again")
    if would.inputs:
        head = list(would.inputs.items())[:MAX_ROWS]
        lines = [[row, cell_text(json.dumps(sent, ensure_ascii=False), MAX_WIDTH)] for row, sent in head]
        parts.append(_table(["row", "input"], lines, len(would.inputs)))
    if would.problems:
        parts.append(_problems(would.problems))
    return "\n\n".join(parts)


def _problems(problems: Mapping[int, str]) -> str:
    counted = Counter(map(reworded, problems.values())).most_common()
    first = {reworded(problem): row for row, problem in reversed(list(problems.items()))}
    lines = [[count, first[problem], cell_text(one_line(problem), MAX_WIDTH)] for problem, count in counted[:MAX_ROWS]]
    return _table(["rows", "first", "problem"], lines, len(counted))


def _table(header: list[str], lines: list[list[Any]], total: int) -> str:
    table = format_table(header, lines, numbers=frozenset({"row", "rows", "first"}))
    return table if total <= len(lines) else f"{table}\n... and {total - len(lines)} more; --json lists all"
