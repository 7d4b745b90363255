"""A file server on loopback whose responses are set by the tests: any status and any header."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@dataclass
class Item:
    """A response."""

    body: bytes = PNG
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "image/png"})
    sized: bool = True


class Shelf:
    """The server, with the path and headers of each request."""

    def __init__(self) -> None:
        self.items: dict[str, Item | Callable[[int], Item]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shelf._answer(self)

            def log_message(self, *_: Any) -> None:
                """Do not log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The requested paths."""
        return [path for path, _ in self.requests]

    def put(self, path: str, item: Item | Callable[[int], Item] | None = None) -> str:
        """Serve an item, or the result of a function of the number of requests for the path; return the URL."""
        self.items[path] = item or Item()
        return self.url + path

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        entry = self.items.get(handler.path, Item(b"", 404))
        item = entry(self.paths.count(handler.path)) if callable(entry) else entry
        handler.send_response(item.status)
        for name, value in item.headers.items():
            handler.send_header(name, value)
        if item.sized:
            handler.send_header("Content-Length", str(len(item.body)))
        handler.end_headers()
        handler.wfile.write(item.body)
        handler.close_connection = not item.sized

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
