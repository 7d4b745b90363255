"""The uploads in the journal: what is recorded of each, and the Protocol that records them. See `base`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One upload of a content. Times are nanoseconds since the epoch, UTC.

    Attributes
    ----------
    digest : str
        Of the content: see `uploads.file_source.FileSource`.
    file_id : str
        The API's.
    expires_at : int
        When the API deletes it.
    uploaded_at : int or None
        None: it may be at the API or not.
    deleted_at : int or None
        When it was deleted at the API, or given up.
    runs : tuple of str
        The runs that have sent its URL.
    """

    digest: str
    file_id: str
    public_url: str
    name: str
    size: int
    content_type: str
    presigned_at: int
    expires_at: int
    uploaded_at: int | None = None
    deleted_at: int | None = None
    runs: tuple[str, ...] = ()


class UploadJournal(Protocol):
    """Records the uploads of one account, in the order of the calls. `close` ends the call's part.

    What is lost with the last records is no more than an upload: the file is uploaded again.
    """

    async def find(self, digest: str) -> list[UploadRecord]:
        """Return the uploads of a content that were not deleted, the newest first."""
        ...

    async def begin(self, record: UploadRecord) -> None:
        """Record that a file is about to be uploaded: if the process is killed, its URL is known.

        Raises
        ------
        JournalError
            It could not be recorded: the file may not be uploaded.
        """
        ...

    def complete(self, file_id: str, uploaded_at: int) -> None:
        """Record soon that a file is at the API."""
        ...

    def delete(self, file_id: str, deleted_at: int) -> None:
        """Record soon that a file is not at the API any more."""
        ...

    def add_use(self, file_id: str, run: str) -> None:
        """Record soon that a run sends the URL of a file."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...
