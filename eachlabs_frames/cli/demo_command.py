"""`eachlabs-frames demo`: runs an example against a local sandbox. It needs no account, key or network."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .. import configure, sandbox
from ..errors import UsageError
from . import files
from .arguments import DEMO_INPUTS
from .exit_codes import DONE
from .signals import Signals

if TYPE_CHECKING:
    from ..frames.table import Frame


def run(args: argparse.Namespace, _signals: Signals) -> int:
    """Trigger the package's prompts in a sandbox, and write the result."""
    out = Path(args.out)
    table = _prompts(args.rows)
    files.check_writable(table, out)
    print(f"Triggering {len(table)} prompts with workflow wf_abc123, in batches of 10:")
    print(f'\n    df.eachlabs.bulk_trigger("wf_abc123", inputs={DEMO_INPUTS})\n')
    print("The API is a sandbox on this machine: nothing is billed.", flush=True)
    try:
        with sandbox.start(latency=0.25, queue_seconds=0.3, run_seconds=(0.5, 3.0), timestamp_digits=3):
            sent = table.eachlabs.bulk_trigger("wf_abc123", DEMO_INPUTS, max_concurrency=2, progress=True)
            done = sent.eachlabs.wait(progress=True)
    finally:
        # An invalid environment variable must not fail the demo.
        with suppress(UsageError):
            configure(api_key=None, base_url=None)
    files.write(done, out, packed=("output",))
    _show(done)
    print(f"\nThe whole result, {done.shape[0]} rows and {done.shape[1]} columns, is in {out}")
    print("Next: set EACHLABS_API_KEY, and see eachlabs-frames trigger --help to run a table of your own;")
    print("or, in a notebook: import eachlabs_frames, then df.eachlabs.bulk_trigger(workflow_id).", flush=True)
    return DONE


def _prompts(rows: int | None) -> Frame:
    """Return the package's prompts, each once, or `rows` of them, repeated from the top if there are fewer."""
    from importlib import resources

    with resources.as_file(resources.files("eachlabs_frames") / "data" / "prompts.csv") as path:
        table = files.read(path)
    if rows is None:
        return table
    chosen: Frame = table.take([row % len(table) for row in range(rows)]).reset_index(drop=True)
    return chosen


def _show(done: Frame, *, lines: int = 10) -> None:
    """Print the counts of each bulk operation and the first rows, in 100 columns."""
    summary = done.eachlabs.summary()
    counts = [name for name in summary.columns[1:] if summary[name].any()]
    short = summary[["bulk_id", *counts]].fillna({"bulk_id": "(not sent)"})
    print("\nCounts by bulk_id, from df.eachlabs.summary():\n")
    print(short.head(lines).to_string(index=False))
    if len(short) > lines:
        print(f"... and {len(short) - lines} more")
    head = done[["prompt", "style", "status", "output"]].head(5).astype(object)
    head = head.where(head.notna(), "")
    head["prompt"] = [_shortened(text, 44) for text in head["prompt"]]
    head["output"] = [_shortened(text, 26) for text in head["output"]]
    print("\nThe first rows of the result:\n")
    print(head.to_string(index=False))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
