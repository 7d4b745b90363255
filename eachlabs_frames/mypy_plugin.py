"""Plugin for mypy: gives ``df.eachlabs`` its type, which no stub can do for an attribute of another package's class.

``plugins = ["eachlabs_frames.mypy_plugin"]`` in mypy's configuration. Nothing else imports this module.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.nodes import MypyFile, TypeInfo
from mypy.plugin import AttributeContext, Plugin
from mypy.types import Instance, Type

FRAME = "pandas.core.frame"
ACCESSOR = "eachlabs_frames.accessors.dataframe"


class EachlabsPlugin(Plugin):
    """Knows the attribute that importing eachlabs_frames adds to ``pandas.DataFrame``."""

    def get_additional_deps(self, file: MypyFile) -> list[tuple[int, str, int]]:
        """Have the accessor's module read wherever pandas is."""
        return [(10, ACCESSOR, -1)] if file.fullname == FRAME else []

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """Return what gives ``DataFrame.eachlabs`` its type."""
        return _accessor if fullname == f"{FRAME}.DataFrame.eachlabs" else None


def _accessor(context: AttributeContext) -> Type:
    # Not `named_generic_type`, which finds no class of a submodule that its package does not name.
    modules: dict[str, MypyFile] = getattr(context.api, "modules", {})
    symbol = modules[ACCESSOR].names.get("EachlabsAccessor") if ACCESSOR in modules else None
    info = None if symbol is None else symbol.node
    return Instance(info, []) if isinstance(info, TypeInfo) else context.default_attr_type


def plugin(_version: str) -> type[Plugin]:
    """Return the plugin, as mypy asks for it."""
    return EachlabsPlugin
