"""The cap on concurrent executions that an error message of the API states. Text in, numbers out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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
    >>> from eachlabs_frames.api.stated_cap import read_cap
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
