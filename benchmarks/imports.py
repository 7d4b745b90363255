"""What imports cost: `import eachlabs_frames` beyond pandas, and what a first call imports beyond that.

Two fresh processes in turn, and the middle difference.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from .measure import Result

ROUNDS = 9
PACKAGE = "pandas, eachlabs_frames"
FIRST_CALL = f"{PACKAGE}, eachlabs_frames.frames.trigger, eachlabs_frames.journal.sqlite.journal, jsonschema_rs"


def importing() -> Result:
    return Result("import, beyond pandas", _difference(PACKAGE, "pandas"), 0.05, unit=" s")


def first_call_importing() -> Result:
    note = f"aiohttp alone {_difference(f'{PACKAGE}, aiohttp', PACKAGE):.3f} s"
    return Result("a first call's imports", _difference(FIRST_CALL, PACKAGE), 0.1, unit=" s", note=note)


def _difference(names: str, others: str) -> float:
    _seconds(names)  # so that neither is the first to read its files
    return median(_seconds(names) - _seconds(others) for _ in range(ROUNDS))


def _seconds(names: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {names}"], check=True)  # timeout= would wait in steps of 50 ms
    return time.perf_counter() - start
