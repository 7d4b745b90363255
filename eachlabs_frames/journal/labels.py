"""Encodes the index labels of rows. Reads no journal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..models import Json


def write_labels(labels: Sequence[Json]) -> bytes:
    """Encode index labels, with `json`: they may be NaN, beyond 64 bits or incomplete characters."""
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_labels(stored: bytes) -> list[Json]:
    """Decode what `write_labels` returned."""
    labels: list[Json] = json.loads(stored.decode("utf-8", "surrogatepass"))
    return labels
