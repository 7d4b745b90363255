"""The browser's modules joined into one: exact for what it understands, an error for everything else."""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from importlib import import_module
from typing import is_typeddict

import pytest

from eachlabs_frames import views
from eachlabs_frames.views.common import assets

VIEWS = {
    "comparison": ["dom", "cards", "stepper"],
    "dashboard": ["dom", "dashboard"],
    "gallery": ["dom", "cards", "gallery"],
    "matrix": ["dom", "cards", "matrix"],
    "rating": ["dom", "cards", "stepper"],
}
"""The style sheets of each view, of which a later one outweighs an earlier one."""


def test_modules_are_joined_in_the_order_of_their_imports() -> None:
    """Each module once and after those that it imports, without their imports, exports and doc comments."""
    sources = {
        "view": 'import { b, bb } from "./b.js";\nimport {\n  a,\n} from "./a.js";\n'
        "\nexport default () => a + b + bb;\n",
        "b": 'import { a } from "./a.js";\nexport const b = a;\nexport async function bb() {}\n',
        "a": (
            "/**\n * Imports nothing.\n */\nexport const a = 1;\nconst hidden = 'export default 2';\n"
            "{\n  /** @type {any} */\n  let c;\n  /** @type {any} */ (a).c();\n}\n/** @type {any} */\n"
        ),
    }
    assert assets.join("view", sources.__getitem__) == (
        "const a = 1;\nconst hidden = 'export default 2';\n{\n  let c;\n  /** @type {any} */ (a).c();\n}\n\n"
        "const b = a;\nasync function bb() {}\n\n"
        "\nexport default () => a + b + bb;\n"
    )


@pytest.mark.parametrize(
    ("view", "a", "message"),
    [
        ('import { x as y } from "./a.js";', "", r"view\.js cannot be joined: .* import \{ x as y \}"),
        ('import x from "./a.js";', "", "import x from"),
        ('import * as a from "./a.js";', "", r"import \* as"),
        ('import "./a.js";', "", 'import "./a.js"'),
        ('import { x } from "https://cdn.test/a.js";', "", 'import { x } from "https'),
        ('const a = await import("./a.js");', "", r"has import\("),
        ("export { x };", "", "export { x }"),
        ('export * from "./a.js";', "", r"export \* from"),
        ("export let x = 1;", "", "export let x"),
        ("export default 1;\nexport default 2;", "", "default, which is declared twice"),
        (
            'import { x } from "./a.js";\n\nexport default x;',
            "export const x = 1;\nexport default x;",
            "default, which",
        ),
        ('import { x } from "./a.js";\nlet y;', "export const x = 1;\nfunction y() {}", "y, which is declared twice"),
        ("const { x } = window;", "", "const { x } = window"),
        ("const [x] = window;", "", r"const \[x\] = window"),
        ('import { x } from "./a.js";\n', 'import { y } from "./view.js";\n', "cycle"),
    ],
)
def test_what_cannot_be_joined_is_refused(view: str, a: str, message: str) -> None:
    """The error has the statement: no import is left for the browser to fetch."""
    with pytest.raises(ValueError, match=message):
        assets.join("view", {"view": view, "a": a}.__getitem__)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_one_module_that_imports_nothing(view: str) -> None:
    """It has one default export and nothing that would end the element of a page that holds it."""
    script, style = assets.script(view), assets.style(view)
    lines = [line for line in script.splitlines() if line.startswith(("import", "export"))]
    assert [line.split("(")[0] for line in lines] in (["export default "], ["export default createStepper"])
    assert "</script" not in script
    assert "</style" not in style
    assert style == "\n".join((assets.WEB / f"{name}.css").read_text("utf-8") for name in VIEWS[view])


def test_the_name_of_a_saved_page_is_free_in_the_views() -> None:
    """`page.py` joins a view with `page.js`, whose top-level names the view must not declare."""
    for view in VIEWS:
        both = f'import {{ showPage }} from "./page.js";\n{assets.script(view)}'
        assert "function showPage" in assets.join(
            "both", lambda name, both=both: both if name == "both" else assets._read(name)
        )


MESSAGES = {
    "cards": ["Card"],
    "dashboard_store": ["DashboardSnapshot", "DashboardUpdate", "OpenedLine", "RowMessage", "RunStatus"],
    "gallery_store": ["GallerySnapshot", "GalleryUpdate"],
    "matrix_cells": ["CellMark", "CellSlot", "MatrixCell", "MatrixTable"],
    "media": ["CardMedia"],
    "stepper_store": ["ReviewState"],
}
"""The types of what the kernel sends, by module."""


@cache
def python_types() -> dict[str, set[str]]:
    """Return the keys of each TypedDict of the views, by its name."""
    names = [module.name for module in pkgutil.walk_packages(views.__path__, f"{views.__name__}.")]
    values = [value for name in names for value in vars(import_module(name)).values()]
    return {value.__name__: set(value.__annotations__) for value in values if is_typeddict(value)}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in MESSAGES for name in MESSAGES[module]])
def test_the_browser_names_the_fields_of_a_message_as_the_kernel_does(module: str, name: str) -> None:
    """A type in JavaScript has the name and the fields of a TypedDict in Python; `kind` may be left out."""
    types = re.split(r"@typedef \{object\} ", (assets.WEB / f"{module}.js").read_text("utf-8"))
    (text,) = [text for text in types if re.match(rf"{name}\b", text)]
    fields = re.findall(r"@property \{.+?\} \[?(\w+)", re.split(r"@typedef|\*/", text)[0])
    assert set(fields) | {"kind"} == python_types()[name] | {"kind"}
