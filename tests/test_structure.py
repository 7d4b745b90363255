"""The pure parts of `python -m benchmarks structure`."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.structure import code_lines, explanation, longest_chain

SOURCE = '''\
"""A docstring
of two lines."""

# A comment.
VALUE = 1  # code, with a comment


def call() -> str:
    """A docstring."""
    return """text
# that is not a comment
"""
'''


def test_the_longest_chain_is_found_beside_shorter_ones() -> None:
    """Its nodes come in the order of the imports."""
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    assert longest_chain(graph) == ("a", "b", "c", "d")


def test_a_cycle_counts_all_of_its_modules() -> None:
    """To close a cycle never makes the figure smaller."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert longest_chain(graph) == ("a", "b", "c", "d")
    assert longest_chain({}) == ()


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    """A text that is a value is code, whatever its lines begin with."""
    assert code_lines(SOURCE) == 5


def test_a_suppression_is_explained_by_what_follows_its_codes() -> None:
    """After a dash, or after a second hash where mypy allows nothing else."""
    assert explanation("# noqa: S311 - jitter, not a secret") == "jitter, not a secret"
    assert explanation("# type: ignore[misc]  # no types") == "no types"
    assert explanation("# type: ignore[misc]  # noqa: N802, S311") == ""


def test_the_architecture_names_files_that_exist() -> None:
    """A renamed module is renamed in `docs/architecture.md` too."""
    root = Path(__file__).parents[1]
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_/]+/(?:[a-z_]+\.[a-z]+)?|[a-z]+\.(?:py|toml))`", text)
    assert "api/verdicts.py" in named
    folders = (root, root / "eachlabs_frames")
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []
