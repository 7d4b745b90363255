"""What the workers of ``trigger --dask local`` are told when they start."""

from __future__ import annotations

import signal

from distributed import WorkerPlugin

from .terminal import in_one_line


class LocalWorker(WorkerPlugin):
    """Leaves signals to the command, and prints as it does."""

    def setup(self, worker: object) -> None:  # noqa: ARG002 - distributed passes it by name
        """Ignore what a terminal sends to the whole group of processes: Ctrl-C would end the workers."""
        in_one_line().__enter__()  # until the process ends
        for name in ("SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
