"""Counts the structure of the package: what issue 13 set targets for. Measures no time.

The definitions (`benchmarks/README.md` compares them with the figures that the issue states):

- **Import levels** are the modules of the longest chain of imports between modules of one folder. A sub-folder is a
  package of its own, and imports between folders do not count: import-linter checks those. Imports inside functions
  count, those under ``if TYPE_CHECKING`` and by ``import_module`` do not. Modules that import each other in a cycle
  count one level each.
- **Entered** are the modules with a function, method or class body that ran, on any thread, during a ten-row
  ``df.eachlabs.bulk_trigger(workflow)`` against a sandbox in another process. Every module is imported beforehand, so
  that imports do not count.
- **Built** are the classes of ours whose ``__new__`` ran during that call, inherited ones included: dataclasses,
  NamedTuples and exceptions as well. (``NamedTuple._make`` goes past ``__new__``; nothing here relies on it.)
- **Names for two things** are class names defined in two modules, and file names in two folders. The sandbox is left
  out: it models the same API and shares no code. So are ``__init__``, ``__main__``, the four parts of a view, and the
  modules of ``journal/postgres`` that are called as the same parts of ``journal/sqlite``.
- **Constructor parameters** are those of a written ``__init__`` or ``__new__`` without ``self``. The fields of
  dataclasses and NamedTuples are values, named at each use, and do not count.
- **Code lines** are lines with a token that is no comment and no part of a docstring (any statement that is only text).
- **Modules that import pandas** are those with such an import anywhere, also for types only.
- **noqa** stands for ``noqa`` and ``type: ignore``. An explanation follows in the same comment, after a dash, or after
  a second ``#`` where mypy allows nothing else.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import eachlabs_frames as ef

from .measure import Result
from .tracing import traced

# (limit, target). The limit is today's figure: lower it when a figure falls, and never raise it without a reason in the
# commit's message. The target is the issue's; where it is reached, both are the same.
LIMITS = {
    "import levels inside a package, at most": (6, 6),
    "modules entered by a ten-row trigger": (83, 35),
    "classes built by a ten-row trigger": (66, 30),
    "class names used for two things": (0, 0),
    "module names used for two things": (0, 0),
    "classes": (373, 230),
    "constructor parameters, at most": (8, 7),
    "code lines": (31_300, 17_500),
    "modules that import pandas": (27, 20),
    "noqa and type: ignore": (44, 37),
    "those without an explanation": (0, 0),
    "lines of the largest module": (450, 450),
}
ROOT = Path(ef.__file__).parent
VIEW_PARTS = {"source", "model", "widget", "static"}
_MARK = re.compile(r"(?:ruff:\s*)?noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w\-, ]*\])?")
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """A module of the package. `name` is dotted, and so is `package`, the folder that it is in."""

    name: str
    package: str
    path: Path
    source: str
    tree: ast.Module

    @property
    def is_product(self) -> bool:
        return "sandbox" not in self.package.split(".")


@cache
def modules() -> Mapping[str, Module]:
    """Return all modules by name, the sandbox's too."""
    return {module.name: module for module in map(_read, sorted(ROOT.rglob("*.py")))}


def _read(path: Path) -> Module:
    package = ".".join(path.parent.relative_to(ROOT.parent).parts)
    name = package if path.stem == "__init__" else f"{package}.{path.stem}"
    source = path.read_text("utf-8")
    return Module(name, package, path, source, ast.parse(source))


def import_levels() -> Result:
    folders: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for module in modules().values():
        imported = {target for target in imports(module) if target != module.name and target in modules()}
        folders[module.package][module.name] = {t for t in imported if modules()[t].package == module.package}
    chain = max(map(longest_chain, folders.values()), key=len)
    short = " > ".join(name.rpartition(".")[2] for name in chain)
    return _result("import levels inside a package, at most", len(chain), f"{modules()[chain[0]].package}: {short}")


def imports(module: Module, *, for_types: bool = False) -> Iterator[str]:
    """Yield the dotted name of each module that is imported; with `for_types`, under ``if TYPE_CHECKING`` too."""
    typed = set() if for_types else _only_for_types(module.tree)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import) and node not in typed:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node not in typed:
            source = resolve_name("." * node.level + (node.module or ""), module.package)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in modules() else source


def _only_for_types(tree: ast.Module) -> set[ast.AST]:
    guarded = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
    ]
    return {inner for node in guarded for statement in node.body for inner in ast.walk(statement)}


def longest_chain(graph: Mapping[str, Set[str]]) -> tuple[str, ...]:
    """Return the nodes of the longest path through the graph's strongly connected components, all of each one's."""
    reached = {node: _reached(graph, node) for node in graph}

    @cache
    def chain(node: str) -> tuple[str, ...]:
        component = {node} | {other for other in reached[node] if node in reached[other]}
        below = [chain(other) for member in component for other in graph[member] if other not in component]
        return (*sorted(component), *max(below, key=len, default=()))

    return max(map(chain, graph), key=len, default=())


def _reached(graph: Mapping[str, Set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    pending = [start]
    while pending:
        new = graph[pending.pop()] - reached
        reached |= new
        pending.extend(new)
    return reached


def class_names() -> Result:
    shared = _in_two_places((node.name, module.name) for module, node in _classes() if module.is_product)
    return _result("class names used for two things", len(shared), ", ".join(shared))


def module_names() -> Result:
    shared = _in_two_places(
        (module.path.stem, module.name)
        for module in modules().values()
        if module.is_product
        and not module.path.stem.startswith("__")
        and not (module.path.stem in VIEW_PARTS and "views" in module.package.split("."))
        and not _is_part_of_a_journal(module.path)
    )
    return _result("module names used for two things", len(shared), ", ".join(shared))


def _is_part_of_a_journal(path: Path) -> bool:
    return path.parent.name == "postgres" and (path.parents[1] / "sqlite" / path.name).exists()


def _in_two_places(pairs: Iterable[tuple[str, str]]) -> list[str]:
    places: dict[str, set[str]] = defaultdict(set)
    for name, place in pairs:
        places[name].add(place)
    return sorted(name for name in places if len(places[name]) > 1)


def _classes() -> Iterator[tuple[Module, ast.ClassDef]]:
    for module in modules().values():
        yield from ((module, node) for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))


def classes() -> Result:
    return _result("classes", sum(1 for _ in _classes()))


def constructor_parameters() -> Result:
    counts = {
        f"{module.name}.{node.name}": _parameters(method.args)
        for module, node in _classes()
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name in {"__init__", "__new__"}
    }
    most = max(counts.values())
    return _result("constructor parameters, at most", most, ", ".join(c for c in counts if counts[c] == most))


def _parameters(args: ast.arguments) -> int:
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return len(named) - 1 + (args.vararg is not None) + (args.kwarg is not None)


def total_code_lines() -> Result:
    return _result("code lines", sum(code_lines(module.source) for module in modules().values()))


def code_lines(source: str) -> int:
    """Return the number of lines that hold code: neither blank, nor only comment or docstring."""
    text = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = [token for token in _tokens(source) if token.type not in _NO_CODE]
    return len({line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - text)


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(source).readline)


def pandas_imports() -> Result:
    found = [m for m in modules().values() if any(t.split(".")[0] == "pandas" for t in imports(m, for_types=True))]
    return _result("modules that import pandas", len(found))


def suppressions() -> Result:
    return _result("noqa and type: ignore", len(_suppressions()))


def unexplained() -> Result:
    places = [place for place, comment in _suppressions() if not explanation(comment)]
    return _result("those without an explanation", len(places), ", ".join(places))


@cache
def _suppressions() -> list[tuple[str, str]]:
    return [
        (f"{module.path.relative_to(ROOT)}:{token.start[0]}", token.string)
        for module in modules().values()
        for token in _tokens(module.source)
        if token.type == tokenize.COMMENT and _MARK.match(token.string.lstrip("# "))
    ]


def explanation(comment: str) -> str:
    """Return what a comment says beside ``noqa`` and ``type: ignore``."""
    return _MARK.sub("", comment).strip(" #-")


def largest_module() -> Result:
    sizes = {module.name: len(module.source.splitlines()) for module in modules().values()}
    largest = max(sizes, key=sizes.__getitem__)
    return _result("lines of the largest module", sizes[largest], largest)


def modules_entered() -> Result:
    return _result("modules entered by a ten-row trigger", len(traced()["modules"]))


def classes_built() -> Result:
    return _result("classes built by a ten-row trigger", len(traced()["classes"]))


def _result(what: str, measured: int, detail: str = "") -> Result:
    limit, target = LIMITS[what]
    return Result(what, measured, limit, note=f"target {target:,}" + (f"; {detail}" if detail else ""))


MEASUREMENTS = (
    import_levels,
    modules_entered,
    classes_built,
    class_names,
    module_names,
    classes,
    constructor_parameters,
    total_code_lines,
    pandas_imports,
    suppressions,
    unexplained,
    largest_module,
)
