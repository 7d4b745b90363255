"""Which of our modules and classes a ten-row `bulk_trigger` goes through, with the sandbox in another process.

Run as ``python -m benchmarks.tracing sandbox`` or ``... trigger URL`` it is one of the two processes.
"""

from __future__ import annotations

import enum
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import pandas as pd

import eachlabs_frames as ef

WORKFLOW = "wf_abc123"
KEY = "sandbox-key"
ROWS = 10


@cache
def traced() -> dict[str, list[str]]:
    """Return the names of the `modules` entered and of the `classes` built; see `structure` for what counts."""
    with _sandbox() as url:
        command = [sys.executable, "-m", __name__, "trigger", url]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300).stdout
    names: dict[str, list[str]] = json.loads(output)
    return names


@contextmanager
def _sandbox() -> Iterator[str]:
    command = [sys.executable, "-m", __name__, "sandbox"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()  # its standard input is closed at the end of the block, and it ends


def _serve() -> None:
    with ef.sandbox.start(api_key=KEY, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        print(sandbox.base_url, flush=True)
        sys.stdin.read()


def _trigger(url: str) -> None:
    """Trigger ten rows, and print the names of the modules entered and the classes built, as JSON."""
    _import_all()
    entered: set[str] = set()
    built: set[str] = set()
    root = str(Path(ef.__file__).parent) + os.sep
    _record_instances(built)

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            entered.add(frame.f_code.co_filename)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ef.configure(api_key=KEY, base_url=url, journal=f"{folder}/journal.sqlite")
        df = pd.DataFrame({"prompt": [f"fox {number}" for number in range(ROWS)]})
        threading.setprofile(profile)
        sys.setprofile(profile)
        out = df.eachlabs.bulk_trigger(WORKFLOW)
        sys.setprofile(None)
        threading.setprofile(None)
        # Copied at once: the loop's thread goes on.
        names = {"modules": sorted(entered.copy()), "classes": sorted(built.copy())}
    assert out["execution_id"].nunique() == ROWS
    print(json.dumps(names))


def _import_all() -> None:
    for module in pkgutil.walk_packages(ef.__path__, f"{ef.__name__}."):
        if module.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as exc:
            # The plugin for mypy needs mypy, which is not installed everywhere, and takes no part in a call.
            if exc.name is None or exc.name.split(".")[0] == ef.__name__:
                raise


def _record_instances(built: set[str]) -> None:
    # Subclasses first, so that the `__new__` that they inherit is still the original.
    for cls in sorted(_our_classes(), key=lambda cls: len(cls.__mro__), reverse=True):
        if not issubclass(cls, enum.Enum):
            type.__setattr__(cls, "__new__", staticmethod(_recording(cls.__new__, built)))


def _our_classes() -> list[type]:
    found: set[type] = set()
    pending: list[type] = [object]
    while pending:
        new: set[type] = set(type.__subclasses__(pending.pop())) - found
        found |= new
        pending.extend(new)
    return [cls for cls in found if str(cls.__module__).split(".")[0] == ef.__name__]


def _recording(original: Callable[..., object], built: set[str]) -> Callable[..., object]:
    def new(cls: type, *args: object, **kwargs: object) -> object:
        built.add(f"{cls.__module__}.{cls.__qualname__}")
        # `object.__new__` refuses arguments once a class has another `__new__`.
        return original(cls) if original is object.__new__ else original(cls, *args, **kwargs)

    return new


if __name__ == "__main__":
    if sys.argv[1] == "sandbox":
        _serve()
    else:
        _trigger(sys.argv[2])
