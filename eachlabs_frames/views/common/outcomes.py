"""What the models of live views share: comparing outcomes, numbering statuses, and cutting text to size."""

from __future__ import annotations

from typing import Final

import orjson

from ...media import cut
from ...models import STATUSES, Outcome

MAX_STATUSES: Final = 20
MAX_STATUS_LENGTH: Final = 24
OTHER: Final = "other"
"""Stands for all statuses beyond `MAX_STATUSES`: the API has eight, and each message may name all of them."""


class StatusCodes:
    """The statuses of one view. A code is the place of a status in `names`, which only grows."""

    def __init__(self) -> None:
        self.names: Final = list(STATUSES)
        self._codes = {name: code for code, name in enumerate(STATUSES)}

    def code(self, status: str) -> int:
        """Return the code of a status; statuses beyond `MAX_STATUSES` share one."""
        code = self._codes.get(status)
        if code is None:
            name = fit(status, MAX_STATUS_LENGTH)
            if name not in self.names:
                name = name if len(self.names) < MAX_STATUSES - 1 else OTHER
            if name not in self.names:
                self.names.append(name)
            code = self._codes[status] = self.names.index(name)
        return code


def is_same(before: Outcome, outcome: Outcome) -> bool:
    """Return whether two outcomes are equal, whatever their positions."""
    try:
        return before is outcome or before[1:] == outcome[1:]
    except Exception:  # noqa: BLE001  # an output may be nested too deep, or hold an object that raises
        return False


def fit(text: str, max_length: int) -> str:
    """Return at most `max_length` characters, and about twice as many bytes of JSON."""
    text = cut(text, max_length)
    while json_size(text) > 2 * max_length + 2:
        text = cut(text, max(1, len(text) * 3 // 4))
    return text


def json_size(value: object) -> int:
    """Return the bytes of a value as compact JSON."""
    return len(orjson.dumps(value))
