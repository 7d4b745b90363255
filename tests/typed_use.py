"""What mypy must know of the public names; `.ci/run` checks this file with `mypy --strict`, and nothing runs it.

Each `type: ignore` is an error that mypy has to find: with `--strict`, one that is not needed is an error itself.
"""

from __future__ import annotations

import pandas as pd
from typing_extensions import assert_type

import eachlabs_frames as ef
from eachlabs_frames.accessors.dataframe import EachlabsAccessor

df: pd.DataFrame = pd.DataFrame({"prompt": ["a fox"]})

assert_type(ef.accessor(df), EachlabsAccessor)
assert_type(ef.accessor(df).bulk_trigger("wf_abc123"), pd.DataFrame)
ef.accessor(df).bulk_triger("wf_abc123")  # type: ignore[attr-defined]

assert_type(df.eachlabs, EachlabsAccessor)
assert_type(df.eachlabs.preview(), pd.DataFrame)
assert_type(df.eachlabs.start("wf_abc123"), ef.Run)
df.eachlabs.bulk_triger("wf_abc123")  # type: ignore[attr-defined]
df.eachlabs.bulk_trigger("wf_abc123", wait="yes")  # type: ignore[arg-type]
