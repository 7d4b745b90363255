"""The browser's modules joined into one: exact for what it understands, an error for everything else."""

from __future__ import annotations

import pytest

from eachlabs_frames.views import assets

VIEWS = ("comparison", "dashboard", "gallery", "matrix", "rating")


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
        ('import { x as y } from "./a.js";', "", r"view\.js has an import .* joined: import \{ x as y \}"),
        ('import x from "./a.js";', "", "cannot be joined: import x"),
        ('import * as a from "./a.js";', "", "cannot be joined: import"),
        ('import "./a.js";', "", "cannot be joined: import"),
        ('import { x } from "https://cdn.test/a.js";', "", "cannot be joined: import"),
        ('const a = await import("./a.js");', "", r"cannot be joined: import\("),
        ("export { x };", "", "cannot be joined: export"),
        ('export * from "./a.js";', "", "cannot be joined: export"),
        ("export let x = 1;", "", "cannot be joined: export let"),
        ('import { x } from "./a.js";\n', "const x = 1;", "imports x, which a.js does not export"),
        ('import { x } from "./a.js";\n', "export const x = 1;\nexport default x;", r"a\.js has a default export"),
        ('import { x } from "./a.js";\nlet y;', "export const x = 1;\nfunction y() {}", "y, which a.js declares too"),
        ("const { x } = window;", "", "destructures at the top level"),
        ('import { x } from "./a.js";\n', 'import { y } from "./view.js";\n', "cycle: view -> a -> view"),
    ],
)
def test_what_cannot_be_joined_is_refused(view: str, a: str, message: str) -> None:
    """The error names the module and the statement: no import is left for the browser to fetch."""
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
    assert style.startswith((assets.WEB / "dom.css").read_text("utf-8"))


def test_the_name_of_a_saved_page_is_free_in_the_views() -> None:
    """`page.py` joins a view with `page.js`, whose top-level names the view must not declare."""
    for view in VIEWS:
        both = f'import {{ showPage }} from "./page.js";\n{assets.script(view)}'
        assert "function showPage" in assets.join(
            "both", lambda name, both=both: both if name == "both" else assets._read(name)
        )
