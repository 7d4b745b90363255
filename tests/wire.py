"""A comm for widgets without a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import comm
import pytest
from comm.base_comm import BaseComm


class Wire(BaseComm):  # type: ignore[misc]  # it has no types
    """A comm that records all messages."""

    sent: ClassVar[list[tuple[str, float, dict[str, Any], list[bytes]]]] = []

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        json.dumps(data)  # as Jupyter does
        self.sent.append((self.comm_id, time.monotonic(), data or {}, buffers or []))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Wire]]:
    """Connect widgets to a recording comm, in the way that front ends do."""
    monkeypatch.setattr(Wire, "sent", [])
    monkeypatch.setattr(comm, "create_comm", Wire)
    return Wire
