"""The public API is as `tests/public_api.txt` records it.

After a change that is meant, run ``python -m tests.public_api`` and commit the new file with the change.
"""

from __future__ import annotations

import difflib

import pytest

from .public_api import SNAPSHOT, facts


def test_the_public_api_is_the_recorded_one() -> None:
    """Names, signatures, exceptions, columns, attrs, event kinds, views, command line and environment variables."""
    recorded = SNAPSHOT.read_text("utf-8").splitlines()
    difference = list(difflib.unified_diff(recorded, facts(), "recorded", "now", n=0, lineterm=""))
    if difference:
        how = "If this is meant, run `python -m tests.public_api`, and commit tests/public_api.txt with the change."
        pytest.fail("\n".join(["The public API has changed.", *difference, how]), pytrace=False)
