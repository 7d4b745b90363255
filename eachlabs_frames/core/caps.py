"""How much may be in flight: the cap that an error's text states, and the arithmetic of windows and shares.

Text and numbers in, values out. It never waits and never counts anything itself: `engine.limiter` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

PROBE_AFTER: Final = 10
"""Requests taken after a refusal before a share may grow again: at most one in ten is refused for probing."""

OPENING: Final = 2
"""Requests with which a run begins; the whole pool sends once they were taken."""

SMALL_POOL: Final = 4
"""Requests at once, up to which a run begins with all of them: a cap refuses too few of those to wait for."""

RECHECK_AFTER: Final = 50
"""Requests taken before one more than the API's own cap is tried: a balance may be topped up during a run."""

_RUN: Final = r"(?:executions?|runs?|jobs?|workflows?|flows?|tasks?|predictions?|generations?)"
_CALL: Final = r"(?:requests?|calls?|connections?|starts?)"
_TOGETHER: Final = r"(?:concurren\w*|simultaneous\w*|parallel|in[ -]?flight)"

_OF_CALLS: Final = re.compile(
    rf"\b{_TOGETHER}\s+(?:api\s+|http\s+)?{_CALL}\b|\b{_CALL}\s+(?:in\s+)?{_TOGETHER}\b(?!\s+{_RUN}\b)"
)
_OF_RUNS: Final = re.compile(
    rf"""\bconcurren | \bin[ -]?flight\b
    | \b(?:simultaneous|parallel|running|active|ongoing|in[ -]progress)\s+{_RUN}\b
    | \b(?:executions|runs|jobs|workflows|tasks)\s+(?:(?!start)\w+\s+){{0,3}}
      (?:running|active|in\ parallel|simultaneously|in\ progress|at\ once|at\ the\ same\ time)\b
    | \b\d+\s*(?:/|of)\s*\d+\s+(?:{_RUN}\s+)?(?:running|active|in\ progress)\b""".replace("[ -]", r"[\ -]"),
    re.VERBOSE,
)

# No number that counts money, time or requests is a cap, and none that counts what is used or asked for.
_NUMBER: Final = r"(?<![\d$.,/-])(\d{1,9})(?!\d|[.,]\d|%)"
_NO_COUNT: Final = rf"(?!\s*(?:{_CALL}\b|s\b|sec|ms\b|min|hour|usd\b|eur\b|dollar|credit|cent|per\b))"
_NO_USE: Final = (
    r"(?!\s*(?:/|>|more\b|over\b|already|(?:are\s+|is\s+|were\s+)?(?:currently\s+|now\s+)?"
    rf"(?:in\s+use|used|asked|requested|queued|running|active|in[ -]?flight)\b(?!\s+{_RUN})))"
)
_LINK: Final = (
    r"(?:\W|(?:of|is|to|at|are|for|was|the|run|have|your|this|account|reached|exceeded"
    rf"|{_TOGETHER}|running|active|{_RUN})\b)"
)
# "accounts with a balance of $10.00 or less are limited to 10 concurrent executions" (API reference, "Errors").
_DOCUMENTED: Final = re.compile(rf"\blimited to (\d{{1,9}}) {_TOGETHER} executions?\b")
_USED_OF_CAP: Final = re.compile(
    rf"{_NUMBER}\s*(?:/|(?:\s(?!more\b|over\b)[a-z-]+){{0,2}}\s+of\b)\s*"
    rf"(?:(?:your|the|a|an|of|at most|max|maximum|limit|total|allowed)\s+){{0,4}}"
    rf"(\d{{1,9}})(?![\d/%]|[.,]\d){_NO_COUNT}"
)
_CAP: Final = re.compile(
    rf"\b(?:limit(?:ed|s)?|restricted|cap(?:ped)?|maximum|max|quota|ceiling|at most|up to"
    rf"|no more than|only|allow\w*|permit\w*){_LINK}{{0,40}}?"
    rf"{_NUMBER}{_NO_COUNT}{_NO_USE}"
    rf"|{_NUMBER}(?:\s+(?:{_TOGETHER}|{_RUN}|running|active|are|is|the|can be|may be))+"
    r"\s+(?:allowed|permitted|maximum|max|limit|cap)\b"
)


@dataclass(frozen=True, slots=True)
class Cap:
    """What a refusal says about executions at once; None for each number that it does not state."""

    limit: int | None = None
    used: int | None = None


def read_cap(reason: str) -> Cap | None:
    """Return the cap that `reason` speaks of, or None where it is about anything but executions at once.

    The documented text is preferred, and the smallest number where it comes more than once; any other usual wording is
    read as well. A number that is misread costs a few refusals and no row: the share shrinks and grows with answers.

    Examples
    --------
    >>> from eachlabs_frames.core.caps import read_cap
    >>> read_cap("HTTP 429: concurrency limit reached: 7 of 10 concurrent executions in use, 5 more asked for")
    Cap(limit=10, used=7)
    >>> read_cap("HTTP 429: accounts with a balance of $10.00 or less are limited to 2 concurrent executions.")
    Cap(limit=2, used=None)
    >>> read_cap("HTTP 429: too many concurrent executions")
    Cap(limit=None, used=None)
    >>> read_cap("HTTP 429: too many requests: too many starts at once") is None
    True
    """
    text = re.sub(r'[_"\'`]', " ", re.sub(r"^http \d+\b", "", reason.lower()))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text, of_calls = _OF_CALLS.subn(" ", text)
    if not _OF_RUNS.search(text) or (of_calls and not re.search(rf"\b{_RUN}\b", text)):
        return None
    if documented := [int(number) for number in _DOCUMENTED.findall(text) if int(number)]:
        return Cap(min(documented))
    if (found := _USED_OF_CAP.search(text)) and int(found[2]):
        return Cap(int(found[2]), int(found[1]))
    limits = (int(found[1] or found[2]) for found in _CAP.finditer(text))
    return Cap(next(filter(None, limits), None))


@dataclass(frozen=True, slots=True)
class Window:
    """How many requests may be out at once: halved by a refusal, then a slow start, then one more per round.

    Attributes
    ----------
    size : int
        Requests at once.
    slow_until : int
        Up to this size it doubles per round; above, it grows by one per round.
    taken : int
        Requests taken in this round of the slow growth.
    opening : int
        Requests that have to be taken before the whole pool may send; 0 once they were.
    """

    size: int
    slow_until: int
    taken: int = 0
    opening: int = 0

    @classmethod
    def at_start(cls, workers: int) -> Window:
        """Return the window of a run that begins: `OPENING` requests, so that a cap refuses those and not the pool's.

        An account with a cap of 10 executions takes one request of ten: a pool of eight would have seven refused.
        """
        if workers <= SMALL_POOL:
            return cls(workers, workers)
        return cls(OPENING, workers, opening=OPENING)

    def opened(self, workers: int) -> Window:
        """Return the window of a run whose first requests are answered, or have been waited for long enough."""
        return Window(workers, self.slow_until) if self.opening else self

    def cut(self) -> Window:
        """Return the window after a refusal: a slow start from 1 up to half of what it was."""
        reached = self.slow_until if self.opening else self.size
        return Window(1, max(1, reached // 2))

    def grown(self, most: int) -> Window:
        """Return the window after one request was taken; it is never larger than `most`."""
        if self.opening > 1:
            return replace(self, opening=self.opening - 1)
        if self.opening:
            return self.opened(most)
        if self.size >= most:
            return self
        if self.size < self.slow_until:
            return Window(self.size + 1, self.slow_until)
        if self.taken + 1 >= self.size:
            return Window(self.size + 1, self.slow_until)
        return replace(self, taken=self.taken + 1)


@dataclass(frozen=True, slots=True)
class Share:
    """How many executions of this run may be in flight at once: the API's cap, less what others seem to use of it.

    Attributes
    ----------
    level : int or None
        Executions at once, at least 1; None while nothing is known.
    cap : int or None
        What the API named last; None where it named none, or where more than that was taken since.
    taken : int
        Requests taken since the last refusal.
    """

    level: int | None = None
    cap: int | None = None
    taken: int = 0

    def cut(self, stated: Cap, *, others_out: int, sent: int, out_before: int = 0) -> Share:
        """Return the share after `sent` inputs were refused while `others_out` of this run were in flight or out.

        Parameters
        ----------
        stated : Cap
            What the refusal says. Where it says how much is free, that is believed. Where it names the cap alone and
            this run's own executions explain the refusal, the share is the cap. Else half of `sent` may fit.
        others_out : int
            This run's executions in flight, and inputs that other requests carry.
        sent : int
            Inputs of the refused request: fewer than these fit.
        out_before : int
            As `others_out`, when the request was sent: some of those may have ended since.
        """
        cap = stated.limit or self.cap
        if stated.limit is None:
            fits = others_out + sent // 2
        elif stated.used is not None:
            fits = others_out + max(0, min(sent - 1, stated.limit - stated.used))
        elif max(others_out, out_before) + sent > stated.limit:
            fits = stated.limit
        else:
            fits = others_out + sent // 2
        bounds = (fits, self.level, cap)
        return Share(max(1, min(bound for bound in bounds if bound is not None)), cap)

    def grown(self, out: int) -> Share:
        """Return the share after a request was taken and `out` executions and inputs are in flight or out.

        It grows by one, where it is used up, with each request after the first `PROBE_AFTER` (or `RECHECK_AFTER`,
        where that is more than the API's own cap).
        """
        if self.level is None:
            return self
        taken = self.taken + 1
        at_cap = self.level == self.cap
        if out < self.level or taken <= (RECHECK_AFTER if at_cap else PROBE_AFTER):
            return replace(self, taken=taken)
        return Share(self.level + 1, None if at_cap else self.cap, taken)
