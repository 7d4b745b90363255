"""Lists the facts of the public API that users rely on, as sorted lines of text: `tests/public_api.txt`.

It imports `eachlabs_frames` and the command line's entry point, and reads everything else from there, so that a module
may move without a change here. Representations are the same on every supported version of Python and pandas.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pandas as pd

import eachlabs_frames as ef
from eachlabs_frames.cli import main

SNAPSHOT: Final = Path(__file__).with_name("public_api.txt")
PACKAGE: Final = Path(ef.__file__).parent
PROTOCOLS: Final = ("__aenter__", "__aexit__", "__await__", "__call__", "__enter__", "__exit__", "__iter__", "__len__")
NOT_CONSTRUCTED: Final = ("Run", "df.eachlabs")
"""Classes that users get from a call and never construct."""


def facts() -> list[str]:
    """Return every fact, one a line, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        return sorted({*_names(), *_exceptions(), *_event_kinds(), *_command_line(), *_environment(), *_in_use(folder)})


def _ours(value: Any) -> bool:
    return str(value.__module__).partition(".")[0] == "eachlabs_frames"


# Names and signatures


def _names() -> Iterator[str]:
    yield from _members("", ef, ef.__all__)
    yield from _members("sandbox.", ef.sandbox, ef.sandbox.__all__)
    yield from _class("df.eachlabs", type(pd.DataFrame().eachlabs))
    for name in ("accepted", "deliveries", "executions", "requests"):
        records = get_type_hints(_getter(inspect.getattr_static(ef.sandbox.Sandbox, name)))["return"]
        yield from _attributes(f"sandbox.Sandbox.{name}[]", get_args(records)[0])
    yield f"module eachlabs_frames.mypy_plugin: {(PACKAGE / 'mypy_plugin.py').is_file()}"


def _members(prefix: str, module: Any, names: list[str]) -> Iterator[str]:
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value):
            yield from _class(prefix + name, value)
        elif inspect.isfunction(value):
            yield from _function(prefix + name, value)
        elif inspect.ismodule(value):
            yield f"{prefix}{name}: module"
        else:
            yield f"{prefix}{name}: value {value!r}"


def _class(path: str, cls: type) -> Iterator[str]:
    yield f"{path}: class"
    if path not in NOT_CONSTRUCTED:
        constructor = next((f for f in (cls.__init__, cls.__new__) if inspect.isfunction(f)), None)  # type: ignore[misc]
        if constructor is not None:
            yield from _parameters(path, constructor, bound=True)
    yield from _attributes(path, cls)


def _attributes(path: str, cls: type) -> Iterator[str]:
    """Yield the public methods, properties and attributes that a class or its bases in this package define."""
    defined = {name for base in cls.__mro__ if _ours(base) for name in vars(base)}
    for name in defined:
        if name.startswith("_") and name not in PROTOCOLS:
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, property):
            settable = ", settable" if member.fset else ""
            yield f"{path}.{name}: property{settable} -> {_returned(_getter(member))}"
        elif inspect.isfunction(member):
            yield from _function(f"{path}.{name}", member, bound=True)
        elif isinstance(member, (classmethod, staticmethod)):
            yield f"{path}.{name}: {type(member).__name__}"
            yield from _function(f"{path}.{name}", member.__func__, bound=isinstance(member, classmethod))
        else:
            yield f"{path}.{name}: attribute"


def _getter(member: property) -> Callable[..., Any]:
    assert member.fget is not None
    return member.fget


def _function(path: str, function: Callable[..., Any], *, bound: bool = False) -> Iterator[str]:
    kind = "async function" if inspect.iscoroutinefunction(function) else "function"
    yield f"{path}: {kind} -> {_returned(function)}"
    yield from _parameters(path, function, bound=bound)


def _parameters(path: str, function: Callable[..., Any], *, bound: bool) -> Iterator[str]:
    """Yield each parameter; the place of a positional one matters, that of a keyword does not."""
    for place, parameter in enumerate(list(inspect.signature(function).parameters.values())[bound:]):
        keyword = parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        only = " (positional only)" if parameter.kind == parameter.POSITIONAL_ONLY else ""
        default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
        where = "keyword" if keyword else f"parameter {place:02}"
        yield f"{path}: {where} {stars}{parameter.name}: {_annotation(parameter.annotation)}{default}{only}"


def _returned(function: Callable[..., Any]) -> str:
    return _annotation(inspect.signature(function).return_annotation)


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "?"
    if hasattr(annotation, "__forward_arg__"):
        return str(annotation.__forward_arg__)
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _value(value: Any) -> str:
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return "<not given>" if type(value) is object else repr(value)


def _exceptions() -> Iterator[str]:
    for name in ef.__all__:
        cls = getattr(ef, name)
        if inspect.isclass(cls) and issubclass(cls, BaseException):
            yield f"exception {name}: {', '.join(base.__name__ for base in cls.__bases__)}"


def _event_kinds() -> Iterator[str]:
    kinds = eval(ef.Event.__annotations__["kind"], vars(sys.modules[ef.Event.__module__]))
    for kind in get_args(kinds):
        yield f"event kind {kind}"


# The command line and the environment


def _command_line() -> Iterator[str]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield f"cli --version: exit code {main(['--version'])}"  # which imports the module that has the parser
    parser = _parser()
    yield f"cli program: {parser.prog}"
    yield from _arguments("cli", parser)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, from the function that is annotated to return one, wherever it is."""
    for name in [name for name in sys.modules if name.startswith("eachlabs_frames.cli")]:
        for function in list(vars(sys.modules[name]).values()):
            returned = inspect.isfunction(function) and function.__annotations__.get("return")
            if returned in ("argparse.ArgumentParser", "ArgumentParser") and not inspect.signature(function).parameters:
                parser = function()
                assert isinstance(parser, argparse.ArgumentParser)
                return parser
    msg = "no function without parameters in eachlabs_frames.cli is annotated with `-> argparse.ArgumentParser`"
    raise LookupError(msg)


def _arguments(path: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    codes = re.search(r"Exit codes:[^.]*", parser.epilog or "")
    if codes is not None:
        yield f"{path}: exit codes {' '.join(re.findall(r'[0-9]+', codes.group()))}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield f"{path} {name}: command"
                yield from _arguments(f"{path} {name}", command)
            continue
        if isinstance(action, argparse._HelpAction):
            continue
        known = {
            "metavar": action.metavar,
            "choices": action.choices and list(action.choices),
            "nargs": action.nargs,
            "default": action.default,
            "required": action.required or None,
            "repeatable": isinstance(action, argparse._AppendAction) or None,
        }
        shown = ", ".join(f"{name} {value!r}" for name, value in known.items() if value is not None)
        yield f"{path} {', '.join(action.option_strings) or action.dest}: {'flag' if action.nargs == 0 else shown}"


def _environment() -> Iterator[str]:
    """Yield the variables that the package's code reads."""
    read = re.compile(r"""(?:environ\.get\(|environ\[|getenv\()["'](EACHLABS_[A-Z_]+)["']""")
    for file in PACKAGE.rglob("*.py"):
        for name in read.findall(file.read_text("utf-8")):
            yield f"environment variable {name}"


# What calls return: columns, attrs, views


def _in_use(folder: str) -> Iterator[str]:
    """Yield what a small session shows, against a sandbox."""
    with ef.sandbox.start(queue_seconds=0, run_seconds=(0, 0)) as sandbox:
        yield from _instance("sandbox.Sandbox", sandbox)
        yield from _instance("WebhookReceiver", ef.WebhookReceiver())
        grid = ef.sweep(prompt=["a fox [fail]", "a heron"], style=["ink"])
        result = grid.eachlabs.bulk_trigger("wf_abc123", ["prompt"], run="snapshot", wait=True)
        sent = result.eachlabs.bulk_trigger("wf_abc123", ["prompt"], prefix="second_", retrigger=True)
        second = sent.eachlabs.wait().eachlabs.retry_failed(wait=True)
        files = second.eachlabs.download(folder)
        rated = result.copy().eachlabs.rate()
        compared = ef.compare(result, second, by="prompt")
        run = grid.eachlabs.start("wf_abc123", retrigger=True)
        yield from _instance("Run", run)
        views = {
            "dashboard()": result.eachlabs.dashboard(auto_refresh=False),
            "gallery()": result.eachlabs.gallery(),
            "matrix()": result.eachlabs.matrix(rows="prompt", columns="style"),
            "rate()": rated,
            "compare()": compared,
        }
        for call, view in views.items():
            yield from _view(call, view)
        frames = [
            ("sweep()", pd.DataFrame(), ef.sweep(prompt=["a fox"], repeats=2)),
            ("preview()", grid, grid.assign(promt="").eachlabs.preview("wf_abc123", ["prompt"])),
            ("bulk_trigger()", grid, result),
            ("bulk_trigger(prefix=)", result, second),
            ("refresh()", grid, result.eachlabs.refresh()),
            ("start()", grid, run.result()),
            ("load_run()", grid, ef.load_run("snapshot")),
            ("attach()", grid, ef.attach(result["bulk_id"].iloc[0], "wf_abc123")),
            ("download()", second, files),
            ("download() of two results", files, files.eachlabs.download(folder, prefix="", column="first_path")),
            ("rate()", result, rated.frame),
            ("summary()", grid, result.eachlabs.summary()),
            ("runs()", grid, ef.runs()),
            ("outputs()", grid, files.eachlabs.outputs()),
            ("outputs(steps=True)", grid, result.eachlabs.outputs(steps=True)),
            ("compare().frame", grid, compared.frame),
            ("compare().summary()", grid, compared.summary()),
        ]
        sandbox.change(cost_shape="none")  # a preview then takes the cost from the journal
        frames.append(("preview() without a price", grid, grid.eachlabs.preview("wf_abc123", ["prompt"])))
        for view in views.values():
            view.close()
    yield from _columns(frames)
    yield from _attrs([frame for _, _, frame in frames])
    yield from (f"logger {name}" for name in logging.root.manager.loggerDict if name.startswith("eachlabs_frames"))


def _instance(path: str, value: Any) -> Iterator[str]:
    yield from (f"{path}.{name}: attribute" for name in getattr(value, "__dict__", {}) if not name.startswith("_"))


def _view(call: str, view: Any) -> Iterator[str]:
    traits = {name for name, trait in view.traits().items() if _ours(trait.this_class)}
    for line in [*_attributes(call, type(view)), *_instance(call, view)]:
        if line not in {f"{call}.{name}: attribute" for name in traits}:
            yield line
    yield from (f"{call}.{name}: trait" for name in traits if not name.startswith("_"))


def _columns(frames: list[tuple[str, pd.DataFrame, pd.DataFrame]]) -> Iterator[str]:
    """Yield the columns and dtypes, in their order, that calls add to the frame they are given."""
    calls: dict[tuple[str, ...], list[str]] = {}
    for call, given, frame in frames:
        added = [name for name in frame.columns if name not in given.columns]
        calls.setdefault(tuple(f"{name}: {_dtype(frame[name])}" for name in added), []).append(call)
    for columns, equal in calls.items():
        for place, column in enumerate(columns):
            yield f"columns of {', '.join(equal)}: {place:02} {column}"


def _dtype(column: pd.Series[Any]) -> str:
    return {"str": "object"}.get(str(column.dtype), str(column.dtype))  # `str` of pandas 3 is `object` of pandas 2


def _attrs(frames: list[pd.DataFrame]) -> Iterator[str]:
    types: dict[str, set[str]] = {}
    for frame in frames:
        for name, value in frame.attrs.items():
            types.setdefault(f"attrs[{name!r}]", set()).add(type(value).__name__)
            for key, entry in value.items() if isinstance(value, dict) else ():
                types.setdefault(f"attrs[{name!r}][{key!r}]", set()).add(type(entry).__name__)
    for path, found in types.items():
        yield f"{path}: {' | '.join(sorted(found))}"


if __name__ == "__main__":
    for variable in [variable for variable in os.environ if variable.startswith("EACHLABS_")]:
        del os.environ[variable]
    SNAPSHOT.write_text("".join(f"{fact}\n" for fact in facts()), "utf-8")
