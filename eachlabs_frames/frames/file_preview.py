"""What a preview says of files: how many rows would upload, and their names in place of URLs. It uploads nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..aio.clock import SystemClock
from ..errors import ConfigurationError, JournalError
from ..inputs.encoding import Row
from ..inputs.file_values import UNUSABLE, digest_of, is_reference, map_texts
from ..journal import open_journal
from ..journal.upload_records import UploadRecord
from ..settings import Settings
from ..uploads.account import account_of
from ..uploads.local_files import LocalFiles
from ..uploads.progress import format_size
from ..uploads.uploader import is_usable


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The distinct files of some rows.

    Attributes
    ----------
    files : int
    file_bytes : int
    files_known : int
        Those that are at the API, so that they are not uploaded again.
    """

    files: int = 0
    file_bytes: int = 0
    files_known: int = 0

    def facts(self) -> dict[str, int]:
        """Return the counts for a frame's attrs; none without a file."""
        return asdict(self) if self.files else {}

    def sentence(self) -> str:
        """Return the counts for a reader."""
        files = "1 file" if self.files == 1 else f"{self.files:,} files"
        known = f", {self.files_known:,} of them at the API already" if self.files_known else ""
        return (
            f"{files}, {format_size(self.file_bytes)}{known}: uploaded before their rows are sent; anybody who has the "
            "URL of a file can read it until it expires"
        )


class FilePreview:
    """Names and counts the files in inputs.

    Parameters
    ----------
    files : LocalFiles
        Has read the rows.
    settings : Settings
    """

    def __init__(self, files: LocalFiles, settings: Settings) -> None:
        self._sources = files.sources
        self._settings = settings
        self._digests: dict[str, None] = {}

    def with_names(self, row: Row, *, is_sent: bool = True) -> Row:
        """Return an input with the name of each file where its URL will stand; `is_sent`: count the files."""

        def named(text: str) -> str:
            if text.startswith(UNUSABLE):
                return "<a file that cannot be used>"
            if not is_reference(text):
                return text
            digest = digest_of(text)
            if is_sent:
                self._digests[digest] = None
            source = self._sources.get(digest)
            return f"<{digest[:8] if source is None else source.name}>"

        return {key: map_texts(value, named) for key, value in row.items()}

    def counts(self) -> FileCounts:
        """Count the files of the inputs that were named."""
        if not self._digests:
            return FileCounts()
        now = SystemClock().epoch()
        records = {record.digest: record for record in self._records() if is_usable(record, now)}
        sizes = (self._size(digest, records.get(digest)) for digest in self._digests)
        return FileCounts(len(self._digests), sum(sizes), sum(digest in records for digest in self._digests))

    def _records(self) -> Iterable[UploadRecord]:
        try:
            return open_journal(self._settings.journal).uploads(account_of(self._settings))
        except (ConfigurationError, JournalError):
            return ()  # no key is set, or there are no uploads: a call says so

    def _size(self, digest: str, record: UploadRecord | None) -> int:
        if digest in self._sources:
            return self._sources[digest].size
        return 0 if record is None else record.size
