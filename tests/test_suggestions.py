"""Misspelt names: each error names the one that was probably meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.api.responses import choose_version
from eachlabs_frames.suggestions import closest, did_you_mean, hint

TEXTS = {"bulk_id": "b", "execution_id": "e", "status": "completed", "error": None, "output": "a text"}

WORKFLOW = {"versions": [{"version_id": "2026-spring"}, {"version_id": "v1"}]}


def result(prefix: str = "") -> pd.DataFrame:
    """Make a result without asking anybody."""
    frame = pd.DataFrame({"prompt": ["a fox", "a heron"], "style": ["ink", "oil"]})
    return frame.assign(**{prefix + name: pd.array([value] * 2, dtype="string") for name, value in TEXTS.items()})


def test_the_closest_name_is_found_whatever_its_case() -> None:
    """A name is given back as it is, of whatever type; nothing that is far off is proposed."""
    assert closest("PROMT", ["style", "Prompt"]) == "Prompt"
    assert closest("2023", [2024, "style"]) == 2024
    assert closest("status", ["tags"]) is None
    assert did_you_mean("x", ["style"]) == ""
    assert hint("x", ["style"]) == " (it has 'style')"
    assert hint("x", []) == ""


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: result().eachlabs.gallery(label="promt"), ef.ColumnError, "label='promt'.*did you mean 'prompt'"),
        (lambda: result().eachlabs.rate(label=["promt"]), ef.ColumnError, "label=.*did you mean 'prompt'"),
        (lambda: result().eachlabs.matrix("promt", "style"), ef.ColumnError, "rows='promt'.*did you mean 'prompt'"),
        (lambda: result().eachlabs.matrix("prompt", "styel"), ef.ColumnError, "columns='styel'.*did you mean 'style'"),
        (
            lambda: ef.compare(result(), result(), by="promt"),
            ef.ColumnError,
            "by= names 'promt'.*did you mean 'prompt'",
        ),
        (
            lambda: result().eachlabs.download("folder", name="{styel}-{n}"),
            ef.MappingError,
            r"uses \{styel\}.*did you mean \{style\}\?",
        ),
        (
            lambda: choose_version(WORKFLOW, workflow_id="wf_abc123", version_id="2026-sprnig"),
            ef.NotFoundError,
            "no version '2026-sprnig'.*did you mean '2026-spring'",
        ),
        (
            lambda: result().eachlabs.bulk_trigger("wf_abc123", key="promt"),
            ef.MappingError,
            "key='promt'.*did you mean 'prompt'",
        ),
        (
            lambda: result("eachlabs_").eachlabs.summary(prefix="eachlab_"),
            ef.ColumnError,
            r"no result with prefix='eachlab_' \(did you mean 'eachlabs_'\?\)",
        ),
        (lambda: ef.sweep(prompt=["a"], sampel=3), ef.ConfigurationError, r"'sampel' \(did you mean 'sample'\?\)"),
        (
            lambda: result().eachlabs.bulk_trigger_async("wf_abc123", max_cots=1).send(None),
            TypeError,
            r"bulk_trigger_async\(\) got an unexpected keyword argument 'max_cots' \(did you mean 'max_cost'\?\)",
        ),
    ],
)
def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    """Columns, fields of file names, prefixes and keywords."""
    ef.configure(api_key="k")
    with pytest.raises(error, match=message):
        call()
