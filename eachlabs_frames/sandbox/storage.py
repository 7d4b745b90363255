"""The account's uploaded files: presigned URLs, the files at their public URLs, and their deletion.

Decides which uploads are accepted, and owns the temporary folder with their bytes. It never touches a socket: `routes`
receives the bytes. All methods are thread-safe.
"""

from __future__ import annotations

import mimetypes
import secrets
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote
from xml.sax.saxutils import escape

from .messages import ReceivedBody, RefusalError, Request, Response, json_response

if TYPE_CHECKING:
    from .account import Account

FileStatus: TypeAlias = Literal["pending", "live", "deleted", "expired"]

MAX_FILE_BYTES = 100_000_000
PUBLIC_PATH = "/uploads"
UPLOAD_PATH = "/storage"
_RETENTION_SECONDS = 180 * 86_400
# A presigned URL and a key exclude each other: the storage accepts exactly one way to authorize a request.
_CREDENTIALS = ("Authorization", "X-API-Key", "Cookie")


class StorageRefusalError(RefusalError):
    """The storage rejects a request. Unlike the API's, its errors are XML."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
        self.response = Response(status, f"{text}</Error>".encode(), content_type="application/xml")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A presigned upload and its file. Times are in seconds since the epoch.

    `size` and `sha256` are None until it is uploaded; `puts` counts all PUT requests, rejected ones included.
    """

    file_id: str
    public_url: str
    content_type: str
    status: FileStatus
    size: int | None
    sha256: str | None
    puts: int
    created_at: float
    expires_at: float


@dataclass(slots=True)
class _File:
    """A presigned upload. Times are those of the sandbox's monotonic clock."""

    file_id: str
    name: str
    content_type: str
    required_headers: Mapping[str, str]
    signature: str
    created: float
    retention: float
    body: ReceivedBody | None = None
    uploaded: float = 0.0
    puts: int = 0
    deleted: bool = False
    expired: bool = False


class Storage:
    """The files of an account."""

    def __init__(self, account: Account, *, url: Callable[[], str]) -> None:
        self._account = account
        self._url = url
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        self._by_name: dict[str, _File] = {}
        self._folder: Path | None = None

    # Requests

    def presign(self, content_type: str, retention: int | None) -> Response:
        """Create an upload, and return its URLs and the headers that the PUT must have."""
        file_id = str(uuid.uuid4())
        file = _File(
            file_id,
            f"{file_id}{mimetypes.guess_extension(content_type) or '.bin'}",
            content_type,
            {"x-amz-meta-file-id": file_id, "x-amz-meta-check": f'v=1; id="{secrets.token_hex(8)}"'},
            # Base64 characters that a client must not encode again or decode.
            f"{secrets.token_hex(16)}+/=",
            self._account.now(),
            _RETENTION_SECONDS if retention is None else retention,
        )
        with self._lock:
            self._files[file_id] = self._by_name[file.name] = file
        expires = self._account.epoch(file.created + file.retention)
        document = {
            "id": file_id,
            "presigned_url": f"{self._url()}{UPLOAD_PATH}/{file.name}?X-Amz-Signature={quote(file.signature, safe='')}",
            "public_url": self._public_url(file),
            "expires_at": datetime.fromtimestamp(expires, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "required_headers": dict(file.required_headers),
        }
        return json_response(document)

    def check_upload(self, request: Request) -> None:
        """Raise `StorageRefusalError` unless the head of this PUT is acceptable. Nothing of the body is needed."""
        with self._lock:
            file = self._by_name.get(request.names["name"])
            if file is not None:
                file.puts += 1
            self._check_signature(request, file)
        headers = request.headers
        if "Content-Encoding" in headers:
            raise StorageRefusalError(400, "InvalidRequest", "the file itself is uploaded, without Content-Encoding")
        if "Transfer-Encoding" in headers or "Content-Length" not in headers:
            raise StorageRefusalError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        size = int(headers["Content-Length"])
        if size > MAX_FILE_BYTES:
            raise StorageRefusalError(413, "EntityTooLarge", f"{size} bytes are more than {MAX_FILE_BYTES}")
        if size == 0:
            raise StorageRefusalError(400, "InvalidRequest", "the file is empty")

    def _check_signature(self, request: Request, file: _File | None) -> None:
        for name in _CREDENTIALS:
            if name in request.headers:
                raise StorageRefusalError(400, "InvalidArgument", f"only one auth mechanism allowed: remove {name}")
        if file is None or list(request.query) != [("X-Amz-Signature", file.signature)]:
            raise StorageRefusalError(403, "SignatureDoesNotMatch", "the URL is not one that was presigned")
        if self._account.now() - file.created >= self._account.options.presign_seconds:
            raise StorageRefusalError(403, "AccessDenied", "Request has expired")
        if file.body is not None or file.deleted or file.expired:
            raise StorageRefusalError(403, "AccessDenied", "this URL was used before, or its file was deleted")
        required = {"content-type": file.content_type, **file.required_headers}
        for name, value in required.items():
            if request.headers.get(name) != value:
                raise StorageRefusalError(403, "SignatureDoesNotMatch", f"the header {name} must be {value!r}")
        for name in request.headers:
            if name.lower().startswith("x-amz-") and name.lower() not in required:
                raise StorageRefusalError(403, "AccessDenied", f"the header {name} was not signed")

    def upload(self, request: Request) -> Response:
        """Keep the bytes that were received for a PUT, whose head has been checked."""
        body = request.received
        with self._lock:
            file = self._by_name.get(request.names["name"])
            # Again: another request may have used the URL while this one was received.
            self._check_signature(request, file)
            if file is None or body is None or body.size != int(request.headers["Content-Length"]):
                raise StorageRefusalError(400, "IncompleteBody", "fewer bytes came than Content-Length says")
            file.body, file.uploaded, request.received = body, self._account.now(), None
        return Response(200, headers={"ETag": f'"{body.sha256[:32]}"'})

    def read(self, request: Request) -> Response:
        """Return a file's bytes, at its public URL."""
        with self._lock:
            file = self._by_name.get(request.names["name"])
            if file is None or file.body is None or self._status(file) != "live":
                raise StorageRefusalError(404, "NoSuchKey", "the file was not uploaded, or is gone")
            headers = {"ETag": f'"{file.body.sha256[:32]}"', "X-Content-Type-Options": "nosniff"}
            return Response(200, file.body.path.read_bytes(), content_type=file.content_type, headers=headers)

    def delete(self, file_id: str) -> Response:
        """Delete a file; no effect if it is gone already."""
        with self._lock:
            file = self._files.get(file_id)
            if file is None:
                raise RefusalError(404, "file not found")
            processed = file.uploaded + self._account.options.processing_seconds
            if self._status(file) == "live" and self._account.now() < processed:
                raise RefusalError(409, "conflict", details="the file is being processed")
            file.deleted = True
            self._remove_bytes(file)
        return Response(204)

    # Bytes

    def new_path(self) -> Path:
        """Return the path of a new temporary file for the body of a PUT."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="eachlabs-sandbox-files-"))
            return self._folder / secrets.token_hex(16)

    @staticmethod
    def _remove_bytes(file: _File) -> None:
        if file.body is not None:
            file.body.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete the temporary folder."""
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def reset(self) -> None:
        """Delete all files and their records."""
        with self._lock:
            for file in self._files.values():
                self._remove_bytes(file)
            self._files.clear()
            self._by_name.clear()

    # State

    def expire(self, file_ids: Sequence[str]) -> None:
        """Remove files, like the API at the end of their retention."""
        with self._lock:
            for file in [self._files[file_id] for file_id in file_ids]:
                file.expired = True
                self._remove_bytes(file)

    def records(self) -> tuple[FileRecord, ...]:
        """Return all uploads in the order in which they were presigned."""
        with self._lock:
            return tuple(
                FileRecord(
                    f.file_id,
                    self._public_url(f),
                    f.content_type,
                    self._status(f),
                    None if f.body is None else f.body.size,
                    None if f.body is None else f.body.sha256,
                    f.puts,
                    self._account.epoch(f.created),
                    self._account.epoch(f.created + f.retention),
                )
                for f in self._files.values()
            )

    def unreadable(self, inputs: Any) -> str | None:
        """Return the first public URL in these inputs whose file is not live, or None."""
        prefix = f"{self._url()}{PUBLIC_PATH}/"
        with self._lock:
            for text in _texts(inputs):
                if text.startswith(prefix):
                    file = self._by_name.get(text.removeprefix(prefix))
                    if file is None or self._status(file) != "live":
                        return text
        return None

    def _public_url(self, file: _File) -> str:
        return f"{self._url()}{PUBLIC_PATH}/{file.name}"

    def _status(self, file: _File) -> FileStatus:
        if file.deleted:
            return "deleted"
        if file.expired or self._account.now() - file.created >= file.retention:
            return "expired"
        return "pending" if file.body is None else "live"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
