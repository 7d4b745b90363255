"""`eachlabs-frames runs`: lists, shows, exports or deletes the runs in the journal of this machine.

It triggers nothing, and uses the API only with ``--refresh``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import UsageError
from ..frames.runs import accept_journal_loss, delete_run, load_run, runs
from ..models import COLUMNS, INVALID, PENDING, STATUSES
from ..money import format_usd
from . import files
from .exit_codes import DONE, NOT_ALL
from .formats import check_suffix
from .input_table import with_index_columns
from .signals import Signals
from .terminal import cell_text, format_table, notify, one_line
from .wording import with_errors_reworded

if TYPE_CHECKING:
    from ..frames.table import Frame

HEAD: Final = 5
MAX_CELL_LENGTH: Final = 40
WHEN: Final = "%Y-%m-%d %H:%M"


def run(args: argparse.Namespace, _signals: Signals) -> int:
    """List the runs, or show, write or delete one."""
    _check(args)
    if args.accept_loss:
        return _accept_loss()
    if args.run is None:
        print(_runs_table(runs()), flush=True)
        return DONE
    if args.delete:
        return _delete(args.run, asked=args.yes)
    if args.out is not None:
        return _write(args, Path(args.out))
    frame = _load(args)
    print(_summary(args.run, frame, prefix=args.prefix))
    print(f"\n{_first_rows(frame, prefix=args.prefix)}", flush=True)
    return DONE


def _check(args: argparse.Namespace) -> None:
    wanted = {"--out": args.out is not None, "--refresh": args.refresh, "--delete": args.delete}
    given = [name for name, is_given in wanted.items() if is_given]
    if args.run is None and given:
        msg = f"{given[0]} requires the name of a run; eachlabs-frames runs lists them"
        raise UsageError(msg)
    if args.delete and len(given) > 1:
        msg = f"{given[0]} and --delete cannot be combined: delete the run in a second command"
        raise UsageError(msg)
    if args.accept_loss and (args.run is not None or given):
        msg = "--accept-loss applies to the whole journal: use it without a run and other options"
        raise UsageError(msg)
    for name, is_given, goes_with in (("--force", args.force, "--out"), ("--yes", args.yes, "--delete")):
        if is_given and not wanted[goes_with]:
            msg = f"{name} requires {goes_with}"
            raise UsageError(msg)


def _runs_table(listing: Frame) -> str:
    """Return a table with a line per run and a column per status that occurs."""
    if not len(listing):
        return "the journal has no runs"
    names = listing.columns.tolist()
    counts = [name for name in names[names.index("cost") + 1 : names.index("workflow_id")] if listing[name].any()]
    workers = ["workers"] if listing["workers"].any() else []
    header = ["run", "workflow", "when (UTC)", "rows", *workers, *counts, "cost"]
    rows = [
        [
            row["run"],
            row["workflow_id"],
            row["created_at"].strftime(WHEN),
            row["rows"],
            *(row[name] or None for name in [*workers, *counts]),
            _cost(row["cost"]),
        ]
        for row in listing.to_dict("records")
    ]
    return format_table(header, rows, numbers=frozenset(header[3:]))


def _cost(cost: float) -> str | None:
    return format_usd(cost) if cost > 0 else None


def _load(args: argparse.Namespace) -> Frame:
    frame = load_run(args.run, prefix=args.prefix)
    if args.refresh:
        frame = frame.eachlabs.reconcile(prefix=args.prefix).eachlabs.refresh(prefix=args.prefix)
    return with_errors_reworded(frame, args.prefix)


def _summary(run: str, frame: Frame, *, prefix: str) -> str:
    origin = frame.attrs["eachlabs"]
    counts = frame[f"{prefix}status"].value_counts()
    words = sorted(counts.index, key=lambda word: (STATUSES.index(word) if word in STATUSES else len(STATUSES), word))
    cost = _cost(frame[f"{prefix}cost"].sum())
    parts = [*(f"{counts[word]} {one_line(word)}" for word in words), *([f"{cost} so far"] if cost else [])]
    rows = f"{len(frame)} row{'' if len(frame) == 1 else 's'}: {', '.join(parts)}"
    workflow, version = one_line(origin["workflow_id"]), one_line(origin["version_id"])
    return f"run {one_line(run)} of workflow {workflow}, version {version}\n{rows}"


def _first_rows(frame: Frame, *, prefix: str) -> str:
    """Return the first rows as text: labels, inputs and the main result columns."""
    results = [prefix + name for name in COLUMNS]
    inputs = [name for name in frame.columns if name not in results][:3]
    head = frame.head(HEAD)
    texts = [prefix + name for name in ("status", "execution_id", "error", "output")]
    names = [*inputs, *(name for name in texts if head[name].notna().any())]
    cells = [
        [cell_text(cell, MAX_CELL_LENGTH) for cell in head[name].astype(object).where(head[name].notna(), "")]
        for name in names
    ]
    labels = ["; ".join(map(str, label)) if isinstance(label, tuple) else label for label in head.index.tolist()]
    table = format_table(["", *map(one_line, names)], list(zip(labels, *cells, strict=True)))
    return table if len(frame) <= HEAD else f"{table}\n... and {len(frame) - HEAD} more; --out FILE writes them all"


def _write(args: argparse.Namespace, out: Path) -> int:
    check_suffix(out)
    files.check_free(out, force=args.force)
    frame = _load(args)
    files.save(with_index_columns(frame), out, packed=(f"{args.prefix}output",))
    print(f"{_summary(args.run, frame, prefix=args.prefix)} -> {out}", flush=True)
    return DONE


def _accept_loss() -> int:
    claimed = accept_journal_loss()
    for name, rows in claimed.items():
        print(f"run {one_line(name)}: {rows} row{'' if rows == 1 else 's'} now count as possibly sent")
    if not claimed:
        print("no row of this journal is affected")
    return DONE


def _delete(run: str, *, asked: bool) -> int:
    if not asked and not sys.stdin.isatty():
        msg = "--delete asks for confirmation, but stdin is not a terminal: pass --yes to delete without asking"
        raise UsageError(msg)
    listing = runs()
    matches = listing[listing["run"] == run].to_dict("records")
    if matches and not asked:  # delete_run raises if there is no such run
        rows = matches[0]["rows"]
        notify(
            f"run {run} has {rows} rows, {rows - matches[0][PENDING] - matches[0][INVALID]} of them sent. After it is "
            "deleted, the same command with this name sends and pays for every row again. Delete it? [y/N]"
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            notify("nothing was deleted")
            return NOT_ALL
    rows = delete_run(run)
    print(f"deleted run {one_line(run)} with {rows} row{'' if rows == 1 else 's'}", flush=True)
    return DONE
