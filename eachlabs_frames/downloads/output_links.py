"""Requests new links for the files of an execution's output, once per execution: a link lives about 24 hours.

Owns which new link belongs to which file. It only reads, and never guesses: an output of another shape has other files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from .. import media
from ..api import reader, responses
from ..errors import EachlabsError
from ..models import Clock, DialectName, Transport
from .decisions import RequestedFile
from .naming import mark

UNCHANGED: Final = "the API still returns the same link for it"
OTHER_FILES: Final = "this output now has other files: refresh() the frame, and download again"


class OutputLinks:
    """The current links of outputs."""

    def __init__(self, transport: Transport, *, clock: Clock, dialect: DialectName) -> None:
        self._transport = transport
        self._clock = clock
        self._dialect = dialect
        self._asked: dict[str, asyncio.Task[list[str] | str]] = {}

    async def renew(self, wanted: RequestedFile, before: Sequence[str]) -> RequestedFile | str:
        """Return a file with its new link, or the reason why there is none.

        Parameters
        ----------
        wanted : Wanted
        before : sequence of str
            All links of its row's output.
        """
        execution_id = wanted.identity.execution_id
        if not execution_id:
            return "the frame does not have its execution_id, so no new link was requested"
        if execution_id not in self._asked:
            self._asked[execution_id] = asyncio.ensure_future(self._ask(execution_id))
        # Several files of one execution wait for one answer: that one of them is cancelled is its own matter.
        urls = await asyncio.shield(self._asked[execution_id])
        if isinstance(urls, str):
            return f"no new link: {urls}"
        # The same address with another signature, else the one in the same place: a row may have been taken apart.
        same = [url for url in urls if mark(url) == wanted.identity.source]
        if not same and len(urls) == len(before):
            same = [urls[wanted.identity.n]]
        if not same:
            return OTHER_FILES
        if same[0] == wanted.url:
            return UNCHANGED
        return replace(wanted, url=same[0], identity=wanted.identity._replace(source=mark(same[0])))

    async def _ask(self, execution_id: str) -> list[str] | str:
        try:
            found = await reader.read_details(
                [execution_id],
                transport=self._transport,
                clock=self._clock,
                dialect=self._dialect,
                workers=1,
            )
        except EachlabsError as exc:
            return str(exc)
        entry = found[execution_id]
        if not isinstance(entry, Mapping):
            return str(entry)
        if entry.get("execution_id") != execution_id:
            return "the response is about another execution"
        output = responses.read_outcome(0, entry).output
        return [url for _, url in media.urls(output, None, any_length=True)]
