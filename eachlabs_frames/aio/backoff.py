"""Delays before a retry and between polls: pure functions from numbers to seconds.

The random number comes from the caller, so that tests can fix it.
"""

from __future__ import annotations

from typing import Final

RETRY_BASE: Final = 1.0
RETRY_CAP: Final = 60.0
POLL_FIRST: Final = 1.0
POLL_CAP: Final = 15.0
POLL_GROWTH: Final = 1.5
POLL_REQUEST: Final = 0.1
SETTLE_FIRST: Final = 0.25
SETTLE_CAP: Final = 10.0
SEARCH_FIRST: Final = 0.5
SEARCH_CAP: Final = 8.0
MIN_DELAY: Final = 0.05


def retry_delay(attempt: int, *, floor: float | None, draw: float) -> float:
    """Return the seconds before try number `attempt` + 1: full jitter, and at least what the API asked for.

    Parameters
    ----------
    attempt : int
        Consecutive tries that were refused, from 1.
    floor : float or None
        ``Retry-After``, in seconds.
    draw : float
        A random number of [0, 1).
    """
    ceiling = min(RETRY_CAP, RETRY_BASE * 2.0 ** min(attempt - 1, 16))
    return max(floor or 0.0, ceiling * draw, MIN_DELAY)


def poll_delay(polls: int, *, requests: int = 0, floor: float | None, draw: float) -> float:
    """Return the seconds after poll number `polls` (from 1): 1 s growing to 15 s, with a jitter of a fifth.

    A poll of many requests is not followed as soon: `POLL_REQUEST` seconds for each of its `requests`, up to 15 s.
    """
    steady = min(POLL_CAP, max(POLL_FIRST * POLL_GROWTH ** min(polls - 1, 16), POLL_REQUEST * requests))
    return max(floor or 0.0, min(POLL_CAP, steady * (0.8 + 0.4 * draw)))


def settle_delay(polls: int, *, draw: float) -> float:
    """Return the seconds before poll number `polls` (from 1) for free capacity: 0.25 s to 10 s, jitter of a fifth."""
    steady = min(SETTLE_CAP, SETTLE_FIRST * POLL_GROWTH ** min(polls - 1, 16))
    return min(SETTLE_CAP, steady * (0.8 + 0.4 * draw))


def search_delay(polls: int, *, floor: float | None, draw: float) -> float:
    """Return the seconds after search number `polls` (from 1) for lost replies: 0.5 s doubling to 8 s, with jitter."""
    steady = min(SEARCH_CAP, SEARCH_FIRST * 2.0 ** min(polls - 1, 16))
    return max(floor or 0.0, min(SEARCH_CAP, steady * (0.8 + 0.4 * draw)))
