"""The browser's files, joined: anywidget takes one module and one style sheet, and so does a page in a file.

A file of ``web/`` stands on those that are named before it, and imports nothing; only the last one, the view itself,
has an ``export default``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).parent / "web"


@cache
def script(*names: str) -> str:
    """Return these files' JavaScript as one module, such as ``script("pieces", "dashboard")``."""
    return _joined(names, "js")


@cache
def style(*names: str) -> str:
    """Return these files' CSS as one sheet; a later file outweighs an earlier one."""
    return _joined(names, "css")


def _joined(names: tuple[str, ...], extension: str) -> str:
    return "\n".join((WEB / f"{name}.{extension}").read_text("utf-8") for name in names)
