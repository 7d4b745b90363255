"""What `import eachlabs_frames` costs beyond `import pandas`: two fresh processes in turn, the middle difference."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from .measure import Result

ROUNDS = 9


def importing() -> Result:
    _seconds("pandas, eachlabs_frames")  # so that neither is the first to read its files
    differences = [_seconds("pandas, eachlabs_frames") - _seconds("pandas") for _ in range(ROUNDS)]
    return Result("import, beyond pandas", median(differences), 0.15, unit=" s")


def _seconds(names: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {names}"], check=True)  # timeout= would wait in steps of 50 ms
    return time.perf_counter() - start
