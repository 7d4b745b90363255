"""``files`` and ``delete_files``: the uploads of this account that the journal knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ..aio.bridge import Call, Read, run
from ..aio.clock import SystemClock
from ..api.client import Client
from ..api.requests import is_file_id
from ..errors import ConfigurationError
from ..inputs.file_values import reference
from ..journal.upload_records import UploadRecord
from ..models import ApiConnection
from ..settings import Settings, current
from ..uploads.account import account_of
from ..uploads.deletion import delete_files as delete_at_api
from .runs import open_current_journal


def files() -> pd.DataFrame:
    """Return the files that calls have uploaded for this account, newest first. No request is sent.

    Cells that are files are uploaded before their rows are sent, each distinct content once. Anybody who has a
    ``public_url`` can read the file until it expires, or until `delete_files` deletes it.

    Returns
    -------
    pandas.DataFrame
        One row per file that is at the API, by the journal: ``name`` (string), ``size`` (int64, bytes),
        ``content_type`` (string), ``uploaded_at`` and ``expires_at`` (datetime64[ns, UTC]), ``runs`` (object: the list
        of the names of the runs that have sent its URL), ``public_url``, ``file_id`` and ``digest`` (string). ``name``
        is that of the file in which the content was first found. ``uploaded_at`` is missing if the process ended during
        the upload: the file may be at the API or not. ``digest`` is the SHA-256 of the file, or of the pixels of an
        image that is in no file. Deleted and expired files are left out.

    Raises
    ------
    JournalError
        The journal cannot be read.
    ConfigurationError
        No API key is set, the dialect has no uploads, or the journal is turned off.

    See Also
    --------
    delete_files : Deletes them.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     listed = ef.files()
    >>> listed.columns[:3].tolist()
    ['name', 'size', 'content_type']
    """
    now = SystemClock().epoch() * 1e9
    records = [record for record in _records(current()) if record.expires_at > now][::-1]
    out: pd.DataFrame = pd.DataFrame({"name": _strings([record.name for record in records])})
    out["size"] = pd.array([record.size for record in records], dtype="int64")
    out["content_type"] = _strings([record.content_type for record in records])
    for column in ("uploaded_at", "expires_at"):
        times = pd.to_datetime([getattr(record, column) for record in records], utc=True, unit="ns")
        out[column] = times.astype("datetime64[ns, UTC]")
    out["runs"] = pd.Series([list(record.runs) for record in records], dtype=object)
    for column in ("public_url", "file_id", "digest"):
        out[column] = _strings([getattr(record, column) for record in records])
    return out


def delete_files(files: str | Iterable[str] | pd.DataFrame) -> pd.DataFrame:
    """Delete uploaded files at the API, so that their URLs do not work any more. This cannot be undone.

    A later call with the same content uploads it again. Executions that have not read the file yet fail.

    Parameters
    ----------
    files : str, iterable of str, or DataFrame
        File ids, digests or public URLs; or a selection of rows of `files`.

    Returns
    -------
    pandas.DataFrame
        One row per file: ``file_id``, ``name`` and ``public_url`` (string), ``deleted`` (bool: the API does not have it
        any more; also if it was not there) and ``error`` (string: why it was not deleted, for example because the API
        is still processing it).

    Raises
    ------
    ConfigurationError
        The journal has no such upload, and the text is no file id either; nothing is deleted. Or no API key is set, the
        dialect has no uploads, or the journal is turned off.
    AuthenticationError
        The API does not accept the key.
    JournalError
        The journal cannot be read.

    See Also
    --------
    files : Lists them.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     gone = ef.delete_files(ef.files())
    >>> gone.columns.tolist()
    ['file_id', 'name', 'public_url', 'deleted', 'error']
    """
    settings = current()
    return run(lambda: _Deletion(files, settings), kind=settings.bridge)


class _Deletion(Call[pd.DataFrame]):
    """One call that deletes files and records that."""

    def __init__(self, files: str | Iterable[str] | pd.DataFrame, settings: Settings) -> None:
        self._settings = settings
        self._records = _selected(_texts_of(files), _records(settings))
        self._connection = ApiConnection(Client(settings), SystemClock(), settings.dialect, settings.max_concurrency)
        self._journal = open_current_journal().open_uploads(account_of(settings))

    def prepare(self, _read: Read, /) -> None:
        """Do nothing: there is nothing to plan."""

    async def execute(self, stop: asyncio.Event, /) -> pd.DataFrame:
        """Delete the files and return what became of each."""
        errors = await delete_at_api(list(self._records), self._connection, stop)
        now = int(self._connection.clock.epoch() * 1e9)
        for file_id, error in errors.items():
            if error is None and self._records[file_id] is not None:
                self._journal.delete(file_id, now)
        records = list(self._records.values())
        out: pd.DataFrame = pd.DataFrame({"file_id": _strings(list(errors))})
        for column in ("name", "public_url"):
            out[column] = _strings([None if record is None else getattr(record, column) for record in records])
        out["deleted"] = pd.Series([error is None for error in errors.values()], dtype=bool)
        out["error"] = _strings(list(errors.values()))
        return out

    def close(self) -> None:
        """Write what was deleted to the journal."""
        self._journal.close()


def _records(settings: Settings) -> list[UploadRecord]:
    """Return the uploads of this account that were not deleted, the oldest first."""
    records = open_current_journal().uploads(account_of(settings))
    return [record for record in records if record.deleted_at is None]


def _texts_of(files: object) -> list[str]:
    if isinstance(files, pd.DataFrame):
        if "file_id" not in files.columns:
            msg = "the frame has no column 'file_id': pass rows of ef.files()"
            raise ConfigurationError(msg)
        files = files["file_id"]
    texts = [files] if isinstance(files, str) else list(files) if isinstance(files, Iterable) else [files]
    for text in texts:
        if not isinstance(text, str):
            msg = f"files must be file ids, digests or public URLs, or rows of ef.files(); got {text!r}"
            raise ConfigurationError(msg)
    return list(dict.fromkeys(texts))


def _selected(texts: list[str], records: list[UploadRecord]) -> dict[str, UploadRecord | None]:
    """Return the files that are meant, by id; None for an id that the journal does not have."""
    by_text: dict[str, list[UploadRecord]] = {}
    for record in records:
        for text in (record.file_id, record.public_url, record.digest, reference(record.digest)):
            by_text.setdefault(text, []).append(record)
    selected: dict[str, UploadRecord | None] = {}
    for text in texts:
        if text in by_text:
            selected.update((record.file_id, record) for record in by_text[text])
        elif is_file_id(text):
            selected[text] = None
        else:
            msg = f"the journal has no uploaded file {text!r} of this account: ef.files() lists them"
            raise ConfigurationError(msg)
    return selected


def _strings(values: Sequence[str | None]) -> Any:
    return pd.array(values, dtype="string")
