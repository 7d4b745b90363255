"""Tests of the dashboard's lines, filters, CSV export, accessibility and untrusted text in JupyterLab."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .lab import Lab
from .notebook import Notebook
from .test_dashboard import FAKE, SHOW, START, button, lines, phase, run, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.once]

Open = Callable[..., Notebook]


def test_lines_can_be_filtered_sorted_and_opened(open_notebook: Open) -> None:
    """Lines are filtered by status and by a row's text, and sorted by failures; opened rows show their pictures."""
    failing = "fail_when=lambda inputs: inputs['prompt'] in {'p55', 'p56', 'p83'}"
    notebook = open_notebook([START.format(rows=100, options=failing), SHOW])
    page = notebook.page
    run(notebook)
    phase(notebook, "settled")
    expect(page.locator(".elf-shown")).to_have_text("showing 10 of 10")
    page.locator(".elf-legend button[data-status=failed], .elf-legend [data-status=failed] button").first.click()
    expect(page.locator(".elf-shown")).to_have_text("showing 2 of 10")
    page.locator(".elf-clear").click()
    page.locator(".elf-search").fill("row 83")
    expect(page.locator(".elf-shown")).to_have_text("showing 1 of 10")
    page.locator(".elf-search").press("Escape")
    page.locator(".elf-sort").select_option("failures")
    first = lines(notebook).first
    expect(first).to_have_attribute("aria-posinset", "1")
    expect(page.locator("[aria-posinset='1'] .elf-counts [data-status=failed]")).to_contain_text("2")
    page.locator("[aria-posinset='1'] .elf-expand").click()
    rows = page.locator("[aria-posinset='1'] .elf-row")
    expect(rows).to_have_count(10)
    expect(rows.nth(5)).to_contain_text("row 55")
    expect(rows.nth(5)).to_contain_text("failed")
    expect(rows.nth(0).locator("img")).to_have_js_property("complete", value=True)
    assert page.evaluate("() => document.querySelector('.elf-row img').naturalWidth > 0")
    notebook.screenshot("opened")
    page.locator("[aria-posinset='1'] .elf-id").first.click()
    known = notebook.evaluate("list(run.frame['bulk_id'].unique())")
    assert page.evaluate("() => navigator.clipboard.readText()") in known


def test_csv_export_is_downloaded_by_the_browser(open_notebook: Open) -> None:
    """The file has every row with its status, ids and output."""
    notebook = open_notebook([START.format(rows=20, options=""), SHOW])
    run(notebook)
    phase(notebook, "settled")
    with notebook.page.expect_download() as download:
        button(notebook, "Export CSV").click()
    assert download.value.suggested_filename == "seen.csv"
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row[""], row["prompt"], row["status"]) for row in rows] == [
        (f"row {row}", f"p{row}", "completed") for row in range(20)
    ]
    assert all(row["bulk_id"] and row["execution_id"] and row["output"] for row in rows)


def test_thousand_lines_are_virtualized(open_notebook: Open) -> None:
    """Only few lines are in the page at a time, and changes of visible and of other lines are both shown."""
    show = """
subject = Subject([Outcome(row, "queued", f"{row // 10:032x}", f"{row:032x}") for row in range(10_000)])
dashboard = Dashboard(subject, subject, auto_refresh=False, interval=2.0)
dashboard
"""
    notebook = open_notebook([FAKE, show])
    page = notebook.page
    run(notebook)
    expect(page.locator(".elf-shown")).to_have_text("showing 1,000 of 1,000")
    assert lines(notebook).count() < 60
    page.evaluate("() => { const list = document.querySelector('.elf-list'); list.scrollTop = list.scrollHeight }")
    expect(page.locator("[data-line='999']")).to_be_visible()
    assert lines(notebook).count() < 60
    notebook.evaluate("1", setup="subject.happen(range(9_990, 10_000), status='completed')")
    expect(page.locator("[data-line='999'] .elf-counts [data-status=completed]")).to_contain_text("10")
    notebook.evaluate("1", setup="subject.happen(range(0, 10_000, 10), status='failed')")
    wait_for(notebook, "failed", "== 1000")
    page.evaluate("() => { document.querySelector('.elf-list').scrollTop = 500 * 36 }")
    expect(page.locator("[data-line='503'] .elf-counts [data-status=failed]")).to_contain_text("1")


HOSTILE = """
hostile = [
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "javascript:window.ran=1",
    "data:text/html,<script>window.ran=1</script>",
    "x" * 100_000,
    "\\u202eright to left\\u202c \\u05e9\\u05dc\\u05d5\\u05dd \\u0645\\u0631\\u062d\\u0628\\u0627",
    "emoji \\U0001f9d1\\u200d\\U0001f680 \\U0001f468\\u200d\\U0001f469\\u200d\\U0001f467",
    "</style><style>* { display: none }</style>",
    "line one\\nline two\\ttab\\x00zero",
    "{{constructor.constructor('window.ran = 1')()}}",
]
df = pd.DataFrame({"prompt": hostile}, index=hostile)
rows = [Outcome(row, "failed", "b" * 32, text, text, output=text) for row, text in enumerate(hostile)]
rows += [Outcome(10 + row, text, text, text, text, output=[text]) for row, text in enumerate(hostile)]
subject = Subject(rows)
subject.labels = hostile + hostile
dashboard = Dashboard(subject, subject, auto_refresh=False, interval=2.0)
dashboard
"""


def test_untrusted_text_is_shown_as_text(open_notebook: Open) -> None:
    """HTML and script URLs in labels, ids, statuses, errors and outputs run nothing and create no element or link."""
    notebook = open_notebook([FAKE, HOSTILE])
    page = notebook.page
    run(notebook)
    for line in range(2):
        page.locator(f"[data-line='{line}'] .elf-expand").click()
        expect(page.locator(f"[data-line='{line}'] .elf-row").first).to_be_visible()
    expect(page.locator(".elf-errors")).to_contain_text("<script>window.ran = 1</script>")
    expect(page.locator("[data-line='0'] .elf-row").first).to_contain_text("<script>window.ran = 1</script>")
    for text in ("javascript:", "data:text/html"):
        page.locator(".elf-search").fill(text)
        expect(page.locator(".elf-shown")).not_to_have_text("showing 11 of 11")
    page.locator(".elf-search").fill("")
    assert page.evaluate("() => window.ran") is None
    root = ".eachlabs-dashboard"
    assert page.locator(f"{root} script, {root} style, {root} iframe, {root} img").count() == 0
    links = page.evaluate("() => [...document.querySelectorAll('.eachlabs-dashboard a')].map((link) => link.href)")
    assert [link for link in links if not link.startswith(("http:", "https:"))] == []
    assert page.evaluate(f"() => document.querySelector('{root}').scrollWidth <= document.body.clientWidth")
    notebook.screenshot("hostile")


@pytest.fixture(scope="module")
def failed_run(lab: Lab) -> Iterator[Notebook]:
    """Open a dashboard of a run with failures, with an opened line and the retry question."""
    failing = "fail_when=lambda inputs: inputs['prompt'] in {'p3', 'p17'}"
    notebook = lab.open([START.format(rows=60, options=failing), SHOW])
    run(notebook)
    phase(notebook, "settled")
    lines(notebook).first.locator(".elf-expand").click()
    expect(notebook.page.locator(".elf-row")).to_have_count(10)
    button(notebook, "Retry failed").click()
    expect(notebook.page.locator(".elf-confirm")).to_be_visible()
    yield notebook
    notebook.close()
    assert notebook.problems == []


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
@pytest.mark.parametrize("width", [700, 1500])
def test_axe_finds_no_serious_violation(failed_run: Notebook, axe: Path, theme: str, width: int) -> None:
    """Both themes and widths pass with an opened line, failures and the retry question."""
    notebook = failed_run
    notebook.set_theme(theme)
    notebook.page.set_viewport_size({"width": width, "height": 900})
    expect(notebook.page.locator(".elf-confirm")).to_be_visible()
    notebook.screenshot(f"{theme.split()[-1].lower()}-{width}")
    found = notebook.violations(axe, ".eachlabs-dashboard-box")
    serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in serious] == []
    root = notebook.page.locator(".eachlabs-dashboard")
    background = root.evaluate("node => getComputedStyle(node).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", background)[:3])) > 3 * 128
    assert light == theme.endswith("Light")


def test_frame_without_a_triggered_row_shows_a_notice(open_notebook: Open) -> None:
    """The dashboard shows a notice instead of lines, and the retry button is disabled."""
    notebook = open_notebook(
        ["import pandas as pd, eachlabs_frames\npd.DataFrame({'prompt': ['a']}).eachlabs.dashboard()"]
    )
    run(notebook)
    expect(notebook.page.locator(".elf-empty")).to_contain_text("No row of this frame has been triggered yet")
    expect(button(notebook, "Retry failed")).to_be_disabled()
