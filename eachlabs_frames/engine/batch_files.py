"""The files of a batch: they are at the API before the batch is claimed, and their URLs are in the request alone.

Decides which rows cannot be sent because a file could not be uploaded. It uploads nothing: `Uploads` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from ..aio.tasks import cancel_on
from ..inputs.file_values import has_files, references, references_of, with_urls
from ..models import Batch
from .recorder import Recorder

NO_UPLOADS: Final = "its file is not known here: pass the file again"


class Uploads(Protocol):
    """Uploads the files of a call."""

    @property
    def urls(self) -> Mapping[str, str]:
        """The public URL of each file that is at the API, by the SHA-256 of its content."""
        ...

    def ensure(self, digests: Sequence[str]) -> Coroutine[Any, Any, Mapping[str, str] | None]:
        """Wait until each of these files is at the API for long enough.

        Return why others cannot be, by SHA-256; None if the uploads were stopped.
        """
        ...


class BatchFiles:
    """The files of one run's batches.

    Parameters
    ----------
    uploads : Uploads or None
        None: no row has a file that is known here.
    recorder : Recorder
    """

    def __init__(self, uploads: Uploads | None, recorder: Recorder) -> None:
        self._uploads = uploads
        self._recorder = recorder

    async def ready(self, batch: Batch, ended: asyncio.Event) -> Batch | None:
        """Wait until the files of a batch are at the API; return its rows that can be sent, or None if there are none.

        Rows whose files cannot be uploaded are recorded as invalid: nothing was claimed for them. Nothing is waited for
        once `ended` is set.
        """
        if not has_files(b"".join(batch.payloads)):  # as with most calls: one search for all rows
            return batch
        digests = references_of(batch.payloads)
        if self._uploads is None:
            failed: Mapping[str, str] | None = dict.fromkeys(digests, NO_UPLOADS)
        else:
            failed = await cancel_on(ended, self._uploads.ensure(digests))
        if failed is None:
            return None
        reasons = {
            position: failed[digest]
            for position, payload in zip(batch.positions, batch.payloads, strict=True)
            for digest in reversed(references(payload))
            if digest in failed
        }
        if not reasons:
            return batch
        self._recorder.refuse(reasons)
        return _without(batch, reasons)

    def as_sent(self, batch: Batch) -> Batch:
        """Return a batch as it is sent, with the URL of each file."""
        if self._uploads is None:
            return batch
        return Batch(batch.positions, tuple(with_urls(payload, self._uploads.urls) for payload in batch.payloads))


def _without(batch: Batch, positions: Collection[int]) -> Batch | None:
    rows = [row for row in zip(batch.positions, batch.payloads, strict=True) if row[0] not in positions]
    return Batch(tuple(position for position, _ in rows), tuple(payload for _, payload in rows)) if rows else None
