from __future__ import annotations

from collections.abc import Iterator

import pytest

from .fork_server import ForkServer


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """A fork server for all tests of the session."""
    with ForkServer(tmp_path_factory.mktemp("fork-server")) as running:
        yield running


@pytest.fixture
def server(shared_server: ForkServer) -> Iterator[ForkServer]:
    """The fork server; workers that a test leaves running are killed."""
    yield shared_server
    shared_server.kill_workers()
