"""Hints for names that may be misspelt: "did you mean ...?".

Owns the comparison of names and the wording of hints. It never decides whether a name is wrong.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, TypeVar

T = TypeVar("T", bound=Hashable)

MAX_LISTED: Final = 8
MAX_COMPARED: Final = 1_000
"""Maximum number of names to compare: `difflib` takes about 10 us for each."""

MIN_SIMILARITY: Final = 0.7
"""Of `difflib`, from 0 to 1: by its own 0.6, "status" is close to "tags"."""


def closest(name: object, names: Iterable[T]) -> T | None:
    """Return which of `names` is most likely meant by `name`, whatever its case; None if none is close."""
    folded = {str(label).casefold(): label for label, _ in zip(names, range(MAX_COMPARED), strict=False)}
    matches = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=MIN_SIMILARITY)
    return folded[matches[0]] if matches else None


def did_you_mean(name: object, names: Iterable[Hashable]) -> str:
    """Return " (did you mean 'x'?)", or an empty string if no name is close to `name`."""
    match = closest(name, names)
    return "" if match is None else f" (did you mean {match!r}?)"


def hint(name: object, names: Iterable[Hashable], *, listing: str = "it has") -> str:
    """Return `did_you_mean`, else the first names as " (it has 'a', 'b')"; empty if there are none."""
    labels = list(names)
    return did_you_mean(name, labels) or (f" ({listing} {listed(labels)})" if labels else "")


def listed(names: Iterable[object]) -> str:
    """Return the first names, quoted and separated by commas."""
    labels = list(names)
    return ", ".join(map(repr, labels[:MAX_LISTED])) + (", ..." if len(labels) > MAX_LISTED else "")


def check_keywords(function: Callable[..., Any], given: Iterable[str]) -> None:
    """Raise `TypeError`, as Python 3.13 words it, if `function`'s signature has not every keyword that was given."""
    parameters = inspect.signature(function).parameters
    for name in given:
        if name not in parameters:
            msg = f"{function.__name__}() got an unexpected keyword argument {name!r}{did_you_mean(name, parameters)}"
            raise TypeError(msg)
