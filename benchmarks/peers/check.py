"""Whether every execution id came back to its own row. A trial imports this after its first call."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from ..clients import BATCH
from ..server import mark


def misplaced(frame: pd.DataFrame, out: pd.DataFrame) -> int:
    """Count the rows of `frame` that have not, in `out`, an id of their own from a request of at most ten inputs."""
    ids = out["execution_id"].tolist()
    if len(ids) != len(frame) or not out.index.equals(frame.index):
        return len(frame)
    counts = Counter(ids)
    sizes = Counter(execution_id[:8] for execution_id in ids)
    return sum(
        not execution_id.endswith(mark(prompt)) or counts[execution_id] > 1 or sizes[execution_id[:8]] > BATCH
        for prompt, execution_id in zip(frame["prompt"], ids, strict=True)
    )
