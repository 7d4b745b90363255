"""Runs every measurement, or those of the files that are named, and prints one table. Measures nothing itself.

`peers` has a command line of its own, and is not part of the others.

The exit code is 1 where a limit is missed.
"""

from __future__ import annotations

import os
import sys

from . import dashboard, finished, gallery, processes, structure, waiting
from .conversion import conversion
from .download import downloads
from .first_request import first_request, first_request_of_a_million, first_request_with_journal
from .imports import first_call_importing, importing
from .journal import disk, journal_cpu, journal_wall, keep, resuming
from .measure import Result
from .memory import objects, objects_with_journal, resident
from .peers import comparison
from .previews import previews
from .speed import (
    cpu_against_sockets,
    cpu_against_threads,
    throughput,
    throughput_of_100_at_once,
    throughput_of_same_requests,
)
from .sweep import sweep_memory, sweep_sample, sweep_time
from .uploads import upload_memory, uploading

MEASUREMENTS = (
    throughput,
    throughput_of_same_requests,
    throughput_of_100_at_once,
    cpu_against_sockets,
    cpu_against_threads,
    objects,
    objects_with_journal,
    resident,
    first_request,
    first_request_with_journal,
    first_request_of_a_million,
    conversion,
    previews,
    downloads,
    uploading,
    upload_memory,
    importing,
    first_call_importing,
    journal_wall,
    journal_cpu,
    resuming,
    disk,
    *finished.MEASUREMENTS,
    *processes.MEASUREMENTS,
    *waiting.MEASUREMENTS,
    sweep_time,
    sweep_memory,
    sweep_sample,
    *dashboard.MEASUREMENTS,
    *gallery.MEASUREMENTS,
    *structure.MEASUREMENTS,
)
SPACES = "{:<44} {:>20} {:>9}  {:<7} {}"


def main() -> int:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("EACHLABS_"):
            del os.environ[name]  # nothing leaves this machine, and no key is used
    if sys.argv[1:2] == ["peers"]:
        return comparison.main(sys.argv[2:])
    keep(None)  # what others do without one is compared with what this package does without one
    print(SPACES.format("what", "measured", "limit", "", "behind it (medians)"))
    wanted = [one for one in MEASUREMENTS if not sys.argv[1:] or one.__module__.rpartition(".")[2] in sys.argv[1:]]
    passed = [_shown(measurement()) for measurement in wanted]
    return 0 if all(passed) else 1


def _shown(result: Result) -> bool:
    if result.limit is None:
        limit, verdict = "", ""
    else:
        limit = f"{'>=' if result.at_least else '<='} {result.limit:g}"
        verdict = "pass" if result.passed else "FAIL"
    measured = f"{result.measured:{'d' if isinstance(result.measured, int) else '.3g'}}{result.unit}"
    print(SPACES.format(result.what, measured, limit, verdict, result.note), flush=True)
    return result.passed


if __name__ == "__main__":
    sys.exit(main())
