"""Joins the ES modules and the style sheets of ``web/``, as anywidget and a saved page take one module and one sheet.

This is not a bundler. It understands ``import { a, b } from "./name.js";`` and ``export`` before a declaration, each
at the start of a line, and refuses any other import or export. The modules share one scope after that, so a top-level
name may be declared only once. Doc comments, which hold types, are left out: each saved notebook holds the result.
No line of a template literal may begin with ``import``, ``export`` or ``/**``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).parents[1] / "web"

_IMPORT: Final = re.compile(r'^import \{[\w$\s,]+\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async function|function|class|const) )", re.MULTILINE)
_DOC: Final = re.compile(r"^ */\*\*(?:(?!\*/).)*\*/\n", re.MULTILINE | re.DOTALL)
_REFUSED: Final = re.compile(
    r"^(?:import|export)\b(?! default ).*|\bimport *\(.*|^(?:const|let|var) \W.*", re.MULTILINE
)
_DECLARED: Final = re.compile(r"^(?:(?:async )?function|class|const|let|var) ([\w$]+)|^export (default) ", re.MULTILINE)


@cache
def script(entry: str) -> str:
    """Return the module ``web/<entry>.js`` joined with all that it imports."""
    return join(entry, _read)


@cache
def style(entry: str) -> str:
    """Return the style sheets named as `entry` and the modules that it imports; its own comes last."""
    sheets = (WEB / f"{name}.css" for name in _in_order(entry, _read))
    return "\n".join(sheet.read_text("utf-8") for sheet in sheets if sheet.is_file())


def join(entry: str, read: Callable[[str], str]) -> str:
    """Return `entry` and the modules that it imports as one module, which keeps only a default export.

    `read` returns the source of a module by its name, without ``.js``. Raises `ValueError` for what cannot be joined.
    """
    sources = _in_order(entry, read).values()
    joined = "\n".join(_DOC.sub("", _EXPORT.sub("", _IMPORT.sub("", source))) for source in sources)
    names = Counter(name or default for name, default in _DECLARED.findall(joined))
    refused = [found[0] for found in _REFUSED.finditer(joined)]
    refused += [f"{name}, which is declared twice" for name, times in names.items() if times > 1]
    if refused:
        msg = f"{entry}.js cannot be joined: it or what it imports has {'; '.join(refused)}"
        raise ValueError(msg)
    return joined


def _in_order(entry: str, read: Callable[[str], str]) -> dict[str, str]:
    """Return the sources by name, in the order in which a browser evaluates modules."""
    sources: dict[str, str] = {}

    def visit(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            msg = f"{entry}.js cannot be joined: {name}.js imports itself in a cycle"
            raise ValueError(msg)
        if name not in sources:
            source = read(name)
            for imported in _IMPORT.findall(source):
                visit(imported, (*importers, name))
            sources[name] = source

    visit(entry, ())
    return sources


def _read(name: str) -> str:
    return (WEB / f"{name}.js").read_text("utf-8")
