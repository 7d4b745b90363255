"""A PostgreSQL server for tests: that at EACHLABS_TEST_PG, else one of their own on the loopback interface.

Tests that use it have the mark `postgres`. Each test has a schema of its own, which is dropped afterwards.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eachlabs_frames.postgres_url import PostgresUrl

# Read before the tests' settings are cleared.
_GIVEN = os.environ.get("EACHLABS_TEST_PG")
_numbers = itertools.count()

SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 60
autovacuum_naptime = 1h
logging_collector = off
"""


class Server:
    """A cluster in a temporary folder, as the user postgres where the tests run as root."""

    def __init__(self, folder: Path, settings: str = SETTINGS) -> None:
        self.folder = folder
        self.port = free_port()
        self.data = folder / "data"
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "-D", str(self.data))
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{settings}\nport = {self.port}\nunix_socket_directories = '{folder}'\n")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def url_of(self, user: str) -> str:
        """Return the URL with another user, whose password may follow after a colon."""
        return self.url.replace("postgres@", f"{user}@")

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        import psycopg  # not for every test run

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]  # not a literal

    def setting(self, name: str) -> str:
        """Return the value of a setting in a new connection."""
        import psycopg

        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            assert row is not None
            return str(row[0])

    def start(self, *, standby: bool = False) -> None:
        if standby:
            (self.data / "standby.signal").touch()
        self._run("pg_ctl", "-w", "-t", "120", "-D", str(self.data), "-l", str(self.folder / "log"), "start")

    def promote(self) -> None:
        """Make a standby the primary server."""
        self._run("pg_ctl", "-w", "-t", "120", "-D", str(self.data), "promote")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-w", "-t", "120", "-D", str(self.data), "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        found = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))]
        command = [found[-1] if found else shutil.which(program) or program, *arguments]
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
            command = ["runuser", "-u", "postgres", "--", *command]
        # Not a pipe: the server would keep it open.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/", check=False)
        assert done.returncode == 0, f"{program} failed"


@contextmanager
def running_pooler(server: Server, mode: str) -> Iterator[str]:
    """Start pgbouncer in front of a server, with two connections to it; yield its URL, whose user is not checked."""
    port, settings = free_port(), server.folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = user=postgres host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = 2\nserver_reset_query = DISCARD ALL\nserver_reset_query_always = 1\n"
    )
    command = [shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "pgbouncer", "-q"]
    if os.getuid() == 0:
        command += ["-u", "postgres"]
    pooler = subprocess.Popen([*command, str(settings)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port))
        yield f"postgresql://anyone@127.0.0.1:{port}/postgres"
    finally:
        pooler.terminate()
        pooler.wait()


def listens(port: int) -> bool:
    """Return whether a server accepts connections on a port."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port on which nothing listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def running_server(settings: str = SETTINGS) -> Iterator[Server]:
    """Start a server, and stop it at the end if it is running."""
    # Not a folder of pytest's: the user postgres may not enter those of root.
    folder = Path(tempfile.mkdtemp(prefix="eachlabs-postgres-"))
    try:
        server = Server(folder, settings)
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Return the URL of a server on which schemas can be made."""
    if _GIVEN:
        yield _GIVEN
        return
    with running_server() as server:
        yield server.url


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that a test may stop or change; it leaves it as it was."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_schema(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a schema that does not exist yet, which journals of this process use."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    monkeypatch.setenv("EACHLABS_SCHEMA", schema)
    return schema


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[PostgresUrl]:
    """Return the URL of a journal that does not exist yet, in a schema of its own."""
    url = PostgresUrl(postgres_server, f"test_{os.getpid()}_{next(_numbers)}")
    yield url
    import psycopg  # not for every test run

    with psycopg.connect(url.reveal(), autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {url.schema} CASCADE")


@pytest.fixture
def postgres_journal(postgres_url: PostgresUrl, monkeypatch: pytest.MonkeyPatch) -> PostgresUrl:
    """Make it the journal of the settings, of this process and of those that the test starts."""
    monkeypatch.setenv("EACHLABS_JOURNAL", postgres_url.reveal())
    monkeypatch.setenv("EACHLABS_SCHEMA", postgres_url.schema)
    return postgres_url
