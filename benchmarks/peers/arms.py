"""The arms by name. A trial imports the module of its arm alone, so that no first call finds another's imports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

Call = Callable[[int, Any, int], Any]
"""From a port, a pandas frame and a concurrency to that frame with a column `execution_id`."""

NO_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "OTEL_SDK_DISABLED": "true",
}
"""The environment of a trial."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A library in the comparison; `place` is the module and function that import it and return a `Call`."""

    title: str
    packages: tuple[str, ...]
    place: str

    def load(self) -> Call:
        module, _, function = self.place.partition(":")
        call: Call = getattr(import_module(f".{module}", __package__), function)()
        return call

    def versions(self) -> list[str]:
        """Return the packages with their versions.

        Raises
        ------
        PackageNotFoundError
            One of them is not installed; the error's `name` says which.
        """
        from importlib.metadata import version

        return [f"{name} {version(name)}" for name in self.packages]


ARMS = {
    "ours": Arm("ours", ("eachlabs-frames",), "ours:plain"),
    "journal": Arm("ours with journal", ("eachlabs-frames",), "ours:with_journal"),
    "tqdm": Arm("tqdm + aiohttp by hand", ("tqdm", "aiohttp"), "coroutines:by_hand"),
    "openaivec": Arm("openaivec's engine", ("openaivec",), "coroutines:openaivec"),
    "langchain": Arm("LangChain abatch", ("langchain-core",), "coroutines:langchain"),
    "threads": Arm("threads + requests", ("requests",), "pools:threads"),
    "dask": Arm("Dask threads", ("dask",), "pools:dask"),
    "daft": Arm("Daft", ("daft",), "coroutines:daft"),
    "sockets": Arm("bare sockets", (), "pools:sockets"),
    "looking": Arm("bare sockets, workflow read", (), "pools:looking_sockets"),
}
