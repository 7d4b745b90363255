"""The kind of frame that this package works on. `columns` and `rows` read and write one; other modules pass it on."""

from __future__ import annotations

from typing import TypeAlias

import pandas as pd

Frame: TypeAlias = pd.DataFrame
"""Modules that do not touch cells name this type, so that another kind of frame changes this line and not theirs."""
