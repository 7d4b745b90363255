"""Joins the ES modules and the style sheets of ``web/``, as anywidget and a saved page take one module and one sheet.

This is not a bundler. It understands ``import { a, b } from "./name.js";`` and ``export`` before a declaration, each
at the start of a line, and refuses any other import or export. The modules share one scope after that, so a top-level
name may be declared only once. Doc comments, which hold types, are left out: each saved notebook holds the result.
No line of a template literal may begin with ``import``, ``export`` or ``/**``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

WEB: Final = Path(__file__).parent / "web"

_IMPORT: Final = re.compile(r'^import \{([\w$\s,]+)\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async function|function|class|const) )", re.MULTILINE)
_OTHER: Final = re.compile(r"^(?:import|export)\b(?! default ).*|\bimport *\(.*", re.MULTILINE)
_DOC: Final = re.compile(r"^ */\*\*(?:(?!\*/).)*\*/\n", re.MULTILINE | re.DOTALL)
_TOP_LEVEL: Final = re.compile(
    r"^(export )?(?:(?:async )?function\b|class\b|const\b|let\b|var\b) ?([\w$]*)", re.MULTILINE
)


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
    """Return `entry` and the modules that it imports as one module, which keeps only `entry`'s default export.

    `read` returns the source of a module by its name, without ``.js``. Raises `ValueError` for what cannot be joined.
    """
    sources = _in_order(entry, read)
    owners: dict[str, str] = {}
    exports: set[tuple[str, str]] = set()
    for module, source in sources.items():
        if module != entry and re.search(r"^export default ", source, re.MULTILINE):
            _refuse(module, f"has a default export, but is imported by {entry}.js")
        for exported, name in _TOP_LEVEL.findall(source):
            if not name:
                _refuse(module, "destructures at the top level")
            if name in owners:
                _refuse(module, f"declares {name}, which {owners[name]}.js declares too")
            owners[name] = module
            if exported:
                exports.add((module, name))
        for names, imported in _IMPORT.findall(source):
            for name in re.findall(r"[\w$]+", names):
                if (imported, name) not in exports:
                    _refuse(module, f"imports {name}, which {imported}.js does not export")
    return "\n".join(_DOC.sub("", _EXPORT.sub("", _IMPORT.sub("", source))) for source in sources.values())


def _in_order(entry: str, read: Callable[[str], str]) -> dict[str, str]:
    """Return the sources by module, each after those that it imports."""
    sources: dict[str, str] = {}

    def visit(module: str, importers: tuple[str, ...]) -> None:
        if module in importers:
            _refuse(module, f"is imported in a cycle: {' -> '.join((*importers, module))}")
        if module in sources:
            return
        source = read(module)
        if other := _OTHER.search(_EXPORT.sub("", _IMPORT.sub("", source))):
            _refuse(module, f"has an import or export that cannot be joined: {other[0]}")
        for _, imported in _IMPORT.findall(source):
            visit(imported, (*importers, module))
        sources[module] = source

    visit(entry, ())
    return sources


def _read(module: str) -> str:
    return (WEB / f"{module}.js").read_text("utf-8")


def _refuse(module: str, why: str) -> NoReturn:
    msg = f"{module}.js {why}"
    raise ValueError(msg)
