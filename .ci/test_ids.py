"""Compares the test cases that pytest collects with those of before: renames are allowed, fewer cases are not.

    python .ci/test_ids.py                    the total, against .ci/tests.txt (CI runs this)
    python .ci/test_ids.py --record           write .ci/tests.txt: the cases of each file
    python .ci/test_ids.py --ids OLD [NEW]    output of: pytest --collect-only -q -m '' -o norecursedirs=.*

Without NEW, the cases are collected now. A case under the same name and parameters in another file has moved. For the
cases that vanished from a file, as many must be new in that file or in the files to which its other cases moved.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

RECORD = Path(__file__).with_name("tests.txt")


def collect() -> list[str]:
    # The last options add what plain `pytest` leaves out: tests/browser and tests/contract, and marked tests. The
    # engines' need packages that are not installed beside these.
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", "--ignore=tests/engines"]
    options += ["-o", "norecursedirs=.*", "-m", ""]
    listing = subprocess.run([sys.executable, "-m", "pytest", *options], stdout=subprocess.PIPE, text=True, check=False)
    if listing.returncode:
        sys.exit(f"{listing.stdout[-3000:]}\nerror: pytest could not collect the tests")
    return read(listing.stdout)


def read(listing: str) -> list[str]:
    return [line for line in listing.splitlines() if "::" in line]


def count(cases: list[str]) -> Counter[str]:
    return Counter(case.partition("::")[0] for case in cases)


def compare_counts(now: list[str]) -> int:
    rows = [line.split() for line in RECORD.read_text("utf-8").splitlines()]
    before, after = Counter({file: int(cases) for cases, file in rows}), count(now)
    print("".join(f"{after[f] - before[f]:+5} {f}\n" for f in sorted(before | after) if after[f] != before[f]), end="")
    print(f"{len(now)} test cases, {before.total()} recorded in {RECORD.name}")
    missing = before.total() - len(now)
    if missing > 0:
        print(f"error: {missing} fewer than recorded. If that is right: python .ci/test_ids.py --record")
    return int(missing > 0)


def compare_ids(old: list[str], now: list[str]) -> int:
    lost, new = sorted({*old} - {*now}), sorted({*now} - {*old})
    arrived, homes = defaultdict(list), {file: {file} for file in count(old)}
    for case in new:
        arrived[case.partition("::")[2]].append(case)
    vanished = []
    for case in lost:
        file, _, name = case.partition("::")
        if arrived[name]:
            homes[file].add(arrived[name].pop().partition("::")[0])
        else:
            vanished.append(case)
    appeared = sorted(case for cases in arrived.values() for case in cases)
    print("".join([*(f"- {case}\n" for case in vanished), *(f"+ {case}\n" for case in appeared)]), end="")
    print(f"{len(old)} -> {len(now)} test cases: {len(lost) - len(vanished)} moved, -{len(vanished)} +{len(appeared)}")
    gone, come = count(vanished), count(appeared)
    fewer = [file for file in gone if gone[file] > sum(come[home] for home in homes[file])]
    if fewer or len(now) < len(old):
        print(f"error: {max(0, len(old) - len(now))} fewer in all; fewer in: {', '.join(fewer) or '-'}")
    return int(bool(fewer) or len(now) < len(old))


if __name__ == "__main__":
    lists = [read(Path(path).read_text("utf-8")) for path in sys.argv[2:]]
    now = lists[1] if len(lists) > 1 else collect()
    if sys.argv[1:] == ["--record"]:
        RECORD.write_text("".join(f"{cases:5} {file}\n" for file, cases in sorted(count(now).items())), "utf-8")
    sys.exit(compare_ids(lists[0], now) if lists else compare_counts(now))
