"""Finds the rows of a call whose input was sent before. It compares fingerprints, and never sees an input."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .fingerprints import SIZE

Fingerprints: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
"""The first 8 bytes of each: enough to tell a million inputs apart, and small where there are a million."""


def pack(contents: bytes | bytearray) -> Fingerprints:
    """Return fingerprints of `SIZE` bytes each as an array of their first 8 bytes."""
    packed: Fingerprints = np.frombuffer(bytes(contents), dtype="<u8")[:: SIZE // 8].copy()
    return packed


def repeated(inputs: Fingerprints, earlier: Fingerprints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which of `inputs` are in `earlier`, counted by occurrence.

    The k-th occurrence of an input is a repeat where `earlier` has it at least k times: a sweep that asks for an
    input three times repeats one row of a run that has it once.
    """
    order = np.argsort(inputs, kind="stable")
    ordered = inputs[order]
    known, counts = np.unique(earlier, return_counts=True)
    if not len(known) or not len(ordered):
        return np.zeros(len(inputs), dtype=bool)
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(ordered)), 0))
    places = np.minimum(np.searchsorted(known, ordered), len(known) - 1)
    found = (known[places] == ordered) & (np.arange(len(ordered)) - first < counts[places])
    out = np.zeros(len(inputs), dtype=bool)
    out[order] = found
    return out
